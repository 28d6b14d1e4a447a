# SPDX-License-Identifier: GPL-2.0-only
"""Every run, kept: folders with results and logs, and an index over them in SQLite."""

from .index import Past, RunRow
from .merging import moved
from .runs import Run, Store
from .upkeep import open_store

__all__ = ["Past", "Run", "RunRow", "Store", "moved", "open_store"]
