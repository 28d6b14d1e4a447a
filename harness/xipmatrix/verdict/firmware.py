# SPDX-License-Identifier: GPL-2.0-only
"""Firmware hands over to the kernel where the board says that the kernel is."""

from __future__ import annotations

import re

from ..core.evidence import Evidence, Verdict
from ..machine.result import BootResult
from ..matrix.model import Board


def entry(board: Board, boot: BootResult) -> list[Evidence]:
    """What firmware says on the console of where it jumps to; nothing where it says none.

    Where that is not the kernel, the board's description does not fit this QEMU: which bank of
    flash a machine starts from has changed between its versions.
    """
    if board.firmware_entry is None:
        return []
    found = re.search(board.firmware_entry, boot.console_text())
    if found is None:
        return []
    address = int(found[1], 0)
    figures = {"address": f"{address:#x}"}
    if address == board.xip_phys_addr:
        summary = f"firmware jumps to {address:#x}, where the kernel is"
        return [Evidence("firmware-entry", True, summary, Verdict.INFRASTRUCTURE, figures)]
    summary = (
        f"firmware jumps to {address:#x}, but the board says that the kernel is at "
        f"{board.xip_phys_addr:#x}; does its description fit QEMU {boot.qemu_version}?"
    )
    return [Evidence("firmware-entry", False, summary, Verdict.INFRASTRUCTURE, figures)]
