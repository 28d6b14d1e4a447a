# SPDX-License-Identifier: GPL-2.0-only
"""What is not as expected, similar failures together: one digest, then the cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.evidence import Verdict
from ..digest import Digest, Kind, digest
from ..result import CellResult


@dataclass(frozen=True)
class Failure:
    """Cells that fail alike. `digest` is the first one's."""

    digest: Digest
    results: tuple[CellResult, ...]


def failures(found: Iterable[CellResult]) -> list[Failure]:
    """Everything in `found` that is not as expected, in the order of the first cells."""
    groups: dict[str, list[CellResult]] = {}
    for result in found:
        if not result.as_expected:
            groups.setdefault(digest_of(result).key, []).append(result)
    return [Failure(digest_of(same[0]), tuple(same)) for same in groups.values()]


def digest_of(result: CellResult) -> Digest:
    """The digest of a result that is not as expected; of older ones, what the reason says."""
    if result.verdict is Verdict.PASS:
        head = f"passes, though declared to fail: {result.known_reason}"
        return Digest.of(Kind.EVIDENCE, head, [head])
    reason = result.reason or result.label
    found = result.digest or digest(result.verdict, reason)
    return found or Digest.of(Kind.EVIDENCE, reason.splitlines()[0], reason.splitlines())


def text_of(found: Digest) -> list[str]:
    """A digest as lines: its headline and the excerpt, neither said twice."""
    head, lines = found.headline, list(found.lines)
    if head in lines:
        return lines
    if lines and head.startswith(lines[0]):
        del lines[0]
    return [head, *(f"  {line}" for line in lines)]
