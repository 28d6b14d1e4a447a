# SPDX-License-Identifier: GPL-2.0-only
"""The submitter: hands out cells to workers, and fetches what they found.

One thread decides; whatever waits for a worker does so in a thread of a pool and ends as
an event. A result is in the store as soon as it is fetched, so nothing that is finished
depends on a scheduler, a worker or the network any more.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..core.errors import InfrastructureError, XipmatrixError
from ..core.evidence import CellFailure, Verdict
from ..core.files import remove
from ..matrix.model import Cell
from ..pipeline import Pipeline, Prepared
from ..result import WORKING, CellResult, Stage
from ..schedule import policy as schedule
from ..schedule.costs import costs
from . import facts as machine
from . import policy
from .arrival import arrive
from .content import Blobs
from .link import LinkLost
from .record import Record
from .roster import Desk, Member, Roster, quietly
from .session import Order, SentKernel, contents_of
from .trees import Trees

if TYPE_CHECKING:
    from distributed import Future

_TICK = 1.0  # seconds between two looks at the scheduler
_SILENCE = 90.0  # seconds after which a worker that does not answer is blamed, though it is there
_FIRST = 10.0  # seconds in which a scheduler must answer at first


@dataclass(frozen=True)
class Patience:
    """Seconds: to wait for a scheduler that has gone, and for a worker that fits."""

    scheduler: float = 600.0
    workers: float = 120.0


@dataclass
class _Task:
    """A cell on its way, and what `task` it is for the policy: that wants the commit of its series
    and that of its kernel. `tries` are faults of ours so far, for people."""

    cell: Cell
    task: schedule.Task
    tries: list[str] = field(default_factory=list)
    address: str = ""
    future: Future | None = None
    began: int = 0
    silent_since: float = 0.0


@dataclass
class Farm:
    """Runs cells on the workers of the Dask scheduler at `address`.

    `seconds`: what cells took before, by id.
    """

    pipeline: Pipeline
    address: str
    seconds: Mapping[str, float]
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self._run = f"{self.pipeline.run.id}-{secrets.token_hex(4)}"
        self._tasks: dict[str, _Task] = {}
        self._queue = schedule.Queue()
        self._found: dict[str, CellResult] = {}
        self._kernels: dict[str, tuple[SentKernel, Trees]] = {}
        self._unfit_since: dict[str, float] = {}
        self._record = Record()
        self._stop = False

    # --- the whole run ------------------------------------------------------------------

    def run(
        self,
        cells: Sequence[Cell],
        done: Callable[[Cell, CellResult], None],
        *,
        fail_fast: bool = False,
    ) -> list[CellResult]:
        """Do all cells; `done` is called from this thread as each one ends.

        As :func:`schedule.run_cells`: with `fail_fast` nothing new starts after a cell that
        is not as expected. Raises InfrastructureError where no scheduler answers at first.
        On Ctrl-C, the workers of ours are restarted, which ends their builds.
        """
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._done, self._fail_fast = done, fail_fast
        options = replace(self.pipeline.options, place=None)
        order = Order(
            self._run, f"xipmatrix-{self._run}", self.pipeline.loaded, tuple(cells), options
        )
        needed = policy.needed(cells)
        ours = machine.measure(needed, self.pipeline.cache)
        self._desk = Desk()
        self._roster = Roster(
            self.address, order, needed, ours, self._desk, self._record, self._say, self._heard
        )
        try:
            self._roster.connect(_FIRST)
            self._prepare(cells)
            self._loop()
        except BaseException:
            self._roster.restart(task.address for task in self._tasks.values() if task.address)
            raise
        finally:
            self._roster.dismiss()
            self._desk.close()
            remove(self.pipeline.cache / "farm" / "arriving" / self._run)
            self._record.write(self.pipeline.run.folder, self.address)
        return [self._found[cell.id] for cell in cells if cell.id in self._found]

    def _loop(self) -> None:
        began = looked = time.monotonic()
        self._watch()
        while self._open():
            self._desk.next(_TICK)
            now = time.monotonic()
            tick = now - looked >= _TICK
            if tick:
                looked = now
                self._watch()
            if self._stop or not (self._roster.settled or now - began > self.patience.workers / 2):
                continue
            self._hand_out()
            if tick:
                self._nobody_left()

    def _open(self) -> bool:
        if self._stop:
            return any(task.address for task in self._tasks.values())
        return bool(self._tasks)

    # --- kernels ------------------------------------------------------------------------

    def _prepare(self, cells: Sequence[Cell]) -> None:
        """Get every kernel and apply its series, here; cells that end there end here."""
        seconds = costs(cells, self.seconds)
        for cell in cells:
            prepared = self._prepared(cell)
            if prepared is None:
                self._ended(cell, self.pipeline.run_cell(cell))  # says why, and keeps it
                continue
            if cell.kernel not in self._kernels:
                self._kernels[cell.kernel] = self._to_send(prepared)
            task = schedule.Task(
                cell.id,
                seconds[cell.id],
                wants=(prepared.tip(cell.series), prepared.kernel.commit),
                memory=policy.MEMORY,
                needs=frozenset(policy.needs(cell)),
            )
            self._tasks[cell.id] = _Task(cell, task)
            self._queue.put(task)
        tasks = self._tasks.values()
        self._roster.commits = sorted({one for task in tasks for one in task.task.wants})

    def _prepared(self, cell: Cell) -> Prepared | None:
        """The cell's kernel; None where the cell ends before it needs another machine."""
        try:
            prepared = self.pipeline.prepared(cell.kernel)
            self.pipeline.check_series(cell, prepared)
        except (CellFailure, XipmatrixError):
            return None
        return None if self.pipeline.options.until is Stage.SERIES else prepared

    def _to_send(self, prepared: Prepared) -> tuple[SentKernel, Trees]:
        tips = tuple(dict.fromkeys(one.tip for one in prepared.states.values()))
        kernel = prepared.kernel
        return SentKernel.of(prepared), Trees(kernel.git_dir, kernel.commit, tips)

    # --- workers that go ----------------------------------------------------------------

    def _heard(self, event: tuple[float, Any]) -> None:
        said = event[1]
        if said["cell"] in self._tasks and said["stage"] not in list(Verdict):
            self.pipeline.tell(said["cell"], said["stage"], said["detail"])

    def _watch(self) -> None:
        try:
            for member in self._roster.watch():
                self._left(member)
        except LinkLost as error:
            self._scheduler_lost(error.what)
            return
        for task in list(self._tasks.values()):
            silent = time.monotonic() - task.silent_since if task.silent_since else 0.0
            if silent > _SILENCE and task.address in self._roster.members:
                gone = LinkLost(f"did not answer for {silent:.0f} s")
                self._failed(task, self._roster.members[task.address], task.began, gone)

    def _scheduler_lost(self, why: str) -> None:
        self._say(f"the scheduler is lost ({why}); what is fetched is kept, waiting for it")
        for member in self._roster.disconnect():
            self._left(member, "the scheduler was lost", blame=False)
        try:
            self._roster.connect(self.patience.scheduler)
            self._say("the scheduler is back")
        except InfrastructureError as error:
            for task in list(self._tasks.values()):
                self._give_up(task, f"the scheduler was lost: {error.what}", error.hint)

    def _left(self, member: Member, why: str = "", *, blame: bool = True) -> None:
        lost = [task for task in self._tasks.values() if task.address == member.link.address]
        if lost and blame:
            self._roster.died(member)
        for task in lost:
            self._again(task, why or f"{member.worker.name} went away", member, count=blame)

    # --- cells --------------------------------------------------------------------------

    def _hand_out(self) -> None:
        ready = self._roster.ready()
        workers = [one.worker for one in ready if one.worker.trusted]
        self._queue.workers = max(1, sum(one.slots for one in workers))
        while chosen := schedule.choose(self._queue, workers):
            task, worker = chosen
            member = next(one for one in ready if one.worker is worker)
            self._begin(self._tasks[task.name], member)

    def _begin(self, task: _Task, member: Member) -> None:
        self._roster.pin(member, task.task.needs)
        task.address, task.future, task.silent_since = member.link.address, None, 0.0
        task.began += 1
        member.worker.busy += 1
        self._record.note(member.worker.name, "begun", cell=task.cell.id, time=task.began)
        self.pipeline.tell(task.cell.id, "sent", f"to {member.worker.name}")
        self._desk.spawn(self._launch, task, member, task.began)

    def _launch(self, task: _Task, member: Member, number: int) -> None:
        """In a thread: send what the worker lacks, then the cell."""
        name = task.cell.kernel
        kernel, trees = self._kernels[name]
        _, base = task.task.wants

        def say(text: str) -> None:
            self.pipeline.tell(f"worker {member.worker.name}", WORKING, text)

        try:
            with member.transfer:
                if name not in member.kernels:
                    if not member.link.held([base]):
                        member.link.send(trees.pack_of_base(self.pipeline.cache), say)
                    series = trees.pack_of_series(self.pipeline.cache)
                    if series is not None and not set(series.commits) <= set(
                        member.link.held(list(series.commits))
                    ):
                        member.link.send(series, say)
                    member.worker.holds |= set(trees.tips)
                    member.link.take(self._run, kernel)
                    member.kernels.add(name)
            key = f"xip-{self._run}-{task.cell.id}-{number}"
            resources = {**dict.fromkeys(task.task.needs, 1.0), "memory": policy.MEMORY}
            future = member.link.submit(self._run, task.cell.id, key, resources)
        except XipmatrixError as error:
            self._desk.post(self._failed, task, member, number, error)
            return
        except OSError as error:
            self._desk.post(self._no_disk, task, member, number, error)
            return
        except Exception as error:
            # Dask's own, of a client that is just being closed: never a reason to end a run.
            lost = LinkLost(f"{type(error).__name__}: {error}")
            self._desk.post(self._failed, task, member, number, lost)
            return
        task.future = future
        future.add_done_callback(
            lambda one: self._desk.post(self._answered, task, member, number, one)
        )

    def _current(self, task: _Task, member: Member, number: int) -> bool:
        """Whether an event is about the try that counts: an older one was given up."""
        there = self._tasks.get(task.cell.id) is task
        return there and task.began == number and task.address == member.link.address

    def _answered(self, task: _Task, member: Member, number: int, future: Future) -> None:
        if not self._current(task, member, number):
            return
        if future.status == "finished":
            self._desk.spawn(self._fetch, task, member, number, future)
            return
        error = future.exception() if future.status == "error" else None
        if error is None:  # cancelled: the scheduler has gone, be it for a moment
            self._watch()
            if self._current(task, member, number):
                member.worker.busy -= 1
                self._again(task, "the scheduler was lost", member, count=False)
            return
        if not isinstance(error, XipmatrixError):
            error = InfrastructureError(f"{type(error).__name__}: {error}")
        self._failed(task, member, number, error)

    def _failed(self, task: _Task, member: Member, number: int, error: XipmatrixError) -> None:
        """A fault of ours with a cell on a worker that is still there, or about to go."""
        if not self._current(task, member, number):
            return
        if isinstance(error, LinkLost) and not task.silent_since:
            # Soon the worker is reported gone, and the cell with it; _watch() looks if not.
            task.silent_since = time.monotonic()
            return
        member.worker.busy -= 1
        self._roster.blame(member, error.what)
        self._again(task, f"on {member.worker.name}: {error.what}", member, avoid=True)

    def _fetch(self, task: _Task, member: Member, number: int, future: Future) -> None:
        """In a thread: get all that the worker found, and keep it."""
        cell, name = task.cell, member.worker.name
        place = self.pipeline.cache / "farm" / "arriving" / self._run / cell.folder
        blobs = Blobs(place)
        try:
            answer = _answer_of(future)
            self.pipeline.tell(cell.id, "fetching", f"from {name}")
            member.link.fetch(self._run, cell.id, contents_of(answer), blobs)
            result = arrive(self.pipeline, cell, answer, blobs, name)
            quietly(member.link.forget, self._run, cell.id)
        except XipmatrixError as error:
            self._desk.post(self._failed, task, member, number, error)
        except OSError as error:
            self._desk.post(self._no_disk, task, member, number, error)
        else:
            self._desk.post(self._fetched, task, member, number, result)
        finally:
            remove(place)

    def _no_disk(self, task: _Task, member: Member, number: int, error: OSError) -> None:
        """This machine's disk fails: no other worker would help."""
        if self._current(task, member, number):
            member.worker.busy -= 1
            self._give_up(task, str(error), "xipmatrix doctor, xipmatrix clean")

    def _fetched(self, task: _Task, member: Member, number: int, result: CellResult) -> None:
        if not self._current(task, member, number):
            return
        worker = member.worker
        worker.busy -= 1
        worker.finished.discard(task.cell.id)
        if result.verdict is Verdict.INFRASTRUCTURE:
            self._roster.blame(member, result.reason)
            if len(task.tries) + 1 < policy.TRIES:
                reason = f"on {worker.name}: {result.reason}"
                self._again(task, reason, member, avoid=True)
                return
        else:
            self._roster.good(member)
            worker.built.add(task.cell.id)
        self._record.note(
            worker.name, "finished", cell=task.cell.id, verdict=str(result.verdict or "")
        )
        self.pipeline.tell(task.cell.id, str(result.verdict or "done"), f"by {worker.name}")
        del self._tasks[task.cell.id]
        self._ended(task.cell, result)

    def _again(
        self,
        task: _Task,
        reason: str,
        member: Member,
        *,
        avoid: bool = False,
        count: bool = True,
    ) -> None:
        """Let a cell wait for another try, unless it has had all of them."""
        if task.future is not None:
            quietly(task.future.cancel)
        task.address, task.future = "", None
        self._record.note(member.worker.name, "lost", cell=task.cell.id, reason=reason)
        if count:
            task.tries.append(reason)
            if len(task.tries) >= policy.TRIES:
                self._give_up(task, f"{len(task.tries)} tries: " + "; ".join(task.tries), "")
                return
        if avoid:
            task.task = replace(task.task, avoid=task.task.avoid | {member.worker.name})
        self._queue.put(task.task)
        self.pipeline.tell(task.cell.id, "waiting", f"again, {reason}")

    def _nobody_left(self) -> None:
        """Give up cells that for a while no worker, be it busy, fits."""
        now = time.monotonic()
        workers = [one.worker for one in self._roster.ready()]
        waiting = [task for task in self._tasks.values() if not task.address]
        kinds = {task.task.kind for task in waiting}
        fit = {kind: any(one.fits(kind) for one in workers) for kind in kinds}
        for task in waiting:
            cell = task.cell.id
            if fit[task.task.kind] or not self._roster.settled:
                self._unfit_since.pop(cell, None)
            elif now - self._unfit_since.setdefault(cell, now) >= self.patience.workers:
                self._give_up(
                    task, self._why_nobody(task), "xipmatrix worker, on a machine that fits"
                )

    def _why_nobody(self, task: _Task) -> str:
        reasons = []
        for member in self._roster.members.values():
            lacks = member.worker.lacks(task.task.needs)
            if member.facts is not None:
                lacks += [
                    member.facts.missing[tag]
                    for tag in sorted(task.task.needs)
                    if tag in member.facts.missing
                ]
            if member.worker.name in task.task.avoid:
                lacks.insert(0, "failed it before")
            reasons.append(
                f"{member.worker.name}: {', '.join(dict.fromkeys(lacks)) or 'not ready'}"
            )
        said = "; ".join([*reasons, *task.tries]) or "there is none"
        return f"no worker is left for it ({said})"

    def _give_up(self, task: _Task, reason: str, hint: str) -> None:
        del self._tasks[task.cell.id]
        self._queue.drop(task.cell.id)
        result = CellResult.of(task.cell, self.pipeline.options.arguments)
        with self.pipeline.concluding(task.cell, result):
            raise InfrastructureError(reason, hint=hint)
        self._ended(task.cell, result)

    def _ended(self, cell: Cell, result: CellResult) -> None:
        self._found[cell.id] = result
        self._done(cell, result)
        broken = not result.as_expected or result.verdict is Verdict.INFRASTRUCTURE
        self._stop = self._stop or (self._fail_fast and broken)

    def _say(self, text: str) -> None:
        self.pipeline.tell("farm", WORKING, text)


def _answer_of(future: Future) -> dict[str, Any]:
    """What a cell's task returned. Raises LinkLost where Dask cannot get it any more."""
    try:
        answer: dict[str, Any] = future.result()
    except XipmatrixError:
        raise
    except Exception as error:
        raise LinkLost(f"{type(error).__name__}: {error}") from error
    return answer
