# SPDX-License-Identifier: GPL-2.0-only
"""From the plugin's counts to what was executed from where.

Each run of instructions is placed by the host address it was fetched from (memory)
and by its guest virtual address (who executed it):

* **user-flash**: fetched from the flash's host memory, at the address at which a file system
  there has just this code of a user program.
* **flash**: fetched from the flash's host memory, by whomever else.
* **kernel-ram**: fetched elsewhere, at a virtual address from ``kernel_virtual_base``
  up, or at a virtual address that equals the physical one: code that runs with the
  MMU off or through an identity mapping is never a user program here, because init is
  linked far from every RAM physical address (Arch.init.text_virtual_address).
* **firmware**: fetched at a virtual address that equals the physical one, in memory that the
  board declares to be the firmware's, and code that was there before the first instruction.
  Other code there, and this code at another virtual address, is kernel-ram.
* **user**: fetched elsewhere, at any other virtual address (without MMU: anywhere), and code
  of init or of a program in flash. The plugin API of QEMU 7.2 shows no privilege level, so a
  kernel that maps its own code where programs lie would not be told by addresses: other code
  there is kernel-ram.
  Only where init's code is not known is all of it counted as user (without MMU: as kernel-ram).

User code at kernel addresses (arm's vector page) is counted as kernel.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..image import symtab
from ..matrix.model import Arch, Board, RamText
from .result import Memory, Sample

_HEADER = "xipmatrix-residency 2 "


# The assembler's marks ($a, $d, .L) and the linker script's: no names of code.
_MARK = re.compile(r"^$|^[$.]|_(start|end|lma)$")


_WORD = 4
_PAGE = 4096  # bytes; all that declares such code has pages of that size
# Memory at none of the addresses that the board declares.
UNKNOWN = "unknown memory"
# Every run with its place and symbol, beside the console log.
EXECUTED = "executed.tsv"


class Where(StrEnum):
    """What executed, and from which memory."""

    FLASH = "flash"
    KERNEL_RAM = "kernel-ram"
    DECLARED = "kernel-ram-declared"
    FIRMWARE = "firmware"
    USER = "user"
    USER_FLASH = "user-flash"


@dataclass(frozen=True)
class Run:
    """Contiguous code: guest virtual and host address, its bytes as fetched (None: not
    known), and how many instructions of it were executed."""

    vaddr: int
    haddr: int
    code: bytes | None
    count: int

    @property
    def size(self) -> int:
        """In bytes; of a sample, of which no more is known, 1."""
        return 1 if self.code is None else len(self.code)

    def equals(self, data: bytes) -> bool:
        """Whether it is `data`, as far as is known."""
        return len(data) == self.size and self.code in (None, data)


class LoadedCode(Protocol):
    """Code that the kernel loaded to RAM: a module or a BPF program (`kind`) named `owner`."""

    @property
    def kind(self) -> str: ...
    @property
    def owner(self) -> str: ...

    def holds(self, run: Run) -> bool:
        """Whether `run` is part of it."""

    def name(self, vaddr: int) -> str:
        """The name of what is at `vaddr` (virtual)."""


class UserCode(Protocol):
    """The code of the program that runs (userland.py)."""

    def holds(self, run: Run) -> bool:
        """Whether `run` is part of it."""


class StoredCode(UserCode, Protocol):
    """The code of a program in a file system in flash (userland.py)."""

    @property
    def name(self) -> str: ...

    def holds_in_place(self, run: Run, physical: int) -> bool:
        """Whether `run`, fetched from `physical`, is part of it at its place in flash."""


@dataclass(frozen=True)
class Executed:
    """One run as it was placed: what a person who doubts looks through.

    `vaddr` is guest virtual; `physical` None where the memory is none that the board knows.
    """

    vaddr: int
    physical: int | None
    memory: str
    place: Where
    name: str
    count: int


@dataclass
class Residency:
    """Executed instructions by place; by name for kernel code in RAM: `outside`, `declared`.

    `loaded`, a part of `declared`, by module or BPF program. `programs`: of those in flash, by
    name and by where they were fetched from.
    """

    rows: list[Executed] = field(default_factory=list)
    counts: Counter[Where] = field(default_factory=Counter)
    declared: Counter[str] = field(default_factory=Counter)
    loaded: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    programs: Counter[tuple[str, Where]] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def kernel(self) -> int:
        """What the kernel executed: all but firmware and users."""
        return sum(self.counts[place] for place in (Where.FLASH, Where.KERNEL_RAM, Where.DECLARED))


def read_counts(path: Path) -> list[Run]:
    """The plugin's file. Raises InfrastructureError where it is not one."""
    lines = path.read_text("ascii", "replace").splitlines()
    try:
        if not lines[0].startswith(_HEADER):
            raise ValueError("no header")
        return [_run(line.split()) for line in lines[1:]]
    except (ValueError, IndexError) as error:
        raise InfrastructureError(f"not a residency count: {error}", where=path) from error


