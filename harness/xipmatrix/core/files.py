# SPDX-License-Identifier: GPL-2.0-only
"""Files and folders that are either complete or not there.

Whatever is kept is made under a temporary name beside its place and renamed
into it, so that a killed run leaves nothing half-written that looks done.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .errors import UsageError

Say = Callable[[str], None]
TEMPORARY = ".partial-"
_RANDOM = "[a-z0-9_]" * 8  # what mkdtemp() appends


def quiet(_message: str) -> None:
    """A Say that says nothing."""


def cache_dir() -> Path:
    """$XIPMATRIX_CACHE, else $XDG_CACHE_HOME/xipmatrix, else ~/.cache/xipmatrix; absolute."""
    own = os.environ.get("XIPMATRIX_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(base) / "xipmatrix").absolute()


def state_dir() -> Path:
    """$XIPMATRIX_STATE, else $XDG_STATE_HOME/xipmatrix, else ~/.local/state/xipmatrix; absolute."""
    own = os.environ.get("XIPMATRIX_STATE")
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return (Path(own) if own else Path(base) / "xipmatrix").absolute()


def project_dir() -> Path:
    """The checkout that holds matrix.yaml, templates/ and patches/."""
    return Path(__file__).resolve().parents[3]


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` by `data`, durably, or leave it as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = data.encode() if isinstance(data, str) else data
    handle, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, sorted and indented."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


@contextlib.contextmanager
def complete_dir(place: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `place` only if the block succeeds.

    What stood at `place` is replaced. The caller holds a lock on `place`: whatever a killed
    run left half-made of it is nobody's any more, and goes.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    for stale in place.parent.glob(f"{TEMPORARY}{glob.escape(place.name)}-{_RANDOM}"):
        remove(stale)
    work = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{place.name}-", dir=place.parent))
    work.chmod(0o755)
    try:
        yield work
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}old-", dir=place.parent))
            place.rename(old / "old")
            work.rename(place)
            remove(old)
        else:
            work.rename(place)
    except BaseException:
        remove(work)
        raise


@contextlib.contextmanager
def locked(path: Path, say: Say = quiet, what: str = "") -> Iterator[None]:
    """Hold `path`.lock against other threads and processes; says so when it must wait.

    The kernel drops the lock when its holder dies, so a killed run blocks nobody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for another cell or run that makes {what or path.name}")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def remove(path: Path) -> None:
    """Remove a file or folder tree, whatever its permissions; missing is fine."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, ignore_errors=True)


def share(source: str | Path, target: str | Path) -> None:
    """Make `target` another name of the file `source`, which nobody writes into.

    A copy where the disk knows no such links. What stood at `target` is replaced.
    """
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def find_inside(folders: Sequence[Path], name: str) -> Path:
    """The file `name` in the first of `folders` that has it. Raises UsageError where none has.

    A symbolic link that leaves its folder is refused like a name that does.
    """
    for folder in folders:
        path = folder / name
        if path.is_file():
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UsageError("the template leaves its folder", where=path)
            return path
    raise UsageError(
        "no such template", where=name, hint=f"looked in {', '.join(map(str, folders))}"
    )


def bytes_in(folder: Path) -> int:
    """Bytes of the files in `folder`, while another program renames and removes some."""
    count = 0
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += path.stat().st_size
    return count


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def texts_in(folder: Path) -> dict[str, str]:
    """Every file below `folder` as text, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def key_of(*parts: Any) -> str:
    """A stable 16-digit hexadecimal key of JSON-able `parts`."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
