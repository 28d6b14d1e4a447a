# SPDX-License-Identifier: GPL-2.0-only
"""Every patch of a series on its own: it builds with XIP on and off, and what it changes without.

A bisection may end up at any commit of a series (Documentation/process/submitting-patches.rst,
"Separate your changes"), so that a series which only builds as a whole is not fit to be sent.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ..build import toolchain as toolchains
from ..build.compile import NORMAL_IMAGE
from ..build.place import BuildPlace
from ..core.evidence import CellFailure, Verdict
from ..core.files import write_json
from ..core.git import Repository
from ..matrix.model import Cell
from ..series.engine import GENERIC
from ..verdict import Judgement
from .ground import Ground, Prepared
from .stages import Pipeline


@dataclass(frozen=True)
class PatchBuild:
    """One commit, built with XIP or without; with it, it was booted too.

    `number` counts from 1, and 0 is the kernel without any patch. `tree` is the commit's.
    `absent`: there is no CONFIG_XIP_KERNEL yet, as no patch so far added it. `failure` is why
    it did not build, `boot` how it was judged. `image` is the image's SHA-256.
    """

    number: int
    commit: str
    tree: str
    subject: str
    xip: bool
    image: str = ""
    absent: bool = False
    failure: CellFailure | None = None
    boot: Judgement | None = None

    @property
    def booted(self) -> bool:
        """Whether it came to userspace, in place."""
        return self.boot is not None and self.boot.verdict is Verdict.PASS


def commits_of(prepared: Prepared, arch: str) -> tuple[str, ...]:
    """What is built for `arch`, oldest first: the kernel, and each patch on it."""
    states = prepared.states
    patches = [commit for name in (GENERIC, arch) for commit in states[name].commits]
    return (prepared.kernel.commit, *patches)


def each_patch(
    pipeline: Pipeline, cell: Cell, place: BuildPlace, folder: Path
) -> Iterator[PatchBuild]:
    """Build the kernel of `cell` at each of its series' commits, first without XIP, then with it.

    With it, each image that is another than those before is booted and judged as well: by what
    the boot shows alone, since what lies where in the image is the whole series' promise.
    Incrementally, in `place`, of which the caller holds the lock and `pipeline` knows.
    What fails leaves its logs in `folder`. Raises CellFailure where the series does not apply,
    InfrastructureError for faults of our own.
    """
    prepared = pipeline.prepared(cell.kernel)
    pipeline.check_series(cell, prepared)
    toolchain = toolchains.of_cell(cell)
    commits = commits_of(prepared, cell.series)
    repository = Repository(prepared.kernel.git_dir)
    boots: dict[str, Judgement] = {}
    for xip in (False, True):
        seen = False
        for number, commit in enumerate(commits):
            tip = replace(prepared.states[cell.series], tip=commit)
            here = Prepared(prepared.kernel, {**prepared.states, cell.series: tip})
            subject = repository.git("show", "-s", "--format=%s", commit)
            one = PatchBuild(number, commit, here.tree(cell.series), subject, xip)
            logs = folder / f"{number:02}-{'xip' if xip else 'normal'}"
            logs.mkdir(parents=True, exist_ok=True)
            try:
                find_source = functools.partial(pipeline.source, cell, here)
                ground = Ground(cell, here, find_source, toolchain)
                kept = pipeline.kernel(ground, logs, xip=xip, place=place)
                image = (kept.folder / ("xipImage" if xip else NORMAL_IMAGE)).read_bytes()
                one = replace(one, image=hashlib.sha256(image).hexdigest())
                seen = True
                if xip:
                    if one.image not in boots:
                        boots[one.image] = pipeline.booted(cell, kept, logs)
                    one = replace(one, boot=boots[one.image])
            except CellFailure as failure:
                last = number == len(commits) - 1
                absent = xip and not seen and failure.verdict is Verdict.CONFIG_DROPPED and not last
                one = replace(one, absent=absent, failure=None if absent else failure)
            yield one


def breaks(done: Sequence[PatchBuild], one: PatchBuild) -> bool:
    """Whether patch `one` is not fit to be sent: it does not build, or no longer boots.

    `done` are those before it. What never booted may do so yet, but for the last patch.
    """
    if one.failure is not None:
        return True
    if one.boot is None or one.booted:
        return False
    last = max(each.number for each in done) == one.number  # the builds without XIP are complete
    return last or any(each.booted for each in done)


class PatchRecord(BaseModel):
    """What is kept of one :class:`PatchBuild`. `wrong` is why its patch is not fit to be sent."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cell: str
    series: str
    tree: str
    subject: str
    xip: bool
    absent: bool
    booted: bool
    wrong: str

    @classmethod
    def of(cls, cell: Cell, done: Sequence[PatchBuild], one: PatchBuild) -> PatchRecord:
        """Of `one`, before which there were `done`."""
        wrong = ""
        ended = one.failure or one.boot
        if ended is not None and breaks(done, one):
            first, *_ = ended.reason.split("\n")
            wrong = f"{ended.verdict}: {first}"
        return cls(
            cell=cell.id,
            series=cell.series,
            tree=one.tree,
            subject=one.subject,
            xip=one.xip,
            absent=one.absent,
            booted=one.booted,
            wrong=wrong,
        )


_RECORDS = TypeAdapter(list[PatchRecord])
_RECORD = "patches.json"


def keep_records(folder: Path, records: Sequence[PatchRecord]) -> None:
    """Write `records` to a run's `folder`."""
    write_json(folder / _RECORD, [one.model_dump() for one in records])


def all_records(folder: Path) -> list[PatchRecord]:
    """The records of all runs that have a folder in `folder`; what is damaged is passed over."""
    found: list[PatchRecord] = []
    for path in sorted(folder.glob(f"*/{_RECORD}")):
        with contextlib.suppress(OSError, ValidationError):
            found += _RECORDS.validate_json(path.read_bytes())
    return found
