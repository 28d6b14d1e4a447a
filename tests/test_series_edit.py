# SPDX-License-Identifier: GPL-2.0-only
"""Edits: what they do, and that nothing is ever applied by guess."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from xipmatrix.series.edit import AnchorError, apply_edit, conjunction
from xipmatrix.series.model import Edit, Series

KCONFIG = """\
config RISCV
	def_bool y
	select HAVE_ARCH_JUMP_LABEL
	select HAVE_KPROBES if !A || B
	select OTHER

config MMU
	bool "MMU"
	default y
	help
	  Say y.

# about EFI
config EFI
	bool "EFI"
	depends on OF

menu "end"
"""


def apply(old: str | None, new: str | None = None, /, **data: Any) -> str:
    """What the edit that `data` describes makes of `old`; `new` is its text."""
    if new is not None:
        data["text"] = new
    edit = TypeAdapter(Edit).validate_python({"file": "f", **data})
    made = apply_edit(edit, old, new or "")
    assert made is not None
    return made


def test_insert_replace_delete_guard_append() -> None:
    old = "int a;\nint b;\nint c;\n"
    after = apply(old, "int x;", do="insert-after", anchor="int b;")
    assert after == "int a;\nint b;\nint x;\nint c;\n"
    assert apply(old, "int x;", do="insert-before", anchor="int b;").splitlines()[1] == ("int x;")
    assert apply(old, "z\n", do="replace", anchor="int a;", to="int b;") == "z\nint c;\n"
    assert apply(old, do="delete", anchor="int a;\nint b;") == "int c;\n"
    guarded = apply(old, do="guard", anchor="int b;", open="ifndef CONFIG_XIP_KERNEL")
    assert guarded == "int a;\n#ifndef CONFIG_XIP_KERNEL\nint b;\n#endif\nint c;\n"
    assert apply(old, "e", do="append").endswith("int c;\ne\n")


def test_an_anchor_that_matches_twice_is_an_error_that_names_both_lines() -> None:
    with pytest.raises(AnchorError, match="matches 2 times") as caught:
        apply("b\nx\nb\n", "y", do="insert-after", anchor="b")
    assert caught.value.near == ["1: b", "3: b"]


def test_an_anchor_that_matches_nowhere_shows_the_nearest_lines() -> None:
    with pytest.raises(AnchorError, match="matches nowhere") as caught:
        apply("void setup_vm(void)\nother\n", do="delete", anchor="void setup_vm(int x)")
    assert caught.value.near == ["1: void setup_vm(void)"]


def test_leading_white_space_counts_and_trailing_does_not() -> None:
    with pytest.raises(AnchorError):
        apply("\tfoo\n", do="delete", anchor="foo")
    assert apply("\tfoo  \nbar\n", do="delete", anchor="\tfoo") == "bar\n"


def test_within_and_until_choose_among_equal_lines() -> None:
    old = "f()\n  return;\ng()\n  return;\nend\n"
    assert (
        apply(old, "X", do="replace", anchor="  return;", within="g()")
        == "f()\n  return;\ng()\nX\nend\n"
    )
    assert (
        apply(old, "X", do="replace", anchor="  return;", within="f()", until="g()")
        == "f()\nX\ng()\n  return;\nend\n"
    )


def test_create_refuses_an_existing_file_and_others_a_missing_one() -> None:
    assert apply(None, "new", do="create") == "new\n"
    with pytest.raises(AnchorError, match="exists already"):
        apply("old\n", "new", do="create")
    with pytest.raises(AnchorError, match="does not exist"):
        apply(None, "new", do="append")


def test_kconfig_select_gets_a_condition() -> None:
    new = apply(
        KCONFIG,
        do="kconfig-select",
        entry="RISCV",
        symbols=["HAVE_ARCH_JUMP_LABEL", "HAVE_KPROBES"],
        condition="!XIP_KERNEL",
    )
    assert "\tselect HAVE_ARCH_JUMP_LABEL if !XIP_KERNEL\n" in new
    assert "\tselect HAVE_KPROBES if (!A || B) && !XIP_KERNEL\n" in new
    with pytest.raises(AnchorError, match="stands 0 times"):
        apply(KCONFIG, do="kconfig-select", entry="MMU", symbols=["OTHER"], condition="A")


def test_kconfig_depends_and_entry() -> None:
    new = apply(KCONFIG, do="kconfig-depends", entry="EFI", on="!XIP_KERNEL")
    assert "\tdepends on OF\n\tdepends on !XIP_KERNEL\n" in new
    new = apply(KCONFIG, do="kconfig-depends", entry="EFI", on="A", comment="Why\nit is so")
    assert "\tdepends on OF\n\t# Why\n\t# it is so\n\tdepends on A\n" in new
    new = apply(KCONFIG, do="kconfig-depends", entry="MMU", on="A")
    assert '\tbool "MMU"\n\tdepends on A\n\tdefault y\n' in new
    new = apply(KCONFIG, "config XIP_KERNEL\n\tbool", do="kconfig-entry", after="MMU")
    assert "\t  Say y.\n\nconfig XIP_KERNEL\n\tbool\n\n# about EFI\nconfig EFI\n" in new
    with pytest.raises(AnchorError, match="nowhere") as caught:
        apply(KCONFIG, do="kconfig-depends", entry="EFl", on="A")
    assert caught.value.near == ["EFI"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X if !P", "X"),
        ("X if !P && A", "X if A"),
        ("X if A && !P && (B || C)", "X if A && (B || C)"),
    ],
)
def test_kconfig_drop_takes_one_term_of_a_condition(old: str, new: str) -> None:
    entry = "config A\n\tbool\n\tselect {}\n"
    edit = {"do": "kconfig-drop", "entry": "A", "symbols": ["X"], "condition": "!P"}
    assert apply(entry.format(old), **edit) == entry.format(new)


@pytest.mark.parametrize("old", ["X", "X if A", "X if !P || A", "X if (!P && A) || B", "X if !PQ"])
def test_kconfig_drop_refuses_what_is_not_one_term(old: str) -> None:
    with pytest.raises(AnchorError, match="not one term") as caught:
        apply(
            f"config A\n\tbool\n\tselect {old}\n",
            do="kconfig-drop",
            entry="A",
            symbols=["X"],
            condition="!P",
        )
    assert caught.value.near == [f"3: \tselect {old}"]


def test_kconfig_drop_without_entry_takes_the_term_from_the_whole_file() -> None:
    old = "config A\n\tselect X if B && !P\n\tselect Y if !P\n\tselect Z if !PQ\n"
    old += "\nconfig C\n\tbool\n\tdepends on !P\n\tdepends on M && !P\n\t  !P is help\n"
    new = "config A\n\tselect X if B\n\tselect Y\n\tselect Z if !PQ\n"
    new += "\nconfig C\n\tbool\n\tdepends on M\n\t  !P is help\n"
    assert apply(old, do="kconfig-drop", condition="!P") == new
    with pytest.raises(AnchorError, match="nothing depends on !P"):
        apply(new, do="kconfig-drop", condition="!P")
    with pytest.raises(AnchorError, match="not one term") as caught:
        apply(old + "\tdepends on (!P || M)\n", do="kconfig-drop", condition="!P")
    assert caught.value.near == ["11: \tdepends on (!P || M)"]


def test_delete_lines_takes_all_that_are_equal() -> None:
    old = "a\n\tx a0\nb\n\tx a1\n\tx a0\n\tx a0, a1\n"
    assert apply(old, do="delete-lines", lines=["\tx a0", "\tx a1"]) == "a\nb\n\tx a0, a1\n"
    with pytest.raises(AnchorError, match="no such line") as caught:
        apply(old, do="delete-lines", lines=["\tx a0", "\tx a2"])
    assert caught.value.anchor == "\tx a2"
    assert "4: \tx a1" in caught.value.near


def test_unifdef_and_remove() -> None:
    assert apply("a\n#ifdef S\nb\n#endif\n", do="unifdef", symbol="S") == "a\n"
    with pytest.raises(AnchorError, match="not of && or") as caught:
        apply("a\n#if A || !(S)\n#endif\n", do="unifdef", symbol="S")
    assert caught.value.near == ["2: #if A || !(S)"]
    edit = TypeAdapter(Edit).validate_python({"do": "remove", "file": "f"})
    assert apply_edit(edit, "old\n", "") is None
    with pytest.raises(AnchorError, match="does not exist"):
        apply_edit(edit, None, "")


def test_kconfig_remove_takes_an_entry_and_its_blank_line() -> None:
    old = "config A\n\tbool\n\nconfig B\n\tbool\n\n# about C\nconfig C\n\tbool\n"
    assert apply(old, do="kconfig-remove", entry="B") == (
        "config A\n\tbool\n\n# about C\nconfig C\n\tbool\n"
    )
    assert apply(old, do="kconfig-remove", entry="C").endswith("# about C\n")
    with pytest.raises(AnchorError, match="nowhere"):
        apply(old, do="kconfig-remove", entry="D")


def test_conjunction_puts_parentheses_only_where_needed() -> None:
    assert conjunction("A", "!X") == "A && !X"
    assert conjunction("A || B", "!X") == "(A || B) && !X"
    assert conjunction("(A || B)", "!X") == "(A || B) && !X"
    assert conjunction("(A) || (B)", "!X") == "((A) || (B)) && !X"
    assert conjunction("A && (B || C)", "!X") == "A && (B || C) && !X"


def test_a_form_feed_ends_no_line() -> None:
    assert apply("a\fb\nc\n", "x", do="insert-after", anchor="c") == "a\fb\nc\nx\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"do": "create", "file": "../etc/passwd", "text": ""}, "leaves the kernel tree"),
        ({"do": "create", "file": ".git/hooks/post-checkout", "text": ""}, "no path of git's"),
        ({"do": "create", "file": "a/.Git/config", "text": ""}, "no path of git's"),
        ({"do": "create", "file": "./a//b", "text": ""}, "'a/b' without '.git' is allowed"),
        ({"do": "create", "file": "a\nb", "text": ""}, "no path of git's"),
        ({"do": "create", "file": "/etc/passwd", "text": ""}, "leaves the kernel tree"),
        ({"do": "create", "file": "f"}, "exactly one of 'text' and 'template'"),
        ({"do": "create", "file": "f", "template": "../../x"}, "leaves the kernel tree"),
        ({"do": "delete", "file": "f", "anchor": "  "}, "empty anchor"),
        ({"do": "delete", "file": "f", "anchor": "a", "until": "b"}, "goes with 'within'"),
        ({"do": "patch", "file": "f"}, "do"),
        ({"do": "unifdef", "file": "f", "symbol": "A && B"}, "should match pattern"),
        ({"do": "kconfig-drop", "file": "f", "entry": "A", "condition": "!P"}, "go together"),
        ({"do": "delete", "file": "f", "anchor": "a", "when": {}}, "empty condition"),
        ({"do": "delete", "file": "f", "anchor": "a", "when": {"kernel": "new"}}, "version range"),
    ],
)
def test_impossible_edits_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(Edit).validate_python(data)


def test_a_series_never_signs_off() -> None:
    with pytest.raises(ValidationError, match="only a person can sign off"):
        Series.model_validate(
            {
                "title": "t",
                "applies": ">=7",
                "cover": "c",
                "patches": [
                    {
                        "subject": "s",
                        "why": "w",
                        "edits": [{"do": "remove", "file": "f"}],
                    }
                ],
                "trailers": ["Signed-off-by: A <a@b>"],
            }
        )
