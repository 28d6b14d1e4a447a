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
from ..series.engine import Applied, Source, State, apply_all
from ..stagecache import StageCache

_STATES = "states.json"
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
        if all(repository.resolve(f"{one.tip}^{{tree}}") for one in states.values()):
            break
    return states


def _applied(data: dict[str, Any]) -> Applied:
    state, commits = State(data["state"]), tuple(data["commits"])
    return Applied(**{**data, "state": state, "commits": commits})


@functools.cache
def _engine() -> str:
    rooms = [*(_PACKAGE / "series").glob("*.py"), *(_PACKAGE / "core").glob("*.py")]
    return key_of({path.name: path.read_text() for path in sorted(rooms)})
