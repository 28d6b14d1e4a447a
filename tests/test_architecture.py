# SPDX-License-Identifier: GPL-2.0-only
"""Imports run one way: a room knows only the rooms above it in this list."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "harness" / "xipmatrix"

# The way of data. What several rooms share (core) comes first, who calls them all last.
ROOMS = [
    "core",
    "matrix",
    "kernel",
    "series",
    "build",
    "image",
    "machine",
    "flash",
    "verdict",
    "digest",
    "result",
    "stagecache",
    "store",
    "history",
    "pipeline",
    "schedule",
    "farm",
    "bisect",
    "ci",
    "upstream",
    "report",
    "cli",
    "__main__",
]


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    found: set[str] = set()
    depth = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level >= depth:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {str(name).split(".")[0] for name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xipmatrix."):
            found.add(str(node.module).split(".")[1])
    return found - {"__version__"}


def wrong_imports(room: str, imported: set[str]) -> set[str]:
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    return {name for name in imported if name in ROOMS and name not in allowed}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in ROOMS, f"{room} is a new room: give it its place in the way of data"
    assert not wrong_imports(room, imported_rooms(path))


def test_the_check_can_fail() -> None:
    assert wrong_imports("build", {"core", "report"}) == {"report"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_subprocesses_have_one_door(path: Path) -> None:
    if path.name == "run.py":
        return
    text = path.read_text()
    for name in ("subprocess.run", "subprocess.Popen", "os.system", "subprocess.check_"):
        assert name not in text, f"{path}: use core.run"


def test_every_file_says_its_licence() -> None:
    root = PACKAGE.parents[1]
    missing = [
        path
        for folder in ("harness", "templates", "tests", "benchmarks")
        for path in (root / folder).rglob("*")
        if path.is_file()
        and path.suffix in (".py", ".c", ".h", ".yaml", ".j2", ".md")
        and "SPDX-License-Identifier: GPL-2.0" not in path.read_text()[:400]
        # A template that renders into the middle of a kernel file cannot carry a tag.
        and path.suffix != ".j2"
    ]
    assert not missing
