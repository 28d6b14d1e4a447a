# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's console on this terminal, or a debugger on it: for boot and verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import templates_dir

if TYPE_CHECKING:
    from ..build.compile import Built
    from ..machine.qemu import Preload
    from ..matrix.model import Cell


def run_by_hand(
    cell: Cell, built: Built, folder: Path, words: str, *, gdb: bool, preload: Preload | None = None
) -> int:
    """QEMU with `words` on the kernel's command line, to its end: its exit status.

    With `gdb` it waits, stopped, for a debugger on TCP port 1234.
    """
    from ..machine.qemu import interactive_args, run_interactive
    from ..pipeline import cell_flash, challenged

    board = cell.board_spec
    _, bootargs = challenged(cell, words)
    flash = cell_flash(cell, built, bootargs, folder, templates_dir()).path
    click.echo("Ctrl-A X ends QEMU" + (f"; gdb {built.vmlinux}: target remote :1234" * gdb))
    return run_interactive(
        board,
        interactive_args(board, flash, bootargs=bootargs, work=folder, gdb=gdb, preload=preload),
    )
