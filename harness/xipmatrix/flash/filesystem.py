# SPDX-License-Identifier: GPL-2.0-only
"""What the cramfs behind the kernel holds: programs from the kernel's build, and data.

Of a program there are two, alike but for where they are linked: one is stored so that it can be
executed in place, the other is compressed, which takes RAM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import InfrastructureError
from ..machine.init import COMPRESSED, IN_PLACE, PROGRAMS
from ..machine.userland import InFlash, in_flash
from ..matrix.model import Cell
from . import cramfs
from .cramfs import Image, Stored

# Bytes, of random data as of such that can be compressed: neither is a multiple of a page.
_RANDOM, _TEXT = 50_000, 50_001


def files_of(cell: Cell, build: Path) -> list[Stored]:
    """The files that belong to the kernel in the folder `build`; none where its config wants none.

    Raises InfrastructureError where the build left no programs.
    """
    if "cramfs" not in cell.config_spec.workload:
        return []
    folder = build / PROGRAMS
    try:
        programs = {name: (folder / name).read_bytes() for name in (IN_PLACE, COMPRESSED)}
    except OSError as error:
        raise InfrastructureError(
            f"the kernel's build has no programs for its flash: {error.strerror}",
            where=error.filename,
        ) from error
    return [
        *(Stored(name, code, name == IN_PLACE, executable=True) for name, code in programs.items()),
        *data(),
    ]


def data() -> list[Stored]:
    """The files that are only read: one in place, one compressed."""
    blocks = (hashlib.sha256(number.to_bytes(4)).digest() for number in range(_RANDOM // 32 + 1))
    text = "".join(f"line {number} of a text that is compressed\n" for number in range(_TEXT // 32))
    return [
        Stored("random", b"".join(blocks)[:_RANDOM], in_place=True),
        Stored("text", text.encode()[:_TEXT], in_place=False),
    ]


def image(stored: Sequence[Stored]) -> Image:
    """The file system with these files."""
    return cramfs.make(stored)


def programs_of(cell: Cell, build: Path) -> list[InFlash]:
    """The programs in the flash of a kernel in the folder `build`, and where they lie there.

    Raises as :func:`files_of`, and where one cannot be read.
    """
    stored, flash = files_of(cell, build), cell.board_spec.flash
    base = flash.base + (flash.filesystem or 0)
    places = {name: base + offset for name, offset in image(stored).places.items()}
    return [
        in_flash(one.name, one.content, places.get(one.name)) for one in stored if one.executable
    ]
