# SPDX-License-Identifier: GPL-2.0-only
"""A kernel without XIP is byte for byte the same with our patches in its tree, but for what is
mended in shared code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from conftest import JOBS, TEMPLATES
from xipmatrix.build import toolchain
from xipmatrix.build.compile import FIXED
from xipmatrix.core.files import quiet
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree, move_to
from xipmatrix.matrix.load import LoadedMatrix, Wanted
from xipmatrix.matrix.model import Cell
from xipmatrix.series.engine import apply_all, sources

# A whole kernel for each architecture: not in CI, with the mutants.
pytestmark = pytest.mark.mutants

OPTIONS = {
    "arm": "CONFIG_ARCH_MULTI_V7=y\nCONFIG_ARCH_VIRT=y\nCONFIG_MMU=y\n"
    "CONFIG_SMP=y\nCONFIG_ARCH_VEXPRESS=y\n",
    "riscv": "CONFIG_MMU=y\nCONFIG_ARCH_RV64I=y\nCONFIG_SMP=y\n",
}
# What the patches touch outside architectures. WARN() without line numbers: these move.
COMMON = """\
CONFIG_EXPERT=y
CONFIG_DEBUG_KERNEL=y
# CONFIG_DEBUG_BUGVERBOSE is not set
CONFIG_PRINTK=y
CONFIG_MTD=y
CONFIG_MTD_CFI=y
CONFIG_MTD_CFI_INTELEXT=y
CONFIG_KPROBES=y
CONFIG_JUMP_LABEL=y
CONFIG_MODULES=y
"""


# Compiled without XIP too: changed by patches that say so.
COMMON_SHARED = {
    "drivers/mtd/chips/gen_probe.c",
    "drivers/of/fdt.c",
    "lib/kunit/executor.c",
    "mm/mm_init.c",
}
SHARED = {"arm": COMMON_SHARED, "riscv": COMMON_SHARED | {"arch/riscv/mm/cacheflush.c"}}


@pytest.mark.parametrize("arch", OPTIONS)
def test_images_without_xip_are_the_same(
    arch: str, loaded: LoadedMatrix, linux: KernelTree, tmp_path: Path
) -> None:
    (cell,) = loaded.select(Wanted(cells=(f"7.3/{arch}/virt/tiny/gcc",)))
    tip = apply_all(sources(TEMPLATES), linux)[arch].tip
    repository = Repository(linux.git_dir)
    touched = set(repository.git("diff", "--name-only", linux.commit, tip).splitlines())
    shared = SHARED[arch]
    assert touched > shared

    before = image(cell, linux, linux.commit, tmp_path)
    without = {path: repository.text(f"{linux.commit}:{path}") or "" for path in shared}
    after = image(cell, linux, changed(repository, tip, without), tmp_path)
    assert "CONFIG_XIP_KERNEL=y" not in (tmp_path / "objects/.config").read_text()
    assert before == after

    # The comparison can fail: one letter of one message.
    text = repository.text(f"{tip}:init/main.c") or ""
    assert text.count('"Run %s as init process\\n"') == 1
    other = {**without, "init/main.c": text.replace('"Run %s as', '"Ran %s as')}
    assert image(cell, linux, changed(repository, tip, other), tmp_path) != after


def changed(repository: Repository, commit: str, files: dict[str, str]) -> str:
    """A commit on `commit` in which `files` have other content."""
    listed = {path: ("100644", text) for path, text in files.items()}
    change = Change("test\n", "2026-01-01T00:00:00Z", listed)
    return repository.commit_changes(commit, [change])[0]


def image(cell: Cell, linux: KernelTree, commit: str, place: Path) -> bytes:
    """Image, as built from `commit`, in the same folders each time."""
    source = move_to(linux.git_dir, commit, place, quiet)
    objects = place / "objects"
    objects.mkdir(exist_ok=True)
    seed = place / "seed"
    seed.write_text(OPTIONS[cell.arch] + COMMON)
    make = [
        *("make", "-s", "-C", str(source), f"O={objects}", f"-j{JOBS}"),
        *toolchain.of_cell(cell).make_args,
    ]
    env = {**os.environ, **FIXED, "KCONFIG_ALLCONFIG": str(seed)}
    subprocess.run([*make, "allnoconfig"], env=env, check=True)
    subprocess.run([*make, "Image"], env=env, check=True)
    return (objects / "arch" / cell.arch_spec.kernel_arch / "boot" / "Image").read_bytes()
