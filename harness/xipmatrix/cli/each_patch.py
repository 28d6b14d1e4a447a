# SPDX-License-Identifier: GPL-2.0-only
"""each-patch: whether each patch of a series builds on its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import ccache_option, jobs_option, load, matrix_option, one_cell, templates_dir

if TYPE_CHECKING:
    from ..pipeline.each_patch import PatchBuild


@click.command(
    "each-patch",
    epilog="""\b
Examples:
  xipmatrix each-patch 7.3/arm/virt/tiny/gcc
  xipmatrix each-patch 7.3/riscv/virt/mtd/gcc --kernel ~/linux@next
\b
Whatever patch a bisection ends up at has to build, and to boot once one before it did.
"same" and "changed" say whether the image without XIP is, byte for byte, that of the
patch before. Patches before the one that adds CONFIG_XIP_KERNEL cannot be built with
it. What is found is kept for the checks of 'xipmatrix upstream'.
\b
Exit codes: 0 all of them are fit to be sent, 1 one is not, 2 usage, 3 infrastructure,
130 interrupted: the same command goes on.""",
)
@click.argument("cell_id", metavar="CELL")
@click.option(
    "--kernel", multiple=True, metavar="PATH[@REF]", help="Your own tree, only ever read."
)
@jobs_option
@ccache_option
@matrix_option
def each_patch_command(
    cell_id: str, kernel: Sequence[str], jobs: int, ccache: bool, matrix_file: Path
) -> int:
    """Build the kernel of CELL after every patch of its series, without XIP and with it.

    What has XIP is booted, too.

    CELL is an id such as 7.3/arm/virt/tiny/gcc (see 'xipmatrix list'); with --kernel, its
    kernel is replaced by your tree.
    """
    from ..build.place import BuildPlace
    from ..core.errors import EXIT_AS_EXPECTED, EXIT_UNEXPECTED
    from ..core.evidence import CellFailure
    from ..core.files import cache_dir, key_of, locked, remove, state_dir
    from ..core.host import ensure_packages, packages_for
    from ..pipeline import Options, Pipeline
    from ..pipeline.each_patch import PatchRecord, each_patch, keep_records
    from ..report.terminal import Progress, make_console
    from ..store import Store

    loaded, kernels = load(matrix_file, kernel)
    cell = one_cell(loaded, cell_id, matrix_file, "name one of 'xipmatrix list'")
    if kernels:
        cell = loaded.of_kernel(cell, kernels[0])
    console = make_console()

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    ensure_packages(
        packages_for([(cell.arch_spec, cell.toolchain)]), lambda text: click.echo(text, err=True)
    )
    key = key_of(cell.id)
    place = BuildPlace(cache_dir() / "each-patch" / key)
    logs = state_dir() / "each-patch" / key
    done: list[PatchBuild] = []
    records: list[PatchRecord] = []
    with locked(place.folder, say, "this cell's patches"), Progress(console, []) as progress:
        remove(logs)
        run = Store(logs).new_run(f"xipmatrix each-patch {cell.id}")
        options = Options(jobs=jobs, ccache=ccache, place=place)
        pipeline = Pipeline(loaded, templates_dir(), run, options, progress)
        try:
            for one in each_patch(pipeline, cell, place, logs):
                said = _said(one, done[-1] if done else None)
                say(f"{said:>{_WIDTH}}  {one.number:2}  {one.subject}")
                if one.failure is not None:
                    say(f"{'':{_WIDTH}}      {one.failure.reason}")
                    say(f"{'':{_WIDTH}}      log: {one.failure.log or logs}")
                records.append(PatchRecord.of(cell, done, one))
                done.append(one)
                keep_records(logs, records)
        except CellFailure as failure:
            say(f"{failure.verdict}: {failure.reason}")
            return EXIT_UNEXPECTED
        remove(place.folder)
    failed = sum(bool(one.wrong) for one in records)
    booted = sum(one.booted for one in records)
    say(
        f"\n{len(done)} builds of {max(one.number for one in done)} patches, {failed} failed; "
        f"{booted} booted in place"
    )
    return EXIT_UNEXPECTED if failed else EXIT_AS_EXPECTED


# Of what is said first on a line; verdicts are the longest.
_WIDTH = 20


def _said(one: PatchBuild, before: PatchBuild | None) -> str:
    if one.failure is not None:
        return str(one.failure.verdict)
    if one.absent:
        return "no XIP"
    if one.boot is not None:
        return "XIP boots" if one.booted else f"XIP {one.boot.verdict}"
    if one.number == 0:
        return "normal"
    return "same" if before is not None and before.image == one.image else "changed"
