# SPDX-License-Identifier: GPL-2.0-only
"""Bisecting tiny repositories with a judge that knows: the search, skips, ends, kills, reports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from kernel_trees import fingerprint, git, make_repository
from xipmatrix.bisect import (
    Journal,
    Mark,
    NotReproducible,
    Outcome,
    Search,
    ask,
    hunt,
    read_log,
)
from xipmatrix.bisect.marks import step
from xipmatrix.core.errors import EXIT_INFRASTRUCTURE, InfrastructureError, UsageError
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.core.files import quiet
from xipmatrix.report.bisect import WIDTH, mail
from xipmatrix.result import CellResult, Stage, StageRecord

CELL = "arm/virt/tiny/gcc"


def result(verdict: Verdict, by: str = "patch-sites", reason: str = "") -> CellResult:
    """A cell's result whose verdict rests on the evidence `by`."""
    held = [Evidence("image-fits", True, "it fits", Verdict.IMAGE_INVALID, {"bytes": 4096})]
    failed = [Evidence(by, False, "17 sites in flash are patched", verdict, {"sites": 17})]
    good = [Evidence(by, True, "no site in flash is patched", Verdict.IMAGE_INVALID)]
    early = verdict in (Verdict.SERIES_CONFLICT, Verdict.BUILD_FAILED)
    return CellResult(
        cell=f"linux@x/{CELL}",
        expected=["pass"],
        arguments="--kernel /home/me/linux@x",
        verdict=verdict,
        reason=reason or ("" if verdict is Verdict.PASS else f"{by}: 17 sites"),
        stages=[StageRecord(Stage.BUILD, 12.0)],
        evidence=[] if early else held + (good if verdict is Verdict.PASS else failed),
        figures={"image_bytes": 1000 if verdict is Verdict.PASS else 1096},
        versions={
            "compiler": "gcc 12.2.0",
            "xipmatrix": "0.1.0",
            "series": "89abcdef",
            "kernel": "7.3.4 (git)",
        },
    )


GOOD, BAD = result(Verdict.PASS), result(Verdict.IMAGE_INVALID)
NO_BUILD = result(Verdict.BUILD_FAILED, reason="init/main.c:3: error: no such thing\n   3 | int;")
MOVED = result(Verdict.SERIES_CONFLICT, reason="patch 3 'arm: x', edit 1: setup.c: no match")
OURS = result(Verdict.INFRASTRUCTURE, reason="QEMU is missing")


@dataclass
class Lab:
    """A repository of `count` commits after v7.3; the judge's answers are looked up."""

    folder: Path
    tree: Path
    commits: list[str]
    answers: dict[str, CellResult] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def judge(self, commit: str) -> CellResult:
        self.asked.append(commit)
        return self.answers[commit]

    def broken_at(self, number: int, **others: CellResult) -> None:
        """Commit `number` is the first bad one; `others` are ``_<number>=result``."""
        for at, commit in enumerate(self.commits):
            self.answers[commit] = BAD if at >= number else GOOD
        for name, given in others.items():
            self.answers[self.commits[int(name[1:])]] = given

    def run(
        self,
        judge: Callable[[str], CellResult] | None = None,
        *,
        good: tuple[str, ...] = ("v7.3",),
        bad: str = "main",
        paths: tuple[str, ...] = (),
        basis: str = "1",
    ) -> Outcome:
        question, user = ask(self.tree, CELL, good, bad, paths)
        place = self.folder / question.key
        search = Search(place / "repository", user, question)
        journal = Journal(place / "verdicts", basis)
        return hunt(question, judge or self.judge, journal, search, self.said.append)

    def found(self, outcome: Outcome) -> list[int]:
        return [self.commits.index(one.commit) for one in outcome.found]

    @property
    def place(self) -> Path:
        (place,) = self.folder.iterdir()
        return place


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return make_lab(tmp_path, 12)


