# SPDX-License-Identifier: GPL-2.0-only
"""An ELF file's symbols as one table.

pyelftools makes an object of each symbol, which takes seconds for a defconfig kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    import numpy.typing as npt

FUNCTION = 2  # STT_FUNC, in the low four bits of `info`


def symbols(elf: ELFFile) -> npt.NDArray[Any]:
    """The symbols with fields name (offset of a string), value, size, info, other, section.

    Raises ELFError where the file has none.
    """
    import numpy as np  # late: it takes as long as a hundred cells that are kept

    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        raise ELFError("no symbols")
    name, rest = ("name", "u4"), [("info", "u1"), ("other", "u1"), ("section", "u2")]
    if elf.elfclass == 32:
        entry = np.dtype([name, ("value", "u4"), ("size", "u4"), *rest])
    else:
        entry = np.dtype([name, *rest, ("value", "u8"), ("size", "u8")])
    return np.frombuffer(table.data(), entry.newbyteorder("<" if elf.little_endian else ">"))


def address_of(elf: ELFFile, name: str) -> int | None:
    """The value of the symbol `name` (virtual); None where there is no such symbol."""
    table = symbols(elf)
    section = elf.get_section_by_name(".strtab")
    strings = section.data() if section else b""
    wanted = name.encode() + b"\0"
    at = strings.find(wanted)
    while at >= 0:
        # A string may be the end of a longer one: what counts is that a symbol has it.
        found = table["value"][table["name"] == at]
        if len(found):
            return int(found[0])
        at = strings.find(wanted, at + 1)
    return None
