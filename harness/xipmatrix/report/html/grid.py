# SPDX-License-Identifier: GPL-2.0-only
"""The matrix as a table: a row per arch, board, config and toolchain, a column per kernel."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .marks import Mark
from .text import link


@dataclass(frozen=True)
class Spot:
    """One cell in the table, or a place where there is none (`mark` is None)."""

    cell: str
    mark: Mark | None
    href: str


@dataclass(frozen=True)
class Row:
    """`name` is the cells' ids without the kernel."""

    name: str
    spots: tuple[Spot, ...]

    @property
    def cells(self) -> str:
        """The ids of its cells, for the filter."""
        return " ".join(spot.cell for spot in self.spots if spot.mark)

    @property
    def words(self) -> str:
        """The verdicts of its cells, for the filter."""
        return "|".join(sorted({spot.mark.words for spot in self.spots if spot.mark}))


@dataclass(frozen=True)
class Grid:
    """Newest kernel first."""

    kernels: tuple[str, ...]
    rows: tuple[Row, ...]


def make_grid(marks: Mapping[str, Mark]) -> Grid:
    """The table of the cells in `marks`; each spot leads to its section of the same page."""
    places: dict[tuple[str, str], str] = {}
    for cell in marks:
        kernel, _, name = cell.partition("/")
        places[name, kernel] = cell
    kernels = sorted({kernel for _, kernel in places}, key=natural, reverse=True)
    rows = []
    for name in sorted({name for name, _ in places}):
        here = [places.get((name, kernel), "") for kernel in kernels]
        spots = [Spot(cell, marks.get(cell), link("", cell) if cell else "") for cell in here]
        rows.append(Row(name, tuple(spots)))
    return Grid(tuple(kernels), tuple(rows))


def natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 6.9 comes before 6.12."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)
    ]
