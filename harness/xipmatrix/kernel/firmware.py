# SPDX-License-Identifier: GPL-2.0-only
"""A board's firmware, from a Debian package of whatever suite has it: QEMU's own may lack it."""

from __future__ import annotations

from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import cache_dir, complete_dir, locked, quiet
from ..matrix.model import PackageFile
from .apt import Apt


def firmware_file(source: PackageFile, cache: Path | None = None) -> Path:
    """The file, in the cache; brought there at first. Raises InfrastructureError."""
    cache = cache or cache_dir()
    place = cache / "firmware" / source.suite / source.package
    found = place / source.path
    if found.is_file():
        return found
    where = cache / "apt" / source.suite

    with locked(where, quiet, f"{source.package} from {source.suite}"):
        if not found.is_file():
            package = Apt(source.suite, where).fetch(source.package, quiet)
            with complete_dir(place) as work:
                run.run(["dpkg-deb", "-x", package.path, work], check=True)
            package.path.unlink()
    if not found.is_file():
        raise InfrastructureError(
            f"{source.package} from {source.suite} has no {source.path}",
            where=place,
            hint="see what is there, and mend the board's qemu.bios in matrix.yaml",
        )
    return found
