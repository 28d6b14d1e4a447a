# SPDX-License-Identifier: GPL-2.0-only
"""list, show, schema: look, change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import cell_filters, shard_options, shards_of

if TYPE_CHECKING:
    from ..matrix.load import LoadedMatrix, Wanted
    from ..schedule import Shard


@click.command(
    "list",
    epilog="""\b
Examples:
  xipmatrix list                           the smoke cells
  xipmatrix list --profile nightly
  xipmatrix list --cell '*/riscv/*'
  xipmatrix list --arch arm --json
  xipmatrix list --profile nightly --shard 2/4   what that part of four would do""",
)
@cell_filters
@shard_options
@click.option("--known", is_flag=True, help="Only known failures, with their reason.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_command(
    *,
    loaded: LoadedMatrix,
    wanted: Wanted,
    arguments: str,
    shard: Shard | None,
    durations: Path | None,
    known: bool,
    as_json: bool,
) -> None:
    """List the cells of the matrix, one id a line."""
    mine = shards_of(loaded.select(wanted), shard, durations)[shard.number - 1 if shard else 0]
    cells = [c for c in mine if not known or c.known_reason]
    if as_json:
        rows = [{"cell": c.id, "expected": c.expected, "reason": c.known_reason} for c in cells]
        click.echo(json.dumps(rows, indent=1))
        return
    for cell in cells:
        note = f"  # expected {' or '.join(cell.expected)}: {cell.known_reason}"
        click.echo(cell.id + (note if cell.known_reason else ""))


@click.command(
    "show",
    epilog="""\b
Examples:
  xipmatrix show 7.3/arm/virt/tiny/gcc
  xipmatrix show 7.3/arm/virt/tiny/gcc --evidence
  xipmatrix show 7.3/arm/virt/tiny/gcc --console""",
)
@click.argument("cell")
@click.option(
    "--evidence", is_flag=True, help="Explain each piece: claim, method, how to repeat it by hand."
)
@click.option("--console", is_flag=True, help="Print the console log.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_command(cell: str, evidence: bool, console: bool, as_json: bool) -> None:
    """Show what was measured about CELL in its last run, and where everything lies."""
    from ..report.evidence import print_result
    from ..report.terminal import make_console
    from ..store import logs, open_store

    _, result = open_store().last_result(cell, say=lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(result.as_dict(), indent=1, sort_keys=True))
    elif console:
        click.echo(logs.read(Path(result.paths["console"])) if "console" in result.paths else "")
    elif evidence:
        from ..report.explain import print_explained

        print_explained(make_console(), result)
    else:
        print_result(make_console(), result)


@click.command("schema", epilog="\b\nExample:\n  xipmatrix schema > matrix.schema.json")
@click.option(
    "--for",
    "which",
    type=click.Choice(["matrix", "arch", "series"]),
    default="matrix",
    show_default=True,
    help="matrix.yaml, templates/<arch>/arch.yaml or templates/<arch>/series.yaml.",
)
def schema_command(which: str) -> None:
    """Print the JSON Schema of matrix.yaml, for editors."""
    from ..matrix.model import Arch, Matrix, Model
    from ..series.model import Series

    models: dict[str, type[Model]] = {"matrix": Matrix, "arch": Arch, "series": Series}
    click.echo(json.dumps(models[which].model_json_schema(), indent=1))
