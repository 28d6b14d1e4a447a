# SPDX-License-Identifier: GPL-2.0-only
"""The schema of templates/<arch>/series.yaml; templates/README.md explains it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from ..matrix.model import Model


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in path:
        raise ValueError(
            f"'{path}' leaves the kernel tree: a relative path without '..' is allowed"
        )
    # git passes over such paths, or cannot name them in a line of its input.
    if str(pure) != path or not path.isprintable() or ".git" in path.lower().split("/"):
        raise ValueError(f"'{path}' is no path of git's: '{pure}' without '.git' is allowed")
    return path


def _specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(f"'{text}' is no version range such as '>=7.1' or '>=6.1,<7.1'") from error
    return text


TreePath = Annotated[str, AfterValidator(_inside)]
Versions = Annotated[str, AfterValidator(_specifier)]


class Condition(Model):
    """What a kernel tree must look like; every part that is given must hold."""

    kernel: Versions | None = None
    file: TreePath | None = None
    contains: str | None = Field(None, description="a line of `file`, white space at its ends cut")
    lacks: str | None = None
    exists: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> Condition:
        about_file = (self.contains, self.lacks, self.exists) != (None, None, None)
        if about_file != (self.file is not None):
            raise ValueError("'file' goes with one of 'contains', 'lacks' and 'exists'")
        if self.file is None and self.kernel is None:
            raise ValueError("an empty condition")
        return self


class _Edit(Model):
    file: TreePath
    when: Condition | None = None


class _Text(_Edit):
    text: str | None = None
    template: TreePath | None = None

    @model_validator(mode="after")
    def _one_text(self) -> _Text:
        if (self.text is None) == (self.template is None):
            raise ValueError("exactly one of 'text' and 'template' is needed")
        return self


class Anchored(Model):
    """Whole lines that must match exactly once, white space at line ends ignored."""

    anchor: str
    within: str | None = Field(
        None, description="lines matching exactly once; the anchor is sought from there on"
    )
    until: str | None = Field(
        None, description="with within: the anchor is sought up to the first match of this"
    )

    @model_validator(mode="after")
    def _scope(self) -> Anchored:
        if self.until is not None and self.within is None:
            raise ValueError("'until' goes with 'within'")
        if not self.anchor.strip():
            raise ValueError("an empty anchor")
        return self


class Block(Anchored):
    to: str | None = Field(
        None, description="the edit covers anchor up to and including the next match of this"
    )


class Create(_Text):
    """A new file; it must not exist yet."""

    do: Literal["create"]


class Append(_Text):
    """Lines at the end of a file."""

    do: Literal["append"]


class Insert(_Text, Anchored):
    """Lines before or after the anchor."""

    do: Literal["insert-before", "insert-after"]


class Replace(_Text, Block):
    """Other lines instead of the anchor (to `to`)."""

    do: Literal["replace"]


class Delete(_Edit, Block):
    """The anchor (to `to`) goes."""

    do: Literal["delete"]


class Guard(_Edit, Block):
    """The anchor (to `to`) between ``#<open>`` and ``#endif``."""

    do: Literal["guard"]
    open: str = Field(description="e.g. 'ifndef CONFIG_XIP_KERNEL'")


class DeleteLines(_Edit):
    """Every line that equals one of `lines` goes; each stands at least once."""

    do: Literal["delete-lines"]
    lines: list[str] = Field(min_length=1)


class Unifdef(_Edit):
    """The C preprocessor's conditions on a symbol that nobody defines any more are resolved."""

    do: Literal["unifdef"]
    symbol: str = Field(pattern=r"^\w+$")


class RemoveFile(_Edit):
    """The file goes."""

    do: Literal["remove"]


class Select(_Edit):
    """Kconfig: ``select X if A`` in an entry becomes ``select X if A && <condition>``."""

    do: Literal["kconfig-select"]
    entry: str
    symbols: list[str] = Field(min_length=1)
    condition: str


class Drop(_Edit):
    """Kconfig: ``select X if A && <condition>`` in an entry becomes ``select X if A``.

    Without entry and symbols, every ``select`` and ``depends on`` of the file loses the term.
    """

    do: Literal["kconfig-drop"]
    entry: str | None = None
    symbols: list[str] | None = Field(None, min_length=1)
    condition: str = Field(description="a whole term of the condition, e.g. '!XIP_KERNEL'")

    @model_validator(mode="after")
    def _whole_file(self) -> Drop:
        if (self.entry is None) != (self.symbols is None):
            raise ValueError("'entry' and 'symbols' go together")
        return self


class Remove(_Edit):
    """Kconfig: an entry goes."""

    do: Literal["kconfig-remove"]
    entry: str


class Depends(_Edit):
    """Kconfig: an entry gets ``depends on <on>``."""

    do: Literal["kconfig-depends"]
    entry: str
    on: str
    comment: str = Field("", description="why, as a comment above it")


class Entry(_Text):
    """Kconfig: a new entry after entry `after`, or before entry `before`."""

    do: Literal["kconfig-entry"]
    after: str | None = None
    before: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Entry:
        if (self.after is None) == (self.before is None):
            raise ValueError("exactly one of 'after' and 'before' is needed")
        return self


def _kind(value: object) -> str:
    found = value.get("do") if isinstance(value, dict) else getattr(value, "do", None)
    return {"insert-before": "insert", "insert-after": "insert"}.get(str(found), str(found))


Edit = Annotated[
    Annotated[Create, Tag("create")]
    | Annotated[Append, Tag("append")]
    | Annotated[Insert, Tag("insert")]
    | Annotated[Replace, Tag("replace")]
    | Annotated[Delete, Tag("delete")]
    | Annotated[Guard, Tag("guard")]
    | Annotated[DeleteLines, Tag("delete-lines")]
    | Annotated[Unifdef, Tag("unifdef")]
    | Annotated[RemoveFile, Tag("remove")]
    | Annotated[Select, Tag("kconfig-select")]
    | Annotated[Drop, Tag("kconfig-drop")]
    | Annotated[Remove, Tag("kconfig-remove")]
    | Annotated[Depends, Tag("kconfig-depends")]
    | Annotated[Entry, Tag("kconfig-entry")],
    Discriminator(_kind),
]


class PatchSpec(Model):
    """One logical change: a subject, why, and its edits."""

    subject: str = Field(max_length=75)
    why: str
    when: Condition | None = None
    edits: list[Edit] = Field(min_length=1)


class Series(Model):
    """The ordered patches that give one architecture CONFIG_XIP_KERNEL."""

    title: str = Field(max_length=75)
    applies: Versions = Field(description="kernel versions the series is for")
    cover: str = Field(min_length=1, description="the cover letter's text: what, why, design")
    date: str = Field(
        "2026-01-01T00:00:00Z",
        description="date of the patches, RFC 3339: kept, so that output is stable",
    )
    values: dict[str, str | int] = Field({}, description="values for the templates")
    trailers: list[str] = Field([], description="tags under every commit message")
    patches: list[PatchSpec] = Field(min_length=1, max_length=15)

    @model_validator(mode="after")
    def _no_sign_off(self) -> Series:
        if any("signed-off-by" in tag.lower() for tag in self.trailers):
            raise ValueError("only a person can sign off a patch: no Signed-off-by here")
        return self
