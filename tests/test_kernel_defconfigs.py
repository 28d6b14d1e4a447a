# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own XIP defconfigs give the same kernels with our series, but for what is
listed here. xtensa's needs a toolchain that Debian does not have: see its patch's message."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from conftest import ARM, JOBS, TEMPLATES
from xipmatrix.build import toolchain
from xipmatrix.build.compile import FIXED
from xipmatrix.build.kconfig import parse_config
from xipmatrix.core.files import quiet
from xipmatrix.kernel import KernelTree, move_to
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.series.engine import apply_all, sources

pytestmark = pytest.mark.mutants

# Options that say what could be had, and the self-check, which is off.
OPTIONS = {"HAVE_XIP_KERNEL", "DEBUG_XIP_KERNEL"}
# What differs in size, is gone or has come, and why.
SYMBOLS = {
    "kernel/xip.c": r"__initcall__kmod_xip__\w+|(code|rodata|rom)_resource|insert_rom|"
    "xip_insert_resources",
    "of: fdt: Do not wipe seeds in ROM": "early_init_dt_scan_(chosen|nodes)",
    "line numbers in names": r"__initcall__kmod_(fdt|mm_init)__\w+",
    "tables of all symbols": r"kallsyms_\w+",
}


@dataclass(frozen=True)
class Kernel:
    options: dict[str, str]
    symbols: Counter[tuple[str, int]]


@pytest.mark.parametrize("defconfig", ["stm32_defconfig", "vf610m4_defconfig"])
def test_kernels_differ_in_what_is_explained(
    defconfig: str, loaded: LoadedMatrix, linux: KernelTree, tmp_path: Path
) -> None:
    tip = apply_all(sources(TEMPLATES), linux)["arm"].tip
    make = toolchain.of_cell(loaded.select(Wanted(cells=(ARM,)))[0]).make_args
    before = build(defconfig, make, linux, linux.commit, tmp_path)
    after = build(defconfig, make, linux, tip, tmp_path)
    assert before.options["XIP_KERNEL"] == after.options["XIP_KERNEL"] == "y"

    changed = {name for name, _ in before.options.items() ^ after.options.items()}
    assert changed == OPTIONS
    gone, come = before.symbols - after.symbols, after.symbols - before.symbols
    differ = {name for name, _ in (gone + come).elements()}
    assert "xip_insert_resources" in differ
    unexplained = [
        name for name in differ if not any(re.fullmatch(one, name) for one in SYMBOLS.values())
    ]
    assert unexplained == []


def build(
    defconfig: str, make_args: tuple[str, ...], linux: KernelTree, commit: str, place: Path
) -> Kernel:
    source = move_to(linux.git_dir, commit, place, quiet)
    objects = place / "objects"
    objects.mkdir(exist_ok=True)
    make = ["make", "-s", "-C", str(source), f"O={objects}", f"-j{JOBS}", *make_args]
    env = {**os.environ, **FIXED}
    subprocess.run([*make, defconfig], env=env, check=True)
    subprocess.run([*make, "xipImage"], env=env, check=True)
    listed = subprocess.run(
        ["nm", "-S", str(objects / "vmlinux")], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    symbols = Counter((row[3], int(row[1], 16)) for row in rows if len(row) == 4)
    return Kernel(parse_config((objects / ".config").read_text()), symbols)
