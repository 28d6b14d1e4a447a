# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's mappings, from made-up page tables and from what QEMU 7.2 said."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from pydantic import ValidationError

from memory_support import RAM_BASE, RAM_SIZE, ROOT, make_vmlinux, memory_cell, write_symbols
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.machine import pagetables
from xipmatrix.machine.pagetables import Mapping, View
from xipmatrix.machine.result import Moment
from xipmatrix.matrix.model import PageTables

# QEMU 7.2, riscv virt, 7.3 XIP kernel, sv48; two of its lines left out.
INFO_MEM = """\
vaddr            paddr            size             attr
---------------- ---------------- ---------------- -------
0000000040000000 0000000080538000 0000000000001000 r-xu-a-
0000000040001000 0000000080214000 0000000000001000 rw-u-ad
00007fffca5a4000 0000000080215000 0000000000001000 rw-u-ad
ffff8f8000000000 000000000c000000 0000000000600000 rw--gad
ffffaf8000000000 0000000080000000 0000000004000000 rw--gad
ffffffff80000000 0000000022000000 0000000000200000 r-x-gad
ffffffffde200000 0000000080200000 0000000000200000 rw--gad
"""
MONITOR = PageTables(view="info-mem")
ARM = PageTables(view="arm", root="swapper_pg_dir", linear_base=0xC0000000)
V7, V5 = "cpu_v7_set_pte_ext", "cpu_arm926_set_pte_ext"


def seen_by_monitor(text: str) -> View:
    moment = Moment("userspace", None, text)
    return pagetables.view(MONITOR, memory_cell().board_spec, moment, Path("/nowhere"))


def test_what_the_monitor_shows() -> None:
    shown = seen_by_monitor(INFO_MEM).mappings
    assert len(shown) == 7
    assert shown[0] == Mapping(0x40000000, 0x80538000, 0x1000, False, True)
    assert shown[5] == Mapping(0xFFFFFFFF80000000, 0x22000000, 0x200000, False, True)
    assert shown[6] == Mapping(0xFFFFFFFFDE200000, 0x80200000, 0x200000, True, False)


@pytest.mark.parametrize("text", ["No translation or protection\n", "unknown command: 'info mem'"])
def test_what_the_monitor_says_otherwise(text: str) -> None:
    with pytest.raises(InfrastructureError, match="something unknown"):
        seen_by_monitor(text)


def test_a_mapping() -> None:
    one = Mapping(0xBF000000, 0x40000000, 0x200000, False, True)
    assert one.to(0xBF010000) == 0x40010000
    assert (one.to(0xBEFFFFFF), one.to(0xBF200000)) == (None, None)
    assert one.meets(0x40000000, 1) and one.meets(0x401FFFFF, 1) and one.meets(0, 1 << 32)
    assert not one.meets(0x40200000, 0x1000) and not one.meets(0x3FFFF000, 0x1000)
    assert str(one) == "0xbf000000 -> 0x40000000 +0x200000 r-x"


def walk(
    folder: Path,
    first: dict[int, int],
    second: dict[int, int] | None = None,
    writer: str = V7,
    order: str = "<",
) -> View:
    """The view of a first-level table, and one second-level table at RAM_BASE + 0x8000."""
    symbols = {"swapper_pg_dir": ROOT, writer: 0xBF010000}
    vmlinux = folder / "vmlinux"
    write_symbols(vmlinux, symbols, order)
    ram = bytearray(RAM_SIZE)
    for index, entry in first.items():
        struct.pack_into(order + "I", ram, 0x4000 + 4 * index, entry)
    for index, entry in (second or {}).items():
        struct.pack_into(order + "I", ram, 0x8000 + 4 * index, entry)
    dump = folder / "ram.bin"
    dump.write_bytes(ram)
    board = memory_cell().board_spec
    return pagetables.view(ARM, board, Moment("userspace", dump), vmlinux)


def test_sections_as_real_kernels_have_them(tmp_path: Path) -> None:
    # arm virt, 7.3: text in flash at 0, RAM at 0x40000000.
    first = {0xBF0: 0x840E, 0xBF1: 0x10840E, 0xC00: 0x4000041E, 0xC01: 0x4010040E}
    seen = walk(tmp_path, first)
    assert seen.mappings == (
        Mapping(0xBF000000, 0, 0x200000, False, True),
        Mapping(0xC0000000, 0x40000000, 0x100000, True, False),
        Mapping(0xC0100000, 0x40100000, 0x100000, True, True),
    )
    assert seen.unenforced == ""


