# SPDX-License-Identifier: GPL-2.0-only
"""From boots, made up, to verdicts: the table of what breaks what."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from machine_support import boot_result, make_cell
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.machine import protocol
from xipmatrix.machine.result import BootResult, End, Memory, Moment, Sample
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline.stages import flaky
from xipmatrix.result import CellResult
from xipmatrix.verdict import Judgement, decide, judge, workload

FLASH, RAM = 0x7F0000000000, 0x7F1000000000
KERNEL = "Booting Linux on physical CPU 0x0\nLinux version 7.3.4\n"
INIT = "XIPMATRIX-INIT 1\nXIPMATRIX-CPUS 0001\n"
REPLY = "XIPMATRIX-REPLY 02b1868eb9c40d86\n"
FILES = (
    "XIPMATRIX-BEGIN /proc/meminfo\nMemTotal: 64744 kB\nMemAvailable: 62052 kB\n"
    "XIPMATRIX-END /proc/meminfo\nXIPMATRIX-BEGIN /proc/iomem\n"
    "40000000-43ffffff : System RAM\n  40008000-4003318f : Kernel data\n"
    "XIPMATRIX-END /proc/iomem\n"
)
DONE = "XIPMATRIX-DONE\nreboot: Power down\n"
ZERO = "XIPMATRIX-ZERO 0000\n"
GOOD = KERNEL + INIT + REPLY + ZERO + FILES + DONE
FROM_FLASH = f"bf010000 {FLASH + 0x10000:x} 00000000 20000000\n"
USER = f"20000000 {RAM + 0x300000:x} 00000000 12000\n"
COUNTS = FROM_FLASH + USER
IN_FLASH = Sample(0, 0xBF010000, 0x10000)


def boot(
    folder: Path, console: str = GOOD, counts: str | None = COUNTS, **changes: Any
) -> BootResult:
    (folder / "console.log").write_text(console)
    if counts is not None:
        (folder / "counts.txt").write_text("xipmatrix-residency 2 arm\n" + counts)
    (folder / "trace.log").write_text("pflash_reset virt.flash0: reset\n")
    good: dict[str, Any] = {
        "counts": folder / "counts.txt" if counts is not None else None,
        "memories": (
            Memory("flash", 0, 1 << 20, FLASH),
            Memory("ram", 0x40000000, 64 << 20, RAM),
        ),
        "challenge": "0123456789abcdef",
        "flash_trace": folder / "trace.log",
    }
    return boot_result(folder / "console.log", **{**good, **changes})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "init did not come to read untouched memory"),
        ("XIPMATRIX-ZERO 0ffe\n", "untouched memory has 4094 bytes that are not 0"),
    ],
)
def test_untouched_memory_must_read_as_zeros(tmp_path: Path, line: str, reason: str) -> None:
    judged = judge(make_cell(), boot(tmp_path, GOOD.replace(ZERO, line)), None)
    assert judged.verdict is Verdict.USERSPACE_FAILED
    assert judged.reason == f"zero-page: {reason}"


@pytest.mark.parametrize("where", ["board", "config"])
def test_what_the_kernel_was_promised_to_say(tmp_path: Path, where: str) -> None:
    def promising(text: str) -> Cell:
        cell = make_cell()
        name = f"{where}_spec"
        spec = getattr(cell, name).model_copy(update={"says": [text]})
        return cell.model_copy(update={name: spec})

    judged = judge(promising(r"Linux version \d"), boot(tmp_path), None)
    assert judged.verdict is Verdict.PASS, judged.reason
    judged = judge(promising(r"started in HYP mode"), boot(tmp_path), None)
    assert judged.verdict is Verdict.USERSPACE_FAILED
    assert judged.reason == "console: the kernel never says: started in HYP mode"


def test_a_good_boot_passes(tmp_path: Path) -> None:
    judged = judge(make_cell(), boot(tmp_path), None)
    assert [one.summary for one in judged.evidence if not one.holds] == []
    assert judged.verdict is Verdict.PASS
    assert judged.figure("memory", "mem_total_kb") == 64744
    assert judged.figure("in-place", "flash") == 20000000
    assert judged.figure("in-place", "user") == 12000


def test_samples_stand_in_for_counts_and_say_so(tmp_path: Path) -> None:
    unmapped = Sample(0, 0xBF010000, None)
    seen = boot(tmp_path, counts=None, samples=(*(IN_FLASH,) * 99, unmapped))
    judged = judge(make_cell(), seen, None)
    assert judged.verdict is Verdict.PASS, judged.reason
    assert judged.reason == "all evidence holds; sampled only: in-place"
    result = CellResult.of(make_cell())
    result.verdict, result.evidence = judged.verdict, list(judged.evidence)
    assert result.label == "pass (sampled)"
    (in_place,) = [one for one in judged.evidence if one.name == "in-place"]
    assert "99 of 99 kernel samples" in in_place.summary
    assert "what ran between two samples is not known" in in_place.summary


@pytest.mark.parametrize(
    "line",
    [
        "pflash_io_write virt.flash0: offset:0x100c900 size:4 value:0x0013 wcycle:0",
        # As QEMU 8 and newer write it.
        "1234@1732345678.123456:pflash_io_write virt.flash0: offset:0x100c900 size:4 value:0x13",
    ],
)
def test_a_write_that_the_flash_ignores_counts_too(tmp_path: Path, line: str) -> None:
    seen = boot(tmp_path)
    assert seen.flash_trace is not None
    with seen.flash_trace.open("a") as trace:
        trace.write(f"{line}\npflash_mode_read_array virt.flash0: read array mode\n")
    judged = judge(make_cell(), seen, None)
    assert judged.verdict is Verdict.FLASH_MODIFIED
    assert judged.reason == "flash-writes: 1 writes reached the flash device, at offset 0x100c900"


def test_writes_to_another_flash_do_not_count_where_the_board_says_which_is_ours(
    tmp_path: Path,
) -> None:
    def judged(device: str | None, other: str) -> Judgement:
        seen = boot(tmp_path)
        assert seen.flash_trace is not None
        with seen.flash_trace.open("a") as trace:
            trace.write(f"pflash_io_write {other}: offset:0x0 size:4 value:0x98 wcycle:0\n")
        board = {"flash": {"base": 0, "size": "64M", "device": device}}
        return judge(make_cell(board), seen, None)

    assert judged(None, "virt.flash1").verdict is Verdict.FLASH_MODIFIED
    assert judged("virt.flash0", "virt.flash0").verdict is Verdict.FLASH_MODIFIED
    passed = judged("virt.flash0", "virt.flash1")
    assert passed.verdict is Verdict.PASS, passed.reason
    assert passed.figure("flash-writes", "writes_to_others") == 1
    # A name that QEMU does not know would never see a write.
    assert judged("virt.flash9", "virt.flash0").verdict is Verdict.INFRASTRUCTURE


PANIC = KERNEL + "Kernel panic - not syncing: Attempted to kill init!\n"
OUTSIDE = f"c0100000 {RAM + 0x100000:x} 00000000 1\n"


@pytest.mark.parametrize(
    ("verdict", "name", "changes"),
    [
        (Verdict.BOOT_SILENT, "reached-userspace", {"console": "", "end": End.SILENT}),
        (
            Verdict.BOOT_SILENT,
            "reached-userspace",
            {"console": "OpenSBI v1.1\nBoot HART MEDELEG\n", "end": End.SILENT},
        ),
        (Verdict.BOOT_SILENT, "reached-userspace", {"console": "", "end": End.RESET}),
        (Verdict.BOOT_TIMEOUT, "reached-userspace", {"console": KERNEL, "end": End.SILENT}),
        (Verdict.BOOT_TIMEOUT, "reached-userspace", {"console": KERNEL, "end": End.TIMEOUT}),
        (Verdict.BOOT_TIMEOUT, "reached-userspace", {"console": KERNEL, "end": End.OUTPUT_LIMIT}),
        (Verdict.BOOT_TIMEOUT, "reached-userspace", {"console": KERNEL, "end": End.RESET}),
        (Verdict.BOOT_PANIC, "no-panic", {"console": PANIC, "end": End.PANIC}),
        # init ended too early, and a panic that restarts the machine.
        (Verdict.BOOT_PANIC, "no-panic", {"console": PANIC + INIT, "end": End.RESET}),
        # An oops after which the kernel went on.
        (Verdict.BOOT_PANIC, "no-panic", {"console": "Oops [#1]\n" + GOOD}),
        # A panic before the console said anything else is no silence.
        (
            Verdict.BOOT_PANIC,
            "no-panic",
            {"console": "Kernel panic - not syncing: x", "end": End.PANIC},
        ),
        (Verdict.USERSPACE_FAILED, "reply", {"console": KERNEL + INIT, "end": End.SILENT}),
        (Verdict.USERSPACE_FAILED, "reply", {"console": KERNEL + INIT, "end": End.TIMEOUT}),
        (Verdict.USERSPACE_FAILED, "reply", {"console": KERNEL + INIT + FILES + DONE}),
        # The right answer to an earlier run's challenge.
        (Verdict.USERSPACE_FAILED, "reply", {"challenge": "fedcba9876543210"}),
        # The challenge itself, as a kernel echoes it.
        (
            Verdict.USERSPACE_FAILED,
            "reply",
            {"console": GOOD.replace("02b1868eb9c40d86", "0123456789abcdef")},
        ),
        # Somebody speaks as init does: the same again, or before it.
        (Verdict.USERSPACE_FAILED, "init-alone", {"console": GOOD + REPLY}),
        (Verdict.USERSPACE_FAILED, "init-alone", {"console": REPLY + GOOD}),
        (Verdict.USERSPACE_FAILED, "powered-off", {"end": End.SILENT}),
        (Verdict.USERSPACE_FAILED, "powered-off", {"end": End.FAILURE}),
        (Verdict.USERSPACE_FAILED, "powered-off", {"end": End.RESET}),
        (Verdict.USERSPACE_FAILED, "powered-off", {"console": GOOD.replace(DONE, "")}),
        (Verdict.USERSPACE_FAILED, "cpus", {"console": GOOD.replace("CPUS 0001", "CPUS 0002")}),
        (Verdict.USERSPACE_FAILED, "memory", {"console": GOOD.replace("MemTotal", "Other")}),
        (Verdict.USERSPACE_FAILED, "iomem", {"console": GOOD.replace("System RAM", "PCI")}),
        # One single instruction outside is one too many.
        (Verdict.NOT_IN_PLACE, "in-place", {"counts": COUNTS + OUTSIDE}),
        (Verdict.NOT_IN_PLACE, "in-place", {"counts": OUTSIDE + USER}),
        (Verdict.NOT_IN_PLACE, "in-place", {"counts": USER}),
        (
            Verdict.NOT_IN_PLACE,
            "iomem",
            {"console": GOOD.replace("Kernel data", "Kernel code")},
        ),
        (Verdict.FLASH_MODIFIED, "flash-unchanged", {"flash_sha256_after": "other"}),
        (
            Verdict.FLASH_MODIFIED,
            "flash-view",
            {"moments": (Moment("poweroff", None, "", 64 << 20, 0x1000),)},
        ),
        # Our own faults are never the kernel's.
        (Verdict.INFRASTRUCTURE, "flash-writes", {"flash_trace": None}),
        (Verdict.INFRASTRUCTURE, "in-place", {"counts": None}),
        (Verdict.INFRASTRUCTURE, "in-place", {"counts": None, "samples": (IN_FLASH,) * 9}),
        (
            Verdict.NOT_IN_PLACE,
            "in-place",
            {"counts": None, "samples": (*(IN_FLASH,) * 99, Sample(0, 0xC0100000, 0x40100000))},
        ),
        # What firmware starts instead of the image is no fault of the image.
        (
            Verdict.INFRASTRUCTURE,
            "in-place",
            {"console": "OpenSBI v1.6\n", "counts": OUTSIDE, "end": End.SILENT},
        ),
        (Verdict.USERSPACE_FAILED, "in-place", {"counts": FROM_FLASH}),
        (
            Verdict.INFRASTRUCTURE,
            "in-place",
            {"counts": f"bf010000 {FLASH + 0x10000:x} 00000000 999\n" + USER},
        ),
        (Verdict.INFRASTRUCTURE, "qemu", {"end": End.QEMU_FAILED, "detail": "killed"}),
    ],
)
def test_what_breaks_what(
    tmp_path: Path, verdict: Verdict, name: str, changes: dict[str, Any]
) -> None:
    judged = judge(make_cell(), boot(tmp_path, **changes), None)
    assert judged.verdict is verdict
    assert judged.reason.startswith(f"{name}: ")


def test_what_was_counted_is_quoted_before_what_the_kernel_says(tmp_path: Path) -> None:
    console = GOOD.replace("Kernel data", "Kernel code")
    judged = judge(make_cell(), boot(tmp_path, console, COUNTS + OUTSIDE), None)
    wrong = [one.name for one in judged.evidence if not one.holds]
    assert (judged.verdict, wrong) == (Verdict.NOT_IN_PLACE, ["in-place", "iomem"])
    assert judged.reason.startswith("in-place: 1 kernel instructions")


BPF = "XIPMATRIX-JITED workload 00000000bf202000 0011223344556677\n"
RAN = "XIPMATRIX-WORKLOAD bpf 0080\n"
JITED = f"bf202000 {RAM + 0x100000:x} 00112233 640\n"


def bpf(folder: Path, said: str = BPF + RAN, counts: str = COUNTS + JITED) -> Judgement:
    """The judgement of a boot whose config asks for a BPF program."""
    seen = boot(folder, GOOD.replace(REPLY, REPLY + said), counts)
    return judge(make_cell(workload=["bpf"]), seen, None)


def test_a_workload_that_was_done_passes(tmp_path: Path) -> None:
    judged = bpf(tmp_path)
    assert judged.verdict is Verdict.PASS, judged.reason
    (done,) = [one for one in judged.evidence if one.name == "workload"]
    assert done.summary == (
        "a BPF program ran 128 times; executed in RAM: BPF workload 640 instructions"
    )
    assert judged.figure("in-place", "declared_symbols") == {"workload (BPF)": 640}


@pytest.mark.parametrize(("said", "passed"), [("0001", True), ("0000", False), ("", False)])
def test_a_second_boot(said: str, passed: bool, tmp_path: Path) -> None:
    line = f"XIPMATRIX-WORKLOAD kexec {said}\n" if said else ""
    seen = boot(tmp_path, GOOD.replace(REPLY, REPLY + line))
    judged = judge(make_cell(workload=["kexec"]), seen, None)
    assert judged.verdict is (Verdict.PASS if passed else Verdict.USERSPACE_FAILED)
    if not passed:
        assert "kexec did not boot the kernel again" in judged.reason


def other_flash(folder: Path, done: int, writes: str) -> Judgement:
    """The judgement of a boot whose config asks for the other flash to be written."""
    line = f"XIPMATRIX-WORKLOAD cfi {done:04x}\n"
    seen = boot(folder, GOOD.replace(REPLY, REPLY + line))
    assert seen.flash_trace is not None
    with seen.flash_trace.open("a") as trace:
        trace.write("pflash_reset virt.flash1: reset\n" + writes)
    cell = make_cell({"flash": {"base": 0, "size": "1M", "device": "virt.flash0"}}, None, ["cfi"])
    return judge(cell, seen, None)


def traced(challenge: int, device: str = "virt.flash1", words: int = 64) -> str:
    """QEMU's trace of what init writes for a challenge."""
    data = protocol.pattern(challenge)
    return "pflash_io_write virt.flash1: offset:0x40000 size:4 value:0xe800e8 wcycle:0\n" + "".join(
        f"pflash_io_write {device}: offset:{0x40000 + at:#x} size:4 "
        f"value:0x{int.from_bytes(data[at : at + 4], 'little'):08x} wcycle:2\n"
        for at in range(0, 4 * words, 4)
    )


