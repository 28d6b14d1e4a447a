# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own mappings at one moment, from the monitor or from a dump of RAM.

Which view an architecture has is data (Arch.page_tables); a view is one function in
_VIEWS, and all give the same :class:`Mapping`. What a view cannot see it says in
`View.limits`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..image.symtab import address_of
from ..matrix.model import Board, PageTables
from .result import Moment


@dataclass(frozen=True)
class Mapping:
    """`size` bytes at `virtual`, mapped to `physical`, and what the kernel may do there."""

    virtual: int
    physical: int
    size: int
    writable: bool
    executable: bool

    def to(self, virtual: int) -> int | None:
        """The physical address of a virtual one; None where it is not in this mapping."""
        inside = virtual - self.virtual
        return self.physical + inside if 0 <= inside < self.size else None

    def meets(self, base: int, size: int) -> bool:
        """Whether any of it lies in a physical range."""
        return self.physical < base + size and base < self.physical + self.size

    def __str__(self) -> str:
        rights = f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}"
        return f"{self.virtual:#x} -> {self.physical:#x} +{self.size:#x} {rights}"


@dataclass(frozen=True)
class View:
    """All mappings that `method` shows. `limits` says which it does not, `unenforced` why
    the CPU may grant more than these rights (empty: it does not)."""

    method: str
    mappings: tuple[Mapping, ...]
    limits: str = ""
    unenforced: str = ""


def view(tables: PageTables, board: Board, moment: Moment, vmlinux: Path) -> View:
    """The mappings at `moment`. Raises InfrastructureError where they cannot be read."""
    return _VIEWS[tables.view](tables, board, moment, vmlinux)


_INFO_MEM = re.compile(r"([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ([rwxugad-]+)")


def _info_mem(_tables: PageTables, _board: Board, moment: Moment, _vmlinux: Path) -> View:
    """QEMU's walk of the tables that the first CPU uses (target/riscv/monitor.c).

    Its columns are virtual address, physical address, size, rights. User mappings are among
    them: none of these may write to flash either.
    """
    lines = [line.strip() for line in moment.info_mem.splitlines() if line.strip()]
    rows = [line for line in lines if not re.fullmatch(r"vaddr.*|[- ]+", line)]
    mappings = []
    for row in rows:
        found = _INFO_MEM.fullmatch(row)
        if found is None:
            raise InfrastructureError(f"'info mem' says something unknown: {row[:80]!r}")
        virtual, physical, size = (int(found[column], 16) for column in (1, 2, 3))
        mappings.append(Mapping(virtual, physical, size, "w" in found[4], "x" in found[4]))
    return View("QEMU's info mem", tuple(mappings))


# The functions with which Linux writes descriptors that have APX and XN (ARMv6 and later).
# .ARM.attributes does not tell: one NEON file makes an ARMv5 kernel's say v7.
_ARM_V6 = ("cpu_v6_set_pte_ext", "cpu_v7_set_pte_ext")
# A table's place in the short-descriptor format; attributes of the long one, ARM ARM B3.6.2.
_SHORT_ALIGNMENT = 16 << 10
_LONG_READ_ONLY, _LONG_PXN, _LONG_XN = 1 << 7, 1 << 53, 1 << 54
# PXNTable, XNTable, APTable[1]: the bit of a table's entry, and what it denies.
_LONG_TABLE = ((59, _LONG_PXN), (60, _LONG_XN), (62, _LONG_READ_ONLY))
# arch/arm/include/asm/domain.h; which it is stands in a register that no dump holds.
_ARM_MANAGER = (
    "before ARMv6 Linux may run as manager of the kernel's domain (CPU_USE_DOMAINS "
    "without CPU_SW_DOMAIN_PAN), for which the MMU checks no rights"
)


