# SPDX-License-Identifier: GPL-2.0-only
"""Versions of a series: what is kept with their branches, and what goes from one to the next."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from test_history import past
from xipmatrix.core.errors import UsageError, XipmatrixError
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.git import Repository
from xipmatrix.kernel.local import UserRepository, find_repository
from xipmatrix.pipeline.each_patch import PatchRecord, all_records, keep_records
from xipmatrix.upstream import Results, checks, compiled, reroll, tracking
from xipmatrix.upstream.reroll import Patch
from xipmatrix.upstream.tracking import Previous, Tracking

ONE = Tracking("arm", 1, "20260101-xip-arm-0123456789ab", "a" * 40, "cover.1@example.com")


@pytest.fixture
def user(tmp_path: Path) -> UserRepository:
    """A repository of a user's, with 12 commits to arch/arm/head.S."""
    tree = tmp_path / "linux"
    subprocess.run(["git", "init", "-q", "-b", "master", tree], check=True)
    (tree / "arch/arm").mkdir(parents=True)
    for number in range(12):
        commit(tree, "arch/arm/head.S", f"{number}\n", f"ARM: 92{number}/1: do thing {number}")
    found = find_repository(tree)
    assert found is not None
    return found


def commit(tree: Path, name: str, text: str, message: str) -> None:
    (tree / name).write_text(text)
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "-C", tree, "add", name], check=True)
    subprocess.run(["git", "-C", tree, *who, "commit", "-q", "-m", message], check=True)


def branch(user: UserRepository, name: str, cover: str, tracked: Tracking) -> None:
    subprocess.run(["git", "-C", user.path, "branch", name], check=True)
    tracking.store(user, name, cover, tracked)


def test_the_newest_version_is_found_with_its_cover_letter(user: UserRepository) -> None:
    two = ONE.next("b" * 40, "cover.2@example.com")
    branch(user, "xip/arm", "Title\n\nWhy.", ONE)
    branch(user, "mine/two.x", "Title\n\nWhy.\n\n---\nChanges in v2:\n- It.", two)
    branch(user, "xip/riscv", "Other", Tracking("riscv", 7, "x", "c" * 40, "m"))
    last = tracking.newest(user, "arm")
    assert last.branch == "mine/two.x" and last.tracking == two
    assert two.number == 2 and two.change_id == ONE.change_id
    assert two.history == {1: "cover.1@example.com"}
    assert tracking.changelog_of(last.cover) == "Changes in v2:\n- It."

    # It goes with its branch.
    subprocess.run(["git", "-C", user.path, "branch", "-q", "-D", "mine/two.x"], check=True)
    assert tracking.newest(user, "arm").tracking == ONE
    assert "two.x" not in (user.path / ".git/config").read_text()


def test_what_cannot_be_read_is_named(user: UserRepository) -> None:
    with pytest.raises(UsageError, match="no branch of this repository holds"):
        tracking.newest(user, "arm")
    branch(user, "xip/arm", "Title", ONE)
    key = "branch.xip/arm.b4-tracking"
    for bad in ('{"xipmatrix": {}}', '{"xipmatrix": ', '"xipmatrix"'):
        subprocess.run(["git", "-C", user.path, "config", key, bad], check=True)
        with pytest.raises(UsageError, match="'xip/arm' cannot be read") as raised:
            tracking.newest(user, "arm")
        assert key in raised.value.hint
    # b4's own, of a branch that is none of ours.
    subprocess.run(["git", "-C", user.path, "config", key, '{"series": {}}'], check=True)
    with pytest.raises(UsageError, match="no branch"):
        tracking.newest(user, "arm")


REVIEW = "Reviewed-by: R <r@example.com>"


