# SPDX-License-Identifier: GPL-2.0-only
"""What changed: since each cell was last measured, and since it last was good.

A fault of our own says nothing about a kernel: such results are passed over, as are cells
that were stopped early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .core.evidence import Verdict
from .store import Past, Store


class Kind(StrEnum):
    """What became of a cell, what matters most first."""

    BROKEN = "newly broken"
    NEW_BROKEN = "new and broken"
    DIFFERENT = "broken differently"
    FLAKY = "flaky"
    UNEXPECTED_PASS = "passes, though declared to fail"
    FIXED = "fixed"
    STILL = "still broken"
    KNOWN = "known failure"
    NEW = "new"
    SAME = "same"
    UNMEASURED = "not measured"


# What is worse than it was.
WORSE = frozenset((Kind.BROKEN, Kind.NEW_BROKEN, Kind.DIFFERENT, Kind.FLAKY))
# What nobody needs to be told of again.
_QUIET = frozenset((Kind.STILL, Kind.KNOWN, Kind.NEW, Kind.SAME, Kind.UNMEASURED))


@dataclass(frozen=True)
class Moved:
    """A figure that moved by more than its threshold (a share, 0.01 = 1 %)."""

    name: str
    before: float
    now: float
    threshold: float

    @property
    def share(self) -> float:
        """By how much, as a share of what it was; infinite where that was nothing."""
        if self.before:
            return (self.now - self.before) / abs(self.before)
        return float("inf")


@dataclass(frozen=True)
class Change:
    """One cell's way from before to now.

    `previous` is the last run that measured it, `good` the last that passed, `first_bad`
    the first after that which did not. `moved` is against `previous`, `drifted` against
    `good` where that is another one: many small steps are seen there.
    """

    kind: Kind
    now: Past
    previous: Past | None = None
    good: Past | None = None
    first_bad: Past | None = None
    moved: tuple[Moved, ...] = ()
    drifted: tuple[Moved, ...] = ()

    @property
    def cell(self) -> str:
        """The cell's id."""
        return self.now.cell

    @property
    def noteworthy(self) -> bool:
        """Whether something changed since the last time."""
        return self.kind not in _QUIET or bool(self.moved)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: for reports and for --notify."""

        def short(past: Past | None) -> dict[str, Any] | None:
            if past is None:
                return None
            verdict = str(past.verdict) if past.verdict else None
            return {
                "run": past.run,
                "began": past.began,
                "verdict": verdict,
                "reason": past.reason,
                "versions": dict(past.versions),
            }

        def figures(moved: Iterable[Moved]) -> list[dict[str, Any]]:
            return [
                {"name": one.name, "before": one.before, "now": one.now, "threshold": one.threshold}
                for one in moved
            ]

        return {
            "cell": self.cell,
            "kind": str(self.kind),
            "now": short(self.now),
            "previous": short(self.previous),
            "last_good": short(self.good),
            "first_bad": short(self.first_bad),
            "moved": figures(self.moved),
            "drifted": figures(self.drifted),
        }


def changes_of(
    store: Store, current: Sequence[Past], run: str, thresholds: Mapping[str, float]
) -> list[Change]:
    """What changed with each of `current`, the results of `run`, by what is stored before it.

    What matters most comes first; cells of one kind keep their order.
    """
    found = [
        change(now, store.past(cell=now.cell, before=run), thresholds)
        for now in current
        if now.verdict is not None
    ]
    return sort(found)


def compare(
    before: Sequence[Past],
    now: Sequence[Past],
    thresholds: Mapping[str, float],
    history: Callable[[Past], Sequence[Past]] = lambda _past: (),
) -> tuple[list[Change], list[Past]]:
    """Two runs: the changes from one to the other, and the cells that only `before` has.

    `history` gives what came before a result of `before`, newest first: with it a cell that
    is still broken is dated by its first failure, and not by `before`.
    """
    old = {past.cell: past for past in before if past.verdict is not None}
    found = []
    for one in now:
        if one.verdict is None:
            continue
        then = old.get(one.cell)
        found.append(change(one, [] if then is None else [then, *history(then)], thresholds))
    here = {one.cell for one in now}
    return sort(found), [past for cell, past in old.items() if cell not in here]


def change(now: Past, earlier: Sequence[Past], thresholds: Mapping[str, float]) -> Change:
    """One cell's change; `earlier` is newest first, and may hold what was not measured."""
    measured = [past for past in earlier if past.measured]
    previous = measured[0] if measured else None
    good = next((past for past in measured if past.good), None)
    first_bad = None
    if now.measured and not now.good:
        since = measured[: measured.index(good)] if good else measured
        first_bad = since[-1] if since else now
    return Change(
        kind=_kind(now, previous),
        now=now,
        previous=previous,
        good=good,
        first_bad=first_bad,
        moved=moved(previous, now, thresholds) if previous else (),
        drifted=moved(good, now, thresholds) if good and good is not previous else (),
    )


def _kind(now: Past, previous: Past | None) -> Kind:
    if not now.measured:
        return Kind.UNMEASURED
    if now.verdict is Verdict.FLAKY:
        return Kind.STILL if previous and previous.verdict is Verdict.FLAKY else Kind.FLAKY
    if now.good and now.known:
        return Kind.UNEXPECTED_PASS
    if now.good:
        if previous is None:
            return Kind.NEW
        return Kind.SAME if previous.good else Kind.FIXED
    if now.as_expected:
        return Kind.KNOWN
    if previous is None:
        return Kind.NEW_BROKEN
    if previous.good or previous.as_expected:
        return Kind.BROKEN
    return Kind.STILL if previous.verdict is now.verdict else Kind.DIFFERENT


def moved(before: Past, now: Past, thresholds: Mapping[str, float]) -> tuple[Moved, ...]:
    """The figures with a threshold that both have and that moved by more than it."""
    found = []
    for name, threshold in thresholds.items():
        if name in before.figures and name in now.figures:
            one = Moved(name, before.figures[name], now.figures[name], threshold)
            if one.before != one.now and abs(one.share) > threshold:
                found.append(one)
    return tuple(found)


def sort(changes: Iterable[Change]) -> list[Change]:
    """What matters most first."""
    order = list(Kind)
    return sorted(changes, key=lambda one: (order.index(one.kind), not one.moved))
