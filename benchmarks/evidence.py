# SPDX-License-Identifier: GPL-2.0-only
"""What dynamic evidence costs beside a plain QEMU boot of the same flash image.

    .venv/bin/python benchmarks/evidence.py [--cell ID] [--rounds N]

Every round boots all variants once, one after the other, so that a noisy machine is
noisy for all. Printed are medians in seconds of wall time, their spread (largest minus
smallest), and the ratio to the plain boot. Budget: all dynamic evidence together adds at
most as much again as the plain boot, or 3 s, whichever is larger; exit status 1 if not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xipmatrix.build.compile import Built
from xipmatrix.core import run
from xipmatrix.core.files import project_dir, sha256_file
from xipmatrix.machine import protocol, qemu, ramscan
from xipmatrix.machine.boot import boot
from xipmatrix.machine.console import Limits
from xipmatrix.machine.plugin import build_plugin
from xipmatrix.machine.result import BootResult
from xipmatrix.matrix.load import Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Options, Pipeline, cell_flash, challenged
from xipmatrix.result import Stage
from xipmatrix.store import Store
from xipmatrix.verdict import judge, memory
from xipmatrix.verdict.in_place import in_place

TEMPLATES = project_dir() / "templates"
SECONDS = 3.0


def built_cell(name: str, folder: Path) -> tuple[Cell, Built]:
    """A cell of the matrix, built by the product where it is not yet."""
    loaded = load_matrix(project_dir() / "matrix.yaml", TEMPLATES)
    (cell,) = loaded.select(Wanted(cells=(name,)))
    options = Options(jobs=os.cpu_count() or 1, until=Stage.IMAGE, ccache=False)

    def tell(cell_id: str, stage: str, detail: str) -> None:
        print(f"  {cell_id}: {stage} {detail}", file=sys.stderr)

    pipeline = Pipeline(loaded, TEMPLATES, Store(folder / "run").new_run(), options, tell)
    result = pipeline.run_cell(cell)
    if result.verdict is not None:
        raise SystemExit(f"{name} cannot be built: {result.verdict}: {result.reason}")
    return cell, pipeline.built(result)


class Bench:
    """One flash image without stops and one with, and the ways to boot them."""

    def __init__(self, cell: Cell, built: Built, folder: Path) -> None:
        self.cell, self.built, self.folder = cell, built, folder
        self.challenge, self.args = challenged(cell)
        self.held = f"{self.args} {protocol.HOLD_OPTION}"
        self.flash = cell_flash(cell, built, self.args, folder / "a", TEMPLATES).path
        self.held_flash = cell_flash(cell, built, self.held, folder / "b", TEMPLATES).path
        self.seen: BootResult | None = None

    def bare(self, *extra: str) -> None:
        """QEMU alone, to power-off."""
        board = self.cell.board_spec
        command = qemu.boot_args(board, self.flash, bootargs=self.args, work=self.folder)
        console = self.folder / "bare.log"
        command += ["-serial", f"file:{console}", "-monitor", "none", *extra]
        done = run.run(command, env=board.qemu.env, timeout=300)
        if not done.ok or "XIPMATRIX-DONE" not in console.read_text(errors="replace"):
            raise SystemExit(f"QEMU ended with {done.returncode}: see {console}")

    def watched(self, *, held: bool, count: bool = True) -> None:
        """Our own boot; the last one's result is kept."""
        self.seen = boot(
            self.cell.board_spec,
            self.held_flash if held else self.flash,
            self.folder,
            bootargs=self.held if held else self.args,
            challenge=self.challenge,
            limits=Limits(),
            count=count,
        )

    def everything(self) -> None:
        """Boot and judge, as a cell of the matrix."""
        self.watched(held=True)
        assert self.seen is not None
        judged = judge(self.cell, self.seen, self.built.vmlinux)
        if str(judged.verdict) != "pass":
            raise SystemExit(f"{self.cell.id}: {judged.verdict}: {judged.reason}")

    def scan(self) -> None:
        """The search of both RAM dumps for kernel text."""
        assert self.seen is not None
        kernel = ramscan.Kernel.read(self.built.vmlinux, self.cell.arch_spec)
        for moment in self.seen.moments:
            memory.ram_scan(self.cell, moment, kernel)

    def tables(self) -> None:
        """The page tables at both moments."""
        assert self.seen is not None
        if self.cell.arch_spec.page_tables is None:
            return
        kernel = ramscan.Kernel.read(self.built.vmlinux, self.cell.arch_spec)
        for moment in self.seen.moments:
            memory.mappings(self.cell, moment, kernel, strict_modules=True)

    def counts(self) -> None:
        """Counts to places and symbols."""
        assert self.seen is not None
        said = protocol.read_console(self.seen.console_text())
        in_place(self.cell, self.seen, self.built.vmlinux, said)

    def variants(self) -> dict[str, tuple[bool, Callable[[], object]]]:
        """Name → whether it is a boot (else it is only added to one), and what to time."""
        version = qemu.version(self.cell.board_spec.qemu.binary)
        single = ("-accel", "tcg,thread=single")
        plugin = f"{build_plugin(version)},out={self.folder / 'bare-counts'}"
        trace = ("-trace", "pflash_*", "-D", str(self.folder / "bare-trace"))
        return {
            "plain QEMU": (True, lambda: self.bare()),
            "flash trace": (True, lambda: self.bare(*trace)),
            "plugin": (True, lambda: self.bare(*single, "-plugin", plugin)),
            "watched, plugin, trace": (True, lambda: self.watched(held=False)),
            "samples instead of plugin": (True, lambda: self.watched(held=False, count=False)),
            "all, and judged": (True, self.everything),
            "  of it: RAM scan, twice": (False, self.scan),
            "  of it: page tables, twice": (False, self.tables),
            "  of it: counts to symbols": (False, self.counts),
            "  of it: SHA-256, twice": (
                False,
                lambda: [sha256_file(self.flash) for _ in range(2)],
            ),
        }


def main() -> int:
    """Print the table; 1 where the budget is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", default="7.3/arm/virt/tiny/gcc")
    parser.add_argument("--rounds", type=int, default=7)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xipmatrix-bench-") as name:
        cell, built = built_cell(wanted.cell, Path(name))
        bench = Bench(cell, built, Path(name))
        variants = bench.variants()
        times: dict[str, list[float]] = {one: [] for one in variants}
        for number in range(wanted.rounds + 1):
            for one, (_, call) in variants.items():
                began = time.perf_counter()
                call()
                if number:  # the first round fills caches
                    times[one].append(time.perf_counter() - began)
    plain = statistics.median(times["plain QEMU"])
    version = qemu.version(cell.board_spec.qemu.binary)
    print(f"{cell.id}, QEMU {version}, {wanted.rounds} rounds; seconds")
    for one, (boots, _) in variants.items():
        median = statistics.median(times[one])
        spread = max(times[one]) - min(times[one])
        ratio = f"{median / plain:5.2f} x" if boots else f"+{median / plain:4.2f} x"
        print(f"{one:30} {median:7.3f}  spread {spread:6.3f}  {ratio:>8} plain")
    added = statistics.median(times["all, and judged"]) - plain
    budget = max(plain, SECONDS)
    kept = added <= budget
    print(f"all evidence adds {added:.2f} s, budget {budget:.2f} s: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
