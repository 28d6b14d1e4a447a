# SPDX-License-Identifier: GPL-2.0-only
"""Every piece of evidence that the code can give is explained, and nothing else is."""

from __future__ import annotations

import ast
import fnmatch
from pathlib import Path

import pytest
from rich.console import Console

from machine_support import make_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.report.explain import explanation_of, explanations, print_explained
from xipmatrix.result import CellResult

PACKAGE = Path(__file__).parents[1] / "harness" / "xipmatrix"


def named_in(text: str) -> set[str]:
    """Names that evidence gets: the first argument of Evidence(...) or a variable `name`.

    The changing end of an f-string is ``*``.
    """
    found: set[str] = set()
    tree = ast.parse(text)
    if "Evidence" not in text:
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Evidence", "_fault"):
            found |= strings(node.args[0]) if node.args else set()
        elif isinstance(node, ast.Assign):
            targets, values = [node.targets[0]], [node.value]
            if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
                targets, values = node.targets[0].elts, node.value.elts
            for target, value in zip(targets, values, strict=True):
                if getattr(target, "id", "").lower().strip("_") == "name":
                    found |= strings(value)
    return found


def strings(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        return {f"{node.values[0].value}*"}
    return set()


def all_names() -> set[str]:
    files = [p for room in ("image", "verdict") for p in (PACKAGE / room).glob("*.py")]
    return {name for path in files for name in named_in(path.read_text())}


def test_every_name_is_explained_and_every_explanation_used() -> None:
    names = all_names()
    assert {"in-place", "flash-writes", "config", "ram-scan-*"} <= names
    assert sorted(n for n in names if explanation_of(n.replace("*", "userspace")) is None) == []
    unused = [one for one in explanations() if not any(fnmatch.fnmatch(n, one) for n in names)]
    assert unused == []


def test_the_search_for_names_can_fail() -> None:
    made = named_in('name, breaks = "new-check", 1\nEvidence("other-check", True, "", 1)\n')
    assert made == {"new-check", "other-check"}
    assert explanation_of("new-check") is None


@pytest.mark.parametrize(
    ("one", "mark"),
    [
        (Evidence("reply", False, "no reply", Verdict.USERSPACE_FAILED, {"got": None}), "FAILS"),
        (Evidence("unknown-tables", False, "one", Verdict.PASS), "look"),
        (Evidence("config", True, "is y", Verdict.CONFIG_DROPPED), "holds"),
    ],
)
def test_it_reads_like_this(one: Evidence, mark: str) -> None:
    result = CellResult.of(make_cell())
    result.verdict, result.evidence = Verdict.PASS, [one]
    result.paths = {"console": "/runs/1/console.log", "config": "/x/config", "boot": "/runs/1"}
    result.paths["normal boot"] = "/runs/1/normal"
    console = Console(record=True, width=60)
    print_explained(console, result)
    text = console.export_text()
    assert f"{mark}" in text
    said = explanation_of(one.name)
    assert said is not None
    assert f"claim    {said.claim}" in text
    assert ("{console}" in text, "{config}" in text) == (False, False)
    assert "raw data: /runs/1" in text and "of the normal kernel" in text
