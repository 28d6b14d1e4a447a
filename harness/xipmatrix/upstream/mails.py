# SPDX-License-Identifier: GPL-2.0-only
"""Mails for git send-email: patches and cover letter, each with whom it goes to."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..core.errors import InfrastructureError
from ..core.files import complete_dir, key_of, texts_in
from ..core.git import Repository
from ..series.engine import GENERIC, Applied, Source, State, render_cover, shown_ref
from ..series.export import COVER, fill_cover
from .branch import Author
from .evidence import Results
from .people import People

_STATES = {
    State.APPLIES: "works with {count} patches on those for all architectures",
    State.NATIVE: "is there as it should be",
    State.CONFLICT: "has patches that do not apply to this kernel yet",
    State.NONE: "has none",
}
_BODY = """\
{cover}

CONFIG_XIP_KERNEL by architecture, with all series on this kernel:

{archs}
Tested with xipmatrix on Linux {release}, by cells that are built, booted in
QEMU from read-only flash, and judged by where code was executed:

{tested}
Provenance (Documentation/process/generated-content.rst): xipmatrix
{version} rendered this series from its templates/{name}
(hash {hash}). Its code and texts lie there as anchored
edits, and were written with the assistance of a large language model;
the tool added nothing of its own.
"""


@dataclass(frozen=True)
class Cover:
    """The cover letter: its subject, and its text without diffstat and base.

    `changes` says what changed between versions, `range_diff` shows it.
    """

    subject: str
    body: str
    change_id: str
    changes: str = ""
    range_diff: str = ""

    @classmethod
    def of(
        cls,
        source: Source,
        tested: Results,
        archs: Mapping[str, Applied],
        release: str,
        change_id: str,
        *,
        changes: str = "",
        range_diff: str = "",
    ) -> Cover:
        """The series' own words, the state of `archs`, what was tested, and where all of it comes
        from."""
        states = [
            f"  {name}: {_STATES[one.state].format(count=len(one.commits))}\n"
            for name, one in archs.items()
            if name != GENERIC
        ]
        body = _BODY.format(
            cover=render_cover(source, release),
            archs="".join(states),
            release=release,
            tested=tested.text(),
            version=__version__,
            name=source.name,
            hash=key_of(texts_in(source.folder)),
        )
        return cls(source.series.title, body.strip(), change_id, changes, range_diff)

    @property
    def description(self) -> str:
        """The branch's description: what ``b4 prep`` makes a cover letter from."""
        parts = [f"{self.subject}\n\n{self.body}", *filter(None, [self.changes])]
        return "\n\n---\n".join(parts)

    def write(self, letter: Path) -> None:
        """Put it into git's `letter`, from which the gaps for it go."""
        fill_cover(letter, self.subject, "\n\n".join(filter(None, (self.body, self.changes))))
        text, mark, base = letter.read_text().partition("\nbase-commit: ")
        shown = f"{self.range_diff}\n" if self.range_diff else ""
        letter.write_text(f"{text}{shown}\nchange-id: {self.change_id}{mark}{base}")


def write_mails(
    repository: Repository,
    base: str,
    below: str,
    tip: str,
    cover: Cover,
    place: Path,
    author: Author,
    find_people: Callable[[Path], People],
    *,
    version: int = 1,
    in_reply_to: str = "",
) -> list[Path]:
    """The commits from `below` to `tip` as mails in folder `place`, which is replaced as a whole.

    `base` is what a maintainer has; what lies between it and `below` is named as prerequisite.
    Raises InfrastructureError where git fails.
    """
    with (
        complete_dir(place) as folder,
        shown_ref(repository, f"xipmatrix-mail-{tip[:12]}", tip) as ref,
    ):
        repository.git(
            *("-c", "diff.algorithm=histogram"),
            *("format-patch", "--quiet", "--no-signature", "--numbered"),
            *([f"-v{version}"] if version > 1 else []),
            *([f"--in-reply-to={in_reply_to}"] if in_reply_to else []),
            *("--cover-letter", "--cover-from-description=none", "--thread=shallow"),
            *("--stat=72", f"--base={base}", "-o", folder.absolute(), f"{below}..{ref}"),
            # The cover letter's sender is the committer.
            env={"GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.mail},
        )
        mails = sorted(folder.glob("*.patch"))
        found = {path: find_people(path) for path in without_cover(mails)}
        (letter,) = [path for path in mails if path not in found]
        cover.write(letter)
        found[letter] = People.all_of(found.values())
        for path, people in found.items():
            _address(path, people)
    return sorted(place.glob("*.patch"))


def without_cover(mails: Iterable[Path]) -> list[Path]:
    """The patches among the mails of a series."""
    return [path for path in mails if not path.name.endswith(COVER)]


def subject_of(path: Path) -> str:
    """The subject of a mail by git format-patch, without what stands in brackets."""
    head = path.read_text().partition("\n\n")[0]
    found = re.search(r"^Subject: ((?:.*\n )*.*)", head, re.M)
    text = re.sub(r"\n ", " ", found[1]) if found else ""
    return re.sub(r"^\[[^]]*\] ", "", text)


def message_id(letter: Path) -> str:
    """A mail's Message-Id, without angle brackets."""
    found = re.search(r"^Message-Id: <(.+)>$", letter.read_text(), re.M | re.I)
    if found is None:
        raise InfrastructureError("git wrote a mail without Message-Id", where=letter)
    return found[1]


def _address(path: Path, people: People) -> None:
    """Put To and Cc behind the mail's Subject; git send-email takes them from there."""
    head, blank, rest = path.read_text().partition("\n\n")
    for field, who in (("To", people.to), ("Cc", people.cc)):
        if who:
            head += f"\n{field}: " + textwrap.indent(",\n".join(who), "    ").strip()
    path.write_text(head + blank + rest)
