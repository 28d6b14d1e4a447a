# SPDX-License-Identifier: GPL-2.0-only
"""Progress lines that never come faster than a person reads, and full disks by their name."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from . import run
from .errors import InfrastructureError, XipmatrixError
from .files import Say

_FULL_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = (
    *("No space left on device", "Out of diskspace", "Disk quota exceeded", "File too large"),
    *("SIGXFSZ", "enough free space"),
)


class Throttle:
    """Passes at most one line every `seconds` on to `say`."""

    def __init__(self, say: Say, seconds: float = 1.0) -> None:
        self._say = say
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    @property
    def due(self) -> bool:
        """Whether :meth:`tell` would say something now: spares making the text."""
        return time.monotonic() >= self._next

    def tell(self, text: str) -> None:
        """Say `text`, unless the last line is too fresh."""
        if self.due:
            self._next = time.monotonic() + self._seconds
            self._say(text)


def megabytes(count: int, total: int | None = None) -> str:
    """``12 MB`` or, where the total is known, ``12 of 160 MB (7 %)``; 1 MB = 10^6 bytes."""
    if total:
        return f"{count / 1e6:.0f} of {total / 1e6:.0f} MB ({100 * count // total} %)"
    return f"{count / 1e6:.0f} MB"


def memory_file() -> IO[bytes]:
    """A file for a child's output that a full disk cannot cut: it may say just that."""
    return os.fdopen(os.memfd_create("xipmatrix-output"), "w+b")


def last_words(file: IO[bytes], lines: int = 4) -> str:
    """The last lines of a :func:`memory_file`."""
    file.seek(0)
    return "\n  ".join(file.read().decode(errors="replace").strip().splitlines()[-lines:])


def how_it_ended(process: run.Process) -> str:
    """``exit status 1`` or ``killed by SIGKILL`` for a child that has ended."""
    code = process.wait()
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def run_watched(
    argv: Sequence[str | os.PathLike[str]],
    tick: Callable[[], None],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a child, calling `tick` five times a second; its exit status and last words.

    Raises KeyboardInterrupt where the child was ended by a Ctrl-C.
    """
    with (
        memory_file() as output,
        run.start(argv, cwd=cwd, env=env, stdout=output.fileno()) as process,
    ):
        while True:
            try:
                process.wait(0.2)
                if run.stopping():
                    raise KeyboardInterrupt
                return process.returncode, last_words(output)
            except subprocess.TimeoutExpired:
                tick()


class DiskFull(InfrastructureError):
    """No room (or no quota) where we must write; trying something else does not help."""


@contextlib.contextmanager
def names_full_disk(folder: Path) -> Iterator[None]:
    """Turn "no space left", whoever says it, into :class:`DiskFull` that names `folder`."""
    try:
        yield
    except DiskFull:
        raise
    except OSError as error:
        if error.errno in _FULL_CODES:
            raise _full(folder) from error
        raise
    except XipmatrixError as error:
        if any(words in str(error) for words in _FULL_WORDS):
            raise _full(folder) from error
        raise


def _full(folder: Path) -> DiskFull:
    return DiskFull(
        "the disk is full, or a size limit was reached",
        where=folder,
        hint="free some room (xipmatrix clean), or point XIPMATRIX_CACHE to a larger disk",
    )
