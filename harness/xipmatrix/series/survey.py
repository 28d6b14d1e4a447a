# SPDX-License-Identifier: GPL-2.0-only
"""What a new kernel means for each patch of a series, and where an anchor went that moved.

Unlike :mod:`engine`, it does not stop at the first conflict, and commits nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ..core.git import Repository
from ..kernel import KernelTree
from .edit import AnchorError, AnyEdit, apply_edit, block, matches, whole_lines
from .engine import (
    GENERIC,
    GitTree,
    SeriesConflict,
    Source,
    holds,
    is_for,
    render_edit,
)
from .model import Anchored, PatchSpec

_AROUND = 3  # lines shown before and after
# How alike a line must be to be proposed (difflib's ratio), and how much less alike all others.
_LIKE, _ALONE = 0.7, 0.15


class Fate(StrEnum):
    """What a patch is to a kernel."""

    APPLIES = "applies"
    THERE = "already there"
    MOVED = "anchor moved"
    NOT_FOR = "not for it"


@dataclass(frozen=True)
class Moved:
    """An edit that does not fit. Surroundings are "number: text" lines.

    `old` is where the anchor is in the kernel that is compared with, empty where that has
    none; `new` what looks most like it. `proposed` is an anchor with which the edit applies.
    """

    edit: int
    do: str
    file: str
    what: str
    anchor: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    proposed: str | None


@dataclass(frozen=True)
class Surveyed:
    """One patch on one kernel. `number` counts all patches of the series, from 1."""

    series: str
    number: int
    subject: str
    fate: Fate
    moved: tuple[Moved, ...] = ()


def survey(
    found: Mapping[str, Source], kernel: KernelTree, known: KernelTree | None = None
) -> list[Surveyed]:
    """Every patch of `found` on `kernel`; what moved is compared with `known`, where it fits.

    An edit that does not fit is left out, so that only what it wrote is missed by later ones.
    Raises UsageError for a template that cannot be rendered.
    """
    patches: list[Surveyed] = []
    there = _Side.of(kernel)
    then = _Side.of(known) if known is not None else None
    for name, source in found.items():
        if name == GENERIC:  # the first, on which all others stand
            patches += _walk(source, there, then)
        else:
            patches += _walk(source, there.copy(), then.copy() if then is not None else None)
    return patches


@dataclass(frozen=True)
class _Side:
    """A kernel and its files, as the patches so far have left them."""

    kernel: KernelTree
    tree: GitTree

    @classmethod
    def of(cls, kernel: KernelTree) -> _Side:
        return cls(kernel, GitTree(Repository(kernel.git_dir), kernel.commit))

    def copy(self) -> _Side:
        return _Side(self.kernel, self.tree.copy())

    def takes(self, source: Source) -> bool:
        return is_for(source, self.kernel)


def _walk(source: Source, side: _Side, known: _Side | None) -> Iterator[Surveyed]:
    taken = side.takes(source)
    compared = known if known is not None and known.takes(source) else None
    for number, patch in enumerate(source.series.patches, 1):
        if not taken:
            yield Surveyed(source.name, number, patch.subject, Fate.NOT_FOR)
            continue
        if not holds(patch.when, side.kernel.release, side.tree):
            fine = patch.when is not None and patch.when.file is not None
            yield Surveyed(source.name, number, patch.subject, Fate.THERE if fine else Fate.NOT_FOR)
        else:
            moved = tuple(_try(source, patch, number, side, compared))
            yield Surveyed(
                source.name, number, patch.subject, Fate.MOVED if moved else Fate.APPLIES, moved
            )
        if compared is not None and holds(patch.when, compared.kernel.release, compared.tree):
            for _ in _try(source, patch, number, compared, None):
                pass


def _try(
    source: Source, patch: PatchSpec, number: int, side: _Side, known: _Side | None
) -> Iterator[Moved]:
    """Make the edits that fit; the others."""
    for count, edit in enumerate(patch.edits, 1):
        if not holds(edit.when, side.kernel.release, side.tree):
            continue
        text = render_edit(source, edit, side.kernel, f"patch {number}, edit {count}")
        old = side.tree.read(edit.file)
        try:
            side.tree.write(edit.file, apply_edit(edit, old, text))
        except AnchorError as error:
            lines = whole_lines(old or "")
            proposed = _proposal(edit, lines, error)
            if proposed is not None and old is not None:
                again = edit.model_copy(update={"anchor": proposed})
                side.tree.write(edit.file, apply_edit(again, old, text))
            before = known.tree.read(edit.file) if known is not None else None
            yield Moved(
                edit=count,
                do=edit.do,
                file=edit.file,
                what=error.what,
                anchor=error.anchor.rstrip(),
                old=_around(whole_lines(before or ""), error.anchor),
                new=_around(lines, proposed) if proposed else tuple(error.near),
                proposed=proposed,
            )
    try:
        side.tree.take()
    except SeriesConflict as error:
        side.tree.changed = {}
        yield Moved(0, "", error.what.partition(":")[0], error.what, "", (), (), None)


def _around(lines: list[str], anchor: str) -> tuple[str, ...]:
    """The anchor's lines and some beside them, where it is there."""
    wanted = block(anchor)
    found = matches(wanted, lines, 0, len(lines)) if wanted else []
    if not found:
        return ()
    first = max(0, found[0] - _AROUND)
    shown = lines[first : found[0] + len(wanted) + _AROUND]
    return tuple(f"{first + nth + 1}: {line}" for nth, line in enumerate(shown))


def _proposal(edit: AnyEdit, lines: list[str], error: AnchorError) -> str | None:
    """Lines with which the edit applies, if none but these are much like its anchor."""
    if not isinstance(edit, Anchored) or error.anchor != edit.anchor:
        return None
    wanted = block(edit.anchor)
    size = len(wanted)
    text = "\n".join(line.strip() for line in wanted)
    matcher = difflib.SequenceMatcher(b=text)
    scored = []
    for at in range(len(lines) - size + 1):
        matcher.set_seq1("\n".join(line.strip() for line in lines[at : at + size]))
        if matcher.real_quick_ratio() > _LIKE - _ALONE and matcher.quick_ratio() > _LIKE - _ALONE:
            scored.append((matcher.ratio(), at))
    best, at = max(scored, default=(0.0, 0))
    others = [ratio for ratio, other in scored if abs(other - at) >= size]
    if best < _LIKE or max(others, default=0.0) > best - _ALONE:
        return None
    proposed = "\n".join(lines[at : at + size])
    try:
        apply_edit(edit.model_copy(update={"anchor": proposed}), "\n".join(lines) + "\n", "")
    except AnchorError:
        return None
    return proposed
