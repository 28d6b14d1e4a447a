# SPDX-License-Identifier: GPL-2.0-only
"""The .config that a kernel with CONFIG_IKCONFIG carries (kernel/configs.c)."""

from __future__ import annotations

import zlib

from ..core.errors import InfrastructureError
from .elf import Image

_START = b"IKCFG_ST"
_GZIP = b"\x1f\x8b"


def embedded_config(image: Image) -> str | None:
    """The text of the .config inside a vmlinux; None where there is none.

    Raises InfrastructureError where it is damaged.
    """
    for section in image.sections:
        _, found, packed = section.data.partition(_START + _GZIP)
        if found:
            try:
                return zlib.decompressobj(wbits=31).decompress(_GZIP + packed).decode()
            except (zlib.error, UnicodeDecodeError) as error:
                raise InfrastructureError(f"its own .config is damaged: {error}") from error
    return None
