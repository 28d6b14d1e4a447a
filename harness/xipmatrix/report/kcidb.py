# SPDX-License-Identifier: GPL-2.0-only
"""A run for KernelCI's database: KCIDB I/O data, schema 5.3 (kcidb-io on PyPI).

A checkout is a kernel with its series, a build is a cell's, and its tests are the path
``xip``, which is the cell's verdict, and below it each piece of evidence. What ended before
a build has no test: there the build, or the checkout, says how it went. Paths of this
machine are no URLs; they go into ``misc``, as do figures and versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.evidence import Evidence, Verdict
from ..history import Change
from ..result import CellResult, Stage
from . import figures
from .failures import digest_of, text_of

VERSION = {"major": 5, "minor": 3}
_ORIGIN = "xipmatrix"
_TEST = "xip"
_LONGEST_EXCERPT = 16384
_STATUS = {
    Verdict.PASS: "PASS",
    Verdict.INFRASTRUCTURE: "ERROR",
    Verdict.NOT_APPLICABLE: "SKIP",
}
_FULL_ID = re.compile("[0-9a-f]{40}")


def kcidb_text(
    found: Sequence[CellResult],
    run_id: str,
    began: str,
    changes: Sequence[Change] | None = None,
) -> str:
    """The run as JSON. `began` is its start, ISO 8601 with a time zone; `changes` is None
    where nobody has compared."""
    return json.dumps(kcidb(found, run_id, began, changes), indent=1, sort_keys=True) + "\n"


def kcidb(
    found: Sequence[CellResult],
    run_id: str,
    began: str,
    changes: Sequence[Change] | None = None,
) -> dict[str, Any]:
    """The same as data."""
    kinds = {one.cell: str(one.kind) for one in changes or ()}
    return {
        "version": VERSION,
        "checkouts": _checkouts(found, run_id, began),
        "builds": [_build(one, run_id) for one in found if _had_a_build(one)],
        "tests": [
            test
            for one in found
            if "build" in one.paths and one.verdict is not None
            for test in _tests(one, run_id, kinds.get(one.cell, ""))
        ],
    }


# --- checkouts --------------------------------------------------------------------------


def _checkouts(found: Iterable[CellResult], run_id: str, began: str) -> list[dict[str, Any]]:
    same: dict[str, list[CellResult]] = {}
    for result in found:
        same.setdefault(_checkout_id(result, run_id), []).append(result)
    return [_checkout(name, results, began) for name, results in same.items()]


def _checkout_id(result: CellResult, run_id: str) -> str:
    kernel, arch = result.cell.split("/")[:2]
    return f"{_ORIGIN}:{run_id}:{kernel}:{arch}"


def _checkout(name: str, results: Sequence[CellResult], began: str) -> dict[str, Any]:
    """One kernel with the series of one architecture; it is not valid where that conflicts."""
    conflict = next((one for one in results if one.verdict is Verdict.SERIES_CONFLICT), None)
    versions = next((one.versions for one in results if "kernel" in one.versions), {})
    kernel, base = versions.get("kernel", ""), versions.get("base", "")
    checkout: dict[str, Any] = {
        "id": name,
        "origin": _ORIGIN,
        "start_time": began,
        "comment": kernel or results[0].cell.split("/")[0],
        "misc": _without_empty({"base": base, "series": versions.get("series")}),
    }
    if conflict is not None:
        checkout |= {"valid": False, "log_excerpt": _excerpt(conflict)}
    elif versions:
        checkout |= {"valid": True, "git_commit_name": kernel.split(" ")[0]}
    # Of sources that are no git repository, the commit is our own and means nothing elsewhere;
    # then its origin does not name it.
    if _FULL_ID.fullmatch(base) and base[:12] in kernel:
        checkout["git_commit_hash"] = base
    if versions.get("series") == "none":
        checkout["patchset_hash"] = ""
    return checkout


# --- builds -----------------------------------------------------------------------------


def _had_a_build(result: CellResult) -> bool:
    """Whether there is something to say of a build: not where the checkout failed, and not
    where the run was told to stop before it."""
    if result.verdict is None:
        return "build" in result.paths
    return result.verdict is not Verdict.SERIES_CONFLICT


def _build_id(result: CellResult, run_id: str) -> str:
    return f"{_ORIGIN}:{run_id}:{result.cell}"


def _build(result: CellResult, run_id: str) -> dict[str, Any]:
    _, arch, board, config, toolchain = result.cell.split("/")
    built = "build" in result.paths
    build: dict[str, Any] = {
        "id": _build_id(result, run_id),
        "checkout_id": _checkout_id(result, run_id),
        "origin": _ORIGIN,
        "architecture": arch,
        "config_name": config,
        "comment": result.cell,
        "command": figures.reproduce(result),
        "status": "PASS" if built else _status(result),
        "misc": _misc(result, {"board": board, "toolchain": toolchain}),
    }
    if "compiler" in result.versions:
        build["compiler"] = result.versions["compiler"]
    if not built:
        build["log_excerpt"] = _excerpt(result)
    return build | _duration(result, Stage.BUILD)


# --- tests ------------------------------------------------------------------------------


def _tests(result: CellResult, run_id: str, change: str) -> list[dict[str, Any]]:
    """The cell's verdict, and each piece of evidence that can decide one."""
    whole: dict[str, Any] = {
        **_test(result, run_id, _TEST),
        "status": _status(result),
        "comment": _plain(result.reason.splitlines()[0] if result.reason else result.label),
        "misc": _misc(result, {"change": change, "flaky": result.verdict is Verdict.FLAKY}),
        **_duration(result, Stage.BOOT),
    }
    if result.verdict is not Verdict.PASS:
        whole["log_excerpt"] = _excerpt(result)
    return [whole, *(_of_evidence(result, run_id, one) for one in _deciding(result))]


