# SPDX-License-Identifier: GPL-2.0-only
"""Kbuild's own programs that know no configuration, compiled once for a source folder.

fixdep and conf are what every object folder begins with: 2 s of CPU time, for a configuration
and again for its build. Later ones (modpost, kallsyms, dtc) may depend on options and are not
taken. Kbuild's records go with them, so that it compiles anew what does not fit the source.
"""

from __future__ import annotations

import functools
import platform
import shutil
from pathlib import Path

from ..core import run
from ..core.files import complete_dir, key_of, locked

_FOLDERS = ("scripts/basic", "scripts/kconfig")


def _place(source: Path) -> Path:
    return source.parent / f"hosttools-{_host()}"


@functools.cache
def _host() -> str:
    """What makes a program of another machine unfit: its libc, and who compiled it."""
    compiler = run.run(["gcc", "--version"]).output
    return key_of(platform.machine(), platform.libc_ver(), compiler)


def give(source: Path, objects: Path) -> None:
    """Put those of `source`, where there are any, into the object folder, where there are none."""
    place = _place(source)
    if not place.is_dir() or (objects / "scripts").exists():
        return
    for name in _FOLDERS:
        # With their times, by which make goes; copies, since ld may write into what is there.
        shutil.copytree(place / name, objects / name, symlinks=True)


def keep(source: Path, objects: Path) -> None:
    """Keep those of an object folder that was configured."""
    place = _place(source)
    if place.is_dir():
        return
    with locked(place):
        if not place.is_dir():
            with complete_dir(place) as work:
                for name in _FOLDERS:
                    shutil.copytree(objects / name, work / name, symlinks=True)