def test_tags_stay_with_what_did_not_change() -> None:
    old = {
        "same": Patch("same", "1", (REVIEW,)),
        "other": Patch("other", "2", (REVIEW, "Acked-by: K <k@example.com>")),
        "gone": Patch("gone", "3", (REVIEW,)),
    }
    new = {"same": Patch("same", "1", ()), "other": Patch("other", "9", ())}
    found = reroll.kept(old, new)
    assert found.trailers == {"same": (REVIEW,)}
    assert [subject for subject, _ in found.dropped] == ["other", "other", "gone"]

    previous = Previous("xip/arm", "t", ONE, "T\n\nWhy.\n\n---\nChanges in v1:\n- Begun.")
    text = reroll.changelog(previous, old, {**new, "more": new["same"]}, found.dropped, "")
    assert reroll.lacks_words(text)
    for line in (
        'Changed: "other"',
        'New: "more"',
        'Dropped: "gone"',
        'Acked-by of K <k@example.com> not kept, as the patch changed: "other"',
        'Reviewed-by of R <r@example.com> not kept, as the patch is gone: "gone"',
        "Link to v1: https://lore.kernel.org/r/cover.1@example.com",
    ):
        assert f"- {line}\n" in f"{text}\n"
    assert text.startswith("Changes in v2:\n") and text.endswith("Changes in v1:\n- Begun.")
    text = reroll.changelog(previous, old, new, (), "- Keep the clock\nMend a typo")
    assert "- Keep the clock\n- Mend a typo\n" in text and not reroll.lacks_words(text)


def test_a_patch_is_the_same_wherever_it_stands(user: UserRepository, tmp_path: Path) -> None:
    tree = user.path
    commit(tree, "arch/arm/new.c", "int x;\n", f"ARM: new file\n\nWhy.\n\n{REVIEW}")
    first = reroll.patches_of(Repository(user.common).git, "HEAD~1..HEAD")
    subprocess.run(["git", "-C", tree, "checkout", "-q", "-b", "next", "HEAD~1"], check=True)
    commit(tree, "arch/arm/head.S", "else\n", "ARM: 1/1: other")
    commit(tree, "arch/arm/new.c", "int x;\n", "ARM: new file\n\nAnother why.")
    thread = {"ARM: new file": ("Tested-by: T <t@example.com>",)}
    again = reroll.patches_of(Repository(user.common).git, "HEAD~1..HEAD", thread)
    assert first["ARM: new file"].change == again["ARM: new file"].change
    assert first["ARM: new file"].given == (REVIEW,)
    assert again["ARM: new file"].given == thread["ARM: new file"]
    assert reroll.kept(first, again).trailers["ARM: new file"] == (REVIEW,)


def test_subjects_are_held_against_the_history_of_their_files(user: UserRepository) -> None:
    tree, git = user.path, Repository(user.common)
    base = git.git("rev-parse", "HEAD")
    commit(tree, "arch/arm/head.S", "good\n", "ARM: do as others do")
    good = checks.style(user, base, git, f"{base}..HEAD")
    assert good.holds and good.found == "as in the history of their files"
    commit(tree, "arch/arm/head.S", "bad\n", "arm: do as nobody does")
    bad = checks.style(user, base, git, f"{base}..HEAD")
    assert not bad.holds
    assert bad.found.startswith('"arm: do as nobody does"') and '"ARM:" (12)' in bad.found
    # A file that nobody has touched says nothing, and that is said.
    commit(tree, "arch/arm/new.c", "int x;\n", "whatever: new")
    none = checks.style(user, base, git, "HEAD~1..HEAD")
    assert none.holds and none.found.startswith("not looked at")


def test_a_thread_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = tmp_path / "box"
    box.write_text("From x\nSubject: hello\n\nno patch\n")
    with pytest.raises(XipmatrixError, match="b4 found no series"):
        reroll.from_thread(box)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs b4"):
        reroll.from_thread(box)


def record(tree: str, *, xip: bool, **more: Any) -> PatchRecord:
    values = {"absent": False, "booted": xip, "wrong": "", **more}
    cell = "7.3/arm/virt/tiny/gcc"
    return PatchRecord(cell=cell, series="arm", tree=tree, subject="s", xip=xip, **values)


