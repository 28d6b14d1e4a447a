# SPDX-License-Identifier: GPL-2.0-only
"""build: all stages of the cells that are asked for."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Seconds, cell_filters, jobs_option, templates_dir

if TYPE_CHECKING:
    from ..matrix.load import LoadedMatrix, Wanted

_STAGES = ["series", "source", "config", "build", "image", "boot", "verdict"]


@click.command(
    "build",
    epilog="""\b
Examples:
  xipmatrix build --arch arm,riscv            the smoke cells of both
  xipmatrix build --profile nightly --junit nightly.xml --notify 'mail -s XIP me'
  xipmatrix build --profile nightly --markdown mail.md --kcidb kcidb.json --badge xip.svg
  xipmatrix build --cell '6.12/arm/*' --until build
  xipmatrix build --kernel ~/linux@topic --arch riscv
  xipmatrix build --cell 7.3/riscv/virt/tiny/gcc --again   boot it again
\b
Finished stages are kept: a second run does only what changed, and a run that
was killed goes on. Exit codes: 0 all as expected, 1 a cell is not, 2 usage or
matrix error, 3 infrastructure, 130 interrupted.""",
)
@cell_filters
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
@click.option("--ccache/--no-ccache", default=True, help="Use ccache where it is installed.")
@click.option("--silence", type=Seconds(), metavar="SECONDS", help="Console silence limit.")
@click.option("--boot-limit", type=Seconds(), metavar="SECONDS", help="Total limit of a boot.")
@click.option("--json", "json_file", metavar="FILE", help="Results as JSON; - prints only them.")
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path), help="Results as JUnit XML."
)
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), help="Markdown, for mail, chat."
)
@click.option(
    "--kcidb", "kcidb_file", type=click.Path(path_type=Path), help="JSON for KernelCI's database."
)
@click.option(
    "--badge", "badge_file", type=click.Path(path_type=Path), help="A badge: the run in one SVG."
)
@click.option(
    "--notify",
    metavar="COMMAND",
    help="Run by the shell with the changes as JSON on its input, only if there are any.",
)
def build_command(
    *,
    loaded: LoadedMatrix,
    wanted: Wanted,
    arguments: str,
    until: str,
    jobs: int,
    keep_going: bool,
    dry_run: bool,
    again: bool,
    ccache: bool,
    silence: float | None,
    boot_limit: float | None,
    json_file: str | None,
    junit_file: Path | None,
    markdown_file: Path | None,
    kcidb_file: Path | None,
    badge_file: Path | None,
    notify: str | None,
) -> int:
    """Build, boot and prove cells: from templates to a verdict.

    Without filters: the smoke profile of matrix.yaml.
    """
    cells = loaded.select(wanted)
    if dry_run:
        for cell in cells:
            click.echo(cell.id)
        return 0

    from ..core.files import sha256_file, write_atomic
    from ..core.host import ensure_packages, packages_for
    from ..history import changes_of
    from ..pipeline import Options, Pipeline
    from ..report.badge import badge
    from ..report.changes import print_changes
    from ..report.kcidb import kcidb_text
    from ..report.machine_readable import json_text, write_junit
    from ..report.markdown import markdown
    from ..report.notify import tell
    from ..report.terminal import Progress, closing_line, closing_table, make_console
    from ..result import Stage, exit_code
    from ..schedule import run_cells
    from ..store import Past, open_store

    ensure_packages(
        packages_for([(cell.arch_spec, cell.toolchain) for cell in cells]),
        lambda text: click.echo(text, err=True),
    )
    console = make_console()
    if json_file == "-":
        console.quiet = True
    store = open_store()
    run = store.new_run(shlex.join(["xipmatrix", *sys.argv[1:]]), matrix=sha256_file(loaded.path))
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
        # One cell compiles while another one boots.
        found = run_cells(
            cells,
            pipeline.run_cell,
            lambda cell, result: None,
            workers=2,
            fail_fast=not keep_going,
        )
    run.finish(exit_code(found))
    current = [Past.of(result, run.id, run.row.began) for result in found]
    changes = changes_of(store, current, run.id, loaded.matrix.thresholds)
    closing_table(console, found, run.folder)
    print_changes(console, changes)
    closing_line(console, found, run.folder)
    if json_file == "-":
        click.echo(json_text(found, run.id, run.folder), nl=False)
    elif json_file:
        write_atomic(Path(json_file), json_text(found, run.id, run.folder))
    if junit_file:
        write_junit(found, junit_file)
    if markdown_file:
        write_atomic(markdown_file, markdown(found, run.id, run.folder, changes))
    if kcidb_file:
        write_atomic(kcidb_file, kcidb_text(found, run.id, run.row.began, changes))
    if badge_file:
        write_atomic(badge_file, badge(found))
    with contextlib.suppress(OSError):
        _point_latest(run.folder)
    if notify:
        tell(notify, run.id, changes)
    return exit_code(found)


def _point_latest(folder: Path) -> None:
    """``runs/latest`` is a convenience for people; nothing reads it."""
    link = folder.parent / f".latest-{os.getpid()}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
