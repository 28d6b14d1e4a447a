# SPDX-License-Identifier: GPL-2.0-only
"""Room for builds: how many are under way at a time, by cores and by memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import Field

from ..core import memory, run, yamlfile
from ..core.files import Say, quiet
from ..matrix.model import Cell, Model

MEMORY = Path(__file__).parents[1] / "data" / "memory.yaml"
# A build that cannot use its share configures or links; a few others are enough to take that.
_JOBS_A_BUILD = 4
_LOOK = 1.0


class Needs(Model):
    """data/memory.yaml: MiB per base of the configuration."""

    bases: dict[str, int]
    other: int = Field(gt=0)


@cache
def _needs() -> Needs:
    return yamlfile.load(MEMORY, Needs)


def needed(cell: Cell) -> int:
    """Bytes that the build of `cell` takes at its peak."""
    known = _needs()
    return known.bases.get(cell.config_spec.base, known.other) << 20


def builds_at_a_time(jobs: int) -> int:
    """How many builds share `jobs` compilers: one more than can use them all, if it has a job."""
    return min(jobs, 1 + -(-jobs // _JOBS_A_BUILD))


class Room:
    """`most` builds at a time, fewer where memory is short, but always one."""

    def __init__(self, most: int, available: Callable[[], int] = memory.available) -> None:
        self._most = most
        self._available = available
        self._changed = threading.Condition()
        self._taken: list[int] = []
        self._at_rest = 0  # bytes that were available when no build was under way

    @contextmanager
    def take(self, need: int, say: Say = quiet) -> Iterator[None]:
        """Wait until a build that takes `need` bytes may begin, and count it until the block ends.

        Raises KeyboardInterrupt while Ctrl-C is handled.
        """
        with self._changed:
            told = ""
            while why := self._why_not(need):
                if why != told:
                    say(f"waiting for {why}")
                    told = why
                self._changed.wait(_LOOK)
                if run.stopping():
                    raise KeyboardInterrupt
            self._taken.append(need)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(need)
                self._changed.notify_all()

    def _why_not(self, need: int) -> str:
        """What a build must wait for; empty where it may begin."""
        now = self._available()
        if not self._taken:
            self._at_rest = now
            return ""
        if len(self._taken) >= self._most:
            return "another cell's build"
        if need > min(now, self._at_rest - sum(self._taken)):
            return f"memory: {need >> 20} MiB, {now >> 20} MiB are available"
        return ""
