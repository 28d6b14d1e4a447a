# SPDX-License-Identifier: GPL-2.0-only
"""What is done next, and by whom: pure decisions, the same for threads and for machines.

Of workers the idlest comes first, since one compiles a cell at a time. What it does, by rules
in this order: only what it can do, by tags and memory; what it has done already, and has but to
hand over; what may make the end late, whoever is free; what needs something that it holds, so
that a kernel is fetched and checked out on few; of several, the longest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

# A task is late when it takes more than this share of what is left for each worker: estimates
# are wrong by as much.
_LATE = 0.5
# A task that takes at least this share of the longest may go before it, to whose caches know it.
_AS_LONG = 0.8
# What having a task's first want, knowing it from before, and having another want are worth.
_FIRST_WANT, _KNOWN, _OTHER_WANT = 4, 2, 1


class Kind(NamedTuple):
    """What tasks have in common for whom any worker fits alike: they differ in seconds alone."""

    wants: tuple[str, ...]
    memory: int
    needs: frozenset[str]
    avoid: frozenset[str]


@dataclass(frozen=True, slots=True)
class Task:
    """Work of about `seconds` that takes `memory` bytes at the most.

    `wants` names what is fetched once for all tasks that want it, the most special first, `needs`
    what a worker must have, and `avoid` workers that it must not go to.
    """

    name: str
    seconds: float
    wants: tuple[str, ...] = ()
    memory: int = 0
    needs: frozenset[str] = frozenset()
    avoid: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        """See :class:`Kind`."""
        return Kind(self.wants, self.memory, self.needs, self.avoid)


@dataclass
class Worker:
    """Who does `slots` tasks at a time, `busy` of them now: `memory` in bytes, None for as much
    as is asked.

    `holds` is what it need not fetch. `built` are tasks that its caches know from before,
    `finished` those whose results lie on its disk.
    """

    name: str = ""
    slots: int = 1
    tags: frozenset[str] = frozenset()
    memory: int | None = None
    busy: int = 0
    holds: set[str] = field(default_factory=set)
    built: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)

    def fits(self, kind: Kind) -> bool:
        """Whether it can do such a task."""
        enough = self.memory is None or kind.memory <= self.memory
        return enough and kind.needs <= self.tags and self.name not in kind.avoid


class Queue:
    """Tasks that wait. A decision looks at every kind of task, not at every task."""

    def __init__(self, tasks: Iterable[Task] = (), workers: int = 1) -> None:
        """`workers`: how many tasks are done at a time."""
        self.workers = workers
        self._waiting: dict[str, Task] = {}
        # Of equal ones the first goes first. Those that do not wait any more go when they are met.
        self._kinds: dict[Kind, list[tuple[float, int, Task]]] = defaultdict(list)
        self._left: dict[Kind, float] = defaultdict(float)
        self._holders: Counter[str] = Counter()
        self._next = 0
        for task in tasks:
            self.put(task)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, task: Task) -> None:
        """A task that is new, or was taken and not done."""
        self._waiting[task.name] = task
        heappush(self._kinds[task.kind], (-task.seconds, self._next, task))
        self._left[task.kind] += task.seconds
        self._next += 1

    def drop(self, name: str) -> None:
        """The task is not to be done any more, if it waits at all."""
        task = self._waiting.pop(name, None)
        if task is None:
            return
        kind, waiting = task.kind, self._kinds[task.kind]
        self._left[kind] -= task.seconds
        while waiting and self._waiting.get(waiting[0][2].name) is not waiting[0][2]:
            heappop(waiting)
        if not waiting:
            del self._kinds[kind], self._left[kind]

    def take(self, worker: Worker) -> Task | None:
        """The task that `worker` does next, which then holds what that wants; None where it can
        do none of those that wait."""
        task = self._finished(worker) or self._longest(worker)
        if task is None:
            return None
        self.drop(task.name)
        for one in task.wants[:1]:
            self._holders[one] += one not in worker.holds
        worker.holds.update(task.wants)
        return task

    def nearness(self, worker: Worker) -> tuple[bool, int]:
        """Whether it has finished what waits, and how much of what some task needs it has."""
        known = self._known(worker)
        fitting = [kind for kind in self._kinds if worker.fits(kind)]
        near = max((_nearness(kind, worker, known) for kind in fitting), default=0)
        return self._finished(worker) is not None, near

    def _finished(self, worker: Worker) -> Task | None:
        done = (self._waiting.get(name) for name in worker.finished)
        fitting = (one for one in done if one is not None and worker.fits(one.kind))
        return min(fitting, key=lambda one: (-one.seconds, one.name), default=None)

    def _longest(self, worker: Worker) -> Task | None:
        fitting = [kind for kind in self._kinds if worker.fits(kind)]
        if not fitting:
            return None
        first = self._first(min(fitting, key=self._order))
        if first.seconds >= _LATE * sum(self._left.values()) / self.workers:
            return first
        known = self._known(worker)
        kind = self._nearest(fitting, worker, known)
        return known.get(kind) or self._first(kind)

    def _first(self, kind: Kind) -> Task:
        return self._kinds[kind][0][2]

    def _order(self, kind: Kind) -> tuple[float, int]:
        seconds, number, _ = self._kinds[kind][0]
        return seconds, number

    def _known(self, worker: Worker) -> dict[Kind, Task]:
        """Of each kind the longest task that its caches know, if it is about as long as the
        longest of all."""
        found: dict[Kind, Task] = {}
        for task in (self._waiting[one] for one in worker.built if one in self._waiting):
            kind = task.kind
            best = found[kind].seconds if kind in found else _AS_LONG * self._first(kind).seconds
            if task.seconds >= best:
                found[kind] = task
        return found

    def _nearest(self, fitting: list[Kind], worker: Worker, known: dict[Kind, Task]) -> Kind:
        """The kind of which `worker` has most; without its first want, that with most work for
        each who holds it."""
        near = {kind: _nearness(kind, worker, known) for kind in fitting}
        nearest = [kind for kind in fitting if near[kind] == max(near.values())]
        if near[nearest[0]] >= _KNOWN:
            return min(nearest, key=self._order)
        work: dict[tuple[str, ...], float] = defaultdict(float)
        for kind in nearest:
            work[kind.wants[:1]] += self._left[kind]
        most = max(work, key=lambda one: work[one] / (1 + sum(self._holders[w] for w in one)))
        return min((kind for kind in nearest if kind.wants[:1] == most), key=self._order)


def _nearness(kind: Kind, worker: Worker, known: dict[Kind, Task]) -> int:
    """How much of what such a task needs is on the worker already; larger is more."""
    first = any(one in worker.holds for one in kind.wants[:1])
    other = any(one in worker.holds for one in kind.wants[1:])
    return _FIRST_WANT * first + _KNOWN * (kind in known) + _OTHER_WANT * other


def choose(queue: Queue, workers: Iterable[Worker]) -> tuple[Task, Worker] | None:
    """The next task, taken from the queue, and who does it: the idlest first, of these who has
    most of what is needed. None where no free worker can do what waits."""
    if not queue:
        return None
    free = [one for one in workers if one.busy < one.slots]

    def worth(worker: Worker) -> tuple[bool, float, int]:
        finished, near = queue.nearness(worker)
        return finished, -worker.busy / worker.slots, near

    # Equal ones in their order: sorted() is stable.
    for worker in sorted(free, key=worth, reverse=True):
        task = queue.take(worker)
        if task is not None:
            return task, worker
    return None
