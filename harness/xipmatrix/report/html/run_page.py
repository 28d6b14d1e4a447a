# SPDX-License-Identifier: GPL-2.0-only
"""What a run's page shows, as plain values for run.html.j2.

The logs are in the page: it is one file that can be mailed, attached to a bug or kept as a
CI artefact, and is whole there. What keeps it openable is a limit a log and one a page; the
end of a log is what matters, and the page says where the whole one lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import InfrastructureError
from ...core.evidence import FIGURES, Evidence
from ...core.files import Say, quiet
from ...history import Change, Kind
from ...result import CellResult
from ...store import Past, RunRow, Store, logs
from .. import figures
from ..changes import details, figure_line
from ..evidence import figure_lines
from ..explain import by_hand, explanation_of
from .environment import render
from .grid import Grid, make_grid
from .histories import Histories
from .marks import LEGEND, Mark, Step, mark_of_result, mark_of_run, step, tone_of
from .text import link, tail

# Bytes on the page, as HTML in UTF-8: of a log, of all logs, of the figures of one piece
# of evidence. A hundred cells with the longest logs then make a page of some 18 MB.
LOG_LIMIT, LOGS_LIMIT, FIGURES_LIMIT = 200_000, 10_000_000, 8_000
STRIP = 30  # results in a history strip


@dataclass(frozen=True)
class Log:
    """The end of a log; `note` says what is missing and where the whole one lies."""

    title: str
    path: str
    text: str
    note: str


@dataclass(frozen=True)
class Piece:
    """One piece of evidence. `facts` are pairs of a term and its text."""

    name: str
    tone: str
    symbol: str
    word: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    figures: str
    open: bool


@dataclass(frozen=True)
class Tile:
    """A figure at a glance: a label, a value, and what it counts."""

    label: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """One cell."""

    result: CellResult
    mark: Mark
    kind: str
    kind_tone: str
    moved: tuple[str, ...]
    tiles: tuple[Tile, ...]
    strip: tuple[Step, ...]
    pieces: tuple[Piece, ...]
    count: str
    numbers: tuple[tuple[str, str, str], ...]
    reproduce: str
    logs: tuple[Log, ...]


@dataclass(frozen=True)
class News:
    """Changes of one kind."""

    kind: str
    tone: str
    changes: tuple[tuple[str, str, tuple[str, ...]], ...]  # cell, link, details


def run_page(
    store: Store,
    row: RunRow,
    histories: Histories,
    thresholds: Mapping[str, float],
    page_of: Callable[[str], str],
    say: Say = quiet,
) -> str:
    """The page of the run `row` as HTML. `page_of` gives the file of a run's page, or ""."""
    unread: list[str] = []
    results = [result for _, result in store.results(row.id, unread.append)]
    for text in unread:
        say(text)
    results.sort(key=lambda one: (one.as_expected, one.cell))
    # From the results and not from the index: what stands on the page is of one source.
    current = {one.cell: Past.of(one, row.id, row.began) for one in results}
    changes = histories.changes(list(current.values()), thresholds)
    by_cell = {one.cell: one for one in changes}
    found = [(result, _logs(result)) for result in results]
    limit = min(LOG_LIMIT, LOGS_LIMIT // max(1, sum(len(texts) for _, texts in found)))
    sections = [
        _section(
            result,
            by_cell.get(result.cell),
            _strip(current[result.cell], histories, page_of),
            tuple(_log(title, path, limit) for title, path in texts),
        )
        for result, texts in found
    ]
    grid: Grid = make_grid({one.result.cell: one.mark for one in sections})
    return render(
        "run.html.j2",
        row=row,
        mark=mark_of_run(row),
        count=_counted(results, row),
        unread=unread,
        tally=_tally(section.mark for section in sections),
        took=_took(row),
        news=_news(changes),
        first=sum(1 for one in changes if one.kind is Kind.NEW),
        grid=grid,
        legend=LEGEND,
        sections=sections,
        words=sorted({section.mark.words for section in sections}),
        folder=str(store.folder(row.id)),
    )


# --- the head ---------------------------------------------------------------------------


def _counted(results: Sequence[CellResult], row: RunRow) -> str:
    """``14 cells, 2 not as expected``; ``so far`` where the run has not ended."""
    if not results:
        return "No results yet" if row.interrupted else "No results"
    wrong = sum(1 for one in results if not one.as_expected)
    cells = f"{len(results)} cell{'s' * (len(results) != 1)}{' so far' * row.interrupted}"
    return f"{cells}, {wrong} not as expected" if wrong else f"{cells}, all as expected"


def _tally(marks: Iterable[Mark]) -> list[tuple[Mark, int]]:
    counts: dict[Mark, int] = {}
    for mark in marks:
        counts[mark] = counts.get(mark, 0) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], item[0].words))


def _took(row: RunRow) -> str:
    """The wall time between its beginning and its end."""
    seconds = figures.seconds_between(row.began, row.ended)
    return figures.duration(seconds) if seconds else "not known"


