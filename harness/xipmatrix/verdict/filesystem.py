# SPDX-License-Identifier: GPL-2.0-only
"""Evidence of the file system in the kernel's flash: it is read right, and executed in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.evidence import COUNTED, Evidence, Verdict
from ..flash import filesystem
from ..flash.cramfs import Stored
from ..machine import protocol
from ..machine.protocol import Userspace
from ..machine.result import BootResult
from ..matrix.model import Cell


def evidence(
    cell: Cell, boot: BootResult, vmlinux: Path | None, said: Userspace, in_place: Evidence
) -> list[Evidence]:
    """Whether each file was read as it is stored, and each program ran from where it may.

    Nothing where the config has no such work. `in_place` says what was counted.
    """
    stored = filesystem.files_of(cell, vmlinux.parent) if vmlinux else []
    if not stored:
        return []
    challenge = int(boot.challenge, 16)
    programs = [one for one in stored if one.executable]
    return [_read(challenge, stored, said), _executed(challenge, programs, said, in_place)]


def _read(challenge: int, stored: Sequence[Stored], said: Userspace) -> Evidence:
    """The digest has the challenge as key: who gives it has read the file in this boot."""
    wrong = []
    for one in stored:
        want = len(one.content), protocol.digest(challenge, one.content)
        if one.name not in said.stored:
            wrong.append(f"{one.name} was not read")
        elif said.stored[one.name] != want:
            size = said.stored[one.name][0]
            how = f"{size} of {want[0]} bytes" if size != want[0] else "other bytes"
            wrong.append(f"{one.name} was read as {how}")
    total = sum(len(one.content) for one in stored)
    summary = "; ".join(wrong) or f"{len(stored)} files, {total} bytes, were read as stored"
    figures = {"files": {one.name: len(one.content) for one in stored}, "wrong": wrong}
    return Evidence("files-in-flash", not wrong, summary, Verdict.USERSPACE_FAILED, figures)


def _executed(
    challenge: int, programs: Sequence[Stored], said: Userspace, in_place: Evidence
) -> Evidence:
    """Each program gives its reply. Of the one in place, not one instruction came from RAM; of
    the compressed one, all: so the count can tell."""
    want = protocol.program_reply(challenge)
    wrong = []
    for one in programs:
        got = said.programs.get(one.name, (None, 0))[0]
        if got is None:
            wrong.append(f"{one.name} did not run")
        elif got != want:
            wrong.append(f"{one.name} replied {got:016x}, right is {want:016x}")
    name, taken = "programs-in-place", {who: kb for who, (_reply, kb) in said.programs.items()}
    counts = in_place.figures.get("programs")
    counted = counts if isinstance(counts, Mapping) else {}
    figures = {"reply": f"{want:016x}", "page_cache_kb": taken, "executed": dict(counted)}
    if wrong:
        return Evidence(name, False, "; ".join(wrong), Verdict.USERSPACE_FAILED, figures)
    grade = str(in_place.figures.get("grade"))
    figures["grade"] = grade
    texts = []
    for one in programs:
        here = counted.get(one.name, {})
        flash, ram = here.get("flash", 0), here.get("ram", 0)
        right, other = (flash, ram) if one.in_place else (ram, flash)
        where = f"{flash} instructions from flash, {ram} from RAM, " if grade == COUNTED else ""
        texts.append(f"{one.name}: {where}{taken[one.name]} kB of page cache")
        if grade == COUNTED and (other or not right):
            wrong.append(texts[-1])
    summary = "; ".join(wrong or texts)
    if grade != COUNTED:
        summary += "; sampled only: where they ran is not known"
    return Evidence(name, not wrong, summary, Verdict.NOT_IN_PLACE, figures)
