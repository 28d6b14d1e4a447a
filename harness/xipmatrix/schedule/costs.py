# SPDX-License-Identifier: GPL-2.0-only
"""What a cell costs: measured where it is known, else a guess from data/costs.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median_low

from pydantic import Field

from ..core import yamlfile
from ..matrix.model import Cell, Model

COSTS = Path(__file__).parents[1] / "data" / "costs.yaml"


class Costs(Model):
    """data/costs.yaml: seconds per base of the configuration."""

    bases: dict[str, float]
    other: float = Field(gt=0)


@cache
def _costs() -> Costs:
    return yamlfile.load(COSTS, Costs)


def estimate(cell: Cell) -> float:
    """A guess, in seconds of wall time on two cores."""
    known = _costs()
    kernels = 1 if cell.config_spec.compare is None else 2
    return kernels * known.bases.get(cell.config_spec.base, known.other)


def costs(cells: Sequence[Cell], measured: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every cell, by id: `measured`, else the guess, scaled by those measured."""
    ratios = [measured[one.id] / estimate(one) for one in cells if one.id in measured]
    scale = median_low(sorted(ratios)) if ratios else 1.0
    return {one.id: measured.get(one.id, estimate(one) * scale) for one in cells}
