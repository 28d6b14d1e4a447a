# SPDX-License-Identifier: GPL-2.0-only
"""One cell's evidence, for a person who doubts."""

from __future__ import annotations

import json

from rich.console import Console
from rich.text import Text

from ..core.evidence import Evidence
from ..result import CellResult
from . import figures


def print_result(console: Console, result: CellResult) -> None:
    """Verdict, every piece of evidence with its figures, versions, stages and paths."""
    style = "bold green" if result.as_expected else "bold red"
    console.print(Text(f"{result.cell}: {result.label}", style=style))
    if result.reason:
        console.print(Text(f"  {result.reason}"))
    if result.hint:
        console.print(Text(f"  hint: {result.hint}"))
    if result.digest is not None and "\n".join(result.digest.lines) not in result.reason:
        console.print("\nfirst error", style="bold")
        for line in result.digest.lines:
            console.print(Text(f"  {line}"), soft_wrap=True)
    if result.known_reason:
        console.print(Text(f"  declared: {result.known_reason}"))
    if result.evidence:
        console.print("\nevidence", style="bold")
    for one in result.evidence:
        console.print(mark(one) + Text(f"{one.name}: {one.summary}", style="default"))
        for line in figure_lines(one):
            console.print(Text(f"           {line}", style="dim"), soft_wrap=True)
    for title, values in (
        ("figures", result.figures),
        ("versions", result.versions),
        ("paths", result.paths),
    ):
        if values:
            console.print(f"\n{title}", style="bold")
            for key, value in values.items():
                console.print(Text(f"  {key}: {value}"), soft_wrap=True)
    console.print("\nstages", style="bold")
    console.print(Text(f"  {figures.stage_times(result)}"))
    console.print(Text(f"\nagain: {figures.reproduce(result)}"), soft_wrap=True)


def mark(one: Evidence) -> Text:
    """Whether it holds; what is advisory never FAILS."""
    if one.holds:
        return Text("  holds  ", style="green")
    return Text("  look   ", style="yellow") if one.advisory else Text("  FAILS  ", style="red")


def figure_lines(one: Evidence) -> list[str]:
    """Its figures, a line each or more."""
    return [line for name, value in one.figures.items() for line in _lines(name, value)]


def _lines(name: str, value: object) -> list[str]:
    if isinstance(value, list):
        return [f"{name}:", *(f"  {_plain(item)}" for item in value)]
    if isinstance(value, int) and name.endswith(("_virtual", "_physical")):
        return [f"{name}: {value:#x}"]
    return [f"{name}: {_plain(value)}"]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value)
