# SPDX-License-Identifier: GPL-2.0-only
"""What a cell's result says about a commit: good, bad, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..result import CellResult


class Mark(StrEnum):
    """The words of git bisect."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


@dataclass(frozen=True)
class Step:
    """One commit that was looked at. `why` says why it is skipped."""

    commit: str
    mark: Mark
    result: CellResult
    why: str = ""


def culprits(result: CellResult) -> set[str]:
    """The evidence that led to the verdict."""
    return {
        one.name
        for one in result.evidence
        if not one.holds and not one.advisory and one.breaks is result.verdict
    }


def step(commit: str, result: CellResult, bad: CellResult) -> Step:
    """Judge a commit by its result and that of the bad end.

    Only the bad end's own fault is bad: the same verdict, by evidence that failed there
    too. Another fault hides whether this one is there, and is skipped.
    """
    if result.as_expected:
        return Step(commit, Mark.GOOD, result)
    if result.verdict is not bad.verdict:
        return Step(commit, Mark.SKIP, result, f"{result.verdict}: {result.reason}")
    here, there = culprits(result), culprits(bad)
    if here and there and not here & there:
        why = f"{result.verdict} as well, but by {_names(here)}, not by {_names(there)}"
        return Step(commit, Mark.SKIP, result, f"{why}: {result.reason}")
    return Step(commit, Mark.BAD, result)


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names))
