# SPDX-License-Identifier: GPL-2.0-only
"""A matrix of small cells, beside a shell loop of plain tuxmake over the same cells.

    .venv/bin/python benchmarks/matrix.py [--cells N] [--different] [--rounds N] [--jobs N]
                                          [--ccache] [--cold]

The cells are spread evenly over those of the nightly matrix that have the smallest configuration:
some are boards that share a kernel, which the loop does not know. With --different none do.
Both sides get the same sources, configurations and number of jobs. The loop only builds; ours makes
the series and configurations, builds, boots each kernel and proves that it executed in place. A
round is: cold (nothing but the kernel's repository and its source folders is kept), again after
one file of the kernel has changed, and again unchanged; with --cold, cold and again unchanged. The
loop compiles everything each time, since tuxmake keeps nothing: its last time stands for the
unchanged one too.
Printed are medians in seconds of wall time, their spread (largest minus smallest), the ratio, the
CPU time of all processes, and the share of our own (our Python and tuxmake's) in that.

Goals on two quiet cores with eight cells: 0.8 cold, 0.02 unchanged, 2 % of the CPU; exit status 1
if one is missed. With --ccache our side uses it, from empty.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xipmatrix.build.compile import INITRAMFS
from xipmatrix.core import run
from xipmatrix.core.files import cache_dir, project_dir
from xipmatrix.core.git import Repository, hermetic
from xipmatrix.kernel import KernelTree, obtain
from xipmatrix.matrix.load import LoadedMatrix, Wanted, load_matrix
from xipmatrix.matrix.model import Cell

ROOT = project_dir()
KERNEL = "7.3"
SMALL = "tiny"
DIFFERENT = (
    *("arm/virt/tiny/gcc", "riscv/virt/tiny/gcc", "arm/versatilepb/tiny/gcc"),
    *("riscv/virt/mtd/gcc", "arm/virt/thumb2/gcc", "arm/vexpress-a9/tiny/gcc"),
    *("riscv/virt/selfcheck/gcc", "arm/virt/mtd/gcc"),
)
CHANGED = "kernel/sys.c"
COLD, UNCHANGED, OWN = 0.8, 0.02, 0.02
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Timed:
    """Seconds of wall time, and of CPU time of all processes and of our own."""

    wall: float
    cpu: float
    own: float


def own_seconds(root: int, seen: dict[tuple[int, str], float]) -> None:
    """Note the CPU seconds so far of every Python below the process `root`, and of it."""
    parents: dict[int, tuple[int, str, float, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            fields = rest.split()
            used = (int(fields[11]) + int(fields[12])) / TICKS
            name = head.partition("(")[2]
            parents[int(folder.name)] = int(fields[1]), name, used, fields[19]
        except OSError:
            continue
    for pid, (_, name, used, began) in parents.items():
        above = pid
        while above in parents and above != root:
            above = parents[above][0]
        if above == root and name.startswith("python"):
            seen[pid, began] = used


def timed(command: list[str], env: dict[str, str], log: Path) -> Timed:
    """Run a command to its end, which must be a good one."""
    seen: dict[tuple[int, str], float] = {}
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT
        )
        while True:
            own_seconds(process.pid, seen)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.5)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(f"{command}: exit status {process.returncode}\n{tail}")
    return Timed(wall, usage.ru_utime + usage.ru_stime, sum(seen.values()))


def changed_kernel(kernel: KernelTree, folder: Path) -> Path:
    """A repository with a branch ``changed``: the kernel with a comment more in one file."""
    repository = Repository.create(folder / "linux.git")
    (repository.git_dir / "objects/info/alternates").write_text(f"{kernel.git_dir}/objects\n")
    text = repository.text(f"{kernel.commit}:{CHANGED}")
    assert text is not None
    blob = repository.git(
        *("hash-object", "-w", "--stdin"), input_bytes=f"{text}/* changed */\n".encode()
    )
    index = {"GIT_INDEX_FILE": str(folder / "index"), **hermetic()}
    repository.git("read-tree", kernel.commit, env=index)
    repository.git("update-index", "--cacheinfo", f"100644,{blob},{CHANGED}", env=index)
    tree = repository.git("write-tree", env=index)
    commit = repository.commit_tree(
        tree, "Change one file\n", date="2026-01-01T00:00:00+0000", parents=(kernel.commit,)
    )
    repository.git("update-ref", "refs/heads/changed", commit)
    return repository.git_dir


class Bench:
    """A cache of its own, with the kernels and source folders that there are."""

    def __init__(self, folder: Path, cells: Sequence[Cell], jobs: int, ccache: bool) -> None:
        self.folder, self.jobs = folder, jobs
        self.cells = [name_of(cell) for cell in cells]
        self.archs = {name_of(cell): cell.arch_spec.tuxmake_arch for cell in cells}
        self.ccache = "--ccache" if ccache else "--no-ccache"
        cache = folder / "cache"
        (cache / "kernels").mkdir(parents=True)
        for path in (cache_dir() / "kernels").iterdir():
            (cache / "kernels" / path.name).symlink_to(path)
        (cache_dir() / "sources").mkdir(exist_ok=True)
        (cache / "sources").symlink_to(cache_dir() / "sources")
        self.env = {
            "XIPMATRIX_CACHE": str(cache),
            "XIPMATRIX_STATE": str(folder / "state"),
            "CCACHE_DIR": str(folder / "ccache"),
        }

    def ours(self, kernel: str, *words: str, until: str = "verdict") -> Timed:
        """Build, boot and prove all cells on `kernel`."""
        chosen = [word for cell in self.cells for word in ("--cell", f"{kernel}/{cell}")]
        command = [sys.executable, "-m", "xipmatrix", "build", self.ccache, "--until", until]
        return timed(
            [*command, "-j", str(self.jobs), *words, *chosen], self.env, self.folder / "ours.log"
        )

    def loop(self) -> Timed:
        """The cells of our last run, one tuxmake after the other."""
        runs = (self.folder / "state" / "runs").iterdir()
        newest = max(path for path in runs if path.is_dir() and not path.is_symlink())
        lines = ["set -e"]
        for number, path in enumerate(sorted(newest.glob("cells/*/result.json"))):
            result = json.loads(path.read_text())
            paths, arch = result["paths"], self.archs[result["cell"].partition("/")[2]]
            output = self.folder / "loop" / f"{number}"
            words = [
                *(sys.executable, "-m", "tuxmake", "-C", paths["source"], "-a", arch, "-t", "gcc"),
                *("-k", paths["config"], "-j", str(self.jobs), "-z", "none", "-o", str(output)),
                *(f"CONFIG_INITRAMFS_SOURCE={paths['build']}/{INITRAMFS}", "xipkernel"),
            ]
            lines += [f"rm -rf {output}; mkdir -p {output.parent}", run.command_line(words)]
            lines.append(f"test -e {output}/xipImage")
        assert len(lines) == 1 + 3 * len(self.cells)
        script = self.folder / "loop.sh"
        script.write_text("\n".join(lines) + "\n")
        return timed(["sh", str(script)], {}, self.folder / "loop.log")

    def cold(self) -> None:
        """Forget what was built."""
        cache = self.folder / "cache"
        tools = (cache / "sources").glob("*/hosttools-*")
        run.run(["rm", "-rf", cache / "stages", self.folder / "ccache", *tools], check=True)


def name_of(cell: Cell) -> str:
    """A cell's name without its kernel's."""
    return cell.id.partition("/")[2]


def chosen_cells(loaded: LoadedMatrix, count: int) -> list[Cell]:
    """`count` of the nightly matrix's small cells, evenly spread."""
    nightly = loaded.select(Wanted(profile="nightly"))
    small = [one for one in nightly if (one.kernel, one.config) == (KERNEL, SMALL)]
    return [small[at * len(small) // count] for at in range(count)]


def line(what: str, found: list[Timed], base: float) -> float:
    """Print a line of the table; the ratio of wall time."""
    walls = [one.wall for one in found]
    median, cpu = statistics.median(walls), statistics.median(one.cpu for one in found)
    print(
        f"{what:34} {median:9.2f} s  spread {max(walls) - min(walls):7.2f}   {median / base:6.3f} x"
        f"   CPU {cpu:8.2f} s"
    )
    return median / base


def main() -> int:
    """Print the table; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    most = len(DIFFERENT)
    parser.add_argument("--cells", type=int, choices=range(1, most + 1), default=most)
    parser.add_argument("--different", action="store_true", help="no two cells share a kernel")
    parser.add_argument("--cold", action="store_true", help="only that: no changed kernel")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ccache", action="store_true")
    wanted = parser.parse_args()
    loaded = load_matrix(ROOT / "matrix.yaml", ROOT / "templates")
    if wanted.different:
        names = tuple(f"{KERNEL}/{one}" for one in DIFFERENT[: wanted.cells])
        cells: Sequence[Cell] = loaded.select(Wanted(cells=names))
    else:
        cells = chosen_cells(loaded, wanted.cells)
    kernel = obtain(KERNEL, loaded.kernels[KERNEL], cache_dir(), print)
    loops: dict[str, list[Timed]] = {"cold": [], "changed": []}
    ours: dict[str, list[Timed]] = {"cold": [], "changed": [], "unchanged": []}
    kernels = 0
    with tempfile.TemporaryDirectory(prefix="xipmatrix-bench-") as name:
        bench = Bench(Path(name), cells, wanted.jobs, wanted.ccache)
        # What both sides get for nothing: kernels, and source folders with the series.
        bench.ours(KERNEL, until="source")
        if not wanted.cold:
            changed = ("--kernel", f"{changed_kernel(kernel, Path(name))}@changed")
            bench.ours("linux@changed", *changed, until="source")
        for _ in range(wanted.rounds):
            bench.cold()
            ours["cold"].append(bench.ours(KERNEL))
            kernels = len(list((bench.folder / "cache/stages/build").glob("*/vmlinux")))
            loops["cold"].append(bench.loop())
            if wanted.cold:
                ours["unchanged"].append(bench.ours(KERNEL))
                continue
            ours["changed"].append(bench.ours("linux@changed", *changed))
            loops["changed"].append(bench.loop())
            ours["unchanged"].append(bench.ours("linux@changed", *changed))
    print("\n".join(bench.cells))
    print(f"{wanted.cells} cells, {kernels} kernels, {wanted.jobs} jobs, {wanted.rounds} rounds")
    ratios = {}
    for what, side in ours.items():
        if not side:
            continue
        loop = loops.get(what) or loops["changed"] or loops["cold"]
        base = statistics.median(one.wall for one in loop)
        line(f"{what}: loop of tuxmake", loop, base)
        ratios[what] = line(f"{what}: ours, booted and proved", side, base)
    own = statistics.median(one.own / one.cpu for one in ours["cold"])
    print(f"cold, our own share of the CPU: {own:.2%}")
    kept = ratios["cold"] <= COLD and ratios["unchanged"] <= UNCHANGED and own <= OWN
    print(f"goals {COLD} cold, {UNCHANGED} unchanged, {OWN:.0%}: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
