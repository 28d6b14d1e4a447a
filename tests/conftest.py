# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the tests with real kernels: built once, by the product itself, and kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from xipmatrix.build import toolchain
from xipmatrix.build.compile import NORMAL_IMAGE, Built
from xipmatrix.core.files import cache_dir, project_dir, remove
from xipmatrix.kernel import KernelTree, obtain
from xipmatrix.matrix.load import LoadedMatrix, Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Ground, Options, Pipeline
from xipmatrix.result import Stage
from xipmatrix.store import Store

ROOT = project_dir()
TEMPLATES = ROOT / "templates"
JOBS = os.cpu_count() or 1
ARM, RISCV = "7.3/arm/virt/tiny/gcc", "7.3/riscv/virt/tiny/gcc"
NOMMU = "7.3/arm-nommu/mps2-an385/tiny/gcc"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Tests that need the same kernel go to the same worker, so that two build at a time."""
    for item in items:
        if item.get_closest_marker("kernel") or item.get_closest_marker("mutants"):
            group = "riscv" if "riscv" in item.nodeid or "series" in item.nodeid else "arm"
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each mutant got and what it should have, as a table; wrong ones are marked."""
    reports = [one for group in terminalreporter.stats.values() for one in group]
    rows = [
        value
        for one in reports
        for name, value in getattr(one, "user_properties", ())
        if name == "mutant" and one.when == "call"
    ]
    if not rows:
        return
    head = ["mutant", "arch", "expected", "got", "evidence"]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(4)]
    terminalreporter.section("mutants")
    for row in [head, *sorted(rows)]:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        wrong = row[5:] if any(row[5:]) else []
        terminalreporter.line("  ".join([*cells, row[4][:120]]).rstrip())
        for why in wrong:
            terminalreporter.line(f"    WRONG: {why}")
    count = sum(1 for row in rows if row[5])
    terminalreporter.line(f"{len(rows)} mutants, {count} wrong")


def tell(cell: str, stage: str, detail: str = "") -> None:
    print(f"{cell}: {stage} {detail}", flush=True)


@pytest.fixture(scope="session")
def loaded() -> LoadedMatrix:
    """The project's own matrix."""
    return load_matrix(ROOT / "matrix.yaml", TEMPLATES)


@pytest.fixture(scope="session")
def linux(loaded: LoadedMatrix) -> KernelTree:
    """Linux 7.3."""
    return obtain("7.3", loaded.kernels["7.3"], cache_dir(), print)


@pytest.fixture(scope="module")
def own_cache(
    linux: KernelTree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """An environment with a cache of its own, which has the kernels that are there already.

    The repositories that it gets of a user's go with it. Source folders are the user's cache's:
    their names are those of trees, and 90,000 files are not quickly removed.
    """
    folder = tmp_path_factory.mktemp("cache")
    (folder / "kernels").mkdir()
    (cache_dir() / "sources").mkdir(exist_ok=True)
    (folder / "sources").symlink_to(cache_dir() / "sources")
    for path in (cache_dir() / "kernels").iterdir():
        (folder / "kernels" / path.name).symlink_to(path)
    yield {"XIPMATRIX_CACHE": str(folder), "XIPMATRIX_STATE": str(folder / "state")}
    remove(folder)


@pytest.fixture(scope="session")
def pipeline(loaded: LoadedMatrix, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline that builds into the user's cache: what is there is not built again."""
    run = Store(tmp_path_factory.mktemp("run")).new_run()
    options = Options(jobs=JOBS, until=Stage.IMAGE, ccache=False)
    return Pipeline(loaded, TEMPLATES, run, options, tell)


def built(pipeline: Pipeline, cell_id: str) -> tuple[Cell, Built]:
    """A cell of the matrix and what its build left."""
    (cell,) = pipeline.loaded.select(Wanted(cells=(cell_id,)))
    result = pipeline.run_cell(cell)
    assert result.verdict is None, result.reason
    return cell, pipeline.built(result)


@pytest.fixture(scope="session")
def arm_cell(pipeline: Pipeline) -> tuple[Cell, Built]:
    """arm virt, XIP."""
    return built(pipeline, ARM)


@pytest.fixture(scope="session")
def arm_nommu_cell(pipeline: Pipeline) -> tuple[Cell, Built]:
    """ARMv7-M, XIP from a ROM."""
    return built(pipeline, NOMMU)


@pytest.fixture(scope="session")
def riscv_cell(pipeline: Pipeline) -> tuple[Cell, Built]:
    """riscv virt, XIP by our own series."""
    return built(pipeline, RISCV)


@pytest.fixture(scope="session")
def normal_kernel(
    pipeline: Pipeline, arm_cell: tuple[Cell, Built], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """zImage and vmlinux of the same arm kernel without XIP."""
    cell = arm_cell[0]
    prepared = pipeline.prepared(cell.kernel)
    tools = toolchain.of_cell(cell)
    ground = Ground(cell, prepared, lambda: pipeline.source(cell, prepared), tools)
    kept = pipeline.normal_kernel(ground, tmp_path_factory.mktemp("normal")).folder
    return kept / NORMAL_IMAGE, kept / "vmlinux"
