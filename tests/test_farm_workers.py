# SPDX-License-Identifier: GPL-2.0-only
"""Runs on real workers: killed, cut off, poisoned. The trees are tiny, all else is the product.

A cell that shall be under way for as long as a test wants waits for its source folder, whose
lock the test holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from conftest import ARM, RISCV, ROOT, TEMPLATES
from farm_support import (
    Processes,
    Submitted,
    farm,
    namespaces,
    submit,
    tiny,
    until,
    worker_pid,
    workers_of,
)
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Verdict
from xipmatrix.farm.content import Blobs, Corrupt
from xipmatrix.farm.engine import Patience
from xipmatrix.farm.facts import own_code
from xipmatrix.farm.link import Link
from xipmatrix.farm.record import FARM_FILE, shares
from xipmatrix.kernel import source_folder
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Prepared
from xipmatrix.result import CellResult
from xipmatrix.store import Store

pytest.importorskip("distributed", reason="the extra 'farm' is not installed")
pytestmark = [pytest.mark.farm, pytest.mark.xdist_group("farm")]

PATIENCE = Patience(scheduler=60, workers=20)


@pytest.fixture
def cells(loaded: LoadedMatrix) -> list[Cell]:
    return loaded.select(Wanted(cells=(ARM, RISCV)))


@pytest.fixture
def kernel(tmp_path: Path) -> Prepared:
    return tiny(tmp_path / "kernel.git")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "farm").mkdir()
    return tmp_path / "farm"


@contextlib.contextmanager
def held_up(found: Processes, workers: list[str], tree: str) -> Iterator[None]:
    """Cells of what has the git tree `tree` wait on `workers` for their source folder."""
    with contextlib.ExitStack() as stack:
        for name in workers:
            lock = Path(f"{source_folder(found.cache(name), tree).parent}.lock")
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock))
        yield


def events(run: Submitted, what: str) -> list[dict[str, str]]:
    record = json.loads((run.pipeline.run.folder / FARM_FILE).read_text())
    return [one for one in record["events"] if one["what"] == what]


def where(run: Submitted, cell: str) -> str:
    """The worker that the cell was sent to last."""
    sent = [detail for name, stage, detail in run.told.lines if (name, stage) == (cell, "sent")]
    return sent[-1].removeprefix("to ")


def begin(
    loaded: LoadedMatrix,
    folder: Path,
    found: Processes,
    cells: list[Cell],
    kernel: Prepared,
    patience: Patience = PATIENCE,
    done: Callable[[Cell, CellResult], None] = lambda cell, result: None,
) -> Submitted:
    return submit(loaded, TEMPLATES, folder, found.address, cells, kernel, patience, done=done)


def kept(run: Submitted, cell: Cell) -> CellResult:
    _, found = Store(run.pipeline.run.store.state).last_result(cell.id)
    return found


def test_a_run_on_two_workers(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place, ["a", "b"]) as found:
        run = begin(loaded, tmp_path, found, cells, kernel)
        results = run.wait()
        assert [one.cell for one in results] == [ARM, RISCV]
        assert all(one.verdict is None and one.as_expected for one in results)
        # One each: an idle worker comes before one that has the tree.
        assert {one.versions["worker"] for one in results} == {"a", "b"}
        for cell, result in zip(cells, results, strict=True):
            tip = kernel.tip(cell.series)
            there = source_folder(found.cache(result.versions["worker"]), kernel.tree(cell.series))
            assert (there / f"arch/{cell.arch}.c").read_text() == f"int {cell.arch};\n"
            assert kept(run, cell).versions["commit"] == tip
            # Nothing of the run is left on the worker but what any other run can use.
            for kind in ("outbox", "work"):
                assert not list((found.cache("a") / "farm").glob(f"{kind}/*"))
        lines = shares(run.pipeline.run.folder)
        assert sorted(lines) == ["worker a: cells 1", "worker b: cells 1"]


def test_workers_that_share_a_cache_leave_each_others_work_alone(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    """The second begins when the first is in the middle of a cell."""
    with farm(place) as found:
        shared, work = found.cache("shared"), "farm/work/**/runs/*"
        found.worker("a", {"XIPMATRIX_CACHE": str(shared)})
        with held_up(found, ["shared"], kernel.tree(cells[0].series)):
            run = begin(loaded, tmp_path, found, cells[:1], kernel)
            run.until_said("waiting for another cell")
            (first,) = shared.glob(work)
            found.worker("b", {"XIPMATRIX_CACHE": str(shared)})
            until(lambda: set(shared.glob(work)) - {first}, "b is ready for cells")
            assert first.is_dir()
        (result,) = run.wait()
        assert result.verdict is None, result.reason
        for kind in ("outbox", "work"):
            assert not list((shared / "farm").glob(f"{kind}/*"))


def test_a_worker_that_is_killed_costs_one_try(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place, ["a", "b"]) as found:
        with held_up(found, ["a", "b"], kernel.tree("arm")):
            run = begin(loaded, tmp_path, found, cells[:1], kernel)
            run.until_said("waiting for another cell or run")
            first = where(run, ARM)
            os.kill(worker_pid(found.address, first), signal.SIGKILL)
            run.until_said(f"again, {first} went away")
        (result,) = run.wait()
        assert result.verdict is None, result.reason
        assert len(events(run, "lost")) == 1
        assert len(events(run, "begun")) == 2
        assert not events(run, "avoided")


def test_a_cut_link_costs_one_try_and_a_mended_one_gives_the_worker_back(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with namespaces(1) as (far,), farm(place, listen="0.0.0.0") as found:
        there = f"tcp://{far.host}:{found.port}"
        found.worker("far", prefix=far.prefix("far-away"), address=there)
        with held_up(found, ["far"], kernel.tree("arm")):
            run = begin(loaded, tmp_path, found, cells[:1], kernel)
            run.until_said("waiting for another cell or run")
            found.worker("near")
            far.cut()
            (result,) = run.wait()
        assert result.verdict is None, result.reason
        assert result.versions["worker"] == "near"
        assert [one["worker"] for one in events(run, "lost")] == ["far"], events(run, "lost")
        assert next(one["host"] for one in events(run, "joined")) == "far-away"
        far.mend()
        until(lambda: found.log("far").count("far: works for") == 2, "far comes back")


def test_a_run_that_is_interrupted_leaves_no_work_behind(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place, ["a", "b"]) as found, held_up(found, ["a", "b"], kernel.tree("arm")):

        def interrupt(cell: Cell, result: CellResult) -> None:
            raise KeyboardInterrupt

        run = begin(loaded, tmp_path, found, cells, kernel, done=interrupt)
        # riscv ends, and arm is in work on a worker then, whose process goes.
        busy = until(lambda: ARM in run.told.text() and where(run, ARM), "arm is sent")
        before = worker_pid(found.address, busy)
        with pytest.raises(KeyboardInterrupt):
            run.wait()
        until(lambda: not Path(f"/proc/{before}").exists(), "its process has gone")
        assert kept(run, cells[1]).verdict is None


def test_a_cell_whose_worker_always_dies_is_given_up(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place, ["a"]) as found, held_up(found, ["a"], kernel.tree("arm")):
        run = begin(loaded, tmp_path, found, cells[:1], kernel, Patience(60, 8))
        for number in (1, 2):
            run.until_said("waiting for another cell or run", times=number)
            os.kill(worker_pid(found.address, "a"), signal.SIGKILL)
        (result,) = run.wait()
        assert result.verdict is Verdict.INFRASTRUCTURE
        assert "no worker is left" in result.reason
        assert "it died 2 times with cells in work" in result.reason
        assert [one["worker"] for one in events(run, "avoided")] == ["a"]


def test_a_dead_scheduler_loses_no_finished_result(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    arm, riscv = cells
    with farm(place, ["a", "b"]) as found:
        with held_up(found, ["a", "b"], kernel.tree("arm")):
            run = begin(loaded, tmp_path, found, cells, kernel)
            run.until_said("waiting for another cell or run")
            run.until_said(f"{RISCV} done by")
            found.kill("scheduler")
            run.until_said("the scheduler is lost")
            assert kept(run, riscv).verdict is None
            found.scheduler()
            run.until_said("the scheduler is back")
        results = run.wait()
        assert [one.verdict for one in results] == [None, None]
        assert kept(run, arm).cell == ARM
        begun = [one["cell"] for one in events(run, "begun")]
        assert begun.count(RISCV) == 1
        assert begun.count(ARM) == 2


def test_a_scheduler_that_does_not_come_back_is_an_infrastructure_fault(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place, ["a", "b"]) as found:
        with held_up(found, ["a", "b"], kernel.tree("arm")):
            run = begin(loaded, tmp_path, found, cells, kernel, Patience(3, 20))
            run.until_said("waiting for another cell or run")
            run.until_said(f"{RISCV} done by")
            found.kill("scheduler")
            arm, riscv = run.wait()
        assert riscv.verdict is None
        assert arm.verdict is Verdict.INFRASTRUCTURE
        assert "the scheduler was lost" in arm.reason
        assert kept(run, cells[1]).verdict is None


def test_what_a_worker_finished_is_fetched_after_a_scheduler_died(
    loaded: LoadedMatrix,
    cells: list[Cell],
    kernel: Prepared,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch = Link.fetch
    with farm(place, ["a"]) as found:

        def late(self: Link, *words: object) -> None:
            monkeypatch.setattr(Link, "fetch", fetch)
            found.kill("scheduler")  # the cell is done, and nothing of it is here
            found.scheduler()
            fetch(self, *words)  # type: ignore[arg-type]

        monkeypatch.setattr(Link, "fetch", late)
        run = begin(loaded, tmp_path, found, cells[:1], kernel)
        (result,) = run.wait()
        assert result.verdict is None
        assert len(events(run, "begun")) == 2, (events(run, "lost"), run.told.text())
        # The second time it was not done again, only given.
        assert sum(line[:2] == (ARM, "source") for line in run.told.lines) == 1


# --- workers that are not to be trusted -----------------------------------------------------


def poison_compiler(folder: Path) -> dict[str, str]:
    """An environment whose arm compiler is another one."""
    folder.mkdir()
    path, real = folder / "arm-linux-gnueabihf-gcc", shutil.which("arm-linux-gnueabihf-gcc")
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec echo gcc 99\nexec {real} "$@"\n')
    path.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def other_checkout(folder: Path) -> dict[str, str]:
    """An environment with a checkout in which one line differs."""
    for name in ("harness", "templates"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "matrix.yaml", folder)
    with (folder / "harness" / "xipmatrix" / "verdict" / "__init__.py").open("a") as stream:
        stream.write("# changed\n")
    return {"PYTHONPATH": str(folder / "harness")}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting a small disk is not permitted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


STRANGER = """
import sys
sys.modules["xipmatrix"] = None
from distributed.cli.dask_worker import main
main()
"""


@pytest.mark.skipif(not shutil.which("arm-linux-gnueabihf-gcc"), reason="no arm compiler")
def test_poisoned_workers_are_named_and_avoided(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    with farm(place) as found:
        found.worker("compiler", poison_compiler(tmp_path / "bin"), wait=False)
        found.worker("code", other_checkout(tmp_path / "checkout"), wait=False)
        found.start(
            "stranger",  # a Dask worker that knows nothing of us
            [sys.executable, "-c", STRANGER, found.address, "--no-dashboard", "--no-nanny"],
            {},
        )
        found.works("compiler")
        found.works("code")
        found.worker("good", slots=1)
        run = begin(loaded, tmp_path, found, cells, kernel)
        arm, riscv = run.wait()
        assert (arm.verdict, riscv.verdict) == (None, None)
        assert arm.versions["worker"] == "good"
        assert riscv.versions["worker"] in ("good", "compiler")  # its riscv compiler is ours
        reasons = {one["worker"]: one["reason"] for one in events(run, "avoided")}
        assert reasons["compiler"].startswith("another arm-gcc: gcc 99, the run's is arm-linux")
        assert "another xipmatrix" in reasons["code"]
        assert own_code() in reasons["code"]
        (stranger,) = (reasons[name] for name in reasons if name.startswith("tcp://"))
        assert "No module named 'xipmatrix" in stranger
        assert "avoided" in run.told.text()


def test_a_full_disk_stops_a_worker_at_its_door_and_in_a_run(
    loaded: LoadedMatrix,
    cells: list[Cell],
    kernel: Prepared,
    place: Path,
    tmp_path: Path,
    small_disk: Path,
) -> None:
    with farm(place) as found:
        env = {"XIPMATRIX_CACHE": str(small_disk)}
        found.worker("small", env, wait=False)
        until(lambda: found.live["small"].poll() is not None, "it does not start")
        assert found.live["small"].returncode == 3
        assert "its disk is full: 0.1 GiB free" in found.log("small")
        # One that is there already, since its disk ran full later: a plain Dask worker.
        words = [sys.executable, "-m", "distributed.cli.dask_worker", found.address]
        found.start("full", [*words, "--name", "full", "--no-dashboard"], env)
        run = begin(loaded, tmp_path, found, cells[:1], kernel, Patience(60, 6))
        (result,) = run.wait()
        assert result.verdict is Verdict.INFRASTRUCTURE
        assert "no worker is left for it (full: its disk is full" in result.reason
        assert [one["worker"] for one in events(run, "avoided")] == ["full"]


def test_a_wrong_clock_is_named(
    loaded: LoadedMatrix, cells: list[Cell], kernel: Prepared, place: Path, tmp_path: Path
) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    shown = subprocess.run(
        ["faketime", "-f", "-2h", "env"], capture_output=True, text=True, check=True
    )
    lines = [one.split("=", 1) for one in shown.stdout.splitlines() if "=" in one]
    # What the program sets: itself it would be a process more, that signals do not pass.
    late = {key: value for key, value in lines if key.startswith(("LD_PRELOAD", "FAKETIME"))}
    with farm(place) as found:
        found.worker("late", late)
        run = begin(loaded, tmp_path, found, cells[:1], kernel, Patience(60, 6))
        (result,) = run.wait()
        assert result.verdict is Verdict.INFRASTRUCTURE
        (one,) = events(run, "avoided")
        assert one["worker"] == "late"
        assert re.fullmatch(r"its clock is 7[12]\d\d s slow", one["reason"])


# --- what travels ---------------------------------------------------------------------------


def test_content_that_a_worker_changed_is_refused(place: Path, tmp_path: Path) -> None:
    """A result whose bytes no longer are what the worker said, over the real transport."""
    from distributed import Client

    from xipmatrix.farm import session

    with farm(place, ["a"]) as found, Client(found.address, set_as_default=False) as client:
        (address,) = workers_of(client)
        link = Link(client, address)
        pack = tmp_path / "pack"
        pack.write_bytes(os.urandom(100))
        digest = "0" * 64
        with pytest.raises(Corrupt, match="came with the SHA-256"):
            link.call(session.receive, digest, 0, pack.read_bytes(), 100)
        with pytest.raises(InfrastructureError, match="does not know the run"):
            link.fetch("no-run", ARM, {digest: 100}, Blobs(tmp_path / "blobs"))
