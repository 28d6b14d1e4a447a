# SPDX-License-Identifier: GPL-2.0-only
"""A farm of real processes on this machine: a Dask scheduler, workers, and ways to hurt them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xipmatrix.core.files import remove
from xipmatrix.core.git import Change, Repository
from xipmatrix.farm.engine import Farm, Patience
from xipmatrix.kernel import KernelTree
from xipmatrix.matrix.load import LoadedMatrix
from xipmatrix.matrix.model import Cell
from xipmatrix.pipeline import Options, Pipeline, Prepared
from xipmatrix.result import CellResult, Stage
from xipmatrix.series.engine import Applied, State
from xipmatrix.store import Store

# Dask's own limits are 30 s; less than 12 s it does not take, and a busy machine needs some.
QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "20s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
}


def until(what: Callable[[], Any], why: str, seconds: float = 120) -> Any:
    """Wait until `what` gives something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {why}"
        time.sleep(0.1)
    return found


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])


@dataclass
class Processes:
    """A scheduler and workers, each in a session of its own; all end with the farm."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    listen: str = ""
    live: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = self.port or free_port(self.host)

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def cache(self, worker: str) -> Path:
        return self.folder / worker

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, name: str, words: Sequence[str | Path], env: Mapping[str, str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.live[name] = subprocess.Popen(
                [str(word) for word in words],
                env={**os.environ, **QUICK, **env},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def scheduler(self, wait: bool = True) -> None:
        words = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
        place = ["--host", self.listen or self.host, "--port", str(self.port)]
        self.start("scheduler", [sys.executable, *words, *place], {})
        if wait:
            until(self._answers, f"the scheduler answers: {self.log('scheduler')}")

    def _answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex((self.host, self.port)) == 0

    def worker(
        self,
        name: str,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        *,
        slots: int = 2,
        wait: bool = True,
        address: str = "",
    ) -> None:
        words = [
            "-m",
            "xipmatrix",
            "worker",
            address or self.address,
            "--name",
            name,
            "--nthreads",
            str(slots),
        ]
        mine = {"XIPMATRIX_CACHE": str(self.cache(name)), "XIPMATRIX_INSTALL": "no"}
        self.start(name, [*prefix, sys.executable, *words], mine | dict(env or {}))
        if wait:
            self.works(name)

    def works(self, name: str) -> None:
        def ready() -> bool:
            assert self.live[name].poll() is None, self.log(name)
            return f"{name}: works for" in self.log(name)

        until(ready, f"{name} works")

    def kill(self, name: str) -> None:
        """kill -9, with all that it started."""
        process = self.live.pop(name)
        # Of one that has ended, and was waited for, the number may be another's by now.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end(self) -> None:
        for name in list(self.live):
            if name != "scheduler":
                self.live[name].terminate()
        for name, process in list(self.live.items()):
            if name != "scheduler":
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(15)
        for name in list(self.live):
            self.kill(name)


@contextlib.contextmanager
def farm(folder: Path, workers: Sequence[str] = (), **more: Any) -> Iterator[Processes]:
    """A scheduler with `workers`; what they leave on the disk goes with them."""
    found = Processes(folder, **more)
    try:
        found.scheduler()
        for name in workers:
            found.worker(name, wait=False)
        for name in workers:
            found.works(name)
        yield found
    finally:
        found.end()
        for left in [path for path in folder.iterdir() if path.is_dir()]:
            remove(left)


@dataclass(frozen=True)
class Namespace:
    """A network of its own with one link to ours; `host` is our end's address."""

    name: str
    link: str
    host: str

    def prefix(self, hostname: str) -> list[str]:
        """Starts a program there, on a machine of another name and as another user."""
        script = 'hostname "$0" && exec unshare --user --map-user=4321 --map-group=4321 "$@"'
        inside = ["unshare", "--uts", "sh", "-c", script, hostname]
        return ["ip", "netns", "exec", self.name, *inside]

    def cut(self) -> None:
        """As a cable that is pulled: nobody is told."""
        ip("link", "set", self.link, "down")

    def mend(self) -> None:
        ip("link", "set", self.link, "up")


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[Namespace]]:
    """`count` networks; skips the test, with the reason, where they are not permitted."""
    found: list[Namespace] = []
    made: list[str] = []
    try:
        for number in range(count):
            name, first = f"xip{os.getpid()}-{number}", 4 * number
            net = f"10.203.{os.getpid() % 250}"
            one = Namespace(name, f"v{os.getpid()}-{number}", f"{net}.{first + 1}")
            ip("netns", "add", name)
            made.append(name)
            ip("link", "add", one.link, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("addr", "add", f"{one.host}/30", "dev", one.link)
            ip("link", "set", one.link, "up")
            ip("-n", name, "addr", "add", f"{net}.{first + 2}/30", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            found.append(one)
    except OSError as error:
        for name in made:
            ip("netns", "del", name)
        pytest.skip(f"network namespaces are not permitted here: {error}")
    try:
        yield found
    finally:
        for name in made:
            ip("netns", "del", name)


def workers_of(client: Any) -> dict[str, Any]:
    """All workers by their addresses; Client.scheduler_info() may be without."""
    found: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return found


def worker_pid(address: str, name: str) -> int:
    """The process of a worker, which its nanny has started."""
    from distributed import Client

    with Client(address, set_as_default=False, timeout=10) as client:
        there = workers_of(client)
        (at,) = [one for one, known in there.items() if known["name"] == name]
        return int(client.run(os.getpid, workers=[at])[at])


# --- a run of tiny trees ----------------------------------------------------------------


def tiny(git_dir: Path) -> Prepared:
    """A kernel of few files, with one commit for arm and one for riscv on it."""
    repository = Repository.create(git_dir)
    base = {"Makefile": "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n", "init/main.c": "int main;\n"}
    index = {"GIT_INDEX_FILE": str(git_dir / "index")}
    for path, text in base.items():
        blob = repository.git("hash-object", "-w", "--stdin", input_bytes=text.encode())
        repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=index)
    tree = repository.git("write-tree", env=index)
    date = "2000-01-01T00:00:00Z"
    # With a history, which must not travel: its parent's tree is not even here.
    older = repository.commit_tree(tree, "older\n", date=date)
    commit = repository.commit_tree(tree, "Linux 7.3.4\n", date=date, parents=(older,))
    states = {}
    for name in ("generic", "arm", "riscv"):
        change = Change(f"{name}\n", date, {f"arch/{name}.c": ("100644", f"int {name};\n")})
        tip = repository.commit_changes(commit, [change])[-1]
        states[name] = Applied(name, State.APPLIES, commit, tip, (tip,))
    return Prepared(KernelTree("7.3", "7.3.4", "a test", git_dir, commit, tree), states)


class Told:
    """What a run says, to be waited for."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str]] = []

    def __call__(self, cell: str, stage: str, detail: str = "") -> None:
        self.lines.append((cell, str(stage), detail))

    def text(self) -> str:
        return "\n".join(" ".join(line) for line in self.lines)


@dataclass
class Submitted:
    """A run that is under way in a thread."""

    pipeline: Pipeline
    told: Told
    thread: threading.Thread
    found: list[CellResult]
    errors: list[BaseException]

    def wait(self, seconds: float = 180) -> list[CellResult]:
        self.thread.join(seconds)
        assert not self.thread.is_alive(), self.told.text()
        if self.errors:
            raise self.errors[0]
        return self.found

    def until_said(self, text: str, times: int = 1) -> None:
        until(lambda: self.told.text().count(text) >= times, f"'{text}' in what is said")


def submit(
    loaded: LoadedMatrix,
    templates: Path,
    folder: Path,
    address: str,
    cells: Sequence[Cell],
    prepared: Prepared,
    patience: Patience,
    done: Callable[[Cell, CellResult], None] = lambda cell, result: None,
) -> Submitted:
    """Begin a run whose cells end with their source, with a cache and a store of its own."""
    told = Told()
    run = Store(folder / "state").new_run()
    options = Options(jobs=1, until=Stage.SOURCE)
    pipeline = Pipeline(loaded, templates, run, options, told, folder / "cache")
    pipeline.give(prepared)
    found: list[CellResult] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            one = Farm(pipeline, address, {}, patience)
            found.extend(one.run(cells, done))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return Submitted(pipeline, told, thread, found, errors)