CHALLENGED = 0x0123456789ABCDEF


def test_the_other_flash_is_written(tmp_path: Path) -> None:
    judged = other_flash(tmp_path, 512, traced(CHALLENGED))
    assert judged.verdict is Verdict.PASS, judged.reason
    assert judged.figure("other-flash", "at") == [("virt.flash1", 0x40000)]
    assert judged.figure("flash-writes", "writes_to_others") == 65


@pytest.mark.parametrize(
    ("done", "writes", "verdict", "reason"),
    [
        # It says so, but nothing, too little, or what an earlier boot wrote came to the device.
        (512, "", Verdict.USERSPACE_FAILED, "other-flash: the 256 bytes"),
        (512, traced(CHALLENGED, words=63), Verdict.USERSPACE_FAILED, "other-flash: the 256 bytes"),
        (512, traced(1), Verdict.USERSPACE_FAILED, "other-flash: the 256 bytes"),
        # It was written, but reads otherwise.
        (511, traced(CHALLENGED), Verdict.USERSPACE_FAILED, "workload: 511 of 512 bytes"),
        # It was written to the kernel's own, instead or too.
        (
            512,
            traced(CHALLENGED, "virt.flash0"),
            Verdict.USERSPACE_FAILED,
            "other-flash: the 256 bytes",
        ),
        (
            512,
            traced(CHALLENGED) + traced(CHALLENGED, "virt.flash0"),
            Verdict.FLASH_MODIFIED,
            "flash-writes: 64 writes",
        ),
    ],
)
def test_the_other_flash_is_not_written(
    tmp_path: Path, done: int, writes: str, verdict: Verdict, reason: str
) -> None:
    judged = other_flash(tmp_path, done, writes)
    assert judged.verdict is verdict
    assert judged.reason.startswith(reason)


