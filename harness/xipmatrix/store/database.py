# SPDX-License-Identifier: GPL-2.0-only
"""The SQLite file behind the store: opening, schema versions, errors that people can act on.

Write-ahead log, so that a reader never waits for a writer; a transaction per change, so
that a run killed at any moment leaves either all of a change or nothing. The schema's
version is SQLite's `user_version`; data/store/NNNN-*.sql are the steps from one to the next.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..core.errors import InfrastructureError

STEPS = Path(__file__).parents[1] / "data" / "store"
# Seconds that a writer waits for another one; each holds the file for milliseconds.
_PATIENCE = 60.0
REBUILD = "xipmatrix runs --rebuild sets it aside and makes it again from the run folders"


class DamagedStore(InfrastructureError):
    """The file is not a whole SQLite database, or not one of ours."""


@cache
def steps() -> tuple[str, ...]:
    """The SQL of each schema version, from 1 on."""
    return tuple(path.read_text() for path in sorted(STEPS.glob("*.sql")))


@contextlib.contextmanager
def database(path: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, at the current schema.

    The transaction is committed when the block ends, rolled back when it raises. With
    `write` it takes the write lock at once: two writers wait for each other. Raises
    InfrastructureError: full disk, no permission, a newer schema; DamagedStore.
    """
    with _translated(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            # After a power failure the last rows may be missing: run folders have them.
            connection.execute("PRAGMA synchronous = NORMAL")
            _migrate(connection, path)
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield connection
            except BaseException:
                # SQLite may have rolled back by itself, as on a full disk.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
        finally:
            connection.close()


def keep_open(path: Path) -> sqlite3.Connection:
    """A connection that does nothing but stay open: the last one to be closed moves the whole
    write-ahead log into the file, which takes longer than to write a result. Raises as
    :func:`database` does."""
    with _translated(path):
        connection = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False)
        connection.execute("PRAGMA user_version").fetchone()
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    newest = len(steps())
    if _version(connection) == newest:
        return
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        have = _version(connection)  # another process may have been quicker
        if have > newest:
            raise InfrastructureError(
                f"was written by a newer xipmatrix (schema {have}, this one knows {newest})",
                where=path,
                hint="use that version, or another XIPMATRIX_STATE",
            )
        if have == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise DamagedStore("is not a store of xipmatrix", where=path, hint=REBUILD)
        for number in range(have, newest):
            for statement in _statements(steps()[number]):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _statements(text: str) -> Iterator[str]:
    """The statements of a script: executescript() would commit behind our back."""
    statement = ""
    for part in re.split("(?<=;)", text):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedStore(f"is damaged: {error}", where=path, hint=REBUILD) from error
        if code == sqlite3.SQLITE_FULL:
            raise InfrastructureError(
                "the disk is full", where=path, hint="xipmatrix prune; xipmatrix clean"
            ) from error
        raise InfrastructureError(f"the store failed: {error}", where=path) from error
    except OSError as error:
        raise InfrastructureError(f"the store failed: {error}", where=path) from error


def problems(path: Path) -> list[str]:
    """What SQLite's own integrity check finds; empty where the file is whole or missing."""
    if not path.exists():
        return []
    try:
        with database(path) as connection:
            rows = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
            rows += [
                f"table {row[0]} refers to a row that is not there"
                for row in connection.execute("PRAGMA foreign_key_check")
            ]
    except DamagedStore as error:
        return [error.what]
    return [row for row in rows if row != "ok"]
