# SPDX-License-Identifier: GPL-2.0-only
"""A vmlinux as data: sections, segments, symbols, dynamic relocations. No judgement.

Addresses are virtual (`vma`) or load addresses (`lma`, which an XIP linker script lays
out in the order of the flash; their base is the architecture's own affair).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from . import symtab

_WRITE, _ALLOC, _EXEC = 0x1, 0x2, 0x4
_SEGMENT_WRITE = 0x2
_GLOBAL_WITHOUT_TYPE = 0x10  # st_info: STB_GLOBAL, STT_NOTYPE
_ABSOLUTE = 0xFFF1  # SHN_ABS


@dataclass(frozen=True)
class Section:
    """A section that takes memory: `vma` virtual, `lma` load address, `size` in bytes.

    `stored`: it has content in the file, and so in flash.
    """

    name: str
    kind: str
    vma: int
    lma: int
    size: int
    writable: bool
    executable: bool
    stored: bool
    data: bytes

    @property
    def end(self) -> int:
        """The first virtual address behind it."""
        return self.vma + self.size


@dataclass(frozen=True)
class Segment:
    """A PT_LOAD segment: addresses as for a section, `stored` and `size` in bytes."""

    vma: int
    lma: int
    stored: int
    size: int
    writable: bool


class Symbol(NamedTuple):
    """A symbol with a place: `value` is virtual, `size` in bytes.

    `bare`: it is global without a type, as those of linker scripts; `absolute`: a number.
    """

    name: str
    value: int
    size: int
    bare: bool
    absolute: bool


@dataclass(frozen=True)
class Image:
    """A vmlinux. `pointer` is the size of one in bytes; `entry` is virtual."""

    machine: str
    entry: int
    pointer: int
    little_endian: bool
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]
    symbols: tuple[Symbol, ...]

    @cached_property
    def lma(self) -> int:
        """Load address of the first byte in flash."""
        return min(section.lma for section in self.sections if section.stored)

    @cached_property
    def vma(self) -> int:
        """Virtual address of the first byte in flash: where the XIP mapping begins."""
        return next(s.vma for s in self.sections if s.stored and s.lma == self.lma)

    @cached_property
    def size(self) -> int:
        """Bytes from the first stored byte to the last."""
        return max(s.lma + s.size for s in self.sections if s.stored) - self.lma

    def placed(self, section: Section | Segment) -> bool:
        """Whether a virtual address is that of its place in flash."""
        return section.vma - self.vma == section.lma - self.lma

    def section_at(self, address: int) -> Section | None:
        """The section at a virtual address, the one in flash where several overlay it."""
        found = [s for s in self.sections if s.vma <= address < s.end]
        return next((s for s in found if s.stored and self.placed(s)), found[0] if found else None)

    def in_rom(self, address: int) -> bool:
        """Whether a virtual address is one of flash: what lies there cannot be written."""
        section = self.section_at(address)
        return section is not None and section.stored and self.placed(section)

    def read(self, address: int, size: int) -> bytes:
        """What is stored at a virtual address; shorter where less is stored."""
        section = self.section_at(address)
        if section is None:
            return b""
        return section.data[address - section.vma :][:size]

    @cached_property
    def named(self) -> dict[str, Symbol]:
        """The symbols by name; the first where several have it."""
        return {symbol.name: symbol for symbol in reversed(self.symbols)}

    @cached_property
    def _functions(self) -> list[Symbol]:
        return sorted((s for s in self.symbols if not s.bare), key=lambda s: s.value)

    def name_of(self, address: int) -> str:
        """A virtual address as people know it: ``schedule+0x1c``, else ``0x...``."""
        low, high = 0, len(self._functions)
        while low < high:
            middle = (low + high) // 2
            if self._functions[middle].value <= address:
                low = middle + 1
            else:
                high = middle
        if not low:
            return f"{address:#x}"
        symbol = self._functions[low - 1]
        offset = address - symbol.value
        # Behind a symbol's end there may be code without one, in the same section only.
        if offset >= symbol.size and self.section_at(symbol.value) is not self.section_at(address):
            return f"{address:#x}"
        return symbol.name + (f"+{offset:#x}" if offset else "")

    def unpack(self, letters: str, data: bytes) -> tuple[int, ...]:
        """`struct.unpack` in the file's byte order, without padding; P is a pointer."""
        letters = letters.replace("P", "Q" if self.pointer == 8 else "I")
        return struct.unpack(("<" if self.little_endian else ">") + letters, data)


