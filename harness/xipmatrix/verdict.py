# SPDX-License-Identifier: GPL-2.0-only
"""From a boot to evidence, and from evidence to the one verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .core.evidence import Evidence, Verdict
from .machine import protocol, residency
from .machine.console import panic_line
from .machine.residency import Where
from .machine.result import BootResult, End
from .matrix.model import Board, Cell

# A kernel that reaches userspace has executed many millions; less means that the
# counting, not the kernel, is at fault.
LEAST_INSTRUCTIONS = 1_000_000
_NAMED = 40
_KERNEL_SPOKE = re.compile(r"(?:Booting Linux on |Linux version \d)")
_IOMEM = re.compile(r"^\s*([0-9a-f]+)-([0-9a-f]+) : (.+)$", re.M)


@dataclass(frozen=True)
class Judgement:
    """A verdict, why, and all evidence it rests on."""

    verdict: Verdict
    reason: str
    evidence: tuple[Evidence, ...]

    def figure(self, name: str, key: str) -> object:
        """A figure of the evidence `name`; None where there is none."""
        for one in self.evidence:
            if one.name == name:
                return one.figures.get(key)
        return None


def judge(
    cell: Cell, boot: BootResult, vmlinux: Path | None, static: Sequence[Evidence] = ()
) -> Judgement:
    """The verdict on one boot of `cell`, together with what is known of its image.

    `vmlinux` gives symbols and the sections whose copies may run in RAM. The worst
    verdict that any failed evidence leads to is the cell's; its reason is that
    evidence's summary.
    """
    evidence = (*static, *dynamic_evidence(cell, boot, vmlinux))
    return decide(evidence)


def decide(evidence: Sequence[Evidence]) -> Judgement:
    """The worst verdict that failed evidence leads to, `pass` where none failed."""
    severity = list(Verdict)
    failed = [one for one in evidence if not one.holds]
    if not failed:
        return Judgement(Verdict.PASS, "all evidence holds", tuple(evidence))
    worst = min(failed, key=lambda one: severity.index(one.breaks))
    return Judgement(worst.breaks, f"{worst.name}: {worst.summary}", tuple(evidence))


def dynamic_evidence(cell: Cell, boot: BootResult, vmlinux: Path | None) -> list[Evidence]:
    """What one boot says, as named evidence, in the order of the boot."""
    board = cell.board_spec
    if boot.end is End.QEMU_FAILED:
        return [Evidence("qemu", False, boot.detail, Verdict.INFRASTRUCTURE)]
    console = boot.console_text()
    said = protocol.read_console(console)
    found = [_no_panic(console), _reached(boot, console, said), _reply(boot, said)]
    found += [_powered_off(board, boot, said), _cpus(board, said), _memory(said)]
    found += [in_place(cell, boot, vmlinux, said.started), _iomem(board, said), _flash(boot)]
    return found


def _no_panic(console: str) -> Evidence:
    line = panic_line(console)
    return Evidence(
        "no-panic",
        line is None,
        line or "neither a panic nor an oops on the console",
        Verdict.BOOT_PANIC,
    )


def _reached(boot: BootResult, console: str, said: protocol.Userspace) -> Evidence:
    figures = {
        "end": str(boot.end),
        "seconds": boot.seconds,
        "console_bytes": boot.console.stat().st_size,
    }
    if said.started:
        summary = "the kernel started init"
        return Evidence("reached-userspace", True, summary, Verdict.BOOT_TIMEOUT, figures)
    last = (console.strip().splitlines() or [""])[-1].strip()
    if _KERNEL_SPOKE.search(console) is None and panic_line(console) is None:
        what = f"the last line is not the kernel's: '{last}'" if last else "no byte on the console"
        summary = f"the kernel said nothing ({what}; {_how(boot)})"
        return Evidence("reached-userspace", False, summary, Verdict.BOOT_SILENT, figures)
    summary = f"init never started: {_how(boot)}; last line: '{last}'"
    return Evidence("reached-userspace", False, summary, Verdict.BOOT_TIMEOUT, figures)


def _how(boot: BootResult) -> str:
    return {
        End.SILENT: f"silent for {boot.silence_limit:g} s",
        End.TIMEOUT: f"stopped after {boot.total_limit:g} s",
        End.OUTPUT_LIMIT: "stopped for endless output",
    }.get(boot.end, f"ended by {boot.end}")


def _reply(boot: BootResult, said: protocol.Userspace) -> Evidence:
    want = protocol.reply(int(boot.challenge, 16))
    figures = {
        "challenge": boot.challenge,
        "expected": f"{want:016x}",
        "got": None if said.reply is None else f"{said.reply:016x}",
    }
    if said.reply == want:
        summary = "init computed the right reply to the challenge"
    elif said.reply is None:
        summary = f"init gave no reply to the challenge; {_how(boot)}"
    else:
        summary = f"init replied {said.reply:016x}, right is {want:016x}"
    return Evidence("reply", said.reply == want, summary, Verdict.USERSPACE_FAILED, figures)


def _powered_off(board: Board, boot: BootResult, said: protocol.Userspace) -> Evidence:
    wanted = End.POWEROFF if board.poweroff == "machine" else End.RESET
    holds = said.done and boot.end is wanted
    if holds:
        summary = f"ended by {boot.end}, as init asked"
    elif said.done:
        summary = f"init asked for {wanted}, but: {_how(boot)}"
    else:
        summary = f"init never asked for it; {_how(boot)}"
    figures = {"end": str(boot.end), "wanted": str(wanted)}
    return Evidence("powered-off", holds, summary, Verdict.USERSPACE_FAILED, figures)


def _cpus(board: Board, said: protocol.Userspace) -> Evidence:
    wanted = board.qemu.cpus
    return Evidence(
        "cpus",
        said.cpus == wanted,
        f"{said.cpus or 0} of {wanted} CPUs are online",
        Verdict.USERSPACE_FAILED,
        {"online": said.cpus, "machine": wanted},
    )


def _memory(said: protocol.Userspace) -> Evidence:
    total, available = said.meminfo_kb("MemTotal"), said.meminfo_kb("MemAvailable")
    return Evidence(
        "memory",
        total is not None and available is not None,
        f"MemTotal {total} kB, MemAvailable {available} kB",
        Verdict.USERSPACE_FAILED,
        {"mem_total_kb": total, "mem_available_kb": available},
    )


def _iomem(board: Board, said: protocol.Userspace) -> Evidence:
    """/proc/iomem: no kernel code in RAM. arm's XIP kernel lists its code nowhere."""
    text = said.files.get("/proc/iomem", "")
    ranges = [(int(low, 16), int(high, 16), name) for low, high, name in _IOMEM.findall(text)]
    ram = range(board.ram_base, board.ram_base + board.qemu.memory)
    code = [(low, high) for low, high, name in ranges if name.lower() == "kernel code"]
    in_ram = [f"{low:#x}-{high:#x}" for low, high in code if low in ram or high in ram]
    known = any(name == "System RAM" for _low, _high, name in ranges)
    if in_ram:
        summary = f"kernel code lies in RAM: {', '.join(in_ram)}"
    elif not known:
        summary = "/proc/iomem shows no System RAM"
    else:
        where = ", ".join(f"{low:#x}-{high:#x}" for low, high in code) or "not listed"
        summary = f"no kernel code in RAM (Kernel code: {where})"
    breaks = Verdict.NOT_IN_PLACE if in_ram else Verdict.USERSPACE_FAILED
    return Evidence("iomem", known and not in_ram, summary, breaks, {"iomem": text})