def _deciding(result: CellResult) -> list[Evidence]:
    return [one for one in result.evidence if not one.advisory]


def _of_evidence(result: CellResult, run_id: str, one: Evidence) -> dict[str, Any]:
    ours = one.breaks is Verdict.INFRASTRUCTURE
    return {
        **_test(result, run_id, f"{_TEST}.{one.name}"),
        "status": "PASS" if one.holds else "ERROR" if ours else "FAIL",
        "comment": _plain(one.summary),
    }


def _test(result: CellResult, run_id: str, path: str) -> dict[str, Any]:
    _, _, board, _, _ = result.cell.split("/")
    return {
        "id": f"{_build_id(result, run_id)}:{path}",
        "build_id": _build_id(result, run_id),
        "origin": _ORIGIN,
        "path": path,
        "environment": {
            "comment": f"QEMU, board {board}",
            "misc": _without_empty({"qemu": result.versions.get("qemu")}),
        },
    }


# --- what they share --------------------------------------------------------------------


def _status(result: CellResult) -> str:
    """A flaky cell is FAIL: it may fail, whatever it did the second time."""
    return _STATUS.get(result.verdict, "FAIL") if result.verdict else "MISS"


def _misc(result: CellResult, more: Mapping[str, object]) -> dict[str, Any]:
    return _without_empty(
        {
            "verdict": str(result.verdict) if result.verdict else None,
            "expected": list(result.expected),
            "known_failure": result.known_reason,
            "figures": dict(result.figures),
            "versions": dict(result.versions),
            "log": result.log,
            **more,
        }
    )


def _without_empty(data: Mapping[str, object]) -> dict[str, Any]:
    """KCIDB knows no null, and what is missing says so by not being there."""
    return {name: value for name, value in data.items() if value}


def _excerpt(result: CellResult) -> str:
    return _plain("\n".join(text_of(digest_of(result))))[:_LONGEST_EXCERPT]


def _plain(text: str) -> str:
    return text.replace("\0", "")


def _duration(result: CellResult, stage: Stage) -> dict[str, float]:
    """Nothing where it came from the cache: then nobody measured it."""
    for record in result.stages:
        if record.stage is stage and not record.cached:
            return {"duration": record.seconds}
    return {}
