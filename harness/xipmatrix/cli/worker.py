# SPDX-License-Identifier: GPL-2.0-only
"""worker: this machine works for runs that are started elsewhere."""

from __future__ import annotations

import os
import socket

import click

from .common import Seconds, jobs_option, load, matrix_option


@click.command(
    "worker",
    epilog="""\b
Examples:
  dask scheduler --port 8786                    once, on any machine
  xipmatrix worker tcp://10.0.0.1:8786          on every worker
  xipmatrix worker tls://10.0.0.1:8786 --name big --nthreads 4
  xipmatrix worker tcp://10.0.0.1:8786 --check  only look at this machine
  xipmatrix build --profile nightly --scheduler tcp://10.0.0.1:8786
\b
Needed are this checkout, the same on all machines, and the extra 'farm'
(.venv/bin/pip install -e '.[farm]'). Kernels come from the submitter; no disk is
shared. Whoever reaches the scheduler can run programs on its workers: use a
network of your own, or TLS (Dask's distributed.comm.tls). A scheduler that goes
is waited for. Ctrl-C leaves. Exit codes: 0 left, 2 usage error, 3 this machine
cannot work, or there is no scheduler.""",
)
@click.argument("address", metavar="ADDRESS")
@click.option("--name", default="", metavar="NAME", help="By default host and process id.")
@click.option(
    "--nthreads",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Cells at a time: one compiles while another one boots.",
)
@click.option(
    "--memory-limit",
    metavar="SIZE",
    help="What cells may take, such as 16GiB; by default what is free.",
)
@jobs_option
@click.option(
    "--death-timeout",
    type=Seconds(),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a scheduler.",
)
@click.option("--check", is_flag=True, help="Say what this machine has, and end.")
@matrix_option
def worker_command(
    *,
    address: str,
    name: str,
    nthreads: int,
    memory_limit: str | None,
    jobs: int,
    death_timeout: float,
    check: bool,
    matrix_file: os.PathLike[str],
) -> int:
    """Build, boot and prove cells for runs that 'build --scheduler ADDRESS' starts elsewhere.

    Begins with a look at this machine: compilers, QEMU, memory, disk. What it has are its
    tags; it gets only cells that need no other ones.
    """
    from pathlib import Path

    from ..core.errors import InfrastructureError
    from ..core.files import cache_dir
    from ..farm import need_dask, policy
    from ..farm.facts import MEMORY, measure
    from ..farm.serve import serve

    need_dask()
    if memory_limit:
        os.environ[MEMORY] = str(_bytes(memory_limit))
    loaded, _ = load(Path(matrix_file), ())
    cache = cache_dir()
    facts = measure(policy.needed(loaded.cells), cache)
    click.echo(f"xipmatrix {facts.code}, {facts.cores} cores, {facts.memory >> 20} MiB of memory")
    click.echo(f"{facts.cache}: {facts.free / 2**30:.1f} GiB free")
    for tag, tool in sorted(facts.tools.items()):
        click.echo(f"  has   {tag:24} {tool.version}")
    for tag, why in sorted(facts.missing.items()):
        click.echo(f"  lacks {tag:24} {why}")
    for fault in policy.faults(facts, 0.0, facts, {}):
        raise InfrastructureError(f"this machine cannot work: {fault.reason}", where=cache)
    if not facts.tools:
        raise InfrastructureError("this machine has no compiler", hint="xipmatrix doctor")
    if check:
        return 0
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    click.echo(f"{name}: {nthreads} cells at a time, {jobs} compilers at a time, for {address}")
    tags = dict.fromkeys(facts.tools, float(nthreads)) | {"memory": float(facts.memory)}
    serve(
        address, name, nthreads, jobs, tags, death_timeout, lambda text: click.echo(text, err=True)
    )
    return 0


def _bytes(text: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--memory-limit'") from error
