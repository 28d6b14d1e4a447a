# SPDX-License-Identifier: GPL-2.0-only
"""Symbols of ELF files, sound and broken."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from xipmatrix.core.errors import InfrastructureError
from xipmatrix.image import symtab
from xipmatrix.machine.residency import Symbols

SOURCE = """\
.text
.globl begin
.type begin,@function
begin: .skip 16
.size begin, . - begin
mark: .skip 4
"""
SIZE = 0x20  # sh_size in a section header of 64 bits


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An object file with a function `begin` of 16 bytes and a label `mark` behind it."""
    (tmp_path / "v.S").write_text(SOURCE)
    subprocess.run(["gcc", "-c", "-o", tmp_path / "v.o", tmp_path / "v.S"], check=True)
    return tmp_path / "v.o"


def break_at(file: Path, layout: str, at: int, value: int) -> None:
    """Put another number at one place of the file."""
    data = bytearray(file.read_bytes())
    struct.pack_into(layout, data, at, value)
    file.write_bytes(data)


def test_symbols_and_their_names(file: Path) -> None:
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        found = {one.name: one for one in symtab.entries(elf)}
        assert symtab.address_of(elf, "mark") == 16
        assert symtab.address_of(elf, "ark") is None  # the end of a name is none
    assert (found["begin"].value, found["begin"].size) == (0, 16)
    assert found["begin"].kind == symtab.FUNCTION
    assert found["mark"].kind == symtab.WITHOUT_TYPE
    assert found["mark"].section == found["begin"].section


def test_a_file_without_symbols_has_none(file: Path) -> None:
    subprocess.run(["strip", "--strip-all", file], check=True)
    with file.open("rb") as stream:
        assert list(symtab.entries(ELFFile(stream))) == []


def test_a_name_that_is_nowhere(file: Path) -> None:
    with file.open("rb") as stream:
        table = ELFFile(stream).get_section_by_name(".symtab")
        at = table["sh_offset"] + table["sh_entsize"]
    break_at(file, "<I", at, 0xFFFFFF)
    with pytest.raises(InfrastructureError, match=r"name would begin at byte 16777215 of"):
        Symbols(file)


def test_a_table_that_ends_amid_a_symbol(file: Path) -> None:
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        at = elf["e_shoff"] + elf.get_section_index(".symtab") * elf["e_shentsize"] + SIZE
        size = elf.get_section_by_name(".symtab")["sh_size"]
    break_at(file, "<Q", at, size - 1)
    with pytest.raises(InfrastructureError, match="multiple of entry size"):
        Symbols(file)
