# SPDX-License-Identifier: GPL-2.0-only
"""Evidence about the flash itself: nobody wrote to it, and the guest saw what is in it."""

from __future__ import annotations

import re

from ..core.evidence import Evidence, Verdict
from ..machine import protocol
from ..machine.result import BootResult
from ..matrix.model import Board, Cell

# QEMU's hw/block/trace-events; newer versions put "<pid>@<time>:" before the name.
_EVENT = re.compile(r"^(?:\S+:)?(pflash_\w+) (\S+?): ?(.*)$", re.M)
_OFFSET = re.compile(r"offset:\s*(0x[0-9a-f]+)")
_WRITTEN = re.compile(r"offset:\s*(0x[0-9a-f]+) size:\s*4 value:\s*(0x[0-9a-f]+)")
_WORD = 4  # bytes: the width of such a flash's bus on all boards here
_NAMED = 20


def evidence(cell: Cell, boot: BootResult) -> list[Evidence]:
    """All of it; the view only where a boot came far enough to be looked at."""
    board = cell.board_spec
    moment = boot.moment(protocol.POWEROFF)
    view = [_view(moment.flash_seen, moment.flash_differs)] if moment and moment.flash_seen else []
    writes = _stores if board.flash.kind == "rom" else _writes
    other = [_other_flash(board, boot)] if "cfi" in cell.config_spec.workload else []
    return [*other, writes(board, boot), *view, _unchanged(boot)]


def _writes(board: Board, boot: BootResult) -> Evidence:
    """No write reached a flash device, not even one that it ignored.

    Where the board says which device the kernel is in, a driver may use the others.
    """
    name, breaks = "flash-writes", Verdict.FLASH_MODIFIED
    text = boot.flash_trace.read_text("utf-8", "replace") if boot.flash_trace else ""
    ours = board.flash.device
    events = _EVENT.findall(text)
    known = {device for event, device, _ in events if event == "pflash_reset"}
    if not known or (ours and ours not in known):
        # Every pflash traces its reset: without it, silence would prove nothing.
        summary = f"QEMU traced no flash device{f' {ours}' if ours else ''}: nothing is known"
        return Evidence(name, False, f"{summary} about writes to it", Verdict.INFRASTRUCTURE)
    everywhere = [(device, what) for event, device, what in events if event == "pflash_io_write"]
    writes = [(device, what) for device, what in everywhere if ours in (None, device)]
    offsets = [found[1] for _, what in writes if (found := _OFFSET.search(what))]
    figures = {
        "method": "QEMU -trace pflash_*",
        "writes": len(writes),
        "writes_to_others": len(everywhere) - len(writes),
        "first": [f"{device} {what}" for device, what in writes[:_NAMED]],
    }
    if writes:
        where = ", ".join(dict.fromkeys(offsets[:5]))
        summary = f"{len(writes)} writes reached the flash device, at offset {where}"
        return Evidence(name, False, summary, breaks, figures)
    return Evidence(name, True, "not one write reached the flash device", breaks, figures)


def _other_flash(board: Board, boot: BootResult) -> Evidence:
    """What init writes, which depends on the challenge, reached a flash that the kernel is not in.

    That it was read again is for the evidence `workload` to say.
    """
    text = boot.flash_trace.read_text("utf-8", "replace") if boot.flash_trace else ""
    writes: dict[str, set[tuple[int, int]]] = {}
    for event, device, what in _EVENT.findall(text):
        found = _WRITTEN.match(what)
        if event == "pflash_io_write" and found and device != board.flash.device:
            writes.setdefault(device, set()).add((int(found[1], 16), int(found[2], 16)))
    data = protocol.pattern(int(boot.challenge, 16))
    words = [int.from_bytes(data[at : at + _WORD], "little") for at in range(0, len(data), _WORD)]
    there = [
        (device, offset)
        for device, seen in writes.items()
        for offset, value in sorted(seen)
        if value == words[0]
        and all((offset + _WORD * nth, word) in seen for nth, word in enumerate(words))
    ]
    name, breaks = "other-flash", Verdict.USERSPACE_FAILED
    figures = {"method": "QEMU -trace pflash_*", "bytes": len(data), "at": there}
    if not there:
        summary = f"the {len(data)} bytes that init writes reached no other flash"
        return Evidence(name, False, summary, breaks, figures)
    device, offset = there[0]
    summary = f"{len(data)} bytes were written to {device} at offset {offset:#x}"
    return Evidence(name, True, summary, breaks, figures)


def _stores(board: Board, boot: BootResult) -> Evidence:
    """No store of the kernel's or of init's was to an address in the ROM, where it is lost."""
    name, breaks = "flash-writes", Verdict.FLASH_MODIFIED
    text = boot.rom_stores.read_text("ascii", "replace") if boot.rom_stores else ""
    head = re.match(r"xipmatrix-stores 1 (\d+)\n", text)
    if head is None:
        summary = "QEMU has no plugin that counts stores: nothing is known about writes to the ROM"
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE)
    count = int(head[1])
    stores = [line.split() for line in text.splitlines()[1:]]
    first = [f"{int(to, 16) - board.flash.base:#x} by the code at 0x{pc}" for pc, to in stores]
    figures = {"method": "TCG plugin, every store", "writes": count, "first": first[:_NAMED]}
    if count:
        summary = f"{count} stores were to the ROM, at offset {', '.join(first[:5])}"
        return Evidence(name, False, summary, breaks, figures)
    return Evidence(name, True, "not one store was to the ROM", breaks, figures)


def _view(seen: int, differs: int | None) -> Evidence:
    """What the guest reads at the flash's addresses is the image file."""
    if differs is None:
        summary = f"the guest reads all {seen} bytes of flash as the image file has them"
    else:
        summary = f"the guest reads another byte than the image file's at flash offset {differs:#x}"
    figures = {"compared_bytes": seen, "first_difference": differs}
    return Evidence("flash-view", differs is None, summary, Verdict.FLASH_MODIFIED, figures)


def _unchanged(boot: BootResult) -> Evidence:
    """The image file is the same after the boot. Weak alone: QEMU ignores many writes."""
    same = boot.flash_sha256 == boot.flash_sha256_after
    summary = "the flash image is the same" if same else "the flash image has changed"
    figures = {"before": boot.flash_sha256, "after": boot.flash_sha256_after}
    return Evidence(
        "flash-unchanged", same, f"{summary} after the boot", Verdict.FLASH_MODIFIED, figures
    )
