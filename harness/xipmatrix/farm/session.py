# SPDX-License-Identifier: GPL-2.0-only
"""A run on a worker: what the submitter has it do, by name, through Dask.

Every function below `--- asked by the submitter ---` is one that it calls here. A result
stays on the worker's disk until the submitter says that it has all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InfrastructureError
from ..core.evidence import Verdict
from ..core.files import cache_dir, project_dir, remove, write_json
from ..kernel import KernelTree
from ..matrix.load import LoadedMatrix
from ..matrix.model import Cell
from ..pipeline import Options, Pipeline, Prepared
from ..result import CellResult, Stage
from ..series.engine import Applied
from ..store import Store
from . import facts as machine
from .content import Blobs, Entry, contents, listing
from .facts import Needed
from .trees import adopt, holder

if TYPE_CHECKING:
    from distributed import Worker

_ANSWER, _BLOBS = "answer.json", "blobs"
_WEEK = 7 * 86400.0
# In a worker's environment: compilers at a time, where that is not its number of cores.
JOBS = "XIPMATRIX_JOBS"


def jobs() -> int:
    """Compilers at a time on this worker."""
    return int(os.environ.get(JOBS, 0)) or len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Order:
    """What all cells of a run share. `run` is unique among all submitters."""

    run: str
    topic: str
    loaded: LoadedMatrix
    cells: tuple[Cell, ...]
    options: Options


@dataclass(frozen=True)
class SentKernel:
    """A kernel and what each series is to it, but for where it lies."""

    name: str
    release: str
    origin: str
    commit: str
    tree: str
    states: Mapping[str, Applied]

    @classmethod
    def of(cls, prepared: Prepared) -> SentKernel:
        """What is to be said of a kernel of this machine's to another one."""
        one = prepared.kernel
        return cls(one.name, one.release, one.origin, one.commit, one.tree, prepared.states)

    def prepared(self, git_dir: Path) -> Prepared:
        """The kernel, in the repository of this machine's that has it."""
        tree = KernelTree(self.name, self.release, self.origin, git_dir, self.commit, self.tree)
        return Prepared(tree, dict(self.states))


@dataclass
class Session:
    """A run on this worker."""

    order: Order
    cache: Path
    pipeline: Pipeline
    cells: dict[str, Cell] = field(init=False)

    def __post_init__(self) -> None:
        self.cells = {cell.id: cell for cell in self.order.cells}

    def outbox(self, cell: Cell) -> Path:
        """Where the result of `cell` lies until the submitter has it."""
        return _outbox(self.cache, self.order.run) / cell.folder

    def run_cell(self, name: str) -> dict[str, Any]:
        """All stages of a cell; the answer says what there is to fetch.

        A result that is here already, since the link broke before it was fetched, is
        given again. A fault of ours is never: the cell is begun anew.
        """
        cell = self.cells[name]
        place = self.outbox(cell)
        answer = _answer(place)
        if answer is None or answer["result"]["verdict"] == Verdict.INFRASTRUCTURE:
            remove(place)
            result = self.pipeline.run_cell(cell)
            if any(one.stage is Stage.BUILD and not one.cached for one in result.stages):
                machine.remember_built(self.cache, name)
            answer = self._put(cell, result)
        return answer

    def _put(self, cell: Cell, result: CellResult) -> dict[str, Any]:
        place = self.outbox(cell)
        place.mkdir(parents=True, exist_ok=True)
        blobs = Blobs(place / _BLOBS)
        folder = self.pipeline.run.cell_folder(cell)
        stages = self.cache / "stages"
        roots = {"": folder}
        for path in map(Path, result.paths.values()):
            if path.is_relative_to(stages):
                name = "/".join(path.relative_to(stages).parts[:2])
                roots[name] = stages / name
        found: dict[str, list[Entry]] = {}
        for name, root in roots.items():
            found[name] = listing(root)
            for entry in found[name]:
                if entry.sha256:
                    blobs.add(root / entry.path, entry.sha256)
        answer = {
            "result": result.as_dict(),
            "cache": str(self.cache),
            "folder": str(self.pipeline.run.folder),
            "roots": {name: [one.as_dict() for one in all_] for name, all_ in found.items()},
        }
        write_json(place / _ANSWER, answer)  # last: with it, all is there
        remove(folder)
        return answer

    def finished(self) -> list[str]:
        """Cells whose results wait here to be fetched."""
        return [name for name, cell in self.cells.items() if _answer(self.outbox(cell))]


_sessions: dict[str, Session] = {}


def _outbox(cache: Path, run: str) -> Path:
    return cache / "farm" / "outbox" / run


def _work(cache: Path, run: str) -> Path:
    return cache / "farm" / "work" / run


