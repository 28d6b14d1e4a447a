# SPDX-License-Identifier: GPL-2.0-only
"""Which cells run when: a local pool of threads that wait for compilers and QEMU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..core import run
from ..core.evidence import Verdict
from ..matrix.model import Cell
from ..result import CellResult
from .costs import estimate


def in_order(cells: Sequence[Cell]) -> list[Cell]:
    """Long builds first, so that the last cell to end is a short one; else as given."""
    return sorted(cells, key=estimate, reverse=True)


def run_cells(
    cells: Sequence[Cell],
    work: Callable[[Cell], CellResult],
    done: Callable[[Cell, CellResult], None],
    *,
    workers: int,
    fail_fast: bool,
) -> list[CellResult]:
    """Do `work` for every cell; `done` is called from this thread as each one ends.

    With `fail_fast` nothing new starts after the first cell that is not as expected:
    cells never started are missing in the returned list, which is in the order given.
    On Ctrl-C every child process is ended before KeyboardInterrupt goes on.
    """
    found: dict[str, CellResult] = {}
    queue = in_order(cells)
    with ThreadPoolExecutor(workers, thread_name_prefix="cell") as pool:
        running: dict[Future[CellResult], Cell] = {}
        stop = False
        try:
            while running or (queue and not stop):
                while queue and not stop and len(running) < workers:
                    cell = queue.pop(0)
                    running[pool.submit(work, cell)] = cell
                finished, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
                for future in finished:
                    cell = running.pop(future)
                    result = future.result()
                    found[cell.id] = result
                    done(cell, result)
                    broken = not result.as_expected or result.verdict is Verdict.INFRASTRUCTURE
                    stop = stop or (fail_fast and broken)
        except BaseException:
            run.stop_all()
            raise
    return [found[cell.id] for cell in cells if cell.id in found]
