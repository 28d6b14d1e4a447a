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
from ..kernel import KernelTree, checkout, tree_id
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
        """The files of that commit: see :func:`kernel.tree_id`."""
        return tree_id(self.kernel.git_dir, self.tip(arch))


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
        """What is built: see :func:`kernel.tree_id`."""
        return self.prepared.tree(self.cell.series)


class Checkouts:
    """Source folders of one run: each is made, or looked through, once, whoever wants it."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._done: dict[str, Path] = {}

    def get(self, git_dir: Path, commit: str, say: Say) -> Path:
        """The source folder of `commit`. Raises what :func:`kernel.checkout` raises."""
        with self._guard:
            lock = self._locks.setdefault(commit, threading.Lock())
        with lock:
            if commit not in self._done:
                self._done[commit] = checkout(git_dir, commit, self._cache, say)
        return self._done[commit]
