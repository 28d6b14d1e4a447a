# SPDX-License-Identifier: GPL-2.0-only
"""From a series that applies to what a maintainer expects in the inbox."""

from .checks import Check, check_all
from .evidence import Results, tested
from .layouts import PURPOSES, carry
from .make import PREVIOUS, Made, Plan, Wish, make

__all__ = [
    "PREVIOUS",
    "PURPOSES",
    "Check",
    "Made",
    "Plan",
    "Results",
    "Wish",
    "carry",
    "check_all",
    "make",
    "tested",
]
