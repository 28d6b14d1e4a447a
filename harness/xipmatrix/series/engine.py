# SPDX-License-Identifier: GPL-2.0-only
"""From templates to commits: a series is rendered and applied on git objects.

No checkout is needed: blobs are read from the kernel's repository, edited as
text, and written back as blobs, trees and commits. The same inputs give the
same commit ids.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ..core import yamlfile
from ..core.errors import XipmatrixError
from ..core.git import Change, Repository
from ..core.template import Templates
from ..kernel import KernelTree
from .edit import AnchorError, apply_edit
from .model import Condition, Edit, PatchSpec, Series

GENERIC = "generic"
SERIES_FILE = "series.yaml"
# Modes of git's tree entries.
_FILE, _PROGRAM, _LINK, _FOLDER = "100644", "100755", "120000", "040000"


class State(StrEnum):
    """What a series is to a kernel."""

    APPLIES = "applies"
    NATIVE = "already there"
    CONFLICT = "needs work"
    NONE = "no series"


class SeriesConflict(XipmatrixError):
    """An edit's anchor does not fit this kernel: names patch, file, anchor and nearest lines."""


@dataclass(frozen=True)
class Source:
    """A folder templates/<name> with a series.yaml."""

    name: str
    folder: Path

    @functools.cached_property
    def series(self) -> Series:
        """What series.yaml says, read once. Raises UsageError for a malformed one."""
        return yamlfile.load(self.folder / SERIES_FILE, Series)


@dataclass(frozen=True)
class Applied:
    """One series on one kernel. `commits` are oldest first; `tip` is the last, or the base."""

    name: str
    state: State
    base: str
    tip: str
    commits: tuple[str, ...] = ()
    detail: str = ""


@dataclass
class GitTree:
    """A commit's files, read and rewritten without a work tree.

    `changed` is what the patch at hand writes; what those before it wrote is read as well.
    """

    repository: Repository
    commit: str
    changed: dict[str, str | None] = field(default_factory=dict)  # None: removed

    def __post_init__(self) -> None:
        # Mode and text of what is written already
        self._before: dict[str, tuple[str, str | None]] = {}

    def copy(self) -> GitTree:
        """Another tree, with all that was written to this one so far."""
        other = GitTree(self.repository, self.commit, dict(self.changed))
        other._before = dict(self._before)
        return other

    def read(self, path: str) -> str | None:
        """A file's text, or None where it does not exist."""
        if path in self.changed:
            return self.changed[path]
        if path in self._before:
            return self._before[path][1]
        return self.repository.text(f"{self.commit}:{path}")

    def write(self, path: str, text: str | None) -> None:
        """Remember new content for `path`, None to remove it; `take` gives it to the patch."""
        self.changed[path] = text

    def take(self) -> dict[str, tuple[str, str | None]]:
        """Mode and text of all that was written since it was last taken, by path.

        Raises SeriesConflict where a path is no regular file of this tree.
        """
        modes = self._modes()
        taken = {path: (modes.get(path, _FILE), text) for path, text in self.changed.items()}
        self._before |= taken
        self.changed = {}
        return taken

    def _modes(self) -> dict[str, str]:
        """The modes that the changed paths and their folders have, where they exist.

        git would put a new file's folders in the place of whatever bears their name, and
        what stands at the far end of a symbolic link need not be in the tree.
        """
        above = {
            path: [str(one) for one in PurePosixPath(path).parents][:-1] for path in self.changed
        }
        wanted = {one for path, folders in above.items() for one in (path, *folders)}
        listed = self.repository.raw("ls-tree", "-z", self.commit, "--", *sorted(wanted)).decode()
        modes = {path: mode for path, (mode, _) in self._before.items()}
        for line in listed.split("\0")[:-1]:
            facts, path = line.split("\t", 1)
            modes[path] = facts.split()[0]
        for path, folders in above.items():
            for one in folders:
                if modes.get(one, _FOLDER) != _FOLDER:
                    raise SeriesConflict(f"{path}: {one} is {_kind_of(modes[one])}, not a folder")
            if modes.get(path, _FILE) not in (_FILE, _PROGRAM):
                raise SeriesConflict(f"{path} is {_kind_of(modes[path])}, not a regular file")
        return modes


