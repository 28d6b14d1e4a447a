# SPDX-License-Identifier: GPL-2.0-only
"""What a cell needs of a machine, and which worker is not to be trusted: pure decisions over
what is known of workers.

Dask moves the work and watches the workers; who gets what is schedule.policy's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..matrix.model import Cell
from ..schedule import policy as schedule
from .facts import Facts, Needed

# What a cell's link and its boot's dumps take at most, in bytes (core.host asks the same).
MEMORY = 2 << 30
# Free bytes of a worker's cache: a kernel's repository and source folder (2.2 GB), a build.
ROOM = 4 << 30
# Seconds by which a clock may be wrong: what is newer than now confuses make.
CLOCK = 30.0
# How often a cell is begun before its fault is taken for its own.
TRIES = 3
# Faults of ours in a row, or deaths in a run, after which a worker gets nothing any more.
STRIKES = 2
EVERYTHING = "*"


@dataclass(frozen=True)
class Fault:
    """Why a worker is not to be given cells that need `tag`; EVERYTHING for all of them."""

    tag: str
    reason: str


@dataclass
class Worker(schedule.Worker):
    """What the submitter knows of a worker on another machine: `holds` are commits, `tags` its
    tools."""

    faults: list[Fault] = field(default_factory=list)

    @property
    def trusted(self) -> bool:
        """Whether it is to be given anything."""
        return not any(one.tag == EVERYTHING for one in self.faults)

    def lacks(self, needs: Collection[str]) -> list[str]:
        """Why it cannot take a cell with these `needs`: empty where it can."""
        reasons = [one.reason for one in self._against(needs)]
        named = {one.tag for one in self.faults}
        reasons += [f"no {tag}" for tag in sorted(set(needs) - self.tags - named)]
        if self.memory is not None and self.memory < MEMORY:
            reasons.append(f"{self.memory >> 20} MiB of memory, needed are {MEMORY >> 20}")
        return reasons

    def fits(self, kind: schedule.Kind) -> bool:
        """As of any worker, unless it is not to be trusted with such a cell."""
        return not self._against(kind.needs) and super().fits(kind)

    def _against(self, needs: Collection[str]) -> list[Fault]:
        return [one for one in self.faults if one.tag in (EVERYTHING, *needs)]


def toolchain_tag(tuxmake_arch: str, toolchain: str) -> str:
    """The tag of a compiler, by tuxmake's names."""
    return f"{tuxmake_arch}-{toolchain}"


def needs(cell: Cell) -> tuple[str, str]:
    """The tags that a worker must have to take `cell` from its configuration to its verdict."""
    return toolchain_tag(cell.arch_spec.tuxmake_arch, cell.toolchain), cell.board_spec.qemu.binary


def needed(cells: Iterable[Cell]) -> Needed:
    """The tools of all `cells`, to be looked for on a machine."""
    compilers: dict[tuple[str, str, str, str], None] = {}
    qemu: dict[str, None] = {}
    for cell in cells:
        tag, binary = needs(cell)
        arch = cell.arch_spec.tuxmake_arch
        packages = " ".join(cell.arch_spec.toolchains[cell.toolchain].packages)
        compilers[tag, arch, cell.toolchain, packages] = None
        qemu[binary] = None
    return Needed(tuple(compilers), tuple(qemu))


# --- who is not to be trusted -----------------------------------------------------------


def faults(facts: Facts, skew: float, ours: Facts, reference: Mapping[str, str]) -> list[Fault]:
    """What is wrong with a worker, by its own `facts` and those of this machine.

    `skew`: seconds by which its clock is ahead. `reference`: see :func:`references`.
    """
    found = []
    if facts.code != ours.code:
        found.append(
            Fault(EVERYTHING, f"another xipmatrix: {facts.code}, here {ours.code}; same checkout?")
        )
    if facts.tuxmake != ours.tuxmake:
        found.append(Fault(EVERYTHING, f"tuxmake {facts.tuxmake}, here {ours.tuxmake}"))
    if abs(skew) > CLOCK:
        way = "fast" if skew > 0 else "slow"
        found.append(Fault(EVERYTHING, f"its clock is {abs(skew):.0f} s {way}"))
    if facts.unwritable:
        found.append(Fault(EVERYTHING, f"cannot write: {facts.unwritable}"))
    elif facts.free < ROOM:
        found.append(
            Fault(
                EVERYTHING,
                f"its disk is full: {facts.free / 2**30:.1f} GiB free for {facts.cache}, "
                f"needed are {ROOM >> 30}",
            )
        )
    for tag, tool in facts.tools.items():
        wanted = reference.get(tag)
        if wanted is not None and tool.identity != wanted:
            said = (
                f"{tool.version} makes other code than" if tool.version in wanted else tool.version
            )
            found.append(Fault(tag, f"another {tag}: {said}, the run's is {_version(wanted)}"))
    return found


def _version(identity: str) -> str:
    return identity.split("\n")[0]


def references(ours: Facts, others: Iterable[Facts], pinned: Mapping[str, str]) -> dict[str, str]:
    """Which compiler and QEMU a run is done with, by tag: one for all its workers.

    Once a cell was begun with one, that stays (`pinned`). Else it is this machine's, else
    that of most workers, of these the one whose version reads last.
    """
    votes: dict[str, Counter[str]] = {}
    for facts in others:
        for tag, tool in facts.tools.items():
            votes.setdefault(tag, Counter())[tool.identity] += 1
    found = {
        tag: max(count, key=lambda identity: (count[identity], identity))
        for tag, count in votes.items()
    }
    return found | {tag: tool.identity for tag, tool in ours.tools.items()} | dict(pinned)


@dataclass
class Ledger:
    """What workers did wrong in this run, by their names."""

    in_a_row: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)

    def good(self, worker: str) -> None:
        """A result came that is no fault of ours."""
        self.in_a_row[worker] = 0

    def failed(self, worker: str, reason: str) -> Fault | None:
        """A fault of ours on `worker`: the second in a row is the worker's."""
        self.in_a_row[worker] += 1
        if self.in_a_row[worker] < STRIKES:
            return None
        return Fault(EVERYTHING, f"{self.in_a_row[worker]} faults in a row, the last: {reason}")

    def died(self, worker: str) -> Fault | None:
        """The worker went away with cells in work: the second time it stays away."""
        self.deaths[worker] += 1
        if self.deaths[worker] < STRIKES:
            return None
        return Fault(EVERYTHING, f"it died {self.deaths[worker]} times with cells in work")
