# SPDX-License-Identifier: GPL-2.0-only
"""QEMU and the plugin, with a dozen instructions in flash instead of a kernel."""

from __future__ import annotations

import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from machine_support import make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Verdict
from xipmatrix.machine import boot as booting
from xipmatrix.machine import qemu, residency
from xipmatrix.machine.console import Limits
from xipmatrix.machine.residency import Where
from xipmatrix.machine.result import BootResult, End
from xipmatrix.matrix.model import Board
from xipmatrix.verdict import judge

pytestmark = pytest.mark.skipif(
    not (shutil.which("arm-linux-gnueabihf-as") and shutil.which("qemu-system-arm")),
    reason="needs qemu-system-arm and arm binutils",
)

OFF = "movw r0, #0x0008\nmovt r0, #0x8400\n.word 0xe1400070\nb ."  # PSCI SYSTEM_OFF by hvc
RESET = "movw r0, #0x0009\nmovt r0, #0x8400\n.word 0xe1400070\nb ."
LOOP = "mov r0, #1000\n1: subs r0, r0, #1\nbne 1b\n"  # 2001 instructions
PRINT = "movw r0, #0\nmovt r0, #0x0900\nmov r1, #65\n1: str r1, [r0]\n"
TO_RAM = """
    adr r0, from
    mov r1, #0x40000000
    mov r2, #4
1:  ldr r3, [r0], #4
    str r3, [r1], #4
    subs r2, r2, #1
    bne 1b
    mov r1, #0x40000000
    blx r1
    b done
from:
    mov r1, #100
2:  subs r1, r1, #1
    bne 2b
    bx lr
done:
"""


def board(**changes: Any) -> Board:
    qemu_data = {"binary": "qemu-system-arm", "machine": "virt", "cpu": "cortex-a15"}
    data = {"qemu": {**qemu_data, "memory": "16M", **changes.pop("qemu", {})}}
    return make_cell(
        {"flash": {"base": 0, "size": "64M"}, "firmware": [], **data, **changes}
    ).board_spec


@pytest.fixture
def run_code(tmp_path: Path) -> Any:
    def running(
        code: str, on: Board | None = None, count: bool = True, **limits: Any
    ) -> BootResult:
        (tmp_path / "x.S").write_text(f".arch armv7-a\n.arm\n{code}\n")
        prefix = "arm-linux-gnueabihf-"
        subprocess.run([f"{prefix}as", "-o", tmp_path / "x.o", tmp_path / "x.S"], check=True)
        image = tmp_path / "flash.img"
        command = [f"{prefix}objcopy", "-O", "binary", "-j", ".text"]
        subprocess.run([*command, tmp_path / "x.o", image], check=True)
        with image.open("ab") as flash:
            flash.truncate(64 << 20)
        return booting.boot(
            on or board(),
            image,
            tmp_path / "work",
            bootargs="",
            challenge="0" * 16,
            limits=Limits(**{"silence": 2.0, "total": 20.0, **limits}),
            count=count,
        )

    return running


def counted(seen: BootResult) -> dict[Where, int]:
    assert seen.counts is not None
    cell = make_cell()
    runs = residency.read_counts(seen.counts)
    return dict(residency.classify(runs, seen.memories, board(), cell.arch_spec, None).counts)


def test_every_instruction_is_counted(run_code: Any) -> None:
    seen = run_code(LOOP + OFF)
    assert seen.end is End.POWEROFF
    assert counted(seen) == {Where.FLASH: 2001 + 3}


def test_code_that_is_copied_to_ram_is_found(run_code: Any) -> None:
    seen = run_code(TO_RAM + OFF)
    assert seen.end is End.POWEROFF
    assert counted(seen) == {Where.FLASH: 3 + 4 * 4 + 3 + 3, Where.KERNEL_RAM: 1 + 200 + 1}
    judged = judge(make_cell(), seen, None)
    in_place = next(one for one in judged.evidence if one.name == "in-place")
    assert in_place.breaks is Verdict.NOT_IN_PLACE and not in_place.holds
    assert "202 kernel instructions were executed outside flash" in in_place.summary


