# SPDX-License-Identifier: GPL-2.0-only
"""build: all stages of the cells that are asked for."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import (
    Seconds,
    ccache_option,
    cell_filters,
    jobs_option,
    shard_options,
    shards_of,
    templates_dir,
)
from .farm import FarmOptions, farm_options
from .reporting import Reports, conclude, report_options

if TYPE_CHECKING:
    from ..matrix.load import LoadedMatrix, Wanted
    from ..schedule import Shard

_STAGES = ["series", "source", "config", "build", "image", "boot", "verdict"]


@click.command(
    "build",
    epilog="""\b
Examples:
  xipmatrix build --arch arm,riscv            the smoke cells of both
  xipmatrix build --profile nightly --junit nightly.xml --notify 'mail -s XIP me'
  xipmatrix build --profile nightly --html ~/public --markdown mail.md --badge xip.svg
  xipmatrix build --cell '6.12/arm/*' --until build
  xipmatrix build --kernel ~/linux@topic --arch riscv
  xipmatrix build --cell 7.3/riscv/virt/tiny/gcc --again   boot it again
  xipmatrix build --profile nightly --shard 2/4    on the second of four machines
  xipmatrix build --profile nightly --scheduler tcp://10.0.0.1:8786   on its workers
\b
Finished stages are kept: a second run does only what changed, and a run that
was killed goes on. Exit codes: 0 all as expected, 1 a cell is not, 2 usage or
matrix error, 3 infrastructure, 130 interrupted.""",
)
@cell_filters
@shard_options
@click.option(
    "--until", type=click.Choice(_STAGES), default="verdict", show_default=True, help="Last stage."
)
@jobs_option
@click.option(
    "--keep-going/--fail-fast",
    "keep_going",
    default=True,
    show_default=True,
    help="After a cell that is not as expected.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Only list the cells.")
@click.option("--again", is_flag=True, help="Boot again, even where a pass is kept.")
@ccache_option
@click.option("--silence", type=Seconds(), metavar="SECONDS", help="Console silence limit.")
@click.option("--boot-limit", type=Seconds(), metavar="SECONDS", help="Total limit of a boot.")
@farm_options
@report_options
def build_command(
    *,
    loaded: LoadedMatrix,
    wanted: Wanted,
    arguments: str,
    shard: Shard | None,
    durations: Path | None,
    until: str,
    jobs: int,
    keep_going: bool,
    dry_run: bool,
    again: bool,
    ccache: bool,
    silence: float | None,
    boot_limit: float | None,
    farm: FarmOptions,
    reports: Reports,
) -> int:
    """Build, boot and prove cells: from templates to a verdict.

    Without filters: the smoke profile of matrix.yaml.
    """
    parts = shards_of(loaded.select(wanted), shard, durations)
    cells = parts[shard.number - 1 if shard else 0]
    if dry_run:
        for cell in cells:
            click.echo(cell.id)
        return 0

    from ..core.files import sha256_file
    from ..core.host import ensure_packages, packages_for
    from ..pipeline import Options, Pipeline
    from ..report.terminal import Progress
    from ..result import Stage, exit_code
    from ..schedule import run_cells
    from ..store import open_store

    if not farm.wanted:
        ensure_packages(
            packages_for([(cell.arch_spec, cell.toolchain) for cell in cells]) if cells else [],
            lambda text: click.echo(text, err=True),
        )
    console = reports.console()
    place = {cell.id: number for number, part in enumerate(parts, 1) for cell in part}
    run = open_store().new_run(
        shlex.join(["xipmatrix", *sys.argv[1:]]),
        matrix=sha256_file(loaded.path),
        shard=str(shard or ""),
        plan=[(cell.id, place[cell.id]) for cell in loaded.select(wanted)],
    )
    options = Options(
        jobs=jobs,
        until=Stage(until),
        again=again,
        ccache=ccache,
        silence_seconds=silence,
        boot_seconds=boot_limit,
        arguments=arguments,
    )
    with Progress(console, cells) as progress:
        pipeline = Pipeline(loaded, templates_dir(), run, options, progress)
        if farm.wanted:
            found = farm.run(pipeline, cells, fail_fast=not keep_going)
        else:
            found = run_cells(
                cells,
                pipeline.run_cell,
                lambda cell, result: None,
                workers=pipeline.cells_at_a_time,
                fail_fast=not keep_going,
                measured=run.store.seconds(),
            )
    run.finish(exit_code(found))
    if not cells:
        console.print(f"shard {shard}: nothing to do, there are more shards than cells")
    for line in farm.summary(run.folder):
        console.print(line, markup=False, highlight=False)
    return conclude(console, run, found, loaded.matrix.thresholds, reports)
