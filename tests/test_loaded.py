# SPDX-License-Identifier: GPL-2.0-only
"""Code in RAM that the kernel says it loaded: what is believed, and what is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.machine import residency
from xipmatrix.machine.loaded import MOST_JITED, Code, loaded, module_files
from xipmatrix.machine.protocol import Userspace
from xipmatrix.machine.residency import Run, Where
from xipmatrix.machine.result import Memory
from xipmatrix.matrix.model import Work
from xipmatrix.pipeline import challenged

FLASH, RAM = 0x7F0000000000, 0x7F1000000000
MEMORIES = (
    Memory("flash", 0x0, 1 << 20, FLASH),
    Memory("ram", 0x40000000, 64 << 20, RAM),
)
# The area of machine_support.ARCH is 0xbf000000 to 0xbfffffff.
BASE = 0xBF200000
BEGIN, WORK = BASE, BASE + 0x1000
PROGRAM = bytes(range(64, 96))
TEXT = bytes(range(32))
WORK_DONE: list[Work] = ["modules", "bpf"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vmlinux whose text is TEXT, and beside it a module ``hello``.

    The module's .text: `work` of 16 bytes and `call` of 16, with a relocation in the bytes
    20 to 23. Its .init.text: `begin` of 16 bytes.
    """
    folder = tmp_path_factory.mktemp("build")
    (folder / "modules").mkdir()
    source = folder / "hello.S"
    source.write_text(
        ".text\n.type work,@function\nwork: .fill 16,1,0x11\n"
        ".type call,@function\ncall: .fill 4,1,0x22\n.long elsewhere\n.fill 8,1,0x22\n"
        '.section .init.text,"ax",@progbits\n.type begin,@function\nbegin: .fill 16,1,0x33\n'
        '.section .data,"aw",@progbits\n.fill 16,1,0x44\n'
    )
    subprocess.run(["gcc", "-c", "-o", folder / "modules/hello.ko", source], check=True)
    kernel = folder / "v.S"
    data = ",".join(map(str, TEXT))
    kernel.write_text(f".text\n.type start,@function\nstart: .byte {data}\n")
    flags = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-e,0"]
    text = "-Wl,-Ttext=0xbf010000"
    subprocess.run(["gcc", *flags, text, "-o", folder / "vmlinux", kernel], check=True)
    return folder / "vmlinux"


SAID = Userspace(
    sections=[("hello", ".init.text", BEGIN), ("hello", ".text", WORK)],
    jited=[("workload", BASE + 0x2000, PROGRAM)],
)


def placed(built: Path, run: Run, said: Userspace = SAID) -> residency.Residency:
    """Where one run was, with the memory that all code in RAM here is in."""
    cell = make_cell()
    symbols = residency.Symbols(built)
    codes = loaded(said, cell.arch_spec, WORK_DONE, module_files(built), symbols)
    return residency.classify([run], MEMORIES, cell.board_spec, cell.arch_spec, symbols, codes)


def run_at(vaddr: int, code: bytes, count: int = 7) -> Run:
    return Run(vaddr, RAM + 0x100000 + (vaddr & 0xFFFF), code, count)


@pytest.mark.parametrize(
    ("vaddr", "code", "name", "owner"),
    [
        (WORK, b"\x11" * 16, "hello:work (module)", "module hello"),
        (WORK + 16, b"\x22" * 4, "hello:call (module)", "module hello"),
        (WORK + 24, b"\x22" * 8, "hello:call (module)", "module hello"),
        # A relocation changed what the file holds.
        (WORK + 16, b"\x22" * 4 + b"\x99" * 4, "hello:call (module)", "module hello"),
        # What is gone by the time that anybody asks.
        (BEGIN + 8, b"\x33" * 8, "hello:begin (module)", "module hello"),
        (BASE + 0x2000, PROGRAM, "workload (BPF)", "BPF workload"),
        (BASE + 0x2010, PROGRAM[16:20], "workload (BPF)", "BPF workload"),
    ],
)
def test_loaded_code_is_declared_by_name(
    built: Path, vaddr: int, code: bytes, name: str, owner: str
) -> None:
    found = placed(built, run_at(vaddr, code))
    assert found.counts == {Where.DECLARED: 7}
    assert (found.declared, found.loaded) == ({name: 7}, {owner: 7})
    assert not found.outside


@pytest.mark.parametrize(
    ("vaddr", "code"),
    [
        # In the area, and nobody's: before, between and behind what was loaded.
        (BASE - 4, b"\x11" * 4),
        (BASE + 0x800, b"\x11" * 4),
        (BASE + 0x2020, b"\x11" * 4),
        # It begins in loaded code and ends behind it.
        (WORK + 28, b"\x22" * 8),
        # Other code than the file's, or than the kernel showed.
        (WORK, TEXT[:16]),
        (BEGIN, b"\x11" * 16),
        (BASE + 0x2000, PROGRAM[4:8]),
        # The right code elsewhere.
        (WORK + 0x100000, b"\x11" * 16),
        (0xC0100000, b"\x11" * 16),
    ],
)
def test_what_was_not_loaded_is_not(built: Path, vaddr: int, code: bytes) -> None:
    found = placed(built, run_at(vaddr, code))
    assert found.counts == {Where.KERNEL_RAM: 7}
    assert found.outside and not found.loaded


