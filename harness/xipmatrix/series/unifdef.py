# SPDX-License-Identifier: GPL-2.0-only
"""The C preprocessor's conditions on one symbol, resolved as if nobody defined it.

What unifdef(1) does for ``-U<symbol>``, but for conditions alone: all other text stays as
it is, and a condition that cannot be resolved is an error rather than left alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_DIRECTIVE = re.compile(r"^\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*)$")


class Unresolved(Exception):
    """Where and why a condition cannot be resolved; `line` counts from 0."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


@dataclass
class _Group:
    """From an ``#if`` to its ``#endif``."""

    kept: bool  # whether what is around it stays
    shown: bool = False  # an #if stands before the branches that stay
    decided: bool = False  # a branch always holds, so none after it does
    branch: bool = True  # the branch at hand stays


def undefine(symbol: str, lines: list[str]) -> list[str]:
    """`lines` without the conditions on `symbol` and the branches that are for it.

    Raises Unresolved, also where no condition is on `symbol`.
    """
    out: list[str] = []
    groups: list[_Group] = []
    found = cut = False
    for at, line in enumerate(lines):
        kept = all(group.branch for group in groups)
        stays: str | None = line if kept else None
        if match := _DIRECTIVE.match(line):
            word, rest = match.groups()
            if word in ("if", "ifdef", "ifndef"):
                groups.append(_Group(kept))
            elif not groups:
                raise Unresolved(f"#{word} without #if", at)
            group = groups[-1]
            if group.kept:
                truth = _truth(symbol, word, rest, at)
                found |= truth is not None and word not in ("else", "endif")
                stays = _directive(group, word, line, truth)
            if word == "endif":
                groups.pop()
        if stays is None or (cut and not stays and (not out or not out[-1])):
            cut = True  # no two blank lines where something was between them
        else:
            out.append(stays)
            cut = False
    if groups:
        raise Unresolved("#if without #endif", len(lines) - 1)
    if not found:
        raise Unresolved(f"no condition on {symbol}", 0)
    return out


def _directive(group: _Group, word: str, line: str, truth: bool | str | None) -> str | None:
    """What stays of a line that begins, divides or ends `group`."""
    if word == "endif":
        return line if group.shown else None
    shown, decided = group.shown, group.decided
    group.branch = group.kept and not decided and truth is not False
    if not group.branch:
        return None
    group.decided = truth is True
    if truth is True:
        if not shown:
            return None
        return line if word == "else" else "#else"
    group.shown = True
    if word == "elif" and not shown:
        word = "if"
        return f"#if{line.partition('elif')[2]}" if truth is None else f"#if {truth}"
    return line if truth is None else f"#{word} {truth}"


def _truth(symbol: str, word: str, rest: str, at: int) -> bool | str | None:
    """Whether a condition holds, what is left of it, or None where it is not on `symbol`."""
    if word == "else":
        return True
    condition = re.sub(r"/\*.*?\*/|//.*", "", rest).strip()
    if word == "endif" or not re.search(rf"\b{symbol}\b", condition):
        return None
    if word in ("ifdef", "ifndef"):
        return word == "ifndef"
    operators = set(re.findall(r"&&|\|\|", condition))
    terms = re.split(r"\s*(?:&&|\|\|)\s*", condition)
    is_defined = re.compile(rf"(!\s*)?(?:defined\s*\(\s*{symbol}\s*\)|defined\s+{symbol})")
    known = {term: bool(m[1]) for term in terms if (m := is_defined.fullmatch(term))}
    left = [term for term in terms if term not in known]
    if len(operators) > 1 or any(re.search(rf"\b{symbol}\b|\\$", term) for term in left):
        raise Unresolved(f"a condition on {symbol} that is not of && or || alone", at)
    deciding = operators == {"||"}
    if deciding in known.values():
        return deciding
    return f" {''.join(operators)} ".join(left) if left else not deciding
