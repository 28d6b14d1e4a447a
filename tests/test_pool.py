# SPDX-License-Identifier: GPL-2.0-only
"""The local pool: every cell once, what takes longest first, and an end when it is told to stop."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from xipmatrix.core.evidence import Verdict
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.result import CellResult
from xipmatrix.schedule import run_cells


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    loaded = load_matrix(project_dir() / "matrix.yaml", project_dir() / "templates")
    (cell,) = loaded.select(Wanted(cells=("7.3/arm/virt/tiny/gcc",)))
    return [cell.model_copy(update={"board": f"board-{number}"}) for number in range(6)]


def verdict(of: Callable[[Cell], Verdict]) -> Callable[[Cell], CellResult]:
    def work(cell: Cell) -> CellResult:
        result = CellResult.of(cell)
        result.verdict = of(cell)
        return result

    return work


def test_results_come_in_the_order_given_and_cells_run_by_what_they_took(cells: list[Cell]) -> None:
    began: list[str] = []

    def note(cell: Cell) -> Verdict:
        began.append(cell.id)
        return Verdict.PASS

    measured = {cell.id: float(10 + number) for number, cell in enumerate(cells)}
    ended: list[str] = []
    found = run_cells(
        cells,
        verdict(note),
        lambda cell, result: ended.append(cell.id),
        workers=1,
        fail_fast=False,
        measured=measured,
    )
    ids = [cell.id for cell in cells]
    assert [one.cell for one in found] == ids
    assert began == ended == ids[::-1]


def test_as_many_at_a_time_as_there_are_workers(cells: list[Cell]) -> None:
    together = threading.Barrier(3, timeout=60)

    def meet(cell: Cell) -> Verdict:
        together.wait()
        return Verdict.PASS

    found = run_cells(
        cells, verdict(meet), lambda *_: None, workers=3, fail_fast=False, measured={}
    )
    assert len(found) == len(cells)


@pytest.mark.parametrize("bad", [Verdict.BOOT_PANIC, Verdict.INFRASTRUCTURE])
def test_fail_fast_starts_nothing_more(cells: list[Cell], bad: Verdict) -> None:
    found = run_cells(
        cells,
        verdict(lambda cell: bad if cell is cells[1] else Verdict.PASS),
        lambda *_: None,
        workers=1,
        fail_fast=True,
        measured={},
    )
    assert [one.verdict for one in found] == [Verdict.PASS, bad]


def test_ctrl_c_ends_the_children_of_all_cells() -> None:
    # In a process of its own: after a Ctrl-C nothing is started any more.
    code = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell put behind it
from xipmatrix.core import run
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.schedule import run_cells
loaded = load_matrix(project_dir() / "matrix.yaml", project_dir() / "templates")
cells = loaded.select(Wanted(profile="smoke"))
both = threading.Barrier(2)
def work(cell):
    with run.start(["sleep", "600"]) as child:
        if both.wait() == 0:
            os.kill(os.getpid(), signal.SIGINT)
        print(f"ended by {-child.wait()}\\n", end="", flush=True)
    raise KeyboardInterrupt
try:
    run_cells(cells, work, print, workers=2, fail_fast=False, measured={})
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["ended by 15", "ended by 15", "interrupted"], done.stderr
