# SPDX-License-Identifier: GPL-2.0-only
"""Logs are compressed when their cell has ended: ``console.log`` becomes ``console.log.gz``.

gzip, which zgrep, zless and every editor read.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from ..core.errors import InfrastructureError
from ..core.files import TEMPORARY

SUFFIX = ".gz"
# What people run or programs map as it is: the command of the machine, dumps of RAM, flash.
_PLAIN = (".sh", ".json", ".bin", ".img", ".dtb", SUFFIX)
_SMALL = 4096  # bytes: a block of the file system is taken anyway


def compress(folder: Path) -> None:
    """Compress every log below `folder`; what another process took away is passed over."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PLAIN or path.is_symlink() or not path.is_file():
            continue
        if path.name.startswith(TEMPORARY):
            continue
        partial = path.with_name(f"{TEMPORARY}{path.name}{SUFFIX}")
        try:
            if path.stat().st_size < _SMALL:
                continue
            # The same log gives the same bytes: no time and no name in the header.
            with (
                path.open("rb") as plain,
                partial.open("wb") as raw,
                gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
            ):
                shutil.copyfileobj(plain, packed)
            partial.replace(path.with_name(path.name + SUFFIX))
            path.unlink()
        except FileNotFoundError:
            continue
        finally:
            partial.unlink(missing_ok=True)


def place(name: str) -> str:
    """Where the log `name` lies now: itself, or compressed beside its place."""
    gone = name != "" and not Path(name).exists()
    return name + SUFFIX if gone and Path(name + SUFFIX).is_file() else name


def read(path: Path) -> str:
    """The log `path` as text, compressed or not. Raises InfrastructureError."""
    try:
        data = path.read_bytes()
        if path.suffix == SUFFIX:
            data = gzip.decompress(data)
    except (OSError, EOFError) as error:
        raise InfrastructureError(f"cannot be read: {error}", where=path) from error
    return data.decode("utf-8", "replace")
