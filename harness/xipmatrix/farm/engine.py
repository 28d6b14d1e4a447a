# SPDX-License-Identifier: GPL-2.0-only
"""The submitter: watches workers come and go, hands out cells, fetches what they found.

One thread decides; whatever waits for a worker does so in a thread of a pool and ends as
an event in the queue. A result is in the store as soon as it is fetched, so nothing that
is finished depends on a scheduler, a worker or the network any more.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import InfrastructureError, XipmatrixError
from ..core.evidence import CellFailure, Verdict
from ..core.files import remove
from ..matrix.model import Cell
from ..pipeline import Pipeline, Prepared
from ..result import WORKING, CellResult, Stage
from ..schedule.costs import costs
from . import facts as machine
from . import policy
from .arrival import arrive
from .content import Blobs
from .facts import Facts
from .link import Link, LinkLost
from .policy import EVERYTHING, Fault, Ledger, Waiting, Worker
from .record import Record
from .session import Order, SentKernel, contents_of
from .trees import Trees

if TYPE_CHECKING:
    from distributed import Client, Future

_TICK = 1.0  # seconds between two looks at the scheduler
_SILENCE = 90.0  # seconds after which a worker that does not answer is blamed, though it is there
_GOODBYE = 10.0  # seconds that workers have to clean up after a run
_THREADS = 16  # transfers and questions at a time


@dataclass(frozen=True)
class Patience:
    """Seconds: to wait for a scheduler that has gone, and for a worker that fits."""

    scheduler: float = 600.0
    workers: float = 120.0


@dataclass
class _Member:
    """A worker's process at one address: after a restart it is another one."""

    link: Link
    worker: Worker
    facts: Facts | None = None
    skew: float = 0.0
    ready: bool = False
    kernels: set[str] = field(default_factory=set)
    transfer: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class _Task:
    """A cell on its way. `tries` are faults of ours so far, for people."""

    cell: Cell
    waiting: Waiting
    tries: list[str] = field(default_factory=list)
    address: str = ""
    future: Future | None = None
    began: int = 0
    silent_since: float = 0.0


