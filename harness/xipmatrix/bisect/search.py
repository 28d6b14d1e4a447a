# SPDX-License-Identifier: GPL-2.0-only
"""``git bisect`` in a repository of our own that borrows the user's objects.

Borrowing is safe here: this repository writes no object (git touches the times of
borrowed ones only when it would write the same again), and it is made anew for each run.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import XipmatrixError
from ..core.files import remove
from ..core.git import Repository
from ..kernel.local import UserRepository
from .marks import Mark
from .question import Question

_LOG = "BISECT_LOG"
_FIRST = re.compile(r"^# first bad commit: \[([0-9a-f]+)\]", re.M)
_POSSIBLE = re.compile(r"^# possible first bad commit: \[([0-9a-f]+)\]", re.M)
_ENTRY = "commit %H%nAuthor:     %an <%ae>%nAuthorDate: %ad%nCommit:     %cn <%ce>%nCommitDate: %cd"


class NotReproducible(XipmatrixError):
    """The ends of the search are not what they were said to be (exit 1)."""


@dataclass(frozen=True)
class Candidate:
    """A commit as git shows it: `entry` is its log entry with the diffstat."""

    commit: str
    subject: str
    parents: tuple[str, ...]
    entry: str


class Search:
    """One search, from its start. `folder` is ours, and made anew."""

    def __init__(self, folder: Path, user: UserRepository, question: Question) -> None:
        remove(folder)
        self._git = Repository.create(folder, object_format=user.object_format)
        borrowed = folder / "objects" / "info" / "alternates"
        borrowed.write_text(f"{user.common / 'objects'}\n")
        if (user.common / "shallow").is_file():
            shutil.copy(user.common / "shallow", folder / "shallow")
        (folder / "HEAD").write_text(f"{question.bad.commit}\n")  # git bisect wants one
        self._question = question
        self._said = ""

    def start(self) -> str:
        """Begin; what git says about how far it is. Raises NotReproducible where git cannot."""
        question = self._question
        good = sorted(end.commit for end in question.good)
        words = ["start", "--no-checkout", question.bad.commit, *good, "--", *question.paths]
        return self._bisect(*words)

    def mark(self, commit: str, mark: Mark) -> str:
        """Tell git about `commit`; what it says. Raises NotReproducible where it cannot go on."""
        return self._bisect(str(mark), commit)

    def _bisect(self, *words: str) -> str:
        done = self._git.run("bisect", *words)
        text = done.output.strip()
        # git ends with a status of its own where skips leave several commits.
        if not done.ok and not self.candidates:
            said = text.replace("\n", "\n  ")
            raise NotReproducible(f"git bisect cannot go on:\n  {said}", where=self._question.tree)
        return text

    @property
    def next(self) -> str | None:
        """The commit to look at, or None at the end."""
        return None if self.candidates else self._git.resolve("BISECT_HEAD")

    @property
    def log(self) -> str:
        """``git bisect log``, which ``git bisect replay`` understands."""
        return read_log(self._git.git_dir)

    @property
    def candidates(self) -> tuple[str, ...]:
        """The first bad commit; several where all that are left were skipped; none before."""
        first = _FIRST.search(self.log)
        return (first[1],) if first else tuple(dict.fromkeys(_POSSIBLE.findall(self.log)))

    def subject(self, commit: str) -> str:
        """What `commit` says it does."""
        return self._git.git("show", "-s", "--format=%s", commit)

    def show(self, commit: str) -> Candidate:
        """`commit` for people; takes a while for one that changes much."""
        git = self._git.git
        parents = git("show", "-s", "--format=%P", commit).split()
        head = f"--format={_ENTRY}%n%n%w(0,4,4)%B"
        entry = git("show", "--no-color", "--date=iso", "--stat=71", "--first-parent", head, commit)
        # Lines of white space only, as %w makes of empty ones, are no good mail.
        tidy = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in entry.splitlines()))
        return Candidate(commit, self.subject(commit), tuple(parents), tidy)

    def ancestor(self, old: str, new: str) -> bool:
        """Whether `old` is `new`, or one of its ancestors."""
        return self._git.run("merge-base", "--is-ancestor", old, new).ok


def read_log(folder: Path) -> str:
    """The log of the search in `folder`; empty where there is none."""
    path = folder / _LOG
    return path.read_text(errors="replace") if path.is_file() else ""
