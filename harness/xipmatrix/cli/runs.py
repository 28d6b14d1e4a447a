# SPDX-License-Identifier: GPL-2.0-only
"""runs, compare, prune: what is stored."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..core.errors import EXIT_AS_EXPECTED, EXIT_INFRASTRUCTURE, EXIT_UNEXPECTED
from .common import load, matrix_option


@click.command(
    "runs",
    epilog="""\b
Examples:
  xipmatrix runs                   the last twenty runs, newest first
  xipmatrix runs --limit 100 --json
  xipmatrix runs --check           is all of the store whole? (exit 3 if not)
  xipmatrix runs --rebuild         make a damaged index again from the run folders""",
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), metavar="N")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--check", is_flag=True, help="Check the store: index and run folders.")
@click.option("--rebuild", is_flag=True, help="Make the index again; the old one is set aside.")
def runs_command(limit: int, as_json: bool, check: bool, rebuild: bool) -> int:
    """List the stored runs, or check that they are whole."""
    from ..report.runs import print_runs
    from ..report.terminal import make_console
    from ..store import open_store, upkeep

    store = open_store()
    if rebuild:
        count = upkeep.rebuild(store, lambda text: click.echo(text, err=True))
        click.echo(f"{store.path}: made again from {count} run folders")
    if check:
        found = upkeep.check(store)
        for line in found:
            click.echo(line)
        click.echo(f"{len(found)} problems" if found else "the store is whole")
        return EXIT_INFRASTRUCTURE if found else EXIT_AS_EXPECTED
    if rebuild:
        return EXIT_AS_EXPECTED
    rows = store.runs(limit)
    if as_json:
        click.echo(json.dumps([vars(row) for row in rows], indent=1))
    else:
        print_runs(make_console(), rows, store.runs_folder)
    return EXIT_AS_EXPECTED


@click.command(
    "compare",
    epilog="""\b
Examples:
  xipmatrix compare latest~1 latest
  xipmatrix compare 20261123T0215 20261124T0215 --json
\b
A and B are run ids, unambiguous beginnings of them, or latest, latest~1, ….
Exit codes: 0 nothing got worse from A to B, 1 something did, 2 usage.""",
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@matrix_option
def compare_command(a: str, b: str, as_json: bool, matrix_file: Path) -> int:
    """Compare run B with run A: verdicts, figures, versions."""
    from ..history import WORSE, compare
    from ..report.changes import print_changes
    from ..report.terminal import make_console
    from ..store import open_store

    loaded, _ = load(matrix_file, ())
    store = open_store()
    before, now = store.run(a), store.run(b)
    changes, gone = compare(
        store.past(run=before.id),
        store.past(run=now.id),
        loaded.matrix.thresholds,
        lambda past: store.past(cell=past.cell, before=past.run),
    )
    if as_json:
        data = {
            "before": before.id,
            "now": now.id,
            "changes": [one.as_dict() for one in changes],
            "gone": [past.cell for past in gone],
        }
        click.echo(json.dumps(data, indent=1))
    else:
        console = make_console()
        console.print(f"{before.id} → {now.id}", markup=False)
        print_changes(console, changes, gone)
        same = sum(1 for one in changes if not one.noteworthy)
        console.print(f"\n{len(changes)} cells compared, {same} as before", markup=False)
    return EXIT_UNEXPECTED if any(one.kind in WORSE for one in changes) else EXIT_AS_EXPECTED


@click.command(
    "prune",
    epilog="""\b
Examples:
  xipmatrix prune --keep 60            the newest sixty runs stay
  xipmatrix prune --keep 60 --dry-run  only say what would go
\b
The last run in which a cell passed stays too: without it nobody could say since
when the cell is broken.""",
)
@click.option(
    "--keep", required=True, type=click.IntRange(0), metavar="N", help="How many; 0: none at all."
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def prune_command(keep: int, dry_run: bool) -> None:
    """Remove old runs: results, logs and their rows in the index."""
    from ..store import open_store, upkeep

    gone = upkeep.prune(open_store(), keep, click.echo, dry_run=dry_run)
    click.echo(f"{len(gone)} runs {'would go' if dry_run else 'removed'}")
