# SPDX-License-Identifier: GPL-2.0-only
"""refresh: what a new kernel means for every patch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import Names, chosen_series, flatten, load, matrix_option

if TYPE_CHECKING:
    from ..kernel import KernelTree
    from ..series.survey import Moved, Surveyed


@click.command(
    "refresh",
    epilog="""\b
Examples:
  xipmatrix refresh                              all patches on the kernels of the matrix
  xipmatrix refresh --kernel ~/linux@v7.4-rc1
  xipmatrix refresh --kernel ~/linux@next --arch riscv --against 7.3
\b
A proposed anchor is what looks like the old one and nothing else in the file does;
the edit applies with it. Whether it is right, look: nothing is changed.
\b
Exit code 1: an anchor moved.""",
)
@click.option("--arch", type=Names(), multiple=True, metavar="NAME[,NAME…]", help="Architectures.")
@click.option("--kernel", multiple=True, metavar="NAME|PATH[@REF]", help="Kernels.")
@click.option(
    "--against",
    metavar="NAME",
    help="The matrix's kernel whose surroundings are shown as the old ones.  [default: its first]",
)
@matrix_option
def refresh_command(
    arch: Sequence[Sequence[str]], kernel: Sequence[str], against: str | None, matrix_file: Path
) -> int:
    """Try every patch on kernels, and print the table patch × state.

    Where an anchor moved: its surroundings in a kernel that has it, what looks most like it in
    this one, and, where that is unambiguous, the anchor to put in its place.
    """
    from rich.table import Table

    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED
    from ..core.files import cache_dir
    from ..kernel import obtain
    from ..matrix.load import unknown
    from ..report.terminal import make_console
    from ..series.survey import Fate, survey

    loaded, kernels = load(matrix_file, kernel)
    known = tuple(loaded.matrix.kernels)
    if against is not None and against not in known:
        raise unknown("kernel", against, known, matrix_file)
    wanted = chosen_series(flatten(arch))

    def tree(name: str) -> KernelTree:
        return obtain(name, loaded.kernels[name], cache_dir(), lambda t: click.echo(t, err=True))

    reference = tree(against or known[0])
    names = kernels or known
    columns = {name: survey(wanted, tree(name), reference) for name in names}
    console = make_console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("series", "patch", *names):
        table.add_column(title)
    for row in zip(*columns.values(), strict=True):
        first = row[0]
        fates = (str(one.fate) for one in row)
        table.add_row(first.series, f"{first.number:2} {first.subject}", *fates)
    console.print(table)
    moved = [
        (name, one)
        for name, patches in columns.items()
        for one in patches
        if one.fate is Fate.MOVED
    ]
    for name, one in moved:
        for edit in one.moved:
            console.print(_said(name, one, edit), markup=False, highlight=False, soft_wrap=True)
    return EXIT_UNEXPECTED if moved else EXIT_AS_EXPECTED


def _said(kernel: str, patch: Surveyed, edit: Moved) -> str:
    """One edit that does not fit, for people."""
    where = f"templates/{patch.series}/series.yaml: patch {patch.number}, edit {edit.edit}"
    text = [f"\n{kernel}: {where} ({edit.do}): {edit.file}: {edit.what}"]
    parts = {
        "anchor": edit.anchor.splitlines(),
        "it was": edit.old,
        "now": edit.new or ("nothing like it",),
        "proposed": edit.proposed.splitlines() if edit.proposed else (),
    }
    for title, lines in parts.items():
        if lines:
            text += [f"  {title}:", *(f"    | {line}" for line in lines)]
    return "\n".join(text)
