# SPDX-License-Identifier: GPL-2.0-only
"""The command line on real kernels: smoke, dropped options, full disks, interrupted runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import JUnitXml

from conftest import ARM, RISCV, ROOT, TEMPLATES
from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.files import cache_dir
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Options, Pipeline, Prepared
from xipmatrix.result import Stage
from xipmatrix.store import Store

pytestmark = pytest.mark.kernel
BUILD = [sys.executable, "-m", "xipmatrix", "build", "--no-ccache"]


def build(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BUILD, *words], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def own_state(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XIPMATRIX_STATE": str(tmp_path / "state")}


@pytest.fixture
def fresh_stages(linux: KernelTree, arm_cell: object, tmp_path: Path) -> Path:
    """A cache that has the kernel and its source, but no finished stage."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("kernels", "sources", "apt", "plugin"):
        if (cache_dir() / name).exists():
            (cache / name).symlink_to(cache_dir() / name)
    return cache


def test_smoke_passes_and_a_second_run_does_nothing_again(
    arm_cell: object, own_state: dict[str, str], tmp_path: Path
) -> None:
    words = ("--arch", "arm,riscv", "--junit", str(tmp_path / "j.xml"), "--json", "-")
    for attempt in range(2):
        done = build(*words, env=own_state)
        assert done.returncode == 0, done.stdout + done.stderr
        cells = {cell["cell"]: cell for cell in json.loads(done.stdout)["cells"]}
        assert {name: cell["verdict"] for name, cell in cells.items()} == {
            ARM: "pass",
            RISCV: "pass",
        }
        for cell in cells.values():
            assert all(one["holds"] for one in cell["evidence"])
            assert cell["figures"]["flash_instructions"] > 1_000_000
            assert Path(cell["log"]).is_file()
        if attempt:
            kept = {s["stage"]: s["cached"] for s in cells[ARM]["stages"]}
            assert kept["config"] and kept["build"] and kept["boot"]
    suites = list(JUnitXml.fromfile(str(tmp_path / "j.xml")))
    assert suites[0].tests == 2
    assert suites[0].failures == 0
    shown = subprocess.run(
        [sys.executable, "-m", "xipmatrix", "show", RISCV],
        env=own_state,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "holds  in-place" in shown


def test_a_reworded_riscv_patch_builds_nothing(
    riscv_cell: tuple[Cell, Built], pipeline: Pipeline, tmp_path: Path
) -> None:
    templates = tmp_path / "templates"
    shutil.copytree(TEMPLATES, templates)
    file = templates / "riscv" / "series.yaml"
    text = file.read_text()
    file.write_text(text.replace("\n    why: |\n", "\n    why: |\n      In other words.\n"))
    again = replace(pipeline, templates=templates)
    cell, before = riscv_cell
    result = again.run_cell(cell)
    assert result.versions["commit"] != pipeline.prepared(cell.kernel).tip(cell.series)
    assert again.built(result).image == before.image
    assert {one.stage for one in result.stages if not one.cached} == {Stage.SERIES}


def test_a_changed_riscv_kernel_has_the_same_configuration(
    riscv_cell: tuple[Cell, Built], pipeline: Pipeline
) -> None:
    """Else ccache has no file of it: all include the configuration, and its init's name."""
    cell, _ = riscv_cell
    before = pipeline.run_cell(cell)
    prepared = pipeline.prepared(cell.kernel)
    repository, state = Repository(prepared.kernel.git_dir), prepared.states[cell.series]
    text = f"{repository.text(f'{state.tip}:kernel/sys.c')}/* changed */\n"
    change = Change("changed\n", "2000-01-01T00:00:00Z", {"kernel/sys.c": ("100644", text)})
    tip = repository.commit_changes(state.tip, [change])[-1]
    again = replace(pipeline, options=replace(pipeline.options, until=Stage.CONFIG))
    states = prepared.states | {cell.series: replace(state, tip=tip)}
    again.give(Prepared(prepared.kernel, states))
    result = again.run_cell(cell)
    assert result.versions["commit"] == tip
    files = [Path(one.paths["config"]) for one in (before, result)]
    assert files[0] != files[1]
    assert files[0].read_text() == files[1].read_text()


@pytest.mark.parametrize(
    ("line", "dropped", "why"),
    [
        # XIP_KERNEL excludes it, since our series: before, it was the other way round.
        ("CONFIG_ARM_PATCH_IDIV=y", "CONFIG_ARM_PATCH_IDIV", "depends on !XIP_KERNEL"),
        ("CONFIG_ARCH_MULTIPLATFORM=y", "CONFIG_XIP_KERNEL", "depends on HAVE_XIP_KERNEL"),
    ],
)
def test_xip_dropped_by_kconfig_is_config_dropped_with_the_culprit(
    linux: KernelTree, tmp_path: Path, line: str, dropped: str, why: str
) -> None:
    loaded = load_matrix(ROOT / "matrix.yaml", TEMPLATES)
    (cell,) = loaded.select(Wanted(cells=(ARM,)))
    board = cell.board_spec.model_copy(update={"config": [*cell.board_spec.config, line]})
    cell = cell.model_copy(update={"board_spec": board, "board": "broken"})
    options = Options(jobs=1, until=Stage.VERDICT, ccache=False)
    run = Store(tmp_path).new_run()
    result = Pipeline(loaded, TEMPLATES, run, options, lambda *words: None).run_cell(cell)
    assert result.verdict is Verdict.CONFIG_DROPPED
    assert f"{dropped}: asked for y, got n" in result.reason
    assert f"unmet: {why}" in result.reason
    assert Path(result.log).is_file()


@pytest.fixture
def small_disk(fresh_stages: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    stages = fresh_stages / "stages"
    stages.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "tmpfs", stages], check=False)
    if done.returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield stages
    subprocess.run(["umount", "-l", stages], check=True)


