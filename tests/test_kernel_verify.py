# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that were built elsewhere, for real: copies of the built ones, sound and spoiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TEMPLATES
from xipmatrix.build import toolchain
from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Verdict
from xipmatrix.image import static_evidence
from xipmatrix.machine import qemu
from xipmatrix.machine.console import Limits
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline, boot_once, elsewhere
from xipmatrix.pipeline.given import Given, cell_of, examine
from xipmatrix.store import Store
from xipmatrix.verdict import judge

pytestmark = pytest.mark.kernel
Pair = tuple[Cell, Built]
PAIRS = pytest.mark.parametrize("pair", ["arm_cell", "riscv_cell"])


class Own:
    """A kernel in a folder of somebody's own, and the command line on it."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.cell, self.folder = pair[0], folder / "own"
        self.folder.mkdir()
        for name in ("vmlinux", "xipImage", "config"):
            shutil.copy(pair[1].folder / name, self.folder / name)
        self._env = {**os.environ, "XIPMATRIX_STATE": str(folder / "state"), "COLUMNS": "200"}

    @property
    def built(self) -> Built:
        return Built(self.folder, self.folder / "xipImage", self.folder / "vmlinux", None)

    def xipmatrix(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "xipmatrix", *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done

    def verify(self, *words: str, board: str = "") -> subprocess.CompletedProcess[str]:
        given = ["--vmlinux", str(self.folder / "vmlinux"), *words]
        return self.xipmatrix("verify", "--board", board or f"{self.cell.arch}/virt", *given)

    def judged(self, *words: str, board: str = "") -> tuple[int, dict[str, Any]]:
        """Exit code and result."""
        done = self.verify("--json", "-", *words, board=board)
        assert done.stdout, done.stderr
        (result,) = json.loads(done.stdout)["cells"]
        return done.returncode, result

    def spoil(self, name: str, change: Callable[[bytes], bytes]) -> None:
        path = self.folder / name
        path.write_bytes(change(path.read_bytes()))


@pytest.fixture
def own(pair: str, request: pytest.FixtureRequest, tmp_path: Path) -> Own:
    return Own(request.getfixturevalue(pair), tmp_path)


@PAIRS
def test_a_copy_passes_and_is_explained(own: Own) -> None:
    code, result = own.judged()
    assert (code, result["verdict"]) == (0, "pass"), result["reason"]
    assert result["reason"] == "all evidence holds"
    names = {one["name"] for one in result["evidence"]}
    assert {"in-place", "reply", "ram-scan-poweroff", "flash-writes", "init-was-taken"} <= names
    assert result["figures"]["flash_instructions"] > 1_000_000
    shown = own.xipmatrix("show", result["cell"], "--evidence").stdout
    assert f"again: {result['command']}" in own.xipmatrix("show", result["cell"]).stdout
    assert f"{result['command']} --gdb" in shown
    assert "in-place" in shown and "{" not in shown.split("raw data")[0].split("by hand")[1]
    # With another userspace than it should be, so do not say that all is well.
    code, result = own.judged("--append", "xipmatrix.mode=noreply", "--silence", "8")
    assert (code, result["verdict"]) == (1, "userspace-failed")


@PAIRS
def test_our_init_comes_from_outside(own: Own, tmp_path: Path) -> None:
    """A kernel that has no init of its own starts ours, and without it nothing."""
    for name in ("vmlinux", "xipImage"):
        own.spoil(name, lambda data: data.replace(b"init\0\0\x7fELF", b"tini\0\0\x7fELF"))
    alone = boot_once(own.cell, own.built, tmp_path / "alone", Limits(silence=8), TEMPLATES)
    assert judge(own.cell, alone, own.built.vmlinux).verdict is Verdict.BOOT_PANIC
    code, result = own.judged()
    assert (code, result["verdict"]) == (0, "pass"), result["reason"]


@PAIRS
def test_without_its_config(own: Own) -> None:
    (own.folder / "config").unlink()
    code, result = own.judged()
    if own.cell.arch == "arm":
        # ARM_PATCH_IDIV would rewrite text, and nothing in vmlinux tells of it.
        assert (code, result["verdict"]) == (1, "not-applicable")
        assert "only the .config would tell whether there is integer-division" in result["reason"]
        assert result["hint"].startswith("--config FILE")
    else:
        assert (code, result["verdict"]) == (0, "pass"), result["reason"]
        assert result["reason"] == "all evidence holds; worth a look: config"


@PAIRS
def test_a_qemu_without_plugins(
    own: Own, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(qemu, "has_plugins", lambda binary: False)
    given = Given(own.folder / "vmlinux")
    cell, given = cell_of(pipeline.loaded, f"{own.cell.arch}/virt", given)
    mine = replace(pipeline, run=Store(tmp_path / "run").new_run())
    result = elsewhere.verify(mine, cell, examine(cell, given), "again", "")
    assert (result.verdict, result.label) == (Verdict.PASS, "pass (sampled)"), result.reason


@PAIRS
def test_files_that_are_not_what_they_are_given_for(own: Own) -> None:
    vmlinux, image = own.folder / "vmlinux", own.folder / "xipImage"
    whole = vmlinux.read_bytes()
    prefix = toolchain.of_cell(own.cell).prefix

    def refused(*words: str) -> str:
        done = own.verify(*words)
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) < 8
        return done.stderr

    assert "is no xipImage, but an ELF file" in refused("--image", str(vmlinux))
    assert "is no whole .config" in refused("--config", str(TEMPLATES / "README.md"))
    other = "arm/virt" if own.cell.arch == "riscv" else "riscv/virt"
    foreign = own.verify(board=other)
    assert foreign.returncode == 2 and "EM_ARM" in foreign.stderr and "EM_RISCV" in foreign.stderr
    subprocess.run([f"{prefix}strip", vmlinux], check=True)
    assert "it is stripped" in refused()
    vmlinux.write_bytes(whole[: len(whole) // 2])
    assert "is cut off" in refused()
    shutil.copy(image, vmlinux)
    assert "is no ELF file" in refused()


@PAIRS
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-4096],
        lambda data: data[: len(data) // 2],
        lambda data: data[:0x10000] + bytes([data[0x10000] ^ 1]) + data[0x10001:],
        lambda data: data[4096:],
    ],
    ids=["a page short", "half of it", "one bit", "its first page missing"],
)
def test_an_image_that_is_not_vmlinuxs(own: Own, spoil: Callable[[bytes], bytes]) -> None:
    own.spoil("xipImage", spoil)
    code, result = own.judged()
    assert (code, result["verdict"]) == (1, "image-invalid")
    assert result["reason"].startswith("image-is-vmlinux: xipImage differs from vmlinux in ")


def test_the_wrong_board(arm_cell: Pair, tmp_path: Path) -> None:
    code, result = Own(arm_cell, tmp_path).judged(board="arm/vexpress-a9")
    assert (code, result["verdict"]) == (1, "image-invalid")
    assert result["reason"] == (
        "config: XIP_KERNEL=y, XIP_PHYS_ADDR=0x10000, but the board's is 0x40010000"
    )


def test_a_normal_kernel(arm_cell: Pair, normal_kernel: tuple[Path, Path], tmp_path: Path) -> None:
    own = Own(arm_cell, tmp_path)
    zimage, vmlinux = normal_kernel
    done = own.verify("--image", str(zimage))
    assert done.returncode == 2 and "a zImage, which unpacks itself to RAM" in done.stderr
    # Its Image, which is byte by byte what vmlinux holds, beside a .config that names XIP.
    shutil.copy(vmlinux, own.folder / "vmlinux")
    prefix = toolchain.of_cell(own.cell).prefix
    files = [own.folder / "vmlinux", own.folder / "xipImage"]
    subprocess.run([f"{prefix}objcopy", "-O", "binary", *files], check=True)
    code, result = own.judged()
    assert (code, result["verdict"]) == (1, "image-invalid"), result["reason"]


def test_deflated_data_as_the_kernels_own_script_makes_it(
    arm_cell: Pair, pipeline: Pipeline, tmp_path: Path
) -> None:
    own = Own(arm_cell, tmp_path)
    source = pipeline.source(own.cell, pipeline.prepared(own.cell.kernel))
    nm = f"{toolchain.of_cell(own.cell).prefix}nm"
    make = {"NM": nm, "KGZIP": "gzip", "CONFIG_SHELL": "sh", "srctree": str(source)}
    files = own.built.vmlinux, own.built.image
    script = source / "arch/arm/boot/deflate_xip_data.sh"
    subprocess.run(["sh", script, *files], env={**os.environ, **make}, check=True)
    options = {"XIP_KERNEL": "y", "XIP_PHYS_ADDR": "0x10000", "XIP_DEFLATED_DATA": "y"}

    def holds() -> bool:
        found = static_evidence(own.cell, options, *files)
        return next(one.holds for one in found if one.name == "image-is-vmlinux")

    assert holds()
    own.spoil("xipImage", lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert not holds()
