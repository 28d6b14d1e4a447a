# SPDX-License-Identifier: GPL-2.0-only
"""report: pages for a browser."""

from __future__ import annotations

from pathlib import Path

import click

from .common import load, matrix_option


@click.command(
    "report",
    epilog="""\b
Examples:
  xipmatrix report                        the newest run, and the index
  xipmatrix report latest~1 -o ~/public   the run before it
  xipmatrix report 20261124T0210
  xipmatrix report --all                  a page for every stored run
\b
RUN is a run id, an unambiguous beginning of one, or latest, latest~1, ….
Each page is one file, DIR/<run id>.html, that needs no network and no server:
open it from disk, mail it, or copy DIR to a web server. The index,
DIR/index.html, is written each time; other runs' pages stay as they are.""",
)
@click.argument("run", metavar="[RUN]", default="latest")
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to write.  [default: html beside the stored runs]",
)
@click.option("--all", "all_runs", is_flag=True, help="Write the pages of all stored runs.")
@matrix_option
def report_command(run: str, folder: Path | None, all_runs: bool, matrix_file: Path) -> None:
    """Write a run's page and the index over all runs as HTML; prints the files' names."""
    from ..report.html import INDEX, write_pages
    from ..store import open_store

    def say(text: str) -> None:
        click.echo(text, err=True)

    if all_runs and run != "latest":
        raise click.UsageError("either RUN or --all")
    loaded, _ = load(matrix_file, ())
    store = open_store(say)
    rows = store.runs() if all_runs else [store.run(run)]
    folder = folder or store.state / "html"
    for path in write_pages(store, rows, folder, loaded.matrix.thresholds, say):
        click.echo(path)
    click.echo(folder / INDEX)
