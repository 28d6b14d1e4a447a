# SPDX-License-Identifier: GPL-2.0-only
"""Machines without MMU, whose kernel is in a ROM: all addresses are physical there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from machine_support import ARCH, BOARD, boot_result, make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.core.files import cache_dir
from xipmatrix.machine import qemu, residency
from xipmatrix.machine.residency import Run, Where
from xipmatrix.machine.result import Memory
from xipmatrix.machine.userland import Program
from xipmatrix.matrix.model import Arch, Board
from xipmatrix.verdict import flash

ROM, RAM = 0x7F0000000000, 0x7F1000000000
ROM_BASE, RAM_BASE = 0x21000000, 0x20000000
MEMORIES = (Memory("flash", ROM_BASE, 1 << 20, ROM), Memory("ram", RAM_BASE, 4 << 20, RAM))
CODE = bytes(range(64))
BOARD_KEYS: dict[str, Any] = {
    "qemu": {"binary": "qemu-system-arm", "machine": "mps2-an385", "memory": "1M"},
    "flash": {"kind": "rom", "base": ROM_BASE, "size": "1M"},
    "ram_base": RAM_BASE,
    "ram": "4M",
    "xip_phys_addr": ROM_BASE + 0x10000,
    "firmware": [],
}
ARCH_KEYS = {"mmu": False, "kernel_virtual_base": 0}
CELL = make_cell(BOARD_KEYS, ARCH_KEYS)


@pytest.mark.parametrize(
    "keys",
    [
        {"ram": None},
        {"flash": {**BOARD_KEYS["flash"], "size": "2M"}},
        {"flash": {"base": ROM_BASE, "size": "1M"}},
    ],
)
def test_a_rom_is_what_m_is_about(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"flash\.kind rom"):
        Board.model_validate({**BOARD, **BOARD_KEYS, **keys})
    assert Board.model_validate({**BOARD, **BOARD_KEYS}).ram_size == 4 << 20
    assert Board.model_validate(BOARD).ram_size == 64 << 20


def test_without_mmu_there_are_no_tables() -> None:
    tables = {"view": "info-mem"}
    with pytest.raises(ValidationError, match="without MMU"):
        Arch.model_validate({**ARCH, **ARCH_KEYS, "page_tables": tables})
    Arch.model_validate({**ARCH, "page_tables": tables})


def test_the_image_is_a_rom(tmp_path: Path) -> None:
    image = tmp_path / "flash.img"
    image.write_bytes(bytes(1 << 20))
    args = qemu.boot_args(CELL.board_spec, image, bootargs="", work=tmp_path)
    assert args[args.index("-M") + 1] == "mps2-an385,memory-backend=rom"
    (rom,) = [one for one in args if one.startswith("memory-backend-file")]
    assert "readonly=on" in rom and f"mem-path={image}" in rom and "size=1048576" in rom
    (ram,) = [one for one in args if one.startswith("loader,")]
    assert f"addr={RAM_BASE:#x}" in ram
    assert str(cache_dir()) in ram
    assert "-drive" not in args
    # With an initrd it is one file all the same.
    (tmp_path / "initrd").write_bytes(b"initrd")
    initrd = qemu.Preload(tmp_path / "initrd", RAM_BASE + 0x1000)
    args = qemu.boot_args(CELL.board_spec, image, bootargs="", work=tmp_path, preload=initrd)
    (ram,) = [one for one in args if one.startswith("loader,")]
    content = (tmp_path / "ram-at-reset.bin").read_bytes()
    assert str(tmp_path / "ram-at-reset.bin") in ram
    assert (len(content), content[0x0FFE:0x1008]) == (4 << 20, b"\xa5\xa5initrd\xa5\xa5")
    with pytest.raises(InfrastructureError, match="no RAM that takes a normal kernel"):
        qemu.boot_args(CELL.board_spec, image, bootargs="", work=tmp_path, kernel=image)


@pytest.mark.parametrize(
    ("vaddr", "haddr", "code", "where"),
    [
        (ROM_BASE + 0x10000, ROM + 0x10000, CODE[:8], Where.FLASH),
        (RAM_BASE + 0x300010, RAM + 0x300010, CODE[16:24], Where.USER),
        # Other code in RAM, and init's where it is not.
        (RAM_BASE + 0x300010, RAM + 0x300010, CODE[17:25], Where.KERNEL_RAM),
        (RAM_BASE + 0x200010, RAM + 0x200010, CODE[16:24], Where.KERNEL_RAM),
        (0x5000, 0x7FFF00000000, CODE[:8], Where.KERNEL_RAM),
    ],
)
def test_a_program_is_told_by_its_code(vaddr: int, haddr: int, code: bytes, where: Where) -> None:
    init = Program(((0, CODE),), fixed=False).at(RAM_BASE + 0x300000)
    run = Run(vaddr, haddr, code, 3)
    words = [run], MEMORIES, CELL.board_spec, CELL.arch_spec, None, ()
    assert residency.classify(*words, init).counts == {where: 3}
    # Where init is not known, nothing in RAM is taken for it.
    unknown = Where.FLASH if where is Where.FLASH else Where.KERNEL_RAM
    assert residency.classify(*words, None).counts == {unknown: 3}


@pytest.mark.parametrize(
    ("code", "where"), [(CODE[4:8], Where.FIRMWARE), (CODE[8:12], Where.KERNEL_RAM)]
)
def test_a_boot_rom_is_what_was_there_at_first(code: bytes, where: Where) -> None:
    region = {"name": "boot-rom", "base": 0x1000, "size": 64}
    board = make_cell({**BOARD_KEYS, "firmware": [region]}, ARCH_KEYS).board_spec
    memories = (*MEMORIES, Memory("boot-rom", 0x1000, 64, 0x7F2000000000, CODE))
    init = Program(((0, CODE),), fixed=False).at(RAM_BASE + 0x300000)
    run = Run(0x1004, 0x7F2000000004, code, 3)
    found = residency.classify([run], memories, board, CELL.arch_spec, None, (), init)
    assert found.counts == {where: 3}


def test_a_program_with_a_place_stays_there() -> None:
    fixed = Program(((0x20000000, CODE),))
    assert fixed.at(0x1000) is fixed


def stores(folder: Path, text: str | None) -> Evidence:
    """The evidence of stores to the ROM, of a boot for which the plugin wrote `text`."""
    path = folder / "stores.txt"
    if text is not None:
        path.write_text(text)
    seen = boot_result(folder / "console.log", rom_stores=path if text is not None else None)
    return flash.evidence(CELL, seen)[0]


def test_no_store_is_to_a_rom(tmp_path: Path) -> None:
    assert stores(tmp_path, "xipmatrix-stores 1 0\n").holds
    found = stores(tmp_path, "xipmatrix-stores 1 9\n21010050 21000018\n21010060 2100001c\n")
    assert (found.holds, found.breaks) == (False, Verdict.FLASH_MODIFIED)
    assert found.summary == (
        "9 stores were to the ROM, at offset 0x18 by the code at 0x21010050, "
        "0x1c by the code at 0x21010060"
    )


@pytest.mark.parametrize("text", [None, "", "xipmatrix-stores 2 0\n"])
def test_silence_about_stores_proves_nothing(text: str | None, tmp_path: Path) -> None:
    found = stores(tmp_path, text)
    assert (found.holds, found.breaks) == (False, Verdict.INFRASTRUCTURE)
