# SPDX-License-Identifier: GPL-2.0-only
"""Files by the SHA-256 of their content: what travels between machines, checked at both ends.

Nothing here knows how chunks get from one machine to the other.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import InfrastructureError
from ..core.files import TEMPORARY, sha256_file

# Bytes of a message: small beside a worker's memory, large beside what a message costs.
CHUNK = 4 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Corrupt(InfrastructureError):
    """What came is not what was sent."""


@dataclass(frozen=True)
class Entry:
    """A file, symbolic link or folder at `path` (POSIX, relative) below some folder.

    `sha256` and `size` (bytes) are a file's, `target` is a link's; a folder has neither.
    """

    path: str
    mode: int
    sha256: str = ""
    size: int = 0
    target: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; ``Entry(**data)`` is the inverse."""
        return asdict(self)


def listing(folder: Path) -> list[Entry]:
    """Everything below `folder`, in order of paths. What is neither file, link nor folder
    (a socket of QEMU's) is passed over, and so is what is just being written."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith(TEMPORARY) for part in PurePosixPath(name).parts):
            continue
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink():
            found.append(Entry(name, mode, target=str(path.readlink())))
        elif path.is_file():
            found.append(Entry(name, mode, sha256_file(path), path.stat().st_size))
        elif path.is_dir():
            found.append(Entry(name, mode))
    return found


@dataclass(frozen=True)
class Blobs:
    """Files named by their SHA-256 below `root`; one that is there is whole."""

    root: Path

    def place(self, sha256: str) -> Path:
        """Where the content `sha256` lies, or would. Raises Corrupt for what is no digest."""
        if not _DIGEST.fullmatch(sha256):
            raise Corrupt(f"'{sha256}' is no SHA-256")
        return self.root / sha256

    def has(self, sha256: str) -> bool:
        """Whether the content is here."""
        return self.place(sha256).is_file()

    def add(self, path: Path, sha256: str) -> None:
        """Keep the file `path` under its digest: a hard link where the disk knows these."""
        place = self.place(sha256)
        if place.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, place)
        except OSError:  # another disk, or one without links
            partial = self.root / f"{TEMPORARY}{sha256}"
            shutil.copyfile(path, partial)
            partial.replace(place)

    def write(self, sha256: str, offset: int, data: bytes, size: int) -> bool:
        """Take a chunk of a content of `size` bytes; True when it is whole and was checked.

        Chunks come in order; a transfer that begins anew begins at 0. Raises Corrupt, and
        keeps nothing, where a chunk is missing or the digest of the whole is another.
        """
        partial = self.root / f"{TEMPORARY}{self.place(sha256).name}"
        self.root.mkdir(parents=True, exist_ok=True)
        if offset == 0:
            partial.unlink(missing_ok=True)
        there = partial.stat().st_size if partial.exists() else 0
        if there != offset:
            partial.unlink(missing_ok=True)
            raise Corrupt(f"bytes {there} to {offset} of {sha256[:16]} are missing")
        with partial.open("ab") as stream:
            stream.write(data)
        if offset + len(data) < size:
            return False
        got = sha256_file(partial)
        if got != sha256:
            partial.unlink()
            raise Corrupt(f"came with the SHA-256 {got[:16]}…, sent was {sha256[:16]}…")
        partial.replace(self.place(sha256))
        return True

    def read(self, sha256: str, offset: int) -> bytes:
        """The chunk at `offset`. Raises Corrupt where that content is not here."""
        try:
            with self.place(sha256).open("rb") as stream:
                stream.seek(offset)
                return stream.read(CHUNK)
        except FileNotFoundError as error:
            raise Corrupt(f"the content {sha256[:16]}… is not here", where=self.root) from error


def chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """A file's chunks with their offsets; an empty file has one, which is empty."""
    offset = 0
    with path.open("rb") as stream:
        while (data := stream.read(CHUNK)) or offset == 0:
            yield offset, data
            offset += len(data)
            if not data:
                return


def contents(entries: Iterable[Entry]) -> dict[str, int]:
    """Digests of the files among `entries`, each once, with their sizes in bytes."""
    return {one.sha256: one.size for one in entries if one.sha256}


def lay_out(entries: Sequence[Entry], blobs: Blobs, folder: Path) -> None:
    """Make `folder`, which is empty, what :func:`listing` saw. Raises Corrupt.

    Every digest is computed once more: a disk may fail between two steps. Nothing is
    written outside `folder`, whatever the paths say.
    """
    for entry in entries:
        path = folder / _inside(entry.path)
        if entry.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy(blobs.place(entry.sha256), path, entry.sha256)
            path.chmod(entry.mode)
        elif not entry.target:
            path.mkdir(parents=True, exist_ok=True)
    for entry in entries:  # last: no file is written through one
        if entry.target:
            path = folder / entry.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(entry.target)


def _copy(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as stream, target.open("xb") as written:
        while data := stream.read(CHUNK):
            digest.update(data)
            written.write(data)
    if digest.hexdigest() != sha256:
        raise Corrupt(f"the content has changed on the disk: {digest.hexdigest()}", where=source)


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Corrupt(f"the path '{name}' leaves its folder")
    return path
