# SPDX-License-Identifier: GPL-2.0-only
"""Static evidence, from small ELF files linked like an XIP kernel, rightly and wrongly."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Verdict
from xipmatrix.image import static_evidence

CONFIG = {"XIP_KERNEL": "y", "XIP_PHYS_ADDR": "0x00010000"}
SOURCE = """
.text
.globl start
start: .fill 4096, 1, 0x11
.globl late
late: .fill 16, 1, 0x12
.section .rodata,"a",@progbits
.fill 512, 1, 0x22
.section .vectors,"ax",@progbits
.fill 32, 1, 0x33
.section .init.rodata,"aw",@progbits
.fill 64, 1, 0x44
.data
.fill 256, 1, 0x55
.bss
.skip 1024
"""
SCRIPT = """
ENTRY({entry})
SECTIONS
{{
  . = 0xbf010000;
  .text : {{ *(.text) }}
  .rodata {rodata} {{ *(.rodata) }}
  after = LOADADDR(.rodata) + SIZEOF(.rodata);
  .vectors 0xffff0000 : AT(after) {{ *(.vectors) }}
  load = after + SIZEOF(.vectors);
  . = load;
  .init.rodata : AT(load) {{ *(.init.rodata) }}
  end = .;
  .data {data} : AT(end) {{ *(.data) }}
  .bss : {{ *(.bss) }}
  /DISCARD/ : {{ *(.note*) *(.comment) *(.eh_frame) }}
}}
"""


def link(
    folder: Path, *, entry: str = "start", rodata: str = ":", data: str = "0xc0008000"
) -> Path:
    """A vmlinux; its xipImage lies beside it."""
    (folder / "v.S").write_text(SOURCE)
    (folder / "v.lds").write_text(SCRIPT.format(entry=entry, rodata=rodata, data=data))
    elf = folder / "vmlinux"
    subprocess.run(["gcc", "-c", "-o", folder / "v.o", folder / "v.S"], check=True)
    flags = ["-z", "max-page-size=4096", "--no-warn-rwx-segments", "-T", folder / "v.lds"]
    subprocess.run(["ld", *flags, "-o", elf, folder / "v.o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", elf, folder / "xipImage"], check=True)
    return elf


def failing(folder: Path, vmlinux: Path, config: dict[str, str] = CONFIG) -> dict[str, Verdict]:
    found = static_evidence(make_cell(), config, vmlinux, folder / "xipImage")
    assert len({one.name for one in found}) == len(found)
    return {one.name: one.breaks for one in found if not one.holds}


def test_a_sound_image(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    found = static_evidence(make_cell(), CONFIG, vmlinux, tmp_path / "xipImage")
    assert [one.summary for one in found if not one.holds] == []
    figures = {one.name: one.figures for one in found}
    assert figures["text-in-flash"]["copied_to_ram"] == {".vectors": 32}
    assert figures["no-writable-in-flash"]["data_bytes"] == 256
    assert figures["no-writable-in-flash"]["bss_bytes"] == 1024
    assert figures["entry"]["entry_physical"] == 0x10000


def test_data_linked_into_flash(tmp_path: Path) -> None:
    assert failing(tmp_path, link(tmp_path, data="")) == {
        "no-writable-in-flash": Verdict.IMAGE_INVALID
    }


def test_read_only_data_linked_to_ram(tmp_path: Path) -> None:
    vmlinux = link(tmp_path, rodata="0xc0000000 : AT(0xbf011010)")
    assert failing(tmp_path, vmlinux) == {"text-in-flash": Verdict.IMAGE_INVALID}


def test_another_entry_point(tmp_path: Path) -> None:
    assert failing(tmp_path, link(tmp_path, entry="late")) == {"entry": Verdict.IMAGE_INVALID}


@pytest.mark.parametrize(
    ("config", "verdict"),
    [
        ({}, Verdict.CONFIG_DROPPED),
        ({"XIP_KERNEL": "n"}, Verdict.CONFIG_DROPPED),
        ({"XIP_KERNEL": "y"}, Verdict.IMAGE_INVALID),
        ({"XIP_KERNEL": "y", "XIP_PHYS_ADDR": "0x00080000"}, Verdict.IMAGE_INVALID),
    ],
)
def test_the_configuration(tmp_path: Path, config: dict[str, str], verdict: Verdict) -> None:
    assert failing(tmp_path, link(tmp_path), config) == {"config": verdict}


def test_an_image_of_another_kernel(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    image = tmp_path / "xipImage"
    data = bytearray(image.read_bytes())
    data[4200] ^= 1
    image.write_bytes(data)
    assert failing(tmp_path, vmlinux) == {"image-is-vmlinux": Verdict.IMAGE_INVALID}


def test_a_truncated_image(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    image = tmp_path / "xipImage"
    image.write_bytes(image.read_bytes()[:-1])
    assert failing(tmp_path, vmlinux) == {"image-is-vmlinux": Verdict.IMAGE_INVALID}


def test_deflated_data_is_not_compared(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    image = tmp_path / "xipImage"
    image.write_bytes(image.read_bytes()[:-200])
    assert failing(tmp_path, vmlinux, {**CONFIG, "XIP_DEFLATED_DATA": "y"}) == {}


def test_an_image_one_byte_too_large(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    with (tmp_path / "xipImage").open("ab") as image:
        image.truncate((1 << 20) - 0x10000)
    assert failing(tmp_path, vmlinux) == {}
    with (tmp_path / "xipImage").open("ab") as image:
        image.truncate((1 << 20) - 0x10000 + 1)
    assert failing(tmp_path, vmlinux) == {"image-fits": Verdict.IMAGE_INVALID}


def test_a_vmlinux_of_another_architecture(tmp_path: Path) -> None:
    vmlinux = link(tmp_path)
    cell = make_cell(arch={"elf_machine": "EM_RISCV"})
    found = static_evidence(cell, CONFIG, vmlinux, tmp_path / "xipImage")
    assert [one.name for one in found if not one.holds] == ["elf-machine"]


@pytest.mark.parametrize("content", [b"", b"no ELF file", b"\x7fELF\x02\x01\x01" + bytes(20)])
def test_what_is_no_vmlinux(tmp_path: Path, content: bytes) -> None:
    link(tmp_path)
    (tmp_path / "vmlinux").write_bytes(content)
    with pytest.raises(InfrastructureError, match="vmlinux"):
        static_evidence(make_cell(), CONFIG, tmp_path / "vmlinux", tmp_path / "xipImage")
