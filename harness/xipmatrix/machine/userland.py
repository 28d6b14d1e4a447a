# SPDX-License-Identifier: GPL-2.0-only
"""The code of user programs: init, as the kernel's own image carries it, and those in flash.

What is executed from RAM at addresses of user programs must be their code. Anything else
there is the kernel's own: code that it put into RAM and mapped where programs lie.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..image.symtab import address_of
from .residency import Run

_NEWC = (b"070701", b"070702")
_HEADER = 110  # bytes: the magic and 13 fields of 8 hexadecimal digits
_LAST = "TRAILER!!!"
_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    # Padding may follow each.
    b"\x1f\x8b": lambda data: zlib.decompressobj(31).decompress(data),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
    b"\xfd7zXZ": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x5d\0\0": lambda data: lzma.LZMADecompressor().decompress(data),
}


@dataclass(frozen=True)
class Program:
    """A user program's segments in memory: virtual address and bytes.

    One that is not `fixed` was linked to begin at 0, and is loaded anywhere.
    """

    segments: tuple[tuple[int, bytes], ...]
    fixed: bool = True

    def at(self, base: int) -> Program:
        """The program where it was loaded: at `base` (virtual), unless it is fixed."""
        if self.fixed:
            return self
        return Program(tuple((base + vaddr, data) for vaddr, data in self.segments))

    def holds(self, run: Run) -> bool:
        """Whether `run` is code of this program, at its place."""
        return any(
            run.vaddr >= base and run.equals(data[run.vaddr - base :][: run.size])
            for base, data in self.segments
        )


@dataclass(frozen=True)
class InFlash:
    """A program of a file system in flash, named `name`.

    `physical`: where the file's first byte is, if it can be executed in place.
    """

    name: str
    program: Program
    physical: int | None

    def holds(self, run: Run) -> bool:
        """Whether `run` is code of this program, wherever it was fetched from."""
        return self.program.holds(run)

    def holds_in_place(self, run: Run, physical: int) -> bool:
        """Whether `run`, fetched from `physical`, is that code where the flash has it."""
        first = self.program.segments[0][0] if self.program.segments else 0
        there = self.physical is not None and physical - self.physical == run.vaddr - first
        return there and self.holds(run)


def in_flash(name: str, content: bytes, physical: int | None) -> InFlash:
    """A program in flash, whose ELF file is `content`.

    Its code must come first in the file. Raises InfrastructureError where it does not.
    """
    try:
        elf = ELFFile(io.BytesIO(content))
        code = next(iter(_segments(elf)), None)
        if code is None or content[: len(code[1])] != code[1]:
            raise ELFError("its code is not what it begins with")
        return InFlash(name, program_of(content), physical)
    except ELFError as error:
        raise InfrastructureError(f"program {name} in flash: {error}") from error


def init_of(carrier: Path) -> Program | None:
    """/init of an initramfs, or of that in a vmlinux.

    None where there is none, or where it cannot be unpacked.
    """
    try:
        with carrier.open("rb") as stream:
            is_elf = stream.read(4) == b"\x7fELF"
            stream.seek(0)
            archive = _initramfs(ELFFile(stream)) if is_elf else stream.read()
        for magic, unpack in _UNPACK.items():
            if archive.startswith(magic):
                archive = unpack(archive)
        for name, content in _members(archive):
            if name.lstrip("/") == "init":
                return program_of(content)
    except (ELFError, OSError, ValueError, EOFError, zlib.error, lzma.LZMAError):
        return None
    return None


def program_of(content: bytes) -> Program:
    """The program that an ELF file's `content` is. Raises ELFError where it is none."""
    elf = ELFFile(io.BytesIO(content))
    return Program(tuple(_segments(elf)), elf["e_type"] == "ET_EXEC")


def _initramfs(elf: ELFFile) -> bytes:
    """The bytes that usr/initramfs_data.S's symbols name; none where they are not there."""
    start, size_at = address_of(elf, "__initramfs_start"), address_of(elf, "__initramfs_size")
    if start is None or size_at is None:
        return b""
    width = elf.elfclass // 8
    size = int.from_bytes(_read(elf, size_at, width), "little" if elf.little_endian else "big")
    return _read(elf, start, size)


def _read(elf: ELFFile, vaddr: int, size: int) -> bytes:
    for section in elf.iter_sections():
        at = vaddr - section["sh_addr"]
        stored = section["sh_flags"] & 0x2 and section["sh_type"] != "SHT_NOBITS"
        if stored and 0 <= at < section["sh_size"]:
            return bytes(section.data()[at : at + size])
    return b""


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a cpio archive in the format newc, up to the end of the first.

    Raises ValueError where a header is none.
    """
    at = 0
    while archive[at : at + 6] in _NEWC:
        fields = [int(archive[at + 6 + 8 * nth : at + 14 + 8 * nth], 16) for nth in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + _HEADER : at + _HEADER + name_size - 1].decode("utf-8", "replace")
        if name == _LAST:
            return
        content = at + _HEADER + name_size + 3 & ~3
        yield name, archive[content : content + size]
        at = content + size + 3 & ~3


def _segments(elf: ELFFile) -> Iterator[tuple[int, bytes]]:
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_LOAD" and segment["p_flags"] & 0x1:
            yield segment["p_vaddr"], segment.data()
