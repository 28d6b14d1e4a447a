# SPDX-License-Identifier: GPL-2.0-only
"""What a bisect is about: a tree, a cell, and two ends. The same question, the same folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import UsageError
from ..core.files import key_of
from ..kernel.local import UserRepository, find_repository


@dataclass(frozen=True)
class End:
    """A commit that the user calls good or bad, and in what words."""

    ref: str
    commit: str

    def __str__(self) -> str:
        return self.ref if self.commit.startswith(self.ref) else f"{self.ref} ({self.commit[:12]})"


@dataclass(frozen=True)
class Question:
    """Where between `good` and `bad` of the repository at `tree` did `cell` break?

    `cell` is ``arch/board/config/toolchain``; `paths` limit the search to commits that
    touch them. The ends are commits: a branch that moves is another question.
    """

    tree: Path
    cell: str
    good: tuple[End, ...]
    bad: End
    paths: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names the question's folder."""
        good = sorted(end.commit for end in self.good)
        return key_of(str(self.tree), self.cell, good, self.bad.commit, self.paths)

    @property
    def place_key(self) -> str:
        """Names the folder to build in, which questions about one cell of one tree share."""
        return key_of(str(self.tree), self.cell)


def ask(
    tree: Path, cell: str, good: Sequence[str], bad: str, paths: Sequence[str] = ()
) -> tuple[Question, UserRepository]:
    """The question that the command line puts. Raises UsageError for what does not exist."""
    folder = tree.expanduser()
    if not folder.is_dir():
        raise UsageError("no such folder", where=tree)
    user = find_repository(folder.resolve())
    if user is None:
        raise UsageError(
            "this is no git repository",
            where=tree,
            hint="bisecting takes the top folder of a git tree, without @REF",
        )
    ends = tuple(End(ref, user.need_commit(ref)) for ref in good)
    last = End(bad, user.need_commit(bad))
    if last.commit in {end.commit for end in ends}:
        raise UsageError(f"'{bad}' cannot be both good and bad", where=tree)
    return Question(folder.resolve(), cell, ends, last, tuple(paths)), user
