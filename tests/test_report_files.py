# SPDX-License-Identifier: GPL-2.0-only
"""Reports for mail, chat and other programs: Markdown, KCIDB, the badge."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from kcidb_io.schema import LATEST
from markdown_it import MarkdownIt

from test_history import past
from test_report import FAIL, KNOWN, OURS, PASS, SURPRISE, broken, made
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.digest import Digest, Kind
from xipmatrix.history import Change, change
from xipmatrix.report import badge as badges
from xipmatrix.report.badge import badge
from xipmatrix.report.kcidb import VERSION, kcidb, kcidb_text
from xipmatrix.report.markdown import markdown
from xipmatrix.result import CellResult

BEGAN = "2026-11-24T02:10:00.000000+00:00"
RUN = "20261124T021000-1"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def changes(cell: str) -> list[Change]:
    """The cell passed yesterday, and has been smaller."""
    today = past(2, Verdict.BOOT_PANIC, cell=cell, size=1100)
    return [change(today, [past(1, Verdict.PASS, cell=cell)], {"image_bytes": 0.01})]


# --- Markdown ---------------------------------------------------------------------------


def sections(text: str) -> list[str]:
    """Its headings, as a renderer sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [
        tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"
    ]


def test_what_changed_comes_first_then_failures_then_the_table() -> None:
    two = [broken("7.3/arm/a/tiny/gcc", 3), broken("7.3/arm/b/tiny/gcc", 9)]
    text = markdown([PASS, *two, KNOWN], RUN, Path("/runs/1"), changes(two[0].cell))
    assert sections(text) == [
        "xipmatrix: 4 cells: 1 pass, 1 known failure, 2 NOT as expected",
        "What changed",
        "Not as expected",
        "build-failed: `a/b.c:3:5: error: ‘x’ undeclared` (2 cells)",
        "Cells",
    ]
    assert "- **newly broken**: `7.3/arm/a/tiny/gcc`" in text
    assert "`image_bytes 1,000 → 1,100 (+10.00 %)`" in text
    assert "```text\na/b.c:3:5: error: ‘x’ undeclared\n   3 |  x;\n      |  ^\n```" in text
    assert "- `7.3/arm/b/tiny/gcc`, again: `./xipmatrix build --cell" in text
    assert "| `7.3/arm/virt/tiny/gcc` | pass | 2.42 MiB | 60,000 kB | 26.6 M | 99.999 % |" in text
    assert "| **build-failed** |" in text


def test_nothing_changed_is_said_and_what_was_not_compared_is_not() -> None:
    assert "Nothing since the last run." in markdown([PASS], RUN, Path("/r"), [])
    assert sections(markdown([PASS], RUN, Path("/r"))) == [
        "xipmatrix: 1 cell: 1 pass, all as expected",
        "Cells",
    ]


def test_what_a_kernel_prints_is_never_markup() -> None:
    head = "undefined reference to `__x_y_z' <b>*no*</b> [a](b) | c"
    result = made("7.3/arm/a/tiny/gcc", Verdict.BUILD_FAILED)
    result.digest = Digest.of(Kind.LINKER, head, [head, "```", "# not a heading"])
    html = MarkdownIt("commonmark").enable("table").render(markdown([result], RUN, Path("/r")))
    page = ElementTree.fromstring(f"<page>{html}</page>")
    (heading,) = page.iter("h3")
    assert "".join(heading.itertext()) == f"build-failed: {head}"
    assert not list(page.iter("b")) and not list(page.iter("em")) and not list(page.iter("a"))
    (block,) = page.iter("pre")
    assert "".join(block.itertext()) == f"{head}\n```\n# not a heading\n"
    assert len(list(page.iter("h1"))) == 1
    (table,) = page.iter("table")
    assert {len(list(row)) for row in table.iter("tr")} == {7}


# --- KCIDB ------------------------------------------------------------------------------


