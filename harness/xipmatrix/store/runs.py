# SPDX-License-Identifier: GPL-2.0-only
"""Runs on disk: a folder each, with a result file and logs a cell, and an index over all.

The folder is the record: every file in it is written atomically, and none is changed after
the run. The index (SQLite) answers questions over many runs, and can be
made again from the folders at any time.
"""

from __future__ import annotations

import difflib
import functools
import json
import os
import re
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from .. import __version__
from ..core.errors import InfrastructureError, UsageError
from ..core.files import Say, quiet, write_json
from ..matrix.model import Cell
from ..result import CellResult
from . import index, logs
from .database import database, keep_open
from .index import Past, RunRow

RUN_FILE, RESULT_FILE = "run.json", "result.json"
# Which shard each cell of a selection belongs to, in the order of the matrix.
Plan = Sequence[tuple[str, int]]
_AGO = re.compile(r"latest(?:~(\d+))?")


def now() -> str:
    """UTC, ISO 8601 with microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class Run:
    """One execution of the matrix, while it is written.

    `plan` is the whole selection that a shard is a part of: who merges shards knows by it
    what is missing.
    """

    store: Store
    row: RunRow
    plan: Plan = ()

    @functools.cached_property
    def _index(self) -> sqlite3.Connection:
        """Held while results are written."""
        return keep_open(self.store.path)

    @property
    def id(self) -> str:
        """Sortable by time: ``20261123T051154-4711``."""
        return self.row.id

    @property
    def folder(self) -> Path:
        """Where everything of this run lies."""
        return self.store.folder(self.id)

    def cell_folder(self, cell: Cell) -> Path:
        """Where a cell's result and logs lie; made on demand."""
        folder = self.folder / "cells" / cell.folder
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, cell: Cell, result: CellResult) -> None:
        """Keep one cell's result, and compress its logs. Raises InfrastructureError, OSError."""
        logs.compress(self.cell_folder(cell))
        result.log = logs.place(result.log)
        result.paths = {name: logs.place(path) for name, path in result.paths.items()}
        self.put(self.cell_folder(cell), result)

    def put(self, folder: Path, result: CellResult) -> None:
        """Keep a result in `folder`, whose logs are as they should be."""
        write_json(folder / RESULT_FILE, result.as_dict())
        _ = self._index
        with database(self.store.path, write=True) as db:
            index.put_result(db, self.id, result)

    def finish(self, exit_code: int) -> None:
        """The run has come to its end."""
        self._index.close()
        self.store.put_run(replace(self.row, ended=now(), exit_code=exit_code), self.plan)


