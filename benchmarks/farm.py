# SPDX-License-Identifier: GPL-2.0-only
"""What work on other machines costs: content on its way, and decisions over many cells.

    .venv/bin/python benchmarks/farm.py [--megabytes N] [--rounds N]

Every round copies a file on this disk and computes its SHA-256, then sends the same file to a
worker on this machine through a Dask scheduler, checked where it arrives. Then the next cell is
chosen out of 1,000 and 100,000, for 10 and 1,000 workers. Printed are medians in seconds of wall
time and ratios. Budget of ours: a decision takes less than a thousandth of the cheapest cell's
build (0.1 s); exit status 1 if it is not kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xipmatrix.core.files import project_dir, sha256_file
from xipmatrix.farm import policy, session
from xipmatrix.farm.content import chunks
from xipmatrix.farm.link import Link
from xipmatrix.schedule import policy as schedule
from xipmatrix.schedule.policy import Queue, Task

sys.path.insert(0, str(project_dir() / "tests"))
from farm_support import farm, workers_of

NEEDS = frozenset({"arm-gcc", "qemu-system-arm"})
BUDGET = 0.1


def seconds(work: Callable[[], object]) -> float:
    """Wall time of `work`."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def copy(file: Path, to: Path) -> None:
    """What a shared disk would cost."""
    shutil.copyfile(file, to)
    sha256_file(to)


def send(link: Link, file: Path, digest: str, size: int) -> None:
    """What the farm does instead."""
    for offset, data in chunks(file):
        link.call(session.receive, digest, offset, data, size)


def transport(megabytes: int, rounds: int) -> None:
    """Print the first table."""
    from distributed import Client

    rows: dict[str, list[float]] = {"copy and SHA-256": [], "to a worker": []}
    with tempfile.TemporaryDirectory(prefix="xipmatrix-bench-") as name:
        folder = Path(name)
        (folder / "farm").mkdir()
        file = folder / "file"
        with farm(folder / "farm", ["a"]) as found, Client(found.address) as client:
            (address,) = workers_of(client)
            link = Link(client, address)
            for _ in range(rounds):
                file.write_bytes(os.urandom(megabytes * 1_000_000))
                size, digest = file.stat().st_size, sha256_file(file)

                rows["copy and SHA-256"].append(seconds(partial(copy, file, folder / "copy")))
                rows["to a worker"].append(seconds(partial(send, link, file, digest, size)))
    base = statistics.median(rows["copy and SHA-256"])
    print(f"{megabytes} MB, {rounds} rounds; seconds")
    for label, values in rows.items():
        median, spread = statistics.median(values), max(values) - min(values)
        rate = megabytes / median
        ratio = f"{median / base:6.2f} x  {rate:.0f} MB/s"
        print(f"{label:24} {median:7.3f}  spread {spread:6.3f}  {ratio}")


def decisions(rounds: int) -> float:
    """Print the second table; the slowest decision in seconds."""
    slowest = 0.0
    print("choosing the next cell; seconds")
    for count in (1_000, 100_000):
        tasks = [
            Task(f"cell-{at}", 100.0 + at % 7, (f"tip-{at % 20}", "base"), policy.MEMORY, NEEDS)
            for at in range(count)
        ]
        for machines in (10, 1_000):
            workers = [
                policy.Worker(f"w{at}", 2, NEEDS, 16 << 30, 1, {"base", f"tip-{at % 20}"})
                for at in range(machines)
            ]
            choose = partial(schedule.choose, Queue(tasks, 2 * machines), workers)
            took = [seconds(choose) for _ in range(rounds)]
            slowest = max(slowest, statistics.median(took))
            print(f"{count:7,} cells, {machines:5,} workers  {statistics.median(took):9.5f}")
    return slowest


def main() -> int:
    """Print both tables; 1 where the budget is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=370, help="a kernel's repository")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    transport(wanted.megabytes, wanted.rounds)
    kept = decisions(wanted.rounds) <= BUDGET
    print(f"budget {BUDGET} s a decision: {'kept' if kept else 'MISSED'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
