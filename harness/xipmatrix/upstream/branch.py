# SPDX-License-Identifier: GPL-2.0-only
"""The commits as the user's own, on a new branch of the user's repository."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..core.git import Repository
from ..kernel.local import UserRepository
from ..series.engine import Applied


@dataclass(frozen=True)
class Author:
    """Who sends the series."""

    name: str
    mail: str

    def __str__(self) -> str:
        return f"{self.name} <{self.mail}>"

    @classmethod
    def of(cls, user: UserRepository | None) -> Author:
        """The identity that git has for this repository, or for you where there is none.

        Raises UsageError where git has none.
        """
        values = []
        for key in ("user.name", "user.email"):
            words = ["config", "--get", key]
            done = user.git(*words) if user else run.run(["git", *words], cwd=Path("/"))
            if not done.ok or not done.output.strip():
                raise UsageError(
                    f"git does not know your {key}",
                    where=user.path if user else "",
                    hint=f"git config --global {key} …",
                )
            values.append(done.output.strip())
        return cls(*values)


def rewritten(
    repository: Repository,
    base: str,
    states: Mapping[str, Applied],
    author: Author,
    date: str,
    *,
    signoff: bool,
    trailers: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    """The commits of `states` again on `base`, by `author` at `date` (ISO 8601).

    Returns their ids, oldest first. `trailers` are added to the commits of these subjects, before
    the sign-off.

    A Signed-off-by is added only on the user's word, as the Developer's Certificate of Origin
    is the user's to give (Documentation/process/submitting-patches.rst).
    """
    done: list[str] = []
    for commit in (commit for one in states.values() for commit in one.commits):
        message = repository.git("show", "-s", "--format=%B", commit)
        more = [one for one in trailers.get(message.partition("\n")[0], ()) if one not in message]
        if signoff:
            more.append(f"Signed-off-by: {author}")
        message = "\n".join([message, *more])
        done.append(
            repository.commit_tree(
                repository.tree_of(commit),
                f"{message}\n",
                date=date,
                parents=(done[-1] if done else base,),
                who=(author.name, author.mail),
            )
        )
    return tuple(done)


def new_branch(user: UserRepository, name: str) -> str:
    """The ref of branch `name`. Raises UsageError where it is there, or its name is none."""
    ref = f"refs/heads/{name}"
    if not user.git("check-ref-format", ref).ok:
        raise UsageError(f"'{name}' is no name of a branch", where=user.path)
    if user.commit(ref) is not None:
        raise UsageError(
            f"the branch '{name}' is there already",
            where=user.path,
            hint=f"git branch -D {name}, or choose another with --branch",
        )
    return ref


def put_objects(user: UserRepository, repository: Repository, base: str, tip: str) -> None:
    """Write what `tip` adds to `base` into the user's repository, where no ref names it yet."""
    with tempfile.TemporaryDirectory(prefix="xipmatrix-pack-") as folder:
        wanted = f"{tip}\n^{base}\n".encode()
        packed = repository.git(
            "pack-objects", "-q", "--revs", str(Path(folder) / "pack"), input_bytes=wanted
        )
        content = (Path(folder) / f"pack-{packed}.pack").read_bytes()
        write(user, "unpack-objects", "-q", input_bytes=content)


def put_branch(user: UserRepository, tip: str, name: str) -> str:
    """Make branch `name` of the user's repository point at `tip`; the command that undoes it.

    No checkout, no index, no other ref is touched. Raises what new_branch() raises.
    """
    ref = new_branch(user, name)
    write(user, "update-ref", "-m", "xipmatrix upstream", ref, tip, "0" * len(tip))
    return f"git -C {user.path} branch -D {name}"


def write(user: UserRepository, *words: str, input_bytes: bytes | None = None) -> None:
    """A git command that writes to the user's repository. Raises InfrastructureError."""
    done = run.run(["git", "-C", str(user.path), *words], input_bytes=input_bytes)
    if not done.ok:
        raise InfrastructureError(f"git {words[0]}: {done.output.strip()}", where=user.path)
