# SPDX-License-Identifier: GPL-2.0-only
"""A run as Markdown, for mail and chat: what changed, what failed, then the table.

It reads as plain text too: no HTML, no line that means something only when rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..history import Change
from ..result import CellResult
from . import figures
from .changes import details, title, worth_telling
from .failures import Failure, failures, text_of


def markdown(
    found: Sequence[CellResult],
    run_id: str,
    folder: Path,
    changes: Sequence[Change] | None = None,
) -> str:
    """The run's report. `changes` is None where nobody has compared."""
    parts = [
        f"# xipmatrix: {figures.tally(found)}",
        _versions(found),
        *_changes(changes),
        *_failures(found),
        "## Cells",
        _table(found),
        f"Run {_code(run_id)}, logs and results: {_code(str(folder))}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _versions(found: Iterable[CellResult]) -> str:
    """What was tested and with what; every version that occurs, once."""
    names = ("kernel", "compiler", "qemu", "xipmatrix")
    lines = []
    for name in names:
        seen = dict.fromkeys(one.versions[name] for one in found if name in one.versions)
        if seen:
            lines.append(f"- {name}: {', '.join(map(_code, seen))}")
    return "\n".join(lines)


def _changes(changes: Sequence[Change] | None) -> list[str]:
    if changes is None:
        return []
    lines = []
    for one in worth_telling(changes):
        lines.append(f"- **{title(one)}**: {_code(one.cell)}")
        lines += [f"  - {_code(line)}" for line in details(one)]
    return ["## What changed", "\n".join(lines) or "Nothing since the last run."]


def _failures(found: Iterable[CellResult]) -> list[str]:
    groups = failures(found)
    return ["## Not as expected", *map(_failure, groups)] if groups else []


def _failure(failure: Failure) -> str:
    count = len(failure.results)
    title = f"### {figures.labels(failure.results)}: {_code(failure.digest.headline)}"
    cells = []
    for result in failure.results:
        cells.append(f"- {_code(result.cell)}, again: {_code(figures.reproduce(result))}")
        if result.known_reason:
            cells.append(f"  - declared in matrix.yaml: {_code(result.known_reason)}")
        if result.hint:
            cells.append(f"  - hint: {_code(result.hint)}")
    heading = f"{title} ({count} cells)" if count > 1 else title
    return "\n\n".join([heading, _block(text_of(failure.digest)), "\n".join(cells)])


def _table(found: Iterable[CellResult]) -> str:
    rows: list[tuple[str, ...]] = [
        ("cell", "verdict", *figures.MEASURED, "seconds"),
        ("---", "---", "--:", "--:", "--:", "--:", "--:"),
    ]
    for result in found:
        label = result.label if result.as_expected else f"**{result.label}**"
        seconds = f"{result.seconds:.0f}"
        rows.append((_code(result.cell), label, *figures.measured(result), seconds))
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def _fence(text: str, least: int) -> str:
    """Backticks, more of them in a row than `text` has."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _code(text: str) -> str:
    """`text` in one line, in which no character means anything."""
    one_line = " ".join(text.split())
    fence = _fence(one_line, 1)
    space = " " if one_line.startswith("`") or one_line.endswith("`") else ""
    return f"{fence}{space}{one_line}{space}{fence}" if one_line else ""


def _block(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    fence = _fence(text, 3)
    return f"{fence}text\n{text}\n{fence}"
