# SPDX-License-Identifier: GPL-2.0-only
"""What a digest is, and when two of them say the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What failed."""

    COMPILER = "compiler"
    LINKER = "linker"
    ASSERTION = "assertion"
    MAKE = "make"
    KCONFIG = "kconfig"
    SERIES = "series"
    OOPS = "oops"
    PANIC = "panic"
    HANG = "hang"
    EVIDENCE = "evidence"
    FLAKY = "flaky"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True)
class Digest:
    """A failure in few words.

    `headline` is one line, `lines` the excerpt that explains it. Failures with the same `key`
    are similar: it is the headline without what differs from cell to cell.
    """

    kind: Kind
    headline: str
    lines: tuple[str, ...]
    key: str

    @classmethod
    def of(
        cls, kind: Kind, headline: str, lines: Iterable[str], similar: str | None = None
    ) -> Digest:
        """A digest whose key is made of `similar`, by default of the headline."""
        text = " ".join(_clean(headline).split())
        key = f"{kind}: {masked(text if similar is None else similar)}"
        return cls(kind, text, tuple(map(_clean, lines))[:_MOST_LINES], key[:_LONGEST])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` is the inverse."""
        return {
            "kind": str(self.kind),
            "headline": self.headline,
            "lines": list(self.lines),
            "key": self.key,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Digest:
        """A digest read back. Raises KeyError or ValueError for other data."""
        return cls(Kind(data["kind"]), data["headline"], tuple(data["lines"]), data["key"])


_MOST_LINES = 40
_LONGEST = 300  # characters of a line
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\t -~\xa0-\ud7ff\ue000-\ufffd]")


def _clean(line: str) -> str:
    """`line` without what colours a console, and without what XML cannot carry."""
    text = _CONTROL.sub("", line).rstrip()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


# In this order: what an earlier one leaves is what a later one sees.
_MASKS = (
    (re.compile(r" \(and \d+ more\)$"), ""),
    (re.compile("[‘’“”`]"), "'"),
    (re.compile(r"\.(?:constprop|isra|part|cold|llvm)\b(?:\.\d+)*"), ""),  # the compiler's copies
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)[0-9a-f]{8,})\b"), "N"),
    (re.compile(r"(?:[\w.+~@-]*/)+(?=[\w.+-])"), ""),  # folders
    (re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?!\w)"), "N"),
    (re.compile(r"\s+"), " "),
)


def masked(text: str) -> str:
    """`text` without addresses, numbers and folders, which differ between similar failures."""
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    return text.strip()