def test_a_write_to_flash_is_traced_even_if_ignored(run_code: Any) -> None:
    seen = run_code("mov r0, #0x100000\nmov r1, #19\nstr r1, [r0]\n" + OFF)
    assert seen.flash_sha256 == seen.flash_sha256_after
    judged = judge(make_cell(), seen, None)
    (writes,) = [one for one in judged.evidence if one.name == "flash-writes"]
    assert not writes.holds
    assert writes.breaks is Verdict.FLASH_MODIFIED
    assert "at offset 0x100000" in writes.summary


def test_samples_see_code_in_ram(run_code: Any) -> None:
    forever = TO_RAM.replace("    bx lr\n", "    mov r1, #100\n    b 2b\n").replace(
        "#4\n", "#5\n", 1
    )
    seen = run_code(forever, count=False, silence=1.0)
    assert seen.counts is None
    in_ram = [one for one in seen.samples if one.physical is not None and one.physical >> 28 == 4]
    assert in_ram  # how many there are in a second says how busy this machine is
    judged = judge(make_cell(), seen, None)
    (in_place,) = [one for one in judged.evidence if one.name == "in-place"]
    assert not in_place.holds
    assert "kernel samples were executed outside flash" in in_place.summary


def test_writes_to_flash_without_end_are_ended(run_code: Any) -> None:
    code = "movw r0, #0\nmovt r0, #0x0100\nmvn r1, #0\n1: str r1, [r0]\nb 1b\n"
    seen = run_code(code, silence=60.0, total=60.0)
    assert seen.end is End.FLASH_LIMIT
    assert seen.flash_trace is not None
    # What is written between two looks at it is no more than a disk can take.
    assert seen.flash_trace.stat().st_size < 256 << 20
    judged = judge(make_cell(), seen, None)
    assert any(one.name == "flash-writes" and not one.holds for one in judged.evidence)


@pytest.mark.parametrize(
    ("reasons", "status", "end"),
    [
        (["guest-shutdown"], 0, End.POWEROFF),
        (["guest-reset"], 0, End.RESET),
        ([], 0, End.POWEROFF),
        # With a status of the guest's own: QEMU 7.2's sifive_test, and newer ones.
        ([], 3, End.FAILURE),
        (["guest-shutdown"], 3, End.FAILURE),
        (["guest-panic"], 3, End.PANIC),
        # Nobody in the guest asked for it; killed; hung in its own exit.
        (["host-signal"], 0, End.QEMU_FAILED),
        (["host-error"], 1, End.QEMU_FAILED),
        ([], -11, End.QEMU_FAILED),
        (["guest-shutdown"], -6, End.QEMU_FAILED),
        (["guest-shutdown"], None, End.QEMU_FAILED),
    ],
)
def test_what_the_end_of_qemu_means(reasons: list[str], status: int | None, end: End) -> None:
    assert booting._ending(reasons, status)[0] is end


# Says what init says, and goes on when a key is there.
HOLD = """
    movw r0, #0
    movt r0, #0x0900
    adr r1, text
1:  ldrb r2, [r1], #1
    cmp r2, #0
    strne r2, [r0]
    bne 1b
2:  ldr r2, [r0, #0x18]
    tst r2, #0x10
    bne 2b
    b done
text:
    .asciz "XIPMATRIX-HOLD poweroff\\r\\n"
    .align 2
done:
"""


