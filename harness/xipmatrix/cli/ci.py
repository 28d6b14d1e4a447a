# SPDX-License-Identifier: GPL-2.0-only
"""ci: a nightly workflow for a CI service."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.errors import UsageError
from ..core.files import project_dir
from .common import cell_filters

if TYPE_CHECKING:
    from ..matrix.load import LoadedMatrix, Wanted


@click.command(
    "ci",
    epilog="""\b
Examples:
  xipmatrix ci github                     .github/workflows/xip-nightly.yml
  xipmatrix ci github --minutes 45        as many shards as 45 minutes each ask for
  xipmatrix ci gitlab -o ci/xip.yml       to be included in your .gitlab-ci.yml
  xipmatrix ci jenkins --shards 4 --runner big --image debian:13 -o -
\b
The night: one job looks for new kernels and says what cells cost; shards build,
boot and prove (build --shard I/N); the last one merges them (merge) with the
history of the nights before, and its exit code is the night's. The same commands
work by hand. Without filters: all cells of the profile nightly.""",
)
@click.argument("vendor", type=click.Choice(["github", "gitlab", "jenkins"]))
@cell_filters
@click.option(
    "-o", "--output", metavar="FILE", help="Where to; - prints it. Default: where VENDOR looks."
)
@click.option(
    "--shards",
    type=click.IntRange(1),
    metavar="N",
    help="Machines. Default: as few as --minutes allows, at most 20.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(1),
    default=90,
    show_default=True,
    help="What a shard may take, by what cells took here before (else: a guess).",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="MINUTES",
    help="When a shard is ended. Default: thrice what it should take.",
)
@click.option("--schedule", metavar="CRON", help="When (UTC on GitHub). Default: at night.")
@click.option("--runner", metavar="LABEL", help="Label or tag of the machines.")
@click.option(
    "--image",
    default="debian:12",
    show_default=True,
    help="Container to run in; '' for none, on Debian or Ubuntu machines.",
)
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    metavar="N",
    help="Runs that the history holds.",
)
@click.option("--force", is_flag=True, help="Write over a file that is not ours.")
def ci_command(
    vendor: str,
    *,
    loaded: LoadedMatrix,
    wanted: Wanted,
    arguments: str,
    output: str | None,
    shards: int | None,
    minutes: float,
    limit: int | None,
    schedule: str | None,
    runner: str | None,
    image: str,
    keep: int,
    force: bool,
) -> None:
    """Write a nightly workflow of this matrix for VENDOR: github, gitlab or jenkins."""
    from ..ci import MOST_SHARDS, VENDORS, Workflow, limit_minutes, render, shards_for
    from ..core.files import write_atomic
    from ..store import open_store

    wanted = _nightly(wanted)
    cells = loaded.select(wanted)
    measured = open_store().seconds()
    count = shards or shards_for(cells, measured, minutes)
    if count > MOST_SHARDS[vendor]:
        raise click.UsageError(f"--shards: {vendor} allows {MOST_SHARDS[vendor]} at most")
    known = VENDORS[vendor]
    workflow = Workflow(
        filters=_words(loaded, wanted),
        shards=count,
        limit=limit or limit_minutes(cells, count, measured),
        schedule=known.schedule if schedule is None else schedule,
        runner=known.runner if runner is None else runner,
        image=image,
        keep=keep,
    )
    text = render(vendor, workflow)
    if output == "-":
        click.echo(text, nl=False)
        return
    path = Path(output) if output else project_dir() / known.file
    _may_write(path, force)
    write_atomic(path, text)
    path.chmod(0o644)
    shown = f"{count} shard{'s' * (count != 1)} of {len(cells)} cells"
    click.echo(f"{path}: {shown}, each ended after {workflow.limit} minutes")


def _nightly(wanted: Wanted) -> Wanted:
    named = wanted.profile or wanted.cells or wanted.board or wanted.config or wanted.toolchain
    return wanted if named else replace(wanted, profile="nightly")


def _words(loaded: LoadedMatrix, wanted: Wanted) -> tuple[str, ...]:
    """The same filters as words of a command line that any checkout understands."""
    words: list[str] = []
    for option, values in (
        ("--arch", wanted.arch),
        ("--kernel", wanted.kernel),
        ("--board", wanted.board),
        ("--config", wanted.config),
        ("--toolchain", wanted.toolchain),
        ("--cell", wanted.cells),
        ("--profile", (wanted.profile,) if wanted.profile else ()),
    ):
        words += [word for value in values for word in (option, value)]
    if loaded.extra_kernels:
        raise UsageError(
            "a tree of this machine is not there on another one",
            where="--kernel",
            hint="give it in matrix.yaml as a git provider: {url: …, ref: …}",
        )
    matrix, root = loaded.path.resolve(), project_dir()
    if not matrix.is_relative_to(root):
        raise UsageError("is not in the checkout that CI gets", where=matrix)
    if matrix != root / "matrix.yaml":
        words += ["--matrix", str(matrix.relative_to(root))]
    return tuple(words)


def _may_write(path: Path, force: bool) -> None:
    from ..ci import MARK

    if force or not path.exists():
        return
    with path.open(errors="replace") as stream:
        if MARK in stream.readline().lower():
            return
    raise UsageError(
        "is there already, and was not written by xipmatrix",
        where=path,
        hint="-o FILE writes elsewhere (GitLab: then include it); --force writes over it",
    )
