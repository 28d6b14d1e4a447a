# SPDX-License-Identifier: GPL-2.0-only
"""What a new kernel means for each patch: applies, already there, or where an anchor went."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from test_series_engine import FILES, make_kernel
from xipmatrix.kernel import KernelTree
from xipmatrix.series.engine import Source, sources
from xipmatrix.series.survey import Fate, Surveyed, survey

HEAD = "start:\n\tbl\tparse_arguments\n\tbl\tsecond_thing\n\tbl\tthird_thing\n\tbx\tlr\n"
TEXT = {**FILES, "arch/toy/head.S": HEAD}


def patch(subject: str, anchor: str, text: str, **more: Any) -> dict[str, Any]:
    edit = {"do": "insert-after", "file": "arch/toy/head.S", "anchor": anchor, "text": text}
    return {"subject": subject, "why": "It must.", "edits": [edit], **more}


PATCHES = [
    patch("toy: One", "\tbl\tparse_arguments", "\tbl\tcopy_data"),
    patch("toy: Two", "\tbl\tcopy_data", "\tbl\tclear_bss"),
    patch("toy: Three", "\tbx\tlr", "\tnop"),
]


def templates(folder: Path, **series: list[dict[str, Any]]) -> dict[str, Source]:
    for name, patches in series.items():
        (folder / name).mkdir(parents=True)
        content = {"title": "t", "applies": ">=7.1", "date": "2026-01-01T00:00:00Z"}
        content |= {"cover": "c", "trailers": ["Assisted-by: x"], "patches": patches}
        YAML(typ="safe").dump(content, folder / name / "series.yaml")
    return sources(folder)


def look(
    folder: Path, files: dict[str, str | None], patches: list[dict[str, Any]] = PATCHES
) -> list[Surveyed]:
    """The patches on a kernel with other files, compared with the one they are for."""
    old = make_kernel(folder / "old.git", TEXT)
    changed = {path: text for path, text in {**TEXT, **files}.items() if text is not None}
    new = make_kernel(folder / "new.git", changed)
    return survey(templates(folder / "templates", toy=patches), new, old)


def test_what_fits_applies_wherever_it_is(tmp_path: Path) -> None:
    moved = "start:\n\tbx\tlr\nother:\n\tbl\tsecond_thing\n\tbl\tparse_arguments\n"
    found = look(tmp_path, {"arch/toy/head.S": moved})
    assert [one.fate for one in found] == [Fate.APPLIES] * 3


def test_an_anchor_that_was_renamed_is_proposed(tmp_path: Path) -> None:
    found = look(
        tmp_path, {"arch/toy/head.S": HEAD.replace("parse_arguments", "parse_early_arguments")}
    )
    assert [one.fate for one in found] == [Fate.MOVED, Fate.APPLIES, Fate.APPLIES]
    (moved,) = found[0].moved
    assert (moved.edit, moved.do, moved.file) == (1, "insert-after", "arch/toy/head.S")
    assert moved.what == "anchor matches nowhere"
    assert moved.anchor == "\tbl\tparse_arguments"
    assert moved.proposed == "\tbl\tparse_early_arguments"
    # Both in their surroundings, with line numbers.
    assert "2: \tbl\tparse_arguments" in moved.old and "1: start:" in moved.old
    assert "2: \tbl\tparse_early_arguments" in moved.new and "3: \tbl\tsecond_thing" in moved.new


@pytest.mark.parametrize(
    ("text", "what"),
    [
        # Gone, gone with nothing like it, twice, and two that look like it.
        (HEAD.replace("\tbl\tparse_arguments\n", ""), "anchor matches nowhere"),
        ("start:\n\tbx\tlr\n", "anchor matches nowhere"),
        (HEAD + "\tbl\tparse_arguments\n", "anchor matches 2 times, not once"),
        (
            HEAD.replace("\tbl\tparse_arguments", "\tbl\tparse_argument1\n\tbl\tparse_argument2"),
            "anchor matches nowhere",
        ),
    ],
)
def test_nothing_is_proposed_where_it_is_not_plain(text: str, what: str, tmp_path: Path) -> None:
    found = look(tmp_path, {"arch/toy/head.S": text})
    (moved,) = found[0].moved
    assert (moved.what, moved.proposed) == (what, None)
    assert "2: \tbl\tparse_arguments" in moved.old
    # What stands on it is told too, what does not applies.
    assert [one.fate for one in found] == [Fate.MOVED, Fate.MOVED, Fate.APPLIES]


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    found = look(tmp_path, {"arch/toy/head.S": None, "arch/toy/start.S": HEAD})
    assert [one.fate for one in found] == [Fate.MOVED] * 3
    assert {one.moved[0].what for one in found} == {"the file does not exist"}


def test_what_is_there_and_what_is_not_for_it(tmp_path: Path) -> None:
    has = {"file": "arch/toy/head.S", "contains": "bl\tfourth_thing"}
    patches = [
        patch("toy: One", "\tbl\tfourth_thing", "\tnop", when=has),
        patch("toy: Two", "\tbl\tparse_arguments", "\tnop", when={"kernel": ">=9.9"}),
        PATCHES[2],
    ]
    found = look(tmp_path, {}, patches)
    assert [one.fate for one in found] == [Fate.THERE, Fate.NOT_FOR, Fate.APPLIES]


def test_a_series_that_is_for_a_kernel_or_not(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path / "old.git", TEXT)
    found = templates(tmp_path / "templates", toy=PATCHES)

    def fates(tree: KernelTree) -> set[Fate]:
        return {one.fate for one in survey(found, tree)}

    assert fates(dataclasses.replace(kernel, release="6.12.1")) == {Fate.NOT_FOR}
    assert fates(kernel) == {Fate.APPLIES}


def test_an_architecture_stands_on_generic(tmp_path: Path) -> None:
    kernel = make_kernel(tmp_path / "kernel.git", TEXT)
    found = templates(tmp_path / "templates", generic=PATCHES[:1], toy=PATCHES[1:])
    assert [(one.series, one.fate) for one in survey(found, kernel, kernel)] == [
        ("generic", Fate.APPLIES),
        ("toy", Fate.APPLIES),
        ("toy", Fate.APPLIES),
    ]