def test_the_machine_is_looked_at_while_init_stands_still(run_code: Any) -> None:
    store = "mov r0, #0x40000000\nmov r1, #0x99\nstr r1, [r0]\n"
    seen = run_code(store + HOLD + OFF)
    assert seen.end is End.POWEROFF
    (moment,) = seen.moments
    assert (moment.name, moment.flash_seen, moment.flash_differs) == ("poweroff", 64 << 20, None)
    ram = moment.ram.read_bytes()
    assert len(ram) == 16 << 20
    assert ram[:4] == b"\x99\0\0\0"
    # RAM is garbage at first, as on a real board; only QEMU's own device tree is in it.
    assert ram[4 << 20 :].strip(b"\xa5") == b""


def test_a_guest_that_sees_another_flash(run_code: Any) -> None:
    other = {"flash": {"base": 0x4000000, "size": "64M"}, "xip_phys_addr": 0x4010000}
    # "movw r0, #0" begins with three bytes of zeros, as all of the empty bank is.
    assert run_code(HOLD + OFF, board(**other)).moments[0].flash_differs == 3


@pytest.mark.parametrize(
    ("code", "end", "limits"),
    [
        (RESET, End.RESET, {}),
        ("b .", End.SILENT, {"silence": 0.5}),
        (f"{PRINT}b 1b", End.TIMEOUT, {"total": 1.0, "output": 1 << 30}),
        (f"{PRINT}b 1b", End.OUTPUT_LIMIT, {"output": 1000}),
    ],
)
def test_how_a_boot_ends(run_code: Any, code: str, end: End, limits: dict[str, Any]) -> None:
    seen = run_code(code, **limits)
    assert seen.end is end
    # However it ended, the counts are there.
    assert counted(seen)[Where.FLASH] > 2
    assert seen.flash_sha256 == seen.flash_sha256_after


def test_the_console_is_kept(run_code: Any) -> None:
    assert run_code(PRINT + OFF).console_text() == "A"


def test_a_machine_that_qemu_does_not_have(run_code: Any) -> None:
    seen = run_code(OFF, board(qemu={"machine": "no-such-machine"}))
    assert seen.end is End.QEMU_FAILED
    assert "no-such-machine" in seen.detail or "unsupported machine" in seen.detail
    assert judge(make_cell(), seen, None).verdict is Verdict.INFRASTRUCTURE


def test_a_qemu_that_is_killed(run_code: Any, tmp_path: Path) -> None:
    wrapper = tmp_path / "qemu"
    wrapper.write_text('#!/bin/sh\nexec timeout -s KILL 1 qemu-system-arm "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    seen = run_code("b .", board(qemu={"binary": str(wrapper)}), silence=10.0)
    assert seen.end is End.QEMU_FAILED
    assert judge(make_cell(), seen, None).verdict is Verdict.INFRASTRUCTURE


def test_a_qemu_that_is_missing(run_code: Any) -> None:
    with pytest.raises(InfrastructureError, match="no-such-qemu"):
        run_code(OFF, board(qemu={"binary": "no-such-qemu"}))


def test_memory_that_the_board_does_not_have(run_code: Any) -> None:
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"no memory at 0xf0000000 \(ram\)"):
        run_code(OFF, board(ram_base=0xF0000000))
    assert time.monotonic() - began < 10


def test_firmware_command_lines_need_a_kernel_file(tmp_path: Path) -> None:
    on = board(qemu={"boots_with_dummy_kernel": True})
    args = qemu.boot_args(on, tmp_path / "a,b.img", bootargs="x=y", work=tmp_path)
    assert args[args.index("-append") + 1] == "x=y"
    assert Path(args[args.index("-kernel") + 1]).stat().st_size == 1
    assert "readonly=on" in args[args.index("-drive") + 1]
    assert "a,,b.img" in args[args.index("-drive") + 1]


def test_by_hand(tmp_path: Path) -> None:
    args = qemu.interactive_args(board(), tmp_path / "f", bootargs="", work=tmp_path, gdb=True)
    assert args[-5:] == ["-serial", "mon:stdio", "-gdb", "tcp:127.0.0.1:1234", "-S"]
    assert "-s" not in args  # would listen on every address
    assert "-kernel" not in args
