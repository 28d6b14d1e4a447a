# SPDX-License-Identifier: GPL-2.0-only
"""What the index shows, as plain values for index.html.j2: runs, and cells over runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...history import Kind
from ...store import Past, RunRow
from .. import figures
from ..runs import counts
from .charts import FIGURES, Chart, make_chart
from .environment import render
from .histories import Histories
from .marks import LEGEND, Mark, Step, day, mark_of, mark_of_run, step
from .text import link

# The newest runs that have a column, a point and a row in the tables of numbers.
SHOWN = 60


@dataclass(frozen=True)
class Line:
    """A run in the list. `news` is what changed in it, for the runs that are shown in full."""

    row: RunRow
    mark: Mark
    href: str
    took: str
    counts: str
    news: str


@dataclass(frozen=True)
class Column:
    """A run in the grid over time."""

    label: str
    date: str
    href: str


@dataclass(frozen=True)
class Measured:
    """A row of a cell's table of numbers."""

    step: Step
    run: str
    date: str
    release: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class CellLine:
    """A cell over time; a step is None where the run had not this cell."""

    cell: str
    mark: Mark
    steps: tuple[Step | None, ...]
    charts: tuple[Chart, ...]
    numbers: tuple[Measured, ...]


def index_page(
    rows: Sequence[RunRow],
    histories: Histories,
    thresholds: Mapping[str, float],
    page_of: Callable[[str], str],
) -> str:
    """The index of the runs `rows`, newest first. `page_of` gives a run's file, or ""."""
    recent = rows[:SHOWN]
    lines = [_line(row, histories, thresholds, page_of, told=row in recent) for row in rows]
    columns = [
        Column(f"{day(row.began)}, run {row.id}", row.began[5:10], _href(row, page_of))
        for row in reversed(recent)
    ]
    cells = [_cell(cell, recent, histories, page_of) for cell in histories.cells]
    return render(
        "index.html.j2",
        lines=lines,
        columns=columns,
        cells=[cell for cell in cells if cell is not None],
        figures=FIGURES,
        legend=LEGEND,
        words=sorted({cell.mark.words for cell in cells if cell is not None}),
        shown=SHOWN,
    )


def _href(row: RunRow, page_of: Callable[[str], str]) -> str:
    page = page_of(row.id)
    return link(page) if page else ""


def _line(
    row: RunRow,
    histories: Histories,
    thresholds: Mapping[str, float],
    page_of: Callable[[str], str],
    *,
    told: bool,
) -> Line:
    seconds = figures.seconds_between(row.began, row.ended)
    return Line(
        row=row,
        mark=mark_of_run(row),
        href=_href(row, page_of),
        took=figures.duration(seconds) if seconds else "",
        counts=counts(row),
        news=_news(histories, row.id, thresholds) if told else "",
    )


def _news(histories: Histories, run: str, thresholds: Mapping[str, float]) -> str:
    """``2 newly broken, 1 fixed, 3 figures moved``, what matters most first."""
    found: dict[str, int] = {}
    for one in histories.changes(histories.of_run(run), thresholds):
        if one.noteworthy or one.kind is Kind.STILL:
            quietly = one.kind in (Kind.SAME, Kind.KNOWN)
            kind = "with figures moved" if quietly else str(one.kind)
            found[kind] = found.get(kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in found.items())


def _cell(
    cell: str,
    recent: Sequence[RunRow],
    histories: Histories,
    page_of: Callable[[str], str],
) -> CellLine | None:
    """None where none of the recent runs had this cell."""
    by_run = {past.run: past for past in histories.of_cell(cell)}
    past = [by_run[row.id] for row in reversed(recent) if row.id in by_run]
    if not past:
        return None
    steps = {one.run: step(one, page_of(one.run)) for one in past}
    charts = [make_chart(figure, past) for figure in FIGURES]
    return CellLine(
        cell=cell,
        mark=mark_of(past[-1]),
        steps=tuple(steps.get(row.id) for row in reversed(recent)),
        charts=tuple(chart for chart in charts if chart is not None),
        numbers=tuple(_measured(one, steps[one.run]) for one in reversed(past)),
    )


def _measured(past: Past, shown: Step) -> Measured:
    values = [past.figures.get(figure.name) for figure in FIGURES]
    return Measured(
        step=shown,
        run=past.run,
        date=day(past.began),
        release=past.versions.get("kernel", "").split(" ")[0],
        values=tuple("" if value is None else f"{value:,.0f}" for value in values),
    )
