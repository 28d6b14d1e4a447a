# SPDX-License-Identifier: GPL-2.0-only
"""Digests of a console log: the first oops or panic, or the last words before silence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..machine import protocol
from ..machine.console import PANIC, panic_line
from .model import Digest, Kind
from .trace import Origin, Trace, read_trace

# printk's level, time and caller.
_STAMP = re.compile(r"^(?:<\d>)?(?:\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? )?")
_END = ("---[ end ", protocol.PREFIX)
_LONGEST = 200
_BEFORE = 3
_LAST = 5


def fault(console: str, origin: Origin) -> Digest | None:
    """The first oops or panic of `console`; None where there is none."""
    first = panic_line(console)
    if first is None:
        return None
    raw = [line.strip("\r") for line in console.split("\n")]
    at = next(number for number, line in enumerate(raw) if line.strip() == first)
    lines = [_STAMP.sub("", line).rstrip() for line in raw]
    report = _report(lines[at:])
    trace = read_trace(report, origin)
    kind = Kind.PANIC if PANIC in first else Kind.OOPS
    what = report[0].strip()
    where = f" in {trace.function}" if trace.function else ""
    head = [line for line in report if line.startswith(("Internal error", "Oops", "CPU: "))]
    return Digest.of(
        kind,
        f"{what}{where}",
        [
            *(_kernels(lines[:at])[-_BEFORE:] if kind is Kind.PANIC else ()),
            *dict.fromkeys([what, *head]),
            *_said(trace),
        ],
        f"{_without_count(what)}{where}",
    )


def _kernels(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line and not line.startswith(protocol.PREFIX)]


def _report(lines: Sequence[str]) -> list[str]:
    """From the fault's first line to the end of its trace."""
    for at, line in enumerate(lines[:_LONGEST]):
        if at and line.startswith(_END):
            return list(lines[:at])
    return list(lines[:_LONGEST])


def _without_count(what: str) -> str:
    """``Oops [#1] SMP`` is the same fault as the second one, or one without SMP."""
    return re.sub(r" \[#\d+\].*", "", what)


def _said(trace: Trace) -> list[str]:
    named = [("at", trace.at), ("instruction", trace.instruction), ("called from", trace.caller)]
    lines = [f"{what:<12} {place}" for what, place in named if place]
    lines += [f"{'trace' if not at else '':<12} {frame}" for at, frame in enumerate(trace.frames)]
    return [*lines, *([f"({trace.note})"] if trace.note else [])]


def silence(console: str, reason: str) -> Digest:
    """A boot that ended before init spoke: the last lines, of which the very last is its key."""
    raw = console.replace("\r", "").split("\n")
    lines = [_STAMP.sub("", line).rstrip() for line in raw if line.strip()]
    return Digest.of(Kind.HANG, reason, lines[-_LAST:] or [reason], reason)
