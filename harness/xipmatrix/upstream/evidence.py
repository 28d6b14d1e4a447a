# SPDX-License-Identifier: GPL-2.0-only
"""What the store knows of a series: the last result of each cell that was built with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.git import Repository
from ..matrix.model import Arch
from ..series.engine import Applied, patch_hash
from ..store import Store
from ..store.index import Past


@dataclass(frozen=True)
class Results:
    """The last result of each cell with exactly these patches, by name of the cell."""

    results: tuple[Past, ...]

    @property
    def failed(self) -> tuple[Past, ...]:
        """Those that are not as expected."""
        return tuple(one for one in self.results if not one.as_expected)

    @property
    def passed(self) -> int:
        """How many passed."""
        return sum(one.good for one in self.results)

    def text(self) -> str:
        """A table for a mail: what ran, on what, and what it measured."""
        if not self.results:
            return "No result of these patches is in the store.\n"
        rows = [("cell", "verdict", "image", "static RAM", "free RAM", "boot")]
        for one in self.results:
            names = ("image_bytes", "ram_bytes", "mem_available_kb", "instructions")
            rows.append((one.cell, str(one.verdict), *_figures(one, *names)))
            if "normal_mem_available_kb" in one.figures:
                names = ("normal_image_bytes", "", "normal_mem_available_kb", "normal_instructions")
                rows.append(("  without XIP, from RAM", "", *_figures(one, *names)))
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        lines = [
            "  ".join(
                text.ljust(width) if at < 2 else text.rjust(width)
                for at, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        tools = {
            f"{key}: {one.versions[key]}"
            for one in self.results
            for key in ("compiler", "qemu")
            if key in one.versions
        }
        boot = "boot: instructions from power-on to power-off, firmware's and users' among them"
        return "\n".join([*lines, "", boot, *sorted(tools)]) + "\n"


def _figures(one: Past, image: str, ram: str, free: str, boot: str) -> tuple[str, str, str, str]:
    """Figures by their names: bytes, bytes, kB, and a count; - for what was not measured."""
    get = one.figures.get
    return (
        _shown(get(image), 1 / 1024, "{:.0f} K"),
        _shown(get(ram), 1 / 1024, "{:.0f} K"),
        _shown(get(free), 1, "{:.0f} K"),
        _shown(get(boot), 1e-6, "{:.1f} M"),
    )


def _shown(value: float | None, unit: float, shape: str) -> str:
    return "-" if value is None else shape.format(value * unit)


def tested(
    store: Store,
    archs: Mapping[str, Arch],
    repository: Repository,
    base: str,
    states: Mapping[str, Applied],
) -> Results:
    """What is stored of cells of `archs` whose kernel is `base` with the patches of `states`."""
    hashes = {name: patch_hash(repository, base, one.tip) for name, one in states.items()}
    series = {name: hashes.get(arch.like or name) for name, arch in archs.items()}
    last: dict[str, Past] = {}
    for one in store.past():  # the newest first
        patches = series.get(one.cell.split("/")[1])
        if patches is not None and one.versions.get("series") == patches and one.measured:
            last.setdefault(one.cell, one)
    return Results(tuple(last[name] for name in sorted(last)))
