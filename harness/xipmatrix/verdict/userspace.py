# SPDX-License-Identifier: GPL-2.0-only
"""Evidence from the console: how far the kernel came, and what was said."""

from __future__ import annotations

import re

from ..core.evidence import Evidence, Verdict
from ..machine import protocol
from ..machine.console import panic_line
from ..machine.result import BootResult, End
from ..matrix.model import Board

_KERNEL_SPOKE = re.compile(r"(?:Booting Linux on |Linux version \d)")
_NAMED = 5
_IOMEM = re.compile(r"^\s*([0-9a-f]+)-([0-9a-f]+) : (.+)$", re.M)


def evidence(board: Board, boot: BootResult, said: protocol.Userspace) -> list[Evidence]:
    """All but :func:`iomem`, in the order of the boot."""
    console = boot.console_text()
    return [
        _no_panic(console),
        _reached(boot, console, said),
        _alone(said),
        _reply(boot, said),
        _zero_page(said),
        _powered_off(board, boot, said),
        _cpus(board, said),
        _memory(said),
    ]


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
        End.FLASH_LIMIT: "stopped for endless writes to flash",
    }.get(boot.end, f"ended by {boot.end}")


def _alone(said: protocol.Userspace) -> Evidence:
    """Nothing else than init speaks in init's manner: what it says could be replaced."""
    words = list(dict.fromkeys(said.foreign))
    summary = "nothing but init speaks as init does"
    if words:
        more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
        summary = (
            "said before init, or again though init says it once: "
            f"{', '.join(words[:_NAMED])}{more}"
        )
    figures = {"foreign": words}
    return Evidence("init-alone", not words, summary, Verdict.USERSPACE_FAILED, figures)


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


def _zero_page(said: protocol.Userspace) -> Evidence:
    """Untouched memory reads as zeros: the page that the kernel shares for it is in RAM."""
    if said.not_zero is None:
        summary = "init did not come to read untouched memory"
    elif said.not_zero:
        summary = f"untouched memory has {said.not_zero} bytes that are not 0"
    else:
        summary = "untouched memory reads as zeros, before and after a write beside them"
    return Evidence("zero-page", said.not_zero == 0, summary, Verdict.USERSPACE_FAILED)


def _memory(said: protocol.Userspace) -> Evidence:
    total, available = said.meminfo_kb("MemTotal"), said.meminfo_kb("MemAvailable")
    return Evidence(
        "memory",
        total is not None and available is not None,
        f"MemTotal {total} kB, MemAvailable {available} kB",
        Verdict.USERSPACE_FAILED,
        {"mem_total_kb": total, "mem_available_kb": available},
    )


def iomem(board: Board, said: protocol.Userspace) -> Evidence:
    """/proc/iomem: no kernel code in RAM. arm's XIP kernel lists its code nowhere."""
    text = said.files.get("/proc/iomem", "")
    ranges = [(int(low, 16), int(high, 16), name) for low, high, name in _IOMEM.findall(text)]
    ram = range(board.ram_base, board.ram_base + board.ram_size)
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
