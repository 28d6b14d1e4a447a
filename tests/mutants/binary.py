# SPDX-License-Identifier: GPL-2.0-only
"""Machine code written into a built kernel, into vmlinux and xipImage alike.

Both files are changed at the same virtual address, so that the one is still the other's
image, and only what the new code does can give the mutant away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from xipmatrix.core import run
from xipmatrix.image import read_image
from xipmatrix.matrix.model import Board

from .model import Assembler, Edit

_LINE = re.compile(r"^\s*([0-9a-f]+):\t([0-9a-f ]+?)\s*\t(.*)$", re.M)


@dataclass(frozen=True)
class Instruction:
    """An instruction as objdump shows it: virtual address, size in bytes, text."""

    address: int
    size: int
    text: str

    @property
    def relative(self) -> bool:
        """Whether it means something else elsewhere: then objdump names what it refers to."""
        return "<" in self.text or "pc" in self.text


class Program:
    """A kernel that is changed: copies of vmlinux and xipImage, which are ours."""

    def __init__(
        self, vmlinux: Path, xip_image: Path, board: Board, assembler: Assembler, prefix: str
    ) -> None:
        self._vmlinux, self._xip_image = vmlinux, xip_image
        self._assembler, self._prefix = assembler, prefix
        self._image = read_image(vmlinux)
        self._symbols: dict[str, tuple[int, int]] = {}
        self._offsets: list[tuple[range, int]] = []
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            table = elf.get_section_by_name(".symtab")
            for symbol in table.iter_symbols():
                # Bit 0 of an arm function's address says Thumb.
                mode = elf["e_machine"] == "EM_ARM" and symbol["st_info"]["type"] == "STT_FUNC"
                address = symbol["st_value"] & (~1 if mode else ~0)
                self._symbols[symbol.name] = (address, symbol["st_size"])
            for section in elf.iter_sections():
                if section["sh_flags"] & 2 and section["sh_type"] != "SHT_NOBITS":
                    start = section["sh_addr"]
                    span = range(start, start + section["sh_size"])
                    self._offsets.append((span, section["sh_offset"] - start))
        self._constants = {
            "FLASH_BASE": board.flash.base,
            "FLASH_SIZE": board.flash.size,
            "RAM_BASE": board.ram_base,
        }
        self._cave, room = self._symbols[assembler.cave]
        self._cave_end = self._cave + room

    def address(self, symbol: str) -> int:
        """The virtual address of a symbol."""
        return self._symbols[symbol][0]

    # --- both files ---------------------------------------------------------------------

    def _places(self, address: int, size: int) -> tuple[int, int]:
        """The offsets of virtual `address` in vmlinux and in xipImage."""
        for section in self._image.sections:
            if section.stored and section.vma <= address <= section.vma + section.size - size:
                in_image = address - section.vma + section.lma - self._image.lma
                shift = next(shift for span, shift in self._offsets if address in span)
                return address + shift, in_image
        raise ValueError(f"{address:#x} is not stored in vmlinux")

    def write(self, address: int, data: bytes) -> None:
        """Write `data` to virtual `address`."""
        in_vmlinux, in_image = self._places(address, len(data))
        for path, offset in ((self._vmlinux, in_vmlinux), (self._xip_image, in_image)):
            with path.open("r+b") as file:
                file.seek(offset)
                file.write(data)

    def flip_in_image(self, symbol: str) -> None:
        """Change one bit of `symbol` in xipImage alone."""
        _, offset = self._places(self.address(symbol), 1)
        with self._xip_image.open("r+b") as file:
            file.seek(offset)
            (byte,) = file.read(1)
            file.seek(offset)
            file.write(bytes([byte ^ 1]))

    # --- code ---------------------------------------------------------------------------

    def apply(self, edit: Edit) -> None:
        """Make one edit. Raises ValueError where it cannot be made."""
        place, size = self._symbols[edit.at]
        if edit.instruction is not None:
            found = [one for one in self._code(edit.at) if re.search(edit.instruction, one.text)]
            if len(found) != 1:
                raise ValueError(f"{len(found)} instructions of {edit.at} are {edit.instruction!r}")
            place, size = found[0].address, found[0].size
        if "{original}" not in edit.code:
            code = self._assemble(edit.code, place, BACK=place + size)
            if len(code) <= size:
                self.write(place, code)
                if edit.instruction is not None:
                    self._fill(place + len(code), place + size)
                return
        jump = self._assemble(self._assembler.jump, place, CAVE=self._cave)
        displaced = self._displaced(edit.at, place, len(jump))
        back = displaced[-1].address + displaced[-1].size
        text = edit.code
        if "{original}" in text:
            if any(one.relative for one in displaced):
                raise ValueError(f"cannot be moved: {[one.text for one in displaced]}")
            original = b"".join(self._read(one.address, one.size) for one in displaced)
            text = text.replace("{original}", ".byte " + ", ".join(map(hex, original)))
        code = self._assemble(text, self._cave, BACK=back)
        if self._cave + len(code) > self._cave_end:
            raise ValueError(f"{len(code)} bytes do not fit into the cave")
        self.write(self._cave, code)
        self.write(place, jump)
        self._cave += len(code) + 15 & ~15

    def _fill(self, start: int, end: int) -> None:
        nop = self._assemble(self._assembler.nop, start)
        while start < end:
            self.write(start, nop)
            start += len(nop)

    def _read(self, address: int, size: int) -> bytes:
        offset, _ = self._places(address, size)
        with self._vmlinux.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _code(self, symbol: str) -> list[Instruction]:
        """A symbol's disassembly; that of a label goes on for 1 KiB."""
        start, size = self._symbols[symbol]
        end = start + (size or 1024)
        shown = run.run(
            [
                *(f"{self._prefix}objdump", "-d", f"--start-address={start:#x}"),
                *(f"--stop-address={end:#x}", self._vmlinux),
            ],
            check=True,
        ).output
        return [
            Instruction(int(address, 16), len(raw.replace(" ", "")) // 2, text)
            for address, raw, text in _LINE.findall(shown)
        ]

    def _displaced(self, symbol: str, place: int, size: int) -> list[Instruction]:
        """The whole instructions that a jump of `size` bytes at `place` takes away."""
        behind = [one for one in self._code(symbol) if one.address >= place]
        taken: list[Instruction] = []
        for one in behind:
            if one.address >= place + size:
                break
            taken.append(one)
        return taken

    def _assemble(self, text: str, address: int, **labels: int) -> bytes:
        """Machine code that runs at virtual `address`.

        `labels` and all symbols of the kernel, static ones too, are known.
        """
        base = self._vmlinux.with_name(f"code-{address:x}")
        source, obj, elf, binary = (base.with_suffix(end) for end in (".S", ".o", ".elf", ".bin"))
        source.write_text(f"\t.text\n{text}\n")
        constants = [word for name in self._constants.items() for word in _defsym(*name)]
        assembler = [f"{self._prefix}as", *self._assembler.flags, *constants]
        run.run([*assembler, "-o", obj, source], check=True)
        missing = run.run([f"{self._prefix}nm", "-u", obj], check=True).output.split()[1::2]
        known = [
            word
            for name in missing
            for word in _defsym(name, labels[name] if name in labels else self.address(name))
        ]
        linker = [f"{self._prefix}ld", "-e", "0", f"-Ttext={address:#x}", *known]
        run.run([*linker, "-o", elf, obj], check=True)
        run.run([f"{self._prefix}objcopy", "-O", "binary", "-j", ".text", elf, binary], check=True)
        return binary.read_bytes()


def _defsym(name: str, value: int) -> list[str]:
    return ["--defsym", f"{name}={value:#x}"]
