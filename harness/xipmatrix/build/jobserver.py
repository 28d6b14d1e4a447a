# SPDX-License-Identifier: GPL-2.0-only
"""One GNU make jobserver for all builds of this process.

A pipe with a byte (a token) for each job. Who runs something holds a token for it and writes it
back; every make has one without reading it, which here is read for it before it starts. So
there are never more jobs than tokens, whichever build has them: one links, the others compile.

A make that is killed takes the tokens that it has read with it, and none knows how many: a token
is like any other. What is known is the sum, once none of the builds is under way, or the
others have given back all but their own. After a build that did not end well no other starts
before that, and what is missing is put back.

The protocol: info make, "POSIX Jobserver Interaction". It is the older one, with descriptors,
which every make since 4.2 knows.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import run

_JOINED = Path(__file__).parent / "joined"
_TOKEN = b"+"
# Seconds: how often a build that waits looks whether we are to stop.
_LOOK = 0.2


class Jobserver:
    """Tokens for `jobs` compilers at a time."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._in, self._out = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._guard = threading.Lock()
        self._active = 0
        self._suspect = False
        os.write(self._out, _TOKEN * jobs)
        for end in (self._in, self._out):
            weakref.finalize(self, os.close, end)

    @property
    def idle(self) -> int:
        """How many tokens nobody holds."""
        count = array.array("i", [0])
        fcntl.ioctl(self._in, termios.FIONREAD, count)
        return count[0]

    @property
    def environment(self) -> dict[str, str]:
        """With it a ``make``, of whatever ``-j``, takes its jobs from here."""
        return {
            "PATH": os.pathsep.join((str(_JOINED), os.environ.get("PATH", os.defpath))),
            "XIPMATRIX_JOBSERVER": f"/proc/{os.getpid()}",
            "XIPMATRIX_JOBSERVER_IN": str(self._in),
            "XIPMATRIX_JOBSERVER_OUT": str(self._out),
            "XIPMATRIX_JOBS": str(self.jobs),
        }

    @contextmanager
    def build(self) -> Iterator[dict[str, str]]:
        """Wait for a token, and hold it for a build: at most one make at a time, with the
        environment that is yielded, whose processes are gone when the block ends.

        A block that raises may have lost tokens. Raises KeyboardInterrupt while Ctrl-C is handled.
        """
        while not self._begin():
            if run.stopping():
                raise KeyboardInterrupt
            select.select([] if self._suspect else [self._in], [], [], _LOOK)
        try:
            yield self.environment
        except BaseException:
            self._end(well=False)
            raise
        self._end(well=True)

    def _begin(self) -> bool:
        with self._guard:
            if self._suspect and not self._settled():
                return False
            try:
                os.read(self._in, 1)
            except BlockingIOError:
                return False
            self._active += 1
            return True

    def _end(self, *, well: bool) -> None:
        with self._guard:
            os.write(self._out, _TOKEN)
            self._active -= 1
            self._suspect = self._suspect or not well
            self._settled()

    def _settled(self) -> bool:
        """Whether all tokens are accounted for, put right where that can be done."""
        if self._active == 0:
            missing = self.jobs - self.idle
            if missing > 0:
                os.write(self._out, _TOKEN * missing)
            elif missing < 0:
                os.read(self._in, -missing)
            self._suspect = False
        elif self.idle + self._active == self.jobs:
            self._suspect = False
        return not self._suspect
