# SPDX-License-Identifier: GPL-2.0-only
"""A series is mailed, reviewed and rerolled, with the tools that maintainers use."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from email.message import EmailMessage, Message
from pathlib import Path

import pytest

from kernel_trees import git, with_branch
from mail_sink import mail_sink
from test_kernel_upstream import upstream
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree

pytestmark = pytest.mark.kernel

ME = "A Developer <dev@example.com>"
REVIEW = "Reviewed-by: A Reviewer <reviewer@example.com>"
NEVER = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


@pytest.fixture
def tree(linux: KernelTree, tmp_path: Path) -> Path:
    """A repository of a user's with Linux 7.3 on `master`."""
    tree = tmp_path / "linux"
    with_branch(tree, linux)
    return tree


def change_last(tree: Path, branch: str) -> None:
    """As a user does who amends the last patch: the same message, another change."""
    repository = Repository(tree / ".git")
    message = git(tree, "show", "-s", "--format=%B", branch)
    paths = git(tree, "diff-tree", "-r", "--no-commit-id", "--name-only", branch).splitlines()
    texts = {path: repository.text(f"{branch}:{path}") or "" for path in paths}
    texts[paths[0]] += "\n"
    files = {path: ("100644", text) for path, text in texts.items()}
    change = Change(f"{message}\n", "2026-01-01T00:00:00Z", files)
    (tip,) = repository.commit_changes(git(tree, "rev-parse", f"{branch}~1"), [change])
    git(tree, "update-ref", f"refs/heads/{branch}", tip)


def answer(mail: Message, tag: str) -> EmailMessage:
    reply = EmailMessage()
    reply["From"] = tag.partition(": ")[2]
    reply["To"] = ME
    reply["Subject"] = f"Re: {mail['Subject']}"
    reply["Message-ID"] = f"<answer.{abs(hash(mail['Message-Id']))}@example.com>"
    reply["In-Reply-To"] = reply["References"] = mail["Message-Id"]
    reply["Date"] = mail["Date"]
    reply.set_content(f"Looks good.\n\n{tag}\n")
    return reply


def b4(tree: Path, *words: str) -> str:
    return said(tree, sys.executable, "-m", "b4.command", "--offline-mode", "--no-stdin", *words)


