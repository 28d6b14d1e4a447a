# SPDX-License-Identifier: GPL-2.0-only
"""The file system in flash, judged by made-up boots: what was read, and what ran from where."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from machine_support import boot_result, make_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.flash import filesystem
from xipmatrix.machine import protocol, residency
from xipmatrix.machine.init import COMPRESSED, IN_PLACE, PROGRAMS
from xipmatrix.machine.residency import Residency, Run, Where
from xipmatrix.machine.result import Memory
from xipmatrix.matrix.model import Cell
from xipmatrix.verdict import filesystem as judged

FLASH, RAM = 0x7F0000000000, 0x7F1000000000
MEMORIES = (Memory("flash", 0, 1 << 20, FLASH), Memory("ram", 0x40000000, 64 << 20, RAM))
OFFSET = 0x80000
BASES = {IN_PLACE: 0x21000000, COMPRESSED: 0x22000000}
CODE = 0x1000  # where in a program's file some of its code is
CHALLENGE = 0x0123456789ABCDEF


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel's build with two programs for its flash."""
    folder = tmp_path_factory.mktemp("build")
    (folder / PROGRAMS).mkdir()
    (folder / "p.S").write_text(".text\n.fill 8192, 1, 0x90\n")
    for name, base in BASES.items():
        flags = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-e,0"]
        place = [f"-Wl,-Ttext-segment={base:#x}", "-Wl,-z,noseparate-code"]
        out = ["-o", folder / PROGRAMS / name, folder / "p.S"]
        subprocess.run(["gcc", *flags, *place, *out], check=True)
    return folder


@pytest.fixture
def cell() -> Cell:
    flash = {"base": 0, "size": "1M", "filesystem": OFFSET}
    return make_cell({"flash": flash}, None, ["cramfs"])


def classified(cell: Cell, build: Path, *runs: Run) -> Residency:
    stored = filesystem.programs_of(cell, build)
    return residency.classify(
        runs, MEMORIES, cell.board_spec, cell.arch_spec, None, (), None, stored
    )


def place_of(cell: Cell, build: Path) -> int:
    """Where in flash (physical) the code of the program in place is."""
    stored = filesystem.files_of(cell, build)
    return OFFSET + filesystem.image(stored).places[IN_PLACE] + CODE


NOPS = b"\x90" * 8


def test_a_program_is_executed_in_place(cell: Cell, build: Path) -> None:
    at = place_of(cell, build)
    vaddr = BASES[IN_PLACE] + CODE
    found = classified(cell, build, Run(vaddr, FLASH + at, NOPS, 5))
    assert found.counts == {Where.USER_FLASH: 5}
    assert found.programs == {(IN_PLACE, Where.USER_FLASH): 5}
    # It is none of the kernel's.
    assert found.kernel == 0


@pytest.mark.parametrize(
    ("vaddr", "shift", "code"),
    [
        # Other code there, at another place of the flash, or mapped elsewhere.
        (BASES[IN_PLACE] + CODE, 0, b"\x91" * 8),
        (BASES[IN_PLACE] + CODE, 4096, NOPS),
        (BASES[IN_PLACE] + CODE + 4096, 0, NOPS),
        # The compressed program is nowhere in flash as it is executed.
        (BASES[COMPRESSED] + CODE, 0, NOPS),
    ],
)
def test_whatever_else_runs_from_flash_is_the_kernels(
    cell: Cell, build: Path, vaddr: int, shift: int, code: bytes
) -> None:
    at = place_of(cell, build) + shift
    found = classified(cell, build, Run(vaddr, FLASH + at, code, 5))
    assert found.counts == {Where.FLASH: 5}
    assert not found.programs


@pytest.mark.parametrize("name", BASES)
def test_a_program_in_ram_is_named(cell: Cell, build: Path, name: str) -> None:
    found = classified(cell, build, Run(BASES[name] + CODE, RAM + 0x300000, NOPS, 5))
    assert found.counts == {Where.USER: 5}
    assert found.programs == {(name, Where.USER): 5}


REPLY = protocol.program_reply(CHALLENGE)
RANDOM = filesystem.data()[0].content
DIGEST = protocol.digest(CHALLENGE, RANDOM)


def console(cell: Cell, build: Path, changes: dict[str, str]) -> str:
    """What init says where all is well, with some of it replaced."""
    lines = "XIPMATRIX-INIT 1\n"
    for name in BASES:
        lines += f"XIPMATRIX-PROGRAM {name} {REPLY:016x} 0020\n"
    for one in filesystem.files_of(cell, build):
        digest = protocol.digest(CHALLENGE, one.content)
        lines += f"XIPMATRIX-FILE {one.name} {len(one.content):08x} {digest:016x}\n"
    for old, new in changes.items():
        assert old in lines
        lines = lines.replace(old, new)
    return lines


