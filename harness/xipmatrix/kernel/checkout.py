# SPDX-License-Identifier: GPL-2.0-only
"""A commit's files as a plain folder that builds read."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ..core import run
from ..core.files import Say, complete_dir, locked, remove
from ..core.git import Repository
from ..core.progress import names_full_disk

TREE = "linux"
INDEX = "index"
_REPOSITORY = "repository"


def source_folder(cache: Path, tree: str) -> Path:
    """Where checkout() puts the source of a commit with this `tree`."""
    return cache / "sources" / tree[:16] / TREE


def checkout(kernel_git_dir: Path, commit: str, cache: Path, say: Say) -> Path:
    """The complete source of `commit` (or a tree), without .git, below `cache`; only to be read.

    Shared by all builds. What a hand changed in it is noticed and made anew. A second
    tree of the same kernel shares its unchanged files with the first by hard links:
    git replaces files, and never writes into one. Raises InfrastructureError.
    """
    repository = Repository(kernel_git_dir)
    place = source_folder(cache, repository.tree_of(commit)).parent
    with names_full_disk(cache), locked(place, say, "this kernel's source folder"):
        if place.exists():
            if _is_clean(repository, place):
                return place / TREE
            say("the source folder was changed by hand: making it anew")
        with complete_dir(place) as work:
            (work / _REPOSITORY).write_text(str(kernel_git_dir))
            sibling = _sibling(repository, place)
            if sibling is not None and _linked(sibling, work):
                say("checking out the source: what changed")
                repository.git("read-tree", "--reset", "-u", commit, env=worktree(work))
            else:
                say("checking out the source")
                (work / TREE).mkdir()
                repository.git("read-tree", commit, env=worktree(work))
                repository.git("checkout-index", "-a", "-u", env=worktree(work))
    return place / TREE


def _linked(sibling: Path, work: Path) -> bool:
    """Make `work` a hard-linked copy of `sibling`; False where the disk knows no such links."""
    if not run.run(["cp", "-al", sibling / TREE, work / TREE]).ok:
        remove(work / TREE)
        return False
    shutil.copyfile(sibling / INDEX, work / INDEX)
    return True


def worktree(place: Path) -> dict[str, str]:
    """The environment in which git takes `place` for its work tree and index."""
    return {"GIT_WORK_TREE": str(place / TREE), "GIT_INDEX_FILE": str(place / INDEX)}


def _is_clean(repository: Repository, place: Path) -> bool:
    """Whether every file has the size and times it was written with: 0.2 s for a kernel."""
    return repository.run("diff-files", "--quiet", env=worktree(place)).ok


def _sibling(repository: Repository, place: Path) -> Path | None:
    """The newest clean source folder of another tree of the same kernel, or None."""
    others = []
    for path in place.parent.glob("[0-9a-f]*"):
        # Nothing there: a lock, or another process is just replacing it.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if path != place and (path / _REPOSITORY).read_text() == str(repository.git_dir):
                others.append((path.stat().st_mtime, path))
    for _, other in sorted(others, reverse=True):
        if _is_clean(repository, other):
            return other
    return None