def said(tree: Path, *command: str) -> str:
    """What a command says that has no configuration but the repository's and succeeds."""
    env = {**os.environ, **NEVER}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_from_the_first_version_to_the_second(
    tree: Path, own_cache: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "mails"
    words = ["arm", "--kernel", f"{tree}@master", "--signoff", "-o", str(out)]
    first = upstream(own_cache, *words)
    assert "branch xip/arm of" in first.stdout, first.stdout + first.stderr

    # git send-email works on the folder as it is, and what arrives is a thread.
    with mail_sink() as sink:
        send = ["git", "-C", tree, "send-email", "--confirm=never", "--suppress-cc=self"]
        send += ["--smtp-server=127.0.0.1", f"--smtp-server-port={sink.port}"]
        said(tree, *map(str, send), *map(str, sorted(out.glob("*.patch"))))
        assert len(sink.mails) == 6
        letter, *patches = sink.mails
        assert "In-Reply-To" not in letter
        assert {one["In-Reply-To"] for one in patches} == {letter["Message-Id"]}
        assert {one["From"] for one in sink.mails} == {ME}
        assert len({one["Message-Id"] for one in sink.mails}) == 6
        for who in sink.recipients:
            assert "linux-arm-kernel@lists.infradead.org" in who
            assert "linux@armlinux.org.uk" in who
        reviewed = [patches[0], patches[-1]]
        box = sink.write(tmp_path / "thread.mbox", *(answer(one, REVIEW) for one in reviewed))

    # As a maintainer takes it: complete, in order, and the same files.
    b4(tree, "-c", "b4.attestation-policy=off", "am", "-m", str(box), "-o", str(tmp_path / "am"))
    (taken,) = (tmp_path / "am").glob("*.mbx")
    assert taken.read_text().count(REVIEW) == 2
    subjects = re.findall(r"^Subject: \[PATCH (\d)/5\]", taken.read_text(), re.M)
    assert subjects == ["1", "2", "3", "4", "5"]

    # The next version: what was reviewed and did not change keeps that.
    change_last(tree, "xip/arm")
    before = git(tree, "rev-parse", "xip/arm")
    git(tree, "symbolic-ref", "HEAD", "refs/heads/master")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    more = ["--reroll", "--thread", str(box), "--changes", "- Keep the clock (A Reviewer)"]
    second = upstream({**own_cache, "PATH": path}, *words, *more)
    assert "branch xip/arm-v2 of" in second.stdout, second.stdout + second.stderr
    assert "holds  cover letter: complete" in second.stdout
    assert git(tree, "rev-parse", "xip/arm") == before
    log = git(tree, "log", "--reverse", "--format=%(trailers)%x00", "master..xip/arm-v2")
    trailers = [one.strip() for one in log.split("\0")][-6:-1]
    assert [REVIEW in one for one in trailers] == [True, False, False, False, False]
    assert trailers[0].index(REVIEW) < trailers[0].index(f"Signed-off-by: {ME}")
    cover = (out / "v2-0000-cover-letter.patch").read_text()
    head, _, body = cover.partition("\n\n")
    assert "[PATCH v2 0/5]" in head and "In-Reply-To" not in head
    told = body[body.index("Changes in v2:") :]
    last = git(tree, "show", "-s", "--format=%s", "xip/arm")
    identity = letter["Message-Id"].strip("<>")
    assert told.startswith("Changes in v2:\n- Keep the clock (A Reviewer)\n")
    assert f'- Changed: "{last}"\n' in told
    assert "Reviewed-by of A Reviewer <reviewer@example.com> not kept" in told
    assert f"- Link to v1: https://lore.kernel.org/r/{identity}\n" in told
    shown = body[body.index("Range-diff against v1:") :]
    assert len(re.findall(r"^\d:  \w+ [=!] \d:  \w+ ", shown, re.M)) == 5
    assert re.search(r"^5:  \w+ ! 5: ", shown, re.M)

    # Without words of the user's there is a gap, and the check says so.
    third = upstream({**own_cache, "PATH": path}, *words, "--reroll", "--in-reply-to", "previous")
    assert third.returncode == 1
    assert "FAILS  cover letter: it does not say what changed" in third.stdout
    assert "only trailers that are in the branch are kept" in third.stderr
    text = (out / "v3-0000-cover-letter.patch").read_text()
    assert text.index("Changes in v3:") < text.index("Changes in v2:\n- Keep the clock")
    v2 = re.search(r"^Message-Id: (<.*>)$", cover, re.M)
    assert v2 is not None and f"In-Reply-To: {v2[1]}" in text
    trailers = git(tree, "log", "--format=%(trailers)", "master..xip/arm-v3").split("\n")
    assert trailers.count(REVIEW) == 1

    # b4 prep goes on with the branch as it is.
    git(tree, "sparse-checkout", "set", "--no-cone", "Makefile")
    git(tree, "checkout", "-q", "xip/arm-v2")
    info = dict(
        line.split(": ", 1) for line in b4(tree, "prep", "--show-info").splitlines() if ": " in line
    )
    assert (info["revision"], info["base-commit"]) == ("2", git(tree, "rev-parse", "xip/arm-v2~5"))
    assert info["cover-subject"] == "arm: mend XIP kernels"
    assert info["needs-editing"] == "False"
    tracked = json.loads(git(tree, "config", "branch.xip/arm-v2.b4-tracking"))
    assert tracked["series"]["history"] == {"v1": [identity]}
    assert f"change-id: {info['change-id']}" in cover
    b4(tree, "prep", "--format-patch", str(tmp_path / "b4"))
    assert len(list((tmp_path / "b4").glob("*"))) == 6