@pytest.mark.parametrize(
    ("verdict", "reason", "changes"),
    [
        (Verdict.USERSPACE_FAILED, "workload: the BPF program ran 0 times", {"said": BPF}),
        (
            Verdict.USERSPACE_FAILED,
            "workload: the BPF program ran 99 times",
            {"said": BPF + RAN.replace("0080", "0063")},
        ),
        # It says so, and nothing was executed: an interpreter.
        (Verdict.USERSPACE_FAILED, "workload: no BPF program executed", {"counts": COUNTS}),
        # Where the program is, nobody said.
        (Verdict.NOT_IN_PLACE, "in-place: 640 kernel instructions", {"said": RAN}),
        (
            Verdict.NOT_IN_PLACE,
            "in-place: 640 kernel instructions",
            {"said": BPF.replace("0011", "1100") + RAN},
        ),
    ],
)
def test_a_workload_that_was_not(
    tmp_path: Path, verdict: Verdict, reason: str, changes: dict[str, Any]
) -> None:
    judged = bpf(tmp_path, **changes)
    assert judged.verdict is verdict
    assert judged.reason.startswith(reason)


def test_modules_must_have_been_built_and_loaded(tmp_path: Path) -> None:
    cell = make_cell(workload=["modules"])
    assert judge(cell, boot(tmp_path), None).reason == (
        "workload: no module was built with this kernel"
    )
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "hello.ko").write_bytes(b"")
    said = protocol.Userspace(workload={"modules": 0})
    nothing = Evidence("in-place", True, "", Verdict.NOT_IN_PLACE, {"grade": "counted"})
    (one,) = workload.evidence(cell, tmp_path / "vmlinux", said, nothing)
    assert one.summary == "0 of 1 modules were loaded; module hello executed nothing"
    said = protocol.Userspace(workload={"modules": 1})
    (one,) = workload.evidence(cell, tmp_path / "vmlinux", said, nothing)
    assert not one.holds and one.summary == "module hello executed nothing"
    figures = {"grade": "counted", "loaded": {"module hello": 5}}
    ran = dataclasses.replace(nothing, figures=figures)
    (one,) = workload.evidence(cell, tmp_path / "vmlinux", said, ran)
    assert one.holds, one.summary


