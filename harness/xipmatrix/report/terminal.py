# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: a live table on a terminal, plain lines elsewhere, a closing table."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..core.evidence import Verdict
from ..matrix.model import Cell
from ..result import WORKING, CellResult
from . import figures
from .failures import Failure, failures, text_of

_PLAIN_WIDTH = 240
_DETAIL_SECONDS = 10.0


def make_console() -> Console:
    """The terminal, or a wide plain text where nobody watches: tables must not wrap in a log."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        return Console(file=sys.stdout, highlight=False, width=_PLAIN_WIDTH)
    return console


class Progress:
    """Shows what each cell does now. Called from worker threads."""

    def __init__(self, console: Console, cells: Iterable[Cell]) -> None:
        self._console = console
        self._rows: dict[str, tuple[str, str, float]] = {
            cell.id: ("waiting", "", 0.0) for cell in cells
        }
        self._guard = threading.Lock()
        self._live: Live | None = None
        self._began = time.monotonic()
        self._next_detail = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self._console,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, cell: str, stage: str, detail: str = "") -> None:
        """Cell `cell` is at `stage` now (an id, or a name for what cells share)."""
        now = time.monotonic()
        with self._guard:
            before = self._rows.get(cell)
            same = before is not None and before[0] == stage
            self._rows[cell] = (stage, detail, before[2] if before and same else now)
            # In a log, how far a download has come matters every ten seconds at the most.
            if self._live is not None or (stage == WORKING and same and now < self._next_detail):
                return
            self._next_detail = now + _DETAIL_SECONDS
            elapsed = int(now - self._began)
            stamp = f"{elapsed // 60:3d}:{elapsed % 60:02d}"
            self._console.print(f"[{stamp}] {cell}: {stage} {detail}".rstrip(), markup=False)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in ("cell", "stage", "for", ""):
            table.add_column(name, no_wrap=True)
        now = time.monotonic()
        with self._guard:
            rows = list(self._rows.items())
        for name, (stage, detail, since) in rows:
            busy = since and stage not in (*list(Verdict), "waiting")
            seconds = f"{now - since:.0f} s" if busy else ""
            table.add_row(
                name, Text(stage, style=_style(stage)), seconds, Text(detail, style="dim")
            )
        return table


def _style(stage: str) -> str:
    if stage == Verdict.PASS:
        return "green"
    return "red" if stage in list(Verdict) else "cyan" if stage != "waiting" else "dim"


def closing_table(console: Console, found: list[CellResult], folder: Path) -> None:
    """The table at the end, what failed and why."""
    table = Table(title_justify="left", pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for name in ("cell", "verdict"):
        table.add_column(name, no_wrap=True)
    for name in figures.MEASURED:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("seconds a stage (= cached)")
    table.add_column("log")
    for result in found:
        table.add_row(
            result.cell,
            Text(result.label, style="green" if result.as_expected else "bold red"),
            *figures.measured(result),
            figures.stage_times(result),
            _relative(result.log, folder),
        )
    console.print()
    console.print(table)
    for failure in failures(found):
        _print_failure(console, failure)


def _print_failure(console: Console, failure: Failure) -> None:
    """The digest once; then, where several cells fail alike, the cells."""
    first, *others = failure.results
    title = f"{first.cell}: {first.label}"
    if others:
        title = f"{len(failure.results)} cells: {figures.labels(failure.results)}"
    console.print()
    console.print(Text(title, style="bold red"))
    for line in text_of(failure.digest):
        console.print(Text(f"  {line}"), soft_wrap=True)
    for hint in dict.fromkeys(one.hint for one in failure.results if one.hint):
        console.print(Text(f"  hint: {hint}"))
    for known in dict.fromkeys(one.known_reason for one in failure.results if one.known_reason):
        console.print(Text(f"  declared in matrix.yaml: {known}"))
    for result in failure.results:
        indent = "  "
        if others:
            console.print(Text(f"  {result.cell}: {result.label}", style="bold"))
            indent *= 2
        console.print(Text(f"{indent}again: {figures.reproduce(result)}"))
        console.print(Text(f"{indent}evidence: ./xipmatrix show '{result.cell}'"))


def closing_line(console: Console, found: list[CellResult], folder: Path) -> None:
    """How many, and where everything lies."""
    good = all(result.as_expected for result in found)
    console.print()
    console.print(Text(figures.tally(found), style="bold green" if good else "bold red"))
    console.print(Text(f"logs and results: {folder}"))


def _relative(log: str, folder: Path) -> str:
    path = Path(log)
    return str(path.relative_to(folder)) if log and path.is_relative_to(folder) else log
