# SPDX-License-Identifier: GPL-2.0-only
"""The verdicts of a bisect, one file a commit: complete, or not there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..core.files import Say, write_json
from ..result import CellResult


@dataclass(frozen=True)
class Journal:
    """Results by commit below `folder`.

    `basis` names all else that they depend on: a result on another basis, or one that
    cannot be read, does not count, and is said and judged again.
    """

    folder: Path
    basis: str

    def get(self, commit: str, say: Say) -> CellResult | None:
        """What is known of `commit`, or None."""
        path = self._path(commit)
        try:
            data = json.loads(path.read_text())
            if data["commit"] != commit:
                raise ValueError(f"it is about {data['commit']}")
            result = CellResult.from_dict(data["result"])
            basis = data["basis"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            say(f"{path}: not a readable verdict ({error}): judging {commit[:12]} again")
            return None
        if basis != self.basis:
            say(f"{commit[:12]} was judged by other templates or another version: again")
            return None
        return result

    def put(self, commit: str, result: CellResult) -> None:
        """Remember `result`, durably."""
        data = {"commit": commit, "basis": self.basis, "result": result.as_dict()}
        write_json(self._path(commit), data)

    def _path(self, commit: str) -> Path:
        return self.folder / f"{commit}.json"
