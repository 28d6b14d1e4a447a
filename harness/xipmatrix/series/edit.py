# SPDX-License-Identifier: GPL-2.0-only
"""Edits of one file's text. No git, no Jinja, no disk: text in, text out.

An anchor is a block of whole lines that must match exactly once. Nothing is
applied with fuzz: what matches zero or two times raises AnchorError with the
nearest lines, so that a person can see where the code went.
"""

from __future__ import annotations

import difflib
import re

from .model import (
    Anchored,
    Append,
    Block,
    Create,
    Delete,
    DeleteLines,
    Depends,
    Drop,
    Entry,
    Guard,
    Insert,
    Remove,
    RemoveFile,
    Replace,
    Select,
    Unifdef,
)
from .unifdef import Unresolved, undefine

AnyEdit = (
    Create
    | Append
    | Insert
    | Replace
    | Delete
    | Guard
    | DeleteLines
    | Unifdef
    | RemoveFile
    | Select
    | Drop
    | Remove
    | Depends
    | Entry
)


class AnchorError(Exception):
    """An anchor does not match exactly once; `near` holds "line: text" of what is closest."""

    def __init__(self, what: str, anchor: str, near: list[str]) -> None:
        super().__init__(what)
        self.what = what
        self.anchor = anchor
        self.near = near


def apply_edit(edit: AnyEdit, old: str | None, text: str) -> str | None:
    """The new content of a file, None where it goes.

    `old` is None where it does not exist, `text` is rendered.

    Raises AnchorError.
    """
    if isinstance(edit, Create):
        if old is not None:
            raise AnchorError("the file to be created exists already", edit.file, [])
        return _ended(text)
    if old is None:
        raise AnchorError("the file does not exist", edit.file, [])
    lines = whole_lines(old)
    new = whole_lines(_ended(text))
    match edit:
        case RemoveFile():
            return None
        case Append():
            lines += new
        case Insert():
            first, last = _find(edit, lines)
            at = first if edit.do == "insert-before" else last
            lines[at:at] = new
        case Replace():
            first, last = _span(edit, lines)
            lines[first:last] = new
        case Delete():
            first, last = _span(edit, lines)
            del lines[first:last]
        case Guard():
            first, last = _span(edit, lines)
            lines[first:last] = [f"#{edit.open}", *lines[first:last], "#endif"]
        case DeleteLines():
            for one in edit.lines:
                if one not in lines:
                    raise AnchorError("no such line", one, nearest([one], lines))
            lines = [line for line in lines if line not in edit.lines]
        case Unifdef():
            try:
                lines = undefine(edit.symbol, lines)
            except Unresolved as error:
                near = [f"{error.line + 1}: {lines[error.line]}"] if error.line else []
                raise AnchorError(error.what, edit.symbol, near) from error
        case Select():
            _select(edit, lines)
        case Drop():
            _drop(edit, lines)
        case Remove():
            first, last = entry_span(lines, edit.entry)
            del lines[first : last + (lines[last : last + 1] == [""])]
        case Depends():
            _depends(edit, lines)
        case Entry():
            at = entry_span(lines, edit.after)[1] if edit.after else 0
            if edit.before:
                at = entry_span(lines, edit.before)[0]
            # Kconfig separates entries by one blank line.
            lines[at:at] = [*new, ""] if edit.before else ["", *new]
    return "\n".join(lines) + "\n"


def whole_lines(text: str) -> list[str]:
    """The lines of a file, without what ends them."""
    # Not splitlines(): kernel files hold form feeds, which end no line for git and cc.
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def block(text: str) -> list[str]:
    """The lines of an anchor, without white space at their ends or blank lines around them."""
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def matches(wanted: list[str], lines: list[str], first: int, last: int) -> list[int]:
    """Where among lines `first` to `last` an anchor's lines begin."""
    size = len(wanted)
    return [
        at
        for at in range(first, last - size + 1)
        if lines[at].rstrip() == wanted[0]
        and [line.rstrip() for line in lines[at : at + size]] == wanted
    ]


def _once(text: str, lines: list[str], first: int, last: int, role: str) -> tuple[int, int]:
    wanted = block(text)
    found = matches(wanted, lines, first, last)
    if len(found) == 1:
        return found[0], found[0] + len(wanted)
    if found:
        near = [f"{at + 1}: {lines[at]}" for at in found[:6]]
        raise AnchorError(f"{role} matches {len(found)} times, not once", text, near)
    raise AnchorError(f"{role} matches nowhere", text, nearest(wanted, lines, first, last))


def nearest(
    wanted: list[str], lines: list[str], first: int = 0, last: int | None = None
) -> list[str]:
    """The lines that look most like the anchor's most telling line, as "number: text"."""
    telling = max(wanted, key=lambda line: len(line.strip()))
    scored = sorted(
        (
            (difflib.SequenceMatcher(None, telling.strip(), line.strip()).ratio(), at)
            for at, line in enumerate(lines[first:last], first)
            if line.strip()
        ),
        key=lambda item: (-item[0], item[1]),
    )
    return [f"{at + 1}: {lines[at]}" for ratio, at in scored[:3] if ratio > 0.5]


def _find(edit: Anchored, lines: list[str]) -> tuple[int, int]:
    first, last = 0, len(lines)
    if edit.within is not None:
        _, first = _once(edit.within, lines, 0, last, "'within'")
        if edit.until is not None:
            last = _next(edit.until, lines, first, "'until'")[0]
    return _once(edit.anchor, lines, first, last, "anchor")


def _span(edit: Block, lines: list[str]) -> tuple[int, int]:
    first, last = _find(edit, lines)
    if edit.to is not None:
        last = _next(edit.to, lines, last, "'to'")[1]
    return first, last


