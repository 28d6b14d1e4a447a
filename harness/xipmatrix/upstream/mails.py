# SPDX-License-Identifier: GPL-2.0-only
"""Mails for git send-email: patches and cover letter, each with whom it goes to."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InfrastructureError
from ..core.files import complete_dir
from ..core.git import Repository
from ..series.engine import shown_ref
from .branch import Author
from .people import People

_SUBJECT, _BLURB = "*** SUBJECT HERE ***", "*** BLURB HERE ***"


@dataclass(frozen=True)
class Cover:
    """The cover letter: its subject, and its text without diffstat and base."""

    subject: str
    body: str


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
            *("--cover-letter", "--cover-from-description=none", "--thread=shallow"),
            *("--stat=72", f"--base={base}", "-o", folder.absolute(), f"{below}..{ref}"),
            # The cover letter's sender is the committer.
            env={"GIT_COMMITTER_NAME": author.name, "GIT_COMMITTER_EMAIL": author.mail},
        )
        mails = sorted(folder.glob("*.patch"))
        patches = [path for path in mails if "0000-" not in path.name]
        found = {path: find_people(path) for path in patches}
        (letter,) = [path for path in mails if path not in found]
        _fill(letter, cover)
        found[letter] = People.all_of(found.values())
        for path, people in found.items():
            _address(path, people)
    return sorted(place.glob("*.patch"))


def _fill(letter: Path, cover: Cover) -> None:
    text = letter.read_text()
    for mark in (_SUBJECT, _BLURB):
        if text.count(mark) != 1:
            raise InfrastructureError(f"git wrote a cover letter without {mark}", where=letter)
    text = text.replace(_SUBJECT, cover.subject)
    letter.write_text(text.replace(_BLURB, cover.body.strip()))


def _address(path: Path, people: People) -> None:
    """Put To and Cc behind the mail's Subject; git send-email takes them from there."""
    head, blank, rest = path.read_text().partition("\n\n")
    for field, who in (("To", people.to), ("Cc", people.cc)):
        if who:
            head += f"\n{field}: " + textwrap.indent(",\n".join(who), "    ").strip()
    path.write_text(head + blank + rest)
