# SPDX-License-Identifier: GPL-2.0-only
"""From a failure to its digest: the first relevant error, in few lines, with a key by which
similar failures of other cells are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..build.errors import first_error
from ..build.kconfig import read_dropped
from ..core.evidence import Verdict
from ..machine import protocol
from . import console
from .model import Digest, Kind, masked
from .trace import Origin

__all__ = ["Digest", "Kind", "Origin", "digest", "masked"]


def digest(
    verdict: Verdict | None, reason: str, log: Path | None = None, origin: Origin | None = None
) -> Digest | None:
    """The digest of a cell's failure; None for what is no failure.

    `reason` is the cell's, `log` its build or console log, of a flaky one that of its first
    try. A log that cannot be read, or says
    nothing that is known, leaves what the reason says.
    """
    if verdict in (None, Verdict.PASS, Verdict.NOT_APPLICABLE):
        return None
    reason = reason.strip() or f"{verdict}, for no reason that was given"
    read = _READERS.get(verdict, _evidence)
    try:
        text = log.read_text("utf-8", "replace") if log is not None else ""
    except OSError:
        text = ""
    return read(reason, text, origin or Origin())


_Read = Callable[[str, str, Origin], Digest]


def _build(reason: str, log: str, origin: Origin) -> Digest:
    error = first_error(log, origin.source, origin.arch)
    if error is None:
        return _plain(Kind.MAKE, reason)
    return Digest.of(Kind(error.kind), error.headline, error.lines)


def _kconfig(reason: str, _log: str, _origin: Origin) -> Digest:
    """The options whose loss no other loss explains, first; the others follow from them."""
    lost = read_dropped(reason)
    if not lost:
        return _plain(Kind.KCONFIG, reason)
    names = {one.option for one in lost}
    roots = [one for one in lost if not one.needs & (names - {one.option})] or lost
    first = roots[0]
    more = f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""
    unmet = f": depends on {' && '.join(first.unmet)}" if first.unmet else ""
    head = f"CONFIG_{first.option}={first.wanted} was dropped{unmet}{more}"
    rest = [one for one in lost if one not in roots]
    lines = [line for one in (*roots, *rest) for line in str(one).splitlines()]
    return Digest.of(Kind.KCONFIG, head, lines)


def _series(reason: str, _log: str, _origin: Origin) -> Digest:
    """Similar is the same anchor, whatever the kernel and its nearest lines are."""
    lines = reason.splitlines()
    same = [lines[0]]
    for line in lines[1:]:
        if line.strip() == "nearest lines:":
            break
        if not line.strip().startswith("kernel: "):
            same.append(line)
    return Digest.of(Kind.SERIES, lines[0], lines, " ".join(same))


def _panic(reason: str, log: str, origin: Origin) -> Digest:
    return console.fault(log, origin) or _plain(Kind.PANIC, _unnamed(reason))


def _hang(reason: str, log: str, _origin: Origin) -> Digest:
    return console.silence(log, _unnamed(reason))


def _userspace(reason: str, log: str, origin: Origin) -> Digest:
    """With the last lines where init did not come to its end."""
    said = protocol.read_console(log)
    tail = [] if said.done else console.silence(log, reason).lines
    found = _evidence(reason, log, origin)
    return Digest(found.kind, found.headline, (*found.lines, *tail), found.key)


def _evidence(reason: str, _log: str, _origin: Origin) -> Digest:
    return _plain(Kind.EVIDENCE, reason)


def _flaky(reason: str, log: str, origin: Origin) -> Digest:
    """What the two tries were; `log` is the first one's, which may tell more."""
    fault = console.fault(log, origin)
    lines = [*reason.splitlines(), *(fault.lines if fault else ())]
    return Digest.of(Kind.FLAKY, lines[0], lines)


def _infrastructure(reason: str, _log: str, _origin: Origin) -> Digest:
    return _plain(Kind.INFRASTRUCTURE, reason)


def _plain(kind: Kind, reason: str) -> Digest:
    lines = reason.splitlines()
    return Digest.of(kind, lines[0], lines)


def _unnamed(reason: str) -> str:
    """The reason without the name of the evidence that it begins with."""
    return reason.partition(": ")[2] or reason


_READERS: dict[Verdict | None, _Read] = {
    Verdict.BUILD_FAILED: _build,
    Verdict.CONFIG_DROPPED: _kconfig,
    Verdict.SERIES_CONFLICT: _series,
    Verdict.BOOT_PANIC: _panic,
    Verdict.BOOT_SILENT: _hang,
    Verdict.BOOT_TIMEOUT: _hang,
    Verdict.USERSPACE_FAILED: _userspace,
    Verdict.FLAKY: _flaky,
    Verdict.INFRASTRUCTURE: _infrastructure,
}
