# SPDX-License-Identifier: GPL-2.0-only
"""One boot of a flash image under QEMU, watched until it ends.

QEMU starts stopped. Its monitor says where it keeps flash and RAM, which ties the
plugin's host addresses to memories; then the guest runs. Its console and QEMU's SHUTDOWN
event are watched, and where init stands still the whole machine is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from qemu.qmp import Message, QMPClient, QMPError, Runstate

from ..core import run
from ..core.files import sha256_file, write_atomic
from ..matrix.model import Board, Region
from . import console, qemu
from .moments import look
from .monitor import Monitor
from .plugin import api_of, build_plugin
from .result import (
    CONSOLE,
    COUNTS,
    FLASH_TRACE,
    QEMU_SCRIPT,
    STORES,
    BootResult,
    End,
    Memory,
    Moment,
    Sample,
)
from .sampling import sample

# What goes wrong with the monitor is said by us, once; not by its library on stderr too.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)

_START_SECONDS = 30.0
_EXIT_SECONDS = 20.0
# Bytes; QEMU traces some 180 for each write to flash. A good kernel makes none.
_MOST_TRACED = 1 << 18
_TRACE_SECONDS = 0.25


@dataclass
class Seen:
    """What a running QEMU told: the end, its memories, and what is wrong where it failed."""

    end: End = End.QEMU_FAILED
    memories: tuple[Memory, ...] = ()
    moments: list[Moment] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    detail: str = ""


@dataclass(frozen=True)
class Watch:
    """What a boot is watched with."""

    board: Board
    flash: Path | None
    work: Path
    limits: console.Limits
    trace: Path
    sampling: bool


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
    preload: qemu.Preload | None = None,
) -> BootResult:
    """Boot `flash` on `board` to its end; console, counts, traces and dumps go to `work`.

    `bootargs` holds the challenge already, and counts where firmware hands it over;
    elsewhere it lies in the flash's device tree. `count` loads the residency plugin; without
    it, or where QEMU has no plugins or such as we do not know, the program counters are
    sampled.
    `preload` is in RAM from power-on.
    `kernel` is a normal kernel, run from RAM: of that nothing is sampled.
    Raises InfrastructureError where QEMU is missing or does not start; what the guest
    does is never an error.
    """
    work.mkdir(parents=True, exist_ok=True)
    log, counts, stderr = work / CONSOLE, work / COUNTS, work / "qemu.log"
    trace, stores = work / FLASH_TRACE, work / STORES
    for old in (log, counts, trace, stores):
        old.unlink(missing_ok=True)
    log.write_bytes(b"")
    version = qemu.version(board.qemu.binary)
    before = sha256_file(flash)
    command = qemu.boot_args(
        board, flash, bootargs=bootargs, work=work, kernel=kernel, preload=preload
    )
    count = count and qemu.has_plugins(board.qemu.binary) and api_of(version) is not None
    if count:
        # One host thread for all CPUs: the plugin's counters are plain additions.
        command += ["-accel", "tcg,thread=single"]
        command += ["-plugin", f"{build_plugin(version)},out={counts}{_stores(board, stores)}"]
    command += ["-trace", "pflash_*", "-D", str(trace), "-serial", "stdio", "-monitor", "none"]
    write_atomic(work / QEMU_SCRIPT, _script(board, command))
    sampling = not count and kernel is None
    watch = Watch(board, flash if kernel is None else None, work, limits, trace, sampling)
    began = time.monotonic()
    with _socket() as socket, stderr.open("wb") as errors:
        watched = [*command, "-S", "-qmp", f"unix:{socket}"]
        seen = asyncio.run(_watch(watch, watched, socket, log, errors.fileno()))
    if run.stopping():
        raise KeyboardInterrupt
    seconds = time.monotonic() - began
    end, detail = seen.end, seen.detail
    said = " ".join(stderr.read_text("utf-8", "replace").split())
    if end is End.FAILURE and said:
        # QEMU fails with an exit status too, and then says why.
        end = End.QEMU_FAILED
    if end is End.QEMU_FAILED:
        detail = f"{detail}; {said[:300]}" if said else detail
    return BootResult(
        end=end,
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
        moments=tuple(seen.moments),
        flash_trace=trace if trace.is_file() else None,
        rom_stores=stores if stores.is_file() else None,
        samples=tuple(seen.samples),
        initrd=preload.path if preload else None,
    )


def _stores(board: Board, path: Path) -> str:
    """The plugin's options by which it tells of stores to a ROM, of which no device does."""
    rom = board.flash
    return f",stores={path},from={rom.base},size={rom.size}" if rom.kind == "rom" else ""