def make_lab(tmp_path: Path, count: int) -> Lab:
    tree = make_repository(tmp_path / "linux")
    commits = [git(tree, "rev-parse", "HEAD")]
    for number in range(1, count + 1):
        name = "init/main.c" if number % 3 else "arch/arm/Kconfig"
        (tree / name).write_text(f"/* {number} */\n")
        git(tree, "commit", "-q", "-am", f"change {number}\n\nWhy it is so.")
        commits.append(git(tree, "rev-parse", "HEAD"))
    return Lab(tmp_path / "state", tree, commits)


# --- the search ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2, 7, 11, 12])
def test_the_first_bad_commit_is_found_in_few_steps(lab: Lab, number: int) -> None:
    lab.broken_at(number)
    outcome = lab.run()
    assert lab.found(outcome) == [number]
    assert outcome.first_bad is not None
    assert outcome.first_bad.subject == f"change {number}"
    assert len(lab.asked) == len(set(lab.asked)) <= 2 + 4
    assert outcome.good_step.commit == lab.commits[number - 1]
    assert outcome.bad_step.commit == lab.commits[number]
    assert "# first bad commit: " in outcome.log


def test_what_fails_otherwise_is_skipped_with_its_reason(lab: Lab) -> None:
    other = result(Verdict.IMAGE_INVALID, by="image-fits")
    lab.broken_at(9, _5=NO_BUILD, _6=MOVED, _7=other)
    outcome = lab.run()
    assert lab.found(outcome) == [9]
    skipped = {one.commit: one.why for one in outcome.steps.values() if one.mark is Mark.SKIP}
    assert skipped, "git passed by every commit that is to be skipped"
    assert set(skipped) <= set(lab.commits[5:8])
    text = mail(outcome, series="s", command="x")
    for commit in skipped:
        assert f"{commit[:12]} change {lab.commits.index(commit)}" in text


@pytest.mark.parametrize(
    ("end", "given", "mark", "why"),
    [
        (BAD, BAD, Mark.BAD, ""),
        (BAD, GOOD, Mark.GOOD, ""),
        (BAD, NO_BUILD, Mark.SKIP, "build-failed: init/main.c:3: error"),
        (BAD, MOVED, Mark.SKIP, "series-conflict: patch 3 'arm: x', edit 1: setup.c: no match"),
        (BAD, result(Verdict.BOOT_PANIC), Mark.SKIP, "boot-panic"),
        (BAD, result(Verdict.FLAKY), Mark.SKIP, "flaky"),
        (
            BAD,
            result(Verdict.IMAGE_INVALID, by="image-fits"),
            Mark.SKIP,
            "image-invalid as well, but by image-fits, not by patch-sites",
        ),
        (MOVED, MOVED, Mark.BAD, ""),
        (NO_BUILD, NO_BUILD, Mark.BAD, ""),
        (BAD, replace(BAD, expected=["image-invalid"]), Mark.GOOD, ""),
    ],
)
def test_only_the_bad_ends_own_fault_is_bad(
    end: CellResult, given: CellResult, mark: Mark, why: str
) -> None:
    one = step("c", given, end)
    assert one.mark is mark
    assert why in one.why if why else not one.why


def test_several_candidates_are_all_named(lab: Lab) -> None:
    lab.broken_at(7, _5=NO_BUILD, _6=NO_BUILD)
    outcome = lab.run()
    assert outcome.first_bad is None
    assert sorted(lab.found(outcome)) == [5, 6, 7]
    text = mail(outcome, series="s", command="x")
    assert "one of 3 commits" in text
    for number in (5, 6, 7):
        assert f"  {lab.commits[number][:12]} " in text
    assert "First bad commit" not in text
    assert "init/main.c:3: error: no such thing" in text


def test_a_merge_is_found_and_both_parents_are_judged(tmp_path: Path) -> None:
    lab = make_lab(tmp_path, 2)
    tree, both = lab.tree, {}
    for branch in ("one", "two"):
        git(tree, "switch", "-q", "-c", branch, "main")
        (tree / branch).write_text(branch)
        git(tree, "add", branch)
        git(tree, "commit", "-q", "-m", f"on {branch}")
        both[branch] = git(tree, "rev-parse", "HEAD")
    git(tree, "switch", "-q", "main")
    git(tree, "merge", "-q", "--no-ff", "-m", "merge", "one", "two")
    merge = git(tree, "rev-parse", "HEAD")
    lab.commits += [*both.values(), merge]
    lab.broken_at(5)
    outcome = lab.run()
    assert outcome.first_bad is not None
    assert outcome.first_bad.commit == merge
    assert set(outcome.first_bad.parents) <= set(outcome.steps)
    assert outcome.notes == []


