# SPDX-License-Identifier: GPL-2.0-only
"""A look at the whole machine while it is stopped and init stands still."""

from __future__ import annotations

from pathlib import Path

from ..matrix.model import Board
from . import protocol
from .monitor import Monitor
from .result import Moment

_CHUNK = 1 << 20


async def look(monitor: Monitor, board: Board, flash: Path | None, work: Path, name: str) -> Moment:
    """Stop the machine, dump its RAM to ``<work>/ram-<name>.bin``, and let it go on.

    At the last moment its view of the flash is compared with the image file `flash` (None:
    the machine has no flash). Raises QMPError.
    """
    await monitor.execute("stop")
    ram = await monitor.save(board.ram_base, board.ram_size, work / f"ram-{name}.bin")
    tables = await monitor.page_tables()
    seen, differs = 0, None
    if flash is not None and name == protocol.POWEROFF:
        view = await monitor.save(board.flash.base, board.flash.size, work / "flash-view.bin")
        seen, differs = board.flash.size, first_difference(view, flash)
        if differs is None:
            view.unlink()
    await monitor.execute("cont")
    return Moment(name, ram, tables, seen, differs)


def first_difference(one: Path, other: Path) -> int | None:
    """The first offset in bytes at which two files differ; None where they are the same."""
    at = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            mine, theirs = left.read(_CHUNK), right.read(_CHUNK)
            if mine != theirs:
                pairs = zip(mine, theirs, strict=False)
                same = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
                return at + (min(len(mine), len(theirs)) if same is None else same)
            if not mine:
                return None
            at += len(mine)
