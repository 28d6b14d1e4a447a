# SPDX-License-Identifier: GPL-2.0-only
"""Source folders: complete, shared, noticed when changed, and never half-made."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kernel_trees import fingerprint, git, make_repository
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.files import quiet
from xipmatrix.kernel import KernelTree, checkout, obtain
from xipmatrix.matrix.model import Kernel


def tree_of(mine: Path, cache: Path, ref: str = "main") -> KernelTree:
    spec = Kernel.model_validate({"providers": [{"git": {"url": str(mine), "ref": ref}}]})
    return obtain("x", spec, cache, quiet)


def tracked(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file that is no git metadata."""
    return {
        name: (mode, data)
        for name, (mode, _, data) in fingerprint(folder).items()
        if not name.startswith(".git/") and name != ".git" and not (folder / name).is_dir()
    }


def test_a_checkout_is_the_commit_without_git(tmp_path: Path) -> None:
    mine, cache = make_repository(tmp_path / "mine"), tmp_path / "cache"
    tree = tree_of(mine, cache)
    said: list[str] = []
    source = checkout(tree.git_dir, tree.commit, cache, said.append)
    assert tracked(source) == tracked(mine)
    assert not (source / ".git").exists()
    assert said
    said.clear()
    before = fingerprint(source)
    assert checkout(tree.git_dir, tree.commit, cache, said.append) == source
    assert said == []
    assert fingerprint(source) == before


def test_the_next_commit_shares_files_but_no_change(tmp_path: Path) -> None:
    mine, cache = make_repository(tmp_path / "mine"), tmp_path / "cache"
    tree = tree_of(mine, cache)
    first = checkout(tree.git_dir, tree.commit, cache, quiet)
    before = fingerprint(first)
    (mine / "init" / "main.c").write_text("int second;\n")
    (mine / "Kbuild").unlink()
    (mine / "Kbuild").symlink_to("Kconfig")
    (mine / "arch" / "arm" / "Kconfig").unlink()
    (mine / "init" / "new.c").write_text("x\n")
    (mine / "scripts" / "run.sh").chmod(0o644)
    git(mine, "add", "-A")
    git(mine, "commit", "-q", "-m", "second")
    second = checkout(tree.git_dir, tree_of(mine, cache).commit, cache, quiet)
    assert second != first
    assert tracked(second) == tracked(mine)
    assert fingerprint(first) == before
    assert (first / "Makefile").samefile(second / "Makefile")
    assert not (first / "init/main.c").samefile(second / "init/main.c")


def test_a_commit_of_the_same_files_has_the_same_folder(tmp_path: Path) -> None:
    mine, cache = make_repository(tmp_path / "mine"), tmp_path / "cache"
    first = tree_of(mine, cache)
    git(mine, "commit", "-q", "--allow-empty", "-m", "second")
    second = tree_of(mine, cache)
    assert first.commit != second.commit
    source = checkout(first.git_dir, first.commit, cache, quiet)
    said: list[str] = []
    assert checkout(second.git_dir, second.commit, cache, said.append) == source
    assert said == []


def test_a_change_by_hand_is_noticed_and_not_passed_on(tmp_path: Path) -> None:
    mine, cache = make_repository(tmp_path / "mine"), tmp_path / "cache"
    tree = tree_of(mine, cache)
    source = checkout(tree.git_dir, tree.commit, cache, quiet)
    (source / "init" / "main.c").write_text("int vandal;\n")
    (mine / "init" / "new.c").write_text("x\n")
    git(mine, "add", "-A")
    git(mine, "commit", "-q", "-m", "second")
    second = checkout(tree.git_dir, tree_of(mine, cache).commit, cache, quiet)
    assert (second / "init" / "main.c").read_text() == "int main;\n"
    said: list[str] = []
    assert checkout(tree.git_dir, tree.commit, cache, said.append) == source
    assert "changed by hand" in " ".join(said)
    assert (source / "init" / "main.c").read_text() == "int main;\n"


def test_a_commit_that_is_not_there_is_named(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    tree = tree_of(make_repository(tmp_path / "mine"), cache)
    with pytest.raises(InfrastructureError, match="0" * 40):
        checkout(tree.git_dir, "0" * 40, cache, quiet)
    assert not list((cache / "sources").glob(".partial-*"))
    assert not (cache / "sources" / ("0" * 16)).exists()


def test_a_killed_checkout_is_made_again(tmp_path: Path) -> None:
    mine, cache = make_repository(tmp_path / "mine"), tmp_path / "cache"
    for number in range(3000):
        (mine / "init" / f"{number}.c").write_text(f"int n{number};\n")
    git(mine, "add", "-A")
    git(mine, "commit", "-q", "-m", "many")
    tree = tree_of(mine, cache)
    code = (
        "import sys; from pathlib import Path; from xipmatrix.kernel import checkout\n"
        "checkout(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), print)"
    )
    words = [sys.executable, "-c", code, str(tree.git_dir), tree.commit, str(cache)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None and not list(cache.glob("sources/.partial-*/linux/init")):
            time.sleep(0.001)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(cache.glob("sources/.partial-*")), "it was not killed in the middle"
    source = checkout(tree.git_dir, tree.commit, cache, quiet)
    assert tracked(source) == tracked(mine)
    assert not list(cache.glob("sources/.partial-*"))
