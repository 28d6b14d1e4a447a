# SPDX-License-Identifier: GPL-2.0-only
"""Evidence that the work which a config asks for was done, by code that is loaded to RAM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.evidence import Evidence, Verdict
from ..machine import loaded
from ..machine.protocol import PATTERN_BYTES, Userspace
from ..matrix.model import Cell, Work

# Of the 128 datagrams that workload.c sends through its BPF program.
LEAST_BPF_RUNS = 100
# What flash.c writes to the other flash, and as much behind it that stays erased.
CFI_BYTES = 2 * PATTERN_BYTES


def evidence(
    cell: Cell, vmlinux: Path | None, said: Userspace, in_place: Evidence
) -> list[Evidence]:
    """Whether init did all that the config asks for; nothing where it asks for nothing.

    Each module and some BPF program must be among what `in_place` saw executed in RAM,
    unless it only sampled, or failed: then it says itself what ran there.
    """
    wanted = cell.config_spec.workload
    if not wanted:
        return []
    modules = list(loaded.module_files(vmlinux)) if vmlinux else []
    done = {work: said.workload.get(work, 0) for work in wanted}
    counts = in_place.figures.get("loaded")
    executed = counts if isinstance(counts, Mapping) else {}
    wrong = [text for work in wanted if (text := _undone(work, done[work], modules))]
    if in_place.holds and in_place.figures.get("grade") == "counted":
        names = [f"{loaded.MODULE} {name}" for name in modules] if "modules" in wanted else []
        wrong += [f"{name} executed nothing" for name in names if not executed.get(name)]
        if "bpf" in wanted and not any(name.startswith(loaded.BPF) for name in executed):
            wrong.append("no BPF program executed anything")
    ran = ", ".join(f"{name} {count} instructions" for name, count in executed.items())
    loads = {"modules", "bpf"} & set(wanted)
    ran = f"; executed in RAM: {ran or 'not known by name'}" if loads else ""
    summary = "; ".join(wrong) or f"{_said(done)}{ran}"
    figures = {"done": done, "modules": modules, "executed": dict(executed)}
    return [Evidence("workload", not wrong, summary, Verdict.USERSPACE_FAILED, figures)]


def _undone(work: Work, done: int, modules: list[str]) -> str:
    """What is wrong with the count of `work` that init reports; empty where nothing is."""
    if work == "modules":
        if not modules:
            return "no module was built with this kernel"
        return "" if done == len(modules) else f"{done} of {len(modules)} modules were loaded"
    if work == "kexec":
        return "" if done else "kexec did not boot the kernel again"
    if work == "cramfs":
        return "" if done else "no program was executed from the file system in flash"
    if work == "cfi" and done != CFI_BYTES:
        return f"{done} of {CFI_BYTES} bytes of the other flash were as they were written"
    if work == "bpf" and done < LEAST_BPF_RUNS:
        return f"the BPF program ran {done} times of at least {LEAST_BPF_RUNS}"
    return ""


def _said(done: Mapping[Work, int]) -> str:
    texts = {
        "modules": "{} modules loaded",
        "bpf": "a BPF program ran {} times",
        "kexec": "booted again",
        "cramfs": "{} programs executed from the file system in flash",
        "cfi": "{} bytes of the other flash erased, written and read",
    }
    return ", ".join(texts[work].format(count) for work, count in done.items())
