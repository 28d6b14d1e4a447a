# SPDX-License-Identifier: GPL-2.0-only
"""Evidence from the stopped machine: what RAM holds, and what the kernel has mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InfrastructureError
from ..core.evidence import Evidence, Verdict
from ..machine import pagetables, protocol, ramscan
from ..machine.pagetables import Mapping, View
from ..machine.ramscan import Kernel, Scan
from ..machine.result import BootResult, Moment
from ..matrix.model import Board, Cell
from .protection import protection

# Bytes of initialised data that must be found at one displacement. The smallest kernel
# here leaves seven times that unchanged, and by chance not even one block is there.
LEAST_CONTROL = 1024
_NAMED = 3


def evidence(
    cell: Cell,
    boot: BootResult,
    vmlinux: Path | None,
    said: protocol.Userspace,
    *,
    strict_modules: bool,
) -> list[Evidence]:
    """Both kinds, for each moment the boot came to.

    A boot that ended before a moment has none of it: other evidence says so. One that
    stood still there without leaving what it must is our fault. Without `vmlinux` there is
    nothing to look for. `strict_modules`: the kernel is known to have STRICT_MODULE_RWX.
    """
    if vmlinux is None:
        return []
    found: list[Evidence] = []
    kernel: Kernel | None = None
    for name in protocol.MOMENTS:
        moment = boot.moment(name)
        if moment is None:
            if name in said.held:
                summary = "init stood still, but the machine was not looked at"
                found.append(_fault(f"ram-scan-{name}", summary))
            elif said.done:
                # Ours always does: whatever said that it was done is something else.
                summary = "init did not stand still at this moment, as it was told to"
                found.append(Evidence(f"ram-scan-{name}", False, summary, Verdict.USERSPACE_FAILED))
            continue
        try:
            kernel = kernel or Kernel.read(vmlinux, cell.arch_spec)
        except InfrastructureError as error:
            found.append(_fault(f"ram-scan-{name}", str(error)))
            continue
        found.append(ram_scan(cell, moment, kernel))
        if cell.arch_spec.page_tables is not None:
            found.extend(mappings(cell, moment, kernel, strict_modules=strict_modules))
    return found


def _fault(name: str, summary: str) -> Evidence:
    return Evidence(name, False, summary, Verdict.INFRASTRUCTURE)


def ram_scan(cell: Cell, moment: Moment, kernel: Kernel) -> Evidence:
    """No copy of the kernel's text is in RAM, and the scan can see one."""
    name = f"ram-scan-{moment.name}"
    if moment.ram is None:
        return _fault(name, "there is no dump of RAM")
    try:
        seen = ramscan.scan(moment.ram, kernel, cell.arch_spec, cell.board_spec)
    except InfrastructureError as error:
        return _fault(name, str(error))
    figures = _scan_figures(seen)
    breaks = Verdict.NOT_IN_PLACE
    if seen.copies:
        # Byte for byte there, so true whatever the controls say.
        top = ", ".join(
            f"{one.symbols[0]} ({one.size} bytes at {one.physical:#x})"
            for one in seen.copies[:_NAMED]
        )
        more = f" and {seen.copy_count - _NAMED} more" if seen.copy_count > _NAMED else ""
        summary = (
            f"{seen.copied} bytes of kernel text are in RAM, {seen.pages_whole} pages whole and "
            f"{seen.pages_part} in part: {top}{more}"
        )
        return Evidence(name, False, summary, breaks, figures)
    if seen.control < LEAST_CONTROL or seen.planted < ramscan.PLANTED:
        summary = (
            f"the scan is at fault: it found {seen.control} bytes of the kernel's initialised "
            f"data and {seen.planted} of {ramscan.PLANTED} planted samples of its text"
        )
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE, figures)
    summary = (
        f"no page of kernel text in {seen.ram} bytes of RAM; found of its data: "
        f"{seen.control} of {seen.data} bytes"
    )
    return Evidence(name, True, summary, breaks, figures)


def _scan_figures(seen: Scan) -> dict[str, object]:
    return {
        "method": "RAM dump, every block against the text at every byte offset",
        "ram_bytes": seen.ram,
        "text_bytes": seen.text,
        "text_windows": seen.windows,
        "compared_bytes": seen.compared,
        "text_pages": seen.pages,
        "pages_whole": seen.pages_whole,
        "pages_part": seen.pages_part,
        "copies": seen.copy_count,
        "copied_bytes": seen.copied,
        "longest_copy": seen.longest,
        "other_matches_bytes": seen.other,
        "longest_other_match": seen.longest_other,
        "runs": [
            {
                "virtual": f"{one.vaddr:#x}",
                "physical": f"{one.physical:#x}",
                "size": one.size,
                "symbols": list(one.symbols),
            }
            for one in seen.copies
        ],
        "also_in_firmware_bytes": seen.firmware,
        "declared_text_bytes": seen.declared,
        "constant_bytes": seen.constants,
        "control_data_bytes": seen.data,
        "control_found_bytes": seen.control,
        "control_displacement": f"{seen.displacement:#x}",
        "control_planted": f"{seen.planted} of {ramscan.PLANTED}",
    }


