# SPDX-License-Identifier: GPL-2.0-only
"""Every patch of a series on its own: it builds with XIP on and off, and what it changes without.

A bisection may end up at any commit of a series (Documentation/process/submitting-patches.rst,
"Separate your changes"), so that a series which only builds as a whole is not fit to be sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..build import toolchain as toolchains
from ..build.compile import NORMAL_IMAGE
from ..build.place import BuildPlace
from ..core.evidence import CellFailure, Verdict
from ..core.git import Repository
from ..matrix.model import Cell
from ..series.engine import GENERIC
from .stages import Ground, Pipeline, Prepared


@dataclass(frozen=True)
class PatchBuild:
    """One commit, built with XIP or without.

    `number` counts from 1, and 0 is the kernel without any patch. `absent`: there is no
    CONFIG_XIP_KERNEL yet, as no patch so far added it. `failure` is why it did not build.
    `image` is the image's SHA-256.
    """

    number: int
    commit: str
    subject: str
    xip: bool
    image: str = ""
    absent: bool = False
    failure: CellFailure | None = None


def commits_of(prepared: Prepared, arch: str) -> tuple[str, ...]:
    """What is built for `arch`, oldest first: the kernel, and each patch on it."""
    states = prepared.states
    patches = [commit for name in (GENERIC, arch) for commit in states[name].commits]
    return (prepared.kernel.commit, *patches)


def each_patch(
    pipeline: Pipeline, cell: Cell, place: BuildPlace, folder: Path
) -> Iterator[PatchBuild]:
    """Build the kernel of `cell` at each of its series' commits, first without XIP, then with it.

    Incrementally, in `place`, of which the caller holds the lock and `pipeline` knows.
    What fails leaves its logs in `folder`. Raises CellFailure where the series does not apply,
    InfrastructureError for faults of our own.
    """
    prepared = pipeline.prepared(cell.kernel)
    pipeline.check_series(cell, prepared)
    toolchain = toolchains.of_cell(cell)
    commits = commits_of(prepared, cell.series)
    repository = Repository(prepared.kernel.git_dir)
    for xip in (False, True):
        seen = False
        for number, commit in enumerate(commits):
            tip = replace(prepared.states[cell.series], tip=commit)
            here = Prepared(prepared.kernel, {**prepared.states, cell.series: tip})
            subject = repository.git("show", "-s", "--format=%s", commit)
            one = PatchBuild(number, commit, subject, xip)
            logs = folder / f"{number:02}-{'xip' if xip else 'normal'}"
            logs.mkdir(parents=True, exist_ok=True)
            try:
                ground = Ground(cell, here, pipeline.source(cell, here), toolchain)
                kept = pipeline.kernel(ground, logs, xip=xip, place=place)
                image = (kept.folder / ("xipImage" if xip else NORMAL_IMAGE)).read_bytes()
                one = replace(one, image=hashlib.sha256(image).hexdigest())
                seen = True
            except CellFailure as failure:
                last = number == len(commits) - 1
                absent = xip and not seen and failure.verdict is Verdict.CONFIG_DROPPED and not last
                one = replace(one, absent=absent, failure=None if absent else failure)
            yield one
