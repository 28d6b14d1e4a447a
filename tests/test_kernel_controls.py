# SPDX-License-Identifier: GPL-2.0-only
"""Negative controls on real kernels, through the same judge as every cell.

Fixtures: `arm_cell` and `riscv_cell` give a cell and what its build left (Built);
`normal_kernel` gives zImage and vmlinux of the arm virt cell's kernel without XIP.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Verdict
from xipmatrix.machine import protocol
from xipmatrix.machine.boot import boot
from xipmatrix.machine.console import Limits
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import boot_once, cell_flash, challenged
from xipmatrix.verdict import Judgement, judge

pytestmark = pytest.mark.kernel
TEMPLATES = Path(__file__).parents[1] / "templates"
LIMITS = Limits(silence=8, total=60)
Pair = tuple[Cell, Built]


def boot_in_mode(pair: Pair, folder: Path, mode: str = "") -> Judgement:
    cell, built = pair
    extra = f"xipmatrix.mode={mode}" if mode else ""
    # What must pass gets all the time a busy machine may need.
    limits = LIMITS if mode else Limits()
    seen = boot_once(cell, built, folder, limits, TEMPLATES, extra_args=extra)
    return judge(cell, seen, built.vmlinux)


@pytest.mark.parametrize("pair", ["arm_cell", "riscv_cell"])
def test_a_good_kernel_passes(pair: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    judged = boot_in_mode(request.getfixturevalue(pair), tmp_path)
    assert judged.verdict is Verdict.PASS, judged.reason
    assert judged.figure("in-place", "kernel_ram_undeclared") == 0


@pytest.mark.parametrize("pair", ["arm_cell", "riscv_cell"])
@pytest.mark.parametrize(
    ("mode", "verdict", "reason"),
    [
        ("exit", Verdict.BOOT_PANIC, "Attempted to kill init"),
        ("hang", Verdict.USERSPACE_FAILED, "reply: init gave no reply"),
        ("spin", Verdict.USERSPACE_FAILED, "reply: init gave no reply"),
        ("flood", Verdict.USERSPACE_FAILED, "endless output"),
        ("noreply", Verdict.USERSPACE_FAILED, "reply: init gave no reply"),
        ("badreply", Verdict.USERSPACE_FAILED, "reply: init replied"),
        ("echo", Verdict.USERSPACE_FAILED, "reply: init replied"),
        ("nopoweroff", Verdict.USERSPACE_FAILED, "powered-off: init asked for poweroff"),
        ("reset", Verdict.USERSPACE_FAILED, "powered-off: init asked for poweroff"),
    ],
)
def test_what_init_does_wrong(
    pair: str,
    mode: str,
    verdict: Verdict,
    reason: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    judged = boot_in_mode(request.getfixturevalue(pair), tmp_path, mode)
    assert (judged.verdict, reason in judged.reason) == (verdict, True), judged.reason


def zero(offset: int, size: int) -> Callable[[Path], None]:
    def change(image: Path) -> None:
        with image.open("r+b") as flash:
            flash.seek(offset)
            flash.write(bytes(size))

    return change


@pytest.mark.parametrize(
    ("at", "size", "verdicts"),
    [
        # The first page of code: not one byte on the console.
        (0, 4096, {Verdict.BOOT_SILENT}),
        # 80 KB in the middle of it: dies sooner or later, but never passes.
        (
            0x100000,
            0x14000,
            {Verdict.BOOT_SILENT, Verdict.BOOT_PANIC, Verdict.BOOT_TIMEOUT},
        ),
    ],
)
def test_a_corrupted_flash(
    arm_cell: Pair, at: int, size: int, verdicts: set[Verdict], tmp_path: Path
) -> None:
    cell, built = arm_cell
    challenge, bootargs = challenged(cell, protocol.HOLD_OPTION)
    image = cell_flash(cell, built, bootargs, tmp_path, TEMPLATES)
    board = cell.board_spec
    zero(board.xip_phys_addr - board.flash.base + at, size)(image.path)
    seen = boot(board, image.path, tmp_path, bootargs=bootargs, challenge=challenge, limits=LIMITS)
    image.path.unlink()
    judged = judge(cell, seen, built.vmlinux)
    assert judged.verdict in verdicts, judged.reason


def test_a_normal_kernel_in_ram_is_not_in_place(
    arm_cell: Pair, normal_kernel: tuple[Path, Path], tmp_path: Path
) -> None:
    cell, built = arm_cell
    zimage, vmlinux = normal_kernel
    challenge, bootargs = challenged(cell, protocol.HOLD_OPTION)
    image = cell_flash(cell, built, bootargs, tmp_path, TEMPLATES)
    seen = boot(
        cell.board_spec,
        image.path,
        tmp_path,
        bootargs=bootargs,
        challenge=challenge,
        limits=Limits(),
        kernel=zimage,
    )
    image.path.unlink()
    judged = judge(cell, seen, vmlinux)
    # All but the place is right: it reaches userspace, replies and powers off.
    assert judged.verdict is Verdict.NOT_IN_PLACE, judged.reason
    wrong = {one.name for one in judged.evidence if not one.holds}
    moments = [f"{kind}-{at}" for kind in ("ram-scan", "page-tables") for at in protocol.MOMENTS]
    assert wrong == {"in-place", "iomem", *moments}
    assert "memblock" in judged.reason or "crc32" in judged.reason