def in_place(cell: Cell, boot: BootResult, vmlinux: Path | None, started: bool) -> Evidence:
    """Whether the kernel executed from flash alone, but for code declared to run in RAM.

    Every executed instruction is counted. Names of what ran outside go with their
    counts. `started`: init was reached, so user code must show too.
    """
    name = "in-place"
    if boot.counts is None:
        summary = "the plugin left no counts: nothing is known about where code ran"
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE)
    symbols = residency.Symbols(vmlinux) if vmlinux else None
    runs = residency.read_counts(boot.counts)
    found = residency.classify(runs, boot.memories, cell.board_spec, cell.arch_spec, symbols)
    flash, kernel = found.counts[Where.FLASH], found.kernel
    figures = {
        "method": "TCG plugin, every instruction",
        "total": found.total,
        "flash": flash,
        "flash_share_of_kernel": flash / kernel if kernel else 0.0,
        "kernel_ram_undeclared": found.counts[Where.KERNEL_RAM],
        "kernel_ram_declared": found.counts[Where.DECLARED],
        "firmware": found.counts[Where.FIRMWARE],
        "user": found.counts[Where.USER],
        "undeclared_symbols": dict(found.outside.most_common(_NAMED)),
        "declared_symbols": dict(found.declared.most_common(_NAMED)),
    }
    if found.outside:
        summary = (
            f"{found.counts[Where.KERNEL_RAM]} kernel instructions were executed outside flash "
            f"({_share(found.counts[Where.KERNEL_RAM], kernel)}): {_top(found.outside)}"
        )
        return Evidence(name, False, summary, Verdict.NOT_IN_PLACE, figures)
    if flash == 0:
        summary = "not one instruction was executed from flash"
        return Evidence(name, False, summary, Verdict.NOT_IN_PLACE, figures)
    if started and (kernel < LEAST_INSTRUCTIONS or not found.counts[Where.USER]):
        summary = (
            f"init was reached, yet only {kernel} kernel and {found.counts[Where.USER]} user "
            "instructions were counted: the counting is at fault"
        )
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE, figures)
    summary = f"{flash} of {kernel} kernel instructions came from flash ({_share(flash, kernel)})"
    if found.declared:
        summary += f"; declared code in RAM: {_top(found.declared)}"
    return Evidence(name, True, summary, Verdict.NOT_IN_PLACE, figures)


def _share(part: int, whole: int) -> str:
    """A share that says 100 % only where it is all."""
    if part == whole:
        return "100 %"
    percent = 100 * part / whole if whole else 0.0
    return f"{min(percent, 99.9999):.4f} %"


def _top(names: Counter[str], most: int = 5) -> str:
    text = ", ".join(f"{name} {count}" for name, count in names.most_common(most))
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def _flash(boot: BootResult) -> Evidence:
    same = boot.flash_sha256 == boot.flash_sha256_after
    summary = "the flash image is the same" if same else "the flash image has changed"
    figures = {"before": boot.flash_sha256, "after": boot.flash_sha256_after}
    return Evidence(
        "flash-unchanged", same, f"{summary} after the boot", Verdict.FLASH_MODIFIED, figures
    )
