# SPDX-License-Identifier: GPL-2.0-only
"""From a commit of the user's tree to a verdict, as far as it goes without a compiler."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kernel_trees import git, make_repository
from xipmatrix.bisect import CellJudge
from xipmatrix.build.place import BuildPlace
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.files import project_dir
from xipmatrix.kernel.local import find_repository
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.pipeline import Options
from xipmatrix.store import Store

ROOT = project_dir()


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CellJudge:
    """Judges commits of tmp_path/linux by riscv's cell, with templates of its own."""
    monkeypatch.setenv("XIPMATRIX_CACHE", str(tmp_path / "cache"))
    templates = tmp_path / "templates"
    shutil.copytree(ROOT / "templates", templates)
    loaded = load_matrix(ROOT / "matrix.yaml", templates)
    (cell,) = loaded.select(Wanted(cells=("7.3/riscv/virt/tiny/gcc",)))
    tree = make_repository(tmp_path / "linux")
    options = Options(jobs=1, place=BuildPlace(tmp_path / "place"))
    user = find_repository(tree)
    assert user is not None
    return CellJudge(loaded, templates, cell, user, Store(tmp_path), options, lambda *words: None)


def test_a_series_that_does_not_fit_is_the_kernels_verdict(judge: CellJudge) -> None:
    commit = git(judge.user.path, "rev-parse", "HEAD")
    result = judge(commit)
    assert result.verdict is Verdict.SERIES_CONFLICT
    assert "arch/Kconfig" in result.reason
    assert result.cell == f"linux@{commit[:12]}/riscv/virt/tiny/gcc"
    assert result.arguments == f"--kernel {judge.user.path}@{commit[:12]}"
    assert list(judge.store.runs_folder.glob("*/cells/*/result.json"))


def test_a_commit_that_is_no_kernel_is_not_applicable(judge: CellJudge) -> None:
    """Linux has merged whole histories of other projects."""
    git(judge.user.path, "rm", "-q", "-r", "arch")
    git(judge.user.path, "commit", "-q", "-m", "another project")
    result = judge(git(judge.user.path, "rev-parse", "HEAD"))
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert "not a Linux kernel source tree" in result.reason


def test_a_commit_that_is_gone_is_no_verdict(judge: CellJudge) -> None:
    commit = git(judge.user.path, "rev-parse", "HEAD")
    shutil.rmtree(judge.user.path / ".git" / "objects")
    (judge.user.path / ".git" / "objects").mkdir()
    with pytest.raises(InfrastructureError, match="ls-tree"):
        judge(commit)


@pytest.mark.parametrize(
    ("path", "counts"),
    [("riscv/xip.config.j2", True), ("generic/tiny.config.j2", True), ("arm/series.yaml", False)],
)
def test_the_basis_of_verdicts_is_what_they_depend_on(
    judge: CellJudge, path: str, counts: bool
) -> None:
    before = judge.basis
    with (judge.templates / path).open("a") as stream:
        stream.write("# changed\n")
    assert (judge.basis != before) is counts
