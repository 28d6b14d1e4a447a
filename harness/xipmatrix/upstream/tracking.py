# SPDX-License-Identifier: GPL-2.0-only
"""What a branch of the user's knows of the series on it, kept as ``b4 prep`` keeps it.

In the branch's own section of git's configuration, which goes with the branch: the cover
letter is its description, and beside it lies b4's tracking (b4's ``branch-description``
strategy, docs/contributor/prep.rst of b4), so that b4 takes such a branch over as it is.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field

from ..core.errors import UsageError
from ..kernel.local import UserRepository
from .branch import write

_STRATEGY = ("b4-prep-cover-strategy", "branch-description")
_TRACKING = "b4-tracking"
_OURS = "xipmatrix"
_LINK = "https://lore.kernel.org/r/{}"


@dataclass(frozen=True)
class Tracking:
    """One version of a series. `below` is the commit that its patches begin on.

    `message_id` is its cover letter's, without angle brackets; `history` those of the versions
    before it, by their number.
    """

    series: str
    number: int
    change_id: str
    below: str
    message_id: str
    history: dict[int, str] = field(default_factory=dict)

    def text(self) -> str:
        """As b4 has it; what only we need stands beside it, where b4 leaves it alone."""
        series = {
            "revision": self.number,
            "change-id": self.change_id,
            "prefixes": [],
            "presubject": "",
            "base-branch": self.below,
            "history": {f"v{number}": [one] for number, one in self.history.items()},
        }
        ours = {"series": self.series, "message-id": self.message_id}
        return json.dumps({"series": series, _OURS: ours})

    @classmethod
    def of(cls, text: str) -> Tracking:
        """The inverse of :meth:`text`. Raises ValueError for what is none of ours."""
        try:
            data = json.loads(text)
            series, ours = data["series"], data[_OURS]
            return cls(
                str(ours["series"]),
                int(series["revision"]),
                str(series["change-id"]),
                str(series["base-branch"]),
                str(ours["message-id"]),
                {int(key[1:]): str(ids[-1]) for key, ids in series.get("history", {}).items()},
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"no {error}") from error

    def next(self, below: str, message_id: str) -> Tracking:
        """The version after this one."""
        history = {**self.history, self.number: self.message_id}
        return Tracking(self.series, self.number + 1, self.change_id, below, message_id, history)

    @property
    def link(self) -> str:
        """Where the list's archive has this version, once it was sent."""
        return _LINK.format(self.message_id)


@dataclass(frozen=True)
class Previous:
    """The version before, as it is on its branch now: `cover` is the branch's description."""

    branch: str
    tip: str
    tracking: Tracking
    cover: str


def new_change_id(series: str, day: str) -> str:
    """An id for all versions of a series; `day` is ISO 8601."""
    return f"{day[:10].replace('-', '')}-xip-{series}-{secrets.token_hex(6)}"


def store(user: UserRepository, branch: str, cover: str, tracking: Tracking) -> None:
    """Keep both with `branch`. Raises InfrastructureError where git does not write them."""
    values = (("description", cover), _STRATEGY, (_TRACKING, tracking.text()))
    for key, value in values:
        write(user, "config", f"branch.{branch}.{key}", value)


def newest(user: UserRepository, series: str) -> Previous:
    """The newest version of `series` that has a branch.

    Raises UsageError where there is none, or where what is kept with it cannot be read.
    """
    found: dict[str, Tracking] = {}
    done = user.git("config", "-z", "--get-regexp", rf"^branch\..*\.{_TRACKING}$")
    for entry in done.output.split("\0") if done.ok else []:
        key, _, text = entry.partition("\n")
        branch = key.removeprefix("branch.").removesuffix(f".{_TRACKING}")
        if not branch or _OURS not in text or user.commit(f"refs/heads/{branch}") is None:
            continue
        try:
            one = Tracking.of(text)
        except ValueError as error:
            raise UsageError(
                f"what is kept with the branch '{branch}' cannot be read: {error}",
                where=user.path,
                hint=f"git config --unset branch.{branch}.{_TRACKING}",
            ) from error
        if one.series == series:
            found[branch] = one
    if not found:
        raise UsageError(
            f"no branch of this repository holds a version of the series '{series}'",
            where=user.path,
            hint="without --reroll, the first version is made",
        )
    branch = max(found, key=lambda name: found[name].number)
    cover = user.git("config", "--get", f"branch.{branch}.description").output
    return Previous(branch, user.need_commit(f"refs/heads/{branch}"), found[branch], cover.strip())


def changelog_of(cover: str) -> str:
    """What a cover letter says of changes between versions; empty where it says nothing."""
    found = re.search(r"^Changes in v\d+:\n.*?(?=^---$|\Z)", cover, re.M | re.S)
    return found[0].strip() if found else ""
