# SPDX-License-Identifier: GPL-2.0-only
"""Workers that are started for one run: by SLURM, by ssh, in Kubernetes. Dask does all of it.

What a site is like (partition, account, memory of a job, ssh keys, namespaces) stands where
these programs look for it: Dask's configuration files, ~/.ssh/config, the kubeconfig.
"""

from __future__ import annotations

import contextlib
import importlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..core.errors import InfrastructureError, UsageError

# Cells at a time on a worker: one compiles while another one boots.
CELLS = 2
# Of a job where the site's configuration says nothing: cores, memory, wall time.
_JOB = {"cores": 8, "memory": "16GiB", "walltime": "04:00:00"}


def slurm_options() -> dict[str, Any]:
    """What dask-jobqueue is told, where the site's ``jobqueue.slurm`` says nothing else."""
    import dask

    importlib.import_module("dask_jobqueue")  # puts its defaults into Dask's configuration
    site = dask.config.get("jobqueue.slurm")
    given = {key: value for key, value in _JOB.items() if site.get(key) in (None, "00:30:00")}
    return {
        **given,
        "processes": 1,
        "worker_command": "xipmatrix worker",
        "worker_extra_args": ["--nthreads", str(CELLS), *site.get("worker-extra-args", [])],
    }


def _slurm(workers: str) -> Any:
    count = _number(workers, "slurm")
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(**slurm_options())
    cluster.scale(jobs=count)
    return cluster


def _ssh(workers: str) -> Any:
    hosts = [one.strip() for one in workers.split(",")]
    if "" in hosts or workers.isdigit():
        raise UsageError(f"--cluster ssh needs --workers HOST[,HOST…], not '{workers}'")
    from distributed import SSHCluster

    # The first also has the scheduler. The checkout lies at the same path on all of them.
    return SSHCluster(
        [hosts[0], *hosts],
        worker_options={"nthreads": CELLS, "memory_limit": None},
        scheduler_options={"port": 0, "dashboard_address": ":0"},
    )


def _k8s(workers: str, image: str) -> Any:
    count = _number(workers, "k8s")
    if not image:
        raise UsageError("--cluster k8s needs --worker-image IMAGE, which has this checkout")
    import dask
    from dask_kubernetes.operator import KubeCluster, make_cluster_spec

    site = dask.config.get("kubernetes")
    asked = make_cluster_spec(
        # By the site's name, or one name for all, two runs would share the first one's workers.
        f"xipmatrix-{uuid.uuid4().hex[:10]}",
        image=image,
        n_workers=count,
        worker_command=["dask", "worker", "--nthreads", str(CELLS), "--memory-limit", "0"],
        env=site["env"],
        resources=site["resources"],
        scheduler_service_type=site["scheduler-service-type"],
    )
    (scheduler,) = asked["spec"]["scheduler"]["spec"]["containers"]
    # It asks for dask-scheduler, a name under which Dask does not install it any more (2026).
    scheduler["args"] = ["dask", "scheduler", *scheduler["args"][1:]]
    return KubeCluster(custom_cluster_spec=asked, quiet=True)


def _number(workers: str, kind: str) -> int:
    if not workers.isdigit() or not int(workers):
        raise UsageError(f"--cluster {kind} needs --workers NUMBER, not '{workers}'")
    return int(workers)


KINDS: Sequence[str] = ("slurm", "ssh", "k8s")


@contextlib.contextmanager
def cluster(kind: str, workers: str, image: str = "") -> Iterator[str]:
    """Start workers of a `kind` of KINDS; yields their scheduler's address, then ends them.

    `workers`: how many, or for ssh on which hosts. Raises UsageError for what `kind` does
    not take, InfrastructureError where they cannot be started.
    """
    start: dict[str, Callable[[], Any]] = {
        "slurm": lambda: _slurm(workers),
        "ssh": lambda: _ssh(workers),
        "k8s": lambda: _k8s(workers, image),
    }
    try:
        made = start[kind]()
    except UsageError:
        raise
    except ImportError as error:
        raise InfrastructureError(
            f"--cluster {kind} needs a package that is not installed: {error.name}",
            hint=f".venv/bin/pip install -e '.[{'farm-k8s' if kind == 'k8s' else 'farm'}]'",
        ) from error
    except Exception as error:  # each kind has its own
        raise InfrastructureError(
            f"--cluster {kind}: no workers can be started: {type(error).__name__}: {error}",
            hint="see whether sbatch, ssh or kubectl work from here by hand",
        ) from error
    try:
        yield str(made.scheduler_address)
    finally:
        made.close()
