# SPDX-License-Identifier: GPL-2.0-only
"""Options of builds on other machines."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .common import F, Seconds

if TYPE_CHECKING:
    from ..matrix.model import Cell
    from ..pipeline import Pipeline
    from ..result import CellResult


@dataclass(frozen=True)
class FarmOptions:
    """Where cells are built, if not here: a field for each of the options below."""

    scheduler: str | None = None
    cluster: str | None = None
    workers: str = ""
    worker_image: str = ""
    worker_wait: float = 120.0
    scheduler_wait: float = 600.0

    @property
    def wanted(self) -> bool:
        """Whether cells go to other machines."""
        return self.scheduler is not None or self.cluster is not None

    def run(
        self, pipeline: Pipeline, cells: Sequence[Cell], *, fail_fast: bool
    ) -> list[CellResult]:
        """Do `cells` on workers. Raises InfrastructureError where Dask or a scheduler is not."""
        from ..farm import need_dask

        need_dask()
        from ..farm.clusters import cluster
        from ..farm.engine import Farm, Patience

        patience = Patience(self.scheduler_wait, self.worker_wait)
        seconds = pipeline.run.store.seconds()
        with contextlib.ExitStack() as stack:
            address = self.scheduler or stack.enter_context(
                cluster(self.cluster or "", self.workers, self.worker_image)
            )
            farm = Farm(pipeline, address, seconds, patience)
            return farm.run(cells, lambda cell, result: None, fail_fast=fail_fast)

    def summary(self, folder: Path) -> list[str]:
        """Lines about the workers of the run in `folder`."""
        if not self.wanted:
            return []
        from ..farm.record import shares

        return shares(folder)


_OPTIONS = (
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        help="Build on the workers of this Dask scheduler (tcp://… or tls://…); see "
        "'xipmatrix worker --help'.",
    ),
    click.option(
        "--cluster",
        type=click.Choice(("slurm", "ssh", "k8s")),
        help="Start workers for this run: SLURM jobs, on hosts by ssh, pods of Kubernetes.",
    ),
    click.option(
        "--workers",
        default="",
        metavar="N|HOST,…",
        help="For --cluster: how many jobs or pods, or on which hosts.",
    ),
    click.option(
        "--worker-image",
        default="",
        metavar="IMAGE",
        help="For --cluster k8s: a container image that has this checkout, installed.",
    ),
    click.option(
        "--worker-wait",
        type=Seconds(),
        default=FarmOptions.worker_wait,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a worker that fits, before a cell is given up.",
    ),
    click.option(
        "--scheduler-wait",
        type=Seconds(),
        default=FarmOptions.scheduler_wait,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for a scheduler that has gone.",
    ),
)


def farm_options(command: F) -> F:
    """The options of a farm; the command gets `farm` (FarmOptions) instead."""

    @functools.wraps(command)
    def wrapper(**rest: Any) -> Any:
        mine = {one.name: rest.pop(one.name) for one in fields(FarmOptions)}
        if mine["scheduler"] and mine["cluster"]:
            raise click.UsageError("--scheduler and --cluster: one of them, not both")
        if mine["workers"] and not mine["cluster"]:
            raise click.UsageError("--workers is for --cluster; else workers come by themselves")
        return command(farm=FarmOptions(**mine), **rest)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper  # type: ignore[return-value]