def _answer(place: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((place / _ANSWER).read_text())
    except (OSError, ValueError):
        return None
    return found


def _mine() -> str:
    """This process: several workers, and with a shared home several machines, may share a cache."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _incoming(cache: Path) -> Blobs:
    return Blobs(cache / "kernels" / "farm-incoming" / _mine())


def _session(run: str) -> Session:
    try:
        return _sessions[run]
    except KeyError:
        raise InfrastructureError(f"this worker does not know the run {run}") from None


def _forget_old(cache: Path) -> None:
    """Remove what submitters that never came back left a week ago."""
    for kind in (_outbox(cache, ""), _work(cache, ""), cache / "kernels" / "farm-incoming"):
        for folder in kind.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # another worker removed it
                if time.time() - folder.stat().st_mtime > _WEEK:
                    remove(folder)


# --- asked by the submitter -------------------------------------------------------------


async def look(needed: Needed) -> dict[str, Any]:
    """The facts of this machine."""
    found = await asyncio.to_thread(machine.measure, needed, cache_dir())
    return found.as_dict()


async def open_session(
    run: str, code: str, order: bytes, tags: dict[str, float], dask_worker: Worker
) -> list[str]:
    """Be ready for cells of a run; `tags` become this worker's resources for Dask.

    `order` is a pickled :class:`Order`: it is looked into only where `code`, the
    submitter's own, is this worker's too. Returns the cells that are finished here.
    """
    if code != machine.own_code():
        raise InfrastructureError(f"another xipmatrix: {machine.own_code()}, not {code}")
    await dask_worker.set_resources(**tags)
    if run not in _sessions:
        _sessions[run] = await asyncio.to_thread(_opened, pickle.loads(order), dask_worker)
    return _sessions[run].finished()


def _opened(order: Order, worker: Worker) -> Session:
    cache = cache_dir()
    _forget_old(cache)

    def tell(cell: str, stage: str, detail: str) -> None:
        worker.log_event(order.topic, {"cell": cell, "stage": str(stage), "detail": detail})

    templates = project_dir() / "templates"
    store = Store(_work(cache, order.run) / _mine())
    options = replace(order.options, jobs=jobs())
    pipeline = Pipeline(order.loaded, templates, store.new_run(), options, tell, cache)
    return Session(order, cache, pipeline)


async def drop_resources(tags: list[str], dask_worker: Worker) -> None:
    """Take this worker's resources away: Dask gives it nothing that needs one of them."""
    await dask_worker.set_resources(**dict.fromkeys(tags, 0.0))


async def held(commits: list[str]) -> list[str]:
    """Those of `commits` that are on this machine."""
    cache = cache_dir()
    return await asyncio.to_thread(lambda: [one for one in commits if holder(cache, one)])


async def receive(sha256: str, offset: int, data: bytes, size: int) -> bool:
    """A chunk of a pack; True when the pack is whole. Raises Corrupt."""
    return await asyncio.to_thread(_incoming(cache_dir()).write, sha256, offset, data, size)


async def unpack(sha256: str, commits: dict[str, str], base: str) -> None:
    """Take the commits out of a pack that was received. Raises Corrupt."""
    pack = _incoming(cache_dir()).place(sha256)
    try:
        await asyncio.to_thread(adopt, cache_dir(), pack, commits, base)
    finally:
        remove(pack)


async def take_kernel(run: str, kernel: bytes) -> None:
    """Use a kernel that is on this machine for a run: a pickled :class:`SentKernel`."""
    session, sent = _session(run), pickle.loads(kernel)
    commits = {sent.commit, *(one.tip for one in sent.states.values())}
    homes = await asyncio.to_thread(
        lambda: {one: holder(session.cache, one) for one in sorted(commits)}
    )
    lost = [one for one, home in homes.items() if home is None]
    if lost:
        raise InfrastructureError(f"commits are not on this machine: {', '.join(lost)}")
    # The repository that has the series has the kernel too: they were put beside it.
    tips = [home for one, home in homes.items() if one != sent.commit] or [homes[sent.commit]]
    home = tips[0]
    assert home is not None
    session.pipeline.give(sent.prepared(home))


def run_cell(run: str, cell: str) -> dict[str, Any]:
    """A task of Dask's: see :meth:`Session.run_cell`."""
    return _session(run).run_cell(cell)


async def read(run: str, cell: str, sha256: str, offset: int) -> bytes:
    """A chunk of a result's content. Raises Corrupt where it is not here."""
    session = _session(run)
    blobs = Blobs(session.outbox(session.cells[cell]) / _BLOBS)
    return await asyncio.to_thread(blobs.read, sha256, offset)


async def forget(run: str, cell: str) -> None:
    """The submitter has all of this result."""
    session = _session(run)
    await asyncio.to_thread(remove, session.outbox(session.cells[cell]))


async def close_session(run: str) -> None:
    """The run has ended: nothing of it is left here but finished stages."""
    session = _sessions.pop(run, None)
    if session is not None:
        await asyncio.to_thread(remove, _outbox(session.cache, run))
        await asyncio.to_thread(remove, _work(session.cache, run))


def contents_of(answer: dict[str, Any]) -> dict[str, int]:
    """Digests and sizes in bytes of all that an answer names."""
    return contents(Entry(**one) for entries in answer["roots"].values() for one in entries)
