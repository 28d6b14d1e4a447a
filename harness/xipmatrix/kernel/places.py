# SPDX-License-Identifier: GPL-2.0-only
"""What the makers of commits and folders in the cache share."""

from __future__ import annotations

from pathlib import Path

from ..core.files import TEMPORARY, remove

# Of every commit made here: so that a source has the same commit id everywhere.
SOURCE_DATE = "2000-01-01T00:00:00+0000"


def sweep(place: Path) -> None:
    """Remove what a killed run left half-made for `place`. The caller holds its lock."""
    # complete_dir names them so; its eight random characters hold no hyphen.
    prefix = f"{TEMPORARY}{place.name}-"
    for path in place.parent.glob(f"{TEMPORARY}*"):
        if path.name.startswith(prefix) and len(path.name) == len(prefix) + 8:
            remove(path)
