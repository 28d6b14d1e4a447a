# SPDX-License-Identifier: GPL-2.0-only
"""The whole way of a series: the user's own commits, mails, checks, and at last the branch."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ..core import run
from ..core.errors import UsageError, XipmatrixError
from ..core.files import Say, cache_dir
from ..core.git import Repository
from ..kernel import KernelTree, checkout
from ..kernel.local import UserRepository
from ..series.engine import Applied, Source
from . import reroll, tracking
from .branch import Author, new_branch, put_branch, put_objects, rewritten
from .checks import Check, Known, check_all
from .compiled import Compiler, Sources, compiled_checks
from .mails import Cover, message_id, write_mails
from .people import people_for

PREVIOUS = "previous"


@dataclass(frozen=True)
class Wish:
    """What the user wants of the series `name`.

    `changes` are the user's words on what changed since the version before, for a reroll.
    `thread` is where trailers of others are collected from: a mailbox file, a Message-Id, or
    "" for what b4 finds by that of the version before. `in_reply_to` is a Message-Id, or PREVIOUS.
    """

    name: str
    branch: str = ""
    signoff: bool = False
    reroll: bool = False
    changes: str = ""
    thread: str = ""
    in_reply_to: str = ""


@dataclass(frozen=True)
class Compiling:
    """With what the checks compile, how many files at a time, and where logs go."""

    compilers: Sequence[Compiler]
    jobs: int
    logs: Path


@dataclass(frozen=True)
class Made:
    """What there is now. `undo` is the command that takes the branch away again."""

    branch: str
    undo: str
    mails: tuple[Path, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be made in `user`'s repository, known before anything is written.

    `date` is ISO 8601; `previous` is the version before, None for the first one.
    """

    wish: Wish
    user: UserRepository
    author: Author
    date: str
    number: int
    change_id: str
    branch: str
    previous: tracking.Previous | None = None

    @classmethod
    def of(cls, wish: Wish, user: UserRepository) -> Plan:
        """Raises UsageError: no identity, no version before, a branch that is there already."""
        author = Author.of(user)
        date = datetime.now(UTC).replace(microsecond=0).isoformat()
        previous = tracking.newest(user, wish.name) if wish.reroll else None
        if previous is None and wish.in_reply_to == PREVIOUS:
            raise UsageError(f"--in-reply-to {PREVIOUS} needs --reroll: nothing was before")
        number = previous.tracking.number + 1 if previous else 1
        change_id = (
            previous.tracking.change_id if previous else tracking.new_change_id(wish.name, date)
        )
        branch = wish.branch or f"xip/{wish.name}" + (f"-v{number}" if previous else "")
        new_branch(user, branch)
        return cls(wish, user, author, date, number, change_id, branch, previous)

    @property
    def in_reply_to(self) -> str:
        """The Message-Id that the cover letter answers, or nothing."""
        if self.previous is not None and self.wish.in_reply_to == PREVIOUS:
            return self.previous.tracking.message_id
        return self.wish.in_reply_to.strip("<>")


@dataclass(frozen=True)
class _Reroll:
    """What comes over from the version before, and what is said about it."""

    trailers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    changes: str = ""
    commits: str = ""

    @classmethod
    def of(
        cls, plan: Plan, previous: tracking.Previous, tree: KernelTree, own: Applied, say: Say
    ) -> _Reroll:
        commits = f"{previous.tracking.below}..{previous.tip}"
        thread = _thread(plan.wish, previous, say)
        old = reroll.patches_of(lambda *words: plan.user.git(*words).output, commits, thread)
        new = reroll.patches_of(Repository(tree.git_dir).git, f"{own.base}..{own.tip}")
        keeping = reroll.kept(old, new)
        changes = reroll.changelog(previous, old, new, keeping.dropped, plan.wish.changes)
        return cls(keeping.trailers, changes, commits)


def make(
    plan: Plan,
    tree: KernelTree,
    source: Source,
    states: Mapping[str, Applied],
    place: Path,
    known: Known,
    compiling: Compiling | None,
    say: Say,
) -> Made:
    """Make the series' branch in the user's repository and its mails in folder `place`.

    `compiling` is for the checks that take minutes; None leaves them out.

    `states` are the series that apply to `tree`, that of the plan as the last of them. The branch
    comes last: where anything fails before, it is not there. Raises UsageError for what the user
    has to change, InfrastructureError where a tool fails.
    """
    user, author, wish = plan.user, plan.author, plan.wish
    repository = Repository(tree.git_dir)
    own = states[wish.name]
    again = _Reroll.of(plan, plan.previous, tree, own, say) if plan.previous else _Reroll()
    ours = rewritten(
        repository,
        tree.commit,
        states,
        author,
        plan.date,
        signoff=wish.signoff,
        trailers=again.trailers,
    )
    below, tip = [tree.commit, *ours][len(ours) - len(own.commits)], ours[-1]
    put_objects(user, repository, tree.commit, tip)
    shown = ""
    if again.commits:
        differs = reroll.range_diff(user, again.commits, f"{below}..{tip}")
        shown = f"Range-diff against v{plan.number - 1}:\n{differs}"
    cover = Cover.of(
        source,
        known.tested,
        known.archs,
        tree.release,
        plan.change_id,
        changes=again.changes,
        range_diff=shown,
    )
    # The same files as at `tip`, which is another commit each time.
    folder = checkout(tree.git_dir, own.tip, cache_dir(), say)
    mails = write_mails(
        repository,
        tree.commit,
        below,
        tip,
        cover,
        place,
        author,
        lambda patch: people_for(folder, patch),
        version=plan.number,
        in_reply_to=plan.in_reply_to,
    )
    checks = check_all(folder, repository, tree.commit, below, tip, mails, user, known)
    if compiling is not None:
        with tempfile.TemporaryDirectory(prefix="upstream-", dir=cache_dir()) as work:
            sources = Sources(
                folder,
                lambda: checkout(tree.git_dir, own.base, cache_dir(), say),
                repository.git("diff", "--name-only", below, tip).splitlines(),
                Path(work),
                compiling.logs,
                compiling.jobs,
            )
            checks += compiled_checks(sources, compiling.compilers, say)
    undo = put_branch(user, tip, plan.branch)
    letter = message_id(mails[0])
    if plan.previous is not None:
        tracked = plan.previous.tracking.next(below, letter)
    else:
        tracked = tracking.Tracking(wish.name, 1, plan.change_id, below, letter)
    tracking.store(user, plan.branch, cover.description, tracked)
    return Made(plan.branch, undo, tuple(mails), tuple(checks))


def _thread(
    wish: Wish, previous: tracking.Previous, say: Say
) -> Mapping[str, tuple[str, ...]] | None:
    """What others said to the version before, where it can be had."""
    if wish.thread:
        path = Path(wish.thread)
        return reroll.from_thread(path if path.is_file() else wish.thread)
    if run.find_tool("b4") is None:
        say("b4 is not installed: only trailers that are in the branch are kept")
        return None
    try:
        return reroll.from_thread(previous.tracking.message_id)
    except XipmatrixError as error:
        say(f"only trailers that are in the branch are kept; {error.what}")
        return None