def test_tables_of_a_big_endian_kernel(tmp_path: Path) -> None:
    seen = walk(tmp_path, {0xBF0: 0x840E, 0xC00: 0x40008001}, {3: 0x4010041F}, order=">")
    assert seen.mappings == (
        Mapping(0xBF000000, 0, 0x100000, False, True),
        Mapping(0xC0003000, 0x40100000, 0x1000, True, False),
    )


def test_sections_of_an_armv5(tmp_path: Path) -> None:
    # versatilepb, 7.3: bit 4 is always set there and says nothing about execution.
    seen = walk(tmp_path, {0xBF0: 0x3400001E, 0xC00: 0x41E}, writer=V5)
    assert seen.mappings == (
        Mapping(0xBF000000, 0x34000000, 0x100000, False, True),
        Mapping(0xC0000000, 0, 0x100000, True, True),
    )
    assert "CPU_USE_DOMAINS" in seen.unenforced


SECTION = {
    # entry: writer, physical, writable, executable
    0x00000402: (V7, 0, True, True),  # AP=01: kernel read and write
    0x00000802: (V7, 0, True, True),  # AP=10: the kernel's right is still to write
    0x00000C02: (V7, 0, True, True),  # AP=11
    0x00000002: (V7, 0, False, True),  # AP=00: no access
    0x00008402: (V7, 0, False, True),  # APX
    0x00008C02: (V7, 0, False, True),
    0x00008412: (V7, 0, False, False),  # XN
    0x00008403: (V7, 0, False, True),  # a section too, with PXN
    0x45048402: (V7, 0x45000000, False, True),  # a supersection
    # Of its address, bits 23:20 are 35:32 and bits 8:5 are 39:36.
    0x451484C2: (V7, 0x6145000000, False, True),
    0x00008012: (V5, 0, False, True),  # APX does not exist: TEX
    0x00009412: (V5, 0, True, True),
    0x00000C12: (V5, 0, True, True),
}


@pytest.mark.parametrize("entry", SECTION)
def test_rights_of_sections(entry: int, tmp_path: Path) -> None:
    writer, physical, writable, executable = SECTION[entry]
    (one,) = walk(tmp_path, {0xBF0: entry}, writer=writer).mappings
    assert one.physical == physical
    assert (one.writable, one.executable) == (writable, executable)


PAGE = {
    0x5000001E: (V7, 0x50000000, True, True),  # small, AP=01
    0x5000021E: (V7, 0x50000000, False, True),  # small, APX
    0x5000021F: (V7, 0x50000000, False, False),  # small, XN
    0x5000000E: (V7, 0x50000000, False, True),  # no access
    0x50000211: (V7, 0x50000000, False, True),  # large
    0x50008211: (V7, 0x50000000, False, False),  # large, XN
    0x50000011: (V7, 0x50000000, True, True),
    0x5000000A: (V5, 0x50000000, False, True),  # four subpages, none writable
    0x5000055A: (V5, 0x50000000, True, True),
    0x5000040A: (V5, 0x50000000, True, True),  # the last subpage alone
    0x50000401: (V5, 0x50000000, True, True),  # large, the same
    0x5000040B: (V5, 0x50000000, False, True),  # extended small: TEX there
    0x5000001B: (V5, 0x50000000, True, True),
}


@pytest.mark.parametrize("entry", PAGE)
def test_rights_of_pages(entry: int, tmp_path: Path) -> None:
    writer, physical, writable, executable = PAGE[entry]
    table = RAM_BASE + 0x8000 | 1
    (one,) = walk(tmp_path, {0xBF0: table}, {0: entry}, writer).mappings
    assert one == Mapping(0xBF000000, physical, 0x1000, writable, executable)


LONG = 0xC0003000  # as in arch/arm/kernel/head.S, with LPAE