def _next(text: str, lines: list[str], first: int, role: str) -> tuple[int, int]:
    wanted = block(text)
    found = matches(wanted, lines, first, len(lines))
    if not found:
        raise AnchorError(f"{role} matches nowhere after the anchor", text, nearest(wanted, lines))
    return found[0], found[0] + len(wanted)


_HEAD = re.compile(r"^(?:menu)?config\s+(\w+)\s*$")
_STARTS = re.compile(
    r"^(?:(?:menu)?config|(?:end)?choice|(?:end)?menu|(?:end)?if|source|comment)\b"
)


def entry_span(lines: list[str], symbol: str) -> tuple[int, int]:
    """First line and end (exclusive, without trailing blank lines) of a Kconfig entry.

    Kconfig language: Documentation/kbuild/kconfig-language.rst. Raises AnchorError
    where the entry is defined zero or several times in the file.
    """
    found = [at for at, line in enumerate(lines) if (m := _HEAD.match(line)) and m[1] == symbol]
    if len(found) != 1:
        known = [m[1] for line in lines if (m := _HEAD.match(line))]
        near = difflib.get_close_matches(symbol, known, 3)
        count = f"{len(found)} times, not once" if found else "nowhere"
        raise AnchorError(f"Kconfig entry {symbol} is defined {count}", f"config {symbol}", near)
    first = found[0]
    last = first + 1
    while last < len(lines) and not _STARTS.match(lines[last]):
        last += 1
    # A comment above the next entry belongs to that entry.
    while lines[last - 1].startswith("#") or not lines[last - 1].strip():
        last -= 1
    return first, last


def conjunction(old: str, new: str) -> str:
    """`old` && `new` as Kconfig expression, with parentheses only where needed."""
    return " && ".join(f"({part})" if _has_open_or(part) else part for part in (old, new))


def _has_open_or(text: str) -> bool:
    """Whether `||` stands outside all parentheses."""
    depth = 0
    for at, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth == 0 and text.startswith("||", at):
            return True
    return False


def _selected(entry: str, symbol: str, lines: list[str]) -> tuple[int, str, str | None]:
    """(Line number, ``select <symbol>`` with its indentation, condition if any)."""
    first, last = entry_span(lines, entry)
    pattern = re.compile(rf"^(\s+select\s+{re.escape(symbol)})(?:\s+if\s+(.*?))?\s*$")
    hits = [(at, m) for at in range(first, last) if (m := pattern.match(lines[at]))]
    if len(hits) != 1:
        raise AnchorError(
            f"'select {symbol}' stands {len(hits)} times, not once, in entry {entry}",
            f"select {symbol}",
            nearest([f"select {symbol}"], lines, first, last),
        )
    at, match = hits[0]
    return at, match[1], match[2]


def _select(edit: Select, lines: list[str]) -> None:
    for symbol in edit.symbols:
        at, select, old = _selected(edit.entry, symbol, lines)
        condition = conjunction(old, edit.condition) if old else edit.condition
        lines[at] = f"{select} if {condition}"


_CONDITION = re.compile(r"^(\s+select\s+\w+)(\s+if)\s+(.*?)\s*$|^()(\s+depends on)\s+(.*?)\s*$")


def _drop(edit: Drop, lines: list[str]) -> None:
    if edit.entry is not None:
        for symbol in edit.symbols or ():
            at, select, old = _selected(edit.entry, symbol, lines)
            left = _without(edit.condition, old or "", select, at, lines)
            lines[at] = f"{select} if {left}" if left else select
        return
    mentioned = re.compile(rf"(?<!\w){re.escape(edit.condition)}\b")
    hits = [(at, m) for at, line in enumerate(lines) if (m := _CONDITION.match(line))]
    hits = [(at, m) for at, m in hits if mentioned.search(m[3] or m[6] or "")]
    if not hits:
        raise AnchorError(f"nothing depends on {edit.condition}", edit.condition, [])
    for at, match in reversed(hits):
        head, word, old = (part for part in match.groups() if part is not None)
        left = _without(edit.condition, old, head or word, at, lines)
        lines[at] = f"{head}{word} {left}" if left else head
        if not lines[at]:
            del lines[at]


def _without(term: str, condition: str, what: str, at: int, lines: list[str]) -> str:
    """What is left of a condition without one of its terms."""
    terms = condition.split(" && ")
    if terms.count(term) != 1 or _has_open_or(condition):
        raise AnchorError(
            f"{term} is not one term of what '{what.strip()}' depends on",
            f"{what.strip()} if … && {term}",
            [f"{at + 1}: {lines[at]}"],
        )
    terms.remove(term)
    return " && ".join(terms)


def _depends(edit: Depends, lines: list[str]) -> None:
    first, last = entry_span(lines, edit.entry)
    wanted = f"\tdepends on {edit.on}"
    if wanted in lines[first:last]:
        raise AnchorError(f"entry {edit.entry} depends on {edit.on} already", wanted.strip(), [])
    is_depends = re.compile(r"^\s+depends on\b")
    typed = re.compile(r"^\t(?:(?:def_)?(?:bool|tristate|string|hex|int)\b|prompt\b)")
    last_depends = [at for at in range(first, last) if is_depends.match(lines[at])]
    heads = [at for at in range(first, last) if typed.match(lines[at])]
    if last_depends:
        at = last_depends[-1]
        while lines[at].endswith("\\"):
            at += 1
    else:
        at = heads[-1] if heads else first
    comment = [f"\t# {line}" for line in edit.comment.splitlines()]
    lines[at + 1 : at + 1] = [*comment, wanted]
