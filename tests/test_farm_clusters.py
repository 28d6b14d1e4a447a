# SPDX-License-Identifier: GPL-2.0-only
"""Workers that are started for a run: what is submitted, and that it works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ARM, ROOT, TEMPLATES
from farm_support import QUICK, free_port, submit, tiny, until
from kubernetes_support import kubernetes
from xipmatrix.core.errors import InfrastructureError, UsageError
from xipmatrix.farm import clusters
from xipmatrix.farm.engine import Patience
from xipmatrix.matrix.load import LoadedMatrix, Wanted

pytest.importorskip("distributed", reason="the extra 'farm' is not installed")
pytestmark = [pytest.mark.farm, pytest.mark.xdist_group("clusters")]


def write_tool(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def run_tiny(loaded: LoadedMatrix, folder: Path, address: str) -> None:
    """A cell of a tiny tree, on whatever workers there are."""
    cells = loaded.select(Wanted(cells=(ARM,)))
    kernel = tiny(folder / "kernel.git")
    run = submit(loaded, TEMPLATES, folder, address, cells, kernel, Patience(60, 60))
    (result,) = run.wait()
    assert result.verdict is None, result.reason
    assert result.versions["worker"]


def test_a_slurm_job_works_for_a_run(
    loaded: LoadedMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM itself is played by two scripts, which run the job that is submitted as it is."""
    job = tmp_path / "job.sh"
    started = f'cp "$1" {job}; setsid bash {job} >{tmp_path}/job.log 2>&1 & echo $! >{tmp_path}/pid'
    write_tool(tmp_path / "bin", "sbatch", f'{started}; echo "Submitted batch job $!"')
    write_tool(tmp_path / "bin", "scancel", 'kill -- "-$1"')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("XIPMATRIX_CACHE", str(tmp_path / "worker"))
    with clusters.cluster("slurm", "1") as address:
        run_tiny(loaded, tmp_path, address)
        script = job.read_text()
    assert "#SBATCH --cpus-per-task=8" in script
    assert "#SBATCH --mem=16G" in script
    assert "#SBATCH -t 04:00:00" in script
    assert f"-m xipmatrix worker {address} " in script
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists(), "the job has ended")


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An ssh server of this test's own, to which a key of its own is let in; its host's alias."""
    import asyncssh

    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(tmp_path / name))
        key.write_public_key(str(tmp_path / f"{name}.pub"))
    port, home = free_port(), tmp_path / "home" / ".ssh"
    worker = {"XIPMATRIX_CACHE": f"{tmp_path}/worker", "PYTHONPATH": f"{ROOT}/harness"}
    keys = [str(port), str(tmp_path / "host"), str(tmp_path / "user.pub")]
    with (tmp_path / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "ssh_server.py"), *keys],
            env={**os.environ, **worker},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    home.mkdir(parents=True)
    host = (tmp_path / "host.pub").read_text()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    (home / "config").write_text(
        f"Host machine\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {tmp_path}/user\n"
    )
    monkeypatch.setenv("HOME", str(home.parent))
    try:
        until(lambda: "listening" in (tmp_path / "sshd.log").read_text(), "sshd listens")
        yield "machine"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_hosts_that_are_reached_by_ssh_work_for_a_run(
    loaded: LoadedMatrix, tmp_path: Path, sshd: str
) -> None:
    with clusters.cluster("ssh", sshd) as address:
        run_tiny(loaded, tmp_path, address)
    assert (tmp_path / "worker" / "sources").is_dir()


def test_pods_work_for_a_run(
    loaded: LoadedMatrix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_kubernetes", reason="the extra 'farm-k8s' is not installed")
    (tmp_path / "pods").mkdir()
    with kubernetes(tmp_path / "pods") as (server, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        with clusters.cluster("k8s", "2", "registry.example/xipmatrix:1") as address:
            run_tiny(loaded, tmp_path, address)
            assert set(server.pods.live) == {"scheduler", "pod0", "pod1"}
        (asked,) = server.posted
        assert not server.live, "the cluster is deleted with the run"
    spec = asked["spec"]
    for part in ("scheduler", "worker"):
        (container,) = spec[part]["spec"]["containers"]
        assert container["image"] == "registry.example/xipmatrix:1"


@pytest.mark.parametrize(
    ("kind", "workers", "said"),
    [
        ("slurm", "", "needs --workers NUMBER"),
        ("slurm", "host", "needs --workers NUMBER"),
        ("k8s", "0", "needs --workers NUMBER"),
        ("k8s", "3", "needs --worker-image"),
        ("ssh", "3", "needs --workers HOST"),
        ("ssh", "", "needs --workers HOST"),
    ],
)
def test_what_a_kind_does_not_take_is_said(kind: str, workers: str, said: str) -> None:
    with pytest.raises(UsageError, match=said), clusters.cluster(kind, workers):
        pass


def test_workers_that_cannot_be_started_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with (
        pytest.raises(InfrastructureError, match="no workers can be started") as caught,
        clusters.cluster("ssh", "127.0.0.1:9.invalid"),
    ):
        pass
    assert caught.value.hint


# --- the command line -----------------------------------------------------------------------


def cli(
    tmp_path: Path, *words: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    mine = {"XIPMATRIX_STATE": str(tmp_path / "state"), "XIPMATRIX_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "xipmatrix", *words],
        env={**os.environ, **QUICK, **mine, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "--scheduler", "tcp://127.0.0.1:9"), "no Dask scheduler answers"),
        (("worker", "tcp://127.0.0.1:9", "--death-timeout", "1"), "no Dask scheduler answers"),
    ],
    ids=["build", "worker"],
)
def test_without_a_scheduler_it_is_said_what_to_do(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = cli(tmp_path, *words)
    assert done.returncode == 3, done.stderr
    assert said in done.stderr
    assert "dask scheduler --port" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("build", "--scheduler", "tcp://x:1"), ("worker", "tcp://x:1"), ("build", "--cluster", "ssh")],
    ids=" ".join,
)
def test_without_dask_it_is_said_how_to_get_it(words: tuple[str, ...], tmp_path: Path) -> None:
    # A module of that name that cannot be imported, as if it was not installed.
    (tmp_path / "lacks").mkdir()
    (tmp_path / "lacks" / "distributed.py").write_text("raise ImportError('No distributed')\n")
    path = f"{tmp_path}/lacks:{ROOT}/harness"
    done = cli(tmp_path, *words, env={"PYTHONPATH": path})
    assert done.returncode == 3
    assert "needs Dask, which is not installed" in done.stderr
    assert "pip install -e '.[farm]'" in done.stderr
    assert len(done.stderr.splitlines()) < 6


@pytest.mark.parametrize(
    "words",
    [
        ("--scheduler", "tcp://x:1", "--cluster", "slurm"),
        ("--workers", "3"),
        ("--cluster", "pbs"),
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together(words: tuple[str, ...], tmp_path: Path) -> None:
    assert cli(tmp_path, "build", *words).returncode == 2


def test_a_worker_says_what_its_machine_has(tmp_path: Path) -> None:
    done = cli(tmp_path, "worker", "tcp://x:1", "--check", "--memory-limit", "1GiB")
    assert done.returncode == 0, done.stderr
    assert "1024 MiB of memory" in done.stdout
    assert "GiB free" in done.stdout
    assert cli(tmp_path, "worker", "tcp://x:1", "--memory-limit", "much").returncode == 2
