# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel's own tests say, in place and in RAM: read, compared, judged.

The console is a real one (riscv, 7.3), cut to four suites; the parser is the kernel's own.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from machine_support import make_cell
from test_verdict import KERNEL, boot
from xipmatrix.build.config import without_xip
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.core.git import Repository
from xipmatrix.kernel import KernelTree
from xipmatrix.machine.ktap import PARSER, Results, read_results
from xipmatrix.machine.protocol import Userspace
from xipmatrix.machine.result import End
from xipmatrix.pipeline.normal import config_differences
from xipmatrix.verdict import judge
from xipmatrix.verdict.beside import Cost, beside_normal
from xipmatrix.verdict.kunit import parity

CONSOLE = (Path(__file__).parent / "logs" / "kunit.riscv.log").read_text()
GOOD: Results = {
    ("resource", "union"): "PASS",
    ("resource", "intersection"): "PASS",
    ("int_pow", "int_pow_test", "Base one"): "PASS",
    ("usercopy", "valid"): "PASS",
    ("fault",): "SKIP",
}


def compared(in_place: Results, in_ram: Results = GOOD) -> Evidence:
    return parity(in_place, in_ram, ended="poweroff")


# --- the comparison -------------------------------------------------------------------------


def test_the_same_results_are_parity() -> None:
    one = compared(dict(GOOD))
    assert one.holds
    assert one.breaks is Verdict.USERSPACE_FAILED
    assert one.summary == (
        "4 suites, 5 cases: the same results in place and in RAM (4 pass, 1 skipped)"
    )
    assert one.figures["suites"] == 4 and one.figures["differences"] == []


def test_what_fails_in_both_is_listed_and_no_difference() -> None:
    bad = {**GOOD, ("usercopy", "valid"): "FAIL"}
    one = compared(bad, dict(bad))
    assert one.holds
    assert one.figures["fail_in_both"] == ["usercopy/valid"]
    assert "1 fail in both" in one.summary


@pytest.mark.parametrize("status", ["FAIL", "SKIP", "ERROR"])
def test_a_case_that_differs(status: str) -> None:
    worse = {**GOOD, ("usercopy", "valid"): status}
    one = compared(worse)
    assert not one.holds
    assert one.summary == f"usercopy/valid: {status} in place, PASS in RAM"
    # A normal kernel that is worse is a difference too: somebody should know why.
    other = compared(GOOD, worse)
    assert other.summary == f"usercopy/valid: PASS in place, {status} in RAM"


def test_a_suite_that_is_missing_on_one_side() -> None:
    fewer = {path: one for path, one in GOOD.items() if path[0] != "resource"}
    assert compared(fewer).summary == "resource, a suite of 2, ran only in RAM"
    assert compared(GOOD, fewer).summary == "resource, a suite of 2, ran only in place"
    assert not compared(fewer).holds and not compared(GOOD, fewer).holds


def test_a_case_that_is_missing_on_one_side() -> None:
    fewer = {path: one for path, one in GOOD.items() if path != ("resource", "union")}
    assert compared(fewer).summary == "resource/union: not run in place, PASS in RAM"


@pytest.mark.parametrize(
    ("in_place", "in_ram", "where"),
    [({}, {}, "in place or in RAM"), ({}, GOOD, "in place"), (GOOD, {}, "in RAM")],
)
def test_nothing_ran(in_place: Results, in_ram: Results, where: str) -> None:
    one = parity(in_place, in_ram, ended="panic")
    assert not one.holds
    assert one.summary == f"no KUnit suite ran {where}; the normal kernel ended by panic"


def test_many_differences_are_all_in_the_figures() -> None:
    cases: Results = {("suite", f"case {number}"): "PASS" for number in range(9)}
    one = compared(dict.fromkeys(cases, "FAIL"), cases)
    assert one.summary.endswith("; and 5 more")
    assert len(one.figures["differences"]) == 9


def test_a_difference_decides_a_boot_that_is_good_else(tmp_path: Path) -> None:
    bad = compared({**GOOD, ("usercopy", "valid"): "FAIL"})
    judged = judge(make_cell(), boot(tmp_path), None, [bad])
    assert judged.verdict is Verdict.USERSPACE_FAILED
    assert judged.reason.startswith("kunit-parity: usercopy/valid")


def test_a_crash_amid_a_suite_is_a_panic_first(tmp_path: Path) -> None:
    console = f"{KERNEL}KTAP version 1\n1..2\nOops [#1]\nKernel panic - not syncing: Fatal\n"
    seen = dataclasses.replace(boot(tmp_path, console), end=End.PANIC)
    judged = judge(make_cell(), seen, None, [compared({("resource", "(cut off)"): "ERROR"})])
    assert judged.verdict is Verdict.BOOT_PANIC


def test_a_fragment_without_xip_keeps_all_else() -> None:
    text = "{}CONFIG_MMU=y\n# CONFIG_SMP is not set\n{}"
    xip = text.format("CONFIG_XIP_KERNEL=y\n", "CONFIG_XIP_PHYS_ADDR=0x1\n")
    assert without_xip(xip) == text.format("", "")


def test_options_that_differ_are_named(tmp_path: Path) -> None:
    for name, text in (("one", "CONFIG_XIP_KERNEL=y\nCONFIG_A=y\n"), ("other", "CONFIG_A=m\n")):
        (tmp_path / name).write_text(text)
    assert config_differences(tmp_path / "one", tmp_path / "other") == [
        "A: y in place, m in RAM",
        "XIP_KERNEL: y in place, n in RAM",
    ]


# --- the parser's answer --------------------------------------------------------------------


