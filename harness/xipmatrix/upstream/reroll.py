# SPDX-License-Identifier: GPL-2.0-only
"""From one version of a series to the next: what changed, and whose words are kept."""

from __future__ import annotations

import mailbox
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..core.git import hermetic
from ..kernel.local import UserRepository
from .tracking import Previous, changelog_of

# What others give to a patch (Documentation/process/submitting-patches.rst).
_GIVEN = re.compile(r"^(?:Reviewed|Acked|Tested)-by: .+", re.M | re.I)
_EDIT = "EDITME: what changed, and why"
_MINUTE = 60.0


@dataclass(frozen=True)
class Patch:
    """One commit, as versions compare: its change as git's patch-id, and the tags given to it."""

    subject: str
    change: str
    given: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """What goes into the new version: trailers by subject, and those that do not, with the
    subject of their patch, which has changed since."""

    trailers: Mapping[str, tuple[str, ...]]
    dropped: tuple[tuple[str, str], ...]


def given_in(text: str) -> tuple[str, ...]:
    """The tags of others in a commit's message or a mail's body."""
    return tuple(dict.fromkeys(one.strip() for one in _GIVEN.findall(text)))


def patches_of(
    git: Callable[..., str], commits: str, thread: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, Patch]:
    """The patches in the range `commits`, by subject, with what `thread` gives to them beside.

    `git` gives the output of a git command on the repository that has them.
    """
    found: dict[str, Patch] = {}
    for line in git("log", "--reverse", "--no-merges", "--format=%H %s", commits).splitlines():
        commit, _, subject = line.partition(" ")
        diff = git("diff-tree", "-p", commit).encode()
        said = run.run(
            ["git", "patch-id", "--stable"], input_bytes=diff, env=hermetic(), check=True
        )
        given = (
            *given_in(git("show", "-s", "--format=%B", commit)),
            *(thread or {}).get(subject, ()),
        )
        found[subject] = Patch(subject, said.output.partition(" ")[0], tuple(dict.fromkeys(given)))
    return found


def kept(old: Mapping[str, Patch], new: Mapping[str, Patch]) -> Kept:
    """A tag stays with a patch that does what it did.

    Where it does something else, whoever gave the tag has not seen that; whether it still
    holds is the user's to say (Documentation/process/submitting-patches.rst, "Using
    Reported-by:, Tested-by:, Reviewed-by:, …").
    """
    trailers: dict[str, tuple[str, ...]] = {}
    dropped: list[tuple[str, str]] = []
    for subject, patch in old.items():
        now = new.get(subject)
        if now is not None and now.change == patch.change:
            trailers[subject] = patch.given
        else:
            dropped += [(subject, one) for one in patch.given]
    return Kept(trailers, tuple(dropped))


def changelog(
    previous: Previous,
    old: Mapping[str, Patch],
    new: Mapping[str, Patch],
    dropped: Iterable[tuple[str, str]],
    changes: str,
) -> str:
    """Changes of all versions, the newest first; of the newest what can be told, and `changes`
    in the user's words, for which there is a gap where there are none."""
    told = [
        f'Changed: "{name}"' for name in new if name in old and new[name].change != old[name].change
    ]
    told += [f'New: "{name}"' for name in new if name not in old]
    told += [f'Dropped: "{name}"' for name in old if name not in new]
    for name, tag in dropped:
        kind, _, who = tag.partition(": ")
        why = "changed" if name in new else "is gone"
        told.append(f'{kind} of {who} not kept, as the patch {why}: "{name}"')
    own = [line.removeprefix("- ") for line in changes.strip().splitlines() if line.strip()]
    lines = [
        *(own or [_EDIT]),
        *told,
        f"Link to v{previous.tracking.number}: {previous.tracking.link}",
    ]
    text = "\n".join(f"- {line}" for line in lines)
    newest = f"Changes in v{previous.tracking.number + 1}:\n{text}"
    return "\n\n".join(filter(None, (newest, changelog_of(previous.cover))))


def lacks_words(text: str) -> bool:
    """Whether a cover letter still has the gap for the user's words."""
    return _EDIT in text


def range_diff(user: UserRepository, old: str, new: str) -> str:
    """``git range-diff`` of two ranges of commits. Raises InfrastructureError where it fails."""
    done = user.git("range-diff", "--no-color", "--no-dual-color", old, new)
    if not done.ok:
        raise InfrastructureError(f"git range-diff: {done.output.strip()}", where=user.path)
    return done.output.rstrip()


def from_thread(source: str | Path) -> dict[str, tuple[str, ...]]:
    """The tags of others in a thread, by the subject of the patch that they are given to.

    `source` is the thread as a mailbox file, or the Message-Id of its cover letter, by which b4
    asks the list's archive. b4 sorts out what belongs to which patch, as maintainers have it.
    Raises UsageError where b4 is missing or the mailbox cannot be read, InfrastructureError
    where b4 fails.
    """
    if run.find_tool("b4") is None:
        raise UsageError("collecting trailers needs b4", hint=f"{sys.prefix}/bin/pip install b4")
    with tempfile.TemporaryDirectory(prefix="xipmatrix-b4-") as folder:
        # Not the user's settings: what is kept must not depend on them. No key is looked up.
        env = {
            **hermetic(),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "b4.attestation-policy",
            "GIT_CONFIG_VALUE_0": "off",
            "XDG_CACHE_HOME": folder,
            "XDG_DATA_HOME": folder,
        }
        words = ["b4", "--offline-mode"] if isinstance(source, Path) else ["b4"]
        words += ["am", "--outdir", folder, "--no-cover"]
        words += ["--use-local-mbox", str(source)] if isinstance(source, Path) else [source]
        done = run.run(words, cwd=Path(folder), env=env, timeout=_MINUTE)
        boxes = sorted(Path(folder).glob("*.mbx"))
        if not boxes:
            raise InfrastructureError(
                f"b4 found no series: {_last(done.output)}", where=str(source)
            )
        return _subjects(boxes)


def _subjects(boxes: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for box in boxes:
        for mail in mailbox.mbox(box):
            subject = re.sub(r"\s*\n\s*", " ", str(mail["Subject"]))
            subject = re.sub(r"^(?:\[[^]]*\]\s*)+", "", subject)
            content = mail.get_payload(decode=True)
            text = content.decode(errors="replace") if isinstance(content, bytes) else ""
            found[subject] = given_in(text.partition("\n---\n")[0])
    return found


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