def read_image(vmlinux: Path) -> Image:
    """Read a vmlinux. Raises InfrastructureError where it is no whole ELF file with content."""
    try:
        size = vmlinux.stat().st_size
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            _whole(elf, size, vmlinux)
            image = Image(
                machine=str(elf["e_machine"]),
                # Bit 0 of an arm address says Thumb.
                entry=elf["e_entry"] & (~1 if elf["e_machine"] == "EM_ARM" else ~0),
                pointer=elf.elfclass // 8,
                little_endian=elf.little_endian,
                sections=tuple(_sections(elf)),
                segments=tuple(_segments(elf)),
                symbols=tuple(_symbols(elf)),
            )
    except InfrastructureError:
        raise
    # pyelftools answers a malformed file with whatever exception it runs into.
    except Exception as error:
        why = str(error) or type(error).__name__
        raise InfrastructureError(f"cannot be read as ELF: {why}", where=vmlinux) from error
    if not any(section.stored for section in image.sections):
        raise InfrastructureError("holds nothing loadable", where=vmlinux)
    return image


def _whole(elf: ELFFile, size: int, vmlinux: Path) -> None:
    """Raises InfrastructureError where the headers name bytes behind the end of the file."""
    ends = {
        "section headers": elf["e_shoff"] + elf["e_shnum"] * elf["e_shentsize"],
        "program headers": elf["e_phoff"] + elf["e_phnum"] * elf["e_phentsize"],
    }
    if max(ends.values()) <= size:
        ends |= {
            f"section {section.name}": section["sh_offset"] + section["sh_size"]
            for section in elf.iter_sections()
            if section["sh_type"] not in ("SHT_NOBITS", "SHT_NULL")
        }
        for segment in elf.iter_segments():
            if segment["p_type"] == "PT_LOAD":
                end = segment["p_offset"] + segment["p_filesz"]
                ends[f"segment {segment['p_vaddr']:#x}"] = end
    worst = max(ends, key=lambda name: ends[name])
    if ends[worst] > size:
        raise InfrastructureError(
            f"is cut off: {worst} would end at byte {ends[worst]}, the file ends at {size}",
            where=vmlinux,
        )


def _sections(elf: ELFFile) -> Iterator[Section]:
    segments = [one for one in elf.iter_segments() if one["p_type"] == "PT_LOAD"]
    for section in elf.iter_sections():
        flags, size, vma = section["sh_flags"], section["sh_size"], section["sh_addr"]
        if not flags & _ALLOC or not size:
            continue
        stored = section["sh_type"] != "SHT_NOBITS"
        lma = vma
        for segment in segments:
            # By file offset where there is content: overlays share virtual addresses.
            at = section["sh_offset"] - segment["p_offset"] if stored else vma - segment["p_vaddr"]
            if at >= 0 and at + size <= segment["p_filesz" if stored else "p_memsz"]:
                lma = segment["p_paddr"] + at
                break
        writable, executable = bool(flags & _WRITE), bool(flags & _EXEC)
        data = section.data() if stored else b""
        kind = str(section["sh_type"])
        yield Section(section.name, kind, vma, lma, size, writable, executable, stored, data)


def _segments(elf: ELFFile) -> Iterator[Segment]:
    for one in elf.iter_segments():
        if one["p_type"] == "PT_LOAD" and one["p_memsz"]:
            writable = bool(one["p_flags"] & _SEGMENT_WRITE)
            yield Segment(one["p_vaddr"], one["p_paddr"], one["p_filesz"], one["p_memsz"], writable)


def _symbols(elf: ELFFile) -> Iterator[Symbol]:
    for name, value, size, info, section in symtab.entries(elf):
        # Without a name, undefined, or a mapping symbol of arm and riscv.
        if name and section and not name.startswith("$"):
            yield Symbol(name, value, size, info == _GLOBAL_WITHOUT_TYPE, section == _ABSOLUTE)
