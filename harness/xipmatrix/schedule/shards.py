# SPDX-License-Identifier: GPL-2.0-only
"""Cells over machines that do not talk to each other: every one computes the same cut.

The cut is a function of the cells, their number of shards and a file with durations, of
nothing else: in particular not of the store of the machine, which differs on each.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..core import yamlfile
from ..matrix.model import Cell, Model
from .costs import costs


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count`; numbers begin at 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/4``. Raises ValueError that says what is wrong."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found:
            raise ValueError(f"'{text}' is not I/N, such as 2/4")
        number, count = int(found[1]), int(found[2])
        if not 1 <= number <= count:
            raise ValueError(f"'{text}': there are the shards 1/{count} to {count}/{count}")
        return cls(number, count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


class Durations(Model):
    """A file of durations: what ``xipmatrix durations`` writes."""

    seconds: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]


def read_durations(path: Path) -> Mapping[str, float]:
    """Seconds by cell id, from a JSON or YAML file. Raises UsageError: file, line, key."""
    return yamlfile.load(path, Durations).seconds


def cut(cells: Sequence[Cell], count: int, measured: Mapping[str, float]) -> list[list[Cell]]:
    """`cells` in `count` parts that cost about the same, each in the order given.

    The longest first, always onto the part that has least so far: no part takes more than
    4/3 of what the best cut would. The order of `cells` does not matter; parts may be empty.
    """
    seconds = costs(cells, measured)
    loads = [(0.0, number) for number in range(count)]
    parts: list[set[str]] = [set() for _ in range(count)]
    for cell in sorted(cells, key=lambda one: (-seconds[one.id], one.id)):
        load, number = heapq.heappop(loads)
        parts[number].add(cell.id)
        heapq.heappush(loads, (load + seconds[cell.id], number))
    return [[cell for cell in cells if cell.id in part] for part in parts]


def load_of(cells: Sequence[Cell], count: int, measured: Mapping[str, float]) -> float:
    """Seconds that the longest of `count` shards takes."""
    seconds = costs(cells, measured)
    return max(sum(seconds[one.id] for one in part) for part in cut(cells, count, measured))
