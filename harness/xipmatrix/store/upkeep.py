# SPDX-License-Identifier: GPL-2.0-only
"""The store over the years: check it, make its index again, let old runs go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import UsageError
from ..core.files import Say, quiet, remove, state_dir
from ..result import RESULT_SCHEMA
from . import index
from .database import database, problems
from .index import RunRow
from .runs import RUN_FILE, Store, now, read_results, read_run


def open_store(say: Say = quiet) -> Store:
    """The user's store. Where its index is missing but runs are there, it is made again."""
    store = Store(state_dir())
    if not store.path.exists() and _folders(store):
        count = rebuild(store, say)
        say(f"{store.path}: made from {count} run folders")
    return store


def check(store: Store) -> list[str]:
    """What is wrong, a line each: the database itself, folders and index that differ."""
    found = [f"{store.path}: {text}" for text in problems(store.path)]
    if found:
        return found
    known = {row.id for row in store.runs()}
    there = {path.name for path in _folders(store)}
    found += [f"{store.folder(name)}: the folder of this run is gone" for name in known - there]
    found += [f"{store.folder(name)}: not in the index" for name in there - known]
    for name in sorted(known & there):
        try:
            results = {one.cell for one in read_results(store.folder(name))}
        except UsageError as error:
            found.append(str(error))
            continue
        rows = {past.cell for past in store.past(run=name)}
        found += [f"{store.folder(name)}: {cell} is not in the index" for cell in results - rows]
        found += [f"{store.folder(name)}: the result of {cell} is gone" for cell in rows - results]
    return sorted(found)


def rebuild(store: Store, say: Say = quiet) -> int:
    """Make the index again from the run folders, and return how many it holds.

    The old one is set aside, not removed. What cannot be read in a folder is said and
    stays where it is.
    """
    for path in (store.path, *(Path(f"{store.path}{end}") for end in ("-wal", "-shm"))):
        if path.exists():
            aside = path.with_name(f"{path.name}.{now().replace(':', '')}.old")
            path.rename(aside)
            say(f"set aside: {aside}")
    count = 0
    for folder in _folders(store):
        adopt(store, folder, say)
        count += 1
    return count


def adopt(store: Store, folder: Path, say: Say = quiet) -> None:
    """Put the run in `folder`, which lies among the store's, into the index."""
    try:
        row = read_run(folder)
    except UsageError as error:
        say(str(error))
        row = _row_from_name(folder)
    with database(store.path, write=True) as db:
        index.put_run(db, row)
        for _, result in store.results(folder.name, say):
            index.put_result(db, row.id, result)


def _row_from_name(folder: Path) -> RunRow:
    """What a folder's name tells: it says when the run began."""
    stamp = folder.name
    began = (
        f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[9:11]}:{stamp[11:13]}:{stamp[13:15]}"
        ".000000+00:00"
    )
    # From before there was an index: a summary, written at the run's end, and results.
    old = folder / RUN_FILE
    try:
        data = json.loads(old.read_text())
        ended, code = began, int(data["exit_code"])
    except (OSError, ValueError, KeyError, TypeError):
        ended, code = "", None
    return RunRow(folder.name, began, ended, code, "", "", f"schema {RESULT_SCHEMA}", "")


def prune(store: Store, keep: int, say: Say = quiet, *, dry_run: bool = False) -> list[str]:
    """Remove all but the newest `keep` runs, and return their ids.

    A run that is not in the index counts by its name. The index goes first: a prune that
    is killed leaves folders that check() names, never rows without a folder. So that it is
    known when a cell broke, its last passing result stays.
    """
    runs = store.runs()
    rest = runs[keep:] if keep else runs
    needed = {past.run for past in _last_good(store)} if keep else set()
    gone = [row.id for row in rest if row.id not in needed]
    for name in gone:
        say(f"{'would remove' if dry_run else 'removing'} {store.folder(name)}")
        if dry_run:
            continue
        with database(store.path, write=True) as db:
            db.execute("DELETE FROM run WHERE id = ?", (name,))
        remove(store.folder(name))
    return gone


def _last_good(store: Store) -> Iterator[index.Past]:
    seen: set[str] = set()
    for past in store.past():
        if past.good and past.cell not in seen:
            seen.add(past.cell)
            yield past


def _folders(store: Store) -> list[Path]:
    found = store.runs_folder.glob("[0-9]*T[0-9]*-*")
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())