def counted(grade: str = "counted", **programs: dict[str, int]) -> Evidence:
    figures = {
        "grade": grade,
        "programs": {name.replace("_", "-"): n for name, n in programs.items()},
    }
    return Evidence("in-place", True, "", Verdict.NOT_IN_PLACE, figures)


GOOD: dict[str, Any] = {
    "in_place": {"flash": 900, "ram": 0},
    "compressed": {"flash": 0, "ram": 900},
}


def evidence(
    cell: Cell, build: Path, folder: Path, in_place: Evidence, changes: dict[str, str]
) -> dict[str, Evidence]:
    boot = boot_result(folder / "console.log", challenge=f"{CHALLENGE:016x}")
    said = protocol.read_console(console(cell, build, changes))
    found = judged.evidence(cell, boot, build / "vmlinux", said, in_place)
    return {one.name: one for one in found}


def test_all_is_well(cell: Cell, build: Path, tmp_path: Path) -> None:
    found = evidence(cell, build, tmp_path, counted(**GOOD), {})
    assert all(one.holds for one in found.values())
    assert found["files-in-flash"].summary.startswith("4 files, ")
    assert found["programs-in-place"].figures["page_cache_kb"] == {IN_PLACE: 32, COMPRESSED: 32}
    assert "in-place: 900 instructions from flash, 0 from RAM" in found["programs-in-place"].summary


def test_there_is_nothing_to_judge_without_a_file_system(build: Path, tmp_path: Path) -> None:
    boot = boot_result(tmp_path / "console.log")
    said = protocol.read_console("XIPMATRIX-INIT 1\n")
    assert judged.evidence(make_cell(), boot, build / "vmlinux", said, counted()) == []


@pytest.mark.parametrize(
    ("name", "breaks", "summary", "changes"),
    [
        (
            "files-in-flash",
            Verdict.USERSPACE_FAILED,
            "random was read as other bytes",
            {f"{DIGEST:016x}": f"{DIGEST ^ 1:016x}"},
        ),
        (
            "files-in-flash",
            Verdict.USERSPACE_FAILED,
            "text was read as 16 of 50001 bytes",
            {"FILE text 0000c351": "FILE text 00000010"},
        ),
        (
            "files-in-flash",
            Verdict.USERSPACE_FAILED,
            "text was not read",
            {"FILE text": "FILE other"},
        ),
        (
            "programs-in-place",
            Verdict.USERSPACE_FAILED,
            "in-place did not run",
            {"PROGRAM in-place": "PROGRAM other"},
        ),
        (
            "programs-in-place",
            Verdict.USERSPACE_FAILED,
            "compressed replied 0000000000000001, right is ",
            {f"PROGRAM compressed {REPLY:016x}": "PROGRAM compressed 0000000000000001"},
        ),
    ],
)
def test_what_init_says_wrong(
    cell: Cell,
    build: Path,
    tmp_path: Path,
    name: str,
    breaks: Verdict,
    summary: str,
    changes: dict[str, str],
) -> None:
    one = evidence(cell, build, tmp_path, counted(**GOOD), changes)[name]
    assert not one.holds
    assert one.breaks is breaks
    assert summary in one.summary


@pytest.mark.parametrize(
    "programs",
    [
        # One single instruction from RAM is one too many.
        {**GOOD, "in_place": {"flash": 900, "ram": 1}},
        {**GOOD, "in_place": {"flash": 0, "ram": 900}},
        {**GOOD, "in_place": {"flash": 0, "ram": 0}},
        {**GOOD, "compressed": {"flash": 900, "ram": 0}},
        {"compressed": GOOD["compressed"]},
    ],
)
def test_a_program_that_ran_elsewhere(
    cell: Cell, build: Path, tmp_path: Path, programs: dict[str, Any]
) -> None:
    one = evidence(cell, build, tmp_path, counted(**programs), {})["programs-in-place"]
    assert not one.holds
    assert one.breaks is Verdict.NOT_IN_PLACE


def test_samples_do_not_tell_where_programs_ran(cell: Cell, build: Path, tmp_path: Path) -> None:
    found = evidence(cell, build, tmp_path, counted("sampled"), {})
    assert found["programs-in-place"].holds
    assert found["programs-in-place"].weakness == "sampled"
    assert "where they ran is not known" in found["programs-in-place"].summary
    assert "instructions" not in found["programs-in-place"].summary
