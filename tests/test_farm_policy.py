# SPDX-License-Identifier: GPL-2.0-only
"""Who gets which cell, and who is not to be trusted: decisions without a single process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import ARM, RISCV
from xipmatrix.farm import facts as machine
from xipmatrix.farm import policy
from xipmatrix.farm.facts import Facts, Needed, Tool
from xipmatrix.farm.policy import EVERYTHING, Fault, Ledger, Worker
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.schedule.policy import Queue, Task, choose

GCC = Tool("gcc 12", "aaaa")
OURS = Facts(
    host="here",
    code="c0de",
    tuxmake="1.30",
    tools={"arm-gcc": GCC},
    missing={},
    cache="/cache",
    free=100 << 30,
    memory=16 << 30,
    cores=8,
    clock=0.0,
)
NEEDS = frozenset({"arm-gcc", "qemu-system-arm"})


def worker(name: str, **more: object) -> Worker:
    one = Worker(name, 2, tags=NEEDS, memory=16 << 30)
    for key, value in more.items():
        setattr(one, key, value)
    return one


def chosen(workers: list[Worker]) -> str | None:
    cell = Task("x", 100.0, memory=policy.MEMORY, needs=NEEDS)
    found = choose(Queue([cell]), workers)
    return found[1].name if found else None


@pytest.mark.parametrize(
    "wrong",
    [
        {"tags": frozenset({"riscv-gcc", "qemu-system-arm"})},
        {"tags": frozenset({"arm-gcc"})},
        {"memory": 1 << 30},
        {"busy": 2},
        {"faults": [Fault(EVERYTHING, "x")]},
        {"faults": [Fault("arm-gcc", "x")]},
    ],
    ids=["tools", "qemu", "memory", "busy", "fault", "compiler"],
)
def test_who_does_not_fit_gets_nothing(wrong: dict[str, object]) -> None:
    bad = worker("bad", **wrong)
    assert chosen([bad]) is None
    assert chosen([bad, worker("good")]) == "good"
    assert bad.lacks(NEEDS) or bad.busy == bad.slots


def test_a_fault_of_another_toolchain_does_not_matter() -> None:
    assert chosen([worker("a", faults=[Fault("riscv-gcc", "x")])]) == "a"


def test_the_tags_of_a_cell(loaded: LoadedMatrix) -> None:
    (arm,) = loaded.select(Wanted(cells=(ARM,)))
    (riscv,) = loaded.select(Wanted(cells=(RISCV,)))
    assert set(policy.needs(arm)) == NEEDS
    wanted = policy.needed([arm, riscv, arm])
    assert [one[0] for one in wanted.compilers] == ["arm-gcc", "riscv-gcc"]
    assert wanted.qemu == ("qemu-system-arm", "qemu-system-riscv64")


# --- trust ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "skew", "tag", "said"),
    [
        ({"code": "beef"}, 0.0, EVERYTHING, "another xipmatrix"),
        ({"tuxmake": "9"}, 0.0, EVERYTHING, "tuxmake 9"),
        ({}, 3600.0, EVERYTHING, "3600 s fast"),
        ({}, -31.0, EVERYTHING, "31 s slow"),
        ({"free": 1 << 30}, 0.0, EVERYTHING, "its disk is full: 1.0 GiB"),
        ({"unwritable": "read-only"}, 0.0, EVERYTHING, "read-only"),
        ({"tools": {"arm-gcc": Tool("gcc 13", "aaaa")}}, 0.0, "arm-gcc", "gcc 13"),
        ({"tools": {"arm-gcc": Tool("gcc 12", "bbbb")}}, 0.0, "arm-gcc", "makes other code"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(
    change: dict[str, object], skew: float, tag: str, said: str
) -> None:
    reference = policy.references(OURS, [], {})
    assert policy.faults(OURS, 0.0, OURS, reference) == []
    (fault,) = policy.faults(replace(OURS, **change), skew, OURS, reference)  # type: ignore[arg-type]
    assert fault.tag == tag
    assert said in fault.reason


def test_the_compiler_of_a_run_is_ours_else_that_of_most_and_then_stays() -> None:
    none = replace(OURS, tools={})
    old, new = Tool("gcc 11"), Tool("gcc 13")
    others = [replace(OURS, tools={"arm-gcc": one}) for one in (old, new, old)]
    assert policy.references(OURS, others, {})["arm-gcc"] == GCC.identity
    assert policy.references(none, others, {})["arm-gcc"] == old.identity
    assert policy.references(none, others[1:], {})["arm-gcc"] == new.identity
    pinned = {"arm-gcc": new.identity}
    assert policy.references(none, others, pinned)["arm-gcc"] == new.identity


def test_faults_in_a_row_and_deaths_are_the_workers() -> None:
    ledger = Ledger()
    assert ledger.failed("a", "no tool") is None
    ledger.good("a")
    assert ledger.failed("a", "no tool") is None
    fault = ledger.failed("a", "no tool")
    assert fault is not None
    assert "2 faults in a row, the last: no tool" in fault.reason
    assert ledger.died("b") is None
    fault = ledger.died("b")
    assert fault is not None
    assert "died 2 times" in fault.reason


# --- facts ------------------------------------------------------------------------------


def fake(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_two_compilers_of_one_version_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Needed((("x86_64-gcc", "x86_64", "gcc", "gcc"),))
    honest = machine.measure(needed, tmp_path / "cache").tools["x86_64-gcc"]
    again = machine.measure(needed, tmp_path / "cache").tools["x86_64-gcc"]
    assert honest == again
    # The same banner, but it makes other code.
    gcc = machine.run.need_tool("x86_64-linux-gnu-gcc")
    fake(tmp_path / "bin", gcc.name, f'exec {gcc} "$@" $(test "$1" = -O2 && echo -O0)')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    other = machine.measure(needed, tmp_path / "cache").tools["x86_64-gcc"]
    assert other.version == honest.version
    assert other.fingerprint != honest.fingerprint


def test_what_is_missing_is_a_fact(tmp_path: Path) -> None:
    needed = Needed((("sh-gcc", "sh", "gcc", "gcc-sh4-linux-gnu"),), ("qemu-system-none",))
    found = machine.measure(needed, tmp_path / "cache")
    assert "not installed" in found.missing["qemu-system-none"]
    assert set(found.tools) | set(found.missing) == {"sh-gcc", "qemu-system-none"}
    assert Facts.from_dict(found.as_dict()) == found


def test_a_cache_that_cannot_be_written_is_a_fact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert machine.measure(Needed(), tmp_path / "file" / "cache").unwritable


def test_cells_that_were_built_are_remembered(tmp_path: Path) -> None:
    assert machine.built_before(tmp_path) == []
    for name in (ARM, RISCV, ARM):
        machine.remember_built(tmp_path, name)
    assert machine.built_before(tmp_path) == [ARM, RISCV]
