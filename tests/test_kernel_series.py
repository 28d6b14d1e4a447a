# SPDX-License-Identifier: GPL-2.0-only
"""The series on real kernels: patches/ is what the templates render, and git am takes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, TEMPLATES
from xipmatrix.core.files import cache_dir
from xipmatrix.core.git import Repository
from xipmatrix.kernel import KernelTree, checkout, obtain
from xipmatrix.matrix.load import LoadedMatrix
from xipmatrix.series.engine import Applied, State, apply_all, sources
from xipmatrix.series.export import write_series

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="session")
def states(linux: KernelTree) -> dict[str, Applied]:
    return apply_all(sources(TEMPLATES), linux)


def patches_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.patch"))
    }


# What differs between two point releases of one kernel where the series is the same.
_PLACE = re.compile(r"^(index |@@ |Base: |base-tree: ).*$", re.M)


def comparable(patches: dict[str, str], same_tree: bool) -> dict[str, str]:
    if same_tree:
        return patches
    return {name: _PLACE.sub(r"\1", text) for name, text in patches.items()}


def test_checked_in_patches_equal_what_the_templates_render(
    linux: KernelTree, loaded: LoadedMatrix, tmp_path: Path
) -> None:
    write_series(sources(TEMPLATES), linux, tmp_path)
    rendered, kept = patches_of(tmp_path / "7.3"), patches_of(ROOT / "patches" / "7.3")
    same_tree = f"base-tree: {linux.tree}" in kept["riscv/0000-cover-letter.patch"]
    assert comparable(kept, same_tree) == comparable(rendered, same_tree), (
        "patches/ is not what templates/ render: run ./xipmatrix series"
    )
    known = {path.name for path in (ROOT / "patches").iterdir() if path.is_dir()}
    assert known <= set(loaded.matrix.kernels)


def test_the_comparison_can_fail(linux: KernelTree, tmp_path: Path) -> None:
    write_series(sources(TEMPLATES), linux, tmp_path)
    rendered = patches_of(tmp_path / "7.3")
    name = next(name for name in rendered if name.endswith("head-S.patch") or "0005" in name)
    changed = {**rendered, name: rendered[name].replace("+", "+ ", 1)}
    assert comparable(changed, False) != comparable(rendered, False)


def test_git_am_takes_the_checked_in_patches_on_a_clean_tree(
    linux: KernelTree, states: dict[str, Applied], tmp_path: Path
) -> None:
    repository = Repository(linux.git_dir)
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    clone = tmp_path / "clone"
    # Objects are shared, and only the files that the patches touch are checked out.
    subprocess.run(
        ["git", "clone", "-q", "--shared", "--no-checkout", "-b", "base", linux.git_dir, clone],
        check=True,
    )
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", str(clone)]
    patches = sorted((ROOT / "patches" / "7.3" / "riscv").glob("000[1-9]*.patch"))
    touched = sorted(
        {path for p in patches for path in re.findall(r"^--- a/(.*)$", p.read_text(), re.M)}
    )
    subprocess.run([*git, "sparse-checkout", "set", "--no-cone", *touched], check=True)
    subprocess.run([*git, "checkout", "-q", "base"], check=True)
    subprocess.run([*git, "am", "-q", *map(str, patches)], check=True)
    tree = subprocess.run(
        [*git, "rev-parse", "HEAD^{tree}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert tree == repository.git("rev-parse", f"{states['riscv'].tip}^{{tree}}", env=index)


def test_checkpatch_strict_is_clean(linux: KernelTree, tmp_path: Path) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    for patch in sorted((ROOT / "patches" / "7.3" / "riscv").glob("000[1-9]*.patch")):
        assert checkpatch(source, patch) == ""


def test_checkpatch_can_fail(linux: KernelTree, tmp_path: Path) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    patch = next((ROOT / "patches" / "7.3" / "riscv").glob("0006*.patch"))
    bad = tmp_path / "bad.patch"
    bad.write_text(re.sub(r"^\+\t(\w)", r"+        \1", patch.read_text(), count=1, flags=re.M))
    assert "code indent should use tabs" in checkpatch(source, bad)


def checkpatch(source: Path, patch: Path) -> str:
    # A person signs off. MAINTAINERS covers the folders that new files go to, which
    # checkpatch does not look up.
    done = subprocess.run(
        [
            *("perl", "scripts/checkpatch.pl", "--strict", "--quiet", "--no-signoff"),
            *("--no-tree", "--no-summary", "--ignore", "FILE_PATH_CHANGES", str(patch)),
        ],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_states_on_the_pinned_kernels(loaded: LoadedMatrix, states: dict[str, Applied]) -> None:
    assert {name: str(one.state) for name, one in states.items()} == {
        "arm": State.NATIVE,
        "riscv": State.APPLIES,
    }
    old = obtain("6.12", loaded.kernels["6.12"], cache_dir(), print)
    assert {one.state for one in apply_all(sources(TEMPLATES), old).values()} == {State.NATIVE}


def test_every_maintainer_gets_the_new_files(linux: KernelTree) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    patch = next((ROOT / "patches" / "7.3" / "riscv").glob("*Documentation*.patch"))
    done = subprocess.run(
        ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", str(patch)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "linux-riscv@lists.infradead.org" in done.stdout
