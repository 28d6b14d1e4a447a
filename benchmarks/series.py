# SPDX-License-Identifier: GPL-2.0-only
"""Series of all architectures from templates to commits, beside git am of the same patches.

    .venv/bin/python benchmarks/series.py [--kernel NAME] [--rounds N]

Every round does both, one after the other. git am gets what people have: a work tree of the kernel
and patches/<kernel>; the time of its checkout is a line of its own. Printed are medians in seconds
of wall time, their spread (largest minus smallest), the ratio, and the largest resident memory.
Budget of ours: 2 s and 200 MB; exit status 1 if it is not kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from xipmatrix.core import run
from xipmatrix.core.files import cache_dir, project_dir
from xipmatrix.core.git import hermetic
from xipmatrix.kernel import KernelTree, obtain
from xipmatrix.matrix.load import load_matrix
from xipmatrix.series.engine import GENERIC, State, apply_all, sources

ROOT = project_dir()
TEMPLATES = ROOT / "templates"
SECONDS, MEGABYTES = 2.0, 200.0


def ours(kernel: KernelTree) -> list[str]:
    """Read the templates and make all commits: the names of the series that apply."""
    states = apply_all(sources(TEMPLATES), kernel)
    return [name for name, one in states.items() if one.state is State.APPLIES]


def measured(kernel: KernelTree, out: multiprocessing.SimpleQueue[tuple[float, float]]) -> None:
    """In a process of its own: seconds, and megabytes of it and its largest child."""
    began = time.perf_counter()
    ours(kernel)
    seconds = time.perf_counter() - began
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    out.put((seconds, sum(resource.getrusage(one).ru_maxrss for one in who) / 1000))


def git(tree: Path, *words: str) -> float:
    """Seconds that a git command in `tree` takes."""
    who = {f"GIT_COMMITTER_{key}": "bench" for key in ("NAME", "EMAIL")}
    began = time.perf_counter()
    run.run(["git", "-C", tree, *words], env={**hermetic(), **who}, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Print the table; 1 where the budget is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="7.3")
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    loaded = load_matrix(ROOT / "matrix.yaml", TEMPLATES)
    kernel = obtain(
        wanted.kernel,
        loaded.kernels[wanted.kernel],
        cache_dir(),
        lambda text: print(f"  {text}", file=sys.stderr),
    )
    names = ours(kernel)
    mine: list[tuple[float, float]] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="xipmatrix-bench-") as folder:
        tree = Path(folder) / "linux"
        git(Path(folder), "clone", "-q", "--shared", "--no-checkout", str(kernel.git_dir), "linux")
        checkout = git(tree, "checkout", "-q", "--detach", kernel.commit)
        for _ in range(wanted.rounds):
            context = multiprocessing.get_context("fork")
            queue: multiprocessing.SimpleQueue[tuple[float, float]] = context.SimpleQueue()
            process = context.Process(target=measured, args=(kernel, queue))
            process.start()
            mine.append(queue.get())
            process.join()
            seconds = 0.0
            for name in (one for one in names if one != GENERIC):
                git(tree, "reset", "-q", "--hard", kernel.commit)
                folders = [ROOT / "patches" / kernel.name / one for one in (GENERIC, name)]
                patches = [path for one in folders for path in sorted(one.glob("*.patch"))]
                mails = [str(path) for path in patches if not path.name.startswith("0000-")]
                seconds += git(tree, "am", "-q", *mails)
            theirs.append(seconds)
    median, other = statistics.median(one for one, _ in mine), statistics.median(theirs)
    spread = max(one for one, _ in mine) - min(one for one, _ in mine)
    memory = max(one for _, one in mine)
    print(f"{kernel.release}, series {', '.join(names)}, {wanted.rounds} rounds; seconds")
    print(
        f"{'git am, all series':24} {other:7.3f}  spread {max(theirs) - min(theirs):6.3f}   1.00 x"
    )
    print(f"{'  its checkout, once':24} {checkout:7.3f}")
    print(
        f"{'templates to commits':24} {median:7.3f}  spread {spread:6.3f}  {median / other:5.2f} x"
        f"   {memory:.0f} MB"
    )
    kept = median <= SECONDS and memory <= MEGABYTES
    print(f"budget {SECONDS:.0f} s, {MEGABYTES:.0f} MB: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
