# SPDX-License-Identifier: GPL-2.0-only
"""Series that were applied before, on the same kernel by the same templates and engine."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core.files import Say, key_of, texts_in, write_json
from ..core.git import Repository
from ..kernel import KernelTree
from ..series.engine import (
    SERIES_FILE,
    Applied,
    Source,
    State,
    apply_all,
    find_sources,
    patch_hash,
    read,
)
from ..stagecache import StageCache

_STATES, _ID = "states.json", "id"
_PACKAGE = Path(__file__).parents[1]


def applied(
    stages: StageCache, sources: dict[str, Source], kernel: KernelTree, say: Say
) -> dict[str, Applied]:
    """What :func:`series.engine.apply_all` says, kept; its commits are there.

    They lie in the kernel's repository, which people may clean by hand: then all is done
    again. Raises what apply_all() raises.
    """
    folders = {source.folder.parent for source in sources.values()}
    inputs = {
        "commit": kernel.commit,
        "release": kernel.release,
        "repository": str(kernel.git_dir),
        # All of them: a series may take pieces from templates/generic.
        "templates": {str(one): texts_in(one) for one in folders},
        "engine": _engine(),
    }

    def make(work: Path) -> None:
        states = apply_all(sources, kernel)
        write_json(work / _STATES, {name: asdict(one) for name, one in states.items()})

    repository = Repository(kernel.git_dir)
    for again in (False, True):
        kept = stages.get("series", inputs, make, say=say, again=again)
        data = json.loads((kept.folder / _STATES).read_text())
        # In the order of `sources`: JSON is sorted.
        states = {name: _applied(data[name]) for name in sources}
        if repository.has(f"{one.tip}^{{tree}}" for one in states.values()):
            break
    return states


def readable_sources(stages: StageCache, templates: Path) -> dict[str, Source]:
    """The series of `templates`, found to be well-formed now or before, by the same engine.

    Each is parsed when something asks for it: never, where all that it gives is kept. Raises
    UsageError for a malformed one.
    """
    found = find_sources(templates)
    texts = {one.name: (one.folder / SERIES_FILE).read_text() for one in found.values()}
    inputs = {"series": texts, "folder": str(templates), "engine": _engine()}
    stages.get("readable", inputs, lambda work: read(found))
    return found


def series_id(stages: StageCache, kernel: KernelTree, tip: str) -> str:
    """What the series up to commit `tip` do to `kernel`: a short hash, ``none`` for nothing."""
    repository = Repository(kernel.git_dir)

    def make(work: Path) -> None:
        (work / _ID).write_text(patch_hash(repository, kernel.commit, tip))

    kept = stages.get("series-id", {"base": kernel.commit, "tip": tip}, make)
    return (kept.folder / _ID).read_text()


def _applied(data: dict[str, Any]) -> Applied:
    state, commits = State(data["state"]), tuple(data["commits"])
    return Applied(**{**data, "state": state, "commits": commits})


@functools.cache
def _engine() -> str:
    rooms = [*(_PACKAGE / "series").glob("*.py"), *(_PACKAGE / "core").glob("*.py")]
    return key_of({path.name: path.read_text() for path in sorted(rooms)})
