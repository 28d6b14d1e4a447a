# SPDX-License-Identifier: GPL-2.0-only
"""An ELF file's symbols as one table.

pyelftools makes an object of each symbol, which takes seconds for a defconfig kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

if TYPE_CHECKING:
    import numpy.typing as npt

# The low four bits of `info`.
WITHOUT_TYPE, FUNCTION = 0, 2  # STT_NOTYPE, STT_FUNC


class Entry(NamedTuple):
    """A symbol: `value` virtual, `size` in bytes, `info` and `section` as in the file."""

    name: str
    value: int
    size: int
    info: int
    section: int

    @property
    def kind(self) -> int:
        """WITHOUT_TYPE, FUNCTION, or another STT_ number."""
        return self.info & 0xF


def symbols(elf: ELFFile) -> npt.NDArray[Any]:
    """The symbols with fields name (offset of a string), value, size, info, other, section.

    Raises ELFError where the file has none, or a table that is no such table.
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


def entries(elf: ELFFile) -> Iterator[Entry]:
    """The symbols with their names, in the file's order; none where it has no symbols.

    Raises ELFError where what it has is no such table.
    """
    section = elf.get_section_by_name(".symtab")
    if not isinstance(section, SymbolTableSection):
        return
    strings: bytes = elf.get_section(section["sh_link"]).data()
    table = symbols(elf)
    columns = (table[field].tolist() for field in ("name", *Entry._fields[1:]))
    for at, *rest in zip(*columns, strict=True):
        end = strings.find(b"\0", at)
        if end < 0:
            raise ELFError(f"a symbol's name would begin at byte {at} of {len(strings)}")
        yield Entry(strings[at:end].decode("utf-8", "replace"), *rest)


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
