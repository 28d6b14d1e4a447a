# SPDX-License-Identifier: GPL-2.0-only
"""Results of KUnit suites on a console, as the kernel tree's own parser reads them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from ..core import run
from ..core.errors import InfrastructureError

PARSER = Path("tools/testing/kunit/kunit.py")
_JSON, _LOG = "kunit.json", "kunit.log"
# The parser gives no name to what was to come when the console was cut.
_CUT = "(cut off)"
_WHOLE = "(as a whole)"

# By suite, case, and parameter where there is one: PASS, FAIL, SKIP, or ERROR for a crash.
Results = dict[tuple[str, ...], str]


def read_results(source: Path, console: Path, work: Path) -> Results:
    """What the suites on `console` said; empty where none ran.

    The parser is that of the kernel tree `source`; it leaves kunit.json and kunit.log in
    folder `work`. Raises InfrastructureError where it fails.
    """
    answer, log = (work / name for name in (_JSON, _LOG))
    for old in (answer, log):
        old.unlink(missing_ok=True)
    parser = source.resolve() / PARSER
    words = [str(parser), "parse", f"--json={answer.resolve()}", str(console.resolve())]
    # The source folder is only to be read. An exit status of 1 means that a case failed.
    run.run([sys.executable, *words], log=log, env={"PYTHONDONTWRITEBYTECODE": "1"}, timeout=120)
    try:
        group = json.loads(answer.read_text())
        found: Results = {}
        _gather(group, (), found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InfrastructureError(
            f"the kernel's KUnit parser gave no results: {error}", where=log
        ) from error
    return found


def _gather(group: dict[str, Any], path: tuple[str, ...], into: Results) -> int:
    """Put the results of `group` and all below `into`; returns how many failed."""
    failed = 0
    for case in group["test_cases"]:
        _put(into, (*path, case["name"] or _CUT), case["status"])
        failed += case["status"] == "FAIL"
    for sub in group["sub_groups"]:
        failed += _gather(sub, (*path, sub["name"] or _CUT), into)
    # A suite fails too where all cases pass and its exit does not. Old parsers do not say so.
    if path and group.get("misc", {}).get("failed", 0) > failed:
        _put(into, (*path, _WHOLE), "FAIL")
        failed += 1
    return failed


def _put(into: Results, path: tuple[str, ...], status: str) -> None:
    """Names of parameters need not differ: the second one of a name is numbered."""
    *above, name = path
    number = 1
    while path in into:
        number += 1
        path = (*above, f"{name} ({number})")
    into[path] = status
