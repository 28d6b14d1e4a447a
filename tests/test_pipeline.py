# SPDX-License-Identifier: GPL-2.0-only
"""What the pipeline does when our own side fails: one cell's fault never hides the others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ARM, TEMPLATES, tell
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.files import quiet
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.pipeline import Options, Pipeline, ground
from xipmatrix.pipeline.ground import Checkouts
from xipmatrix.result import CellResult, Stage, StageRecord
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


def test_a_source_folder_is_looked_at_once_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def checkout(git_dir: Path, commit: str, cache: Path, say: Callable[[str], None]) -> Path:
        seen.append(commit)
        return cache / commit

    monkeypatch.setattr(ground, "checkout", checkout)
    checkouts = Checkouts(tmp_path)
    for commit in ("a", "b", "a"):
        assert checkouts.get(tmp_path, commit, quiet) == tmp_path / commit
    assert seen == ["a", "b"]


def test_a_stage_inside_another_is_counted_once(
    loaded: LoadedMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = loaded.select(Wanted(cells=(ARM,)))
    run = Store(tmp_path / "state").new_run()
    pipeline = Pipeline(loaded, TEMPLATES, run, Options(jobs=1), tell, tmp_path / "cache")
    result = CellResult.of(cell)
    times = iter((0.0, 1.0, 21.0, 171.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times, 171.0))
    with (
        pipeline.stage(cell, result, Stage.BUILD) as clock,
        pipeline.stage(cell, result, Stage.SOURCE),
    ):
        clock.waited = 50.0
    assert result.stages == [StageRecord(Stage.SOURCE, 20.0), StageRecord(Stage.BUILD, 101.0)]
