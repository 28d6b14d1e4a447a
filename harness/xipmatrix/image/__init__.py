# SPDX-License-Identifier: GPL-2.0-only
"""Static evidence: what .config, vmlinux and xipImage say before anything is booted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.evidence import NO_CONFIG, Evidence, Verdict
from ..matrix.model import Board, Cell
from .drift import drift
from .elf import read_image
from .patch_sites import patch_site_evidence
from .placement import placement


def static_evidence(
    cell: Cell,
    config: Mapping[str, str] | None,
    vmlinux: Path,
    xip_image: Path,
    linker_scripts: tuple[Path, Path] | None = None,
) -> list[Evidence]:
    """All static evidence for `cell`. `config` is the final .config, names without CONFIG_; None
    where it is not known, and then nothing that hangs on it is taken for granted.

    `linker_scripts`: preprocessed, as built and without XIP. Raises InfrastructureError
    where vmlinux or xipImage cannot be read.
    """
    from .instructions import instruction_evidence  # late: numpy takes as long as kept cells

    board, arch = cell.board_spec, cell.arch_spec
    image = read_image(vmlinux)
    return [
        _configured(board, config),
        *placement(arch, board, config, image, xip_image),
        *patch_site_evidence(arch, config, image),
        *instruction_evidence(cell, image),
        drift(arch, linker_scripts),
    ]


def _configured(board: Board, config: Mapping[str, str] | None) -> Evidence:
    name, wanted = "config", board.xip_phys_addr
    if config is None:
        return Evidence(name, False, "not known", Verdict.PASS, {"grade": NO_CONFIG})
    if config.get("XIP_KERNEL") != "y":
        summary = "CONFIG_XIP_KERNEL is not set in the final .config"
        return Evidence(name, False, summary, Verdict.CONFIG_DROPPED)
    address = config.get("XIP_PHYS_ADDR", "")
    holds = address.startswith("0x") and int(address, 16) == wanted
    summary = f"XIP_KERNEL=y, XIP_PHYS_ADDR={address or 'missing'}"
    if not holds:
        summary += f", but the board's is {wanted:#x}"
    said = {"XIP_PHYS_ADDR": address, "STRICT_MODULE_RWX": config.get("STRICT_MODULE_RWX", "")}
    return Evidence(name, holds, summary, Verdict.IMAGE_INVALID, said)
