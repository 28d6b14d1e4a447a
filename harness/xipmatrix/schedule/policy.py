# SPDX-License-Identifier: GPL-2.0-only
"""What a free worker does next: a pure decision, the same for threads and for machines.

Four rules, in this order. Only what the worker can do: tags, memory. What may make the end
late goes at once, to whoever is free. What needs something that the worker holds goes there,
so that a kernel is fetched and checked out on few. Of several, the longest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

# A task is late when it takes more than this share of what is left for each worker: estimates
# are wrong by as much.
_LATE = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """Work of about `seconds` that takes `memory` bytes at the most.

    `wants` names what is fetched once for all tasks that want it, `needs` what a worker must have.
    """

    name: str
    seconds: float
    wants: str = ""
    memory: int = 0
    needs: frozenset[str] = frozenset()


@dataclass
class Worker:
    """Who does a task at a time: `memory` in bytes, None for as much as is asked."""

    memory: int | None = None
    tags: frozenset[str] = frozenset()
    holds: set[str] = field(default_factory=set)


# Tasks that any worker fits or holds alike: they differ in their seconds alone.
_Kind = tuple[str, int, frozenset[str]]


class Queue:
    """Tasks that wait. A decision looks at every kind of task, not at every task."""

    def __init__(self, tasks: Iterable[Task], workers: int) -> None:
        """`workers`: how many take from it at a time."""
        self._workers = workers
        self._kinds: dict[_Kind, list[tuple[float, int, Task]]] = defaultdict(list)
        self._left: dict[_Kind, float] = defaultdict(float)
        self._holders: Counter[str] = Counter()
        self._count = 0
        for task in tasks:
            kind = _kind(task)
            # Of equal ones the first goes first.
            self._kinds[kind].append((-task.seconds, self._count, task))
            self._left[kind] += task.seconds
            self._count += 1
        for waiting in self._kinds.values():
            heapify(waiting)
        self._next = self._count

    def __len__(self) -> int:
        return self._count

    def put_back(self, task: Task) -> None:
        """A task that was taken, and not done."""
        kind = _kind(task)
        heappush(self._kinds[kind], (-task.seconds, self._next, task))
        self._left[kind] += task.seconds
        self._count += 1
        self._next += 1

    def take(self, worker: Worker) -> Task | None:
        """The task that `worker` does next, which then holds what that wants; None where it can
        do none of those that wait."""
        fitting = [kind for kind in self._kinds if _fits(kind, worker)]
        if not fitting:
            return None
        kind = min(fitting, key=self._first)
        if -self._first(kind)[0] < _LATE * sum(self._left.values()) / self._workers:
            kind = self._nearest(fitting, worker)
        _, _, task = heappop(self._kinds[kind])
        self._count -= 1
        self._left[kind] -= task.seconds
        if not self._kinds[kind]:
            del self._kinds[kind], self._left[kind]
        if task.wants not in worker.holds:
            worker.holds.add(task.wants)
            self._holders[task.wants] += 1
        return task

    def _first(self, kind: _Kind) -> tuple[float, int]:
        seconds, number, _ = self._kinds[kind][0]
        return seconds, number

    def _nearest(self, fitting: list[_Kind], worker: Worker) -> _Kind:
        """A kind whose wants `worker` holds, else the one with most work for each who holds it."""
        held = [kind for kind in fitting if kind[0] in worker.holds]
        if held:
            return min(held, key=self._first)
        work: dict[str, float] = defaultdict(float)
        for kind in fitting:
            work[kind[0]] += self._left[kind]
        most = max(work, key=lambda wants: work[wants] / (1 + self._holders[wants]))
        return min((kind for kind in fitting if kind[0] == most), key=self._first)


def _kind(task: Task) -> _Kind:
    return task.wants, task.memory, task.needs


def _fits(kind: _Kind, worker: Worker) -> bool:
    _, memory, needs = kind
    return needs <= worker.tags and (worker.memory is None or memory <= worker.memory)
