# SPDX-License-Identifier: GPL-2.0-only
"""What executing in place saves and costs, beside a normal kernel of the same config."""

from __future__ import annotations

from ..core.evidence import Evidence, Verdict
from ..machine.protocol import Userspace


def beside_normal(
    in_place: Userspace, in_ram: Userspace, image_bytes: int, normal_image_bytes: int
) -> Evidence:
    """RAM and image of both. Advisory: a kernel is no worse for what it costs.

    The normal kernel's image is its architecture's, which may be compressed.
    """
    here, there = (said.meminfo_kb("MemAvailable") for said in (in_place, in_ram))
    figures = {
        "normal_image_bytes": normal_image_bytes,
        "normal_mem_total_kb": in_ram.meminfo_kb("MemTotal"),
        "normal_mem_available_kb": there,
    }
    known = here is not None and there is not None
    free = (
        f"{here - there:+} kB free RAM"
        if here is not None and there is not None
        else ("MemAvailable of one of them is not known")
    )
    summary = f"{free}; image {image_bytes} bytes, the normal kernel's {normal_image_bytes}"
    return Evidence("normal-kernel", known, summary, Verdict.PASS, figures)
