# SPDX-License-Identifier: GPL-2.0-only
"""What changed, for a terminal: before anything that stayed as it was."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..history import Change, Kind, Moved
from ..store import Past

_BAD = (Kind.BROKEN, Kind.NEW_BROKEN, Kind.DIFFERENT, Kind.FLAKY, Kind.STILL, Kind.UNEXPECTED_PASS)


def print_changes(console: Console, changes: Sequence[Change], gone: Sequence[Past] = ()) -> None:
    """Every noteworthy change, and what is still broken; nothing where there is neither."""
    shown = worth_telling(changes)
    if shown or gone:
        console.print("\nchanges", style="bold")
    for one in shown:
        style = "bold red" if one.kind in _BAD else "green" if one.kind is Kind.FIXED else "default"
        console.print(Text(f"  {title(one)}: {one.cell}", style=style), soft_wrap=True)
        for line in details(one):
            console.print(Text(f"    {line}"), soft_wrap=True)
    for past in gone:
        console.print(Text(f"  gone: {past.cell}; it was {past.verdict} {when(past)}"))


def worth_telling(changes: Sequence[Change]) -> list[Change]:
    """Every noteworthy change, and what is still broken."""
    return [one for one in changes if one.noteworthy or one.kind is Kind.STILL]


def title(one: Change) -> str:
    """What became of the cell, in a word or three."""
    return str(one.kind) if one.kind is not Kind.SAME else "figures moved"


def details(one: Change) -> list[str]:
    """What there is to say of a change, a line each."""
    lines = []
    if one.now.verdict is not None and not one.now.good:
        lines.append(f"{one.now.verdict}: {_first_line(one.now.reason)}")
    if one.first_bad is not None and one.first_bad.run != one.now.run:
        lines.append(f"broken since {when(one.first_bad)}")
    if one.kind is Kind.FIXED and one.previous is not None:
        lines.append(f"was {one.previous.verdict} {when(one.previous)}")
    if one.good is not None and not one.now.good:
        lines.append(f"last good {when(one.good)}")
        lines += _versions(one.good, one.now)
    elif one.previous is not None and one.kind is not Kind.SAME:
        lines += _versions(one.previous, one.now)
    lines += [figure_line(moved) for moved in one.moved]
    lines += [
        f"{figure_line(moved)}, since the last good run"
        for moved in one.drifted
        if moved.name not in {other.name for other in one.moved}
    ]
    return lines


def when(past: Past) -> str:
    """``2026-11-24 02:10 (7.3.4, run …)``: a date in UTC, the kernel's release, the run."""
    release = past.versions.get("kernel", "").split(" ")[0]
    place = ", ".join(word for word in (release, f"run {past.run}") if word)
    return f"{past.began[:16].replace('T', ' ')} ({place})"


def figure_line(moved: Moved) -> str:
    """``image_bytes 2,539,940 → 2,601,200 (+2.4 %)``."""
    share = f"{moved.share * 100:+.2f} %" if moved.before else "from nothing"
    return f"{moved.name} {_number(moved.before)} → {_number(moved.now)} ({share})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.6f}"


def _versions(before: Past, now: Past) -> list[str]:
    """What else differs between the two: where to look for the cause."""
    return [
        f"{name}: {before.versions[name]} → {value}"
        for name, value in now.versions.items()
        if before.versions.get(name, value) != value
    ]


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
