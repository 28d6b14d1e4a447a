# SPDX-License-Identifier: GPL-2.0-only
"""Kbuild's own programs: compiled once for a source folder, never taken where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from xipmatrix.build import config, hosttools, toolchain
from xipmatrix.build.compile import Built
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline

CONF = "scripts/kconfig/conf"


def configured(folder: Path, text: str) -> Path:
    """An object folder after its configuration."""
    for name in ("scripts/basic/fixdep", CONF):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "one" / "linux").mkdir(parents=True)
    return tmp_path / "one" / "linux"


def test_what_one_folder_has_another_is_given(source: Path, tmp_path: Path) -> None:
    first, second = configured(tmp_path / "first", "one"), tmp_path / "second"
    hosttools.give(source, second)
    assert not second.exists(), "nothing is kept yet"
    hosttools.keep(source, first)
    hosttools.keep(source, configured(tmp_path / "late", "two"))
    hosttools.give(source, second)
    assert (second / CONF).read_text() == "one"
    # make goes by the time, and ld writes into what is there.
    assert (second / CONF).stat().st_mtime_ns == (first / CONF).stat().st_mtime_ns
    (second / CONF).write_text("changed")
    hosttools.give(source, tmp_path / "third")
    assert (tmp_path / "third" / CONF).read_text() == "one"


def test_a_folder_that_has_its_own_keeps_them(source: Path, tmp_path: Path) -> None:
    hosttools.keep(source, configured(tmp_path / "first", "one"))
    own = configured(tmp_path / "own", "own")
    hosttools.give(source, own)
    assert (own / CONF).read_text() == "own"


def test_those_of_another_source_or_machine_do_not_fit(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosttools.keep(source, configured(tmp_path / "first", "one"))
    hosttools.give(tmp_path / "two" / "linux", tmp_path / "second")
    monkeypatch.setattr(hosttools, "_host", lambda: "another")
    hosttools.give(source, tmp_path / "second")
    assert not (tmp_path / "second").exists()


@pytest.mark.kernel
@pytest.mark.xdist_group("arm")
def test_a_second_configuration_compiles_none_and_is_the_same(
    pipeline: Pipeline, arm_cell: tuple[Cell, Built], tmp_path: Path
) -> None:
    cell = arm_cell[0]
    linux = pipeline.source(cell, pipeline.prepared(cell.kernel))
    # A source folder of the test's own, whose programs are not made yet.
    (tmp_path / "source").mkdir()
    source = tmp_path / "source" / "linux"
    source.symlink_to(linux)
    compiled, texts = [], []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        log = tmp_path / f"{name}.log"
        tools = toolchain.of_cell(cell)
        done = config.make_config(cell, source, tools, "", tmp_path / name, log)
        compiled.append("HOSTCC" in log.read_text())
        texts.append(done.path.read_text())
    assert compiled == [True, False]
    assert texts[0] == texts[1]
