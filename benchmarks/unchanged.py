# SPDX-License-Identifier: GPL-2.0-only
"""A matrix in which nothing has changed, beside the same matrix when only its kernels are kept.

    .venv/bin/python benchmarks/unchanged.py [--cells N] [--rounds N]

The cells are boards of a matrix made for this: QEMU's virt of arm and riscv under N names. Each has
its own keys, as any other board would; the kernel of an architecture is one. First all are booted
and proved, with kernels that are kept: what a matrix costs that rebuilds nothing but judges anew.
Then the same command runs N times. Printed are medians in seconds of wall time and of our own
CPU time (with children), their spread (largest minus smallest), and the ratio. Budget: 20 ms of
wall time a cell, start and reports included; exit status 1 if it is not kept.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from xipmatrix.core.files import project_dir

ROOT = project_dir()
SECONDS_A_CELL = 0.02
ARCHS = ("arm", "riscv")


def write_matrix(path: Path, cells: int) -> None:
    """The project's matrix, cut down to `cells` boards that differ in name and description."""
    yaml = YAML(typ="safe")
    matrix = yaml.load((ROOT / "matrix.yaml").read_text())
    boards = {}
    for number, arch in enumerate(ARCHS):
        names = [f"virt-{at:03}" for at in range(number, cells, len(ARCHS))]
        virt = matrix["boards"][arch]["virt"]
        boards[arch] = {name: {**virt, "description": name} for name in names}
    matrix["boards"] = boards
    matrix["cells"] = [
        {"kernel": ["7.3"], "arch": arch, "board": list(names), "config": ["tiny"]}
        for arch, names in boards.items()
    ]
    matrix["known_failures"] = []
    matrix["profiles"] = {"all": ["*"]}
    with path.open("w") as out:
        yaml.dump(matrix, out)


def timed(matrix: Path, state: Path, *words: str) -> tuple[float, float]:
    """Wall and CPU seconds of the product's own command, which must pass."""
    command = [sys.executable, "-m", "xipmatrix", "build", "--profile", "all", *words]
    env = {**os.environ, "XIPMATRIX_STATE": str(state)}
    # As at a user's: Python keeps what it has compiled.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = str(state / "pycache")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*command, "--matrix", str(matrix)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def main() -> int:
    """Print the table; 1 where the budget is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xipmatrix-bench-") as name:
        # The same path in each run of this: it is in no key, but in what a run says of itself.
        matrix, state = Path(name) / "matrix.yaml", Path(name) / "state"
        write_matrix(matrix, wanted.cells)
        timed(matrix, state, "--until", "image")  # kernels and configurations, where they are not
        booted, booted_cpu = timed(matrix, state, "--again")
        found = [timed(matrix, state) for _ in range(wanted.rounds)]
    print(f"{wanted.cells} cells, {wanted.rounds} rounds; seconds")
    print(f"{'kernels kept, all booted':26} {booted:8.2f}  CPU {booted_cpu:8.2f}   1.000 x")
    for what, base, values in (
        ("unchanged, wall", booted, [wall for wall, _ in found]),
        ("unchanged, CPU", booted_cpu, [cpu for _, cpu in found]),
    ):
        median, spread = statistics.median(values), max(values) - min(values)
        print(f"{what:26} {median:8.2f}  spread {spread:5.2f}   {median / base:5.3f} x")
    wall = statistics.median(one for one, _ in found)
    budget = SECONDS_A_CELL * wanted.cells
    kept = wall <= budget
    print(f"budget {budget:.1f} s: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
