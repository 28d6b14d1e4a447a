# SPDX-License-Identifier: GPL-2.0-only
"""Results: exit codes, tables, JSON, JUnit, and the store that keeps them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from rich.console import Console

from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.digest import Digest, Kind
from xipmatrix.report import figures
from xipmatrix.report.evidence import print_result
from xipmatrix.report.failures import digest_of, failures, text_of
from xipmatrix.report.machine_readable import json_text, write_junit
from xipmatrix.report.terminal import Progress, closing_line, closing_table
from xipmatrix.result import WORKING, CellResult, Stage, StageRecord, exit_code


def made(cell: str, verdict: Verdict, expected: tuple[str, ...] = ("pass",)) -> CellResult:
    return CellResult(
        cell=cell,
        expected=list(expected),
        known_reason="" if expected == ("pass",) else "declared so",
        verdict=verdict,
        reason="" if verdict is Verdict.PASS else "the reason\nin two lines",
        log="/runs/1/cells/x/console.log",
        stages=[StageRecord(Stage.BUILD, 147.2), StageRecord(Stage.BOOT, 1.6, cached=True)],
        evidence=[
            Evidence(
                "in-place",
                verdict is Verdict.PASS,
                "text",
                Verdict.NOT_IN_PLACE,
                {"n": 26600000, "entry_virtual": 0xBF010000},
            )
        ],
        figures={
            "image_bytes": 2539940,
            "mem_available_kb": 60000,
            "flash_instructions": 26600000,
            "flash_share": 0.999999,
        },
    )


PASS = made("7.3/arm/virt/tiny/gcc", Verdict.PASS)
FAIL = made("7.3/arm/b/tiny/gcc", Verdict.BOOT_PANIC)
KNOWN = made("6.12/riscv/virt/tiny/gcc", Verdict.BOOT_SILENT, ("boot-silent",))
SURPRISE = made("6.12/riscv/b/tiny/gcc", Verdict.PASS, ("boot-silent",))
OURS = made("7.3/arm/c/tiny/gcc", Verdict.INFRASTRUCTURE)


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([PASS, KNOWN], 0),
        ([PASS, FAIL], 1),
        ([PASS, SURPRISE], 1),
        ([FAIL, OURS], 3),
        ([], 0),
    ],
)
def test_exit_codes(results: list[CellResult], code: int) -> None:
    assert exit_code(results) == code


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert figures.percent(0.9999999) == "99.999 %"
    assert figures.percent(1.0) == "100.000 %"


def wide(width: int = 200) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, width=width), out


def test_closing_table_names_figures_failures_and_the_way_to_reproduce() -> None:
    console, out = wide()
    found = [PASS, FAIL, KNOWN, SURPRISE]
    closing_table(console, found, Path("/runs/1"))
    closing_line(console, found, Path("/runs/1"))
    text = out.getvalue()
    for wanted in (
        "2.42 MiB",
        "60,000 kB",
        "26.6 M",
        "99.999 %",
        "build 147 boot =",
        "cells/x/console.log",
        "boot-silent (known)",
        "pass (unexpected)",
        "in two lines",
        "./xipmatrix build --cell '7.3/arm/b/tiny/gcc' --again",
        "4 cells: 2 pass, 1 known failure, 2 NOT as expected",
        "logs and results: /runs/1",
    ):
        assert wanted in text


def broken(cell: str, line: int) -> CellResult:
    """A build that failed; the same fault in every cell, but for what masks hide."""
    result = made(cell, Verdict.BUILD_FAILED)
    head = f"a/b.c:{line}:5: error: ‘x’ undeclared"
    result.digest = Digest.of(Kind.COMPILER, head, [head, f"   {line} |  x;", "      |  ^"])
    return result


def test_similar_failures_are_told_once() -> None:
    one, two = broken("7.3/arm/a/tiny/gcc", 3), broken("6.12/riscv/b/tiny/gcc", 12)
    other = made("7.3/arm/c/tiny/gcc", Verdict.BUILD_FAILED)
    groups = failures([one, PASS, other, KNOWN, two])
    assert [[result.cell for result in group.results] for group in groups] == [
        [one.cell, two.cell],
        [other.cell],
    ]
    console, out = wide()
    closing_table(console, [one, PASS, other, KNOWN, two], Path("/runs/1"))
    text = out.getvalue()
    assert "2 cells: build-failed\n  a/b.c:3:5: error: ‘x’ undeclared\n     3 |  x;" in text
    assert "b.c:12:5" not in text
    assert f"  {two.cell}: build-failed\n    again: " in text
    assert f"show '{two.cell}'" in text
    assert f"{other.cell}: build-failed\n  the reason\n  in two lines" in text


def test_a_headline_is_not_said_twice() -> None:
    result = made("7.3/arm/a/tiny/gcc", Verdict.BOOT_PANIC)
    result.digest = Digest.of(Kind.OOPS, "Oops in f", ["Oops", "at f"])
    assert text_of(digest_of(result)) == ["Oops in f", "  at f"]
    result.digest = Digest.of(Kind.HANG, "silent", ["last words"])
    assert text_of(digest_of(result)) == ["silent", "  last words"]
    result.digest = Digest.of(Kind.COMPILER, "a.c:1: error: x", ["In f", "a.c:1: error: x"])
    assert text_of(digest_of(result)) == ["In f", "a.c:1: error: x"]


def test_each_thing_that_is_not_as_expected_is_told() -> None:
    found = failures([PASS, FAIL, KNOWN, SURPRISE, OURS])
    assert [group.results[0] for group in found] == [FAIL, SURPRISE, OURS]
    assert text_of(found[1].digest) == ["passes, though declared to fail: declared so"]
    odd = made("7.3/arm/d/tiny/gcc", Verdict.NOT_APPLICABLE)
    odd.reason = ""
    assert text_of(digest_of(odd)) == ["not-applicable"]


def test_a_log_gets_every_stage_but_not_every_megabyte() -> None:
    console, out = wide()
    with Progress(console, []) as progress:
        for megabytes in range(50):
            progress("kernel 7.3", WORKING, f"{megabytes} MB")
        progress("kernel 7.3", "series", "arm: already there")
        progress("kernel 7.3", "series", "riscv: applies")
    assert [line.split("kernel 7.3: ")[1] for line in out.getvalue().splitlines()] == [
        "working 0 MB",
        "series arm: already there",
        "series riscv: applies",
    ]


def test_print_result_shows_what_failed() -> None:
    console, out = wide()
    print_result(console, FAIL)
    assert "FAILS  in-place" in out.getvalue()
    assert "n: 26,600,000" in out.getvalue()
    assert "entry_virtual: 0xbf010000" in out.getvalue()


def test_print_result_shows_the_first_error() -> None:
    console, out = wide()
    print_result(console, broken("7.3/arm/a/tiny/gcc", 3))
    assert "first error\n  a/b.c:3:5: error: ‘x’ undeclared\n     3 |  x;" in out.getvalue()


def test_json_round_trip() -> None:
    data = json.loads(json_text([PASS, KNOWN], "run", Path("/x")))
    assert data["exit_code"] == 0
    assert CellResult.from_dict(data["cells"][1]) == KNOWN


def test_junit_is_xml_whatever_a_console_held(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    write_junit([replace(FAIL, reason="\x1b[31mred\0\x08 \ud800 ü")], path)
    (case,) = list(next(iter(JUnitXml.fromfile(str(path)))))
    assert "red" in case.result[0].message
    assert "\x1b" not in case.result[0].text


def test_junit_tells_failure_error_and_known_apart(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    write_junit([PASS, FAIL, KNOWN, OURS, SURPRISE], path)
    (suite,) = list(JUnitXml.fromfile(str(path)))
    kinds = [type(case.result[0]) if case.result else None for case in suite]
    assert kinds == [None, Failure, Skipped, Error, Failure]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (5, 2, 1, 1)


def test_junit_carries_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    result = broken("7.3/arm/a/tiny/gcc", 3)
    result.digest = Digest.of(Kind.PANIC, "died\x1b[0m\x00 ]]>", ["&<died>", "\x07\x1b[31mred"])
    write_junit([result, OURS], path)
    (suite,) = list(JUnitXml.fromfile(str(path)))
    (failure,), (error,) = (case.result for case in suite)
    assert (failure.message, failure.type) == ("build-failed: died ]]>", "build-failed")
    assert failure.text.splitlines()[:2] == ["died ]]>", "  &<died>"]
    assert "again: ./xipmatrix build" in failure.text
    assert error.message == "infrastructure: the reason"
