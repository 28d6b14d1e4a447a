# SPDX-License-Identifier: GPL-2.0-only
"""How many machines a matrix is worth, and how long one may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..matrix.model import Cell
from ..schedule import load_of

# What GitHub allows in one matrix; the others allow at least that (GitLab 200).
MOST_SHARDS = {"github": 256, "gitlab": 200, "jenkins": 256}
# What is chosen without being asked: a free account has about so many machines at a time.
_SENSIBLE = 20
# Minutes of a job beside its cells: packages, kernel sources, caches.
_SET_UP = 20


def shards_for(cells: Sequence[Cell], measured: Mapping[str, float], minutes: float) -> int:
    """The fewest shards whose longest one takes at most `minutes`, as far as that goes.

    More shards than cells help nobody, nor do more than what the longest cell allows.
    """
    most = min(len(cells), _SENSIBLE)
    loads = [load_of(cells, count, measured) for count in range(1, most + 1)]
    good = [count for count, load in enumerate(loads, 1) if load <= minutes * 60]
    return good[0] if good else 1 + loads.index(min(loads))


def limit_minutes(cells: Sequence[Cell], shards: int, measured: Mapping[str, float]) -> int:
    """When a shard's build is ended, in minutes: thrice what it should take, an hour at least."""
    return max(60, math.ceil(load_of(cells, shards, measured) / 60 * 3 / 10) * 10 + _SET_UP)