def answered(folder: Path, answer: object) -> Results:
    """What is read where the tree's parser answers so; None for no answer."""
    parser = folder / "linux" / PARSER
    parser.parent.mkdir(parents=True, exist_ok=True)
    put = f"open(sys.argv[2].split('=')[1], 'w').write({json.dumps(answer)!r})"
    parser.write_text(f"import sys\n{put if answer is not None else 'sys.exit(2)'}\n")
    console = folder / "console.log"
    console.write_text("")
    return read_results(folder / "linux", console, folder)


@pytest.mark.parametrize("answer", [None, {"sub_groups": []}, [], "PASS"])
def test_a_parser_that_gives_no_results_is_our_fault(tmp_path: Path, answer: object) -> None:
    with pytest.raises(InfrastructureError, match="parser gave no results"):
        answered(tmp_path, answer)


def test_an_old_answer_is_never_taken(tmp_path: Path) -> None:
    case = {"name": "a", "status": "PASS"}
    group = {"name": "s", "test_cases": [case, case], "sub_groups": []}
    all_ = {"test_cases": [], "sub_groups": [group]}
    assert answered(tmp_path, all_) == {("s", "a"): "PASS", ("s", "a (2)"): "PASS"}
    with pytest.raises(InfrastructureError):
        answered(tmp_path, None)


def test_a_suite_that_fails_though_its_cases_pass(tmp_path: Path) -> None:
    group = {"name": "s", "test_cases": [{"name": "a", "status": "PASS"}], "sub_groups": []}
    all_ = {"test_cases": [], "sub_groups": [{**group, "misc": {"failed": 1}}]}
    assert answered(tmp_path, all_) == {("s", "a"): "PASS", ("s", "(as a whole)"): "FAIL"}


# --- the kernel's parser on a kernel's console ----------------------------------------------


@pytest.fixture(scope="module")
def tree(linux: KernelTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What kunit.py needs of Linux 7.3."""
    folder = tmp_path_factory.mktemp("tree")
    repository = Repository(linux.git_dir)
    for name in repository.git("ls-tree", "-r", "--name-only", linux.commit, PARSER.parent).split():
        if name.endswith(".py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(repository.text(f"{linux.commit}:{name}") or "")
    return folder


def read(tree: Path, folder: Path, console: str) -> Results:
    (folder / "console.log").write_text(console)
    return read_results(tree, folder / "console.log", folder)


@pytest.mark.kernel
def test_a_real_console(tree: Path, tmp_path: Path) -> None:
    found = read(tree, tmp_path, CONSOLE.replace("\n", "\r\n"))
    assert {path[0] for path in found} == {"resource", "math-int_pow", "kunit_fault", "usercopy"}
    assert len(found) == 3 + 9 + 1 + 4
    assert found[("math-int_pow", "int_pow_test", "Max base")] == "PASS"
    assert found[("kunit_fault",)] == "SKIP"
    assert compared(found, dict(found)).holds


@pytest.mark.kernel
def test_a_real_console_with_a_fault(tree: Path, tmp_path: Path) -> None:
    good = read(tree, tmp_path, CONSOLE)
    fault = CONSOLE.replace("ok 2 usercopy_test_invalid", "not ok 2 usercopy_test_invalid")
    fault = fault.replace("\nok 4 usercopy", "\nnot ok 4 usercopy")
    one = compared(read(tree, tmp_path, fault), good)
    assert one.summary == "usercopy/usercopy_test_invalid: FAIL in place, PASS in RAM"

    exit_failed = CONSOLE.replace("\nok 1 resource", "\nnot ok 1 resource")
    one = compared(read(tree, tmp_path, exit_failed), good)
    assert one.summary == "resource/(as a whole): FAIL in place, not run in RAM"

    before, after = CONSOLE.split("    KTAP version 1\n    # Subtest: math-int_pow", 1)
    suite, rest = after.split("ok 2 math-int_pow\n", 1)
    one = compared(read(tree, tmp_path, before.replace("1..4", "1..3") + rest), good)
    assert suite and one.summary == "math-int_pow, a suite of 9, ran only in RAM"


@pytest.mark.kernel
def test_a_real_console_that_is_cut_amid_a_suite(tree: Path, tmp_path: Path) -> None:
    good = read(tree, tmp_path, CONSOLE)
    cut = CONSOLE[: CONSOLE.index("        ok 5 Two squared")] + "Oops - undefined instruction\n"
    one = compared(read(tree, tmp_path, cut), good)
    assert not one.holds
    assert "usercopy, a suite of 4, ran only in RAM" in one.figures["differences"]
    assert any("Two squared: not run in place" in text for text in one.figures["differences"])


@pytest.mark.kernel
def test_a_console_without_suites(tree: Path, tmp_path: Path) -> None:
    assert read(tree, tmp_path, KERNEL) == {}


def test_what_executing_in_place_saves() -> None:
    def cost(available: str, image: int, instructions: int | None = None) -> Cost:
        text = f"MemTotal: 64000 kB\n{available}"
        return Cost(Userspace(files={"/proc/meminfo": text}), image, instructions)

    more = beside_normal(
        cost("MemAvailable: 60000 kB\n", 9, 500), cost("MemAvailable: 57000 kB\n", 5, 1000)
    )
    assert more.holds
    assert more.summary == (
        "+3000 kB free RAM; image 9 bytes, the normal kernel's 5; 0.500 of its instructions"
    )
    assert more.figures["normal_mem_available_kb"] == 57000
    less = cost("MemAvailable: 1 kB\n", 9), cost("MemAvailable: 2 kB\n", 5)
    assert beside_normal(*less).holds
    unknown = beside_normal(cost("MemAvailable: 60000 kB\n", 9), cost("", 5))
    assert not unknown.holds and unknown.advisory and "not known" in unknown.summary
