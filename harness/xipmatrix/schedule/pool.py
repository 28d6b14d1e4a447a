# SPDX-License-Identifier: GPL-2.0-only
"""Which cells run when: a local pool of threads that wait for compilers and QEMU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..core import run
from ..core.evidence import Verdict
from ..matrix.model import Cell
from ..result import CellResult
from .costs import costs
from .policy import Queue, Task, Worker


def run_cells(
    cells: Sequence[Cell],
    work: Callable[[Cell], CellResult],
    done: Callable[[Cell, CellResult], None],
    *,
    workers: int,
    fail_fast: bool,
    measured: Mapping[str, float],
) -> list[CellResult]:
    """Do `work` for every cell; `done` is called from this thread as each one ends.

    The order is :mod:`policy`'s, by what cells took before (`measured`, seconds by id). With
    `fail_fast` nothing new starts after the first cell that is not as expected: cells never
    started are missing in the returned list, which is in the order given.
    On Ctrl-C every child process is ended before KeyboardInterrupt goes on.
    """
    found: dict[str, CellResult] = {}
    seconds, by_id = costs(cells, measured), {cell.id: cell for cell in cells}
    queue = Queue([Task(cell.id, seconds[cell.id], _wants(cell)) for cell in cells], workers)
    machine = Worker()  # one for all threads: what one has, the others have
    with ThreadPoolExecutor(workers, thread_name_prefix="cell") as pool:
        running: dict[Future[CellResult], Cell] = {}
        stop = False
        try:
            while running or (queue and not stop):
                while not stop and len(running) < workers and (task := queue.take(machine)):
                    cell = by_id[task.name]
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


def _wants(cell: Cell) -> tuple[str, ...]:
    """What cells share: a kernel with a series, checked out, and the kernel."""
    return f"{cell.kernel}/{cell.series}", cell.kernel
