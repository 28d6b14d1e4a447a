# SPDX-License-Identifier: GPL-2.0-only
"""The workers of a run: who is there, who is ready for it, who is not to be trusted.

All methods are for one thread, which decides. What waits for a worker does so in a thread of
the pool, and comes back to that one as an event.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future as PoolFuture
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import InfrastructureError, XipmatrixError
from ..core.files import Say
from . import facts as machine
from . import policy
from .facts import Facts, Needed
from .link import Link, LinkLost
from .policy import EVERYTHING, Fault, Ledger, Worker
from .record import Record
from .session import Order

if TYPE_CHECKING:
    from distributed import Client

_GOODBYE = 10.0  # seconds that workers have to clean up after a run
_THREADS = 16  # transfers and questions at a time


class Desk:
    """Work in threads of a pool, and what comes of it as events for the thread that decides."""

    def __init__(self) -> None:
        self._events: queue.Queue[Callable[[], None]] = queue.Queue()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="farm")

    def spawn(self, function: Callable[..., None], *words: Any) -> PoolFuture[None]:
        """Have a thread of the pool call `function`."""
        return self._pool.submit(function, *words)

    def post(self, function: Callable[..., None], *words: Any) -> None:
        """Have the thread that decides call `function`."""
        self._events.put(partial(function, *words))

    def next(self, seconds: float) -> None:
        """Do the next thing that was posted, if there is one within `seconds`."""
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=seconds)()

    def close(self) -> None:
        """Wait for what is under way; begin nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def quietly(function: Callable[..., Any], *words: Any) -> None:
    """For what is only kind to do: nothing depends on whether it works."""
    try:
        function(*words)
    except Exception as error:
        logging.getLogger(__name__).debug("%s: %s", function, error)


def _identity(client: Client) -> dict[str, Any]:
    """What the scheduler says of itself and all its workers.

    Asked for here: what Client.scheduler_info() returns is a cache that Dask's own clock
    overwrites meanwhile, without workers. Raises OSError, AttributeError.
    """
    found: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)
    return found


