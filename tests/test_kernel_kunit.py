# SPDX-License-Identifier: GPL-2.0-only
"""The kunit cells, and kernels of theirs that are broken in flash alone.

Two builds an architecture, some seven minutes, unless they are kept: hence with ``tox -e mutants``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import TEMPLATES
from mutants import load_suite
from mutants.binary import Program
from mutants.model import Edit
from xipmatrix.build import toolchain
from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.machine.console import Limits
from xipmatrix.matrix.load import Wanted
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline, boot_once, forget_dumps
from xipmatrix.pipeline.trial import Way
from xipmatrix.verdict import Judgement, judge

pytestmark = pytest.mark.mutants


@dataclass(frozen=True)
class Compared:
    """A kunit cell that was built, and what its normal kernel said."""

    cell: Cell
    built: Built
    way: Way

    def judged(self, kernel: Built, folder: Path, words: str = "") -> Judgement:
        """A boot of `kernel` in the cell's place."""
        seen = boot_once(self.cell, kernel, folder, Limits(), TEMPLATES, extra_args=words)
        judged = judge(self.cell, seen, kernel.vmlinux, self.way.also(seen))
        forget_dumps(seen)
        return judged


@pytest.fixture(scope="module", params=["arm", "riscv"])
def compared(
    request: pytest.FixtureRequest, pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory
) -> Compared:
    """The kunit cell of an architecture: one normal boot serves all tests."""
    (cell,) = pipeline.loaded.select(Wanted(cells=(f"7.3/{request.param}/*/kunit/gcc",)))
    result = pipeline.run_cell(cell)
    assert result.verdict is None, result.reason
    kernel = pipeline.built(result)
    folder = tmp_path_factory.mktemp("normal")
    return Compared(cell, kernel, pipeline.comparison(cell, kernel, result, folder))


def parity(judged: Judgement) -> Evidence:
    (found,) = [one for one in judged.evidence if one.name == "kunit-parity"]
    return found


def broken(compared: Compared, folder: Path, edit: Edit) -> Built:
    """The cell's XIP kernel with other machine code; its normal kernel stays as it is."""
    kernel = compared.built
    own = replace(kernel, folder=folder, image=folder / "xipImage", vmlinux=folder / "vmlinux")
    for name in ("xipImage", "vmlinux"):
        shutil.copyfile(kernel.folder / name, folder / name)
    cell = compared.cell
    assembler = load_suite().assemblers[cell.arch]
    prefix = toolchain.of_cell(cell).prefix
    Program(own.vmlinux, own.image, cell.board_spec, assembler, prefix).apply(edit)
    return own


def test_both_kernels_say_the_same(compared: Compared, tmp_path: Path) -> None:
    judged = compared.judged(compared.built, tmp_path)
    one = parity(judged)
    assert judged.verdict is Verdict.PASS, judged.reason
    assert one.figures["suites"] > 90 and one.figures["cases"] > 1000
    # What it is for: code and read-only data, more than a megabyte, are not in RAM.
    here = judged.figure("memory", "mem_available_kb")
    there = judged.figure("normal-kernel", "normal_mem_available_kb")
    assert here > there + 1024
    ours = judged.figure("normal-kernel", "instructions")
    assert 0.9 < ours / judged.figure("normal-kernel", "normal_instructions") < 1.1


def test_suites_that_run_in_ram_only(compared: Compared, tmp_path: Path) -> None:
    judged = compared.judged(compared.built, tmp_path, "kunit.filter_glob=math-*")
    assert judged.verdict is Verdict.USERSPACE_FAILED
    differences = parity(judged).figures["differences"]
    assert any(text.startswith("usercopy, a suite of") for text in differences)
    assert all(text.endswith("ran only in RAM") for text in differences)


def test_a_function_that_is_wrong_in_flash_only(compared: Compared, tmp_path: Path) -> None:
    code = {"arm": "mov r0, #7; bx lr", "riscv": "li a0, 7; ret"}[compared.cell.arch]
    kernel = broken(compared, tmp_path, Edit(at="polynomial_calc", code=code))
    judged = compared.judged(kernel, tmp_path)
    assert judged.verdict is Verdict.USERSPACE_FAILED, judged.reason
    assert judged.reason.startswith("kunit-parity: math-polynomial/")
    assert "FAIL in place, PASS in RAM" in judged.reason
    assert all("math-polynomial" in text for text in parity(judged).figures["differences"])


def test_a_crash_amid_a_suite_in_flash_only(compared: Compared, tmp_path: Path) -> None:
    code = {"arm": ".inst 0xe7f000f0", "riscv": "unimp"}[compared.cell.arch]
    kernel = broken(compared, tmp_path, Edit(at="polynomial_calc", code=code))
    judged = compared.judged(kernel, tmp_path)
    assert judged.verdict is Verdict.BOOT_PANIC, judged.reason
    assert not parity(judged).holds
