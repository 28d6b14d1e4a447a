# SPDX-License-Identifier: GPL-2.0-only
"""Digests: of consoles, configurations, series and evidence; and which of them are similar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.build.kconfig import Dropped, read_dropped
from xipmatrix.core.evidence import Verdict
from xipmatrix.digest import Digest, Kind, Origin, digest, masked, trace
from xipmatrix.pipeline import digesting
from xipmatrix.result import CellResult

LOGS = Path(__file__).parent / "logs"


def made(
    verdict: Verdict, reason: str, log: str | Path = "", origin: Origin | None = None
) -> Digest:
    path = LOGS / log if log else None
    found = digest(verdict, reason, path, origin)
    assert found is not None
    return found


@pytest.mark.parametrize("verdict", [None, Verdict.PASS, Verdict.NOT_APPLICABLE])
def test_what_is_no_failure_has_none(verdict: Verdict | None) -> None:
    assert digest(verdict, "reason", LOGS / "oops.arm.log") is None


def test_every_other_verdict_has_one_even_without_a_log() -> None:
    for verdict in set(Verdict) - {Verdict.PASS, Verdict.NOT_APPLICABLE}:
        for reason in ("", "one", "a: b\nc"):
            found = made(verdict, reason, "there-is-none.log")
            assert found.headline
            assert found.lines
            assert Digest.from_dict(json.loads(json.dumps(found.as_dict()))) == found


# --- consoles ---------------------------------------------------------------------------

ARM_ADDRESSES = """\
Internal error: Oops - undefined instruction: 0 [#1] ARM
CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 7.3.4 #1 VOLUNTARY
at           0xbf0dea10
called from  0xbf1aa444
trace        0xbf1aa444
             0xbf01031c"""


def test_an_oops_without_vmlinux_keeps_its_addresses() -> None:
    found = made(Verdict.BOOT_PANIC, "no-panic: Internal error: Oops", "oops.arm.log")
    assert found.kind is Kind.OOPS
    assert "\n".join(found.lines) == ARM_ADDRESSES


def test_the_same_on_riscv() -> None:
    found = made(Verdict.BOOT_PANIC, "no-panic: Oops", "oops.riscv.log")
    assert found.key == "oops: Oops - illegal instruction"
    assert "at           0xffffffff8009d0e0" in found.lines
    assert "called from  0xffffffff8013c792" in found.lines
    assert len(found.lines) == 9  # the first frame is where it died


NAMED = {
    "arm": """\
[    1.234567] 8<--- cut here ---
[    1.2345] Unable to handle kernel NULL pointer dereference at virtual address 00000004 when read
[    1.234580] [00000004] *pgd=00000000
[    1.234590] Internal error: Oops: 5 [#1] SMP ARM
[    1.234600] CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 7.3.4 #1 NONE
[    1.234610] PC is at foo_probe+0x10/0x40
[    1.234620] LR is at really_probe+0x80/0x2a0
[    1.234630] pc : [<bf0dea10>]    lr : [<bf1aa444>]    psr: 60000013
[    1.234640] Register r0 information: slab kmalloc-64 start c1000000 pointer offset 0 size 64
[    1.234650] Call trace:
[    1.234660]  foo_probe from really_probe+0x80/0x2a0
[    1.234670]  really_probe from driver_attach+0x4/0x8
[    1.234680] Code: e1831f92 e3310000 1afffffa eaffe327 (e7f000f0)
[    1.234690] ---[ end trace 0000000000000000 ]---
[    1.234700] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b
""",
    "arm verbose": """\
Internal error: Oops: 5 [#1] ARM
PC is at foo_probe+0x10/0x40
LR is at really_probe+0x80/0x2a0
Backtrace:
[<bf0dea10>] (foo_probe) from [<bf1aa444>] (really_probe+0x80/0x2a0)
[<bf0dea10>] (really_probe) from [<bf1aa444>] (driver_attach+0x4/0x8)
---[ end trace 0000000000000000 ]---
""",
    "riscv": """\
Unable to handle kernel NULL pointer dereference at virtual address 0000000000000004
Oops [#1]
CPU: 0 UID: 0 PID: 1 Comm: swapper/0 Not tainted 7.3.4 #1
epc : foo_probe+0x10/0x40
 ra : really_probe+0x80/0x2a0
epc : ffffffff8009d0e0 ra : ffffffff8013c792 sp : ffffaf8000487e70
 gp : ffffffffde23e628 tp : ffffaf800048e5c0 t0 : 0000000000000000
[<ffffffff8009d0e0>] foo_probe+0x10/0x40
[<ffffffff8013c732>] really_probe+0x80/0x2a0
[<ffffffff8013c732>] driver_attach+0x4/0x8
Code: c909 711c 4705 8793 1207 a02f 00e7 a06f a9cf 8082 (0000) f406
---[ end trace 0000000000000000 ]---
""",
    "arm64": """\
Internal error: Oops: 0000000096000004 [#1]  SMP
pc : foo_probe+0x10/0x40
lr : really_probe+0x80/0x2a0
sp : ffff80008005bc40
Call trace:
 foo_probe+0x10/0x40 (P)
 really_probe+0x80/0x2a0
 driver_attach+0x4/0x8
Code: d503201f (b9400400)
---[ end trace 0000000000000000 ]---
""",
}  # fmt: skip


@pytest.mark.parametrize("form", NAMED)
def test_every_form_of_a_trace(form: str, tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text(f"Booting Linux on CPU 0\n{NAMED[form]}")
    found = made(Verdict.BOOT_PANIC, "no-panic: Oops", log)
    assert found.kind is Kind.OOPS
    assert found.headline.endswith(" in foo_probe")
    assert "at           foo_probe+0x10/0x40" in found.lines
    assert "called from  really_probe+0x80/0x2a0" in found.lines
    at = found.lines.index("trace        really_probe+0x80/0x2a0")
    assert found.lines[at + 1 :] == ("             driver_attach+0x4/0x8",)
    assert not any("Register" in line or " gp" in line for line in found.lines)


def test_an_oops_counts_once_and_time_stamps_do_not(tmp_path: Path) -> None:
    keys = set()
    for number, text in enumerate((NAMED["arm"], NAMED["arm"].replace("1.23", "2.71"))):
        log = tmp_path / f"{number}.log"
        log.write_text(text.replace("[#1]", f"[#{number + 1}]").replace("00000004", "0000000c"))
        keys.add(made(Verdict.BOOT_PANIC, "no-panic: Oops", log).key)
    assert keys == {
        "oops: Unable to handle kernel NULL pointer dereference at virtual address N when read "
        "in foo_probe"
    }


def test_a_panic_shows_what_came_before(tmp_path: Path) -> None:
    found = made(Verdict.BOOT_PANIC, "no-panic: x", "panic.riscv.log")
    assert found.kind is Kind.PANIC
    assert found.key == "panic: Kernel panic - not syncing: Attempted to kill init! exitcode=N"
    assert found.lines[-2:] == ("Run /init as init process", found.headline)
    log = tmp_path / "console.log"
    log.write_text(
        "VFS: Cannot open root device\nKernel panic - not syncing: VFS: Unable to mount root fs\n"
        "Call trace:\n unwind_backtrace from show_stack+0x10/0x14\n"
        " show_stack from dump_stack_lvl+0x40/0x4c\n dump_stack_lvl from panic+0x10/0x20\n"
        " panic from mount_root+0x4/0x8\n mount_root from kernel_init+0x8/0xc\n"
        "---[ end Kernel panic - not syncing: VFS ]---\n"
    )
    found = made(Verdict.BOOT_PANIC, "no-panic: x", log)
    assert found.headline.endswith("Unable to mount root fs in mount_root")
    assert found.lines[-2:] == (
        "trace        mount_root+0x4/0x8",
        "             kernel_init+0x8/0xc",
    )


def test_a_hang_shows_the_last_lines_and_is_known_by_the_last_one() -> None:
    reason = "reached-userspace: init never started: silent for 5 s; last line: 'TERM=linux'"
    found = made(Verdict.BOOT_TIMEOUT, reason, "hang.riscv.log")
    assert found.kind is Kind.HANG
    assert len(found.lines) == 5
    assert found.lines[-1].strip() == "Run /init as init process"
    other = made(Verdict.BOOT_TIMEOUT, reason.replace("5 s", "60 s"), "hang.riscv.log")
    assert other.key == found.key
    third = made(Verdict.BOOT_TIMEOUT, reason.replace("TERM", "HOME"), "hang.riscv.log")
    assert third.key != found.key


def test_silence_shows_the_firmware_s_words() -> None:
    found = made(
        Verdict.BOOT_SILENT, "reached-userspace: the kernel said nothing", "silent.riscv.log"
    )
    assert (found.kind, found.headline) == (Kind.HANG, "the kernel said nothing")
    assert "Boot HART MEDELEG" in found.lines[-1]


def test_userspace_that_stopped_shows_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_text("XIPMATRIX-INIT 1\nXIPMATRIX-CPUS 1\n")
    reason = "reply: init gave no reply"
    assert made(Verdict.USERSPACE_FAILED, reason, log).lines[-1] == "XIPMATRIX-CPUS 1"
    log.write_text("XIPMATRIX-INIT 1\nXIPMATRIX-DONE\n")
    assert made(Verdict.USERSPACE_FAILED, reason, log).lines == (reason,)


# --- source lines, by the tree's script ---------------------------------------------------

SCRIPT = """\
#!/bin/bash
echo "$CROSS_COMPILE $ARCH $*" > "$(dirname "$0")/asked"
while read -r line; do
    case $line in
    Code:*) echo "$line"; echo "   4:*	e7f000f0 	udf	#0		<-- trapping instruction" ;;
    foo_probe*) echo "foo_probe (drivers/foo.c:12 (discriminator 3))" ;;
    really*) echo "really_probe (??:0)" ;;
    *) echo "$line" ;;
    esac
done
"""


class Lines:
    """A vmlinux with debug information, or one without."""

    def __init__(self, has_lines: bool) -> None:
        self.has_lines = has_lines

    def place(self, vaddr: int) -> str:
        return f"f{vaddr:x}+0x0/0x4"


def console(
    monkeypatch: pytest.MonkeyPatch, folder: Path, has_lines: bool, script: str = SCRIPT
) -> tuple[str, ...]:
    (folder / "scripts").mkdir()
    (folder / "scripts" / "decode_stacktrace.sh").write_text(script)
    monkeypatch.setattr(trace, "Symbols", lambda _path: Lines(has_lines))
    (folder / "console.log").write_text(NAMED["arm"])
    origin = Origin(folder, "arm", folder / "vmlinux", "arm-none-")
    return made(Verdict.BOOT_PANIC, "no-panic: x", folder / "console.log", origin).lines


def test_the_tree_s_script_gives_source_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = console(monkeypatch, tmp_path, True)
    assert "at           foo_probe+0x10/0x40 (drivers/foo.c:12 (discriminator 3))" in lines
    assert "called from  really_probe+0x80/0x2a0" in lines  # not known: as it was
    assert "instruction  e7f000f0 udf #0" in lines
    asked = (tmp_path / "scripts" / "asked").read_text()
    assert asked == f"arm-none- arm {tmp_path}/vmlinux auto\n"


def test_without_debug_information_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = console(monkeypatch, tmp_path, False)
    assert "at           foo_probe+0x10/0x40" in lines
    assert lines[-1] == f"({trace.NO_LINES})"


@pytest.mark.parametrize("script", ["exit 1\n", "cat >/dev/null\n", "kill -9 $$\n"])
def test_a_script_that_fails_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    lines = console(monkeypatch, tmp_path, True, script)
    assert "at           foo_probe+0x10/0x40" in lines


# --- configuration, series, evidence ------------------------------------------------------


def test_the_option_whose_loss_explains_the_others_comes_first() -> None:
    lost = [
        Dropped("XIP_PHYS_ADDR", "0x10000", "n", ("XIP_KERNEL",)),
        Dropped("XIP_KERNEL", "y", "n", ("!ARM_PATCH_IDIV", "MMU")),
    ]
    reason = "\n".join(str(one) for one in lost)
    assert read_dropped(reason) == lost
    found = made(Verdict.CONFIG_DROPPED, reason)
    assert found.kind is Kind.KCONFIG
    assert found.headline == (
        "CONFIG_XIP_KERNEL=y was dropped: depends on !ARM_PATCH_IDIV && MMU (and 1 more)"
    )
    assert found.lines[0].startswith("CONFIG_XIP_KERNEL")
    assert found.key == made(Verdict.CONFIG_DROPPED, str(lost[1])).key
    skipped = made(Verdict.CONFIG_DROPPED, "tuxmake skipped xipkernel")
    assert skipped.headline == "tuxmake skipped xipkernel"


CONFLICT = """\
templates/riscv/series.yaml: patch 1 'riscv: x', edit 2 (replace): arch/riscv/Kconfig: anchor \
matches nowhere
    kernel: {kernel}
    anchor:
      | config MMU
    nearest lines:
      {near}"""


def test_a_lost_anchor_is_the_same_in_every_kernel() -> None:
    one = made(Verdict.SERIES_CONFLICT, CONFLICT.format(kernel="7.3 (7.3.4)", near="12: config M"))
    two = made(Verdict.SERIES_CONFLICT, CONFLICT.format(kernel="next", near="14: config MMMU"))
    other = made(
        Verdict.SERIES_CONFLICT,
        CONFLICT.format(kernel="next", near="x").replace("config MMU", "config SMP"),
    )
    assert one.kind is Kind.SERIES
    assert one.key == two.key != other.key
    assert "12: config M" in one.lines[-1]


def test_evidence_is_similar_whatever_its_figures() -> None:
    one = made(Verdict.NOT_IN_PLACE, "in-place: 26,612,345 instructions ran from 0x40008000")
    two = made(Verdict.NOT_IN_PLACE, "in-place: 3 instructions ran from 0x80200000")
    assert one.kind is Kind.EVIDENCE
    assert one.key == "evidence: in-place: N instructions ran from N" == two.key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/root/a/x.c:10:5: error: y", "/home/me/tree/x.c:12:7: error: y"),
        ("arch/arm/kernel/setup.c: ‘f’", "arch/riscv/kernel/setup.c: 'f'"),
        ("foo.isra.0 died, pid 12", "foo died, pid 4711"),
        ("at c0de1234", "at 0xffffffff80001234"),
        ("foo+0x10/0x20 from swapper/0", "foo+0x1/0x2 from swapper/1"),
        ("undefined reference to `x' (and 3 more)", "undefined reference to `x'"),
    ],
)
def test_what_differs_from_cell_to_cell_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x.c:10:5: error: ‘f’ undeclared", "x.c:10:5: error: ‘g’ undeclared"),
        ("x.c:10:5: error: y", "z.c:10:5: error: y"),
        ("undefined reference to `memcpy32'", "undefined reference to `memcpy64'"),
        ("Oops in defaced_probe", "Oops in feedback_probe"),
    ],
)
def test_what_is_another_failure_is_not(one: str, other: str) -> None:
    assert masked(one) != masked(other)


def test_nothing_in_it_breaks_a_terminal_or_a_file_format(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    line = "\x1b[31mred\x1b[0m\x00\x07 " + "x" * 1000
    log.write_bytes(("Linux version 7\n" + f"{line}\n" * 100).encode() + b"\xff\xfe\n")
    found = made(Verdict.BOOT_TIMEOUT, f"reached-userspace: last line: '{line}'", log)
    for text in (found.headline, *found.lines):
        assert len(text) <= 301
        assert not set(text) & set("\x00\x07\x1b\n")
    many = made(Verdict.CONFIG_DROPPED, "\n".join(f"line {n}" for n in range(1000)))
    assert len(many.lines) == 40


def test_a_flaky_cell_shows_both_tries(tmp_path: Path) -> None:
    reason = "first boot-panic (no-panic: Oops), then pass (all evidence holds)"
    cell, result = make_cell(), CellResult.of(make_cell())
    result.verdict, result.reason = Verdict.FLAKY, reason
    (tmp_path / "console.log").write_text(NAMED["riscv"])
    result.paths["first try"] = str(tmp_path)
    result.log = str(LOGS / "hang.arm.log")
    found = digesting.digest_of(cell, result)
    assert found is not None
    assert (found.kind, found.headline) == (Kind.FLAKY, reason)
    assert "at           foo_probe+0x10/0x40" in found.lines


# --- at the cell --------------------------------------------------------------------------


def test_a_digest_can_fail_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = make_cell()
    result = CellResult.of(cell)
    result.verdict, result.reason = Verdict.BOOT_PANIC, "no-panic: Oops in x"
    result.log = str(LOGS / "oops.arm.log")

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(trace.re, "findall", broken)
    found = digesting.digest_of(cell, result)
    assert found is not None
    assert "(no digest: RuntimeError: a fault of ours)" in found.lines[-1]


def test_a_result_carries_it_and_one_without_still_loads() -> None:
    result = CellResult.of(make_cell())
    result.verdict = Verdict.BOOT_PANIC
    result.digest = made(Verdict.BOOT_PANIC, "no-panic: Oops", "oops.arm.log")
    data = json.loads(json.dumps(result.as_dict()))
    assert CellResult.from_dict(data) == result
    del data["digest"]
    assert CellResult.from_dict(data).digest is None
