# SPDX-License-Identifier: GPL-2.0-only
"""The digest of a cell that failed, made of what its stages left."""

from __future__ import annotations

from pathlib import Path

from ..build import toolchain
from ..core.errors import XipmatrixError
from ..core.evidence import Verdict
from ..digest import Digest, Origin, digest
from ..machine.result import CONSOLE
from ..matrix.model import Cell
from ..result import CellResult


def digest_of(cell: Cell, result: CellResult) -> Digest | None:
    """The digest of `result`, None for a pass. It raises nothing but KeyboardInterrupt:
    what explains a failure must not become another one."""
    try:
        return digest(result.verdict, result.reason, _log(result), _origin(cell, result))
    except Exception as error:
        plain = f"{result.reason}\n(no digest: {type(error).__name__}: {error})"
        return digest(result.verdict, plain)


def _log(result: CellResult) -> Path | None:
    if result.verdict is Verdict.FLAKY and "first try" in result.paths:
        return Path(result.paths["first try"]) / CONSOLE
    return Path(result.log) if result.log else None


def _origin(cell: Cell, result: CellResult) -> Origin:
    try:
        prefix = toolchain.of_cell(cell).prefix
    except XipmatrixError:  # no compiler: that may just be what is wrong
        prefix = ""
    source, vmlinux = (result.paths.get(name) for name in ("source", "vmlinux"))
    return Origin(
        source=Path(source) if source else None,
        arch=cell.arch_spec.kernel_arch,
        vmlinux=Path(vmlinux) if vmlinux else None,
        prefix=prefix,
    )