@dataclass(frozen=True)
class Store:
    """All runs below the folder `state`; nothing is touched before something is asked."""

    state: Path

    @property
    def path(self) -> Path:
        """The index."""
        return self.state / "store.sqlite"

    @property
    def runs_folder(self) -> Path:
        """Where the run folders lie."""
        return self.state / "runs"

    def folder(self, run: str) -> Path:
        """A run's folder."""
        return self.runs_folder / run

    # --- write --------------------------------------------------------------------------

    def new_run(
        self,
        command: str = "",
        *,
        matrix: str = "",
        shard: str = "",
        plan: Plan = (),
        began: str = "",
    ) -> Run:
        """A fresh run, begun now or at `began`. Raises InfrastructureError where it cannot be."""
        began = began or now()
        stamp = re.sub(r"[-:]", "", began)[: len("20261123T051154")]
        row = RunRow(
            id=f"{stamp}-{os.getpid()}",
            began=began,
            ended="",
            exit_code=None,
            command=command,
            host=socket.gethostname(),
            xipmatrix=__version__,
            matrix=matrix,
            shard=shard,
        )
        try:
            return Run(self, self._create(row, plan), plan)
        except OSError as error:
            raise InfrastructureError(
                f"cannot make the run folder: {error}", where=self.runs_folder
            ) from error

    def _create(self, row: RunRow, plan: Plan) -> RunRow:
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        first, count = row.id, 1
        while True:
            try:
                self.folder(row.id).mkdir()
            except FileExistsError:  # a second run of this process within a second
                count += 1
                row = replace(row, id=f"{first}.{count}")
            else:
                self.put_run(row, plan)
                return row

    def put_run(self, row: RunRow, plan: Plan = ()) -> None:
        """Keep what is known of a run, in its folder and in the index.

        The folder also says where it lies: paths in results begin with that, and are still
        to be understood when the folder has come to another machine.
        """
        data = asdict(row) | {"plan": plan, "folder": str(self.folder(row.id))}
        del data["counts"]
        write_json(self.folder(row.id) / RUN_FILE, data)
        with database(self.path, write=True) as db:
            index.put_run(db, row)

    # --- read ---------------------------------------------------------------------------

    def runs(self, limit: int = -1) -> list[RunRow]:
        """The newest `limit` runs, newest first; all where it is negative."""
        with database(self.path) as db:
            return index.get_runs(db, limit)

    def run(self, name: str) -> RunRow:
        """A run by id, by the beginning of one, or ``latest``, ``latest~1``, ….

        Raises UsageError where there is no such run, or more than one.
        """
        found = self.runs()
        ago = _AGO.fullmatch(name)
        if ago:
            back = int(ago[1] or 0)
            if back < len(found):
                return found[back]
            raise UsageError(
                f"there is no run {name}: {len(found)} are stored", where=self.runs_folder
            )
        ids = [row.id for row in found]
        fitting = [row for row in found if row.id == name] or [
            row for row in found if name and row.id.startswith(name)
        ]
        if len(fitting) == 1:
            return fitting[0]
        near = [row.id for row in fitting] or difflib.get_close_matches(name, ids, 3) or ids
        raise UsageError(
            f"{'several runs begin with' if fitting else 'there is no run'} '{name}'",
            where=self.runs_folder,
            hint=f"known: {', '.join(near[:4])}; see xipmatrix runs" if near else "none is stored",
        )

    def past(
        self, *, cell: str = "", run: str = "", before: str = "", limit: int = -1
    ) -> list[Past]:
        """What is known of a cell, of a run, or of both; newest run first."""
        with database(self.path) as db:
            return index.get_past(db, cell=cell, run=run, before=before, limit=limit)

    def seconds(self) -> dict[str, float]:
        """What each cell costs when it is built, in seconds of wall time."""
        with database(self.path) as db:
            return index.get_seconds(db)

    def results(self, run: str, say: Say = quiet) -> Iterator[tuple[Path, CellResult]]:
        """A run's results with their folders; what cannot be read is said and passed over."""
        yield from results_in(self.folder(run), say)

    def last_result(self, cell_id: str, say: Say = quiet) -> tuple[Path, CellResult]:
        """The newest result of a cell and its folder. Raises UsageError where there is none."""
        for past in self.past(cell=cell_id):
            for folder, result in self.results(past.run, say):
                if result.cell == cell_id:
                    return folder, result
        raise UsageError(
            f"no result of {cell_id} is stored",
            where=self.runs_folder,
            hint=f"xipmatrix build --cell {cell_id}; a kernel built elsewhere: xipmatrix verify",
        )


def read_run(folder: Path) -> RunRow:
    """A run from its folder. Raises UsageError where that is none."""
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_text())
        names = RunRow.__dataclass_fields__.keys() - {"counts"}
        return RunRow(**{key: data[key] for key in names})
    except FileNotFoundError as error:
        raise UsageError("no such file: not the folder of a run", where=path) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not a readable run: {error!r}", where=path) from error


def read_plan(folder: Path) -> tuple[Plan, str]:
    """The plan of the run in `folder`, and where that lay when it ran; empty where not known.

    Raises UsageError where it is not the folder of a run.
    """
    path = folder / RUN_FILE
    try:
        data = json.loads(path.read_text())
        plan = tuple((str(cell), int(number)) for cell, number in data.get("plan", ()))
        return plan, str(data.get("folder", ""))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"not a readable run: {error!r}", where=path) from error


def results_in(folder: Path, say: Say = quiet) -> Iterator[tuple[Path, CellResult]]:
    """The results in a run's folder, with theirs; what cannot be read is said and passed over."""
    for path in sorted(folder.glob(f"cells/*/{RESULT_FILE}")):
        try:
            yield path.parent, CellResult.from_dict(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"{path}: not a readable result ({error}); passed over")


def read_results(folder: Path) -> Sequence[CellResult]:
    """All results in a run's folder. Raises UsageError for one that cannot be read."""
    found = []
    for path in sorted(folder.glob(f"cells/*/{RESULT_FILE}")):
        try:
            found.append(CellResult.from_dict(json.loads(path.read_text())))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"not a readable result: {error!r}", where=path) from error
    return found
