# SPDX-License-Identifier: GPL-2.0-only
"""Evidence about the flash itself: nobody wrote to it."""

from __future__ import annotations

from ..core.evidence import Evidence, Verdict
from ..machine.result import BootResult


def unchanged(boot: BootResult) -> Evidence:
    """The image file is the same after the boot. Weak alone: QEMU ignores many writes."""
    same = boot.flash_sha256 == boot.flash_sha256_after
    summary = "the flash image is the same" if same else "the flash image has changed"
    figures = {"before": boot.flash_sha256, "after": boot.flash_sha256_after}
    return Evidence(
        "flash-unchanged", same, f"{summary} after the boot", Verdict.FLASH_MODIFIED, figures
    )
