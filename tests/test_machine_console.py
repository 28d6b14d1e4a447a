# SPDX-License-Identifier: GPL-2.0-only
"""How a console ends, played by a shell script instead of QEMU."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from xipmatrix.core import run
from xipmatrix.machine import console
from xipmatrix.machine.console import Limits, panic_line
from xipmatrix.machine.result import End


def play(script: str, log: Path, limits: Limits, moments: list[str] | None = None) -> End | None:
    async def on_hold(moment: str) -> None:
        assert moments is not None
        moments.append(moment)

    async def reading() -> End | None:
        with run.start(["sh", "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            return await console.read(process.stdout, log, limits, on_hold)

    return asyncio.run(reading())


def test_init_standing_still_is_noticed_once_whole(tmp_path: Path) -> None:
    moments: list[str] = []
    script = (
        "echo 'cmdline: XIPMATRIX-HOLD echoed'; printf 'XIPMATRIX-HO'; sleep 0.1;"
        r"printf 'LD userspace\r\n'; echo XIPMATRIX-HOLD poweroff"
    )
    assert play(script, tmp_path / "log", Limits(), moments) is None
    assert moments == ["userspace", "poweroff"]


def test_a_moment_is_looked_at_once(tmp_path: Path) -> None:
    moments: list[str] = []
    script = "for i in 1 2 3; do echo XIPMATRIX-HOLD poweroff; echo XIPMATRIX-HOLD soon; done"
    assert play(script, tmp_path / "log", Limits(), moments) is None
    assert moments == ["poweroff"]


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("echo done", None),
        ("exit 7", None),
        ("sleep 20", End.SILENT),
        ("echo Linux version 7; sleep 20", End.SILENT),
        ("while :; do echo tick; sleep 0.05; done", End.TIMEOUT),
        ("exec yes", End.OUTPUT_LIMIT),
        ("echo 'Kernel panic - not syncing: x'; sleep 20", End.PANIC),
        # Cut in two by the pipe.
        ("printf 'Kernel panic - not'; sleep 0.1; echo ' syncing: x'; sleep 20", End.PANIC),
        # Byte by byte, as a slow UART gives it.
        (
            "for c in 'Kernel panic' ' - ' n o t ' ' s y n c i n g :; do "
            "printf '%s' \"$c\"; sleep 0.01; done; sleep 20",
            End.PANIC,
        ),
        # A panic that never stops printing is a panic.
        ("echo 'Kernel panic - not syncing: x'; exec yes", End.PANIC),
        ("echo 'Kernel panic - not syncing: x'; while :; do echo t; sleep 0.05; done", End.PANIC),
    ],
)
def test_how_a_console_ends(script: str, end: End | None, tmp_path: Path) -> None:
    limits = Limits(silence=1.4, total=1.9, output=100_000)
    assert play(script, tmp_path / "log", limits) == end


def test_everything_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert play("printf 'a\\nb\\377'; echo c >&2", log, Limits(5, 5)) is None
    assert log.read_bytes().startswith(b"a\nb\xff")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[    1.0] Run /init as init process\nall is well\n", None),
        ("a\n[    0.1] Kernel panic - not syncing: VFS\nb", "Kernel panic - not syncing: VFS"),
        ("Unable to handle kernel NULL pointer dereference\n", "Unable to handle kernel NULL"),
        ("[    0.1] Internal error: Oops: 5 [#1] ARM\n", "Internal error: Oops"),
        ("[    0.1][    T0] Oops [#1]\n", "Oops [#1]"),
        ("[    0.1] BUG: scheduling while atomic\n", "BUG: scheduling"),
        # The first fault is named, not what follows from it.
        ("Oops [#1]\nKernel panic - not syncing: Fatal\n", "Oops [#1]"),
        ("[    0.1] x86: no BUG: here\n", None),
    ],
)
def test_faults_on_a_console(text: str, line: str | None) -> None:
    found = panic_line(text)
    assert (found is None) == (line is None)
    assert line is None or line in (found or "")
