# SPDX-License-Identifier: GPL-2.0-only
"""The same inputs give the same image, byte for byte, wherever it is built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xipmatrix.build import ccache
from xipmatrix.build.compile import Built
from xipmatrix.build.place import BuildPlace
from xipmatrix.core.files import cache_dir
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline

# A whole kernel for each architecture: not in CI, with the mutants.
pytestmark = pytest.mark.mutants


@pytest.mark.parametrize("arch", ["arm", "riscv"])
def test_another_place_gives_the_same_image(
    arch: str, pipeline: Pipeline, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pair: tuple[Cell, Built] = request.getfixturevalue(f"{arch}_cell")
    cell, here = pair
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "kernels").symlink_to(cache_dir() / "kernels")
    # Other folders of sources, objects and stages, hence another path of the initramfs.
    place = BuildPlace(tmp_path / "elsewhere")
    options = replace(pipeline.options, place=place, jobs=1)
    there = replace(pipeline, cache=cache, options=options)
    result = there.run_cell(cell)
    assert result.verdict is None, result.reason
    built = there.built(result)
    assert built.folder != here.folder
    assert built.image.read_bytes() == here.image.read_bytes()
    assert built.vmlinux.read_bytes() == here.vmlinux.read_bytes()


@pytest.mark.skipif(not ccache.usable(), reason="ccache is not installed")
@pytest.mark.parametrize("arch", ["arm", "riscv"])
def test_ccache_gives_the_same_image(
    arch: str,
    pipeline: Pipeline,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair: tuple[Cell, Built] = request.getfixturevalue(f"{arch}_cell")
    cell, here = pair
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("kernels", "sources"):
        (cache / name).symlink_to(cache_dir() / name)
    there = replace(pipeline, cache=cache, options=replace(pipeline.options, ccache=True))
    result = there.run_cell(cell)
    assert result.verdict is None, result.reason
    built = there.built(result)
    assert any((tmp_path / "ccache").glob("[0-9a-f]/**/*R")), "ccache was not asked"
    assert built.image.read_bytes() == here.image.read_bytes()
    assert built.vmlinux.read_bytes() == here.vmlinux.read_bytes()
