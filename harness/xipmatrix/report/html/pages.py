# SPDX-License-Identifier: GPL-2.0-only
"""Which files there are and when each is written.

A run's page speaks of that run and of what came before it, so a later run changes none of
the earlier pages: only the index is written each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.files import Say, quiet, write_atomic
from ...store import RunRow, Store
from .histories import Histories
from .index_page import index_page
from .run_page import run_page

INDEX = "index.html"


def page_name(run: str) -> str:
    """The file of a run's page, beside the index."""
    return f"{run}.html"


def write_pages(
    store: Store,
    runs: Sequence[RunRow],
    folder: Path,
    thresholds: Mapping[str, float],
    say: Say = quiet,
) -> list[Path]:
    """Write the pages of `runs` and the index of all into `folder`; returns the runs' pages.

    Raises InfrastructureError, OSError.
    """
    histories = Histories(store)
    rows = store.runs()
    made = {row.id for row in runs}
    there = {row.id for row in rows if row.id in made or (folder / page_name(row.id)).is_file()}

    def page_of(run: str) -> str:
        return page_name(run) if run in there else ""

    paths = []
    for row in runs:
        paths.append(folder / page_name(row.id))
        _write(paths[-1], run_page(store, row, histories, thresholds, page_of, say))
    _write(folder / INDEX, index_page(rows, histories, thresholds, page_of))
    return paths


def _write(path: Path, text: str) -> None:
    write_atomic(path, text)
    path.chmod(0o644)  # a page is to be read by others, as by a web server
