# SPDX-License-Identifier: GPL-2.0-only
"""The store: runs survive kill -9, a full disk, two writers, damage and newer schemas."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xipmatrix.core.errors import InfrastructureError, UsageError
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.result import CellResult, Stage, StageRecord
from xipmatrix.store import Past, Store, database, index, logs, upkeep
from xipmatrix.store.database import DamagedStore

CELL = "7.3/arm/virt/tiny/gcc"


class NamedCell:
    """All that a run asks of a cell."""

    def __init__(self, name: str) -> None:
        self.folder = name.replace("/", "__")


def result(
    verdict: Verdict | None = Verdict.PASS, cell: str = CELL, **figures: float
) -> CellResult:
    return CellResult(
        cell=cell,
        expected=["pass"],
        verdict=verdict,
        reason="because",
        stages=[StageRecord(Stage.BUILD, 100.0), StageRecord(Stage.BOOT, 2.0, cached=True)],
        evidence=[Evidence("reply", True, "right", Verdict.USERSPACE_FAILED, {"got": "1"})],
        figures={"image_bytes": 1000, "note": "text", **figures},
        versions={"kernel": "7.3.4 (Debian)", "compiler": "gcc 12"},
    )


def put(store: Store, *results: CellResult, code: int | None = 0) -> str:
    run = store.new_run("xipmatrix build", matrix="abc")
    for one in results:
        run.save(NamedCell(one.cell), one)  # type: ignore[arg-type]
    if code is not None:
        run.finish(code)
    return run.id


def test_a_run_comes_back_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = put(store, result(), result(Verdict.BOOT_PANIC, "7.3/riscv/virt/tiny/gcc"), code=1)
    (row,) = store.runs()
    assert (row.id, row.exit_code, row.command, row.interrupted) == (
        run,
        1,
        "xipmatrix build",
        False,
    )
    assert row.counts == {"pass": 1, "boot-panic": 1}
    past = store.past(cell=CELL)[0]
    assert past.figures == {"image_bytes": 1000}
    assert past.versions["compiler"] == "gcc 12"
    assert (past.good, past.measured, past.as_expected) == (True, True, True)
    assert store.last_result(CELL)[1] == result()
    assert upkeep.check(store) == []


def test_history_is_newest_first_and_ends_before_a_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ids = [put(store, result(image_bytes=size)) for size in (1, 2, 3)]
    assert [past.run for past in store.past(cell=CELL)] == ids[::-1]
    assert [past.run for past in store.past(cell=CELL, before=ids[2])] == [ids[1], ids[0]]
    assert [past.figures["image_bytes"] for past in store.past(cell=CELL, limit=1)] == [3]
    assert store.past(cell="another") == []


def test_a_run_is_found_by_its_beginning_or_by_its_age(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="there is no run latest: 0 are stored"):
        store.run("latest")
    first, second = put(store, result()), put(store, result())
    assert store.run("latest").id == second
    assert store.run("latest~1").id == first
    assert store.run(first).id == first
    with pytest.raises(UsageError, match="several runs begin with"):
        store.run(first[:4])
    with pytest.raises(UsageError, match="there is no run 'never'"):
        store.run("never")
    with pytest.raises(UsageError, match=r"no result of 9\.9/x is stored"):
        store.last_result("9.9/x")


def test_what_a_cell_costs_is_known_from_where_it_was_built(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seconds in (100.0, 500.0, 120.0):
        put(store, replace(result(), stages=[StageRecord(Stage.BUILD, seconds)]))
    put(store, replace(result(), stages=[StageRecord(Stage.BUILD, 0.1, cached=True)]))
    assert store.seconds() == {CELL: 120.0}


# --- kill -9, full disk, two writers --------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_store import put, result
from xipmatrix.store import Store
store, count = Store(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
for _ in range(count):
    put(store, result())
"""