def test_every_patch_has_to_be_built_both_ways(user: UserRepository) -> None:
    git = Repository(user.common)
    trees = git.git("log", "--format=%T", "HEAD~2..HEAD").splitlines()
    both = [record(tree, xip=xip) for tree in trees for xip in (False, True)]
    other = [record("0" * 40, xip=True, wrong="build-failed: of another series")]

    def check(**records: Sequence[PatchRecord]) -> checks.Check:
        return checks.patch_by_patch(git, "HEAD~2..HEAD", records)

    good = check(arm=[*both, *other])
    assert good.holds and good.found == "4 builds, 2 of them boot in place"
    for less in (both[1:], both[:-1]):
        found = check(arm=less)
        assert not found.holds and found.found.startswith('not built for arm: "ARM: 92')
    found = checks.patch_by_patch(git, "HEAD~2..HEAD", {"riscv": both})
    assert not found.holds and "not built for arm, which the matrix does not have" in found.found
    found = check(arm=both, riscv=both[:2])
    assert not found.holds and "not built for riscv" in found.found
    bad = record(trees[0], xip=True, booted=False, wrong="boot-panic: it ends")
    found = check(arm=[*both[:1], bad, *both[2:]])
    assert not found.holds and found.found.endswith("boot-panic: it ends")
    early = record(trees[1], xip=True, absent=True, booted=False)
    found = check(arm=[*both[:3], early])
    assert found.holds and found.found == "3 builds, 1 of them boot in place"


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    keep_records(tmp_path / "good", [record("a", xip=True)])
    for name, text in (("half", '[{"cell": '), ("other", '[{"cell": 1}]')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "patches.json").write_text(text)
    assert all_records(tmp_path) == [record("a", xip=True)]


def test_what_the_build_says_is_read() -> None:
    kconfig = """\
arch/arm/Kconfig:12:warning: leading whitespace ignored

WARNING: unmet direct dependencies detected for NEEDED
  Depends on [n]: A [=n]
  Selected by [y]:
  - ONE [=y]
#
# configuration written to .config
"""
    assert compiled.complaints(kconfig) == [
        "WARNING: unmet direct dependencies detected for NEEDED Depends on [n]: A [=n] "
        "Selected by [y]: - ONE [=y]",
        "arch/arm/Kconfig:12:warning: leading whitespace ignored",
    ]
    assert compiled.complaints("#\n# configuration written to .config\n#\n") == []
    assert compiled.complaints("init/Kconfig:1:error: recursive dependency detected!\n")

    said = """\
/src/init/main.c:7:5: warning: no previous prototype for 'x' [-Wmissing-prototypes]
/src/init/main.c: note: declare it
../arch/arm/mm/idmap.c:9:1: warning: incorrect type in argument 1
/src/lib/other.c:1:1: warning: not ours
/src/init/main.c:9:5: error: expected ';'
"""
    found = compiled.warnings_in(said, "/src", ["init/main.c", "arch/arm/mm/idmap.c"])
    assert sorted(found) == [
        ("arch/arm/mm/idmap.c", "warning: incorrect type in argument 1"),
        ("init/main.c", "error: expected ';'"),
        ("init/main.c", "warning: no previous prototype for 'x' [-Wmissing-prototypes]"),
    ]


def test_a_label_that_is_in_another_folder_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "Documentation/process").mkdir(parents=True)
    (tmp_path / "Documentation/process/other.rst").write_text(".. _there:\n\nText\n")
    text = "Documentation/admin-guide/xip.rst"
    said = "".join(
        f"{tmp_path}/{text}:{line}: WARNING: {what}\n"
        for line, what in enumerate(
            ("undefined label: 'there'", "undefined label: 'nowhere'", "Title underline too short.")
        )
    )
    assert compiled.said_of_texts(said, [text], tmp_path) == [
        f"{text}: WARNING: undefined label: 'nowhere'",
        f"{text}: WARNING: Title underline too short.",
    ]
    assert compiled.said_of_texts(said, ["Documentation/other/text.rst"], tmp_path) == []


def test_a_letter_shows_what_was_measured() -> None:
    figures = {"image_bytes": 2 << 20, "ram_bytes": 3 << 10, "mem_available_kb": 59000}
    one = dataclasses.replace(
        past(1, Verdict.PASS, cell="7.3/arm/virt/kunit/gcc"),
        figures={**figures, "instructions": 5e6, "normal_mem_available_kb": 55816},
        versions={"qemu": "7.2", "compiler": "gcc 12"},
    )
    rows = [line.split() for line in Results((one,)).text().splitlines()]
    assert rows[1] == [one.cell, "pass", *["2048", "K", "3", "K", "59000", "K", "5.0", "M"]]
    assert rows[2] == [*["without", "XIP,", "from", "RAM", "-", "-", "55816", "K", "-"]]
    assert ["qemu:", "7.2"] in rows
    plain = dataclasses.replace(one, figures=figures)
    assert "without XIP" not in Results((plain,)).text()
    assert Results(()).text().startswith("No result")
