# SPDX-License-Identifier: GPL-2.0-only
"""Static evidence, from small ELF files linked like an XIP kernel, rightly and wrongly."""

from __future__ import annotations

import gzip
import random
import struct
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from image_support import CONFIG, evidence, failing, link, patch_section, patch_segment
from machine_support import ARCH, make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Verdict
from xipmatrix.image import static_evidence


def failing_linked(
    folder: Path, config: Mapping[str, str] = CONFIG, **how: str
) -> dict[str, Verdict]:
    link(folder, **how)
    return failing(folder, config)


def test_a_sound_image(tmp_path: Path) -> None:
    link(tmp_path)
    assert failing(tmp_path) == {}
    figures = {name: one.figures for name, one in evidence(tmp_path).items()}
    assert figures["text-in-flash"]["copied_to_ram"] == {".vectors": 32}
    assert figures["no-writable-in-flash"]["data_bytes"] == 256
    assert figures["no-writable-in-flash"]["bss_bytes"] == 1024
    assert figures["entry"]["entry_physical"] == 0x10000
    assert figures["data-in-ram"]["ram_bytes"] == 256 + 1024
    assert figures["data-in-ram"]["sections"] == {".data": 256, ".bss": 1024}
    flash = figures["image-fits"]
    assert flash["sections"] == {
        ".text": 4112,
        ".rodata": 512,
        ".vectors": 32,
        ".init.rodata": 64,
        ".data": 256,
    }
    assert flash["read_in_place_bytes"] == 4112 + 512 + 64
    assert flash["copied_to_ram_bytes"] == 32 + 256
    assert flash["image_bytes"] == (tmp_path / "xipImage").stat().st_size


def test_data_linked_into_flash(tmp_path: Path) -> None:
    assert failing_linked(tmp_path, data="") == {
        "no-writable-in-flash": Verdict.IMAGE_INVALID,
        "segments": Verdict.IMAGE_INVALID,
    }


def test_data_linked_among_code(tmp_path: Path) -> None:
    # Not at the address where it is stored, but at one that is flash.
    link(tmp_path)
    patch_section(tmp_path, ".bss", vma=0xBF010100)
    assert failing(tmp_path)["no-writable-in-flash"] is Verdict.IMAGE_INVALID


def test_read_only_data_linked_to_ram(tmp_path: Path) -> None:
    assert failing_linked(tmp_path, rodata="0xc0000000 : AT(0xbf011010)") == {
        "text-in-flash": Verdict.IMAGE_INVALID
    }


def test_another_entry_point(tmp_path: Path) -> None:
    assert failing_linked(tmp_path, entry="late") == {"entry": Verdict.IMAGE_INVALID}


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
    assert failing_linked(tmp_path, config=config) == {"config": verdict}


def test_an_image_of_another_kernel(tmp_path: Path) -> None:
    link(tmp_path)
    image = tmp_path / "xipImage"
    data = bytearray(image.read_bytes())
    data[4200] ^= 1
    image.write_bytes(data)
    assert failing(tmp_path) == {"image-is-vmlinux": Verdict.IMAGE_INVALID}


def test_a_truncated_image(tmp_path: Path) -> None:
    link(tmp_path)
    image = tmp_path / "xipImage"
    image.write_bytes(image.read_bytes()[:-1])
    assert failing(tmp_path) == {"image-is-vmlinux": Verdict.IMAGE_INVALID}


DEFLATED = {**CONFIG, "XIP_DEFLATED_DATA": "y"}
BROKEN = {"image-is-vmlinux": Verdict.IMAGE_INVALID}


def deflate(image: Path, change: Callable[[bytes], bytes] = bytes) -> None:
    """As arch/arm/boot/deflate_xip_data.sh; `change` spoils the 256 bytes of .data."""
    raw = image.read_bytes()
    image.write_bytes(raw[:-256] + gzip.compress(change(raw[-256:])))


