# SPDX-License-Identifier: GPL-2.0-only
"""verify: an image that was built elsewhere, judged."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .by_hand import run_by_hand
from .common import Seconds, load, matrix_option, templates_dir

if TYPE_CHECKING:
    from ..pipeline.given import Given


class _File(click.Path):
    """An existing file, as an absolute path."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path, resolved: the command that is stored works from every folder."""
        return Path(str(super().convert(value, param, ctx))).resolve()


@click.command(
    "verify",
    epilog="""\b
Examples:
  xipmatrix verify --board riscv/virt --vmlinux ~/build/vmlinux
  xipmatrix verify --board arm/virt --vmlinux vmlinux --image xipImage --config .config
  xipmatrix verify --board arm/vexpress-a9 --vmlinux vmlinux --dtb own.dtb --json result.json
  xipmatrix verify --board arm/virt --vmlinux vmlinux --gdb
\b
Your init and root file system are not started: ours is, from an initrd in RAM, so
the kernel needs CONFIG_BLK_DEV_INITRD, PROC_FS, BINFMT_ELF and TTY, and a driver
for the board's console. No module is loaded. 'xipmatrix show ID --evidence'
explains the verdict later; the ID is printed.
\b
Exit codes: 0 pass, 1 any other verdict, 2 usage or a file that is not what it is
given for, 3 infrastructure.""",
)
@click.option("--board", required=True, metavar="ARCH/BOARD", help="Board of matrix.yaml.")
@click.option("--vmlinux", type=_File(), required=True, help="The ELF file, not stripped.")
@click.option("--image", type=_File(), help="xipImage; default: beside vmlinux, or in its tree.")
@click.option(
    "--config",
    type=_File(),
    help="Its .config; default: what vmlinux carries (IKCONFIG), or .config beside it.",
)
@click.option("--dtb", type=_File(), help="Your device tree, where the board has it in flash.")
@click.option("--append", default="", metavar="ARGS", help="Added to the kernel's command line.")
@click.option("--interactive", is_flag=True, help="The guest's console on this terminal.")
@click.option("--gdb", is_flag=True, help="The same, stopped, with gdb's stub on TCP port 1234.")
@click.option("--silence", type=Seconds(), metavar="SECONDS", help="Console silence limit.")
@click.option("--boot-limit", type=Seconds(), metavar="SECONDS", help="Total limit of the boot.")
@click.option("--json", "json_file", metavar="FILE", help="Result as JSON; - prints only it.")
@matrix_option
def verify_command(
    board: str,
    vmlinux: Path,
    image: Path | None,
    config: Path | None,
    dtb: Path | None,
    append: str,
    interactive: bool,
    gdb: bool,
    silence: float | None,
    boot_limit: float | None,
    json_file: str | None,
    matrix_file: Path,
) -> int:
    """Judge a kernel that was built elsewhere, with all evidence that a cell gets.

    Boards are named ARCH/BOARD, such as arm/virt; your own goes into a matrix.yaml.
    """
    from ..core.errors import UsageError
    from ..core.evidence import CellFailure
    from ..core.files import write_atomic
    from ..core.host import ensure_packages, packages_for
    from ..pipeline import Options, Pipeline, elsewhere
    from ..pipeline.given import Given, cell_of, examine
    from ..report.evidence import print_result
    from ..report.machine_readable import json_text
    from ..report.terminal import Progress, make_console
    from ..result import exit_code
    from ..store import open_store

    loaded, _ = load(matrix_file, ())
    cell, given = cell_of(loaded, board, Given(vmlinux, image, config, dtb))
    kernel = examine(cell, given)
    ensure_packages(
        packages_for([(cell.arch_spec, cell.toolchain)]), lambda text: click.echo(text, err=True)
    )
    options = Options(jobs=os.cpu_count() or 1, silence_seconds=silence, boot_seconds=boot_limit)
    console = make_console()
    if json_file == "-":
        console.quiet = True
    command = _command(board, given, append, matrix_file)
    run = open_store().new_run(command)
    with Progress(console, [cell]) as progress:
        pipeline = Pipeline(loaded, templates_dir(), run, options, progress)
        if interactive or gdb:
            try:
                initrd = elsewhere.bring_init(pipeline, cell, kernel)
            except CellFailure as failure:
                raise UsageError(failure.reason, where=vmlinux) from failure
        else:
            result = elsewhere.verify(pipeline, cell, kernel, command, append)
    if interactive or gdb:
        folder = run.cell_folder(cell)
        line = elsewhere.words(initrd, append)
        return run_by_hand(cell, kernel.built, folder, line, gdb=gdb, preload=initrd)
    run.finish(exit_code([result]))
    print_result(console, result)
    if json_file == "-":
        click.echo(json_text([result], run.id, run.folder), nl=False)
    elif json_file:
        write_atomic(Path(json_file), json_text([result], run.id, run.folder))
    return exit_code([result])


def _command(board: str, given: Given, append: str, matrix_file: Path) -> str:
    """The command line that judges the same again."""
    from .common import arguments

    words = ["./xipmatrix", "verify", "--board", board]
    for option, path in (
        ("--vmlinux", given.vmlinux),
        ("--image", given.image),
        ("--config", given.config),
        ("--dtb", given.device_tree),
    ):
        words += [option, str(path)] if path else []
    words += ["--append", append] if append else []
    return " ".join(filter(None, (shlex.join(words), arguments(matrix_file, ()))))
