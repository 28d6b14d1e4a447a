# SPDX-License-Identifier: GPL-2.0-only
"""Rows of the index: what history is asked of. The evidence itself lies in the run folders."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.evidence import Verdict
from ..result import CellResult


@dataclass(frozen=True)
class RunRow:
    """One run. Times are UTC, ISO 8601; `ended` is empty while it runs, or if interrupted.

    `command` is what was typed, `xipmatrix` the tool's version, `matrix` the SHA-256 of
    matrix.yaml, `shard` ``I/N`` or empty, `counts` the number of results per verdict.
    """

    id: str
    began: str
    ended: str
    exit_code: int | None
    command: str
    host: str
    xipmatrix: str
    matrix: str
    shard: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether it has not come to its end."""
        return not self.ended


@dataclass(frozen=True)
class Past:
    """A cell's result in one run, as history needs it. `began` is the run's.

    `seconds` is the cell's wall time; `known` says that the failure was declared.
    """

    run: str
    began: str
    cell: str
    verdict: Verdict | None
    as_expected: bool
    known: bool
    reason: str
    seconds: float
    figures: Mapping[str, float]
    versions: Mapping[str, str]

    @property
    def measured(self) -> bool:
        """Whether this says something about the kernel: it came to a verdict that is not ours."""
        return self.verdict is not None and self.verdict is not Verdict.INFRASTRUCTURE

    @property
    def good(self) -> bool:
        """Whether the cell passed."""
        return self.verdict is Verdict.PASS

    @classmethod
    def of(cls, result: CellResult, run: str, began: str) -> Past:
        """The same of a result that is not stored yet."""
        return cls(
            run=run,
            began=began,
            cell=result.cell,
            verdict=result.verdict,
            as_expected=result.as_expected,
            known=result.known_failure,
            reason=result.reason,
            seconds=result.seconds,
            figures=numbers(result),
            versions=result.versions,
        )


def numbers(result: CellResult) -> dict[str, float]:
    """The figures that are numbers."""
    return {k: v for k, v in result.figures.items() if isinstance(v, int | float)}


def put_run(db: sqlite3.Connection, row: RunRow) -> None:
    """Add a run, or change what is known of it; its results stay."""
    db.execute(
        "INSERT INTO run (id, began, ended, exit_code, command, host, xipmatrix, matrix, shard)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET began = excluded.began,"
        " ended = excluded.ended, exit_code = excluded.exit_code",
        (
            *(row.id, row.began, row.ended or None, row.exit_code, row.command, row.host),
            *(row.xipmatrix, row.matrix, row.shard),
        ),
    )


def put_result(db: sqlite3.Connection, run: str, result: CellResult) -> None:
    """Add a cell's result to `run`, in place of an earlier one."""
    key = (run, result.cell)
    db.execute("DELETE FROM result WHERE run = ? AND cell = ?", key)
    db.execute(
        "INSERT INTO result (run, cell, verdict, as_expected, known, reason, seconds)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            *key,
            None if result.verdict is None else str(result.verdict),
            int(result.as_expected),
            int(result.known_failure),
            result.reason,
            result.seconds,
        ),
    )
    rows: tuple[tuple[str, Iterable[tuple[str, float | str]]], ...] = (
        ("figure (run, cell, name, value)", numbers(result).items()),
        ("version (run, cell, name, value)", result.versions.items()),
        (
            "stage (run, cell, name, seconds)",
            [(str(one.stage), one.seconds) for one in result.stages if not one.cached],
        ),
    )
    for table, pairs in rows:
        db.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)",
            [(*key, name, value) for name, value in pairs],
        )


def get_runs(db: sqlite3.Connection, limit: int = -1) -> list[RunRow]:
    """The newest `limit` runs, newest first; all where it is negative."""
    rows = db.execute("SELECT * FROM run ORDER BY began DESC, id DESC LIMIT ?", (limit,)).fetchall()
    counts: dict[str, dict[str, int]] = {}
    for row in db.execute("SELECT run, verdict, count(*) AS n FROM result GROUP BY run, verdict"):
        counts.setdefault(row["run"], {})[row["verdict"] or ""] = row["n"]
    return [
        RunRow(**{**dict(row), "ended": row["ended"] or ""}, counts=counts.get(row["id"], {}))
        for row in rows
    ]


def get_past(
    db: sqlite3.Connection, *, cell: str = "", run: str = "", before: str = "", limit: int = -1
) -> list[Past]:
    """Results of a cell, of a run, or of both, newest run first.

    With `before`, only those of runs that began before that one did.
    """
    rows = db.execute(
        "SELECT result.*, run.began AS began FROM result JOIN run ON run.id = result.run"
        " WHERE (:cell = '' OR cell = :cell) AND (:run = '' OR run = :run)"
        " AND (:before = '' OR run.began < (SELECT began FROM run WHERE id = :before))"
        " ORDER BY run.began DESC, run.id DESC, cell LIMIT :limit",
        {"cell": cell, "run": run, "before": before, "limit": limit},
    ).fetchall()
    return [
        Past(
            run=row["run"],
            began=row["began"],
            cell=row["cell"],
            verdict=Verdict(row["verdict"]) if row["verdict"] else None,
            as_expected=bool(row["as_expected"]),
            known=bool(row["known"]),
            reason=row["reason"],
            seconds=row["seconds"],
            figures=_pairs(db, "figure", row),
            versions=_pairs(db, "version", row),
        )
        for row in rows
    ]


def get_seconds(db: sqlite3.Connection, *, most: int = 5) -> dict[str, float]:
    """What each cell cost when it was really built: the median of its last `most` such runs."""
    times: dict[str, list[float]] = {}
    for row in db.execute(
        "SELECT stage.cell AS cell, sum(stage.seconds) AS seconds FROM stage"
        " JOIN run ON run.id = stage.run GROUP BY stage.run, stage.cell"
        " HAVING sum(stage.name = 'build') > 0 ORDER BY run.began DESC, run.id DESC"
    ):
        times.setdefault(row["cell"], []).append(row["seconds"])
    return {cell: sorted(found[:most])[len(found[:most]) // 2] for cell, found in times.items()}


def _pairs(db: sqlite3.Connection, table: str, row: sqlite3.Row) -> dict[str, Any]:
    found = db.execute(
        f"SELECT name, value FROM {table} WHERE run = ? AND cell = ?", (row["run"], row["cell"])
    )
    return dict(found.fetchall())
