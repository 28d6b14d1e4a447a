# SPDX-License-Identifier: GPL-2.0-only
"""From a boot to evidence, and from evidence to the one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.evidence import SAMPLED, Evidence, Verdict
from ..machine import protocol
from ..machine.result import BootResult, End
from ..matrix.model import Cell
from . import filesystem, firmware, flash, promises, userspace, workload
from .in_place import in_place


@dataclass(frozen=True)
class Judgement:
    """A verdict, why, and all evidence it rests on."""

    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...]

    def figure(self, name: str, key: str) -> object:
        """A figure of the evidence `name`; None where there is none."""
        return _figure(self.evidence, name, key)


def judge(
    cell: Cell, boot: BootResult, vmlinux: Path | None, static: Sequence[Evidence] = ()
) -> Judgement:
    """The verdict on one boot of `cell`, together with what is known of its image.

    `vmlinux` gives symbols and the sections whose copies may run in RAM. The worst
    verdict that any failed evidence leads to is the cell's; its reason is that
    evidence's summary.
    """
    strict_modules = _figure(static, "config", "STRICT_MODULE_RWX") == "y"
    seen = dynamic_evidence(cell, boot, vmlinux, strict_modules=strict_modules)
    return decide((*static, *seen))


def _figure(evidence: Sequence[Evidence], name: str, key: str) -> object:
    return next((one.figures.get(key) for one in evidence if one.name == name), None)


def decide(evidence: Sequence[Evidence]) -> Judgement:
    """The worst verdict that failed evidence leads to; `pass` where only advisory one failed.

    Where several lead to it, the first of them is the reason.
    """
    severity = list(Verdict)
    failed = [one for one in evidence if not one.holds and not one.advisory]
    if not failed:
        reason = "all evidence holds"
        for what, names in (
            ("sampled only", [one.name for one in evidence if one.weakness == SAMPLED]),
            ("worth a look", [one.name for one in evidence if not one.holds]),
        ):
            reason += f"; {what}: {', '.join(names)}" if names else ""
        return Judgement(Verdict.PASS, reason, tuple(evidence))
    worst = min(failed, key=lambda one: severity.index(one.breaks))
    return Judgement(worst.breaks, f"{worst.name}: {worst.summary}", tuple(evidence))


def dynamic_evidence(
    cell: Cell, boot: BootResult, vmlinux: Path | None, *, strict_modules: bool
) -> list[Evidence]:
    """What one boot says, as named evidence, in the order of the boot.

    The order decides which evidence of one severity is quoted: what was measured of the
    kernel's place comes before what the kernel says of it.
    """
    from . import memory  # late: numpy takes as long as a hundred cells that are kept

    board = cell.board_spec
    if boot.end is End.QEMU_FAILED:
        return [Evidence("qemu", False, boot.detail, Verdict.INFRASTRUCTURE)]
    said = protocol.read_console(boot.console_text())
    executed = in_place(cell, boot, vmlinux, said)
    return [
        *firmware.entry(board, boot),
        *userspace.evidence(board, boot, said),
        *promises.evidence(cell, boot.console_text()),
        *workload.evidence(cell, vmlinux, said, executed),
        *filesystem.evidence(cell, boot, vmlinux, said, executed),
        executed,
        *memory.evidence(cell, boot, vmlinux, said, strict_modules=strict_modules),
        userspace.iomem(board, said),
        *flash.evidence(cell, boot),
    ]
