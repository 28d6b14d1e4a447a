# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with STRICT_KERNEL_RWX keeps what that promises, and with STRICT_MODULE_RWX its modules
too (arch/Kconfig)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from ..core.errors import InfrastructureError
from ..core.evidence import Evidence, Verdict
from ..image.symtab import address_of
from ..machine.pagetables import Mapping, View
from ..machine.ramscan import Kernel
from ..matrix.model import Board, Cell

# Only a kernel with STRICT_KERNEL_RWX has it (include/linux/init.h).
_STRICT = "mark_rodata_ro"
_MODULES = "load_module"
# The last of the image, in RAM (include/asm-generic/sections.h).
_END = "_end"
_RODATA = ("__start_rodata", "__end_rodata")
_RO_AFTER_INIT = ("__start_ro_after_init", "__end_ro_after_init")


def protection(
    cell: Cell, moment: str, kernel: Kernel, seen: View, *, strict_modules: bool
) -> list[Evidence]:
    """No page of the kernel is writable and executable, read-only data cannot be executed, and
    what is read-only after init cannot be written, under whatever address. Nothing for a kernel
    without STRICT_KERNEL_RWX, which promises none of it. A kernel that can load modules makes
    them writable and executable without STRICT_MODULE_RWX, in memory that is not of its image.

    `seen` is from when init ran, and so from after mark_rodata_ro().
    """
    name = f"protection-{moment}"
    try:
        with kernel.vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            if address_of(elf, _STRICT) is None:
                return []
            modules = address_of(elf, _MODULES) is not None and not strict_modules
            end = address_of(elf, _END)
            rodata, read_only = (
                tuple(address_of(elf, symbol) for symbol in pair)
                for pair in (_RODATA, _RO_AFTER_INIT)
            )
    except (ELFError, OSError, ValueError) as error:
        summary = str(InfrastructureError(f"cannot be read: {error}", where=kernel.vmlinux))
        return [Evidence(name, False, summary, Verdict.INFRASTRUCTURE)]
    own = [one for one in seen.mappings if one.virtual >= cell.arch_spec.kernel_virtual_base]
    both = [one for one in own if one.writable and one.executable]
    if modules:
        both = [one for one in both if _of_image(one, cell.board_spec, own, end)]
    wrong = [
        *(f"writable and executable: {one}" for one in both),
        *_rights("read-only data can be executed", own, rodata, executable=True),
        *_rights("what is read-only after init can be written", own, read_only, executable=False),
    ]
    figures = {
        "rodata": [f"{one:#x}" for one in rodata if one is not None],
        "ro_after_init": [f"{one:#x}" for one in read_only if one is not None],
        "wrong": wrong,
    }
    summary = wrong[0] if wrong else "STRICT_KERNEL_RWX: what it promises is true of all mappings"
    if len(wrong) > 1:
        summary += f" and {len(wrong) - 1} more"
    return [Evidence(name, not wrong, summary, Verdict.UNPROTECTED, figures)]


def _of_image(one: Mapping, board: Board, mappings: Sequence[Mapping], end: int | None) -> bool:
    """Whether any of it is flash, or RAM from where the image's data begins to its end."""
    stop = board.ram_base + board.ram_size
    if end is not None:
        places = (each.to(end - 1) for each in mappings)
        stop = min((at for at in places if at is not None), default=stop)
    return one.meets(board.flash.base, board.flash.size) or one.meets(
        board.data_base, stop - board.data_base
    )


def _rights(
    what: str, mappings: Sequence[Mapping], ends: tuple[int | None, ...], *, executable: bool
) -> Iterator[str]:
    """The mappings of what lies between two virtual addresses that give this right, and those
    that give it under another address: the linear mapping shows the same memory."""
    start, end = ends
    if start is None or end is None or start >= end:
        yield f"{what}, perhaps: vmlinux does not say where it is"
        return
    places = [at for at in (one.to(start) for one in mappings) if at is not None]
    if not places:
        yield f"{what}, perhaps: nothing is mapped at {start:#x}"
        return
    for one in mappings:
        if one.meets(places[0], end - start) and (one.executable if executable else one.writable):
            yield f"{what}: {one}"
