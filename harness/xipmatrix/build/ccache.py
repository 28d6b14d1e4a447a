# SPDX-License-Identifier: GPL-2.0-only
"""ccache with keys that are the same for every cell, kernel and run.

A source folder's path holds its tree, an object folder's is made up: both are on every compiler's
command line. So a build gets a folder of links to the entries of its source, and its objects
right below: Kbuild then calls the source ``..`` (Makefile: srcroot), here as in a normal build
taken off the names that get into the image.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..core import run

_TREE, _OBJECTS = "tree", "objects"
_SETTINGS = {
    # Debug information names the folder that is compiled in, which tuxmake takes off.
    "CCACHE_NOHASHDIR": "true",
    # Generated headers are as new as what includes them; their content counts.
    "CCACHE_SLOPPINESS": "include_file_mtime,include_file_ctime",
}
# Not CCACHE_DEPEND: every file of a kernel includes all options, so one more would make all miss.
# What is preprocessed, options have been taken out of: most files are the same in another cell.
# Not CCACHE_NOCPP2 either: what is compiled from preprocessed text makes another image.


def usable() -> bool:
    """Whether ccache is installed."""
    return run.find_tool("ccache") is not None


def settings() -> dict[str, str]:
    """ccache's environment, as far as the user has not set it."""
    return {name: value for name, value in _SETTINGS.items() if name not in os.environ}


def place(source: Path, folder: Path) -> tuple[Path, Path]:
    """Source and object folder of a build in `folder`; made where they are not there yet."""
    tree = folder / _TREE
    if not tree.exists():
        tree.mkdir()
        for path in source.iterdir():
            (tree / path.name).symlink_to(path)
    objects = tree / _OBJECTS
    objects.mkdir(exist_ok=True)
    return tree, objects


def named(log: str, source: Path) -> str:
    """The log of a build, its source folder named as in one without ccache."""
    return re.sub(r"(?<![\w./])\.\.(?=/)", str(source), log)
