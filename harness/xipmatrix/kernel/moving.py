# SPDX-License-Identifier: GPL-2.0-only
"""One source folder that goes from commit to commit, for builds that go by file times."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.files import Say, remove
from ..core.git import Repository
from ..core.progress import names_full_disk
from .checkout import INDEX, TREE, worktree


def move_to(kernel_git_dir: Path, commit: str, place: Path, say: Say) -> Path:
    """Make the source folder in `place` that of `commit`, complete and without .git.

    Only files that differ from the commit that was there before are written, so that
    only they have a new time. What a hand or a killed move left different is mended.
    The caller holds a lock on `place`. Raises InfrastructureError.
    """
    repository = Repository(kernel_git_dir)
    tree = place / TREE
    index = place / INDEX
    with names_full_disk(place):
        # Ours is the lock: what is left of git's own is of a killed run.
        (place / f"{INDEX}.lock").unlink(missing_ok=True)
        known = index.is_file() and repository.run("ls-files", "Kbuild", env=worktree(place)).ok
        if not known:
            index.unlink(missing_ok=True)
            remove(tree)
        tree.mkdir(parents=True, exist_ok=True)
        say("moving the source folder: what changed" if known else "checking out the source")
        repository.git("read-tree", "--reset", "-u", commit, env=worktree(place))
        repository.git("checkout-index", "--all", "--force", "--index", env=worktree(place))
        others = repository.raw("ls-files", "-z", "--others", env=worktree(place), cwd=tree)
        for name in filter(None, others.split(b"\0")):
            remove(tree / os.fsdecode(name))
    return tree