@dataclass
class Member:
    """A worker's process at one address: after a restart it is another one."""

    link: Link
    worker: Worker
    facts: Facts | None = None
    skew: float = 0.0
    ready: bool = False
    kernels: set[str] = field(default_factory=set)
    transfer: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Roster:
    """The workers of the scheduler at `address`, for the run of `order`.

    `hear` gets what workers say of their cells (Dask's events), in a thread of Dask's.
    `commits` are those of which it matters who has them.
    """

    address: str
    order: Order
    needed: Needed
    ours: Facts
    desk: Desk
    record: Record
    say: Say
    hear: Callable[[tuple[float, Any]], None]
    commits: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._looking: set[str] = set()
        self._ledger = Ledger()
        self._banned: dict[str, Fault] = {}
        self._pinned: dict[str, str] = {}
        self._told: set[tuple[str, str]] = set()
        self._client: Client | None = None
        self._scheduler = ""

    # --- the scheduler ------------------------------------------------------------------

    def connect(self, seconds: float) -> None:
        """Raises InfrastructureError where no scheduler answers within `seconds`."""
        from distributed import Client

        deadline = time.monotonic() + seconds
        while self._client is None:
            try:
                client = Client(self.address, timeout=5, set_as_default=False)
                client.subscribe_topic(self.order.topic, self.hear)
                self._scheduler = _identity(client)["id"]
                self._client = client
            except (OSError, TimeoutError, ValueError, AttributeError) as error:
                if time.monotonic() > deadline:
                    raise InfrastructureError(
                        f"no Dask scheduler answers within {seconds:.0f} s: {error}",
                        where=self.address,
                        hint="start one: dask scheduler --port 8786; its workers: "
                        f"xipmatrix worker {self.address}",
                    ) from error
                time.sleep(1)

    def disconnect(self) -> list[Member]:
        """Let the scheduler go: all members that were there are lost."""
        if self._client is not None:
            quietly(self._client.close, 5)
            self._client = None
        gone, self.members = list(self.members.values()), {}
        self._looking.clear()
        return gone

    def watch(self) -> list[Member]:
        """Look who is there now; returns who left. Raises LinkLost where the scheduler did."""
        if self._client is None:
            return []
        try:
            if self._client.status != "running":
                raise LinkLost(f"the connection is {self._client.status}")
            info = _identity(self._client)
            if info["id"] != self._scheduler:  # Dask connects again by itself
                raise LinkLost("it was started again")
        except (OSError, TimeoutError, XipmatrixError, AttributeError) as error:
            raise LinkLost(str(error)) from error
        there = info["workers"]
        left = [self.members.pop(address) for address in set(self.members) - set(there)]
        self._looking &= set(there)
        for address, known in there.items():
            if address not in self.members:
                name = str(known["name"])
                member = Member(Link(self._client, address), Worker(name, int(known["nthreads"])))
                self.members[address] = member
                if name in self._banned:
                    self._distrust(member, self._banned[name])
                else:
                    self._looking.add(address)
                    self.desk.spawn(self._look, member)
        return left

    def restart(self, addresses: Iterable[str]) -> None:
        """Have nannies restart workers, which ends all that these do."""
        busy = sorted(set(addresses))
        if self._client is not None and busy:
            quietly(self._client.restart_workers, busy, 10, False)
        for address in busy:
            self.members.pop(address, None)

    def dismiss(self) -> None:
        """Leave nothing of the run on workers, as far as they answer soon."""
        told = [
            self.desk.spawn(quietly, member.link.close, self.order.run)
            for member in self.members.values()
            if member.ready and self._client is not None
        ]
        wait(told, timeout=_GOODBYE)
        self.disconnect()  # whoever still waits for an answer gets none

    # --- who is ready -------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Whether all that are there were looked at."""
        return not self._looking

    def ready(self) -> list[Member]:
        """Those that take cells of this run."""
        return [one for one in self.members.values() if one.ready]

    def _here(self, member: Member) -> bool:
        return self.members.get(member.link.address) is member

    def _look(self, member: Member) -> None:
        """In a thread: what the machine is, and how its clock goes."""
        before = time.time()
        try:
            found = member.link.look(self.needed)
        except LinkLost:
            self.desk.post(self._unanswered, member)
            return
        except InfrastructureError as error:
            self.desk.post(self._refused, member, error.what)
            return
        # Its clock was read somewhen between the question and the answer.
        skew = max(0.0, found.clock - time.time()) + min(0.0, found.clock - before)
        self.desk.post(self._looked, member, found, skew)

    def _unanswered(self, member: Member) -> None:
        """Perhaps it is just going: if not, it is looked at as one that has come."""
        if self._here(member):
            self._looking.discard(member.link.address)
            del self.members[member.link.address]

    def _refused(self, member: Member, why: str) -> None:
        if self._here(member):
            self._looking.discard(member.link.address)
            self._distrust(member, Fault(EVERYTHING, why))

    def _looked(self, member: Member, found: Facts, skew: float) -> None:
        if not self._here(member):
            return
        member.facts, member.skew = found, skew
        worker = member.worker
        worker.slots = max(1, min(worker.slots, found.memory // policy.MEMORY))
        worker.memory, worker.built = found.memory, set(found.built)
        worker.tags = frozenset(found.tools)
        self._judge()
        if worker.trusted:
            self.desk.spawn(self._welcome, member)
        else:
            self._looking.discard(member.link.address)

    def _welcome(self, member: Member) -> None:
        """In a thread: open the run there, and see what of it the worker has."""
        worker = member.worker
        tags = dict.fromkeys(worker.tags, float(worker.slots)) | {
            "memory": float(worker.memory or 0)
        }
        try:
            finished = member.link.open(self.order, machine.own_code(), tags)
            held = member.link.held(self.commits)
        except LinkLost:
            self.desk.post(self._unanswered, member)
            return
        except InfrastructureError as error:
            self.desk.post(self._refused, member, error.what)
            return
        self.desk.post(self._welcomed, member, finished, held)

    def _welcomed(self, member: Member, finished: list[str], held: list[str]) -> None:
        if self._here(member):
            self._looking.discard(member.link.address)
            member.worker.finished, member.worker.holds = set(finished), set(held)
            member.ready = True
            host = member.facts.host if member.facts else ""
            self.record.note(member.worker.name, "joined", host=host)

    # --- trust --------------------------------------------------------------------------

    def _judge(self) -> None:
        """Look at all workers again: each may change what most of them are."""
        known = [(one, one.facts) for one in self.members.values() if one.facts is not None]
        reference = policy.references(self.ours, [facts for _, facts in known], self._pinned)
        for member, facts in known:
            worker = member.worker
            worker.faults = policy.faults(facts, member.skew, self.ours, reference)
            if worker.name in self._banned:
                worker.faults.append(self._banned[worker.name])
            for fault in worker.faults:
                self._tell(worker.name, fault)

    def pin(self, member: Member, needs: Iterable[str]) -> None:
        """A cell begins on `member`: its tools are the run's from now on."""
        assert member.facts is not None
        for tag in needs:
            self._pinned.setdefault(tag, member.facts.tools[tag].identity)

    def good(self, member: Member) -> None:
        """A result came that is no fault of ours."""
        self._ledger.good(member.worker.name)

    def blame(self, member: Member, reason: str) -> None:
        """A fault of ours happened on `member`."""
        self._ban(member.worker.name, self._ledger.failed(member.worker.name, reason))

    def died(self, member: Member) -> None:
        """`member` went away with cells in work."""
        self._ban(member.worker.name, self._ledger.died(member.worker.name))

    def _ban(self, name: str, fault: Fault | None) -> None:
        """With a `fault`, whatever calls itself `name` gets nothing of this run any more."""
        if fault is None:
            return
        self._banned[name] = fault
        self._tell(name, fault)
        for member in self.members.values():
            if member.worker.name == name:
                self._distrust(member, fault)
                self.desk.spawn(quietly, member.link.avoid, [*member.worker.tags, "memory"])

    def _distrust(self, member: Member, fault: Fault) -> None:
        member.worker.faults.append(fault)
        self._tell(member.worker.name, fault)

    def _tell(self, name: str, fault: Fault) -> None:
        if (name, fault.reason) not in self._told:
            self._told.add((name, fault.reason))
            what = "" if fault.tag == EVERYTHING else f" for {fault.tag}"
            self.say(f"worker {name} is avoided{what}: {fault.reason}")
            self.record.note(name, "avoided", tag=fault.tag, reason=fault.reason)
