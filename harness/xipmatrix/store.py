# SPDX-License-Identifier: GPL-2.0-only
"""Runs on disk: one folder each below the state folder, results as JSON, logs beside them.

A run's folder is never changed after the run; every file in it is written
atomically. A file that cannot be read is reported and passed over: one damaged
run does not hide the others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.errors import InfrastructureError, UsageError
from .core.files import Say, quiet, state_dir, write_json
from .matrix.model import Cell
from .result import CellResult


@dataclass(frozen=True)
class Run:
    """One execution of the matrix."""

    folder: Path

    @property
    def id(self) -> str:
        """Sortable by time: ``20261123T051154-4711``."""
        return self.folder.name

    def cell_folder(self, cell: Cell) -> Path:
        """Where a cell's result and logs lie; made on demand."""
        folder = self.folder / "cells" / cell.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, cell: Cell, result: CellResult) -> None:
        """Keep one cell's result."""
        write_json(self.cell_folder(cell) / "result.json", result.as_dict())

    def finish(self, summary: dict[str, Any]) -> None:
        """Keep the run's summary: a run without one was interrupted."""
        write_json(self.folder / "run.json", summary)


def new_run(state: Path | None = None) -> Run:
    """A fresh run folder. Raises InfrastructureError where it cannot be made."""
    base = (state or state_dir()) / "runs"
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder = base / f"{stamp}-{os.getpid()}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InfrastructureError(f"cannot make the run folder: {error}", where=folder) from error
    return Run(folder)


def runs(state: Path | None = None) -> list[Run]:
    """All runs, newest first."""
    base = (state or state_dir()) / "runs"
    return [Run(path) for path in sorted(base.glob("*-*"), reverse=True) if path.is_dir()]


def results(run: Run, say: Say = quiet) -> Iterator[tuple[Path, CellResult]]:
    """A run's results with their folders; what cannot be read is said and passed over."""
    for path in sorted(run.folder.glob("cells/*/result.json")):
        try:
            yield path.parent, CellResult.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"{path}: not a readable result ({error}); passed over")


def last_result(
    cell_id: str, state: Path | None = None, say: Say = quiet
) -> tuple[Path, CellResult]:
    """The newest result of a cell and its folder. Raises UsageError where there is none."""
    for run in runs(state):
        for folder, result in results(run, say):
            if result.cell == cell_id:
                return folder, result
    raise UsageError(
        f"no result of {cell_id} is stored",
        where=(state or state_dir()) / "runs",
        hint=f"xipmatrix build --cell {cell_id}",
    )
