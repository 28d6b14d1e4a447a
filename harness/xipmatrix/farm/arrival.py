# SPDX-License-Identifier: GPL-2.0-only
"""A result that came from a worker, put where one that was made here would lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core.errors import InfrastructureError
from ..core.files import complete_dir, locked, remove, sha256_file
from ..matrix.model import Cell
from ..pipeline import Pipeline
from ..result import CellResult
from ..store import moved
from .content import Blobs, Entry, lay_out

# What the same inputs must give byte for byte, in a build's folder.
_REPRODUCIBLE = ("vmlinux", "xipImage")


class OtherImage(InfrastructureError):
    """A worker made another image of the same inputs than this machine."""


def arrive(
    pipeline: Pipeline, cell: Cell, answer: dict[str, Any], blobs: Blobs, worker: str
) -> CellResult:
    """The result in `answer`, whose content is all in `blobs`, as this machine's own.

    Logs and raw data go to the run, finished stages to the cache; all digests are checked
    once more. Raises OtherImage, Corrupt, OSError.
    """
    folder = pipeline.run.cell_folder(cell)
    for name, entries in answer["roots"].items():
        root = [Entry(**one) for one in entries]
        if name:
            _keep_stage(pipeline.cache / "stages" / _stage(name), root, blobs, worker)
        else:
            remove(folder)
            folder.mkdir(parents=True)
            lay_out(root, blobs, folder)
    # The run's folder first: it may lie below the cache.
    data = moved(answer["result"], answer["folder"], str(pipeline.run.folder))
    result = CellResult.from_dict(moved(data, answer["cache"], str(pipeline.cache)))
    result.expected, result.known_reason = list(cell.expected), cell.known_reason
    result.versions["worker"] = worker
    pipeline.run.put(folder, result)
    return result


def _stage(name: str) -> Path:
    parts = name.split("/")
    if len(parts) != 2 or not all(one.isalnum() for one in parts):
        raise InfrastructureError(f"'{name}' is no stage")
    return Path(*parts)


def _keep_stage(place: Path, entries: Sequence[Entry], blobs: Blobs, worker: str) -> None:
    with locked(place):
        if place.is_dir():
            _compare(place, entries, worker)
            return
        with complete_dir(place) as work:
            lay_out(entries, blobs, work)


def _compare(place: Path, entries: Sequence[Entry], worker: str) -> None:
    """Raise OtherImage where the stage that is here has other images than `entries`."""
    for entry in entries:
        here = place / entry.path
        if entry.path not in _REPRODUCIBLE or not here.is_file():
            continue
        digest = sha256_file(here)
        if digest != entry.sha256:
            raise OtherImage(
                f"{worker} made another {entry.path} of the same inputs: SHA-256 "
                f"{entry.sha256[:16]}…, here {digest[:16]}…",
                where=here,
                hint="see which of the two has a compiler that is not what it says",
            )
