# SPDX-License-Identifier: GPL-2.0-only
"""Oopses of real kernels, decoded by vmlinux and by the kernel tree's own script."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import RISCV
from mutants import load_suite, try_mutant
from test_mutants import bench
from xipmatrix.core import run
from xipmatrix.core.evidence import Verdict
from xipmatrix.digest import Digest, Kind, Origin, digest
from xipmatrix.digest.trace import NO_LINES
from xipmatrix.matrix.load import Wanted
from xipmatrix.pipeline import Pipeline

pytestmark = pytest.mark.kernel

SOURCE = """\
int __attribute__((noinline)) foo_probe(volatile int *at)
{
	return *at + 1;
}

int really_probe(void)
{
	return foo_probe(0) + 1;
}

int kernel_init(void)
{
	return really_probe() + 1;
}
"""


@pytest.mark.parametrize("arch", ["arm", "riscv"])
def test_a_small_kernel_s_oops_gets_names(
    arch: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It has neither kallsyms nor debug information: names come from vmlinux."""
    suite = load_suite()
    (mutant,) = [one for one in suite.mutants if one.name == "panic-before-init"]
    place = bench(mutant, arch, request, tmp_path)
    outcome = try_mutant(suite, mutant, arch, place, tmp_path)
    kernel_arch, prefix = place.cell.arch_spec.kernel_arch, place.toolchain.prefix
    origin = Origin(place.source, kernel_arch, tmp_path / "vmlinux", prefix)
    found = digest(outcome.verdict, outcome.reason, tmp_path / "console.log", origin)
    assert found is not None
    assert found.kind is Kind.OOPS
    assert found.key.endswith(" in kernel_execve")
    assert any(line.startswith("at           kernel_execve+0x0/") for line in found.lines)
    assert any(line.startswith("instruction  ") for line in found.lines)
    assert any(line.startswith("called from  kernel_init+") for line in found.lines)
    assert found.lines[-1] == f"({NO_LINES})"


def oops(symbols: str, origin: Origin, folder: Path) -> Digest:
    """The digest of an oops at foo_probe's first instruction, by address as without kallsyms."""
    table = {name: address for address, _, name in map(str.split, symbols.splitlines())}
    log = folder / "console.log"
    log.write_text(
        "Booting Linux on CPU 0\nOops - illegal instruction [#1]\n"
        f"epc : 0x{table['foo_probe']}\n ra : 0x{table['really_probe']}\n"
        f"[<{table['foo_probe']}>] 0x{table['foo_probe']}\n"
        "---[ end trace 0000000000000000 ]---\n"
    )
    found = digest(Verdict.BOOT_PANIC, "no-panic: Oops", log, origin)
    assert found is not None
    return found


def test_the_kernel_s_script_gives_source_lines(pipeline: Pipeline, tmp_path: Path) -> None:
    """Any ELF file with debug information serves as vmlinux."""
    main, vmlinux, prefix = tmp_path / "init" / "main.c", tmp_path / "vmlinux", "riscv64-linux-gnu-"
    main.parent.mkdir()
    main.write_text(SOURCE)
    words = ["-g", "-O1", "-nostdlib", "-ffreestanding", "-static", "-Wl,-e0"]
    run.run([f"{prefix}gcc", *words, "-Wl,-Ttext=0x80000000", "-o", vmlinux, main], check=True)
    symbols = run.run([f"{prefix}nm", vmlinux], check=True).output
    (cell,) = pipeline.loaded.select(Wanted(cells=(RISCV,)))
    origin = Origin(pipeline.source(cell, pipeline.prepared(cell.kernel)), "riscv", vmlinux, prefix)
    found = oops(symbols, origin, tmp_path)
    (at,) = [line for line in found.lines if line.startswith("at           foo_probe+0x0/")]
    assert at.endswith(" (init/main.c:3)")
    assert not any(NO_LINES in line for line in found.lines)
    run.run([f"{prefix}strip", "-g", vmlinux], check=True)
    found = oops(symbols, origin, tmp_path)
    assert at.removesuffix(" (init/main.c:3)") in found.lines
    assert found.lines[-1] == f"({NO_LINES})"
