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
        """The results of a run."""
        return self._runs.get(run, [])

    def of_cell(self, cell: str) -> Sequence[Past]:
        """All results of a cell."""
        return self._cells.get(cell, [])

    def before(self, now: Past) -> Sequence[Past]:
        """What came before `now`, newest first: later runs don't change an earlier page."""
        found = self.of_cell(now.cell)
        return [past for past in found if (past.began, past.run) < (now.began, now.run)]

    def changes(self, current: Sequence[Past], thresholds: Mapping[str, float]) -> list[Change]:
        """What changed with each of `current`, as history.changes_of() has it."""
        return sort(
            change(now, self.before(now), thresholds) for now in current if now.verdict is not None
        )
