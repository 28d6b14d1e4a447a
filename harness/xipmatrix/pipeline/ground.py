# SPDX-License-Identifier: GPL-2.0-only
"""What a cell's kernels are made from: a commit with its series, its source, a toolchain."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..build.toolchain import Toolchain
from ..core.files import Say
from ..core.git import Repository
from ..kernel import KernelTree, checkout
from ..matrix.model import Cell
from ..series.engine import Applied


@dataclass(frozen=True)
class Prepared:
    """A kernel and what each series is to it."""

    kernel: KernelTree
    states: dict[str, Applied]

    def tip(self, arch: str) -> str:
        """The commit that is built for `arch`: the kernel with its series."""
        return self.states[arch].tip

    def tree(self, arch: str) -> str:
        """The git tree of that commit: all that a build sees of it.

        A patch whose message has other words, or a rebase that changes no file, has the same.
        """
        return _tree(self.kernel.git_dir, self.tip(arch))


@functools.lru_cache  # every cell asks, and several have the same
def _tree(git_dir: Path, commit: str) -> str:
    return Repository(git_dir).tree_of(commit)


@dataclass(frozen=True)
class Ground:
    """What the kernels of one cell are made from: its own, and the normal one beside it.

    `find_source` gives the source folder; it is called when something first reads it, since
    looking whether it is as it should be takes longer than all else of a cell that is kept.
    """

    cell: Cell
    prepared: Prepared
    find_source: Callable[[], Path]
    toolchain: Toolchain

    @functools.cached_property
    def source(self) -> Path:
        """The source folder: only to be read. Raises what `find_source` raises."""
        return self.find_source()

    @property
    def tree(self) -> str:
        """What is built: see :meth:`Prepared.tree`."""
        return self.prepared.tree(self.cell.series)


class Checkouts:
    """Source folders of one run: each is made, or looked through, once, whoever wants it."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._done: dict[str, Path] = {}

    def get(self, git_dir: Path, tree: str, say: Say) -> Path:
        """The source folder of `tree`. Raises what :func:`kernel.checkout` raises."""
        with self._guard:
            lock = self._locks.setdefault(tree, threading.Lock())
        with lock:
            if tree not in self._done:
                self._done[tree] = checkout(git_dir, tree, self._cache, say)
        return self._done[tree]
