# SPDX-License-Identifier: GPL-2.0-only
"""What a kernel's source tree is, and how one is recognised."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UsageError
from ..core.git import Repository

# Together they tell Linux from U-Boot and others that use Kbuild too.
_MARKS = ("Makefile", "Kbuild", "Kconfig", "arch", "init")
_VARIABLE = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)", re.M)


@dataclass(frozen=True)
class KernelTree:
    """A kernel's source as a commit in a bare repository of our own.

    name: as in matrix.yaml, or the short form of the user's PATH[@REF]
    release: as its own top Makefile says: ``7.3.4``, ``7.4.0-rc2``
    origin: for people: where it came from
    git_dir, commit, tree: the repository in the cache, full object ids in it
    """

    name: str
    release: str
    origin: str
    git_dir: Path
    commit: str
    tree: str


def release_of_makefile(text: str) -> str | None:
    """KERNELVERSION as a kernel's top Makefile composes it; None if it is no such Makefile."""
    # The first assignment counts.
    values: dict[str, str] = dict(reversed(_VARIABLE.findall(text)))
    if not values.get("VERSION") or "PATCHLEVEL" not in values:
        return None
    numbers = [values["VERSION"]]
    for key in ("PATCHLEVEL", "SUBLEVEL"):
        if not values.get(key):
            break
        numbers.append(values[key])
    return ".".join(numbers) + values.get("EXTRAVERSION", "")


def release_of_commit(repository: Repository, commit: str, where: str | Path) -> str:
    """The release of the kernel in `commit`. Raises UsageError, naming `where`, if it is none."""
    names = repository.git("ls-tree", "--name-only", commit).splitlines()
    missing = [mark for mark in _MARKS if mark not in names]
    return _release(repository.text(f"{commit}:Makefile") or "", missing, where)


def release_of_folder(folder: Path) -> str:
    """The release of the kernel in `folder`. Raises UsageError if it is none."""
    missing = [mark for mark in _MARKS if not (folder / mark).exists()]
    makefile = folder / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.is_file() else ""
    return _release(text, missing, folder)


def _release(makefile: str, missing: list[str], where: str | Path) -> str:
    release = None if missing else release_of_makefile(makefile)
    if release is None:
        why = f"it has no {', '.join(missing)}" if missing else "its Makefile names no VERSION"
        raise UsageError(
            f"this is not a Linux kernel source tree: {why}",
            where=where,
            hint="give the top folder of a kernel tree, or PATH@REF for a git repository",
        )
    return release