@pytest.mark.parametrize(
    ("said", "vaddr", "code"),
    [
        # Nobody said anything.
        (Userspace(), WORK, b"\x11" * 16),
        (Userspace(), BASE + 0x2000, PROGRAM),
        # Outside the area for such code.
        (Userspace(sections=[("hello", ".text", 0xC0100000)]), 0xC0100000, b"\x11" * 16),
        (Userspace(jited=[("workload", 0xC0100000, PROGRAM)]), 0xC0100000, PROGRAM),
        # Across its end.
        (Userspace(jited=[("workload", 0xBFFFFFF0, PROGRAM)]), 0xBFFFFFF0, PROGRAM[:4]),
        # No such module, no such section, a section of data.
        (Userspace(sections=[("other", ".text", WORK)]), WORK, b"\x11" * 16),
        (Userspace(sections=[("hello", ".exit.text", WORK)]), WORK, b"\x11" * 16),
        (Userspace(sections=[("hello", ".data", WORK)]), WORK, b"\x44" * 16),
        # The kernel's own text, said to be a BPF program.
        (Userspace(jited=[("workload", WORK, TEXT)]), WORK, TEXT),
        (Userspace(jited=[("workload", WORK, TEXT[8:24])]), WORK, TEXT[8:12]),
    ],
)
def test_what_is_not_believed(built: Path, said: Userspace, vaddr: int, code: bytes) -> None:
    assert placed(built, run_at(vaddr, code), said).counts == {Where.KERNEL_RAM: 7}


def test_an_architecture_without_an_area_has_no_loaded_code(built: Path) -> None:
    cell = make_cell(arch={"loaded_code": []})
    assert loaded(SAID, cell.arch_spec, WORK_DONE, module_files(built), None) == []


@pytest.mark.parametrize(
    ("work", "kinds"),
    [([], set()), (["modules"], {"module"}), (["bpf"], {"BPF"}), (WORK_DONE, {"module", "BPF"})],
)
def test_nobody_loads_what_nobody_asked_for(built: Path, work: list[Work], kinds: set[str]) -> None:
    codes = loaded(SAID, make_cell().arch_spec, work, module_files(built), None)
    assert {one.kind for one in codes} == kinds


def test_a_small_program_does_not_become_a_large_one(built: Path) -> None:
    def jited(*sizes: int) -> int:
        programs = [("workload", BASE + 0x1000 * nth, bytes(n)) for nth, n in enumerate(sizes)]
        said = Userspace(jited=programs)
        return len(loaded(said, make_cell().arch_spec, WORK_DONE, module_files(built), None))

    assert jited(MOST_JITED) == 1
    assert jited(MOST_JITED + 1) == 0
    assert jited(MOST_JITED // 2, MOST_JITED // 2) == 2
    assert jited(MOST_JITED // 2, MOST_JITED // 2 + 1) == 0


def test_memory_that_was_used_twice(built: Path) -> None:
    said = Userspace(sections=[("hello", ".init.text", BASE)], jited=[("workload", BASE, PROGRAM)])
    assert placed(built, run_at(BASE, b"\x33" * 16), said).loaded == {"module hello": 7}
    assert placed(built, run_at(BASE, PROGRAM), said).loaded == {"BPF workload": 7}


def test_flash_is_flash_even_there(built: Path) -> None:
    run = Run(WORK, FLASH + 0x1000, b"\x11" * 16, 7)
    assert placed(built, run).counts == {Where.FLASH: 7}


def test_a_sample_has_no_bytes(built: Path) -> None:
    run = Run(WORK + 4, RAM + 0x101004, None, 1)
    assert placed(built, run).loaded == {"module hello": 1}


@pytest.mark.parametrize(
    ("at", "size", "known"),
    [
        (0, 4, True),
        (8, 4, False),
        (12, 4, False),  # the second word of a pair that one relocation changes
        (16, 4, True),
    ],
)
def test_bytes_count_where_no_relocation_changed_them(at: int, size: int, known: bool) -> None:
    code = Code("module", "m", 0x1000, bytes(32), relocated=frozenset({8}))
    assert code.holds(Run(0x1000 + at, RAM, b"\x01" * size, 1)) is not known
    assert code.holds(Run(0x1000 + at, RAM, bytes(size), 1))
    # Beside what a relocation changes, the rest of the run counts.
    assert code.holds(Run(0x1004, RAM, bytes(4) + b"\x01" * 8 + bytes(4), 1))
    assert not code.holds(Run(0x1004, RAM, b"\x01" + bytes(15), 1))
    assert not code.holds(Run(0x1004, RAM, bytes(15) + b"\x01", 1))
    # arm's change a word.
    one = Code("module", "m", 0x1000, bytes(32), frozenset({8}), 4)
    assert one.holds(Run(0x1008, RAM, b"\x01" * 4, 1))
    assert not one.holds(Run(0x1008, RAM, b"\x01" * 5, 1))


def test_init_is_told_what_to_do() -> None:
    told = challenged(make_cell(workload=["modules", "bpf"]))[1].split()
    assert told[-2:] == ["xipmatrix.modules=1", "xipmatrix.bpf=1"]
    assert not any(
        word.startswith(("xipmatrix.m", "xipmatrix.b"))
        for word in challenged(make_cell())[1].split()
    )


def test_init_waits_for_messages_that_count() -> None:
    """It lowers the console's level to be heard, and what is not out by then never comes out."""
    assert "xipmatrix.drain=1" in challenged(make_cell(board={"says": ["in HYP mode"]}))[1].split()
    assert "xipmatrix.drain" not in challenged(make_cell())[1]
