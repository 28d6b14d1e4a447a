# SPDX-License-Identifier: GPL-2.0-only
"""Two cells on one machine and on four workers: the same verdicts, the same images.

Two of the workers are in networks of their own, on machines of other names, as another
user; all have caches of their own, so every kernel is sent, and built. One is killed while
it compiles.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conftest import ARM, RISCV, ROOT
from farm_support import QUICK, farm, namespaces, until, worker_pid
from xipmatrix.build.compile import Built
from xipmatrix.core.files import sha256_file
from xipmatrix.farm.record import FARM_FILE
from xipmatrix.matrix.load import Wanted
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline
from xipmatrix.result import Stage

pytest.importorskip("distributed", reason="the extra 'farm' is not installed")
pytestmark = [pytest.mark.farm, pytest.mark.xdist_group("arm")]


@dataclass(frozen=True)
class Night:
    """What a run on the farm left: its JSON by cell, its record, its exit code and output."""

    cells: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]
    code: int
    output: str

    def of(self, what: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["what"] == what]


def count_objects(folder: Path) -> int:
    """Compiled objects below `folder`, while make goes on: rglob stumbles over what it removes."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    return sum(name.endswith(".o") for name in files)


@pytest.fixture(scope="module")
def night(
    arm_cell: tuple[Cell, Built],
    riscv_cell: tuple[Cell, Built],
    own_cache: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Night]:
    place = tmp_path_factory.mktemp("farm")
    with namespaces(2) as far, farm(place, listen="0.0.0.0") as found:
        for one, name in zip(far, ("far1", "far2"), strict=True):
            user = {"USER": "builder", "LOGNAME": "builder", "HOME": str(place / f"{name}-home")}
            address = f"tcp://{one.host}:{found.port}"
            found.worker(name, user, one.prefix(f"machine-{name}"), address=address)
        for name in ("near1", "near2"):
            found.worker(name)
        report = place.parent / "night.json"
        command = ["build", "--cell", ARM, "--cell", RISCV, "--no-ccache", "--json", str(report)]
        log = place / "build.log"
        with log.open("wb") as stream:
            build = subprocess.Popen(
                [
                    *(sys.executable, "-m", "xipmatrix", *command),
                    *("--scheduler", found.address),
                ],
                env={**os.environ, **QUICK, **own_cache},
                stdout=stream,
                stderr=stream,
                cwd=ROOT,
            )
        try:

            def said(text: str) -> bool:
                assert build.poll() is None or text in log.read_text(), log.read_text()
                return text in log.read_text()

            until(lambda: said(f"{ARM}: build compiling"), "arm is compiled", 900)
            first = log.read_text().split(f"{ARM}: sent to ")[1].split()[0]
            objects = found.cache(first) / "stages" / "build"
            until(lambda: count_objects(objects) > 30, "some of arm is compiled", 900)
            os.kill(worker_pid(found.address, first), signal.SIGKILL)
            build.wait(3000)
        finally:
            build.kill()
            build.wait()
        text = log.read_text()
        assert report.exists(), text
        data = json.loads(report.read_text())
        record = json.loads((Path(data["folder"]) / FARM_FILE).read_text())
        cells = {one["cell"]: one for one in data["cells"]}
        yield Night(cells, record["events"], build.returncode, text)


def test_the_verdicts_are_those_of_one_machine(night: Night, tmp_path: Path) -> None:
    report = tmp_path / "here.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "xipmatrix", "build", "--cell", ARM, "--cell", RISCV),
            *("--no-ccache", "--json", str(report)),
        ],
        env={**os.environ, "XIPMATRIX_STATE": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert night.code == done.returncode == 0, night.output + done.stdout
    for here in json.loads(report.read_text())["cells"]:
        there = night.cells[here["cell"]]
        assert there["verdict"] == here["verdict"] == "pass"
        same = [(one["name"], one["holds"]) for one in here["evidence"]]
        assert [(one["name"], one["holds"]) for one in there["evidence"]] == same
        for figure in ("image_bytes", "in_place_bytes", "ram_bytes"):
            assert there["figures"][figure] == here["figures"][figure]
        for version in ("base", "commit", "series", "compiler"):
            assert there["versions"][version] == here["versions"][version]


@pytest.mark.parametrize("arch", ["arm", "riscv"])
def test_the_images_are_those_of_one_machine(
    arch: str, night: Night, request: pytest.FixtureRequest
) -> None:
    pair: tuple[Cell, Built] = request.getfixturevalue(f"{arch}_cell")
    cell, here = pair
    there = night.cells[cell.id]
    (build,) = [one for one in there["stages"] if one["stage"] == "build"]
    assert not build["cached"]
    for name, path in (("xipImage", here.image), ("vmlinux", here.vmlinux)):
        arrived = Path(there["paths"][name])
        assert arrived != path
        assert sha256_file(arrived) == sha256_file(path)
    # It was made on a machine of another name.
    worker = there["versions"]["worker"]
    hosts = {one["worker"]: one["host"] for one in night.of("joined")}
    if worker.startswith("far"):
        assert hosts[worker] == f"machine-{worker}"


def test_a_worker_that_is_killed_while_it_compiles_costs_one_try(night: Night) -> None:
    assert [one["cell"] for one in night.of("lost")] == [ARM]
    assert len(night.of("begun")) == 3
    assert not night.of("avoided")


def test_everything_lies_as_if_it_was_made_here(night: Night, own_cache: dict[str, str]) -> None:
    for cell in night.cells.values():
        for name in ("vmlinux", "xipImage", "config", "console", "build log"):
            path = Path(cell["paths"][name])
            assert path.exists(), path
            assert path.is_relative_to(own_cache["XIPMATRIX_CACHE"])
    shown = subprocess.run(
        [sys.executable, "-m", "xipmatrix", "show", ARM, "--console"],
        env={**os.environ, **own_cache},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "Linux version" in shown.stdout


@pytest.mark.parametrize("cell_id", [ARM, "7.3/riscv/virt/defconfig/gcc"])
def test_a_configuration_names_no_place(
    cell_id: str, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what else a machine has: riscv's defconfig puts it into the image (IKCONFIG)."""
    (cell,) = pipeline.loaded.select(Wanted(cells=(cell_id,)))
    options = replace(pipeline.options, until=Stage.CONFIG)
    for name in ("kernels", "sources"):
        (tmp_path / name).symlink_to(pipeline.cache / name)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "pahole").write_text("#!/bin/sh\necho v1.99\n")
    (tools / "pahole").chmod(0o755)
    path = os.environ["PATH"]
    texts = []
    # Here, and on a machine with a pahole, whose user has no rustup.
    for cache, home, programs in (
        (pipeline.cache, os.environ["HOME"], path),
        (tmp_path, str(tmp_path), f"{tools}:{path}"),
    ):
        monkeypatch.setenv("HOME", home)
        monkeypatch.setenv("PATH", programs)
        result = replace(pipeline, cache=cache, options=options).run_cell(cell)
        assert result.verdict is None, result.reason
        assert Path(result.paths["config"]).is_relative_to(cache)
        texts.append(Path(result.paths["config"]).read_text())
    assert texts[0] == texts[1]
    assert str(pipeline.cache) not in texts[0]
