# SPDX-License-Identifier: GPL-2.0-only
"""A result as a mark: a colour, a symbol that says the same without it, and words."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.evidence import Verdict
from ...history import WORSE, Kind
from ...result import CellResult
from ...store import Past, RunRow
from .text import link


@dataclass(frozen=True)
class Mark:
    """`tone` is a class of style.css, `symbol` one character, `words` what is said aloud."""

    tone: str
    symbol: str
    words: str


NONE = Mark("none", "·", "not in this run")


def mark_of(past: Past) -> Mark:
    """The mark of a stored result."""
    return _mark(past.verdict, past.as_expected, past.known)


def mark_of_result(result: CellResult) -> Mark:
    """The same of a whole result, in the words of its label: with `(known)`, `(sampled)`."""
    plain = _mark(result.verdict, result.as_expected, result.known_failure)
    return Mark(plain.tone, plain.symbol, result.label)


def _mark(verdict: Verdict | None, as_expected: bool, known: bool) -> Mark:
    if verdict is None:
        return Mark("none", "–", "stopped early")
    if verdict is Verdict.INFRASTRUCTURE:
        return Mark("ours", "?", str(verdict))
    if verdict is Verdict.PASS:
        return Mark("odd", "!", "pass (unexpected)") if known else Mark("pass", "✓", "pass")
    if as_expected:
        return Mark("known", "○", f"{verdict} (known)")
    return Mark("flaky", "~", "flaky") if verdict is Verdict.FLAKY else Mark("bad", "✗", verdict)


LEGEND = (
    _mark(Verdict.PASS, True, False),
    Mark("bad", "✗", "broken"),
    Mark("flaky", "~", "flaky: two tries differ"),
    Mark("known", "○", "fails as declared in matrix.yaml"),
    Mark("odd", "!", "passes, though declared to fail"),
    Mark("ours", "?", "infrastructure: says nothing about the kernel"),
    Mark("none", "–", "stopped early"),
)


def tone_of(kind: Kind) -> str:
    """The tone of a change."""
    if kind is Kind.FIXED:
        return "pass"
    if kind is Kind.FLAKY:
        return "flaky"
    if kind is Kind.UNEXPECTED_PASS:
        return "odd"
    return "bad" if kind in WORSE or kind is Kind.STILL else "moved"


def mark_of_run(row: RunRow) -> Mark:
    """How a run ended, by its exit code."""
    if row.interrupted or row.exit_code is None:
        return Mark("none", "–", "not ended")
    if row.exit_code == 0:
        return Mark("pass", "✓", "all as expected")
    if row.exit_code == 1:
        return Mark("bad", "✗", "not all as expected")
    return Mark("ours", "?", "our side failed")


@dataclass(frozen=True)
class Step:
    """One mark of a history strip; `href` is empty where that run has no page."""

    mark: Mark
    label: str
    href: str
    current: bool = False


def step(past: Past, page: str, *, current: bool = False) -> Step:
    """`page` is the file of that run's page, or empty."""
    mark = mark_of(past)
    release = past.versions.get("kernel", "").split(" ")[0]
    label = f"{day(past.began)}{f', {release}' if release else ''}: {mark.words}"
    return Step(mark, label, link(page, past.cell) if page else "", current)


def day(began: str) -> str:
    """``2026-11-24 02:10`` of an ISO 8601 time."""
    return began[:16].replace("T", " ")