def _script(board: Board, command: list[str]) -> str:
    """How QEMU was started, for people. The flash image is made anew for every boot."""
    env = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in board.qemu.env.items())
    return (
        "#!/bin/sh\n# The machine of this boot. Its flash image is gone once it was judged:\n"
        "# 'xipmatrix boot' or 'verify' with --interactive makes one and gives the console and\n"
        f"# QEMU's monitor (Ctrl-A C), with --gdb it waits for a debugger.\n{env}"
        f"exec {run.command_line(command)}\n"
    )


@contextlib.contextmanager
def _socket() -> Iterator[Path]:
    """A path for a unix socket, short enough for one (108 bytes)."""
    with tempfile.TemporaryDirectory(prefix="xipmatrix-") as folder:
        yield Path(folder) / "qmp"


async def _watch(watch: Watch, command: list[str], socket: Path, log: Path, errors: int) -> Seen:
    client = QMPClient("xipmatrix")
    # We listen and QEMU connects: no moment at which the socket is not there yet.
    await client.start_server(str(socket))
    seen = Seen()
    with client.listener("SHUTDOWN") as shutdowns:
        try:
            with run.start(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=watch.board.qemu.env,
            ) as process:
                if not await _connected(client, process):
                    seen.detail = "QEMU did not start"
                    return seen
                monitor = Monitor(client)
                memories = [await monitor.memory(*one) for one in _memories(watch.board)]
                for region in watch.board.firmware:
                    memories.append(await _firmware(monitor, region, watch.work))
                seen.memories = tuple(memories)
                end = await _run(watch, monitor, process, log, seen)
                if end is not None:
                    # Not killed: the plugin writes its counts as QEMU leaves.
                    with contextlib.suppress(QMPError):
                        await monitor.execute("quit")
                status = await _exit_status(process, client)
        except QMPError as error:
            seen.detail = f"QEMU's monitor: {error}"
            return seen
        finally:
            with contextlib.suppress(QMPError, EOFError, OSError):
                await client.disconnect()
        if end is not None:
            seen.end = end
        else:
            reasons = [_reason(event) for event in shutdowns.history]
            seen.end, seen.detail = _ending(reasons, status)
    return seen


async def _run(
    watch: Watch, monitor: Monitor, process: run.Process, log: Path, seen: Seen
) -> End | None:
    """The guest's run, from `cont` to its console's end or to a limit.

    Somebody must read the console by then: a guest that fills its pipe holds QEMU, which would
    never answer to `cont`.
    """
    assert process.stdout is not None and process.stdin is not None
    keys = process.stdin
    turn = asyncio.Lock()

    async def on_hold(moment: str) -> None:
        async with turn:
            seen.moments.append(await look(monitor, watch.board, watch.flash, watch.work, moment))
        with contextlib.suppress(BrokenPipeError):
            keys.write(b"\n")
            keys.flush()

    sampling: asyncio.Task[None] | None = None
    reading = asyncio.create_task(console.read(process.stdout, log, watch.limits, on_hold))
    try:
        await monitor.execute("cont")
        if watch.sampling:
            sampling = asyncio.create_task(sample(monitor, turn, seen.samples))
        while not (await asyncio.wait([reading], timeout=_TRACE_SECONDS))[0]:
            if watch.trace.is_file() and watch.trace.stat().st_size > _MOST_TRACED:
                return End.FLASH_LIMIT
        return reading.result()
    finally:
        if not reading.done():
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
        if sampling is not None:
            sampling.cancel()
            # The machine may have gone while it was asked something.
            with contextlib.suppress(asyncio.CancelledError, QMPError, EOFError):
                await sampling


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
    """Name, guest physical address and size in bytes of a board's flash and RAM."""
    return [
        ("flash", board.flash.base, board.flash.size),
        ("ram", board.ram_base, board.ram_size),
    ]


async def _firmware(monitor: Monitor, region: Region, work: Path) -> Memory:
    """A firmware's memory, with its content: what else is executed there is not the firmware."""
    memory = await monitor.memory(region.name, region.base, region.size)
    path = await monitor.save(region.base, region.size, work / f"{region.name}.bin")
    content = path.read_bytes()
    path.unlink()
    return replace(memory, content=content)


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


def _ending(reasons: list[str], status: int | None) -> tuple[End, str]:
    """What QEMU's SHUTDOWN reasons and exit status mean, after the console has ended."""
    ends = {"guest-shutdown": End.POWEROFF, "guest-reset": End.RESET, "guest-panic": End.PANIC}
    why = f"SHUTDOWN: {', '.join(reasons) or 'no event'}; exit status {status}"
    found = next((ends[reason] for reason in reasons if reason in ends), None)
    # riscv's power switch (sifive_test) makes QEMU 7.2 exit without an event, with the
    # status that the guest gave it.
    its_own = found is not None or not reasons
    if status == 0 and its_own:
        return found or End.POWEROFF, ""
    if status is not None and status > 0 and its_own:
        return found if found in (End.RESET, End.PANIC) else End.FAILURE, why
    return End.QEMU_FAILED, why