def runs_of(samples: Iterable[Sample], memories: Sequence[Memory]) -> list[Run]:
    """Samples as runs of one instruction each. One whose PC is mapped nowhere is left out:
    the CPU was about to fault."""
    found = []
    for one in samples:
        if one.physical is None:
            continue
        host = 0
        for memory in memories:
            if 0 <= one.physical - memory.physical < memory.size:
                host = memory.host + one.physical - memory.physical
                break
        found.append(Run(one.pc, host, None, 1))
    return found


def _run(words: Sequence[str]) -> Run:
    vaddr, haddr, code, count = words
    return Run(int(vaddr, 16), int(haddr, 16), bytes.fromhex(code), int(count))


class Symbols:
    """A vmlinux's code: names of addresses, and the bytes of its sections (virtual).

    `has_lines`: whether it has debug information, which knows source lines.
    """

    def __init__(self, vmlinux: Path) -> None:
        """Raises InfrastructureError where the file is no ELF file with symbols."""
        try:
            with vmlinux.open("rb") as stream:
                self._read(ELFFile(stream))
        except (ELFError, OSError) as error:
            raise InfrastructureError(f"cannot be read: {error}", where=vmlinux) from error

    def _read(self, elf: ELFFile) -> None:
        names: dict[int, str] = {}
        self._values: dict[str, int] = {}
        thumb = 1 if elf["e_machine"] == "EM_ARM" else 0  # bit 0 of a function's address
        for symbol in symtab.entries(elf):
            self._values.setdefault(symbol.name, symbol.value)
            if symbol.kind == symtab.FUNCTION:
                names[symbol.value & ~thumb] = symbol.name
            elif symbol.kind == symtab.WITHOUT_TYPE and not _MARK.search(symbol.name):
                names.setdefault(symbol.value, symbol.name)
        self.has_lines = elf.get_section_by_name(".debug_line") is not None
        self._addresses = sorted(names)
        self._names = [names[address] for address in self._addresses]
        self._sections = [
            (section.name, section["sh_addr"], section.data())
            for section in elf.iter_sections()
            if section["sh_flags"] & 0x2 and section["sh_flags"] & 0x4 and section["sh_size"]
        ]

    def name(self, vaddr: int) -> str:
        """The symbol that `vaddr` (virtual) lies in; where its section has none: the address."""
        return self.place(vaddr).split("+")[0]

    def place(self, vaddr: int) -> str:
        """The same as the kernel writes it, ``name+0xoffset/0xsize``.

        As in the kernel, a symbol goes up to the next one, or to its section's end.
        """
        at = bisect_right(self._addresses, vaddr) - 1
        for _section, start, data in self._sections:
            end = start + len(data)
            if start <= vaddr < end and at >= 0 and self._addresses[at] >= start:
                here = self._addresses[at]
                end = min([end, *self._addresses[at + 1 : at + 2]])
                return f"{self._names[at]}+{vaddr - here:#x}/{end - here:#x}"
        return f"{vaddr:#x}"

    def contain(self, code: bytes) -> bool:
        """Whether `code` occurs anywhere in executable sections."""
        return any(code in data for _name, _start, data in self._sections)

    def between(self, start: str, end: str) -> bytes | None:
        """What executable sections hold from symbol `start` to `end`; None if not there."""
        low, high = (self._values.get(name) for name in (start, end))
        if low is None or high is None:
            return None
        return next(
            (
                data[low - base : high - base]
                for _section, base, data in self._sections
                if base <= low < high <= base + len(data)
            ),
            None,
        )

    def section_bytes(self, name: str, vaddr: int, size: int) -> bytes | None:
        """`size` bytes at `vaddr` (virtual) of executable section `name`; None if not there."""
        for section, start, data in self._sections:
            if section == name and start <= vaddr and vaddr + size <= start + len(data):
                return data[vaddr - start : vaddr - start + size]
        return None