def test_deflated_data_is_compared_inflated(tmp_path: Path) -> None:
    link(tmp_path)
    assert failing(tmp_path, DEFLATED) == BROKEN, "it is not deflated"
    deflate(tmp_path / "xipImage")
    assert failing(tmp_path, DEFLATED) == {}
    assert failing(tmp_path) == BROKEN, "nobody said so"


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data[1:] + b"\0", lambda data: data + b"\1"]
)
def test_deflated_data_that_is_not_vmlinuxs(
    change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    link(tmp_path)
    deflate(tmp_path / "xipImage", change)
    assert failing(tmp_path, DEFLATED) == BROKEN


def test_deflated_data_that_is_cut(tmp_path: Path) -> None:
    link(tmp_path)
    deflate(tmp_path / "xipImage")
    image = tmp_path / "xipImage"
    image.write_bytes(image.read_bytes()[:-1])
    assert failing(tmp_path, DEFLATED) == BROKEN


def test_an_image_one_byte_too_large(tmp_path: Path) -> None:
    link(tmp_path)
    with (tmp_path / "xipImage").open("ab") as image:
        image.truncate((1 << 20) - 0x10000)
    assert failing(tmp_path) == {}
    with (tmp_path / "xipImage").open("ab") as image:
        image.truncate((1 << 20) - 0x10000 + 1)
    assert failing(tmp_path) == {"image-fits": Verdict.IMAGE_INVALID}


def test_a_vmlinux_of_another_architecture(tmp_path: Path) -> None:
    link(tmp_path)
    assert failing(tmp_path, arch={"elf_machine": "EM_RISCV"}) == {
        "elf-machine": Verdict.IMAGE_INVALID
    }


def test_writable_code(tmp_path: Path) -> None:
    # It would be executed from RAM, without anybody having said so.
    source = '.section .ramtext,"awx",@progbits\n.fill 64, 1, 0x66\n'
    ram = ".ramtext : { *(.ramtext) }"
    assert failing_linked(tmp_path, source=source, ram=ram) == {
        "text-in-flash": Verdict.IMAGE_INVALID
    }
    why = {"ram_text": [{"section": ".ramtext", "why": "a test"}, *ARCH["ram_text"]]}
    assert failing(tmp_path, arch=why) == {}


def test_an_entry_point_without_code(tmp_path: Path) -> None:
    link(tmp_path)
    patch_section(tmp_path, ".text", flags=0x2)
    assert failing(tmp_path) == {
        "entry": Verdict.IMAGE_INVALID,
        "text-in-flash": Verdict.IMAGE_INVALID,
    }


def test_a_writable_section_far_from_ram(tmp_path: Path) -> None:
    source = '.section .far,"aw",@progbits\n.fill 64, 1, 0x66\n'
    ram = ".far 0xd0000000 : AT(LOADADDR(.data) + SIZEOF(.data)) { *(.far) } . = 0xc0009000;"
    assert failing_linked(tmp_path, source=source, ram=ram) == {
        "data-in-ram": Verdict.IMAGE_INVALID
    }


def test_more_data_than_ram(tmp_path: Path) -> None:
    link(tmp_path, ram=".huge (NOLOAD) : { . += 64M; }")
    assert failing(tmp_path) == {"data-in-ram": Verdict.IMAGE_INVALID}
    assert "67108864" in evidence(tmp_path)["data-in-ram"].summary


def test_writable_sections_that_overlap(tmp_path: Path) -> None:
    link(tmp_path)
    patch_section(tmp_path, ".bss", vma=0xC0008010)
    assert failing(tmp_path) == {"data-in-ram": Verdict.IMAGE_INVALID}


def test_a_section_loaded_behind_the_flash(tmp_path: Path) -> None:
    source = '.section .late,"a",@progbits\n.fill 64, 1, 0x66\n'
    late = ".late 0xbf200000 : AT(0xbf200000) { *(.late) } . = 0xc0009000;"
    link(tmp_path, source=source, ram=late)
    (tmp_path / "xipImage").write_bytes((tmp_path / "xipImage").read_bytes()[:100_000])
    assert "image-fits" in failing(tmp_path)


def test_a_segment_both_in_flash_and_writable(tmp_path: Path) -> None:
    # Every section says that it is only read; the segment says what the loader would do.
    link(tmp_path)
    patch_section(tmp_path, ".init.rodata", flags=0x2)
    patch_segment(tmp_path, 0xBF010000, flags=0x7)
    assert failing(tmp_path) == {"segments": Verdict.IMAGE_INVALID}


def test_bss_in_a_segment_in_flash(tmp_path: Path) -> None:
    link(tmp_path)
    patch_segment(tmp_path, 0xBF010000, grow=4096)
    assert failing(tmp_path) == {"segments": Verdict.IMAGE_INVALID}


@pytest.mark.parametrize("at", [4700, -1], ids=["in a gap", "behind the end"])
def test_what_is_not_vmlinuxs(tmp_path: Path, at: int) -> None:
    link(tmp_path, rodata="ALIGN(1024) :")
    image = tmp_path / "xipImage"
    data = bytearray(image.read_bytes() + bytes(100))
    assert failing(tmp_path) == {}
    data[at] = 0x5A
    image.write_bytes(data)
    assert failing(tmp_path) == {"image-is-vmlinux": Verdict.IMAGE_INVALID}


def test_an_empty_image(tmp_path: Path) -> None:
    link(tmp_path)
    (tmp_path / "xipImage").write_bytes(b"")
    assert failing(tmp_path)["image-fits"] is Verdict.IMAGE_INVALID


def test_no_image(tmp_path: Path) -> None:
    link(tmp_path)
    (tmp_path / "xipImage").unlink()
    with pytest.raises(InfrastructureError, match="xipImage"):
        failing(tmp_path)


def test_a_stripped_vmlinux(tmp_path: Path) -> None:
    # Where text would be rewritten is not known then: no verdict on the kernel.
    vmlinux = link(tmp_path)
    subprocess.run(["strip", vmlinux], check=True)
    assert failing(tmp_path) == {"patch-sites": Verdict.INFRASTRUCTURE}
    assert "stripped" in evidence(tmp_path)["patch-sites"].summary


@pytest.mark.parametrize("content", [b"", b"no ELF file", b"\x7fELF\x02\x01\x01" + bytes(20)])
def test_what_is_no_vmlinux(tmp_path: Path, content: bytes) -> None:
    link(tmp_path)
    (tmp_path / "vmlinux").write_bytes(content)
    with pytest.raises(InfrastructureError, match="vmlinux"):
        static_evidence(make_cell(), CONFIG, tmp_path / "vmlinux", tmp_path / "xipImage")


def test_a_vmlinux_cut_off_anywhere(tmp_path: Path) -> None:
    content = link(tmp_path).read_bytes()
    for size in range(0, len(content) - 1, 97):
        (tmp_path / "vmlinux").write_bytes(content[:size])
        with pytest.raises(InfrastructureError, match="vmlinux"):
            failing(tmp_path)


@pytest.mark.parametrize("name", [".text", ".symtab"])
def test_a_vmlinux_with_a_hole_at_its_end(tmp_path: Path, name: str) -> None:
    link(tmp_path)
    patch_section(tmp_path, name, size=24 << 20)
    with pytest.raises(InfrastructureError, match=rf"is cut off: section {name} would end"):
        failing(tmp_path)


def test_a_damaged_vmlinux_is_an_error_or_graded(tmp_path: Path) -> None:
    content = link(tmp_path).read_bytes()
    (end,) = struct.unpack_from("<Q", content, 0x28)  # e_shoff: section headers come last
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(content)
        for _ in range(3):
            at = chance.choice([*range(0x10, 0x140), *range(end, len(data))])
            data[at] = chance.randrange(256)
        (tmp_path / "vmlinux").write_bytes(data)
        try:
            failing(tmp_path)
        except InfrastructureError as error:
            assert "vmlinux" in str(error)
