# SPDX-License-Identifier: GPL-2.0-only
"""bisect: which commit of the user's tree broke a cell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from .common import (
    ccache_option,
    jobs_option,
    load,
    matrix_arguments,
    matrix_option,
    one_cell,
    templates_dir,
)


@click.command(
    "bisect",
    epilog="""\b
Examples:
  xipmatrix bisect 7.3/riscv/virt/tiny/gcc --kernel ~/linux --good v7.2 --bad v7.3-rc1
  xipmatrix bisect 7.3/arm/virt/tiny/gcc --kernel ~/linux --good v7.2 --bad master \\
      --path arch/arm --path mm
  xipmatrix bisect 7.3/arm/virt/tiny/gcc --kernel ~/linux --good v7.2 --bad master --log
\b
Both ends are verified first. A commit is bad where the cell fails as it does at
the bad end; one that fails otherwise (it does not build, an anchor of the series
has moved) is skipped, with its reason. After an interruption, or kill -9, the
same command goes on. The tree is only read: no checkout, no refs.
\b
Exit codes: 0 the first bad commit is found, 1 it is not (an end is not as it was
said to be, or skipped commits hide it), 2 usage, 3 infrastructure, 130 interrupted.""",
)
@click.argument("cell_id", metavar="CELL")
@click.option(
    "--kernel", required=True, metavar="PATH", help="Your git tree (or repository), only ever read."
)
@click.option(
    "--good", multiple=True, required=True, metavar="REF", help="Where it passes; several may be."
)
@click.option("--bad", required=True, metavar="REF", help="Where it does not.")
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="PATHSPEC",
    help="Only look at commits that touch it; several may be.",
)
@click.option("--restart", is_flag=True, help="Forget what an interrupted search found.")
@click.option("--log", "show_log", is_flag=True, help="Only print git's log of the search so far.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the report here; else into the search's folder.",
)
@jobs_option
@ccache_option
@click.option("--silence", type=float, metavar="SECONDS", help="Console silence limit.")
@click.option("--boot-limit", type=float, metavar="SECONDS", help="Total limit of a boot.")
@matrix_option
def bisect_command(
    cell_id: str,
    kernel: str,
    good: Sequence[str],
    bad: str,
    paths: Sequence[str],
    restart: bool,
    show_log: bool,
    report: Path | None,
    jobs: int,
    ccache: bool,
    silence: float | None,
    boot_limit: float | None,
    matrix_file: Path,
) -> int:
    """Find the commit of your own tree that broke CELL, and write a report to mail.

    CELL is an id such as 7.3/riscv/virt/tiny/gcc (see 'xipmatrix list'); its kernel does
    not matter, since the kernels are the tree's commits, each with the series made for it.
    """
    from ..bisect import CellJudge, Journal, Search, ask, hunt, read_log
    from ..build.place import BuildPlace
    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED
    from ..core.files import cache_dir, locked, remove, state_dir, write_atomic
    from ..core.host import ensure_packages, packages_for
    from ..pipeline import Options
    from ..report.bisect import mail
    from ..report.terminal import Progress, make_console
    from ..store import Store

    loaded, _ = load(matrix_file, ())
    cell = one_cell(loaded, cell_id, matrix_file, "a search is about one")
    question, user = ask(Path(kernel), cell.id.removeprefix(f"{cell.kernel}/"), good, bad, paths)
    folder = state_dir() / "bisect" / question.key
    if show_log:
        click.echo(read_log(folder / "repository"), nl=False)
        return EXIT_AS_EXPECTED

    def say(text: str) -> None:
        for line in text.splitlines():
            console.print(line, markup=False)

    ensure_packages(
        packages_for([(cell.arch_spec, cell.toolchain)]), lambda text: click.echo(text, err=True)
    )
    console = make_console()
    place = BuildPlace(cache_dir() / "bisect" / question.place_key)
    options = Options(
        jobs=jobs,
        ccache=ccache,
        silence_seconds=silence,
        boot_seconds=boot_limit,
        arguments=matrix_arguments(matrix_file),
        place=place,
    )
    with locked(folder, say, "this search"), locked(place.folder, say, "builds in its folder"):
        if restart:
            remove(folder)
        say(f"search {folder}")
        with Progress(console, []) as progress:
            judge = CellJudge(
                loaded,
                templates_dir(),
                cell,
                user,
                Store(folder),
                options,
                progress,
            )
            outcome = hunt(
                question,
                judge,
                Journal(folder / "verdicts", judge.basis),
                Search(folder / "repository", user, question),
                say,
            )
    words = ["./xipmatrix", "bisect", cell_id, "--kernel", str(question.tree)]
    words += [word for ref in good for word in ("--good", ref)] + ["--bad", bad]
    words += [word for path in paths for word in ("--path", path)]
    command = " ".join(filter(None, (shlex.join(words), options.arguments)))
    place_of_report = report or folder / "report.txt"
    write_atomic(place_of_report, mail(outcome, series=judge.series, command=command))
    say("")
    if outcome.first_bad is None:
        say(f"the first bad commit is one of {len(outcome.found)}, the others were skipped:")
    for found in outcome.found:
        say(f"{found.commit[:12]} {found.subject}")
    for note in outcome.notes:
        say(note)
    say(f"report: {place_of_report}")
    return EXIT_AS_EXPECTED if outcome.first_bad else EXIT_UNEXPECTED