@dataclass
class Farm:
    """Runs cells on the workers of the Dask scheduler at `address`."""

    pipeline: Pipeline
    address: str
    seconds: Mapping[str, float]
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        self._events: queue.Queue[Callable[[], None]] = queue.Queue()
        self._members: dict[str, _Member] = {}
        self._looking: set[str] = set()
        self._tasks: dict[str, _Task] = {}
        self._found: dict[str, CellResult] = {}
        self._kernels: dict[str, tuple[SentKernel, Trees]] = {}
        self._ledger = Ledger()
        self._banned: dict[str, Fault] = {}
        self._pinned: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._record = Record()
        self._unfit_since: dict[str, float] = {}
        self._run = f"{self.pipeline.run.id}-{secrets.token_hex(4)}"
        self._ours: Facts | None = None
        self._client: Client | None = None
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
        self._needed = policy.needed(cells)
        self._ours = machine.measure(self._needed, self.pipeline.cache)
        self._order = Order(
            self._run,
            f"xipmatrix-{self._run}",
            self.pipeline.loaded,
            tuple(cells),
            replace(self.pipeline.options, place=None),
        )
        self._client = self._connect(10.0)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="farm") as self._pool:
            try:
                self._prepare(cells)
                self._loop()
            except BaseException:
                self._abandon()
                raise
            finally:
                self._finish()
        return [self._found[cell.id] for cell in cells if cell.id in self._found]

    def _loop(self) -> None:
        began = looked = time.monotonic()
        self._watch()
        while self._open():
            with contextlib.suppress(queue.Empty):
                self._events.get(timeout=_TICK)()
            now = time.monotonic()
            if now - looked >= _TICK:
                looked = now
                self._watch()
            settled = not self._looking or now - began > self.patience.workers / 2
            if settled and not self._stop:
                self._hand_out()
                if looked == now:
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
            commits = prepared.kernel.commit, prepared.tip(cell.series)
            waiting = Waiting(cell.id, seconds[cell.id], policy.needs(cell), commits)
            self._tasks[cell.id] = _Task(cell, waiting)

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

    # --- the scheduler and its workers --------------------------------------------------

    def _connect(self, seconds: float) -> Client:
        from distributed import Client

        deadline = time.monotonic() + seconds
        while True:
            try:
                client = Client(self.address, timeout=5, set_as_default=False)
                client.subscribe_topic(self._order.topic, self._heard)
                return client
            except (OSError, TimeoutError, ValueError) as error:
                if time.monotonic() > deadline:
                    raise InfrastructureError(
                        f"no Dask scheduler answers within {seconds:.0f} s: {error}",
                        where=self.address,
                        hint="start one: dask scheduler --port 8786; its workers: "
                        f"xipmatrix worker {self.address}",
                    ) from error
                time.sleep(1)

    def _heard(self, event: tuple[float, Any]) -> None:
        said = event[1]
        task = self._tasks.get(said["cell"])
        if task is not None and said["stage"] not in list(Verdict):
            self.pipeline.tell(said["cell"], said["stage"], said["detail"])

    def _watch(self) -> None:
        if self._client is None:  # the scheduler did not come back, and all cells are given up
            return
        try:
            if self._client.status != "running":
                raise LinkLost(f"the connection is {self._client.status}")
            there = self._client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, TimeoutError, XipmatrixError, AttributeError) as error:
            self._scheduler_lost(str(error))
            return
        for address in set(self._members) - set(there):
            self._left(address)
        for task in list(self._tasks.values()):
            silent = time.monotonic() - task.silent_since if task.silent_since else 0.0
            if task.address in self._members and silent > _SILENCE:
                gone = LinkLost(f"did not answer for {silent:.0f} s")
                self._failed(task, self._members[task.address], task.began, gone)
        for address, known in there.items():
            if address not in self._members:
                name = str(known["name"])
                worker = Worker(name, int(known["nthreads"]))
                member = _Member(Link(self._client, address), worker)
                self._members[address] = member
                if name in self._banned:
                    self._distrust(member, self._banned[name])
                else:
                    self._looking.add(address)
                    self._pool.submit(self._look, address, member)

    def _scheduler_lost(self, why: str) -> None:
        self._say(f"the scheduler is lost ({why}); what is fetched is kept, waiting for it")
        self._close_client()
        for address in list(self._members):
            self._left(address, "the scheduler was lost", blame=False)
        try:
            self._client = self._connect(self.patience.scheduler)
            self._say("the scheduler is back")
        except InfrastructureError as error:
            for task in list(self._tasks.values()):
                self._give_up(task, f"the scheduler was lost: {error.what}", error.hint)

    def _look(self, address: str, member: _Member) -> None:
        """In a thread: what the machine is, and how its clock goes."""
        before = time.time()
        try:
            found = member.link.look(self._needed)
        except InfrastructureError as error:
            self._events.put(partial(self._refused, address, member, error.what))
            return
        # Its clock was read somewhen between the question and the answer.
        skew = max(0.0, found.clock - time.time()) + min(0.0, found.clock - before)
        self._events.put(partial(self._looked, address, member, found, skew))

    def _refused(self, address: str, member: _Member, why: str) -> None:
        self._looking.discard(address)
        self._distrust(member, Fault(EVERYTHING, why))

    def _looked(self, address: str, member: _Member, found: Facts, skew: float) -> None:
        if self._members.get(address) is not member:
            return
        member.facts, member.skew = found, skew
        worker = member.worker
        worker.slots = max(1, min(worker.slots, found.memory // policy.MEMORY))
        worker.memory, worker.built = found.memory, set(found.built)
        worker.tags = tuple(found.tools)
        self._judge()
        if worker.trusted:
            self._pool.submit(self._welcome, address, member)
        else:
            self._looking.discard(address)

    def _judge(self) -> None:
        """Look at all workers again: each may change what most of them are."""
        assert self._ours is not None
        known = [one for one in self._members.values() if one.facts is not None]
        facts = [one.facts for one in known if one.facts is not None]
        reference = policy.references(self._ours, facts, self._pinned)
        for member in known:
            assert member.facts is not None
            worker = member.worker
            worker.faults = policy.faults(member.facts, member.skew, self._ours, reference)
            if worker.name in self._banned:
                worker.faults.append(self._banned[worker.name])
            for fault in worker.faults:
                self._tell_fault(worker.name, fault)

    def _welcome(self, address: str, member: _Member) -> None:
        """In a thread: open the run there, and see what it has."""
        try:
            worker = member.worker
            tags = dict.fromkeys(worker.tags, float(worker.slots)) | {"memory": worker.memory}
            finished = member.link.open(self._order, machine.own_code(), tags)
            commits = {one for task in list(self._tasks.values()) for one in task.waiting.commits}
            held = member.link.held(sorted(commits))
        except LinkLost:
            return  # the scheduler will say that it is gone
        except InfrastructureError as error:
            self._events.put(partial(self._refused, address, member, error.what))
            return
        self._events.put(partial(self._welcomed, address, member, finished, held))

    def _welcomed(
        self, address: str, member: _Member, finished: list[str], held: list[str]
    ) -> None:
        if self._members.get(address) is member:
            self._looking.discard(address)
            member.worker.finished, member.worker.holds = set(finished), set(held)
            member.ready = True
            self._record.note(
                member.worker.name, "joined", host=member.facts.host if member.facts else ""
            )

    def _left(self, address: str, why: str = "", *, blame: bool = True) -> None:
        member = self._members.pop(address)
        self._looking.discard(address)
        lost = [task for task in self._tasks.values() if task.address == address]
        if lost and blame:
            fault = self._ledger.died(member.worker.name)
            if fault is not None:
                self._ban(member.worker.name, fault)
        for task in lost:
            self._again(task, why or f"{member.worker.name} went away", member.worker, count=blame)

    # --- trust --------------------------------------------------------------------------

    def _distrust(self, member: _Member, fault: Fault) -> None:
        member.worker.faults.append(fault)
        self._tell_fault(member.worker.name, fault)

    def _ban(self, name: str, fault: Fault) -> None:
        """Whatever calls itself `name` gets nothing of this run any more."""
        self._banned[name] = fault
        for member in self._members.values():
            if member.worker.name == name:
                self._distrust(member, fault)
                tags = [*member.worker.tags, "memory"]
                self._pool.submit(self._quietly, member.link.avoid, tags)

    def _tell_fault(self, name: str, fault: Fault) -> None:
        if (name, fault.reason) not in self._told:
            self._told.add((name, fault.reason))
            what = "" if fault.tag == EVERYTHING else f" for {fault.tag}"
            self._say(f"worker {name} is avoided{what}: {fault.reason}")
            self._record.note(name, "avoided", tag=fault.tag, reason=fault.reason)

    # --- cells --------------------------------------------------------------------------

    def _hand_out(self) -> None:
        tasks = [task for task in self._tasks.values() if not task.address]
        ready = [one for one in self._members.values() if one.ready]
        while True:
            chosen = policy.choose([t.waiting for t in tasks], [one.worker for one in ready])
            if chosen is None:
                break
            member = next(one for one in ready if one.worker is chosen.worker)
            self._begin(tasks.pop(chosen.index), member)

    def _begin(self, task: _Task, member: _Member) -> None:
        assert member.facts is not None
        for tag in task.waiting.needs:
            self._pinned.setdefault(tag, member.facts.tools[tag].identity)
        task.address, task.future, task.silent_since = member.link.address, None, 0.0
        task.began += 1
        member.worker.busy += 1
        self._record.note(member.worker.name, "begun", cell=task.cell.id, time=task.began)
        self.pipeline.tell(task.cell.id, "sent", f"to {member.worker.name}")
        self._pool.submit(self._launch, task, member, task.began)

    def _launch(self, task: _Task, member: _Member, number: int) -> None:
        """In a thread: send what the worker lacks, then the cell."""
        name = task.cell.kernel
        kernel, trees = self._kernels[name]
        base, _ = task.waiting.commits

        def say(text: str) -> None:
            self.pipeline.tell(f"worker {member.worker.name}", WORKING, text)

        try:
            with member.transfer:
                if name not in member.kernels:
                    if base not in member.worker.holds:
                        member.link.send(trees.pack_of_base(self.pipeline.cache), say)
                        member.worker.holds.add(base)
                    series = trees.pack_of_series(self.pipeline.cache)
                    if series is not None and not set(series.commits) <= set(
                        member.link.held(list(series.commits))
                    ):
                        member.link.send(series, say)
                    member.worker.holds |= set(trees.tips)
                    member.link.take(self._run, kernel)
                    member.kernels.add(name)
            key = f"xip-{self._run}-{task.cell.id}-{number}"
            resources = {**dict.fromkeys(task.waiting.needs, 1.0), "memory": policy.MEMORY}
            future = member.link.submit(self._run, task.cell.id, key, resources)
        except XipmatrixError as error:
            self._events.put(partial(self._failed, task, member, number, error))
            return
        except Exception as error:
            # Dask's own, of a client that is just being closed: never a reason to end a run.
            lost = LinkLost(f"{type(error).__name__}: {error}")
            self._events.put(partial(self._failed, task, member, number, lost))
            return
        task.future = future
        future.add_done_callback(
            lambda one: self._events.put(partial(self._answered, task, member, number, one))
        )

    def _current(self, task: _Task, member: _Member, number: int) -> bool:
        """Whether an event is about the try that counts: an older one was given up."""
        there = self._tasks.get(task.cell.id) is task
        return there and task.began == number and task.address == member.link.address

    def _answered(self, task: _Task, member: _Member, number: int, future: Future) -> None:
        if not self._current(task, member, number):
            return
        if future.status == "finished":
            self._pool.submit(self._fetch, task, member, number, future)
            return
        error = future.exception() if future.status == "error" else None
        if error is None:  # cancelled: the scheduler has gone, be it for a moment
            self._watch()
            if self._current(task, member, number):
                member.worker.busy -= 1
                self._again(task, "the scheduler was lost", member.worker, count=False)
            return
        if not isinstance(error, XipmatrixError):
            error = InfrastructureError(f"{type(error).__name__}: {error}")
        self._failed(task, member, number, error)

    def _failed(self, task: _Task, member: _Member, number: int, error: XipmatrixError) -> None:
        """A fault of ours with a cell on a worker that is still there, or about to go."""
        if not self._current(task, member, number):
            return
        if isinstance(error, LinkLost) and not task.silent_since:
            # Soon the worker is reported gone, and the cell with it; _watch() looks if not.
            task.silent_since = time.monotonic()
            return
        member.worker.busy -= 1
        self._blame(member, error.what)
        self._again(task, f"on {member.worker.name}: {error.what}", member.worker, avoid=True)

    def _fetch(self, task: _Task, member: _Member, number: int, future: Future) -> None:
        """In a thread: get all that the worker found, and keep it."""
        cell, name = task.cell, member.worker.name
        place = self.pipeline.cache / "farm" / "arriving" / self._run / cell.folder
        blobs = Blobs(place)
        try:
            answer = future.result()
            self.pipeline.tell(cell.id, "fetching", f"from {name}")
            member.link.fetch(self._run, cell.id, contents_of(answer), blobs)
            result = arrive(self.pipeline, cell, answer, blobs, name)
            self._quietly(member.link.forget, self._run, cell.id)
        except XipmatrixError as error:
            self._events.put(partial(self._failed, task, member, number, error))
        except OSError as error:  # of our own disk
            result = CellResult.of(cell, self.pipeline.options.arguments)
            with self.pipeline.concluding(cell, result):
                raise error
            self._events.put(partial(self._fetched, task, member, number, result))
        except Exception as error:
            lost = LinkLost(f"{type(error).__name__}: {error}")
            self._events.put(partial(self._failed, task, member, number, lost))
        else:
            self._events.put(partial(self._fetched, task, member, number, result))
        finally:
            remove(place)

    def _fetched(self, task: _Task, member: _Member, number: int, result: CellResult) -> None:
        if not self._current(task, member, number):
            return
        worker = member.worker
        worker.busy -= 1
        worker.finished.discard(task.cell.id)
        if result.verdict is Verdict.INFRASTRUCTURE:
            self._blame(member, result.reason)
            if len(task.tries) + 1 < policy.TRIES:
                reason = f"on {worker.name}: {result.reason}"
                self._again(task, reason, worker, avoid=True)
                return
        else:
            self._ledger.good(worker.name)
            worker.built.add(task.cell.id)
        self._record.note(
            worker.name, "finished", cell=task.cell.id, verdict=str(result.verdict or "")
        )
        self.pipeline.tell(task.cell.id, str(result.verdict or "done"), f"by {worker.name}")
        del self._tasks[task.cell.id]
        self._ended(task.cell, result)

    def _blame(self, member: _Member, reason: str) -> None:
        fault = self._ledger.failed(member.worker.name, reason)
        if fault is not None:
            self._ban(member.worker.name, fault)

    def _again(
        self,
        task: _Task,
        reason: str,
        worker: Worker,
        *,
        avoid: bool = False,
        count: bool = True,
    ) -> None:
        """Let a cell wait for another try, unless it has had all of them."""
        if task.future is not None:
            self._quietly(task.future.cancel)
        task.address, task.future = "", None
        self._record.note(worker.name, "lost", cell=task.cell.id, reason=reason)
        if count:
            task.tries.append(reason)
            if len(task.tries) >= policy.TRIES:
                self._give_up(task, f"{len(task.tries)} tries: " + "; ".join(task.tries), "")
                return
        if avoid:
            keep = task.waiting.avoid | {worker.name}
            task.waiting = replace(task.waiting, avoid=keep)
        self.pipeline.tell(task.cell.id, "waiting", f"again, {reason}")

    def _nobody_left(self) -> None:
        """Give up cells that for a while no worker, be it busy, fits."""
        now = time.monotonic()
        workers = [one.worker for one in self._members.values() if one.ready]
        waiting = [task for task in self._tasks.values() if not task.address]
        fit = {
            needs: {one.name for one in workers if not one.lacks(needs)}
            for needs in {task.waiting.needs for task in waiting}
        }
        for task in waiting:
            cell = task.cell.id
            fits = bool(fit[task.waiting.needs] - task.waiting.avoid)
            if fits or self._looking:
                self._unfit_since.pop(cell, None)
            elif now - self._unfit_since.setdefault(cell, now) >= self.patience.workers:
                self._give_up(
                    task, self._why_nobody(task), "xipmatrix worker, on a machine that fits"
                )

    def _why_nobody(self, task: _Task) -> str:
        reasons = []
        for member in self._members.values():
            lacks = member.worker.lacks(task.waiting.needs)
            if member.facts is not None:
                lacks += [
                    member.facts.missing[tag]
                    for tag in task.waiting.needs
                    if tag in member.facts.missing
                ]
            if member.worker.name in task.waiting.avoid:
                lacks.insert(0, "failed it before")
            reasons.append(
                f"{member.worker.name}: {', '.join(dict.fromkeys(lacks)) or 'not ready'}"
            )
        said = "; ".join([*reasons, *task.tries]) or "there is none"
        return f"no worker is left for it ({said})"

    def _give_up(self, task: _Task, reason: str, hint: str) -> None:
        del self._tasks[task.cell.id]
        result = CellResult.of(task.cell, self.pipeline.options.arguments)
        with self.pipeline.concluding(task.cell, result):
            raise InfrastructureError(reason, hint=hint)
        self._ended(task.cell, result)

    def _ended(self, cell: Cell, result: CellResult) -> None:
        self._found[cell.id] = result
        self._done(cell, result)
        broken = not result.as_expected or result.verdict is Verdict.INFRASTRUCTURE
        self._stop = self._stop or (self._fail_fast and broken)

    # --- the end ------------------------------------------------------------------------

    def _abandon(self) -> None:
        """End what workers still do for us: their nannies restart them."""
        busy = {task.address for task in self._tasks.values() if task.address}
        if self._client is not None and busy:
            self._quietly(self._client.restart_workers, sorted(busy), 10, False)
        for address in busy:  # what was open there has gone with its process
            self._members.pop(address, None)

    def _finish(self) -> None:
        """Leave nothing of the run on workers, as far as they answer soon."""
        told = [
            self._pool.submit(self._quietly, member.link.close, self._run)
            for member in self._members.values()
            if member.ready and self._client is not None
        ]
        wait(told, timeout=_GOODBYE)
        self._close_client()  # whoever still waits for an answer gets none
        self._pool.shutdown(wait=True, cancel_futures=True)
        remove(self.pipeline.cache / "farm" / "arriving" / self._run)
        self._record.write(self.pipeline.run.folder, self.address)

    def _close_client(self) -> None:
        if self._client is not None:
            self._quietly(self._client.close, 5)
            self._client = None

    @staticmethod
    def _quietly(function: Callable[..., Any], *words: Any) -> None:
        """For what is only kind to do: nothing depends on whether it works."""
        try:
            function(*words)
        except Exception as error:
            logging.getLogger(__name__).debug("%s: %s", function, error)

    def _say(self, text: str) -> None:
        self.pipeline.tell("farm", WORKING, text)
