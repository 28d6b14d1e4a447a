# SPDX-License-Identifier: GPL-2.0-only
"""A normal kernel beside a cell's own: run from RAM, to compare what both say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..build.compile import NORMAL_IMAGE, Built
from ..build.kconfig import parse_config
from ..core.errors import InfrastructureError
from ..core.evidence import Evidence
from ..machine.console import Limits
from ..machine.ktap import read_results
from ..machine.protocol import read_console
from ..machine.residency import read_counts
from ..machine.result import BootResult, End
from ..matrix.model import Cell
from ..verdict.beside import Cost, beside_normal
from ..verdict.kunit import parity
from .trial import Way, boot_once

# Below a cell's folder: what its normal kernel leaves.
NORMAL = "normal"


def against_normal(
    cell: Cell,
    built: Built,
    normal: Path,
    source: Path,
    folder: Path,
    limits: Limits,
    templates: Path,
) -> Way:
    """Boot the normal kernel that was built in folder `normal`, on the cell's board and with
    the same device tree; then the cell's boot is compared to it. Logs go to `folder`.

    `source` is the tree of both. Raises InfrastructureError where QEMU or the tree's KUnit
    parser fail; what the kernel does is never an error.
    """
    image = normal / NORMAL_IMAGE
    there = boot_once(cell, built, folder, limits, templates, kernel=image)
    if there.end is End.QEMU_FAILED:
        raise InfrastructureError(f"the normal kernel: {there.detail}", where=folder)
    in_ram = read_results(source, there.console, folder)
    differs = config_differences(built.folder / "config", normal / "config")

    def also(here: BootResult) -> Sequence[Evidence]:
        in_place = read_results(source, here.console, here.console.parent)
        return [
            parity(in_place, in_ram, ended=str(there.end), config_differs=differs),
            beside_normal(_cost(here, built.image), _cost(there, image)),
        ]

    return Way(also=also)


def _cost(seen: BootResult, image: Path) -> Cost:
    counted = sum(one.count for one in read_counts(seen.counts)) if seen.counts else None
    return Cost(read_console(seen.console_text()), image.stat().st_size, counted)


def config_differences(in_place: Path, in_ram: Path) -> list[str]:
    """Options of two .config files that are not the same, one a line."""
    one, other = (parse_config(path.read_text()) for path in (in_place, in_ram))
    return [
        f"{name}: {one.get(name, 'n')} in place, {other.get(name, 'n')} in RAM"
        for name in sorted({*one, *other})
        if one.get(name, "n") != other.get(name, "n")
    ]