def with_versions(result: CellResult, *, built: bool = True) -> CellResult:
    """A copy with what a real run knows."""
    own = copy.deepcopy(result)
    own.versions = {
        "kernel": f"7.3.4 (git /home/me/linux at topic ({COMMIT[:12]}))",
        "base": COMMIT,
        "series": "none",
        "compiler": "gcc 12",
        "qemu": "7.2",
    }
    own.paths = {"build": "/b"} if built else {}
    return own


CONFLICT = made("7.3/riscv/virt/tiny/gcc", Verdict.SERIES_CONFLICT)
ABSENT = made("7.3/mips/malta/tiny/gcc", Verdict.NOT_APPLICABLE)
FLAKY = made("7.3/arm/e/tiny/gcc", Verdict.FLAKY)
EARLY = made("7.3/arm/f/tiny/gcc", Verdict.PASS)
EARLY.verdict = None
EVERYTHING = [
    *(with_versions(one) for one in (PASS, FAIL, KNOWN, SURPRISE, OURS, FLAKY, EARLY)),
    with_versions(broken("7.3/arm/a/tiny/gcc", 3), built=False),
    with_versions(ABSENT, built=False),
    CONFLICT,
    made("7.3/arm/g/tiny/gcc", Verdict.INFRASTRUCTURE),
]


def by_id(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {one["id"].removeprefix(f"xipmatrix:{RUN}:"): one for one in objects}
    assert len(found) == len(objects)
    return found


def test_it_is_valid_by_the_current_schema() -> None:
    data = json.loads(kcidb_text(EVERYTHING, RUN, BEGAN, changes(FAIL.cell)))
    LATEST.validate(data)
    assert (LATEST.major, LATEST.minor) == (VERSION["major"], VERSION["minor"])
    assert LATEST.count(data) > 20
    builds, checkouts = by_id(data["builds"]), by_id(data["checkouts"])
    assert {one["checkout_id"] for one in builds.values()} <= {
        one["id"] for one in checkouts.values()
    }
    assert {one["build_id"] for one in data["tests"]} <= {one["id"] for one in builds.values()}
    by_id(data["tests"])
    LATEST.validate(kcidb([], RUN, BEGAN))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data["tests"][0].update(status="BROKEN"),
        lambda data: data["builds"][0].update(log_excerpt="x" * 16385),
        lambda data: data["builds"][0].pop("checkout_id"),
        lambda data: data["checkouts"][0].update(git_commit_hash="abc"),
        lambda data: data["tests"][0].update(path="xip/boot"),
    ],
)
def test_the_schema_does_find_faults(spoil: Callable[[dict[str, Any]], None]) -> None:
    data = kcidb(EVERYTHING, RUN, BEGAN)
    spoil(data)
    with pytest.raises(jsonschema.ValidationError):
        LATEST.validate(data)


def test_what_a_verdict_is_for_kernelci() -> None:
    data = kcidb(EVERYTHING, RUN, BEGAN, changes(FAIL.cell))
    tests = {
        name.removesuffix(":xip"): one["status"]
        for name, one in by_id(data["tests"]).items()
        if name.endswith(":xip")
    }
    assert tests == {
        PASS.cell: "PASS",
        FAIL.cell: "FAIL",
        KNOWN.cell: "FAIL",
        SURPRISE.cell: "PASS",
        OURS.cell: "ERROR",
        FLAKY.cell: "FAIL",
    }
    builds = {name: one["status"] for name, one in by_id(data["builds"]).items()}
    assert {name: builds[name] for name in builds if name not in tests} == {
        "7.3/arm/a/tiny/gcc": "FAIL",
        ABSENT.cell: "SKIP",
        EARLY.cell: "PASS",
        "7.3/arm/g/tiny/gcc": "ERROR",
    }
    assert {builds[name] for name in tests} == {"PASS"}
    found = by_id(data["tests"])
    assert found[f"{FLAKY.cell}:xip"]["misc"]["flaky"] is True
    assert found[f"{FAIL.cell}:xip"]["misc"]["change"] == "newly broken"
    assert found[f"{KNOWN.cell}:xip"]["misc"]["known_failure"] == "declared so"
    assert found[f"{FAIL.cell}:xip"]["misc"]["figures"]["image_bytes"] == 2539940
    assert "in two lines" in found[f"{FAIL.cell}:xip"]["log_excerpt"]
    assert found[f"{FAIL.cell}:xip.in-place"]["status"] == "FAIL"
    assert "‘x’ undeclared" in by_id(data["builds"])["7.3/arm/a/tiny/gcc"]["log_excerpt"]
    assert "duration" not in found[f"{PASS.cell}:xip"]  # it came from the cache
    assert by_id(data["builds"])[PASS.cell]["duration"] == 147.2


