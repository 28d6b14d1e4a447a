# SPDX-License-Identifier: GPL-2.0-only
"""What executing in place saves and costs, beside a normal kernel of the same config."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.evidence import Evidence, Verdict
from ..machine.protocol import Userspace


@dataclass(frozen=True)
class Cost:
    """What one kernel takes: its image, and all `instructions` from power-on to power-off, its
    decompressor's among them; None where they were not counted."""

    said: Userspace
    image_bytes: int
    instructions: int | None


def beside_normal(in_place: Cost, in_ram: Cost) -> Evidence:
    """RAM, image and boot of both. Advisory: a kernel is no worse for what it costs.

    The normal kernel's image is its architecture's, which may be compressed.
    """
    here, there = (one.said.meminfo_kb("MemAvailable") for one in (in_place, in_ram))
    figures = {
        "instructions": in_place.instructions,
        "normal_instructions": in_ram.instructions,
        "normal_image_bytes": in_ram.image_bytes,
        "normal_mem_total_kb": in_ram.said.meminfo_kb("MemTotal"),
        "normal_mem_available_kb": there,
    }
    known = here is not None and there is not None
    summary = "MemAvailable of one of them is not known"
    if here is not None and there is not None:
        summary = f"{here - there:+} kB free RAM"
    summary += f"; image {in_place.image_bytes} bytes, the normal kernel's {in_ram.image_bytes}"
    if in_place.instructions and in_ram.instructions:
        ratio = in_place.instructions / in_ram.instructions
        summary += f"; {ratio:.3f} of its instructions"
    return Evidence("normal-kernel", known, summary, Verdict.PASS, figures)
