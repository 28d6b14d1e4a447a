# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's source tree, behind one interface: a commit in a repository of our own.

The rest of xipmatrix knows git objects only, wherever a source came from.
"""

from .argument import from_argument
from .checkout import checkout, source_folder
from .checkup import source_checks
from .moving import move_to
from .obtain import obtain
from .tree import KernelTree

__all__ = [
    "KernelTree",
    "checkout",
    "from_argument",
    "move_to",
    "obtain",
    "source_checks",
    "source_folder",
]
