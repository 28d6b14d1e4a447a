# SPDX-License-Identifier: GPL-2.0-only
"""Bisecting a real kernel: runtime constants patched into text, among commits that are not at
fault, one that does not build, and one that moves an anchor of the series. Killed once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bisect_support import BREAKER, MOVED, NO_BUILD, real_repository
from conftest import RISCV
from kernel_trees import fingerprint
from xipmatrix.core.files import cache_dir, remove
from xipmatrix.kernel import KernelTree, obtain
from xipmatrix.matrix.model import Kernel
from xipmatrix.report.bisect import WIDTH

pytestmark = pytest.mark.bisect


@pytest.fixture(scope="session")
def older() -> KernelTree:
    """Linux 7.2."""
    package = {"package": "linux-source-7.2", "suite": "trixie-backports"}
    kernel = Kernel.model_validate({"providers": [{"debian": package}]})
    return obtain("7.2", kernel, cache_dir(), print)


@pytest.fixture
def env(linux: KernelTree, tmp_path: Path) -> Iterator[dict[str, str]]:
    """State and cache of its own: the source, a repository and the objects are 2 GB."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("plugin", "ram"):
        if (cache_dir() / name).exists():
            (cache / name).symlink_to(cache_dir() / name)
    yield {
        **os.environ,
        "XIPMATRIX_CACHE": str(cache),
        "XIPMATRIX_STATE": str(tmp_path / "state"),
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("kernels", "bisect", "stages"):
        remove(cache / name)


def test_riscv_runtime_constants_are_found_although_killed(
    older: KernelTree, linux: KernelTree, env: dict[str, str], tmp_path: Path
) -> None:
    tree, commits = real_repository(tmp_path / "linux", older, linux)
    before = fingerprint(tree)
    command = [
        *(sys.executable, "-m", "xipmatrix", "bisect", RISCV, "--no-ccache"),
        *("--kernel", str(tree), "--good", "v7.2", "--bad", "v7.3"),
    ]

    # Both ends are compiled whole. Killed while the first commit between them compiles.
    ends = judged = 0
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            ends += line.startswith(("  bad: ", "  good: "))
            judged += line.startswith(("  bad: ", "  good: ", "  skip: "))
            if ends == 2 and "build compiling" in line:
                break
        else:
            raise AssertionError(f"it ended:\n{said}")
        (objects,) = tmp_path.glob("cache/bisect/*/objects")
        first = time.time()
        time.sleep(4)
        process.send_signal(signal.SIGKILL)

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bad end " in done.stdout
    assert done.stdout.count(": known") == judged, "verdicts from before the kill were lost"

    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert any("skip: build-failed: " in line for line in lines)
    assert any("skip: series-conflict: " in line for line in lines)
    kept = [path for path in objects.rglob("*.o") if path.stat().st_mtime < first]
    assert len(kept) > 300, "everything was compiled again"

    (report,) = tmp_path.glob("state/bisect/*/report.txt")
    text = report.read_text()
    print(text)
    culprit = commits[BREAKER]
    assert text.startswith(f"Subject: [bisected] XIP {RISCV.partition('/')[2]}: ")
    assert f" since {culprit[:12]}\n" in text
    assert f"commit {culprit}\n" in text
    assert "arch/riscv/include/asm/runtime-const-insn.h" in text
    skipped = text[text.index("Skipped: ") : text.index("Versions\n")]
    assert f"{commits[NO_BUILD][:12]} init: Use what is declared nowhere" in skipped
    assert "no_such_thing" in skipped
    assert f"{commits[MOVED][:12]} init: Declare it; riscv: Align an assignment" in skipped
    assert "arch/riscv/kernel/setup.c" in skipped
    assert "kimage_res.start = code_res.start;" in skipped
    quoted = (
        text[text.index("git bisect log\n") :]
        + text[text.index("First bad commit") : text.index("What differs")]
    )
    wide = [line for line in text.replace(str(tree), "~/linux").splitlines() if len(line) > WIDTH]
    assert [line for line in wide if line not in quoted and not line.startswith("Subject: ")] == []
    assert fingerprint(tree) == before
