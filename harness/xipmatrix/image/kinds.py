# SPDX-License-Identifier: GPL-2.0-only
"""What a file is that was given for an xipImage, by the marks that others carry."""

from __future__ import annotations

# Offset, bytes, and what has them there. None of them can begin an xipImage, whose first bytes
# are instructions; riscv's Image is not here because xipImage has the same header.
_MARKS = (
    (0, b"\x7fELF", "an ELF file, as vmlinux is"),
    (0, b"\x1f\x8b", "compressed by gzip"),
    (0, b"\x27\x05\x19\x56", "a uImage for U-Boot"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree, or a FIT image for U-Boot"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage, which unpacks itself to RAM"),
)


def kind(data: bytes) -> str:
    """What `data`, the beginning of a file, is in words; empty where no mark is known."""
    return next((what for at, mark, what in _MARKS if data[at : at + len(mark)] == mark), "")
