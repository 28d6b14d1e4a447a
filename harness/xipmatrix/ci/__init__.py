# SPDX-License-Identifier: GPL-2.0-only
"""Nightly workflows for CI services: data/ci/<vendor>.j2, rendered."""

from .size import MOST_SHARDS, limit_minutes, shards_for
from .workflow import MARK, VENDORS, Workflow, render

__all__ = [
    "MARK",
    "MOST_SHARDS",
    "VENDORS",
    "Workflow",
    "limit_minutes",
    "render",
    "shards_for",
]
