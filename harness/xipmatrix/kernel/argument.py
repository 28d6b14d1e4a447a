# SPDX-License-Identifier: GPL-2.0-only
"""``--kernel PATH[@REF]``: the user's own tree as a kernel of the matrix."""

from __future__ import annotations

import re
from collections.abc import Container
from pathlib import Path

from ..core.errors import UsageError
from ..core.files import key_of
from ..core.git import Repository
from ..matrix.model import Git, Kernel, LocalTree, Provider, is_version
from .local import find_repository
from .tree import release_of_commit, release_of_folder


def from_argument(text: str, taken: Container[str] = ()) -> tuple[str, Kernel]:
    """(short name, spec) of PATH, PATH@REF, or URL@REF (without a ref: its HEAD).

    The name serves in cell ids: ``linux``, ``linux@my-branch``; with a few digits more
    where it is in `taken` or looks like a version. Raises UsageError if PATH is no kernel.
    """
    if "://" in text:
        rest = text.index("/", text.index("://") + 3) if "/" in text.split("://", 1)[1] else 0
        at = text.rfind("@", rest)
        url, ref = (text[:at], text[at + 1 :]) if at > 0 and rest else (text, "HEAD")
        stem = Path(url).name.removesuffix(".git")
        return _named(f"{stem}@{ref}", taken, text, Provider(git=Git(url=url, ref=ref)))
    path, chosen = split_argument(text)
    if not path.is_dir():
        hint = "unpack it, or name it in matrix.yaml as a tarball" if path.is_file() else ""
        raise UsageError(
            "this is no folder" if path.exists() else "no such folder", where=path, hint=hint
        )
    path = path.resolve()
    if chosen is None:
        user = find_repository(path)
        if user is not None and user.top is None:
            raise UsageError("this is a bare repository", where=path, hint=f"say which: {path}@REF")
        release_of_folder(path)
        return _named(path.name, taken, text, Provider(path=LocalTree(path=str(path))))
    user = find_repository(path)
    if user is None:
        raise UsageError(
            f"this is no git repository, so it has no '{chosen}'",
            where=path,
            hint="without @REF the folder is taken as it is",
        )
    release_of_commit(Repository(user.common), user.need_commit(chosen), text)
    git = Git(url=str(path), ref=chosen)
    return _named(f"{path.name.removesuffix('.git')}@{chosen}", taken, text, Provider(git=git))


def split_argument(text: str) -> tuple[Path, str | None]:
    """PATH and REF; a path or a ref may itself hold an @."""
    whole = Path(text).expanduser()
    if whole.exists() or "@" not in text:
        return whole, None
    for found in re.finditer("@", text):
        path, ref = Path(text[: found.start()] or ".").expanduser(), text[found.end() :]
        if path.is_dir() and ref:
            return path, ref
    return Path(text.split("@")[0]).expanduser(), text.split("@", 1)[1]


def _named(name: str, taken: Container[str], text: str, provider: Provider) -> tuple[str, Kernel]:
    # Cell ids are paths and are matched by globs: what means something there goes.
    plain = re.sub(r"[^A-Za-z0-9._@+-]+", "-", name).strip("-.") or "kernel"
    if plain in taken or is_version(plain):
        plain += f"-{key_of(str(Path(text).expanduser().absolute()))[:4]}"
    return plain, Kernel(providers=[provider])
