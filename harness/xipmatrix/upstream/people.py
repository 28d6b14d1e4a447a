# SPDX-License-Identifier: GPL-2.0-only
"""Who a patch goes to, by the kernel's own get_maintainer.pl."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core import run

_LINE = re.compile(r"^(?P<who>.+?)(?:\s+\((?P<role>[^()]*(?:\([^()]*\)[^()]*)*)\))?$")
_TO = ("maintainer", "supporter")


@dataclass(frozen=True)
class People:
    """Maintainers, and who else reads along: reviewers and lists. In the script's order."""

    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()

    @classmethod
    def all_of(cls, several: Iterable[People]) -> People:
        """Everybody, once: who is a maintainer for one is so for all."""
        listed = list(several)
        to = tuple(dict.fromkeys(one for each in listed for one in each.to))
        cc = dict.fromkeys(one for each in listed for one in each.cc)
        return cls(to, tuple(one for one in cc if one not in to))


def people_for(source: Path, patch: Path) -> People:
    """By the MAINTAINERS of `source`, a tree of the kernel. Raises InfrastructureError.

    git's history is left out: our trees have none.
    """
    said = run.run(
        ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", patch],
        cwd=source,
        check=True,
        merge_stderr=False,
    ).output
    to: list[str] = []
    cc: list[str] = []
    for line in said.splitlines():
        found = _LINE.match(line.strip())
        if found is None or "@" not in found["who"]:
            continue
        role = found["role"] or ""
        (to if role.startswith(_TO) else cc).append(found["who"])
    return People(tuple(to), tuple(cc))
