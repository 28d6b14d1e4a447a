# SPDX-License-Identifier: GPL-2.0-only
"""merge, durations: runs that were shared out over several machines."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .common import load, matrix_option
from .reporting import Reports, conclude, report_options


@click.command(
    "merge",
    epilog="""\b
Examples:
  xipmatrix merge shards/                  everything that was downloaded there
  xipmatrix merge /mnt/a/state /mnt/b/state --junit nightly.xml
\b
Each DIR is a state folder, a run folder or a folder of artefacts with such in it.
The newest complete run of a shard counts. Where a shard or a cell is missing, the
cell is 'infrastructure' and says why. Paths of what a shard built (vmlinux,
xipImage) stay those of its machine. Exit codes: those of build; 2 also where
the shards do not belong together.""",
)
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=click.Path(path_type=Path))
@report_options
@matrix_option
def merge_command(folders: Sequence[Path], matrix_file: Path, reports: Reports) -> int:
    """Join the runs of shards (build --shard I/N) into one run, and report on it.

    The report is the one that a single run of all cells would have given.
    """
    from ..store import open_store
    from ..store.merging import find_parts, merge

    def say(text: str) -> None:
        click.echo(text, err=True)

    loaded, _ = load(matrix_file, ())
    parts = find_parts(folders, say)
    console = reports.console()
    run, found = merge(open_store(), parts, shlex.join(["xipmatrix", *sys.argv[1:]]))
    for part in parts:
        cells = f"{len(part.results)} cell{'s' * (len(part.results) != 1)}"
        console.print(
            f"shard {part.row.shard}: {cells}, run {part.row.id} on {part.row.host}", markup=False
        )
    return conclude(console, run, found, loaded.matrix.thresholds, reports)


@click.command(
    "durations",
    epilog="""\b
Example:
  xipmatrix durations > durations.json
  xipmatrix build --profile nightly --shard 2/4 --durations durations.json""",
)
def durations_command() -> None:
    """Print as JSON what each cell cost when it was built, in seconds, from the stored runs."""
    from ..store import open_store

    click.echo(json.dumps({"seconds": open_store().seconds()}, indent=1, sort_keys=True))
