# SPDX-License-Identifier: GPL-2.0-only
"""Which cells run when and where: the local pool, and shards for many machines."""

from .pool import run_cells
from .shards import Shard, cut, load_of, read_durations

__all__ = ["Shard", "cut", "load_of", "read_durations", "run_cells"]
