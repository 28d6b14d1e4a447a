# SPDX-License-Identifier: GPL-2.0-only
"""Evidence in words: what is claimed, how it was measured, how to repeat it by hand."""

from __future__ import annotations

import fnmatch
import functools
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..core.yamlfile import load
from ..matrix.model import Model
from ..result import CellResult
from . import figures
from .evidence import figure_lines, mark

EXPLANATIONS = Path(__file__).parents[1] / "data" / "evidence.yaml"


class Explanation(Model):
    """One kind of evidence. `by_hand` names paths of the result in braces."""

    claim: str
    method: str
    by_hand: str


class Explanations(Model):
    """data/evidence.yaml."""

    evidence: dict[str, Explanation]


@functools.cache
def explanations() -> dict[str, Explanation]:
    """By name; a name may end in ``*``."""
    return load(EXPLANATIONS, Explanations).evidence


def explanation_of(name: str) -> Explanation | None:
    """What data/evidence.yaml says of the evidence `name`."""
    found = [one for pattern, one in explanations().items() if fnmatch.fnmatch(name, pattern)]
    return found[0] if found else None


def print_explained(console: Console, result: CellResult) -> None:
    """Every piece of evidence of `result` with its explanation and its figures."""
    # Commands below are meant to be copied: never folded.
    console.print(Text(f"{result.cell}: {result.label}", style="bold"), soft_wrap=True)
    console.print(Text(f"  {result.reason}"), soft_wrap=True)
    for one in result.evidence:
        console.print()
        console.print(mark(one) + Text(f"{one.name}: {one.summary}"), soft_wrap=True)
        said = explanation_of(one.name)
        if said is not None:
            console.print(Text(f"    claim    {said.claim}"), soft_wrap=True)
            console.print(Text(f"    method   {said.method}"), soft_wrap=True)
            console.print(Text(f"    by hand  {by_hand(said, result)}"), soft_wrap=True)
        if not one.advisory:
            console.print(Text(f"    if not   {one.breaks}"), soft_wrap=True)
        for line in figure_lines(one):
            console.print(Text(f"             {line}", style="dim"), soft_wrap=True)
    if "boot" in result.paths:
        console.print(f"\nraw data: {result.paths['boot']}", markup=False, soft_wrap=True)
        console.print(
            "  console.log, executed.tsv (count, place, memory, addresses, symbol), counts.txt,\n"
            "  flash-trace.log, qemu.sh; after a failure also ram-*.bin (all of RAM);\n"
            "  the larger ones are compressed: zcat, zgrep, zless",
            markup=False,
        )
        if "normal boot" in result.paths:
            console.print(
                "  normal/: console.log, kunit.log and qemu.sh of the normal kernel, from RAM",
                markup=False,
                soft_wrap=True,
            )


def by_hand(said: Explanation, result: CellResult) -> str:
    """The command with the result's paths; one that it has not is named in its braces."""
    text = said.by_hand
    for name, value in {"again": figures.boot_again(result), **result.paths}.items():
        text = text.replace(f"{{{name}}}", value)
    return text
