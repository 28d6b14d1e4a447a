# SPDX-License-Identifier: GPL-2.0-only
"""Reading a guest's console until it ends, falls silent, panics or says too much."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .protocol import held_moment
from .result import End

PANIC = "Kernel panic - not syncing"
# The kernel found a fault in itself and may have gone on (lib/dump_stack, die()).
_OOPS = re.compile(
    r"^(?:\[\s*\d+\.\d+\](?:\[[^\]]*\])?\s*)?"
    r"(?:Internal error: |Oops(?: \[#|:| - )|Unable to handle kernel |kernel BUG at |"
    r"BUG: )",
    re.M,
)
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 12
_PANIC_GRACE = 1.0


@dataclass(frozen=True)
class Limits:
    """Seconds of wall time, and bytes: what a console may take."""

    silence: float = 60.0
    total: float = 300.0
    output: int = 4 << 20


def panic_line(console: str) -> str | None:
    """The first line that says the kernel panicked or oopsed; None where all is well."""
    places = [at for at in (console.find(PANIC), _first_oops(console)) if at >= 0]
    if not places:
        return None
    at = min(places)
    start = console.rfind("\n", 0, at) + 1
    return console[start:].split("\n", 1)[0].strip()


def _first_oops(console: str) -> int:
    found = _OOPS.search(console)
    return found.start() if found else -1


OnHold = Callable[[str], Awaitable[None]]


async def read(pipe: IO[bytes], log: Path, limits: Limits, on_hold: OnHold) -> End | None:
    """Copy the console from `pipe` to `log` until it ends: None is end of file.

    When init says that it stands still, `on_hold` is called with the moment's name, once for
    each; the time that takes is not the guest's. After a panic the guest may still print why, for a
    second of silence. Whoever gets an End ends the guest.
    """
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    stop = time.monotonic() + limits.total
    line, seen, panicked = b"", 0, False
    held: set[str] = set()
    try:
        with log.open("wb", buffering=0) as out:
            while True:
                left = stop - time.monotonic()
                quiet = _PANIC_GRACE if panicked else limits.silence
                try:
                    data = await asyncio.wait_for(reader.read(_CHUNK), max(0.0, min(left, quiet)))
                except TimeoutError:
                    if panicked:
                        return End.PANIC
                    return End.TIMEOUT if left <= quiet else End.SILENT
                if not data:
                    return None
                out.write(data)
                seen += len(data)
                *whole, line = (line + data).split(b"\n")
                panicked = panicked or any(PANIC.encode() in one for one in (*whole, line))
                for moment in filter(None, map(held_moment, whole)):
                    if moment in held:
                        continue
                    held.add(moment)
                    began = time.monotonic()
                    await on_hold(moment)
                    stop += time.monotonic() - began
                line = line[-_LONGEST_LINE:]
                if seen > limits.output:
                    return End.PANIC if panicked else End.OUTPUT_LIMIT
    finally:
        transport.close()
