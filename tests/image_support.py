# SPDX-License-Identifier: GPL-2.0-only
"""Small ELF files linked like an XIP kernel, rightly or wrongly, for tests of static evidence."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from machine_support import make_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.image import static_evidence

CONFIG = {"XIP_KERNEL": "y", "XIP_PHYS_ADDR": "0x00010000"}
SOURCE = """
.text
.globl start
start: .fill 4096, 1, 0x11
.globl late
.type late, @function
late: .fill 16, 1, 0x12
.section .rodata,"a",@progbits
.fill 512, 1, 0x22
.section .vectors,"ax",@progbits
.fill 32, 1, 0x33
.section .init.rodata,"aw",@progbits
.fill 64, 1, 0x44
.data
in_ram: .fill 256, 1, 0x55
.bss
.skip 1024
"""
SCRIPT = """
ENTRY({entry})
SECTIONS
{{
  . = 0xbf010000;
  .text : {{ *(.text) }}
  {rom}
  .rodata {rodata} {{ *(.rodata) }}
  after = LOADADDR(.rodata) + SIZEOF(.rodata);
  .vectors 0xffff0000 : AT(after) {{ *(.vectors) }}
  load = after + SIZEOF(.vectors);
  . = load;
  .init.rodata : AT(load) {{ *(.init.rodata) }}
  end = .;
  .data {data} : AT(end) {{ *(.data) }}
  {ram}
  .bss : {{ *(.bss) }}
  /DISCARD/ : {{ *(.note*) *(.comment) *(.eh_frame) }}
}}
"""
_BITS = {64: "elf_x86_64", 32: "elf_i386"}


def link(
    folder: Path,
    *,
    entry: str = "start",
    rodata: str = ":",
    data: str = "0xc0008000",
    source: str = "",
    rom: str = "",
    ram: str = "",
    bits: int = 64,
) -> Path:
    """A vmlinux; its xipImage lies beside it. `rom` and `ram` are output sections more."""
    (folder / "v.S").write_text(SOURCE + source)
    values = {"entry": entry, "rodata": rodata, "data": data, "rom": rom, "ram": ram}
    (folder / "v.lds").write_text(SCRIPT.format(**values))
    elf = folder / "vmlinux"
    subprocess.run(["gcc", f"-m{bits}", "-c", "-o", folder / "v.o", folder / "v.S"], check=True)
    flags = ["-z", "max-page-size=4096", "--no-warn-rwx-segments", "-T", folder / "v.lds"]
    subprocess.run(["ld", "-m", _BITS[bits], *flags, "-o", elf, folder / "v.o"], check=True)
    objcopy(folder)
    return elf


def objcopy(folder: Path) -> None:
    """Make xipImage of vmlinux."""
    subprocess.run(["objcopy", "-O", "binary", folder / "vmlinux", folder / "xipImage"], check=True)


def evidence(
    folder: Path, config: Mapping[str, str] = CONFIG, arch: dict[str, Any] | None = None
) -> dict[str, Evidence]:
    """All static evidence of the files in `folder`, by name."""
    cell = make_cell(arch=arch)
    found = static_evidence(cell, config, folder / "vmlinux", folder / "xipImage")
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def failing(
    folder: Path, config: Mapping[str, str] = CONFIG, arch: dict[str, Any] | None = None
) -> dict[str, Verdict]:
    """What fails of it, but for what is only shown, and the verdict each leads to."""
    found = evidence(folder, config, arch).values()
    return {one.name: one.breaks for one in found if not one.holds and not one.advisory}


def patch_section(
    folder: Path,
    name: str,
    *,
    kind: int | None = None,
    entry: int = 0,
    flags: int | None = None,
    vma: int | None = None,
    size: int | None = None,
) -> None:
    """Change a section's header in a 64-bit vmlinux, and nothing else.

    `kind` is its type, whose entries are of `entry` bytes.
    """
    vmlinux = folder / "vmlinux"
    data = bytearray(vmlinux.read_bytes())
    with vmlinux.open("rb") as stream:
        elf = ELFFile(stream)
        index = elf.get_section_index(name)
        at = elf["e_shoff"] + index * elf["e_shentsize"]
    if kind is not None:
        struct.pack_into("<I", data, at + 4, kind)
        struct.pack_into("<Q", data, at + 56, entry)
    if flags is not None:
        struct.pack_into("<Q", data, at + 8, flags)
    if vma is not None:
        struct.pack_into("<Q", data, at + 16, vma)
    if size is not None:
        struct.pack_into("<Q", data, at + 32, size)
    vmlinux.write_bytes(data)


def patch_segment(folder: Path, vma: int, *, flags: int | None = None, grow: int = 0) -> None:
    """Change the program header of the segment at `vma`; `grow`: bytes more in memory."""
    vmlinux = folder / "vmlinux"
    data = bytearray(vmlinux.read_bytes())
    with vmlinux.open("rb") as stream:
        elf = ELFFile(stream)
        found = [one["p_vaddr"] for one in elf.iter_segments()].index(vma)
        at = elf["e_phoff"] + found * elf["e_phentsize"]
    if flags is not None:
        struct.pack_into("<I", data, at + 4, flags)
    (size,) = struct.unpack_from("<Q", data, at + 40)
    struct.pack_into("<Q", data, at + 40, size + grow)
    vmlinux.write_bytes(data)
