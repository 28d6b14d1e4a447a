# SPDX-License-Identifier: GPL-2.0-only
"""Evidence from counts or samples: executed instructions by the memory they came from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..core.evidence import COUNTED, SAMPLED, Evidence, Verdict
from ..flash import filesystem
from ..machine import loaded, residency, userland
from ..machine.protocol import Userspace
from ..machine.residency import Where
from ..machine.result import BootResult
from ..matrix.model import Cell

# A kernel that reaches userspace has executed many millions; less means that the
# counting, not the kernel, is at fault.
LEAST_INSTRUCTIONS = 1_000_000
# Fewer samples than this say nothing: a boot that reaches init gives dozens.
LEAST_SAMPLES = 10
_NAMED = 40


def in_place(cell: Cell, boot: BootResult, vmlinux: Path | None, said: Userspace) -> Evidence:
    """Whether the kernel executed from flash alone, but for code declared to run in RAM, or
    loaded there by the kernel itself.

    Every executed instruction is counted. Where QEMU has no plugins, samples of the program
    counter stand in: grade ``sampled``, which says so in its summary. Names of what ran
    outside go with their counts; all that ran is left in executed.tsv beside the console
    log. Where init was reached, user code must show too, or the kernel speaks for it.
    """
    name = "in-place"
    counted = boot.counts is not None
    if boot.counts is not None:
        runs = residency.read_counts(boot.counts)
        unit, least = "instructions", LEAST_INSTRUCTIONS
    else:
        runs = residency.runs_of(boot.samples, boot.memories)
        unit, least = "samples", LEAST_SAMPLES
    if not runs:
        summary = "neither counts nor samples: nothing is known about where code ran"
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE)
    symbols = residency.Symbols(vmlinux) if vmlinux else None
    modules = loaded.module_files(vmlinux) if vmlinux else {}
    work = cell.config_spec.workload
    code = loaded.loaded(said, cell.arch_spec, work, modules, symbols)
    init = userland.init_of(boot.initrd or vmlinux) if vmlinux else None
    if init is not None and said.base is not None:
        init = init.at(said.base)
    stored = filesystem.programs_of(cell, vmlinux.parent) if vmlinux else []
    found = residency.classify(
        runs, boot.memories, cell.board_spec, cell.arch_spec, symbols, code, init, stored
    )
    residency.write_table(found.rows, boot.console.with_name(residency.EXECUTED))
    flash, kernel = found.counts[Where.FLASH], found.kernel
    figures = {
        "method": "TCG plugin, every instruction" if counted else "QMP samples of the PC",
        "grade": COUNTED if counted else SAMPLED,
        "total": found.total,
        "flash": flash,
        "flash_share_of_kernel": flash / kernel if kernel else 0.0,
        "kernel_ram_undeclared": found.counts[Where.KERNEL_RAM],
        "kernel_ram_declared": found.counts[Where.DECLARED],
        "firmware": found.counts[Where.FIRMWARE],
        "user": found.counts[Where.USER],
        "user_flash": found.counts[Where.USER_FLASH],
        "user_code_compared": init is not None,
        "undeclared_symbols": dict(found.outside.most_common(_NAMED)),
        "declared_symbols": dict(found.declared.most_common(_NAMED)),
        "loaded": dict(found.loaded),
        "programs": {
            one.name: {
                "flash": found.programs[one.name, Where.USER_FLASH],
                "ram": found.programs[one.name, Where.USER],
            }
            for one in stored
        },
    }
    if counted and cell.board_spec.qemu.icount is not None:
        # Else timers come by the host's clock, and a busy host counts other numbers.
        figures["kernel_repeatable"] = kernel
    if counted and not flash and not said.started:
        # The image begins in flash: whatever ran instead, nobody started the image.
        summary = (
            "the machine never started the image: not one instruction was fetched from flash, "
            f"but {found.total} elsewhere ({_top(found.outside)}); does the board's description "
            f"fit QEMU {boot.qemu_version} and its firmware?"
        )
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE, figures)
    if found.outside:
        summary = (
            f"{found.counts[Where.KERNEL_RAM]} kernel {unit} were executed outside flash "
            f"({_share(found.counts[Where.KERNEL_RAM], kernel)}): {_top(found.outside)}"
        )
        return Evidence(name, False, summary, Verdict.NOT_IN_PLACE, figures)
    if flash == 0:
        summary = f"not one of {found.total} {unit} was executed from flash"
        return Evidence(name, False, summary, Verdict.NOT_IN_PLACE, figures)
    if said.started and kernel < least:
        summary = (
            f"init was reached, yet only {kernel} kernel {unit} were counted: the counting is "
            "at fault"
        )
        return Evidence(name, False, summary, Verdict.INFRASTRUCTURE, figures)
    if said.started and counted and not found.counts[Where.USER]:
        # The counting works, as the kernel shows: the console lies.
        summary = f"init speaks, but of {found.total} {unit} not one was a user program's"
        return Evidence(name, False, summary, Verdict.USERSPACE_FAILED, figures)
    summary = f"{flash} of {kernel} kernel {unit} came from flash ({_share(flash, kernel)})"
    if not counted:
        summary += "; sampled only: what ran between two samples is not known"
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
