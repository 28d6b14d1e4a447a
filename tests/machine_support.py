# SPDX-License-Identifier: GPL-2.0-only
"""A cell made of data alone, for tests of flash, image, residency and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xipmatrix.machine.result import BootResult, End
from xipmatrix.matrix.model import Arch, Board, Cell, Config, Kernel

ARCH: dict[str, Any] = {
    "kernel_arch": "arm",
    "tuxmake_arch": "arm",
    "elf_machine": "EM_X86_64",
    "xip_image": "arch/arm/boot/xipImage",
    "toolchains": {"gcc": {"packages": ["gcc"]}},
    "kernel_virtual_base": 0xBF000000,
    "init": {"text_virtual_address": 0x20000000},
    "ram_text": [
        {"section": ".vectors", "why": "copied to the vector page"},
        {
            "symbols": ["helpers", "helpers_end"],
            "end": 0xFFFF1000,
            "replaced": {0xFFFF0FE0: 0xFFFF0FE8},
            "why": "helpers",
        },
    ],
    "loaded_code": [{"virtual_base": 0xBF000000, "size": "16M", "why": "modules"}],
    "rom_sections": {".init.rodata": "tables"},
}
BOARD: dict[str, Any] = {
    "description": "a board for tests",
    "qemu": {"binary": "qemu-system-arm", "machine": "virt", "memory": "64M"},
    "flash": {"base": 0, "size": "1M"},
    "ram_base": 0x40000000,
    "xip_phys_addr": 0x10000,
    "bootargs": "console=ttyAMA0",
    "firmware": [{"name": "opensbi", "base": 0x40000000, "size": "512K"}],
}


def make_cell(
    board: dict[str, Any] | None = None,
    arch: dict[str, Any] | None = None,
    workload: Sequence[str] = (),
) -> Cell:
    """A cell on BOARD and ARCH with some of their keys replaced."""
    return Cell(
        kernel="7.3",
        arch="arm",
        board="test",
        config="tiny",
        toolchain="gcc",
        kernel_spec=Kernel.model_validate({"providers": [{"path": {"path": "/nowhere"}}]}),
        arch_spec=Arch.model_validate({**ARCH, **(arch or {})}),
        board_spec=Board.model_validate({**BOARD, **(board or {})}),
        config_spec=Config.model_validate({"base": "allnoconfig", "workload": workload}),
    )


def boot_result(console: Path, **changes: Any) -> BootResult:
    """A boot that ended well and was not looked at, with some of it replaced."""
    good: dict[str, Any] = {
        "end": End.POWEROFF,
        "seconds": 1.0,
        "console": console,
        "counts": None,
        "memories": (),
        "challenge": "0",
        "command": ("qemu-system-arm",),
        "qemu_version": "7.2",
        "flash_sha256": "same",
        "flash_sha256_after": "same",
        "silence_limit": 60,
        "total_limit": 300,
    }
    return BootResult(**{**good, **changes})
