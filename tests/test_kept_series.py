# SPDX-License-Identifier: GPL-2.0-only
"""A series is applied once, and again when anything it is made of has changed or is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from test_series_engine import FILES, make_kernel, series, text_at, write
from xipmatrix.core import yamlfile
from xipmatrix.core.errors import UsageError
from xipmatrix.core.files import quiet
from xipmatrix.core.git import Repository
from xipmatrix.kernel import KernelTree
from xipmatrix.pipeline import kept_series
from xipmatrix.series.engine import Applied, State, apply_all, patch_hash, sources
from xipmatrix.stagecache import StageCache


@pytest.fixture
def kernel(tmp_path: Path) -> KernelTree:
    return make_kernel(tmp_path / "kernel.git", FILES)


class Counted:
    """apply_all(), and how often it was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        monkeypatch.setattr(kept_series, "apply_all", self)

    def __call__(self, *words: object) -> dict[str, Applied]:
        self.calls += 1
        return apply_all(*words)  # type: ignore[arg-type]


def test_what_is_kept_is_what_was_applied(
    tmp_path: Path, kernel: KernelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, stages = Counted(monkeypatch), StageCache(tmp_path / "stages")
    found = sources(write(tmp_path, series()))
    first, second = (kept_series.applied(stages, found, kernel, quiet) for _ in range(2))
    assert first == second == apply_all(found, kernel)
    assert counted.calls == 1
    write(tmp_path, series(), copy="\t{% include 'shared.S.j2' %}\n")
    for number, text in enumerate(("one", "other"), 2):
        shared = tmp_path / "templates" / "generic" / "shared.S.j2"
        shared.parent.mkdir(exist_ok=True)
        shared.write_text(text)
        applied = kept_series.applied(stages, found, kernel, quiet)["toy"]
        assert counted.calls == number
        assert text in (text_at(kernel, applied.tip, "arch/toy/head.S") or "")


def test_commits_that_are_gone_are_made_again(
    tmp_path: Path, kernel: KernelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, stages = Counted(monkeypatch), StageCache(tmp_path / "stages")
    found = sources(write(tmp_path, series()))
    kept_series.applied(stages, found, kernel, quiet)
    shutil.rmtree(kernel.git_dir)
    same = make_kernel(kernel.git_dir, FILES)
    assert same == kernel
    again = kept_series.applied(stages, found, same, quiet)
    assert counted.calls == 2
    assert again["toy"].state is State.APPLIES
    assert text_at(same, again["toy"].tip, "arch/toy/xip.c") == "int xip;\n"


def test_a_conflict_is_kept_too(tmp_path: Path, kernel: KernelTree) -> None:
    data = series()
    data["patches"][1]["edits"][0]["anchor"] = "\tno such line"
    stages, found = StageCache(tmp_path / "stages"), sources(write(tmp_path, data))
    for _ in range(2):
        applied = kept_series.applied(stages, found, kernel, quiet)["toy"]
        assert applied.state is State.CONFLICT
        assert "no such line" in applied.detail


def test_series_that_were_read_before_are_not_parsed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, folder = StageCache(tmp_path / "stages"), write(tmp_path, series())
    first = kept_series.readable_sources(stages, folder)
    monkeypatch.setattr(yamlfile, "load", None)
    assert kept_series.readable_sources(stages, folder) == first
    monkeypatch.undo()
    (folder / "toy" / "series.yaml").write_text("title: [")
    for _ in range(2):
        with pytest.raises(UsageError, match="malformed YAML"):
            kept_series.readable_sources(stages, folder)


def test_what_a_series_does_is_hashed_once(
    tmp_path: Path, kernel: KernelTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, repository = StageCache(tmp_path / "stages"), Repository(kernel.git_dir)
    tip = apply_all(sources(write(tmp_path, series())), kernel)["toy"].tip
    expected = patch_hash(repository, kernel.commit, tip)
    assert kept_series.series_id(stages, kernel, tip) == expected
    assert kept_series.series_id(stages, kernel, kernel.commit) == "none" != expected
    monkeypatch.setattr(kept_series, "patch_hash", None)
    assert kept_series.series_id(stages, kernel, tip) == expected


def test_a_changed_template_changes_only_what_is_made_of_it(
    tmp_path: Path, kernel: KernelTree
) -> None:
    stages, folder = StageCache(tmp_path / "stages"), write(tmp_path, series())
    shutil.copytree(folder / "toy", folder / "other")
    before = kept_series.applied(stages, sources(folder), kernel, quiet)
    assert {one.state for one in before.values()} == {State.APPLIES}
    write(tmp_path, series(), copy="\tchanged\n")
    after = kept_series.applied(stages, sources(folder), kernel, quiet)
    assert after["toy"].tip != before["toy"].tip
    assert after["other"].tip == before["other"].tip