def test_several_good_ends_are_each_verified(lab: Lab) -> None:
    lab.broken_at(9)
    git(lab.tree, "tag", "known", lab.commits[6])
    assert lab.found(lab.run(good=("v7.3", "known"))) == [9]
    assert {lab.commits[0], lab.commits[6]} <= set(lab.asked)
    assert not set(lab.asked) & set(lab.commits[1:6])


def test_paths_that_leave_the_culprit_out_are_noticed(lab: Lab) -> None:
    lab.broken_at(7)  # which touches init/main.c only
    outcome = lab.run(paths=("arch/arm",))
    assert lab.found(outcome) == [9]
    assert "Its parent" in outcome.notes[0]
    assert "touches none of the given paths" in outcome.notes[0]
    assert "is bad too" in mail(outcome, series="s", command="x")


# --- ends that are not what they were said to be -------------------------------------------


def test_a_bad_end_that_is_good_ends_it(lab: Lab) -> None:
    lab.broken_at(99)
    with pytest.raises(NotReproducible, match=r"the bad end main .* is good: pass") as caught:
        lab.run()
    assert caught.value.exit_code == 1
    assert lab.asked == [lab.commits[-1]]


@pytest.mark.parametrize(
    ("given", "words"), [(BAD, "is bad: image-invalid"), (MOVED, "is neither good nor bad")]
)
def test_a_good_end_that_is_not_good_ends_it(lab: Lab, given: CellResult, words: str) -> None:
    lab.broken_at(7, _0=given)
    with pytest.raises(NotReproducible, match=words):
        lab.run()


def test_ends_the_wrong_way_round_are_gits_words(lab: Lab) -> None:
    lab.broken_at(3)
    lab.answers = {lab.commits[0]: BAD, lab.commits[-1]: GOOD}
    with pytest.raises(NotReproducible, match="mistook good and bad"):
        lab.run(good=("main",), bad="v7.3")


def test_a_fault_that_was_mended_on_the_way_to_good_is_said(lab: Lab) -> None:
    git(lab.tree, "switch", "-q", "-c", "side", lab.commits[2])
    (lab.tree / "side").write_text("")
    git(lab.tree, "add", "side")
    git(lab.tree, "commit", "-q", "-m", "side")
    side = git(lab.tree, "rev-parse", "HEAD")
    lab.broken_at(1)
    lab.answers[side] = GOOD
    with pytest.raises(NotReproducible, match="has been fixed between"):
        lab.run(good=("side",))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"good": ("v7.2",)}, "no commit 'v7.2'"),
        ({"bad": "mian"}, "no commit 'mian'"),
        ({"bad": "v7.3"}, "cannot be both good and bad"),
    ],
)
def test_refs_that_mean_nothing_are_usage(lab: Lab, words: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lab.run(**words)  # type: ignore[arg-type]


def test_a_folder_without_git_is_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no git repository"):
        ask(tmp_path, CELL, ("a",), "b")
    with pytest.raises(UsageError, match="no such folder"):
        ask(tmp_path / "x", CELL, ("a",), "b")


# --- interrupted and continued -------------------------------------------------------------


def test_interrupted_at_each_step_it_goes_on_and_asks_nothing_twice(lab: Lab) -> None:
    lab.broken_at(7, _5=NO_BUILD, _6=GOOD)
    kept: list[str] = []

    def one_more(commit: str) -> CellResult:
        if lab.asked:
            raise KeyboardInterrupt
        return lab.judge(commit)

    while True:
        lab.asked.clear()
        try:
            outcome = lab.run(one_more)
            break
        except KeyboardInterrupt:
            kept += lab.asked
    kept += lab.asked
    assert len(kept) == len(set(kept)) > 3
    assert lab.found(outcome) == [7]
    lab.asked.clear()
    whole = Lab(lab.folder / "other", lab.tree, lab.commits, lab.answers)
    assert whole.run().log == outcome.log


def test_killed_at_any_moment_it_goes_on(lab: Lab, tmp_path: Path) -> None:
    lab.broken_at(7)
    answers = {commit: str(one.verdict) for commit, one in lab.answers.items()}
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; import test_bisect as t\n"
        f"answers = {answers!r}\n"
        "lab = t.Lab(Path(sys.argv[2]), Path(sys.argv[3]), [])\n"
        "def judge(commit):\n"
        "    print(commit, flush=True)\n"
        "    return t.result(t.Verdict(answers[commit]))\n"
        "lab.run(judge)\nprint('done', flush=True)\n"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(lab.folder), str(lab.tree)]
    asked: list[str] = []
    for attempt in range(60):
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            asked.append(line)
            if line == "done":
                break
            # In git, in the journal, or in the judge: not always at the same place.
            time.sleep(0.007 * (attempt % 5))
            os.kill(process.pid, signal.SIGKILL)
    assert asked[-1] == "done"
    assert lab.found(lab.run()) == [7]