def writer(state: Path, count: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(state), str(count), str(Path(__file__).parent)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_writers_wait_for_each_other(tmp_path: Path) -> None:
    both = [writer(tmp_path, 8), writer(tmp_path, 8)]
    assert [one.wait() for one in both] == [0, 0]
    store = Store(tmp_path)
    assert len(store.runs()) == 16
    assert len(store.past(cell=CELL)) == 16
    assert upkeep.check(store) == []


def test_what_a_run_has_written_is_seen_before_it_ends(tmp_path: Path) -> None:
    run = Store(tmp_path).new_run()
    run.save(NamedCell(CELL), result())  # type: ignore[arg-type]
    log = tmp_path / "store.sqlite-wal"
    assert log.stat().st_size  # not moved into the file with every result
    code = (
        "import sys; from pathlib import Path; from xipmatrix.store import Store;"
        "print(*(one.cell for one in Store(Path(sys.argv[1])).past()))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True
    )
    assert seen.stdout.split() == [CELL]
    assert log.exists()
    run.finish(0)
    assert not log.exists()


def test_kill_9_at_any_moment_leaves_a_whole_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, result())
    for _ in range(6):
        process = writer(tmp_path, 1000)
        while len(store.runs()) % 3 != 0:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert database.problems(store.path) == []
        put(store, result())
    # A folder can be ahead of the index by what was being written; rebuilding takes it in.
    upkeep.rebuild(store)
    assert [line for line in upkeep.check(store) if "result" in line] == []


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, result())
    with (
        pytest.raises(InfrastructureError, match="the disk is full"),
        database.database(store.path, write=True) as db,
    ):
        # SQLite's own limit gives the same error as a full disk, at the same places.
        db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        for number in range(10_000):
            index.put_result(db, store.runs()[0].id, result(cell=f"{number}/{'x' * 100}"))
    assert [past.cell for past in store.past()] == [CELL]
    put(store, result())
    assert upkeep.check(store) == []


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = put(store, result())
    with pytest.raises(RuntimeError), database.database(store.path, write=True) as db:
        index.put_result(db, run, result(Verdict.BOOT_PANIC))
        raise RuntimeError
    assert store.past(cell=CELL)[0].verdict is Verdict.PASS


# --- schema versions ------------------------------------------------------------------------


def test_every_step_leads_from_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, all_steps = Store(tmp_path), database.steps()
    monkeypatch.setattr(database, "steps", lambda: all_steps[:1])
    with database.database(store.path, write=True) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        db.execute(
            "INSERT INTO run VALUES ('20260101T000000-1', '2026-01-01T00:00:00.000000+00:00', NULL,"
            " NULL, '', '', '0.1', '', '')"
        )
    monkeypatch.setattr(database, "steps", lambda: all_steps)
    assert [row.id for row in store.runs()] == ["20260101T000000-1"]
    put(store, result())
    assert store.seconds() == {CELL: 100.0}


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, all_steps = Store(tmp_path), database.steps()
    put(store, result())
    broken = (*all_steps, "CREATE TABLE more (x); SELECT * FROM nowhere;")
    monkeypatch.setattr(database, "steps", lambda: broken)
    with pytest.raises(InfrastructureError, match="no such table: nowhere"):
        store.runs()
    monkeypatch.setattr(database, "steps", lambda: all_steps)
    assert len(store.runs()) == 1


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, result())
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    with pytest.raises(InfrastructureError, match=r"newer xipmatrix \(schema 99"):
        store.runs()
    assert store.path.read_bytes() == before