def _kind_of(mode: str) -> str:
    kinds = {_FILE: "a file", _PROGRAM: "a file", _LINK: "a symbolic link", _FOLDER: "a folder"}
    return kinds.get(mode, "a submodule")


def patch_hash(repository: Repository, base: str, tip: str) -> str:
    """A short hash of all that changes from `base` to `tip`; ``none`` where nothing does."""
    if base == tip:
        return "none"
    return hashlib.sha256(repository.raw("diff-tree", "-p", base, tip)).hexdigest()[:12]


def find_sources(templates: Path) -> dict[str, Source]:
    """Every templates/<name> with a series.yaml; 'generic' first, since others build on it."""
    found = sorted(templates.glob(f"*/{SERIES_FILE}"), key=lambda p: (p.parent.name != GENERIC, p))
    return {path.parent.name: Source(path.parent.name, path.parent) for path in found}


def sources(templates: Path) -> dict[str, Source]:
    """What find_sources() finds, read. Raises UsageError for a malformed one."""
    found = find_sources(templates)
    read(found)
    return found


def read(found: Mapping[str, Source]) -> None:
    """Read every series.yaml now. Raises UsageError for a malformed one."""
    for one in found.values():
        _ = one.series


def comparable(release: str) -> Version:
    """A kernel release for range checks: ``7.1.0-rc2+`` counts as 7.1, which it becomes."""
    numbers = release.split("-")[0].split("+")[0]
    return Version(numbers)


def holds(condition: Condition | None, release: str, tree: GitTree) -> bool:
    """Whether the kernel tree is as `condition` says; no condition always holds."""
    if condition is None:
        return True
    if condition.kernel is not None:
        wanted = SpecifierSet(condition.kernel)
        if not wanted.contains(comparable(release), prereleases=True):
            return False
    if condition.file is None:
        return True
    text = tree.read(condition.file)
    if condition.exists is not None and condition.exists != (text is not None):
        return False
    lines = {line.strip() for line in (text or "").splitlines()}
    if condition.contains is not None and condition.contains.strip() not in lines:
        return False
    return condition.lacks is None or condition.lacks.strip() not in lines


def is_for(source: Source, kernel: KernelTree) -> bool:
    """Whether a series is for a kernel at all, whatever its anchors."""
    wanted = SpecifierSet(source.series.applies)
    return wanted.contains(comparable(kernel.release), prereleases=True)


def apply_series(source: Source, kernel: KernelTree, base: str) -> Applied:
    """Apply `source` on commit `base` of `kernel`: all of it or nothing.

    A conflict is a result, not an exception: the state says which anchor needs work.
    Raises UsageError for a template that cannot be rendered.
    """
    series = source.series
    tree = GitTree(Repository(kernel.git_dir), base)
    nothing = functools.partial(Applied, source.name, base=base, tip=base)
    if not is_for(source, kernel):
        return nothing(State.NONE, detail=f"no series for {kernel.release}")
    changes = []
    try:
        for number, patch in enumerate(series.patches, 1):
            if not holds(patch.when, kernel.release, tree):
                continue
            _apply_patch(source, patch, number, kernel, tree)
            if tree.changed:
                changes.append(_change(source, patch, number, kernel, tree))
    except SeriesConflict as error:
        return nothing(State.CONFLICT, detail=str(error))
    if not changes:
        return nothing(State.NATIVE, detail=f"{kernel.release} has all of this series already")
    commits = tree.repository.commit_changes(base, changes)
    return Applied(source.name, State.APPLIES, base, commits[-1], commits)


def _change(
    source: Source, patch: PatchSpec, number: int, kernel: KernelTree, tree: GitTree
) -> Change:
    try:
        message = _message(source, patch, number, kernel)
        return Change(message, source.series.date, tree.take())
    except SeriesConflict as error:
        raise SeriesConflict(
            f"patch {number} '{patch.subject}': {error.what}\n"
            f"    kernel: {kernel.name} ({kernel.release})",
            where=source.folder / "series.yaml",
        ) from error


