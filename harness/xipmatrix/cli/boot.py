# SPDX-License-Identifier: GPL-2.0-only
"""boot: a cell's built kernel again, judged, or by hand."""

from __future__ import annotations

from pathlib import Path

import click

from .by_hand import run_by_hand
from .common import Seconds, load, matrix_option, templates_dir


@click.command(
    "boot",
    epilog="""\b
Examples:
  xipmatrix boot 7.3/arm/virt/tiny/gcc                  boot and judge again
  xipmatrix boot 7.3/arm/virt/tiny/gcc --interactive    its console here (Ctrl-A X ends)
  xipmatrix boot 7.3/riscv/virt/tiny/gcc --gdb          wait for gdb on port 1234
  xipmatrix boot 7.3/arm/virt/tiny/gcc --interactive --append xipmatrix.mode=hang
\b
Exit codes: 0 pass, 1 any other verdict, 2 usage, 3 infrastructure.""",
)
@click.argument("cell_id", metavar="CELL")
@click.option("--interactive", is_flag=True, help="The guest's console on this terminal.")
@click.option("--gdb", is_flag=True, help="The same, stopped, with gdb's stub on TCP port 1234.")
@click.option("--append", default="", metavar="ARGS", help="Added to the kernel's command line.")
@click.option("--silence", type=Seconds(), metavar="SECONDS", help="Console silence limit.")
@click.option("--boot-limit", type=Seconds(), metavar="SECONDS", help="Total limit of the boot.")
@click.option(
    "--kernel", default="", metavar="PATH[@REF]", help="Your own tree, where CELL is of one."
)
@matrix_option
def boot_command(
    cell_id: str,
    interactive: bool,
    gdb: bool,
    append: str,
    silence: float | None,
    boot_limit: float | None,
    kernel: str,
    matrix_file: Path,
) -> int:
    """Boot CELL again (built first where it is not), with a fresh challenge.

    CELL is an id such as 7.3/arm/virt/tiny/gcc; see 'xipmatrix list'.
    """
    import os
    import shlex
    import sys

    from ..core.evidence import Verdict
    from ..machine.qemu import version as qemu_version
    from ..matrix.load import Wanted
    from ..pipeline import Options, Pipeline, boot_once, forget_dumps
    from ..report.evidence import print_result
    from ..report.terminal import Progress, make_console
    from ..result import Stage
    from ..store import open_store
    from ..verdict import judge

    loaded, _ = load(matrix_file, (kernel,) if kernel else ())
    cells = loaded.select(Wanted(cells=(cell_id,)))
    if len(cells) > 1:
        raise click.UsageError(
            f"'{cell_id}' is more than one cell, of which one can be booted: "
            f"{', '.join(cell.id for cell in cells[:4])}{', …' * (len(cells) > 4)}"
        )
    (cell,) = cells
    console = make_console()
    run = open_store().new_run(shlex.join(["xipmatrix", *sys.argv[1:]]))
    options = Options(
        jobs=os.cpu_count() or 1,
        until=Stage.IMAGE,
        silence_seconds=silence,
        boot_seconds=boot_limit,
    )
    with Progress(console, [cell]) as progress:
        pipeline = Pipeline(loaded, templates_dir(), run, options, progress)
        result = pipeline.run_cell(cell)
    if result.verdict is not None:
        print_result(console, result)
        return 3 if result.verdict is Verdict.INFRASTRUCTURE else 1
    built = pipeline.built(result)
    folder = run.cell_folder(cell)
    if interactive or gdb:
        return run_by_hand(cell, built, folder, append, gdb=gdb)
    result.versions["qemu"] = qemu_version(cell.board_spec.qemu.binary)
    way = pipeline.comparison(cell, built, result, folder)
    seen = boot_once(cell, built, folder, pipeline.limits(), templates_dir(), extra_args=append)
    judgement = judge(cell, seen, built.vmlinux, [*result.evidence, *way.also(seen)])
    if judgement.verdict is Verdict.PASS:
        forget_dumps(seen)
    pipeline.conclude(cell, result, judgement, seen.console)
    print_result(console, result)
    return {Verdict.PASS: 0, Verdict.INFRASTRUCTURE: 3}.get(judgement.verdict, 1)
