# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels that load code to RAM: sound ones pass with it named, others do not pass."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from conftest import TEMPLATES, built
from xipmatrix.build.compile import Built
from xipmatrix.core.evidence import Verdict
from xipmatrix.machine.console import Limits
from xipmatrix.machine.result import BootResult
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Pipeline, boot_once
from xipmatrix.verdict import Judgement, judge

Pair = tuple[Cell, Built]


def start(pair: Pair, folder: Path, extra: str = "") -> BootResult:
    cell, kernel = pair
    return boot_once(cell, kernel, folder, Limits(), TEMPLATES, extra_args=extra)


def judged(pair: Pair, boot: BootResult) -> Judgement:
    return judge(pair[0], boot, pair[1].vmlinux)


@pytest.fixture(scope="module", params=["arm", "riscv"])
def loading(request: pytest.FixtureRequest, pipeline: Pipeline) -> Pair:
    """A cell whose kernel has modules and a BPF JIT."""
    return built(pipeline, f"7.3/{request.param}/virt/modules/gcc")


@pytest.mark.mutants
def test_modules_and_bpf_programs_pass_and_are_named(loading: Pair, tmp_path: Path) -> None:
    boot = start(loading, tmp_path)
    found = judged(loading, boot)
    assert found.verdict is Verdict.PASS, found.reason
    names = found.figure("in-place", "declared_symbols")
    assert isinstance(names, dict)
    for name in (
        "test_module:test_module_init",
        "configfs:configfs_init",
        "configfs:configfs_fill",
    ):
        assert any(one.startswith(name) for one in names), names
    assert names["workload (BPF)"] >= 128
    # The same boot, where nobody says what was loaded.
    said = re.sub(r"XIPMATRIX-(SECTION|JITED) .*", "", boot.console_text())
    (tmp_path / "withheld.log").write_text(said)
    found = judged(loading, dataclasses.replace(boot, console=tmp_path / "withheld.log"))
    assert found.verdict is Verdict.NOT_IN_PLACE, found.reason


@pytest.mark.mutants
@pytest.mark.parametrize("claimed", [False, True])
def test_kernel_text_among_modules_is_found(loading: Pair, tmp_path: Path, claimed: bool) -> None:
    """The counts of a real boot, and with them a copy of the kernel's text that was executed
    where modules may be; even where the kernel says that this is a BPF program."""
    cell, kernel = loading
    boot = start(loading, tmp_path)
    with kernel.vmlinux.open("rb") as stream:
        copy = ELFFile(stream).get_section_by_name(".text").data()[256:288]
    place = cell.arch_spec.loaded_code[0].virtual_base + 0x800000
    (ram,) = (memory for memory in boot.memories if memory.name == "ram")
    assert boot.counts is not None
    with boot.counts.open("a") as counts:
        counts.write(f"{place:x} {ram.host + 0x800000:x} {copy.hex()} 5\n")
    if claimed:
        line = f"XIPMATRIX-JITED workload {place:016x} {copy.hex()}\nXIPMATRIX-DONE"
        boot.console.write_text(boot.console_text().replace("XIPMATRIX-DONE", line))
    found = judged(loading, boot)
    assert found.verdict is Verdict.NOT_IN_PLACE
    assert found.figure("in-place", "kernel_ram_undeclared") == 5


@pytest.mark.mutants
def test_modules_that_do_not_load_are_missed(loading: Pair, tmp_path: Path) -> None:
    found = judged(loading, start(loading, tmp_path, "nomodule"))
    assert found.verdict is Verdict.USERSPACE_FAILED
    assert found.reason.startswith("workload: 0 of 2 modules were loaded")


@pytest.mark.kernel
@pytest.mark.parametrize("pair", ["arm_cell", "riscv_cell"])
def test_a_kernel_that_cannot_do_the_work_fails(
    pair: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    cell, kernel = request.getfixturevalue(pair)
    config = cell.config_spec.model_copy(update={"workload": ["modules", "bpf"]})
    asked = cell.model_copy(update={"config_spec": config}), kernel
    found = judged(asked, start(asked, tmp_path))
    assert found.verdict is Verdict.USERSPACE_FAILED
    assert "the BPF program ran 0 times" in found.reason
    assert "no module was built with this kernel" in found.reason
