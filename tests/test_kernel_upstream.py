# SPDX-License-Identifier: GPL-2.0-only
"""A series as a branch and mails, from a user's repository with a real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TEMPLATES
from kernel_trees import git, with_branch
from test_history import past
from xipmatrix.core.evidence import Verdict
from xipmatrix.core.files import cache_dir
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree, checkout, obtain
from xipmatrix.kernel.local import find_repository
from xipmatrix.matrix.load import LoadedMatrix
from xipmatrix.series.engine import apply_all, sources
from xipmatrix.upstream import Check, Known, Results, check_all

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def user(linux: KernelTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with Linux 7.3 on `master`, and `moved`, where an anchor is another."""
    tree = tmp_path_factory.mktemp("user") / "linux"
    edits = {"arch/arm/mm/idmap.c": ("virt_to_idmap(text_start)", "virt_to_idmap(text_begin)")}
    with_branch(tree, linux, "moved", edits)
    return tree


def upstream(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xipmatrix", "upstream", *words]
    environment = {**os.environ, **env}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_branch_and_mails(
    user: Path, linux: KernelTree, own_cache: dict[str, str], tmp_path: Path
) -> None:
    before = git(user, "for-each-ref"), (user / ".git/config").read_bytes()
    words = ["arm", "--kernel", f"{user}@master", "--signoff", "-o", str(tmp_path / "mails")]
    words += ["--also", f"{user}@moved", "--also", f"{user}@master"]
    done = upstream(own_cache, *words)

    # What is missing is said, and what to do about it; nothing is stored in this state.
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout
    assert "holds  checkpatch --strict: 5 patches are clean" in said
    assert "FAILS  tested: no result of exactly these patches" in said
    assert 'FAILS  each patch alone: not built for arm: "ARM: hyp-stub: ' in said
    assert f"holds  git am on {user}@master: applies" in said
    assert "holds  git am on its base: applies" in said
    failed = said[said.index(f"FAILS  git am on {user}@moved") :]
    assert "arch/arm/mm/idmap.c" in failed and "to do: xipmatrix refresh" in failed

    # One branch more, by the user, and nothing else.
    refs = [line for line in git(user, "for-each-ref").splitlines() if "xip/arm" not in line]
    assert "\n".join(refs) == before[0]
    assert not (user / ".git/index").exists() and not (user / ".git/FETCH_HEAD").exists()
    tip = apply_all(sources(TEMPLATES), linux)["arm"].tip
    mine = Repository(linux.git_dir).git("rev-parse", f"{tip}^{{tree}}")
    assert git(user, "rev-parse", "xip/arm^{tree}") == mine
    people = set(git(user, "log", "--format=%an <%ae> %cn", "master..xip/arm").splitlines())
    assert people == {"A Developer <dev@example.com> A Developer"}
    signed = git(user, "log", "--format=%(trailers:key=Signed-off-by)", "-1", "xip/arm")
    assert signed == "Signed-off-by: A Developer <dev@example.com>"

    # The mails: a thread, each with whom it goes to.
    mails = sorted((tmp_path / "mails").iterdir())
    assert len(mails) == 6
    letter = mails[0].read_text()
    assert "Subject: [PATCH 0/5] arm: mend XIP kernels" in letter
    assert "From: A Developer <dev@example.com>" in letter
    assert f"base-commit: {linux.commit}" in letter
    assert letter.count("prerequisite-patch-id: ") == 12
    assert "  arm: works with 5 patches on those for all architectures\n  riscv: works" in letter
    assert "generated-content.rst" in letter and "***" not in letter
    identity = next(line for line in letter.splitlines() if line.startswith("Message-Id: "))
    for mail in mails[1:]:
        head = mail.read_text().partition("\n\n")[0]
        assert f"In-Reply-To: {identity.partition(' ')[2]}" in head
        assert "Russell King" in head and "linux-arm-kernel@lists.infradead.org" in head
    # Whoever is asked for one patch gets the cover letter.
    assert "Jonathan Corbet" in letter.partition("\n\n")[0]

    # The branch is there: it is not overwritten.
    again = upstream(own_cache, *words)
    assert again.returncode == 2
    assert "the branch 'xip/arm' is there already" in again.stderr
    assert "git branch -D xip/arm" in again.stderr
    # With the branch goes all that was written.
    git(user, "branch", "-D", "xip/arm")
    assert (git(user, "for-each-ref"), (user / ".git/config").read_bytes()) == before


def test_an_older_kernel(loaded: LoadedMatrix, own_cache: dict[str, str], tmp_path: Path) -> None:
    """6.12, with generic's patches: of these, xtensa's is one that nothing here builds."""
    linux = obtain("6.12", loaded.kernels["6.12"], cache_dir(), print)
    tree = tmp_path / "linux"
    with_branch(tree, linux)
    out = tmp_path / "mails"
    done = upstream(own_cache, "generic", "--kernel", f"{tree}@master", "-o", str(out))
    assert done.returncode == 1, done.stdout + done.stderr
    for name in ("white space", "subjects", "size", "git am on its base"):
        assert f"holds  {name}: " in done.stdout
    assert "not built for xtensa, which the matrix does not have" in done.stdout
    assert len(list(out.iterdir())) == 1 + 10
    letter = (out / "0000-cover-letter.patch").read_text()
    assert "  riscv: works with 11 patches on those for all architectures" in letter
    assert f"base-commit: {git(tree, 'rev-parse', 'master')}" in letter


def test_a_series_that_does_not_apply(
    user: Path, own_cache: dict[str, str], tmp_path: Path
) -> None:
    done = upstream(own_cache, "arm", "--kernel", f"{user}@moved", "-o", str(tmp_path / "mails"))
    assert done.returncode == 1
    assert "arm: needs work" in done.stdout and "arch/arm/mm/idmap.c" in done.stdout
    assert not (tmp_path / "mails").exists()
    assert "xip/" not in git(user, "for-each-ref")


def test_nobody_is_made_up(user: Path, own_cache: dict[str, str], tmp_path: Path) -> None:
    """Without an identity there is no series, and without --signoff no sign-off."""
    config = (user / ".git/config").read_text()
    place = str(tmp_path / "mails")
    git(user, "config", "--unset", "user.email")
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = upstream({**own_cache, **nobody}, "generic", "--kernel", f"{user}@master", "-o", place)
    (user / ".git/config").write_text(config)
    assert done.returncode == 2
    assert "git does not know your user.email" in done.stderr

    where = ["generic", "--kernel", f"{user}@master", "-o", place, "--branch", "mine/xip"]
    done = upstream(own_cache, *where, "--reroll")
    assert done.returncode == 2
    assert "no branch of this repository holds a version of the series 'generic'" in done.stderr
    upstream(own_cache, *where)
    assert "Signed-off-by" not in git(user, "log", "--format=%B", "master..mine/xip")
    git(user, "branch", "-D", "mine/xip")


def test_each_check_can_fail(user: Path, linux: KernelTree, tmp_path: Path) -> None:
    repository = Repository(linux.git_dir)
    path = "arch/arm/mm/idmap.c"
    bad = (repository.text(f"{linux.commit}:{path}") or "") + "int  xip_test ;   \n"
    subject = "A subject that names no subsystem and that goes on for more than it may"
    (tip,) = repository.commit_changes(
        linux.commit,
        [Change(f"{subject}\n\nWhy.\n", "2026-01-01T00:00:00Z", {path: ("100644", bad)})],
    )
    mail = tmp_path / "0001-bad.patch"
    mail.write_bytes(repository.raw("format-patch", "--stdout", f"{linux.commit}..{tip}"))
    mail.write_text(mail.read_text() + "#" * (100 << 10))
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    wrong = past(1, Verdict.BOOT_PANIC, cell="7.3/arm/virt/tiny/gcc")
    letter = tmp_path / "0000-cover-letter.patch"
    letter.write_text("Subject: x\n\n- EDITME: what changed, and why\n")
    theirs = find_repository(user)
    assert theirs is not None
    found: dict[str, Check] = {}
    for tested in (Results((wrong,)), Results(())):
        base = linux.commit
        mails = [letter, mail]
        known = Known(tested, records={"arm": []})
        checks = check_all(source, repository, base, base, tip, mails, theirs, known)
        found |= {one.name: one for one in checks}
        # It has no history: test_upstream.py has that check fail.
        assert [one.name for one in checks if one.holds] == ["subject style", "git am on its base"]
        assert all(one.todo for one in checks if not one.holds)
    assert "space prohibited" in found["checkpatch --strict"].found
    assert "trailing whitespace" in found["white space"].found
    assert subject in found["subjects"].found
    assert str(mail.stat().st_size) in found["size"].found
