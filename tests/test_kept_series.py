# SPDX-License-Identifier: GPL-2.0-only
"""A series is applied once, and again when anything it is made of has changed or is gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from test_series_engine import FILES, make_kernel, series, text_at, write
from xipmatrix.core.files import quiet
from xipmatrix.kernel import KernelTree
from xipmatrix.pipeline import kept_series
from xipmatrix.series.engine import Applied, State, apply_all, sources
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