def test_a_fault_of_ours_stops_it_and_is_not_remembered(lab: Lab) -> None:
    lab.broken_at(7)
    middle = lab.commits[6]
    lab.answers[middle] = OURS
    with pytest.raises(InfrastructureError, match="QEMU is missing") as caught:
        lab.run()
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    assert "same command" in caught.value.hint
    lab.answers[middle] = GOOD
    before = len(lab.asked)
    assert lab.found(lab.run()) == [7]
    assert lab.asked[before] == middle


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"commit": 1}', "\x00" * 40])
def test_a_damaged_verdict_is_judged_again(lab: Lab, damage: str) -> None:
    lab.broken_at(7)
    lab.run()
    path = lab.place / "verdicts" / f"{lab.commits[7]}.json"
    path.write_text(damage)
    lab.asked.clear()
    assert lab.found(lab.run()) == [7]
    assert lab.asked == [lab.commits[7]]
    assert any(f"{path}: not a readable verdict" in text for text in lab.said)


def test_a_verdict_of_another_commit_does_not_count(lab: Lab) -> None:
    lab.broken_at(7)
    lab.run()
    verdicts = lab.place / "verdicts"
    (verdicts / f"{lab.commits[7]}.json").write_bytes(
        (verdicts / f"{lab.commits[6]}.json").read_bytes()
    )
    assert lab.found(lab.run()) == [7]


def test_other_templates_judge_again(lab: Lab) -> None:
    lab.broken_at(7)
    lab.run()
    lab.asked.clear()
    lab.run()
    assert lab.asked == []
    lab.broken_at(3)
    assert lab.found(lab.run(basis="2")) == [3]


def test_a_destroyed_search_repository_costs_nothing(lab: Lab) -> None:
    lab.broken_at(7)
    log = lab.run().log
    (lab.place / "repository" / "BISECT_LOG").write_text("rubbish")
    (lab.place / "repository" / "HEAD").unlink()
    lab.asked.clear()
    assert lab.run().log == log == read_log(lab.place / "repository")
    assert lab.asked == []


def test_questions_differ_by_cell_ends_and_paths_alone(lab: Lab) -> None:
    def key(cell: str = CELL, good: str = "v7.3", bad: str = "main", path: str = "") -> str:
        return ask(lab.tree, cell, (good,), bad, (path,) if path else ())[0].key

    assert key() == key(bad=lab.commits[-1])
    others = {key("arm/b/tiny/gcc"), key(good="main~3"), key(bad="main~1"), key(path="mm")}
    assert len(others | {key()}) == 5


# --- the user's tree -----------------------------------------------------------------------


def test_the_users_tree_is_not_touched(lab: Lab) -> None:
    lab.broken_at(7, _5=NO_BUILD)
    (lab.tree / "init" / "main.c").write_text("uncommitted\n")
    before = fingerprint(lab.tree)
    lab.run()
    assert fingerprint(lab.tree) == before
    assert not list((lab.tree / ".git").glob("BISECT*"))
    assert "bisect" not in git(lab.tree, "for-each-ref")