def test_a_series_that_conflicts_makes_the_checkout_invalid() -> None:
    data = kcidb([CONFLICT, with_versions(PASS)], RUN, BEGAN)
    checkouts = by_id(data["checkouts"])
    assert checkouts["7.3:riscv"]["valid"] is False
    assert checkouts["7.3:riscv"]["log_excerpt"]
    assert checkouts["7.3:arm"]["valid"] is True
    assert len(data["builds"]) == 1


def test_only_a_commit_that_others_have_is_named() -> None:
    (theirs,) = kcidb([with_versions(PASS)], RUN, BEGAN)["checkouts"]
    assert theirs["git_commit_hash"] == COMMIT
    assert theirs["patchset_hash"] == ""
    ours = with_versions(PASS)
    ours.versions |= {"kernel": "7.3.4 (Debian linux-source-7.3)", "series": "abc"}
    (checkout,) = kcidb([ours], RUN, BEGAN)["checkouts"]
    assert "git_commit_hash" not in checkout
    assert "patchset_hash" not in checkout
    assert checkout["misc"] == {"base": COMMIT, "series": "abc"}


def test_words_that_the_schema_forbids_are_cut() -> None:
    result = with_versions(FAIL)
    result.digest = None
    result.reason = "died\0 " + "x" * 40000
    result.evidence = [Evidence("e", False, "a\0b", Verdict.BOOT_PANIC)]
    LATEST.validate(kcidb([result], RUN, BEGAN))


# --- the badge --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "text", "colour"),
    [
        ([PASS, PASS], "2 pass", badges.GREEN),
        ([PASS, KNOWN], "1 pass, 1 known", badges.GREEN),
        ([PASS, FAIL, OURS], "1 pass, 1 broken, 1 not measured", badges.RED),
        ([PASS, FLAKY], "1 pass, 1 broken", badges.RED),
        ([PASS, OURS], "1 pass, 1 not measured", badges.AMBER),
        ([PASS, SURPRISE], "2 pass (1 unexpected)", badges.AMBER),
        ([KNOWN], "0 pass, 1 known", badges.GREY),
        ([EARLY], "0 pass, 1 stopped early", badges.GREY),
        ([], "no cells", badges.GREY),
    ],
)
def test_what_a_badge_says(found: list[CellResult], text: str, colour: str) -> None:
    root = ElementTree.fromstring(badge(found))
    space = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{space}title") == root.get("aria-label") == f"XIP: {text}"
    assert root.get("role") == "img"
    assert [one.text for one in root.iter(f"{space}text")] == ["XIP", text]
    rects = list(root.iter(f"{space}rect"))
    assert [one.get("fill") for one in rects] == [badges.LABEL, colour]
    assert sum(int(one.get("width", "0")) for one in rects) == int(root.get("width", "0"))
    assert not re.search(r"href|url\(|@import|<script", badge(found))


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of #rrggbb."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    "colour", [badges.LABEL, badges.GREEN, badges.RED, badges.AMBER, badges.GREY]
)
def test_white_text_can_be_read_on_it(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5
    assert 1.05 / (luminance("#999999") + 0.05) < 4.5  # a colour that would not do
