# SPDX-License-Identifier: GPL-2.0-only
"""Kernel text in RAM: what is found, what is no copy, and how much work it is."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memory_support import DATA, RAM_BASE, RAM_SIZE, TEXT, Made, make_vmlinux, memory_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.machine import ramscan
from xipmatrix.machine.ramscan import Kernel, Scan, Sought

FREE = 0x40000  # an offset in RAM where nothing lies


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_vmlinux(tmp_path_factory.mktemp("vmlinux"))


def scan(made: Made, ram: bytes, folder: Path, **board: Any) -> Scan:
    cell = memory_cell(board)
    dump = folder / "ram.bin"
    dump.write_bytes(ram)
    kernel = Kernel.read(made.path, cell.arch_spec)
    return ramscan.scan(dump, kernel, cell.arch_spec, cell.board_spec)


def planted(made: Made, code: bytes, at: int = FREE) -> bytes:
    ram = made.good_ram()
    ram[at : at + len(code)] = code
    return bytes(ram)


def test_a_kernel_in_place(made: Made, tmp_path: Path) -> None:
    seen = scan(made, made.good_ram(), tmp_path)
    assert (seen.copies, seen.copied, seen.other, seen.pages_whole, seen.pages_part) == (
        (),
        0,
        0,
        0,
        0,
    )
    assert seen.pages == len(made.text) // 4096 + 1
    # What must be found is: data where it was copied to, declared text, planted samples.
    assert seen.control == seen.data == len(made.data)
    assert seen.displacement == DATA - RAM_BASE - 0x8000
    assert seen.declared == len(made.vectors)
    assert seen.planted == ramscan.PLANTED


def test_text_that_repeats_itself_is_no_sample(made: Made, tmp_path: Path) -> None:
    """riscv's stubs of system calls that a kernel has not: six bytes each, one after the other."""
    text = bytearray(made.text)
    stubs = bytes.fromhex("1305a0fd8280") * 700
    text[len(text) // 3 : len(text) // 3 + len(stubs)] = stubs
    repeating = make_vmlinux(tmp_path, text=bytes(text))
    seen = scan(repeating, repeating.good_ram(), tmp_path)
    assert seen.planted == ramscan.PLANTED


def test_samples_are_found_whole_in_text_that_repeats_itself_here_and_there(
    made: Made, tmp_path: Path
) -> None:
    text = bytearray(made.text)
    stubs = (bytes.fromhex("1305a0fd8280") * 26)[:152]
    for at in range(len(text) // 3, len(text) * 2 // 3, 75 + len(stubs)):
        text[at : at + len(stubs)] = stubs
    repeating = make_vmlinux(tmp_path, text=bytes(text))
    seen = scan(repeating, repeating.good_ram(), tmp_path)
    assert seen.planted == ramscan.PLANTED


@pytest.mark.parametrize("bits", [32, 64])
def test_all_of_the_text(bits: int, tmp_path: Path) -> None:
    made = make_vmlinux(tmp_path, bits=bits)
    seen = scan(made, planted(made, made.text), tmp_path)
    assert [(one.vaddr, one.physical, one.size) for one in seen.copies] == [
        (TEXT, RAM_BASE + FREE, len(made.text))
    ]
    assert seen.copies[0].symbols == ("start", "small", "hot", "filler")
    assert (seen.pages_whole, seen.pages_part) == (seen.pages, 0)


@pytest.mark.parametrize("shift", [0, 1, 2, 4, 6, 17, 31])
def test_one_function_wherever_it_lies(shift: int, made: Made, tmp_path: Path) -> None:
    seen = scan(made, planted(made, made.function("hot"), FREE + shift), tmp_path)
    (copy,) = seen.copies
    assert (copy.vaddr, copy.physical) == (made.address("hot"), RAM_BASE + FREE + shift)
    assert (copy.size, copy.symbols) == (1000, ("hot",))
    assert (seen.pages_whole, seen.pages_part) == (0, 1)


@pytest.mark.parametrize(
    ("name", "low", "high", "copies"),
    [
        ("hot", 0, 500, 1),  # half of a function
        ("hot", 100, 356, 1),  # 256 bytes
        ("hot", 100, 355, 0),  # one less
        ("small", 0, 160, 1),  # a whole function
        ("small", 0, 159, 0),  # all but a byte of it
        ("leaf", 0, 64, 0),  # what a module's compiler would make too
    ],
)
def test_how_much_is_a_copy(
    name: str, low: int, high: int, copies: int, made: Made, tmp_path: Path
) -> None:
    seen = scan(made, planted(made, made.function(name)[low:high], FREE + 10), tmp_path)
    assert (seen.copy_count, len(seen.copies)) == (copies, copies)
    # By chance a byte before or behind may be equal too.
    found = seen.longest if copies else seen.longest_other
    assert high - low <= found <= high - low + 2


def test_a_copy_at_either_end_of_ram(made: Made, tmp_path: Path) -> None:
    ram = made.good_ram()
    ram[:160] = made.function("small")
    ram[-300:] = made.function("start")
    seen = scan(made, ram, tmp_path)
    assert [one.symbols[0] for one in seen.copies] == ["start", "small"]


def test_a_page_with_one_byte_changed_every_300(made: Made, tmp_path: Path) -> None:
    code = bytearray(made.function("filler")[:8192])
    for at in range(0, len(code), 300):
        code[at] ^= 0xFF
    seen = scan(made, planted(made, bytes(code)), tmp_path)
    assert seen.copy_count == 27
    assert seen.pages_part >= 2


def test_code_that_stands_twice_in_the_kernel(tmp_path: Path) -> None:
    source = random.Random(2)
    common = source.randbytes(64)
    # More often than there are candidates, and once in the midst of `hot`.
    text = bytearray(source.randbytes(41524))
    for at in (2000, 3000, 4001, 5002, 6003, 7000):
        text[at : at + 64] = common
    text[524 + 480 : 524 + 544] = common
    made = make_vmlinux(tmp_path, text=bytes(text))
    seen = scan(made, planted(made, made.function("hot")), tmp_path)
    assert (seen.copies[0].symbols, seen.copies[0].size) == (("hot",), 1000)


def test_firmware_may_hold_the_same_code(made: Made, tmp_path: Path) -> None:
    """OpenSBI's libfdt is Linux's."""
    ram = planted(made, made.function("hot"))
    firmware = {"name": "opensbi", "base": RAM_BASE + FREE, "size": 4096}
    inside = scan(made, ram, tmp_path, firmware=[firmware])
    assert (inside.copy_count, inside.firmware) == (0, 1000)
    beside = scan(made, ram, tmp_path, firmware=[{**firmware, "size": 999}])
    assert beside.copy_count == 1


def test_text_that_is_copied_by_symbols_may_be_in_ram(tmp_path: Path) -> None:
    plain = make_vmlinux(tmp_path)
    ends = {"helpers": plain.address("small"), "helpers_end": plain.address("small") + 160}
    made = make_vmlinux(tmp_path, symbols=ends)
    seen = scan(made, planted(made, made.function("small")), tmp_path)
    assert (seen.copy_count, seen.declared) == (0, len(made.vectors) + 160)
    # Not what stands before and behind it.
    hot = planted(made, made.function("hot"))
    assert scan(made, hot, tmp_path).copied == 1000
    leaf = planted(made, made.function("start"))
    assert scan(made, leaf, tmp_path).copied == 300
    # Where no such symbols are, it is text like all other.
    plain = make_vmlinux(tmp_path)
    assert scan(plain, planted(plain, plain.function("small")), tmp_path).copied == 160


def test_without_the_data_the_control_is_empty(made: Made, tmp_path: Path) -> None:
    assert scan(made, bytes(RAM_SIZE), tmp_path).control == 0
    # Data in pieces all over RAM is not where one copy put it.
    ram = bytearray(RAM_SIZE)
    for nth in range(0, 8000, 500):
        ram[nth * 100 : nth * 100 + 500] = made.data[nth : nth + 500]
    assert scan(made, ram, tmp_path).control == 500


def test_an_index_that_holds_no_text_is_seen(tmp_path: Path) -> None:
    made = make_vmlinux(tmp_path, text=bytes(41524))
    assert scan(made, made.good_ram(), tmp_path).planted == 0


@pytest.mark.parametrize("size", [0, RAM_SIZE - 4096, RAM_SIZE + 1])
def test_a_dump_of_another_size_is_refused(size: int, made: Made, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="RAM is 1048576"):
        scan(made, bytes(size), tmp_path)


def test_no_dump_and_no_vmlinux(made: Made, tmp_path: Path) -> None:
    cell = memory_cell()
    kernel = Kernel.read(made.path, cell.arch_spec)
    with pytest.raises(InfrastructureError):
        ramscan.scan(tmp_path / "none", kernel, cell.arch_spec, cell.board_spec)
    with pytest.raises(InfrastructureError):
        Kernel.read(tmp_path / "none", cell.arch_spec)
    (tmp_path / "text").write_text("no ELF file")
    with pytest.raises(InfrastructureError):
        Kernel.read(tmp_path / "text", cell.arch_spec)


def test_padding_is_not_sought() -> None:
    code = random.Random(3).randbytes(400)
    nops = bytes.fromhex("0000a0e1") * 100
    sought = Sought([(0x1000, code + nops + code[::-1]), (0x8000, b"\xff" * 4096), (0x9000, b"")])
    assert [(size, vaddr) for _, size, vaddr in sought.stretches] == [
        (400, 0x1000),
        (400, 0x1000 + 800),
    ]
    ram = np.frombuffer(nops * 1000 + bytes(4096), np.uint8)
    (runs,) = ramscan.search(ram, [sought])
    assert (len(runs.at), runs.compared) == (0, 0)


def test_a_flat_block_is_no_hit() -> None:
    """Stretches that are flat, but too short to be left out, are in all RAM too."""
    code = random.Random(7).randbytes(400)
    sought = Sought([(0, code + bytes(40) + code[::-1])])
    (runs,) = ramscan.search(np.zeros(1 << 16, np.uint8), [sought])
    assert runs.compared == 0


def test_a_run_stays_in_its_section() -> None:
    one, other = random.Random(8).randbytes(320), random.Random(9).randbytes(320)
    (runs,) = ramscan.search(
        np.frombuffer(one + other, np.uint8), [Sought([(0x1000, one), (0x9000, other)])]
    )
    assert sorted(zip(runs.at.tolist(), runs.size.tolist(), strict=True)) == [(0, 320), (320, 320)]


CODE = random.Random(4).randbytes(4096)
# A loop unrolled many times: its windows have many places in the text each.
UNROLLED = CODE + CODE[:48] * 100
ADVERSE = {
    "zeros": bytes(32),
    "erased": b"\xff" * 32,
    "one frequent word": CODE[:4],
    "one window": CODE[1000:1064],
    "one block": CODE[1000:1032],
    "one block and a half": CODE[1000:1048],
    "the unrolled loop": CODE[:48],
    "a page of text": CODE,
    "all the text": UNROLLED,
    "text backwards": CODE[::-1],
}


@pytest.mark.parametrize("content", ADVERSE)
def test_no_content_is_more_than_linear(content: str) -> None:
    sought = Sought([(0, UNROLLED)])
    bounds = []
    for size in (1 << 18, 1 << 20):
        ram = np.resize(np.frombuffer(ADVERSE[content], np.uint8), size)
        (runs,) = ramscan.search(ram, [sought])
        assert runs.compared <= ramscan.compared_bound(size)
        assert len(runs.at) <= size // ramscan.BLOCK * ramscan.CANDIDATES
        bounds.append(runs.compared)
    assert bounds[1] <= 4 * bounds[0] * 1.1 + 1000


def test_blocks_of_text_in_any_order() -> None:
    """Nearly every block is a hit, and none goes on in the next."""
    sought = Sought([(0, UNROLLED)])
    blocks = np.frombuffer(CODE, np.uint8).reshape(-1, 32)
    order = np.random.default_rng(5).integers(0, len(blocks), 1 << 15)
    ram = blocks[order].reshape(-1)
    (runs,) = ramscan.search(ram, [sought])
    assert runs.compared <= ramscan.compared_bound(len(ram)) / 10


def test_runs_are_what_a_plain_search_finds() -> None:
    """Against bytes.find, in RAM with copies of all sizes at all places."""
    source = random.Random(6)
    text = source.randbytes(20000)
    ram, copies = bytearray(source.randbytes(1 << 18)), []
    for at in range(0, len(ram) - 4096, 2048):
        size, offset = source.randrange(ramscan.SURE, 1024), source.randrange(18000)
        start = at + source.randrange(512)
        ram[start : start + size] = text[offset : offset + size]
        copies.append((start, offset, size))
    (runs,) = ramscan.search(np.frombuffer(ram, np.uint8), [Sought([(0, text)])])
    found = list(zip(runs.at.tolist(), runs.offset.tolist(), runs.size.tolist(), strict=True))
    for at, offset, size in found:
        assert ram[at : at + size] == text[offset : offset + size]
    for start, offset, size in copies:
        assert any(
            at - where == start - offset and at <= start and at + length >= start + size
            for at, where, length in found
        )
    assert len(found) == len(copies)
