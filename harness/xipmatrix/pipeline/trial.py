# SPDX-License-Identifier: GPL-2.0-only
"""One trial of a built cell: a fresh challenge, its flash image, one boot."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..build import toolchain
from ..build.compile import Built
from ..core.evidence import Evidence
from ..flash import FLASH_IMAGE, FlashImage, filesystem, make_flash
from ..machine import protocol
from ..machine.boot import boot
from ..machine.console import Limits
from ..machine.qemu import Preload
from ..machine.result import BootResult
from ..matrix.model import Board, Cell

_FLASH = "flash"


@dataclass(frozen=True)
class Way:
    """What a kernel is started with beyond what its board says: `words` on its command line,
    and what lies in RAM. `also` is evidence about that, from the boot."""

    words: str = ""
    preload: Preload | None = None
    also: Callable[[BootResult], Sequence[Evidence]] = lambda seen: ()


def boot_once(
    cell: Cell,
    built: Built,
    folder: Path,
    limits: Limits,
    templates: Path,
    *,
    extra_args: str = "",
    preload: Preload | None = None,
    kernel: Path | None = None,
) -> BootResult:
    """Make the flash image with a fresh challenge and boot it once; logs go to `folder`.

    `extra_args` are added to the kernel's command line, `preload` lies in RAM. `kernel` is a
    normal kernel that runs from RAM instead, of which nothing is measured. Raises what
    :func:`flash.make_flash` and :func:`machine.boot.boot` raise.
    """
    if kernel is None:
        extra_args = f"{protocol.HOLD_OPTION} {extra_args}".strip()
    challenge, bootargs = challenged(cell, extra_args)
    try:
        flash = cell_flash(cell, built, bootargs, folder, templates)
        return boot(
            cell.board_spec,
            flash.path,
            folder,
            bootargs=bootargs,
            challenge=challenge,
            limits=limits,
            kernel=kernel,
            preload=preload,
        )
    finally:
        # As large as the flash, and made again from the build in a moment.
        (folder / _FLASH / FLASH_IMAGE).unlink(missing_ok=True)


def forget_dumps(seen: BootResult) -> None:
    """Remove the RAM dumps of a boot, which are as large as RAM: once it has passed."""
    for moment in seen.moments:
        if moment.ram is not None:
            moment.ram.unlink(missing_ok=True)


def cell_flash(
    cell: Cell, built: Built, bootargs: str, folder: Path, templates: Path
) -> FlashImage:
    """The cell's flash image, in ``<folder>/flash``, with `bootargs` in its device tree."""
    return make_flash(
        cell,
        built.image,
        built.device_tree,
        bootargs,
        folder / _FLASH,
        prefix=toolchain.of_cell(cell).prefix,
        templates=templates,
        stored=filesystem.files_of(cell, built.folder),
    )


def challenged(cell: Cell, extra_args: str = "") -> tuple[str, str]:
    """A fresh challenge (16 hexadecimal digits) and the command line that carries it."""
    challenge = secrets.token_hex(8)
    words = [cell.board_spec.bootargs, f"xipmatrix.challenge={challenge}"]
    if cell.board_spec.poweroff == "reset":
        words.append("xipmatrix.poweroff=reset")
    if cell.config_spec.compare is not None or cell.config_spec.says or cell.board_spec.says:
        # It is the kernel's own messages that count: init must not speak before they are out.
        words.append("xipmatrix.drain=1")
    for work in cell.config_spec.workload:
        words.append(f"xipmatrix.{work}={_again(cell.board_spec) if work == 'kexec' else 1}")
    return challenge, " ".join([*words, *([extra_args] if extra_args else [])])


def _again(board: Board) -> str:
    """Where kexec finds the kernel, and where in RAM it is to put the device tree (physical)."""
    return f"{board.xip_phys_addr:08x},{board.ram_base + board.ram_size // 2:08x}"
