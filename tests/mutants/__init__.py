# SPDX-License-Identifier: GPL-2.0-only
"""Broken kernels on purpose: each must get exactly the verdict and the evidence named for it."""

from .model import Mutant, Suite, load_suite
from .trial import Bench, Outcome, try_mutant

__all__ = ["Bench", "Mutant", "Outcome", "Suite", "load_suite", "try_mutant"]