def walk_long(folder: Path, tables: dict[int, dict[int, int]], order: str = "<") -> View:
    """The view of long-descriptor tables: at offset in RAM, entries by number."""
    vmlinux, dump = folder / "vmlinux", folder / "ram.bin"
    write_symbols(vmlinux, {"swapper_pg_dir": LONG, V7: 0xBF010000}, order)
    ram = bytearray(RAM_SIZE)
    for at, entries in tables.items():
        for index, entry in entries.items():
            struct.pack_into(order + "Q", ram, at + 8 * index, entry)
    dump.write_bytes(ram)
    board = memory_cell().board_spec
    return pagetables.view(ARM, board, Moment("userspace", dump), vmlinux)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tables_with_lpae(order: str, tmp_path: Path) -> None:
    # arm virt, 7.3: text in flash at 0, RAM at 0x40000000, a page of 4 KiB.
    tables = {
        0x3000: {2: 0x40006003, 3: 0x40007003},
        0x6000: {504: 1 << 58 | 0xF8D, 505: 0x0020_0F8D},
        0x7000: {0: 0x0040_0000_4000_070D, 1: 0x0040_0000_4020_070D, 511: 0x40008003},
        0x8000: {496: 0x0000_0000_4010_0FDF},
    }
    assert walk_long(tmp_path, tables, order).mappings == (
        Mapping(0xBF000000, 0, 0x400000, False, True),
        Mapping(0xC0000000, 0x40000000, 0x400000, True, False),
        Mapping(0xFFFF0000, 0x40100000, 0x1000, False, True),
    )


@pytest.mark.parametrize(
    ("table", "entry", "writable", "executable"),
    [
        (0, 0x70D, True, True),
        (0, 0x78D, False, True),
        (0, 1 << 53 | 0x70D, True, False),
        (0, 1 << 54 | 0x70D, True, False),
        # What the table denies: APTable[1], XNTable, PXNTable.
        (1 << 62, 0x70D, False, True),
        (1 << 60, 0x70D, True, False),
        (1 << 59, 0x70D, True, False),
    ],
)
def test_rights_with_lpae(
    table: int, entry: int, writable: bool, executable: bool, tmp_path: Path
) -> None:
    tables = {0x3000: {3: table | 0x40007003}, 0x7000: {0: entry | 0x40000000}}
    (one,) = walk_long(tmp_path, tables).mappings
    assert (one.writable, one.executable) == (writable, executable)


def test_a_block_of_a_gigabyte(tmp_path: Path) -> None:
    (one,) = walk_long(tmp_path, {0x3000: {1: 0x40000705}}).mappings
    assert one == Mapping(0x40000000, 0x40000000, 1 << 30, True, True)


def test_a_long_table_outside_ram(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="not in RAM"):
        walk_long(tmp_path, {0x3000: {3: 0x90000003}})


def test_a_large_page_is_sixteen_entries(tmp_path: Path) -> None:
    table = RAM_BASE + 0x8000 | 1
    pages = dict.fromkeys(range(16, 32), 1342177809) | {40: 0x5100021E, 41: 0x5100121E}
    assert walk(tmp_path, {0xBF0: table}, pages).mappings == (
        Mapping(0xBF010000, 0x50000000, 0x10000, False, True),
        Mapping(0xBF028000, 0x51000000, 0x2000, False, True),
    )


def test_a_supersection_is_sixteen_entries(tmp_path: Path) -> None:
    first = dict.fromkeys(range(3056, 3072), 1157923842)
    assert walk(tmp_path, first).mappings == (
        Mapping(0xBF000000, 0x45000000, 0x1000000, False, True),
    )


@pytest.mark.parametrize(("entry", "writer"), [(0x90000001, V7), (0x1, V7), (0x40008003, V5)])
def test_tables_that_cannot_be_followed(entry: int, writer: str, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError):
        walk(tmp_path, {0xBF0: entry}, writer=writer)


def test_no_root_no_dump(tmp_path: Path) -> None:
    made = make_vmlinux(tmp_path)
    board = memory_cell().board_spec
    (tmp_path / "ram.bin").write_bytes(bytes(RAM_SIZE))
    with pytest.raises(InfrastructureError, match="no symbol swapper_pg_dir"):
        pagetables.view(ARM, board, Moment("userspace", tmp_path / "ram.bin"), made.path)
    with pytest.raises(InfrastructureError, match="no dump"):
        pagetables.view(ARM, board, Moment("userspace", None), made.path)
    with pytest.raises(InfrastructureError):
        pagetables.view(ARM, board, Moment("userspace", tmp_path / "none"), made.path)


def test_a_walk_needs_to_know_where_from() -> None:
    with pytest.raises(ValidationError, match="needs root"):
        PageTables(view="arm", root="swapper_pg_dir")
