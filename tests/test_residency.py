# SPDX-License-Identifier: GPL-2.0-only
"""Where instructions were executed, from made-up counts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.machine import residency
from xipmatrix.machine.plugin import SOURCE, api_of, build_plugin
from xipmatrix.machine.residency import Run, Where
from xipmatrix.machine.result import Memory
from xipmatrix.machine.userland import Program

FLASH, RAM, SBI = 0x7F0000000000, 0x7F1000000000, 0x7F1000000000
MEMORIES = (
    Memory("flash", 0x0, 1 << 20, FLASH),
    Memory("ram", 0x40000000, 64 << 20, RAM),
    Memory("opensbi", 0x40000000, 512 << 10, SBI),
)
VECTORS = bytes(range(32))
# They end at 0xffff1000, so they begin at 0xffff0fc0; ARCH lets 0xffff0fe0 be replaced.
HELPERS = bytes(range(100, 164))


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> residency.Symbols:
    """A small ELF file with .text at 0xbf010000, HELPERS in it, and .vectors at 0xffff0000."""
    folder = tmp_path_factory.mktemp("elf")
    source = folder / "v.S"
    data, helpers = (",".join(map(str, code)) for code in (VECTORS, HELPERS))
    source.write_text(
        ".text\n.type one,@function\none: .skip 16\n.type two,@function\ntwo: .skip 16\n"
        f".globl helpers,helpers_end\nhelpers: .byte {helpers}\nhelpers_end:\n"
        f'.section .vectors,"ax",@progbits\n__vectors_start: .byte {data}\n'
    )
    elf = folder / "vmlinux"
    base = ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-e,0"]
    flags = ["-Wl,-Ttext=0xbf010000", "-Wl,--section-start=.vectors=0xffff0000"]
    subprocess.run([*base, *flags, "-o", elf, source], check=True)
    return residency.Symbols(elf)


@pytest.mark.parametrize(
    ("vaddr", "haddr", "where"),
    [
        (0xBF010000, FLASH + 0x10000, Where.FLASH),
        # Before the MMU is on, flash is executed at its physical address.
        (0x10000, FLASH + 0x10000, Where.FLASH),
        # The first and the last byte of flash, and the byte after it.
        (0xBF000000, FLASH, Where.FLASH),
        (0xBF0FFFFF, FLASH + (1 << 20) - 1, Where.FLASH),
        (0xBF100000, FLASH + (1 << 20), Where.KERNEL_RAM),
        (0xC0100000, RAM + 0x100000, Where.KERNEL_RAM),
        # MMU off, or mapped one to one, in RAM: never a user program.
        (0x40100000, RAM + 0x100000, Where.KERNEL_RAM),
        (0x20000000, RAM + 0x100000, Where.USER),
        # Firmware's memory: only the firmware itself, which runs with the MMU off.
        (0x40001000, SBI + 0x1000, Where.FIRMWARE),
        (0xC0001000, SBI + 0x1000, Where.KERNEL_RAM),
        # A memory that the board does not know, or none.
        (0x5000, 0x7FFF00000000, Where.KERNEL_RAM),
        (0x5000, 0, Where.KERNEL_RAM),
    ],
)
def test_where_a_run_was(vaddr: int, haddr: int, where: Where) -> None:
    cell = make_cell()
    run = Run(vaddr, haddr, bytes(4), 10)
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, None)
    assert found.counts == {where: 10}
    assert bool(found.outside) == (where is Where.KERNEL_RAM)


def test_a_copy_of_a_declared_section_is_allowed(symbols: residency.Symbols) -> None:
    cell = make_cell()
    runs = [Run(0xFFFF0008, RAM + 0x200008, VECTORS[8:16], 3)]
    found = residency.classify(runs, MEMORIES, cell.board_spec, cell.arch_spec, symbols)
    assert found.counts == {Where.DECLARED: 3}
    assert found.declared == {"0xffff0008 (.vectors)": 3}
    assert not found.outside


@pytest.mark.parametrize(
    ("vaddr", "code"),
    [
        (0xFFFF0008, VECTORS[0:8]),  # other code at that address
        (0xFFFF0004, VECTORS[8:16]),  # the right code elsewhere
        (0xFFFF001C, VECTORS[28:32] + b"\0" * 4),  # past the section's end
    ],
)
def test_what_is_no_true_copy_is_not(symbols: residency.Symbols, vaddr: int, code: bytes) -> None:
    cell = make_cell()
    run = Run(vaddr, RAM + 0x200000, code, 3)
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, symbols)
    assert found.counts == {Where.KERNEL_RAM: 3}


@pytest.mark.parametrize(
    ("vaddr", "code", "allowed"),
    [
        (0xFFFF0FC0, HELPERS[:8], True),
        (0xFFFF0FE0, HELPERS[32:40], True),
        # The kernel may put the word at 0xffff0fe8 there.
        (0xFFFF0FE0, HELPERS[40:44] + HELPERS[36:40], True),
        (0xFFFF0FE4, HELPERS[40:44], False),
        (0xFFFF0FC0, HELPERS[4:12], False),
        # The right code elsewhere, before its beginning and across its end.
        (0xFFFF0FBC, HELPERS[:4], False),
        (0xFFFF0FFC, HELPERS[60:] + b"\0" * 4, False),
        (0xC0100000, HELPERS[:8], False),
    ],
)
def test_what_is_copied_by_symbols(
    symbols: residency.Symbols, vaddr: int, code: bytes, allowed: bool
) -> None:
    cell = make_cell()
    run = Run(vaddr, RAM + 0x200000, code, 3)
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, symbols)
    assert found.counts == {Where.DECLARED if allowed else Where.KERNEL_RAM: 3}
    # Where the kernel has none, nothing may be there.
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, None)
    assert found.counts == {Where.KERNEL_RAM: 3}


@pytest.mark.parametrize(
    ("vaddr", "code", "allowed"),
    [
        (0x40100000, HELPERS[:8], True),
        (0x40100038, HELPERS[56:], True),
        # Not where it would be in a copy that begins with the page.
        (0x40100004, HELPERS[:8], False),
        (0x40100000, HELPERS[4:12], False),
        (0x4010003C, HELPERS[60:] + b"\0" * 4, False),
        (0x40100040, HELPERS[:4], False),
    ],
)
def test_what_is_copied_to_a_page(
    symbols: residency.Symbols, vaddr: int, code: bytes, allowed: bool
) -> None:
    copied = {"symbols": ["helpers", "helpers_end"], "why": "kexec"}
    cell = make_cell(arch={"ram_text": [copied]})
    run = Run(vaddr, RAM + vaddr - 0x40000000, code, 3)
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, symbols)
    assert found.counts == {Where.DECLARED if allowed else Where.KERNEL_RAM: 3}


@pytest.mark.parametrize(
    ("code", "where"), [(VECTORS[4:8], Where.FIRMWARE), (VECTORS[8:12], Where.KERNEL_RAM)]
)
def test_firmware_is_what_was_there_at_first(code: bytes, where: Where) -> None:
    cell = make_cell()
    firmware = Memory("opensbi", 0x40000000, 32, SBI, VECTORS)
    run = Run(0x40000004, SBI + 4, code, 3)
    memories = (*MEMORIES[:2], firmware)
    found = residency.classify([run], memories, cell.board_spec, cell.arch_spec, None)
    assert found.counts == {where: 3}


@pytest.mark.parametrize(
    ("vaddr", "where"), [(0xC8000004, Where.FIRMWARE), (0xC9000004, Where.KERNEL_RAM)]
)
def test_firmware_may_lie_above_the_kernels_lowest_address(vaddr: int, where: Where) -> None:
    cell = make_cell({"firmware": [{"name": "opensbi", "base": 0xC8000000, "size": 32}]})
    assert vaddr > cell.arch_spec.kernel_virtual_base
    firmware = Memory("opensbi", 0xC8000000, 32, SBI, VECTORS)
    run = Run(vaddr, SBI + 4, VECTORS[4:8], 3)
    memories = (*MEMORIES[:2], firmware)
    found = residency.classify([run], memories, cell.board_spec, cell.arch_spec, None)
    assert found.counts == {where: 3}


INIT = Program(((0x20000000, bytes(range(64))),))


@pytest.mark.parametrize(
    ("vaddr", "code", "where"),
    [
        (0x20000010, bytes(range(16, 24)), Where.USER),
        # Other code there, init's elsewhere, and what goes on behind init.
        (0x20000010, bytes(range(17, 25)), Where.KERNEL_RAM),
        (0x20001010, bytes(range(16, 24)), Where.KERNEL_RAM),
        (0x2000003C, bytes(range(60, 68)), Where.KERNEL_RAM),
        (0x1FFFFFFC, bytes(4), Where.KERNEL_RAM),
    ],
)
def test_only_inits_code_is_a_users(vaddr: int, code: bytes, where: Where) -> None:
    cell = make_cell()
    run = Run(vaddr, RAM + 0x100000, code, 3)
    found = residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, None, (), INIT)
    assert found.counts == {where: 3}
    sample = Run(vaddr, RAM + 0x100000, None, 1)
    found = residency.classify([sample], MEMORIES, cell.board_spec, cell.arch_spec, None, (), INIT)
    assert found.counts[Where.USER] == (0x20000000 <= vaddr < 0x20000040)


def test_what_ran_outside_is_named(symbols: residency.Symbols) -> None:
    cell = make_cell()
    runs = [
        Run(0xBF010004, RAM + 0x100004, bytes(4), 5),
        Run(0xBF010014, RAM + 0x100014, bytes(4), 7),
        Run(0xBF010018, RAM + 0x100018, bytes(4), 1),
        Run(0xBF010000, FLASH + 0x10000, bytes(4), 1000),
        Run(0xFFFF0FC4, RAM + 0x200FC4, HELPERS[4:8], 2),
    ]
    found = residency.classify(runs, MEMORIES, cell.board_spec, cell.arch_spec, symbols)
    assert found.outside == {"one (ram)": 5, "two (ram)": 8}
    assert found.declared == {"0xffff0fc4 (helpers)": 2}
    assert (found.total, found.kernel) == (1015, 1015)


def test_the_plugins_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "counts.txt"
    path.write_text("xipmatrix-residency 2 arm\nbf010000 7f0000010000 0001abff 12\n")
    assert residency.read_counts(path) == [Run(0xBF010000, 0x7F0000010000, b"\0\1\xab\xff", 12)]


@pytest.mark.parametrize(
    "text",
    [
        *("", "something else\n", "xipmatrix-residency 1 arm\n1 2 3 4 5\n"),
        *("xipmatrix-residency 2 arm\n1 2 3\n", "xipmatrix-residency 2 arm\n1 2 3 4\n"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "counts.txt"
    path.write_text(text)
    with pytest.raises(InfrastructureError):
        residency.read_counts(path)


@pytest.mark.parametrize(
    ("version", "api"),
    [
        ("7.2.22", 1),
        ("8.2.2", 1),
        ("9.0.0", 2),
        ("9.1.0", 3),
        ("10.0.3", 3),
        ("11.0.0", 3),
        ("11.1.3", 7),
    ],
)
def test_plugin_api_by_qemu_version(version: str, api: int, tmp_path: Path) -> None:
    assert api_of(version) == api
    flags = ["-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", f"-DPLUGIN_API={api}"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "p.so", SOURCE], check=True)


@pytest.mark.parametrize("version", ["4.1.0", "12.0.0"])
def test_unknown_plugin_apis_are_none(version: str, tmp_path: Path) -> None:
    assert api_of(version) is None
    with pytest.raises(InfrastructureError, match="plugin API"):
        build_plugin(version, tmp_path)