# --- damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["garbage", "pages", "cut", "foreign"])
def test_a_damaged_index_is_named_and_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    ids = {put(store, *(result(cell=f"{n}/{'y' * 60}") for n in range(60))), put(store, result())}
    for end in ("-wal", "-shm"):
        Path(f"{store.path}{end}").unlink(missing_ok=True)
    raw = store.path.read_bytes()
    if damage == "garbage":
        store.path.write_bytes(b"not a database, " * 512)
    elif damage == "pages":
        store.path.write_bytes(raw[:4096] + os.urandom(len(raw) - 4096))
    elif damage == "cut":
        store.path.write_bytes(raw[: len(raw) // 2])
    else:
        store.path.unlink()
        with sqlite3.connect(store.path) as db:
            db.execute("CREATE TABLE other (x)")
    assert upkeep.check(store)
    with pytest.raises(DamagedStore, match="--rebuild"):
        store.past(cell=CELL)
        store.runs()
        list(store.past())
    said: list[str] = []
    assert upkeep.rebuild(store, said.append) == 2
    assert {row.id for row in store.runs()} == ids
    assert len(store.past()) == 61
    assert upkeep.check(store) == []
    assert "set aside" in said[0]
    assert list(tmp_path.glob("store.sqlite.*.old"))


def test_check_finds_what_index_and_folders_do_not_share(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lost, damaged, more = put(store, result()), put(store, result()), put(store, result())
    stray = store.runs_folder / "20250101T000000-1"
    stray.mkdir()
    for path in sorted(store.folder(lost).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    store.folder(lost).rmdir()
    (store.folder(damaged) / "cells" / NamedCell(CELL).folder / "result.json").write_text('{"half')
    with database.database(store.path, write=True) as db:
        db.execute("DELETE FROM result WHERE run = ?", (more,))
    found = "\n".join(upkeep.check(store))
    assert f"{lost}: the folder of this run is gone" in found
    assert f"{stray}: not in the index" in found
    assert "not a readable result" in found
    assert f"{more}: {CELL} is not in the index" in found


def test_runs_from_before_there_was_an_index_are_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XIPMATRIX_STATE", str(tmp_path))
    for stamp, one in (
        ("20260101T000000-1", result()),
        ("20260102T030405-1", result(Verdict.BOOT_PANIC)),
    ):
        folder = tmp_path / "runs" / stamp / "cells" / "x"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(one.as_dict()))
    (folder.parents[1] / "run.json").write_text('{"exit_code": 1, "cells": []}')
    said: list[str] = []
    store = upkeep.open_store(said.append)
    assert [(row.began[:19], row.exit_code) for row in store.runs()] == [
        ("2026-01-02T03:04:05", 1),
        ("2026-01-01T00:00:00", None),
    ]
    assert store.last_result(CELL)[1].verdict is Verdict.BOOT_PANIC
    (folder / "result.json").write_text('{"half')
    assert store.last_result(CELL, said.append)[1].verdict is Verdict.PASS
    assert "not a readable result" in said[-1]


# --- upkeep ---------------------------------------------------------------------------------


def test_prune_keeps_the_newest_and_the_last_that_passed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, good, bad, worse = (
        put(store, result()),
        put(store, result()),
        put(store, result(Verdict.BOOT_PANIC)),
        put(store, result(Verdict.BOOT_PANIC)),
    )
    assert upkeep.prune(store, 1, dry_run=True) == [bad, old]
    assert len(store.runs()) == 4
    assert upkeep.prune(store, 1) == [bad, old]
    assert [row.id for row in store.runs()] == [worse, good]
    assert not store.folder(old).exists()
    assert upkeep.check(store) == []
    assert upkeep.prune(store, 0) == [worse, good]
    assert store.runs() == []


def test_logs_are_compressed_and_read_all_the_same(tmp_path: Path) -> None:
    run, cell = Store(tmp_path).new_run(), NamedCell(CELL)
    folder = run.cell_folder(cell)  # type: ignore[arg-type]
    console, script, small = folder / "console.log", folder / "qemu.sh", folder / "small.log"
    text = "Booting Linux\n" * 1000
    console.write_text(text)
    script.write_text("#!/bin/sh\n" + "#" * 5000)
    small.write_text("short\n")
    one = replace(result(), log=str(console), paths={"console": str(console), "s": str(small)})
    assert logs.read(console) == text
    run.save(cell, one)  # type: ignore[arg-type]
    assert not console.exists()
    assert (one.log, one.paths["s"]) == (f"{console}.gz", str(small))
    packed = Path(one.paths["console"])
    assert packed.stat().st_size < len(text) // 10
    assert logs.read(packed) == text
    assert (script.exists(), logs.read(small)) == (True, "short\n")
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InfrastructureError, match="cannot be read"):
        logs.read(packed)


def test_a_result_says_of_itself_what_the_index_would() -> None:
    past = Past.of(result(Verdict.INFRASTRUCTURE), "run", "now")
    assert (past.measured, past.good, past.figures) == (False, False, {"image_bytes": 1000})
