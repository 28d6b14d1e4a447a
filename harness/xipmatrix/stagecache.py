# SPDX-License-Identifier: GPL-2.0-only
"""Finished stages, kept under a key made of all their inputs.

A stage's folder is there only when the stage has succeeded: it is made under a
temporary name and renamed. Two runs that want the same stage share the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .core.files import Say, complete_dir, key_of, locked, quiet, write_json

# In every stage's folder: what it was made of.
INPUTS = "inputs.json"


@dataclass(frozen=True)
class Kept:
    """A finished stage: its folder, whether it was there before, and its cost in seconds."""

    folder: Path
    cached: bool
    seconds: float


@dataclass(frozen=True)
class StageCache:
    """Stage results below `root`."""

    root: Path

    def get(
        self,
        stage: str,
        inputs: dict[str, Any],
        make: Callable[[Path], None],
        *,
        say: Say = quiet,
        again: bool = False,
    ) -> Kept:
        """The stage's folder, made by `make` in an empty folder unless it is there.

        `inputs` must be JSON-able and name everything the result depends on. With
        `again` a kept result is replaced. What `make` raises passes through, and
        nothing is kept.
        """
        key = key_of(stage, inputs)
        place = self.root / stage / key
        began = time.monotonic()
        if place.is_dir() and not again:
            return Kept(place, True, 0.0)
        with locked(place, say, f"stage {stage}"):
            if place.is_dir() and not again:
                return Kept(place, True, time.monotonic() - began)
            with complete_dir(place) as work:
                make(work)
                write_json(work / INPUTS, inputs)
        return Kept(place, False, time.monotonic() - began)