def _news(changes: Sequence[Change]) -> list[News]:
    """By kind, what matters most first; what stayed as it was only where figures moved."""
    groups: dict[str, News] = {}
    for one in changes:
        if not (one.noteworthy or one.kind is Kind.STILL):
            continue
        quietly = one.kind in (Kind.SAME, Kind.KNOWN)
        kind = "figures moved" if quietly else str(one.kind)
        group = groups.get(kind) or News(kind, tone_of(one.kind), ())
        entry = (one.cell, link("", one.cell), tuple(details(one)))
        groups[kind] = replace(group, changes=(*group.changes, entry))
    return list(groups.values())


# --- a cell -----------------------------------------------------------------------------


def _section(
    result: CellResult, change: Change | None, strip: Sequence[Step], texts: tuple[Log, ...]
) -> Section:
    mark = mark_of_result(result)
    plain = (Kind.SAME, Kind.KNOWN, Kind.UNMEASURED, mark.words)
    told = change is not None and change.kind not in plain
    return Section(
        result=result,
        mark=mark,
        kind=str(change.kind) if change and told else "",
        kind_tone=tone_of(change.kind) if change and told else "",
        moved=tuple(figure_line(one) for one in change.moved) if change else (),
        tiles=tuple(_tiles(result)),
        strip=tuple(strip),
        pieces=tuple(_piece(one, result) for one in result.evidence),
        count=_held(result.evidence),
        numbers=tuple(
            (name, f"{value:,}" if isinstance(value, int) else str(value), FIGURES.get(name, ""))
            for name, value in result.figures.items()
        ),
        reproduce=figures.reproduce(result),
        logs=texts,
    )


def _tiles(result: CellResult) -> list[Tile]:
    shown = (
        ("image", "image_bytes", figures.size),
        ("static RAM", "ram_bytes", figures.kibibytes),
        ("RAM free", "mem_available_kb", figures.kilobytes),
        ("from flash", "flash_instructions", figures.millions),
        ("kernel share", "flash_share", figures.percent),
    )
    return [
        Tile(label, make(result.figures[name]), FIGURES[name])
        for label, name, make in shown
        if name in result.figures
    ]


def _strip(now: Past, histories: Histories, page_of: Callable[[str], str]) -> list[Step]:
    """The cell's last results up to `now`, oldest first."""
    recent = reversed(histories.before(now)[: STRIP - 1])
    return [
        *(step(past, page_of(past.run)) for past in recent),
        step(now, page_of(now.run), current=True),
    ]


def _held(evidence: Sequence[Evidence]) -> str:
    """``28 hold, 1 fails, 1 wants a look``."""
    fails = sum(1 for one in evidence if not one.holds and not one.advisory)
    look = sum(1 for one in evidence if not one.holds and one.advisory)
    words = [f"{len(evidence) - fails - look} hold"]
    words += [f"{fails} fail{'s' * (fails == 1)}"] if fails else []
    words += [f"{look} want{'s' * (look == 1)} a look"] if look else []
    return ", ".join(words)


def _piece(one: Evidence, result: CellResult) -> Piece:
    if one.holds:
        tone, symbol, word = "pass", "✓", "holds"
    elif one.advisory:
        tone, symbol, word = "flaky", "!", "look"
    else:
        tone, symbol, word = "bad", "✗", "FAILS"
    said = explanation_of(one.name)
    facts = [("claim", said.claim), ("method", said.method)] if said else []
    facts += [("by hand", by_hand(said, result))] if said else []
    facts += [] if one.advisory else [("if not", str(one.breaks))]
    text = "\n".join(figure_lines(one))
    if len(text) > FIGURES_LIMIT:
        text = f"{text[:FIGURES_LIMIT]}\n… the rest is in the cell's result.json"
    return Piece(one.name, tone, symbol, word, one.summary, tuple(facts), text, not one.holds)


# --- logs -------------------------------------------------------------------------------


def _logs(result: CellResult) -> list[tuple[str, str]]:
    """Titles and paths: the console, those of a first try and of the normal kernel, and the
    log of what failed."""
    found = {}
    if "console" in result.paths:
        found[result.paths["console"]] = "Console log"
    for name, what in (("first try", "first try"), ("normal boot", "normal kernel")):
        if name in result.paths:
            console = str(Path(result.paths[name]) / "console.log")
            found[logs.place(console)] = f"Console log of the {what}"
    if result.log:
        found.setdefault(result.log, f"Log: {Path(result.log).name}")
    return [(title, path) for path, title in found.items()]


def _log(title: str, path: str, limit: int) -> Log:
    try:
        text = logs.read(Path(path))
    except InfrastructureError as error:
        return Log(title, path, "", error.what)
    shown, cut = tail(text, limit)
    note = f"only the end, {len(shown):,} of {len(text):,} characters" if cut else ""
    return Log(f"{title}, {len(text):,} characters", path, shown, note)
