# SPDX-License-Identifier: GPL-2.0-only
"""series: render the templates into patches that can be mailed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED
from ..core.files import cache_dir, project_dir
from .common import Names, chosen_series, flatten, load, matrix_option


@click.command(
    "series",
    epilog="""\b
Examples:
  xipmatrix series                              all, for all kernels of the matrix
  xipmatrix series --arch riscv --kernel 7.3
  xipmatrix series --kernel ~/linux@v7.2 -o /tmp/patches
  xipmatrix series --status                     only the table
\b
Exit code 1: a series needs work on a kernel that it claims.""",
)
@click.option("--arch", type=Names(), multiple=True, metavar="NAME[,NAME…]", help="Architectures.")
@click.option("--kernel", multiple=True, metavar="NAME|PATH[@REF]", help="Kernels.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: project_dir() / "patches",
    show_default="patches/ of this checkout",
    help="Where <kernel>/<arch>/*.patch are written.",
)
@click.option("--status", "only_status", is_flag=True, help="Write nothing, print the table.")
@matrix_option
def series_command(
    arch: Sequence[Sequence[str]],
    kernel: Sequence[str],
    output: Path,
    only_status: bool,
    matrix_file: Path,
) -> int:
    """Write patches/<kernel>/<arch>/: git format-patch files with a cover letter.

    Says for each architecture and kernel: applies, already there, or needs work at
    which anchor. What all architectures share is in the series generic, which comes first.
    """
    from rich.table import Table

    from ..kernel import obtain
    from ..report.terminal import make_console
    from ..series.engine import State
    from ..series.export import write_series

    loaded, kernels = load(matrix_file, kernel)
    wanted = chosen_series(flatten(arch))
    console = make_console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("kernel", "release", "series", "state", "patches"):
        table.add_column(title)
    conflicts = []
    for name in kernels or tuple(loaded.matrix.kernels):
        tree = obtain(name, loaded.kernels[name], cache_dir(), lambda t: click.echo(t, err=True))
        for applied in write_series(
            wanted,
            tree,
            None if only_status else output,
        ):
            count = str(len(applied.commits)) if applied.commits else ""
            table.add_row(name, tree.release, applied.name, str(applied.state), count)
            if applied.state is State.CONFLICT:
                conflicts.append(applied)
    console.print(table)
    for applied in conflicts:
        console.print(f"\n{applied.detail}", markup=False)
    if not only_status:
        console.print(f"\nwritten below {output}", markup=False)
    return EXIT_UNEXPECTED if conflicts else EXIT_AS_EXPECTED