def _message(source: Source, patch: PatchSpec, number: int, kernel: KernelTree) -> str:
    where = f"{source.folder / 'series.yaml'}: patch {number}"
    tags = "".join(f"{tag}\n" for tag in source.series.trailers)
    why = _render_words(source, patch.why, kernel.release, where)
    return f"{patch.subject}\n\n{why}\n" + (f"\n{tags}" if tags else "")


def _apply_patch(
    source: Source, patch: PatchSpec, number: int, kernel: KernelTree, tree: GitTree
) -> None:
    for count, edit in enumerate(patch.edits, 1):
        if not holds(edit.when, kernel.release, tree):
            continue
        where = f"{source.folder / 'series.yaml'}: patch {number}, edit {count}"
        old = tree.read(edit.file)
        try:
            new = apply_edit(edit, old, render_edit(source, edit, kernel, where))
        except AnchorError as error:
            anchor = "\n".join(f"      | {line}" for line in error.anchor.rstrip().splitlines())
            near = "\n".join(f"      {line}" for line in error.near) or "      (nothing similar)"
            raise SeriesConflict(
                f"patch {number} '{patch.subject}', edit {count} ({edit.do}): {edit.file}: "
                f"{error.what}\n    kernel: {kernel.name} ({kernel.release})\n"
                f"    anchor:\n{anchor}\n    nearest lines:\n{near}",
                where=source.folder / "series.yaml",
            ) from error
        if new == old:
            raise SeriesConflict(
                f"patch {number} '{patch.subject}', edit {count} ({edit.do}): "
                f"{edit.file}: the edit changes nothing",
                where=source.folder / "series.yaml",
            )
        tree.write(edit.file, new)


def render_edit(source: Source, edit: Edit, kernel: KernelTree, where: str) -> str:
    """The text that an edit puts in. Raises UsageError, which names `where` it stands."""
    templates, values = _templates(source, kernel.release)
    template = getattr(edit, "template", None)
    if template is not None:
        return templates.render_file(template, values)
    text = getattr(edit, "text", None)
    return "" if text is None else templates.render_text(text, values, where)


def _render_words(source: Source, text: str, release: str, where: str) -> str:
    """A commit message's or a cover letter's text. Raises UsageError, which names `where`."""
    templates, values = _templates(source, release)
    return templates.render_text(text, values, where).strip()


def render_cover(source: Source, release: str) -> str:
    """What the cover letter says of the series. Raises UsageError."""
    return _render_words(
        source, source.series.cover, release, f"{source.folder / 'series.yaml'}: cover"
    )


def _templates(source: Source, release: str) -> tuple[Templates, dict[str, object]]:
    values: dict[str, object] = {"kernel": release, "version": comparable(release).release[:2]}
    values |= source.series.values
    return Templates([source.folder, source.folder.parent / GENERIC]), values


def apply_all(found: dict[str, Source], kernel: KernelTree) -> dict[str, Applied]:
    """Each series on one kernel: 'generic' on the kernel, every other one on generic.

    So what is built for an architecture is exactly what its patches give when they are
    mailed, and a change of one architecture's templates leaves the others' trees alone.
    """
    states: dict[str, Applied] = {}
    for name, source in found.items():
        below = states.get(GENERIC)
        base = below.tip if below else kernel.commit
        if below and below.state is State.CONFLICT:
            detail = f"series {name} stands on series {GENERIC}, which does not apply"
            states[name] = Applied(name, State.CONFLICT, base, base, detail=detail)
        else:
            states[name] = apply_series(source, kernel, base)
    return states


@contextmanager
def shown_ref(repository: Repository, name: str, commit: str) -> Iterator[str]:
    """A branch that points at `commit` for the time of the block (format-patch wants one)."""
    repository.git("update-ref", f"refs/heads/{name}", commit)
    try:
        yield name
    finally:
        repository.git("update-ref", "-d", f"refs/heads/{name}")