def virtual_bits(mappings: Sequence[Mapping]) -> int | None:
    """How many bits a virtual address has, by the lowest one that the kernel maps; None where
    none is in the upper half of 64 bits.

    What lies above them repeats the uppermost one (RISC-V privileged architecture, "Sv39").
    """
    kernel = [one.virtual for one in mappings if one.virtual >> 63]
    return ((1 << 64) - 1 - min(kernel)).bit_length() + 1 if kernel else None


def _is_io(mapping: Mapping, board: Board, text: int) -> bool:
    """Whether a mapping can be a driver's: all of the flash, writable as ioremap() makes it, no
    code, and elsewhere than the kernel has flash for its `text` (virtual)."""
    whole = (mapping.physical, mapping.size) == (board.flash.base, board.flash.size)
    own = mapping.virtual - mapping.physical == text - board.xip_phys_addr
    return whole and not own and mapping.writable and not mapping.executable


def mappings(cell: Cell, moment: Moment, kernel: Kernel, *, strict_modules: bool) -> list[Evidence]:
    """What the page tables say of where the kernel is, and of how it is protected."""
    board, tables = cell.board_spec, cell.arch_spec.page_tables
    assert tables is not None
    try:
        seen = pagetables.view(tables, board, moment, kernel.vmlinux)
    except InfrastructureError as error:
        return [_fault(f"page-tables-{moment.name}", str(error))]
    place = page_tables(cell, moment, kernel, seen)
    rights = protection(cell, moment.name, kernel, seen, strict_modules=strict_modules)
    return [place, *rights]


def page_tables(cell: Cell, moment: Moment, kernel: Kernel, seen: View) -> Evidence:
    """The kernel's text is mapped to flash, and no mapping of flash is writable. Where the board
    says how wide virtual addresses are, the kernel's are.

    A writable one breaks `flash-modified`: nothing but luck keeps the kernel from
    writing there, though it still executes in place. But a driver's own may be, where the
    board declares one: of that, the trace of the flash tells all writes.
    """
    name, board = f"page-tables-{moment.name}", cell.board_spec
    windows = (board.flash.base, *board.flash.aliases)
    flash = [one for one in seen.mappings if any(one.meets(at, board.flash.size) for at in windows)]
    io = [one for one in flash if board.flash.ioremapped and _is_io(one, board, kernel.start)][:1]
    writable = [one for one in flash if one.writable and one not in io]
    targets = [one.to(kernel.start) for one in seen.mappings]
    text = next((at for at in targets if at is not None), None)
    figures = {
        "method": seen.method,
        "not_seen": seen.limits,
        "unenforced": seen.unenforced,
        "mappings": len(seen.mappings),
        "virtual_bits": virtual_bits(seen.mappings),
        "flash_mappings": [str(one) for one in flash],
        "writable_flash_mappings": [str(one) for one in writable],
        "ioremapped_flash_mappings": [str(one) for one in io],
        "text_virtual": f"{kernel.start:#x}",
        "text_physical": None if text is None else f"{text:#x}",
        "kernel_executable_ram_bytes": sum(
            one.size
            for one in seen.mappings
            if one.executable
            and one.virtual >= cell.arch_spec.kernel_virtual_base
            and one.meets(board.ram_base, board.ram_size)
        ),
    }
    if text is None:
        summary = f"the view is at fault: it does not show the kernel's text at {kernel.start:#x}"
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE, figures)
    if text != board.xip_phys_addr:
        summary = (
            f"the kernel's text at {kernel.start:#x} is mapped to {text:#x}, "
            f"not to the flash at {board.xip_phys_addr:#x}"
        )
        return Evidence(name, False, summary, Verdict.NOT_IN_PLACE, figures)
    if writable:
        more = f" and {len(writable) - _NAMED} more" if len(writable) > _NAMED else ""
        summary = f"flash is mapped writable: {', '.join(map(str, writable[:_NAMED]))}{more}"
        return Evidence(name, False, summary, Verdict.FLASH_MODIFIED, figures)
    if board.virtual_bits not in (None, figures["virtual_bits"]):
        summary = (
            f"the kernel's virtual addresses have {figures['virtual_bits']} bits, "
            f"not {board.virtual_bits}"
        )
        return Evidence(name, False, summary, Verdict.USERSPACE_FAILED, figures)
    read_only = [one for one in flash if one not in io]
    summary = f"flash is mapped read-only: {', '.join(map(str, read_only[:_NAMED]))}"
    if io:
        summary += f"; but for a driver's I/O, as declared: {', '.join(map(str, io[:_NAMED]))}"
    if seen.unenforced:
        summary += f"; but {seen.unenforced}"
    return Evidence(name, True, summary, Verdict.FLASH_MODIFIED, figures)
