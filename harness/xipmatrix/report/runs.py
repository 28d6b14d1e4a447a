# SPDX-License-Identifier: GPL-2.0-only
"""The stored runs as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.evidence import Verdict
from ..store import RunRow


def print_runs(console: Console, rows: Sequence[RunRow], folder: Path) -> None:
    """Newest first: when, how it ended, how many cells of which verdict, what was typed."""
    if not rows:
        console.print(f"no run is stored in {folder}", markup=False)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "began (UTC)", "exit", "cells"):
        table.add_column(name, no_wrap=True)
    table.add_column("command", overflow="fold")
    for row in rows:
        bad = row.exit_code not in (0, None)
        table.add_row(
            row.id,
            row.began[:16].replace("T", " "),
            Text("not ended" if row.interrupted else str(row.exit_code), "red" if bad else ""),
            counts(row),
            Text(row.command + (f" (shard {row.shard})" if row.shard else "")),
        )
    console.print(table)


def counts(row: RunRow) -> str:
    """``14 pass, 1 boot-silent``, in the order of the verdicts, best first."""
    order = [str(one) for one in reversed(Verdict)]
    known = [name for name in order if name in row.counts]
    return ", ".join(f"{row.counts[name]} {name}" for name in known) or "none"