def test_a_config_that_asks_for_nothing_has_no_such_evidence(tmp_path: Path) -> None:
    judged = judge(make_cell(), boot(tmp_path), None)
    assert "workload" not in [one.name for one in judged.evidence]


def test_a_board_without_power_switch_restarts(tmp_path: Path) -> None:
    cell = make_cell({"poweroff": "reset"})
    assert judge(cell, boot(tmp_path, end=End.RESET), None).verdict is Verdict.PASS
    assert judge(cell, boot(tmp_path), None).verdict is Verdict.USERSPACE_FAILED


def test_the_worst_verdict_decides() -> None:
    def evidence(name: str, breaks: Verdict, holds: bool = False) -> Evidence:
        return Evidence(name, holds, f"{name}'s summary", breaks)

    found = [
        evidence("a", Verdict.FLASH_MODIFIED),
        evidence("b", Verdict.BOOT_SILENT),
        evidence("c", Verdict.NOT_IN_PLACE),
        evidence("d", Verdict.INFRASTRUCTURE, holds=True),
    ]
    judged = decide(found)
    assert judged.verdict is Verdict.BOOT_SILENT
    assert judged.reason == "b: b's summary"
    assert decide(found[3:]).verdict is Verdict.PASS


def test_advisory_evidence_is_shown_and_decides_nothing() -> None:
    drift = Evidence("drift", False, "a section is not placed", Verdict.PASS)
    judged = decide([drift])
    assert (judged.verdict, judged.reason) == (
        Verdict.PASS,
        "all evidence holds; worth a look: drift",
    )


