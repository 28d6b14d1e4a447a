# SPDX-License-Identifier: GPL-2.0-only
"""From a cell to its result: all rooms above, put together."""

from .ground import Ground, Prepared
from .stages import Options, Pipeline
from .trial import boot_once, cell_flash, challenged, forget_dumps

__all__ = [
    "Ground",
    "Options",
    "Pipeline",
    "Prepared",
    "boot_once",
    "cell_flash",
    "challenged",
    "forget_dumps",
]