def test_a_full_disk_is_infrastructure_and_leaves_nothing_half_made(
    small_disk: Path, fresh_stages: Path, own_state: dict[str, str]
) -> None:
    env = {**own_state, "XIPMATRIX_CACHE": str(fresh_stages)}
    done = build("--cell", ARM, env=env)
    assert done.returncode == 3, done.stdout
    assert "infrastructure" in done.stdout
    assert "disk is full" in done.stdout
    assert not list((small_disk / "build").glob("[!.]*[!k]"))
    assert not list(small_disk.rglob(".partial-*"))


def leftovers(marker: Path) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace")
            state = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if str(marker) in words and state != "Z":
            found.append(words.replace("\0", " "))
    return found


def wait_for_none(marker: Path) -> None:
    for _ in range(600):
        if not leftovers(marker):
            return
        time.sleep(0.1)
    raise AssertionError(f"still running: {leftovers(marker)}")


def test_interrupted_in_every_stage_it_goes_on_and_nothing_is_left_running(
    fresh_stages: Path, own_state: dict[str, str]
) -> None:
    env = {**own_state, "XIPMATRIX_CACHE": str(fresh_stages), "PYTHONUNBUFFERED": "1"}
    command = [*BUILD, "--cell", ARM]
    for stage, number in (
        ("series", signal.SIGINT),
        ("source", signal.SIGKILL),
        ("config", signal.SIGINT),
        ("config", signal.SIGKILL),
        ("build compiling", signal.SIGINT),
        ("build compiling", signal.SIGKILL),
        ("boot", signal.SIGKILL),
        ("boot", signal.SIGINT),
    ):
        with subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # In the background of a script, SIGINT is ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if f"{ARM}: {stage}" in line:
                    break
            else:
                raise AssertionError(f"stage '{stage}' never came:\n{said}")
            time.sleep(1 if "compiling" in stage else 0)
            process.send_signal(number)
            said += process.stdout.read()
            code = process.wait()
        assert "Traceback" not in said
        assert code == (130 if number == signal.SIGINT else -number), said
        wait_for_none(fresh_stages)
    # Two runs at once: one boots, the other one waits for it and takes its result.
    runs = [
        subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    for process in runs:
        said = process.communicate()[0]
        assert process.returncode == 0, said
        assert "1 cell: 1 pass" in said
        assert "build =" in said  # what was finished before the last kills is kept


def test_a_missing_qemu_is_our_fault_not_the_kernels(
    arm_cell: object, own_state: dict[str, str], tmp_path: Path
) -> None:
    matrix = (ROOT / "matrix.yaml").read_text()
    path = tmp_path / "matrix.yaml"
    path.write_text(matrix.replace("binary: qemu-system-arm", "binary: qemu-system-missing"))
    done = build("--cell", ARM, "--matrix", str(path), env=own_state)
    assert done.returncode == 3, done.stdout
    assert "'qemu-system-missing' is not installed" in done.stdout
    assert f"--matrix {path} --cell" in done.stdout


def test_a_flash_that_is_too_small_says_by_how_much(
    arm_cell: object, own_state: dict[str, str], tmp_path: Path
) -> None:
    matrix = (ROOT / "matrix.yaml").read_text()
    path = tmp_path / "matrix.yaml"
    # The same flash holds a file system on another board.
    matrix = matrix.replace("filesystem: 8M", "filesystem: 512K")
    path.write_text(matrix.replace("size: 64M, unit: 0", "size: 1M, unit: 0", 1))
    done = build("--cell", ARM, "--matrix", str(path), env=own_state)
    assert done.returncode == 1, done.stdout
    assert "image-invalid" in done.stdout
    assert "bytes too many" in done.stdout
