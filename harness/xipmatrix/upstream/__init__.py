# SPDX-License-Identifier: GPL-2.0-only
"""From a series that applies to what a maintainer expects in the inbox."""

from .checks import Check, Known, check_all
from .compiled import Compiler
from .evidence import Results, tested
from .layouts import PURPOSES, carry
from .make import PREVIOUS, Compiling, Made, Plan, Wish, make

__all__ = [
    "PREVIOUS",
    "PURPOSES",
    "Check",
    "Compiler",
    "Compiling",
    "Known",
    "Made",
    "Plan",
    "Results",
    "Wish",
    "carry",
    "check_all",
    "make",
    "tested",
]