def classify(
    runs: Iterable[Run],
    memories: Sequence[Memory],
    board: Board,
    arch: Arch,
    symbols: Symbols | None,
    loaded: Sequence[LoadedCode] = (),
    init: UserCode | None = None,
    stored: Sequence[StoredCode] = (),
) -> Residency:
    """Place every run. Without `symbols`, names are addresses and nothing is declared.

    `loaded` is the code that may be in RAM because the kernel loaded it, `init` the program
    that is executed; None: not known. `stored` are the programs in flash.
    """
    found = Residency()
    for run in runs:
        place = _place(run, memories, board, arch)
        memory = _memory(run, memories)
        program = _program(run, place, memory, stored)
        if program is not None:
            place = Where.USER_FLASH if place is Where.FLASH else Where.USER
            found.programs[program.name, place] += run.count
        elif place is Where.USER and not (init.holds(run) if init is not None else arch.mmu):
            place = Where.KERNEL_RAM
        name = symbols.name(run.vaddr) if symbols else f"{run.vaddr:#x}"
        if place is Where.KERNEL_RAM:
            why = _declared(run, arch.ram_text, symbols)
            # Memory of code that is gone, such as a module's beginning, is used again.
            code = next((one for one in loaded if one.holds(run)), None)
            if why is not None:
                place = Where.DECLARED
                found.declared[f"{name} ({why})"] += run.count
            elif code is not None:
                place = Where.DECLARED
                name = f"{code.name(run.vaddr)} ({code.kind})"
                found.declared[name] += run.count
                found.loaded[f"{code.kind} {code.owner}"] += run.count
            else:
                found.outside[f"{name} ({memory.name if memory else UNKNOWN})"] += run.count
        found.counts[place] += run.count
        where = memory.name if memory else UNKNOWN
        physical = memory.physical + run.haddr - memory.host if memory else None
        found.rows.append(Executed(run.vaddr, physical, where, place, name, run.count))
    return found


def _program(
    run: Run, place: Where, memory: Memory | None, stored: Sequence[StoredCode]
) -> StoredCode | None:
    """The program in flash that a run is code of, there or where programs lie in RAM."""
    if place is Where.USER:
        return next((one for one in stored if one.holds(run)), None)
    if place is not Where.FLASH or memory is None:
        return None
    physical = memory.physical + run.haddr - memory.host
    return next((one for one in stored if one.holds_in_place(run, physical)), None)


def write_table(rows: Iterable[Executed], path: Path) -> None:
    """All that was executed, the most often executed first, as tab-separated values."""
    lines = ["count\tplace\tmemory\tvirtual\tphysical\tsymbol\n"]
    for row in sorted(rows, key=lambda one: (-one.count, one.vaddr)):
        physical = "" if row.physical is None else f"{row.physical:#x}"
        lines.append(
            f"{row.count}\t{row.place}\t{row.memory}\t{row.vaddr:#x}\t{physical}\t{row.name}\n"
        )
    path.write_text("".join(lines))


def _memory(run: Run, memories: Sequence[Memory]) -> Memory | None:
    """The memory a run was fetched from; a named part of RAM goes before RAM."""
    hits = [memory for memory in memories if 0 <= run.haddr - memory.host < memory.size]
    return min(hits, key=lambda memory: memory.size, default=None)


def _place(run: Run, memories: Sequence[Memory], board: Board, arch: Arch) -> Where:
    memory = _memory(run, memories)
    if memory is not None and memory.name == "flash":
        return Where.FLASH
    untranslated = memory is not None and run.vaddr == memory.physical + run.haddr - memory.host
    firmware = memory is not None and memory.name in {region.name for region in board.firmware}
    # First: firmware's addresses may be above the kernel's lowest, as on rv32.
    if memory is not None and firmware and untranslated and _unchanged(run, memory):
        return Where.FIRMWARE
    if arch.mmu and (run.vaddr >= arch.kernel_virtual_base or untranslated):
        return Where.KERNEL_RAM
    # Not a memory the board knows: never taken for a user program.
    return Where.KERNEL_RAM if memory is None else Where.USER


def _unchanged(run: Run, memory: Memory) -> bool:
    """Whether a run is what its memory held at first; where that is not known, it is."""
    at = run.haddr - memory.host
    return memory.content is None or run.equals(memory.content[at : at + run.size])


def _declared(run: Run, declared: Iterable[RamText], symbols: Symbols | None) -> str | None:
    """The section or range by which this run may be in RAM; None where none allows it.

    A run must equal the bytes that the kernel's image has for it, where its own are known: a
    true copy and nothing else.
    """
    for text in declared if symbols else ():
        assert symbols is not None
        for base, data in ram_text(text, symbols, run.vaddr, run.size):
            at = run.vaddr - base
            if at >= 0 and run.equals(data[at : at + run.size]):
                return text.name
    return None


def ram_text(text: RamText, symbols: Symbols, vaddr: int, size: int) -> list[tuple[int, bytes]]:
    """What the declared code in RAM may be: virtual address and bytes of each form it has.

    Of a section, only the `size` bytes at `vaddr`: sections may overlay each other.
    """
    if text.section is not None:
        data = symbols.section_bytes(text.section, vaddr, size)
        return [] if data is None else [(vaddr, data)]
    data = symbols.between(*text.symbols)
    if data is None:
        return []
    base = vaddr & -_PAGE if text.end is None else text.end - len(data)
    forms = [data]
    for place, other in text.replaced.items():
        changed = bytearray(data)
        to, source = place - base, other - base
        if to >= 0 and source >= 0 and max(to, source) + _WORD <= len(data):
            changed[to : to + _WORD] = data[source : source + _WORD]
            forms.append(bytes(changed))
    return [(base, form) for form in forms]
