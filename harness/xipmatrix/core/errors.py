# SPDX-License-Identifier: GPL-2.0-only
"""Errors that a user can act on: what happened, where, and what to do.

Everything that xipmatrix raises on purpose derives from :class:`XipmatrixError`;
``cli`` prints it on one screen and leaves with ``exit_code``. A Python traceback
that reaches a user is a bug.
"""

from __future__ import annotations

from pathlib import Path

EXIT_AS_EXPECTED = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_INFRASTRUCTURE = 3
EXIT_INTERRUPTED = 130


class XipmatrixError(Exception):
    """What went wrong (`what`), the file, line or key (`where`), what to do (`hint`)."""

    exit_code = EXIT_UNEXPECTED

    def __init__(self, what: str, *, where: str | Path = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UsageError(XipmatrixError):
    """The command line, matrix.yaml or a template says something impossible (exit 2)."""

    exit_code = EXIT_USAGE


class InfrastructureError(XipmatrixError):
    """Our side failed: a missing tool, a full disk, no network (exit 3).

    Never a statement about the kernel under test.
    """

    exit_code = EXIT_INFRASTRUCTURE
