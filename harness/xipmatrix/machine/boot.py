# SPDX-License-Identifier: GPL-2.0-only
"""One boot of a flash image under QEMU, watched until it ends.

QEMU starts stopped. Its monitor says where it keeps flash and RAM, which ties the
plugin's host addresses to memories; then the guest runs, and from there on only its
console and QEMU's SHUTDOWN event are looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qemu.qmp import Message, QMPClient, QMPError, Runstate

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import sha256_file
from ..matrix.model import Board
from . import console, qemu
from .plugin import build_plugin
from .result import BootResult, End, Memory

# What goes wrong with the monitor is said by us, once; not by its library on stderr too.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

_START_SECONDS = 30.0
_EXIT_SECONDS = 20.0


@dataclass(frozen=True)
class Seen:
    """What a running QEMU told: the end, its memories, and what is wrong where it failed."""

    end: End
    memories: tuple[Memory, ...] = ()
    detail: str = ""


def boot(
    board: Board,
    flash: Path,
    work: Path,
    *,
    bootargs: str,
    challenge: str,
    limits: console.Limits,
    count: bool = True,
    kernel: Path | None = None,
) -> BootResult:
    """Boot `flash` on `board` to its end; console.log, counts.txt, qemu.log go to `work`.

    `bootargs` holds the challenge already, and counts where firmware hands it over;
    elsewhere it lies in the flash's device tree. `count` loads the residency plugin.
    `kernel` is for a negative control: a normal kernel run from RAM.
    Raises InfrastructureError where QEMU is missing or does not start; what the guest
    does is never an error.
    """
    work.mkdir(parents=True, exist_ok=True)
    log, counts, stderr = work / "console.log", work / "counts.txt", work / "qemu.log"
    counts.unlink(missing_ok=True)
    log.write_bytes(b"")
    version = qemu.version(board.qemu.binary)
    before = sha256_file(flash)
    command = qemu.boot_args(board, flash, bootargs=bootargs, work=work, kernel=kernel)
    if count:
        # One host thread for all CPUs: the plugin's counters are plain additions.
        command += ["-accel", "tcg,thread=single"]
        command += ["-plugin", f"{build_plugin(version)},out={counts}"]
    command += ["-serial", "stdio", "-monitor", "none"]
    began = time.monotonic()
    with _socket() as socket, stderr.open("wb") as errors:
        watched = [*command, "-S", "-qmp", f"unix:{socket}"]
        seen = asyncio.run(_watch(board, watched, socket, log, limits, errors.fileno()))
    if run.stopping():
        raise KeyboardInterrupt
    seconds = time.monotonic() - began
    detail = seen.detail
    if seen.end is End.QEMU_FAILED:
        said = " ".join(stderr.read_text("utf-8", "replace").split())
        detail = f"{detail}; {said[:300]}" if said else detail
    return BootResult(
        end=seen.end,
        seconds=round(seconds, 3),
        console=log,
        counts=counts if counts.is_file() else None,
        memories=seen.memories,
        challenge=challenge,
        command=tuple(command),
        qemu_version=version,
        flash_sha256=before,
        flash_sha256_after=sha256_file(flash),
        silence_limit=limits.silence,
        total_limit=limits.total,
        detail=detail,
    )


@contextlib.contextmanager
def _socket() -> Iterator[Path]:
    """A path for a unix socket, short enough for one (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="xipmatrix-") as folder:
        yield Path(folder) / "qmp"


async def _watch(
    board: Board,
    command: list[str],
    socket: Path,
    log: Path,
    limits: console.Limits,
    errors: int,
) -> Seen:
    monitor = QMPClient("xipmatrix")
    # We listen and QEMU connects: no moment at which the socket is not there yet.
    await monitor.start_server(str(socket))
    with monitor.listener("SHUTDOWN") as shutdowns:
        try:
            with run.start(
                command, stdout=subprocess.PIPE, stderr=errors, env=board.qemu.env
            ) as process:
                assert process.stdout is not None
                if not await _connected(monitor, process):
                    return Seen(End.QEMU_FAILED, detail="QEMU did not start")
                memories = tuple([await _memory(monitor, *one) for one in _memories(board)])
                await monitor.execute("cont")
                end = await console.read(process.stdout, log, limits)
                if end is not None:
                    # Not killed: the plugin writes its counts as QEMU leaves.
                    with contextlib.suppress(QMPError):
                        await monitor.execute("quit")
                status = await _exit_status(process, monitor)
        except QMPError as error:
            return Seen(End.QEMU_FAILED, detail=f"QEMU's monitor: {error}")
        finally:
            with contextlib.suppress(QMPError, EOFError, OSError):
                await monitor.disconnect()
        if end is not None:
            return Seen(end, memories)
        reasons = [_reason(event) for event in shutdowns.history]
    return _ending(reasons, status, memories)


def _reason(shutdown: Message) -> str:
    """The reason that a SHUTDOWN event gives."""
    data = shutdown.get("data")
    return str(data.get("reason", "unknown")) if isinstance(data, dict) else "unknown"


async def _connected(monitor: QMPClient, process: run.Process) -> bool:
    """Wait for QEMU to connect to us; False if it ends instead, or takes too long."""
    accepting = asyncio.ensure_future(monitor.accept())
    stop = time.monotonic() + _START_SECONDS
    while not accepting.done():
        if process.poll() is not None or time.monotonic() > stop:
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError, QMPError):
                await accepting
            return False
        await asyncio.wait([accepting], timeout=0.05)
    await accepting
    return True


def _memories(board: Board) -> list[tuple[str, int, int]]:
    """Name, guest physical address and size in bytes of what a board can execute from."""
    return [
        ("flash", board.flash.base, board.flash.size),
        ("ram", board.ram_base, board.qemu.memory),
        *((region.name, region.base, region.size) for region in board.firmware),
    ]


async def _memory(monitor: QMPClient, name: str, physical: int, size: int) -> Memory:
    """Where QEMU keeps a memory. Raises InfrastructureError where it has none there."""
    said = str(
        await monitor.execute("human-monitor-command", {"command-line": f"gpa2hva {physical:#x}"})
    )
    found = re.search(r" is (0x[0-9a-f]+)", said)
    if found is None:
        raise InfrastructureError(
            f"QEMU has no memory at {physical:#x} ({name}): {said.strip()}",
            hint="the board's flash.base, ram_base or firmware in matrix.yaml is wrong",
        )
    return Memory(name, physical, size, int(found[1], 16))


async def _exit_status(process: run.Process, monitor: QMPClient) -> int | None:
    """QEMU's exit status; None where it hangs in its own exit.

    By then its last event has been read: the monitor's connection has ended.
    """
    stop = time.monotonic() + _EXIT_SECONDS
    while process.poll() is None or monitor.runstate is Runstate.RUNNING:
        if time.monotonic() > stop:
            return None
        await asyncio.sleep(0.005)
    return process.returncode


def _ending(reasons: list[str], status: int | None, memories: tuple[Memory, ...]) -> Seen:
    """What QEMU's SHUTDOWN reasons and exit status mean, after the console has ended."""
    ends = {"guest-shutdown": End.POWEROFF, "guest-reset": End.RESET, "guest-panic": End.PANIC}
    if status == 0:
        for reason in reasons:
            if reason in ends:
                return Seen(ends[reason], memories)
        if not reasons:
            # riscv's power switch (sifive_test) makes QEMU 7.2 exit without an event.
            return Seen(End.POWEROFF, memories)
    why = f"SHUTDOWN: {', '.join(reasons) or 'no event'}; exit status {status}"
    return Seen(End.QEMU_FAILED, memories, why)
