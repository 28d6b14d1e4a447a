# SPDX-License-Identifier: GPL-2.0-only
"""Where the cache keeps kernels."""

from __future__ import annotations

from pathlib import Path

from ..core.files import TEMPORARY, remove


def sweep(place: Path) -> None:
    """Remove what a killed run left half-made for `place`. The caller holds its lock."""
    # complete_dir names them so; its eight random characters hold no hyphen.
    prefix = f"{TEMPORARY}{place.name}-"
    for path in place.parent.glob(f"{TEMPORARY}*"):
        if path.name.startswith(prefix) and len(path.name) == len(prefix) + 8:
            remove(path)
