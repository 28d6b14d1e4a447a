# SPDX-License-Identifier: GPL-2.0-only
"""What the pipeline does when our own side fails: one cell's fault never hides the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import ARM, TEMPLATES
from xipmatrix.core.evidence import Verdict
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.pipeline import Options, Pipeline
from xipmatrix.store import Store


@pytest.mark.parametrize("lost", ["runs", "store.sqlite"])
def test_a_result_that_cannot_be_kept_is_told_all_the_same(
    loaded: LoadedMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    (cell,) = loaded.select(Wanted(cells=(ARM,)))
    state = tmp_path / "state"
    pipeline = Pipeline(
        loaded, TEMPLATES, Store(state).new_run(), Options(jobs=1), print, tmp_path / "cache"
    )
    monkeypatch.setattr(pipeline, "_stages_of", lambda *words: None)
    # What a disk that has gone leaves: a file where a folder was, and the other way round.
    place = state / lost
    if lost == "runs":
        shutil.rmtree(place)
        place.touch()
    else:
        for path in state.glob("store.sqlite*"):
            path.unlink()
        place.mkdir()
    result = pipeline.run_cell(cell)
    assert result.verdict is Verdict.INFRASTRUCTURE
    assert str(place) in result.reason
