# SPDX-License-Identifier: GPL-2.0-only
"""What the stopped machine says about a kernel: evidence and its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machine_support import boot_result
from memory_support import RAM_BASE, RAM_SIZE, TEXT, Made, make_vmlinux, memory_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.machine import ramscan
from xipmatrix.machine.protocol import Userspace
from xipmatrix.machine.result import Moment
from xipmatrix.verdict import memory

TABLES = {"page_tables": {"view": "info-mem"}}
HEAD = "vaddr paddr size attr\n----- ----- ---- ----\n"
FLASH = "bf000000 00000000 00100000 r-x-gad\n"
RAM = "c0000000 40000000 00100000 rw--gad\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_vmlinux(tmp_path_factory.mktemp("vmlinux"))


def evidence(
    made: Made,
    folder: Path,
    ram: bytes | None = None,
    tables: str = HEAD + FLASH + RAM,
    arch: dict[str, Any] | None = None,
    board: dict[str, Any] | None = None,
) -> dict[str, Evidence]:
    """The evidence of a boot that came to `userspace` alone."""
    dump = folder / "ram.bin"
    dump.write_bytes(made.good_ram() if ram is None else ram)
    seen = boot_result(folder / "console", moments=(Moment("userspace", dump, tables),))
    cell = memory_cell(board, TABLES if arch is None else arch)
    found = memory.evidence(cell, seen, made.path, Userspace(started=True), strict_modules=True)
    return {one.name: one for one in found}


def test_a_good_kernel(made: Made, tmp_path: Path) -> None:
    found = evidence(made, tmp_path)
    assert list(found) == ["ram-scan-userspace", "page-tables-userspace"]
    assert all(one.holds for one in found.values())
    figures = found["ram-scan-userspace"].figures
    assert (figures["pages_whole"], figures["copies"], figures["runs"]) == (0, 0, [])
    assert figures["control_found_bytes"] == 8000
    assert figures["ram_bytes"] == RAM_SIZE
    tables = found["page-tables-userspace"].figures
    assert tables["flash_mappings"] == ["0xbf000000 -> 0x0 +0x100000 r-x"]
    assert tables["kernel_executable_ram_bytes"] == 0


def test_one_hot_function_in_ram(made: Made, tmp_path: Path) -> None:
    ram = made.good_ram()
    ram[0x40000:0x403E8] = made.function("hot")
    one = evidence(made, tmp_path, ram)["ram-scan-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.NOT_IN_PLACE)
    assert f"hot (1000 bytes at {RAM_BASE + 0x40000:#x})" in one.summary
    assert one.figures["runs"] == [
        {
            "virtual": f"{made.address('hot'):#x}",
            "physical": f"{RAM_BASE + 0x40000:#x}",
            "size": 1000,
            "symbols": ["hot"],
        }
    ]


def test_a_copy_is_one_even_where_the_control_fails(made: Made, tmp_path: Path) -> None:
    ram = bytes(4096) + made.text + bytes(RAM_SIZE - 4096 - len(made.text))
    one = evidence(made, tmp_path, ram)["ram-scan-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.NOT_IN_PLACE)


@pytest.mark.parametrize("left", [0, memory.LEAST_CONTROL - 1])
def test_a_scan_that_cannot_find_the_data_is_at_fault(
    left: int, made: Made, tmp_path: Path
) -> None:
    ram = bytearray(RAM_SIZE)
    ram[0x8000 : 0x8000 + left] = made.data[:left]
    one = evidence(made, tmp_path, ram)["ram-scan-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.INFRASTRUCTURE)
    assert f"found {left} bytes" in one.summary


def test_a_little_of_the_data_is_enough(made: Made, tmp_path: Path) -> None:
    """A kernel changes its data; what it leaves tells that the dump and the scan are good."""
    ram = bytearray(RAM_SIZE)
    size = memory.LEAST_CONTROL
    ram[0x8000 : 0x8000 + size] = made.data[:size]
    assert evidence(made, tmp_path, ram)["ram-scan-userspace"].holds


def test_text_that_cannot_be_sought_is_our_fault(tmp_path: Path) -> None:
    made = make_vmlinux(tmp_path, text=bytes(41524))
    one = evidence(made, tmp_path)["ram-scan-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.INFRASTRUCTURE)
    assert f"0 of {ramscan.PLANTED} planted" in one.summary


def test_another_kernels_dump_is_our_fault(made: Made, tmp_path: Path) -> None:
    other = make_vmlinux(tmp_path, data=bytes(range(1, 251)) * 32)
    one = evidence(made, tmp_path, other.good_ram())["ram-scan-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("tables", "breaks", "said"),
    [
        # A second, writable mapping of flash; of its last page; one that reaches into it.
        (FLASH + "f1000000 00000000 00100000 rw--gad\n", Verdict.FLASH_MODIFIED, "0xf1000000"),
        (FLASH + "f1000000 000ff000 00001000 rw--gad\n", Verdict.FLASH_MODIFIED, "0xf1000000"),
        (FLASH.replace("r-x", "rwx"), Verdict.FLASH_MODIFIED, "0xbf000000"),
        # A user program's.
        (FLASH + "20000000 00010000 00001000 rw-u-ad\n", Verdict.FLASH_MODIFIED, "0x20000000"),
        # A kernel that executes elsewhere.
        (FLASH.replace(" 00000000", " 40000000"), Verdict.NOT_IN_PLACE, "0x40010000"),
        # Views that show nothing, or no text.
        ("", Verdict.INFRASTRUCTURE, "the view is at fault"),
        (RAM, Verdict.INFRASTRUCTURE, "the view is at fault"),
        ("unknown command: 'info mem'", Verdict.INFRASTRUCTURE, "unknown"),
    ],
)
def test_mappings_that_are_wrong(
    tables: str, breaks: Verdict, said: str, made: Made, tmp_path: Path
) -> None:
    one = evidence(made, tmp_path, tables=HEAD + tables)["page-tables-userspace"]
    assert (one.holds, one.breaks) == (False, breaks)
    assert said in one.summary


def test_a_writable_mapping_beside_the_flash_is_none_of_it(made: Made, tmp_path: Path) -> None:
    tables = HEAD + FLASH + "f1000000 00100000 00100000 rw--gad\n"
    assert evidence(made, tmp_path, tables=tables)["page-tables-userspace"].holds


def test_a_writable_mapping_where_the_flash_shows_again(made: Made, tmp_path: Path) -> None:
    tables = HEAD + FLASH + "f1000000 08010000 00010000 rw--gad\n"
    alias = {"flash": {"base": 0, "size": "1M", "aliases": [0x8000000]}}
    assert evidence(made, tmp_path, tables=tables)["page-tables-userspace"].holds
    one = evidence(made, tmp_path, tables=tables, board=alias)["page-tables-userspace"]
    assert (one.holds, one.breaks) == (False, Verdict.FLASH_MODIFIED)


@pytest.mark.parametrize(
    ("lowest", "bits"),
    [("ffffffd600000000", 39), ("ffffaf8000000000", 48), ("ff60000000000000", 57)],
)
def test_the_width_of_addresses_is_seen(lowest: str, bits: int, made: Made, tmp_path: Path) -> None:
    rows = f"{lowest} 0000000040000000 0000000000100000 rw--gad\n"
    rows += "ffffffffbf000000 0000000000000000 0000000000100000 r-x-gad\n"
    user = "0000000000010000 0000000040000000 0000000000001000 r-xu-ad\n"
    for wanted in (39, 48, 57):
        tables = HEAD + FLASH + user + rows
        found = evidence(made, tmp_path, tables=tables, board={"virtual_bits": wanted})
        one = found["page-tables-userspace"]
        assert one.figures["virtual_bits"] == bits
        assert one.holds == (wanted == bits)
        if not one.holds:
            assert one.breaks is Verdict.USERSPACE_FAILED
            assert f"have {bits} bits, not {wanted}" in one.summary
    assert evidence(made, tmp_path)["page-tables-userspace"].figures["virtual_bits"] is None


def test_an_architecture_without_a_view(made: Made, tmp_path: Path) -> None:
    assert list(evidence(made, tmp_path, arch={})) == ["ram-scan-userspace"]


def test_a_moment_that_never_came(made: Made, tmp_path: Path) -> None:
    cell, seen = memory_cell(), boot_result(tmp_path / "console")
    assert memory.evidence(cell, seen, made.path, Userspace(), strict_modules=True) == []
    assert (
        memory.evidence(cell, seen, made.path, Userspace(started=True), strict_modules=True) == []
    )
    said = Userspace(started=True, done=True, held=["userspace"])
    missed = {
        one.name: one for one in memory.evidence(cell, seen, made.path, said, strict_modules=True)
    }
    assert not any(one.holds for one in missed.values())
    # It stood still and nobody looked; or it is not our init that is done.
    assert missed["ram-scan-userspace"].breaks is Verdict.INFRASTRUCTURE
    assert missed["ram-scan-poweroff"].breaks is Verdict.USERSPACE_FAILED


@pytest.mark.parametrize("dump", [None, Path("/nowhere/ram.bin")])
def test_a_dump_that_is_missing(dump: Path | None, made: Made, tmp_path: Path) -> None:
    seen = boot_result(tmp_path / "console", moments=(Moment("userspace", dump),))
    (one,) = memory.evidence(
        memory_cell(), seen, made.path, Userspace(started=True), strict_modules=True
    )
    assert (one.holds, one.breaks) == (False, Verdict.INFRASTRUCTURE)


def test_a_vmlinux_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_text("no ELF file")
    seen = boot_result(tmp_path / "console", moments=(Moment("userspace", None),))
    (one,) = memory.evidence(
        memory_cell(), seen, tmp_path / "vmlinux", Userspace(), strict_modules=True
    )
    assert (one.holds, one.breaks) == (False, Verdict.INFRASTRUCTURE)


def test_text_starts_where_the_kernel_says(made: Made) -> None:
    assert ramscan.Kernel.read(made.path, memory_cell().arch_spec).start == TEXT


IO = "80000000 00000000 00100000 rw--gad\n"


@pytest.mark.parametrize(
    ("tables", "declared", "holds"),
    [
        (FLASH + IO, True, True),
        (FLASH + IO, False, False),
        # A declared one is of all the flash, once; it may neither be executed nor be the kernel's.
        (FLASH + IO.replace("00100000", "00080000"), True, False),
        (FLASH + IO + IO.replace("80000000", "90000000"), True, False),
        (FLASH + IO.replace("rw--", "rwx-"), True, False),
        (FLASH.replace("r-x-", "rw--") + IO, True, False),
    ],
)
def test_a_drivers_mapping_of_flash(
    made: Made, tmp_path: Path, tables: str, declared: bool, holds: bool
) -> None:
    board = {"flash": {"base": 0, "size": "1M", "ioremapped": declared}}
    one = evidence(made, tmp_path, tables=HEAD + tables + RAM, board=board)["page-tables-userspace"]
    assert one.holds is holds, one.summary
    if holds:
        assert "for a driver's I/O, as declared: 0x80000000 -> 0x0 +0x100000 rw-" in one.summary
        assert one.figures["ioremapped_flash_mappings"] == ["0x80000000 -> 0x0 +0x100000 rw-"]
    else:
        assert one.breaks is Verdict.FLASH_MODIFIED
