# SPDX-License-Identifier: GPL-2.0-only
"""A small vmlinux of random code and data, and RAM dumps to go with it."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine_support import BOARD, make_cell
from xipmatrix.matrix.model import Cell

TEXT, DATA, VECTORS = 0xBF010000, 0xC0008000, 0xFFFF0000
ROOT = 0xC0004000
RAM_BASE = BOARD["ram_base"]
RAM_SIZE = 1 << 20
# Name and size in bytes, one behind the other from TEXT on; `filler` makes up the rest.
FUNCTIONS = {"start": 300, "leaf": 64, "small": 160, "hot": 1000, "filler": 40000}


@dataclass(frozen=True)
class Made:
    """A vmlinux and what its sections hold."""

    path: Path
    text: bytes
    data: bytes
    vectors: bytes

    def function(self, name: str) -> bytes:
        """The code of one of FUNCTIONS."""
        at = self.address(name) - TEXT
        return self.text[at : at + FUNCTIONS[name]]

    def address(self, name: str) -> int:
        """The virtual address of one of FUNCTIONS."""
        names = list(FUNCTIONS)
        return TEXT + sum(FUNCTIONS[one] for one in names[: names.index(name)])

    def good_ram(self) -> bytearray:
        """RAM (physical RAM_BASE on) of a kernel in place: its data and its vectors."""
        ram = bytearray(RAM_SIZE)
        ram[0x8000 : 0x8000 + len(self.data)] = self.data
        ram[-4096 : len(self.vectors) - 4096] = self.vectors
        return ram


def make_vmlinux(
    folder: Path, *, bits: int = 64, symbols: Mapping[str, int] | None = None, **replaced: bytes
) -> Made:
    """Assemble it; `text`, `data` and `vectors` may be `replaced`."""
    source = random.Random(1)
    made = Made(
        folder / "vmlinux",
        replaced.get("text", source.randbytes(sum(FUNCTIONS.values()))),
        replaced.get("data", source.randbytes(8000)),
        replaced.get("vectors", source.randbytes(256)),
    )
    for name in ("text", "data", "vectors"):
        (folder / name).write_bytes(getattr(made, name))
    at, lines = 0, [".text", f'.incbin "{folder}/text"']
    for name, size in FUNCTIONS.items():
        lines += [f".type {name},@function", f".set {name},.text+{at}", f".size {name},{size}"]
        at += size
    lines += [".data", f'.incbin "{folder}/data"']
    lines += ['.section .vectors,"ax",@progbits', f'.incbin "{folder}/vectors"', ""]
    (folder / "v.S").write_text("\n".join(lines))
    subprocess.run(["as", f"--{bits}", "-o", folder / "v.o", folder / "v.S"], check=True)
    places = {".text": TEXT, ".data": DATA, ".vectors": VECTORS}
    options = [f"--section-start={name}={at:#x}" for name, at in places.items()]
    options += [f"--defsym={name}={at:#x}" for name, at in (symbols or {}).items()]
    emulation = {32: "elf_i386", 64: "elf_x86_64"}[bits]
    command = ["ld", "-m", emulation, "-e", "0", *options, "-o", made.path, folder / "v.o"]
    subprocess.run(command, check=True)
    return made


def write_symbols(path: Path, symbols: Mapping[str, int], order: str = "<") -> None:
    """A 32-bit ELF file that has absolute symbols and nothing else; `order` as in `struct`.

    By hand: not every machine's assembler knows a big-endian architecture.
    """
    names = [*symbols, ".symtab", ".strtab"]
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in names)
    entries = [struct.pack(order + "IIIBBH", 0, 0, 0, 0, 0, 0)] + [
        struct.pack(order + "IIIBBH", strings.index(name.encode()), value, 0, 0x10, 0, 0xFFF1)
        for name, value in symbols.items()
    ]
    table = b"".join(entries)
    at = 52
    sections = [
        (0,) * 10,
        (strings.index(b".symtab"), 2, 0, 0, at, len(table), 2, 1, 4, 16),
        (strings.index(b".strtab"), 3, 0, 0, at + len(table), len(strings), 0, 0, 1, 0),
    ]
    headers = b"".join(struct.pack(order + "10I", *one) for one in sections)
    ident = b"\x7fELF" + bytes([1, 1 if order == "<" else 2, 1]) + bytes(9)
    behind = at + len(table) + len(strings)
    header = struct.pack(
        order + "HHIIIIIHHHHHH", 2, 40, 1, 0, 0, behind, 0, at, 0, 0, 40, len(sections), 2
    )
    path.write_bytes(ident + header + table + strings + headers)


def memory_cell(board: dict[str, Any] | None = None, arch: dict[str, Any] | None = None) -> Cell:
    """A cell whose board has RAM_SIZE bytes of RAM and no firmware."""
    qemu = {**BOARD["qemu"], "memory": RAM_SIZE}
    return make_cell({"qemu": qemu, "firmware": [], **(board or {})}, arch)