def _arm(tables: PageTables, board: Board, moment: Moment, vmlinux: Path) -> View:
    """A walk of the kernel's first-level table as the dump holds it.

    Its format is the ARM ARM's "short-descriptor" (ARMv7-A/R, B3.5; ARMv5: DDI 0100I, B4),
    with rights as Linux sets SCTLR: AFE=0 and, before v6, R=1 and S=0. With LPAE it is the
    "long-descriptor" (B3.6), which the table's address tells: the former's is a multiple of
    16 KiB, and Linux puts the latter 20 KiB below such a one (arch/arm/kernel/head.S).
    """
    if moment.ram is None:
        raise InfrastructureError("no dump of RAM to walk the page tables in")
    try:
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            root = address_of(elf, tables.root)
            modern = any(address_of(elf, name) is not None for name in _ARM_V6)
        if root is None:
            raise ELFError(f"no symbol {tables.root}")
        order = "<" if elf.little_endian else ">"
        ram = np.memmap(moment.ram, np.uint8, "r")
    except (ELFError, OSError, ValueError) as error:
        raise InfrastructureError(f"cannot be read: {error}", where=vmlinux) from error

    def entries(physical: int, count: int, size: int) -> list[int]:
        first = physical - board.ram_base
        if not 0 <= first <= len(ram) - count * size:
            raise InfrastructureError(f"a page table at {physical:#x} (physical) is not in RAM")
        return [int(one) for one in ram[first : first + count * size].view(f"{order}u{size}")]

    top = root - tables.linear_base + board.ram_base
    if root % _SHORT_ALIGNMENT:
        long = _arm_long_entries(entries(top, 4, 8), lambda at: entries(at, 512, 8))
        mappings = _merged(long)
    else:
        short = _arm_entries(entries(top, 4096, 4), lambda at: entries(at, 256, 4), modern)
        mappings = _merged(short)
    return View(
        method=f"walk of {tables.root} in the RAM dump",
        mappings=tuple(mappings),
        limits="mappings of user programs are in other tables",
        unenforced="" if modern else _ARM_MANAGER,
    )


def _arm_long_entries(
    first_level: list[int], table: Callable[[int], list[int]]
) -> Iterator[Mapping]:
    """Every entry of the long-descriptor format as a mapping of 1 GiB, 2 MiB or 4 KiB."""
    levels = ((30, True), (21, True), (12, False))  # size of an entry; whether it may be a block

    def walk(entries: list[int], level: int, base: int, denied: int) -> Iterator[Mapping]:
        shift, block = levels[level]
        for number, entry in enumerate(entries):
            virtual = base | number << shift
            physical = entry & 0xFF_FFFF_F000
            if entry & 3 == 3 and block:
                # What tables deny, entries cannot allow.
                more = sum(right for bit, right in _LONG_TABLE if entry >> bit & 1)
                yield from walk(table(physical), level + 1, virtual, denied | more)
            elif entry & 3 == (1 if block else 3):
                rights = entry | denied
                yield Mapping(
                    virtual,
                    physical & -1 << shift,
                    1 << shift,
                    writable=not rights & _LONG_READ_ONLY,
                    executable=not rights & (_LONG_XN | _LONG_PXN),
                )

    return walk(first_level, 0, 0, 0)


def _arm_entries(
    first_level: list[int], second_level: Callable[[int], list[int]], modern: bool
) -> Iterator[Mapping]:
    """Every entry as a mapping of 1 MiB or 4 KiB; of larger ones there are 16 equal entries."""
    for number, entry in enumerate(first_level):
        virtual = number << 20
        kind = entry & 3
        if kind == 1:
            for index, page in enumerate(second_level(entry & 0xFFFFFC00)):
                if page & 3:
                    yield _arm_page(virtual | index << 12, page, modern)
        elif kind == 2 or (kind == 3 and modern):
            access = entry >> 10 & 3
            physical = entry & 0xFFF00000
            if modern and entry & 1 << 18:
                physical = entry & 0xFF000000 | virtual & 0x00F00000
                physical |= (entry >> 20 & 0xF) << 32 | (entry >> 5 & 0xF) << 36
            writable = access != 0 and not (modern and entry & 1 << 15)
            yield Mapping(virtual, physical, 1 << 20, writable, not (modern and entry & 1 << 4))
        elif kind == 3:
            # Linux never makes one.
            raise InfrastructureError(f"a fine page table at {virtual:#x}: not understood")


def _arm_page(virtual: int, page: int, modern: bool) -> Mapping:
    large = page & 3 == 1
    physical = page & 0xFFFF0000 | virtual & 0xF000 if large else page & 0xFFFFF000
    if modern:
        writable = bool(page >> 4 & 3) and not page & 1 << 9
        executable = not page & (1 << 15 if large else 1)
    else:
        # Four subpages with rights of their own, but for the extended small page's one:
        # one that is writable makes the page so.
        writable = bool(page & (0x030 if page & 3 == 3 else 0xFF0))
        executable = True
    return Mapping(virtual, physical, 1 << 12, writable, executable)


def _merged(mappings: Iterable[Mapping]) -> Iterator[Mapping]:
    """Mappings that go on where the one before ends, with its rights, are one."""
    last: Mapping | None = None
    for one in mappings:
        if last is not None and one == replace(
            last,
            virtual=last.virtual + last.size,
            physical=last.physical + last.size,
            size=one.size,
        ):
            last = replace(last, size=last.size + one.size)
            continue
        if last is not None:
            yield last
        last = one
    if last is not None:
        yield last


_VIEWS: dict[str, Callable[[PageTables, Board, Moment, Path], View]] = {
    "info-mem": _info_mem,
    "arm": _arm,
}
