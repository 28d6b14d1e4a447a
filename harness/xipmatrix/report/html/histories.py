# SPDX-License-Identifier: GPL-2.0-only
"""All that is stored, by cell, read once for many pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...history import Change, change, sort
from ...store import Past, Store


class Histories:
    """The results of every cell, newest first."""

    def __init__(self, store: Store) -> None:
        self._cells: dict[str, list[Past]] = {}
        self._runs: dict[str, list[Past]] = {}
        for past in store.past():
            self._cells.setdefault(past.cell, []).append(past)
            self._runs.setdefault(past.run, []).append(past)

    @property
    def cells(self) -> list[str]:
        """Every cell that has a result."""
        return sorted(self._cells)

    def of_run(self, run: str) -> Sequence[Past]:
        """The results of a run, by cell."""
        return self._runs.get(run, [])

    def of_cell(self, cell: str) -> Sequence[Past]:
        """All results of a cell."""
        return self._cells.get(cell, [])

    def until(self, now: Past) -> Sequence[Past]:
        """`now` and what came before it: later runs don't change an earlier one's page."""
        found = self._cells[now.cell]
        return found[found.index(now) :]

    def changes(self, run: str, thresholds: Mapping[str, float]) -> list[Change]:
        """What changed with each cell in `run`, as history.changes_of() has it."""
        return sort(
            change(now, self.until(now)[1:], thresholds)
            for now in self.of_run(run)
            if now.verdict is not None
        )
