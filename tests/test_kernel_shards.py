# SPDX-License-Identifier: GPL-2.0-only
"""Shards with real kernels: merged they say what one run says, by hand and by the workflows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nights
from conftest import ARM, RISCV
from nights import Night
from xipmatrix.build.compile import Built
from xipmatrix.ci import Workflow, render
from xipmatrix.matrix.model import Cell
from xipmatrix.store import Store, upkeep

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("cells")]

FIXED = ("image_bytes", "in_place_bytes", "ram_bytes", "mem_total_kb")


@pytest.fixture(scope="module")
def cells(arm_cell: tuple[Cell, Built], riscv_cell: tuple[Cell, Built]) -> None:
    """Both smoke cells are built: only boots are left."""


def cli(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "xipmatrix", *words],
        env={**os.environ, "XIPMATRIX_STATE": str(state), "XIPMATRIX_INSTALL": "no"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def same(data: dict[str, Any]) -> dict[str, Any]:
    """A run's JSON without ids, times, places of runs and what every boot measures anew."""
    text = json.dumps(data["cells"]).replace(data["folder"], "RUN")
    found = {"exit_code": data["exit_code"], "xipmatrix": data["xipmatrix"], "cells": []}
    for cell in json.loads(text):
        # A summary names what ran in RAM by its count, and no two boots count the same.
        evidence = [(one["name"], one["holds"], one["breaks"]) for one in cell["evidence"]]
        stages = [(one["stage"], one["cached"]) for one in cell["stages"]]
        fixed = {name: cell["figures"][name] for name in FIXED}
        names = sorted(cell["figures"])
        found["cells"].append(
            cell | {"evidence": evidence, "stages": stages, "figures": [fixed, names]}
        )
    return found


def junit(path: Path) -> list[tuple[str | None, str | None, list[str], list[str | None]]]:
    return [
        (
            case.get("classname"),
            case.get("name"),
            [one.tag for one in case if one.tag != "properties"],
            [one.get("name") for one in case.iter("property")],
        )
        for case in ET.parse(path).getroot().iter("testcase")
    ]


def test_shards_merged_give_the_report_of_one_run(tmp_path: Path) -> None:
    reports = {
        name: ["--json", str(tmp_path / f"{name}.json"), "--junit", str(tmp_path / f"{name}.xml")]
        for name in ("whole", "merged")
    }
    whole = cli(tmp_path / "whole", "build", "--again", *reports["whole"])
    assert whole.returncode == 0, whole.stdout + whole.stderr
    for number in (1, 2, 3):  # one of them is empty: there are two cells
        shard = cli(tmp_path / f"s{number}", "build", "--again", "--shard", f"{number}/3")
        assert shard.returncode == 0, shard.stdout + shard.stderr
    assert "shard 3/3: nothing to do" in shard.stdout
    states = [str(tmp_path / f"s{number}") for number in (1, 2, 3)]
    merged = cli(tmp_path / "merged", "merge", *states, *reports["merged"])
    assert merged.returncode == 0, merged.stdout + merged.stderr

    one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in reports)
    assert [cell["cell"] for cell in other["cells"]] == [ARM, RISCV]
    assert same(other) == same(one)
    assert junit(tmp_path / "merged.xml") == junit(tmp_path / "whole.xml")
    for cell in other["cells"]:
        for name in ("console", "boot"):
            assert Path(cell["paths"][name]).is_relative_to(other["folder"])
            assert Path(cell["paths"][name]).exists()
    assert closing(merged.stdout) == closing(whole.stdout)
    assert upkeep.check(Store(tmp_path / "merged")) == []
    shown = cli(tmp_path / "merged", "show", ARM, "--console")
    assert "Linux version" in shown.stdout


def closing(text: str) -> tuple[list[list[str]], list[str]]:
    """The table's cells and verdicts, and the lines that count."""
    rows = [line.split()[:2] for line in text.splitlines() if line.startswith("7.3/")]
    return rows, [line for line in text.splitlines() if " pass, " in line]


WORKFLOW = Workflow(
    filters=("--profile", "smoke"), shards=2, limit=60, schedule="", runner="x", image="", keep=5
)
VENDORS: dict[str, Callable[[str, Night], None]] = {
    "github": nights.github,
    "gitlab": nights.gitlab,
    "jenkins": nights.jenkins,
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_scripts_of_a_workflow_make_a_night(vendor: str, tmp_path: Path) -> None:
    night = Night(tmp_path / "first")
    VENDORS[vendor](render(vendor, WORKFLOW), night)
    assert len(night.codes) == 4, night.codes
    assert set(night.codes.values()) == {0}, night.output
    report = next(text for name, text in night.output.items() if "report" in name)
    assert "2 cells: 2 pass, all as expected" in report
    (row,) = Store(night.history).runs()
    assert row.counts == {"pass": 2}
    if vendor == "github":
        assert "2 pass" in night.summary

    # The next night loses a machine: with what is known of the night before.
    second = Night(tmp_path / "second", lost=frozenset([2]))
    night.history.rename(tmp_path / "kept")
    second.root.mkdir()
    (tmp_path / "kept").rename(second.history)
    VENDORS[vendor](render(vendor, WORKFLOW), second)
    name, report = next((n, text) for n, text in second.output.items() if "report" in n)
    assert second.codes[name] == 3
    assert "shard 2/2 left no result" in report
    assert [run.counts for run in Store(second.history).runs()] == [
        {"pass": 1, "infrastructure": 1},
        {"pass": 2},
    ]