def test_a_shallow_work_tree_and_a_bare_repository_do(lab: Lab, tmp_path: Path) -> None:
    lab.broken_at(7)
    git(tmp_path, "clone", "-q", "--depth=11", lab.tree.as_uri(), "shallow")
    git(lab.tree, "worktree", "add", "-q", "--detach", str(tmp_path / "work"), "main")
    git(tmp_path, "clone", "-q", "--bare", str(lab.tree), "bare")
    for name in ("shallow", "work", "bare"):
        other = Lab(tmp_path / f"state-{name}", tmp_path / name, lab.commits, lab.answers)
        assert lab.found(other.run(good=(lab.commits[2],))) == [7]


# --- the report ----------------------------------------------------------------------------


def test_the_report_is_a_mail_with_all_that_is_needed(lab: Lab) -> None:
    lab.broken_at(7, _6=GOOD, _5=NO_BUILD)
    outcome = lab.run()
    command = "./xipmatrix bisect 7.3/arm/virt/tiny/gcc --kernel /linux --good v7.3 --bad main"
    text = mail(outcome, series="0123456789abcdef", command=command)
    first = lab.commits[7]
    lines = text.splitlines()
    assert lines[0] == f"Subject: [bisected] XIP {CELL}: image-invalid since {first[:12]}"
    assert lines[1] == ""
    assert f'{first[:12]} ("change 7")' in text
    assert f"commit {first}\nAuthor:     t <t@localhost>" in text
    assert "    Why it is so.\n" in text
    assert " init/main.c | 2 +-" in text
    table = text[text.index("What differs") : text.index("Evidence")]
    assert f"verdict{'pass':>43}{'image-invalid':>25}" in table
    assert f"patch-sites{'holds':>39}{'FAILS':>25}" in table
    assert f"image bytes{'1,000':>39}{'1,096':>25}" in table
    assert "image-fits" not in table  # it does not differ
    assert "patch-sites FAILS: 17 sites in flash are patched\n    sites: 17\n" in text
    assert "at the good commit: no site in flash is patched" in text
    assert "compiler:    gcc 12.2.0" in text
    assert "templates:   0123456789abcdef" in text
    assert "bad series:  89abcdef" in text
    assert "--kernel /home/me/linux@x" in text
    assert command in text.replace(" \\\n   ", "")
    assert outcome.log.strip() in text
    quoted = {*outcome.log.splitlines(), *outcome.found[0].entry.splitlines()}
    assert [line for line in lines if len(line) > WIDTH and line not in quoted] == []
    assert [line for line in lines if line != line.rstrip()] == []


def test_long_reasons_are_wrapped_and_long_figures_cut(lab: Lab) -> None:
    many = Evidence(
        "patch-sites", False, "word " * 60, Verdict.IMAGE_INVALID, {"sites": ["site " * 30] * 50}
    )
    bad = replace(BAD, evidence=[many], reason="word " * 60)
    lab.broken_at(7, _5=result(Verdict.SERIES_CONFLICT, reason="      | " + "anchor " * 40))
    lab.answers |= dict.fromkeys(lab.commits[7:], bad)
    text = mail(lab.run(), series="s", command="x")
    assert "lines more)" in text
    body = text[: text.index("git bisect log")].splitlines()
    assert max(map(len, body)) <= WIDTH


def test_a_fault_without_evidence_is_told_by_its_reason(lab: Lab) -> None:
    lab.broken_at(7)
    lab.answers |= dict.fromkeys(lab.commits[7:], NO_BUILD)
    text = mail(lab.run(), series="s", command="x")
    assert f"evidence not reached{'0':>30}{'2':>25}\n" in text
    assert "build-failed: init/main.c:3: error: no such thing\n" in text


def test_the_journal_knows_nothing_at_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "verdicts", "1")
    assert journal.get("0" * 40, quiet) is None
    journal.put("0" * 40, BAD)
    assert journal.get("0" * 40, quiet) == BAD
