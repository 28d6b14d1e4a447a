# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels with a file system in the flash that they execute from: what passes, and what a
flash that is wrong comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import TEMPLATES, built
from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Verdict
from xipmatrix.flash import cramfs, filesystem
from xipmatrix.flash.cramfs import Image, Stored
from xipmatrix.machine.console import Limits
from xipmatrix.machine.init import COMPRESSED, IN_PLACE
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline, boot_once
from xipmatrix.verdict import Judgement, judge

pytestmark = pytest.mark.mutants
Pair = tuple[Cell, Built]


@pytest.fixture(scope="module", params=["arm", "riscv"])
def pair(request: pytest.FixtureRequest, pipeline: Pipeline) -> Pair:
    """A cell whose flash is an mtd-rom with a cramfs."""
    return built(pipeline, f"7.3/{request.param}/virt-mtd-rom/cramfs/gcc")


def verdict(pair: Pair, folder: Path) -> Judgement:
    cell, kernel = pair
    return judge(cell, boot_once(cell, kernel, folder, Limits(), TEMPLATES), kernel.vmlinux)


def failing(found: Judgement) -> set[str]:
    return {one.name for one in found.evidence if not one.holds}


def test_a_program_is_executed_in_place_and_spares_its_ram(pair: Pair, tmp_path: Path) -> None:
    found = verdict(pair, tmp_path)
    assert found.verdict is Verdict.PASS, found.reason
    executed, kb = (found.figure("programs-in-place", key) for key in ("executed", "page_cache_kb"))
    assert isinstance(executed, dict)
    assert isinstance(kb, dict)
    assert executed[IN_PLACE]["flash"] > 300
    assert executed[COMPRESSED]["ram"] > 300
    # Its 32 pages of steps at least; its first page is read as a file, for the ELF header.
    assert kb[COMPRESSED] - kb[IN_PLACE] >= 32 * 4
    assert found.figure("flash-writes", "writes_to_others")


def all_compressed(stored: list[Stored]) -> Image:
    """What mkfs.cramfs makes, which stores no page as it is."""
    return cramfs.make([dataclasses.replace(one, in_place=False) for one in stored])


def flipped(offset: Callable[[Image], int]) -> Callable[[list[Stored]], Image]:
    """One bit of the image is wrong."""

    def image(stored: list[Stored]) -> Image:
        good = cramfs.make(stored)
        data = bytearray(good.data)
        data[offset(good)] ^= 1
        return Image(bytes(data), good.places)

    return image


@pytest.mark.parametrize(
    ("image", "breaks", "fails"),
    [
        (all_compressed, Verdict.NOT_IN_PLACE, {"programs-in-place"}),
        (
            flipped(lambda good: good.places["random"] + 4999),
            Verdict.USERSPACE_FAILED,
            {"files-in-flash"},
        ),
        # The super block's magic: nothing is mounted.
        (
            flipped(lambda good: 0),
            Verdict.USERSPACE_FAILED,
            {"workload", "files-in-flash", "programs-in-place"},
        ),
    ],
)
def test_a_file_system_that_is_wrong(
    pair: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: Callable[[list[Stored]], Image],
    breaks: Verdict,
    fails: set[str],
) -> None:
    cell, kernel = pair
    with monkeypatch.context() as patched:
        patched.setattr(filesystem, "image", image)
        boot = boot_once(cell, kernel, tmp_path, Limits(), TEMPLATES)
    found = judge(cell, boot, kernel.vmlinux)
    assert found.verdict is breaks, found.reason
    assert failing(found) == fails


def on_board(pair: Pair, **flash: Any) -> Pair:
    """The same kernel on a board whose flash differs; `tree` goes behind the device tree."""
    cell, kernel = pair
    board = cell.board_spec
    assert board.device_tree is not None
    add = board.device_tree.add + flash.pop("tree", "")
    changes = {
        "flash": board.flash.model_copy(update=flash),
        "device_tree": board.device_tree.model_copy(update={"add": add}),
    }
    return cell.model_copy(update={"board_spec": board.model_copy(update=changes)}), kernel


def test_a_flash_that_cannot_be_written(pair: Pair, tmp_path: Path) -> None:
    other = "/flash@0" if pair[0].arch == "arm" else "/flash@20000000"
    read_only = on_board(pair, tree=f'&{{{other}}} {{ compatible = "mtd-rom"; }};\n')
    found = verdict(read_only, tmp_path)
    assert found.verdict is Verdict.USERSPACE_FAILED
    assert failing(found) == {"workload", "other-flash"}
    assert "0 of 512 bytes of the other flash were as they were written" in found.reason


def test_a_drivers_mapping_must_be_declared(pair: Pair, tmp_path: Path) -> None:
    found = verdict(on_board(pair, ioremapped=False), tmp_path)
    assert found.verdict is Verdict.FLASH_MODIFIED
    assert failing(found) == {"page-tables-userspace", "page-tables-poweroff"}