def test_static_evidence_counts_too(tmp_path: Path) -> None:
    broken = Evidence("text-in-flash", False, "is in RAM", Verdict.IMAGE_INVALID)
    judged = judge(make_cell(), boot(tmp_path), None, [broken])
    assert judged.verdict is Verdict.IMAGE_INVALID


@pytest.mark.parametrize("icount", [None, 0])
def test_instructions_are_comparable_only_with_icount(tmp_path: Path, icount: int | None) -> None:
    cell = make_cell()
    qemu = cell.board_spec.qemu.model_copy(update={"icount": icount})
    board = cell.board_spec.model_copy(update={"qemu": qemu})
    judged = judge(cell.model_copy(update={"board_spec": board}), boot(tmp_path), None)
    wanted = None if icount is None else 20_000_000
    assert judged.figure("in-place", "kernel_repeatable") == wanted


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (Verdict.BOOT_SILENT, Verdict.PASS, Verdict.FLAKY),
        (Verdict.PASS, Verdict.BOOT_SILENT, Verdict.FLAKY),
        (Verdict.BOOT_SILENT, Verdict.BOOT_PANIC, Verdict.FLAKY),
        (Verdict.BOOT_SILENT, Verdict.BOOT_SILENT, Verdict.BOOT_SILENT),
        (Verdict.BOOT_SILENT, Verdict.INFRASTRUCTURE, Verdict.INFRASTRUCTURE),
    ],
)
def test_two_tries_that_differ_are_flaky(first: Verdict, second: Verdict, verdict: Verdict) -> None:
    found = flaky(Judgement(first, "one\nmore", ()), Judgement(second, "two", ()))
    assert found.verdict is verdict
    assert found.reason == (
        f"first {first} (one), then {second} (two)" if verdict is Verdict.FLAKY else "two"
    )


OPENSBI = (
    "OpenSBI v1.1\nDomain0 Next Address      : 0x{:016x}\nDomain0 Next Mode         : S-mode\n"
)


@pytest.mark.parametrize(("address", "holds"), [(0x10000, True), (0x4000000, False)])
def test_where_firmware_jumps_to(tmp_path: Path, address: int, holds: bool) -> None:
    seen = boot(tmp_path, OPENSBI.format(address) + GOOD)
    cell = make_cell({"firmware_entry": "Domain0 Next Address +: (0x[0-9a-f]+)"})
    found = {one.name: one for one in judge(cell, seen, None).evidence}["firmware-entry"]
    assert found.holds is holds
    assert f"{address:#x}" in found.summary
    if not holds:
        verdict = judge(cell, seen, None)
        assert verdict.verdict is Verdict.INFRASTRUCTURE
        assert "does its description fit QEMU" in verdict.reason


def test_firmware_that_says_nothing(tmp_path: Path) -> None:
    cell = make_cell({"firmware_entry": "Domain0 Next Address +: (0x[0-9a-f]+)"})
    names = [one.name for one in judge(cell, boot(tmp_path), None).evidence]
    assert "firmware-entry" not in names
