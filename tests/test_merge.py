# SPDX-License-Identifier: GPL-2.0-only
"""Merging shards: one whole run, nothing lost silently, nothing that does not belong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from test_store import result
from xipmatrix.core.errors import UsageError
from xipmatrix.core.evidence import Verdict
from xipmatrix.history import Kind, changes_of
from xipmatrix.result import CellResult
from xipmatrix.store import Past, Store, upkeep
from xipmatrix.store.merging import check, find_parts, merge
from xipmatrix.store.runs import RUN_FILE

CELLS = [f"7.3/arm/board-{number}/tiny/gcc" for number in range(5)]
PLAN = [(cell, number % 3 + 1) for number, cell in enumerate(CELLS)]


def shard(
    state: Path,
    number: int,
    *,
    code: int | None = 0,
    skip: tuple[str, ...] = (),
    change: Callable[[CellResult], CellResult] = lambda one: one,
    plan: list[tuple[str, int]] = PLAN,
    **row: str,
) -> Path:
    """A state folder with the run of shard `number` of three; `code` None: interrupted."""
    store = Store(state)
    run = store.new_run(
        "xipmatrix build", **{"matrix": "abc", "shard": f"{number}/3", **row}, plan=plan
    )
    for cell, place in plan:
        if place != number or cell in skip:
            continue
        folder = run.folder / "cells" / cell.replace("/", "__")
        folder.mkdir(parents=True)
        (folder / "console.log").write_text(f"console of {cell}")
        one = result(cell=cell)
        one.versions |= {"base": "b" * 40, "commit": "c" * 40}
        one.log = str(folder / "console.log")
        one.paths = {"console": one.log, "boot": str(folder), "vmlinux": "/elsewhere/vmlinux"}
        run.put(folder, change(one))
    if code is not None:
        run.finish(code)
    return state


def three(tmp_path: Path) -> list[Path]:
    return [shard(tmp_path / f"machine-{number}", number) for number in (1, 2, 3)]


def test_all_shards_make_one_whole_run(tmp_path: Path) -> None:
    states = three(tmp_path)
    store = Store(tmp_path / "here")
    parts = find_parts(states)
    run, found = merge(store, parts, "xipmatrix merge")
    assert [one.cell for one in found] == CELLS
    assert {one.verdict for one in found} == {Verdict.PASS}
    (row,) = store.runs()
    assert (row.exit_code, row.shard, row.matrix) == (0, "", "abc")
    assert row.began == min(part.row.began for part in parts)
    assert row.counts == {"pass": 5}
    assert upkeep.check(store) == []
    assert upkeep.rebuild(store) == 1
    assert [past.cell for past in store.past(run=run.id)] == CELLS


def test_paths_lead_into_the_new_place_and_logs_come_with_them(tmp_path: Path) -> None:
    states = three(tmp_path)
    downloaded = tmp_path / "artefacts"
    for state in states:  # on another machine, at another place
        shutil.move(state, downloaded / state.name)
    run, found = merge(Store(tmp_path / "here"), find_parts([downloaded]))
    for one in found:
        assert Path(one.log).is_relative_to(run.folder)
        assert Path(one.log).read_text() == f"console of {one.cell}"
        assert one.paths["boot"] == str(Path(one.log).parent)
        assert one.paths["vmlinux"] == "/elsewhere/vmlinux"
        assert str(tmp_path / "machine") not in json.dumps(one.as_dict())


def test_a_missing_shard_is_not_lost_silently(tmp_path: Path) -> None:
    states = three(tmp_path)
    run, found = merge(Store(tmp_path / "here"), find_parts(states[:2]))
    lost = [one for one in found if one.verdict is Verdict.INFRASTRUCTURE]
    assert [one.cell for one in lost] == [cell for cell, number in PLAN if number == 3]
    assert lost[0].reason == "shard 3/3 left no result"
    assert run.store.runs()[0].exit_code == 3


def test_a_cell_that_a_shard_never_came_to_is_not_lost_silently(tmp_path: Path) -> None:
    states = [
        shard(tmp_path / "1", 1, code=None, skip=(CELLS[3],)),
        shard(tmp_path / "2", 2, code=1, skip=(CELLS[1],)),
        shard(tmp_path / "3", 3),
    ]
    _, found = merge(Store(tmp_path / "here"), find_parts(states))
    why = {one.cell: one.reason for one in found if one.verdict is Verdict.INFRASTRUCTURE}
    assert set(why) == {CELLS[1], CELLS[3]}
    assert why[CELLS[3]].startswith("shard 1/3 was interrupted before this cell had a result")
    assert why[CELLS[1]].startswith("shard 2/3 ended without a result of this cell")


def test_a_result_that_cannot_be_read_is_not_lost_silently(tmp_path: Path) -> None:
    states = three(tmp_path)
    (path, *_) = states[0].glob("runs/2*/cells/*/result.json")
    path.write_text(path.read_text()[:100])
    said: list[str] = []
    _, found = merge(Store(tmp_path / "here"), find_parts(states, said.append))
    assert [one.verdict for one in found].count(Verdict.INFRASTRUCTURE) == 1
    assert any(str(path) in line for line in said)


def test_the_newest_complete_run_of_a_shard_counts(tmp_path: Path) -> None:
    def slower(one: CellResult) -> CellResult:
        return replace(one, figures={"image_bytes": 2000})

    states = three(tmp_path)
    shard(states[0], 1, change=slower)
    shard(states[0], 1, code=None)
    said: list[str] = []
    _, found = merge(Store(tmp_path / "here"), find_parts(states, said.append))
    assert found[0].figures == {"image_bytes": 2000}
    assert sum("another run of shard 1/3 counts" in line for line in said) == 2


def test_a_shard_of_another_night_does_not_take_the_place_of_a_missing_one(
    tmp_path: Path,
) -> None:
    states = three(tmp_path)
    (path,) = states[1].glob(f"runs/2*/{RUN_FILE}")
    data = json.loads(path.read_text())
    data["began"] = "2020-01-01T00:00:00.000000+00:00"
    path.write_text(json.dumps(data))
    said: list[str] = []
    _, found = merge(Store(tmp_path / "here"), find_parts(states, said.append))
    assert any("of another night, 2020-01-01" in line for line in said)
    lost = [one for one in found if one.verdict is Verdict.INFRASTRUCTURE]
    assert [one.reason for one in lost] == ["shard 2/3 left no result"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": "other"}, r"matrix \(SHA-256 of matrix.yaml\) is\s+abc in .*run\.json"),
        ({"shard": "2/4"}, r"number of shards is\s+3 in .*run\.json, but\s+4 in .*run\.json"),
        ({"plan": PLAN[:4]}, r"'plan' of .*run\.json and .*has other cells: 7\.3/arm/board-4"),
        ({"plan": [(c, 4 - n) for c, n in PLAN]}, "cuts the same cells in another way"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    tmp_path: Path, change: dict[str, str], message: str
) -> None:
    states = [shard(tmp_path / "1", 1), shard(tmp_path / "2", 2, **change)]  # type: ignore[arg-type]
    store = Store(tmp_path / "here")
    with pytest.raises(UsageError, match=message):
        merge(store, find_parts(states))
    assert store.runs() == []


def test_another_version_of_the_tool_is_refused(tmp_path: Path) -> None:
    states = three(tmp_path)
    (path,) = states[1].glob(f"runs/2*/{RUN_FILE}")
    path.write_text(path.read_text().replace('"xipmatrix": "', '"xipmatrix": "9'))
    with pytest.raises(UsageError, match="xipmatrix is"):
        check(find_parts(states))


@pytest.mark.parametrize("name", ["base", "commit"])
def test_another_kernel_is_refused(tmp_path: Path, name: str) -> None:
    def moved(one: CellResult) -> CellResult:
        return replace(one, versions=one.versions | {name: "d" * 40})

    states = [shard(tmp_path / "1", 1), shard(tmp_path / "2", 2, change=moved)]
    with pytest.raises(UsageError, match=rf"versions\.{name} of 7\.3.* is\s+\w+ in .*result\.json"):
        check(find_parts(states))


def test_whole_runs_are_passed_over_and_none_is_an_error(tmp_path: Path) -> None:
    shard(tmp_path / "whole", 1, shard="")
    with pytest.raises(UsageError, match="no run of a shard lies here, and 1 whole runs"):
        find_parts([tmp_path])
    with pytest.raises(UsageError, match="no such folder"):
        find_parts([tmp_path / "nowhere"])


def test_shards_in_the_same_store_are_not_their_own_past(tmp_path: Path) -> None:
    """Else what broke in this night would be 'still broken' in its merged report."""
    store = Store(tmp_path)
    for number in (1, 2, 3):
        shard(tmp_path, number)
    merge(store, find_parts([tmp_path]))

    def broken(one: CellResult) -> CellResult:
        return replace(one, verdict=Verdict.BOOT_PANIC)

    for number in (1, 2, 3):
        shard(tmp_path, number, change=broken)
    for _ in range(2):  # merged once more, it says the same
        run, found = merge(store, find_parts([tmp_path]))
        current = [Past.of(one, run.id, run.row.began) for one in found]
        kinds = {change.kind for change in changes_of(store, current, run.id, {})}
        assert kinds == {Kind.BROKEN}
