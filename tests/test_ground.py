# SPDX-License-Identifier: GPL-2.0-only
"""What of a series' change concerns a build: the files that it gives its architecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from test_series_engine import FILES, make_kernel, series, write
from xipmatrix.pipeline import Prepared
from xipmatrix.series.engine import apply_all, sources


def series_of(arch: str) -> dict[str, Any]:
    """A series that changes only files of `arch`'s."""
    data = series()
    for edit in (edit for patch in data["patches"] for edit in patch["edits"]):
        edit["file"] = edit["file"].replace("toy", arch)
    return data


@pytest.fixture
def built(tmp_path: Path) -> Callable[[], dict[str, tuple[str, str]]]:
    """Gives what is built for arm and riscv with the templates of now: (commit, tree)."""
    files = dict(FILES)
    for arch in ("arm", "riscv"):
        write(tmp_path, series_of(arch), arch)
        for name in ("Kconfig", "head.S"):
            files[f"arch/{arch}/{name}"] = FILES[f"arch/toy/{name}"]
    kernel = make_kernel(tmp_path / "kernel.git", files)

    def found() -> dict[str, tuple[str, str]]:
        here = Prepared(kernel, apply_all(sources(tmp_path / "templates"), kernel))
        return {arch: (here.tip(arch), here.tree(arch)) for arch in ("arm", "riscv")}

    return found


def test_a_changed_template_is_another_kernel_for_its_architecture_only(
    built: Callable[[], dict[str, tuple[str, str]]], tmp_path: Path
) -> None:
    before = built()
    assert before["arm"][1] != before["riscv"][1]
    write(tmp_path, series_of("riscv"), "riscv", copy="\tcopy more\n")
    after = built()
    assert after["arm"] == before["arm"]
    assert after["riscv"][1] != before["riscv"][1]


def test_other_words_in_a_message_are_another_patch_and_the_same_kernel(
    built: Callable[[], dict[str, tuple[str, str]]], tmp_path: Path
) -> None:
    before = built()
    data = series_of("riscv")
    data["patches"][0]["why"] = "Nothing can patch a text that is in flash."
    write(tmp_path, data, "riscv")
    after = built()
    assert after["riscv"][0] != before["riscv"][0]
    assert after["riscv"][1] == before["riscv"][1]
