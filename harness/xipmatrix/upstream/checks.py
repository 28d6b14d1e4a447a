# SPDX-License-Identifier: GPL-2.0-only
"""What a series has to stand before it is sent: each check with its result and what to do."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import run
from ..core.git import IDENTITY, Repository, hermetic
from ..kernel import KernelTree
from ..kernel.local import UserRepository
from ..pipeline.each_patch import PatchRecord
from ..series.engine import Applied
from .evidence import Results
from .mails import subject_of, without_cover
from .reroll import lacks_words

# Documentation/process/submitting-patches.rst: 15 or so, and a summary of 70 to 75 characters.
MOST_PATCHES = 15
MOST_SUBJECT = 75
# What lists take without a moderator's help (Documentation/process/email-clients.rst is silent;
# vger's limit).
MOST_BYTES = 100 << 10
# How many commits of a patch's files show what is usual, and how many are too few.
_HISTORY = 100
_ENOUGH = 5


@dataclass(frozen=True)
class Check:
    """One check: whether it holds, what it found, and what to do where it does not."""

    name: str
    holds: bool
    found: str
    todo: str = ""


@dataclass(frozen=True)
class Known:
    """What checks look at beside the commits: results of cells, and of single patches by the
    architecture that they are to be built for; `also` are other trees to apply all of it to;
    `archs` are all series on this kernel."""

    tested: Results
    archs: Mapping[str, Applied] = field(default_factory=dict)
    records: Mapping[str, Sequence[PatchRecord]] = field(default_factory=dict)
    also: Mapping[str, KernelTree] = field(default_factory=dict)


def check_all(
    source: Path,
    repository: Repository,
    base: str,
    below: str,
    tip: str,
    mails: Sequence[Path],
    user: UserRepository,
    known: Known,
) -> list[Check]:
    """All checks of the commits from `below` to `tip`; what they stand on begins at `base`.

    `source` is a folder of the kernel at `tip`; `user` has the history that the style of
    subjects is read from. Raises InfrastructureError where a tool fails.
    """
    patches = without_cover(mails)
    return [
        _checkpatch(source, patches),
        _whitespace(repository, below, tip),
        _subjects(patches),
        style(user, base, repository, f"{below}..{tip}"),
        _cover(mails),
        _sizes(patches),
        _tested(known.tested),
        patch_by_patch(repository, f"{below}..{tip}", known.records),
        _applies("its base", repository.git_dir, base, repository, f"{base}..{tip}"),
        *(
            _applies(name, tree.git_dir, tree.commit, repository, f"{base}..{tip}")
            for name, tree in known.also.items()
        ),
    ]


def _checkpatch(source: Path, patches: Sequence[Path]) -> Check:
    """``checkpatch.pl --strict``: errors, warnings and checks.

    Left out is the warning for new files, whose MAINTAINERS entry is a patch of the series, and
    that for a missing sign-off, which is the user's to give.
    """
    command = ["perl", "scripts/checkpatch.pl", "--strict", "--terse", "--no-summary"]
    command += ["--no-signoff", "--ignore=FILE_PATH_CHANGES"]
    said = run.run([*command, *patches], cwd=source).output.splitlines()
    wrong = [line for line in said if re.search("(ERROR|WARNING|CHECK):", line)]
    return Check(
        "checkpatch --strict",
        not wrong,
        listed(wrong) or f"{len(patches)} patches are clean",
        "mend the template, or say in the cover letter why it is right",
    )


def _whitespace(repository: Repository, base: str, tip: str) -> Check:
    done = repository.run("diff", "--check", base, tip)
    lines = done.output.strip().splitlines()
    return Check("white space", done.ok, listed(lines) or "no error", "mend the template")


def _subjects(patches: Sequence[Path]) -> Check:
    long = []
    for path in patches:
        text = subject_of(path)
        if len(text) > MOST_SUBJECT or ": " not in text:
            long.append(f"{path.name}: {text}")
    return Check(
        "subjects",
        not long,
        listed(long) or f"all name a subsystem and have at most {MOST_SUBJECT} characters",
        "shorten them in series.yaml",
    )


def style(user: UserRepository, base: str, repository: Repository, commits: str) -> Check:
    """Whether each subject begins as others do that touch one of its files.

    Upper and lower case count: "ARM: " and "RISC-V: " are customs of their subsystems. New
    files, and files that hardly ever change, say nothing.
    """
    name = "subject style"
    wrong: list[str] = []
    known = False
    for line in repository.git("log", "--reverse", "--format=%H %s", commits).splitlines():
        commit, _, subject = line.partition(" ")
        custom = _custom(user, base, _files(repository, commit))
        known = known or bool(custom)
        prefix = subject.partition(": ")[0]
        if custom and prefix not in custom:
            usual = ", ".join(f'"{one}:" ({count})' for one, count in custom.most_common(3))
            wrong.append(f'"{subject}": the last commits to these files say {usual}')
    if not known:
        return Check(name, True, "not looked at: this repository has no history of these files")
    return Check(
        name, not wrong, listed(wrong) or "as in the history of their files", "series.yaml"
    )


def _files(repository: Repository, commit: str) -> list[str]:
    listed = repository.git("diff-tree", "-r", "--no-commit-id", "--name-only", commit)
    return listed.splitlines()


def _custom(user: UserRepository, base: str, files: Sequence[str]) -> Counter[str]:
    """How often the last commits to one of `files` began with which words before ": "."""
    words = ["log", "--no-merges", f"-{_HISTORY}", "--format=%s", base, "--", *files]
    subjects = user.git(*words).output.splitlines()
    # "ARM: 9345/1: …" is "ARM": a patch system's number is no custom.
    prefixes = Counter(re.split(r": (?:\d+/\d+: )?", one)[0] for one in subjects if ": " in one)
    return prefixes if prefixes.total() >= _ENOUGH else Counter()


def _cover(mails: Sequence[Path]) -> Check:
    letters = set(mails) - set(without_cover(mails))
    lacks = any(lacks_words(path.read_text()) for path in letters)
    return Check(
        "cover letter",
        not lacks,
        "it does not say what changed" if lacks else "complete",
        "--changes TEXT, or edit it where it says EDITME",
    )


def _sizes(patches: Sequence[Path]) -> Check:
    wrong = [
        f"{path.name}: {path.stat().st_size} bytes"
        for path in patches
        if path.stat().st_size > MOST_BYTES
    ]
    if len(patches) > MOST_PATCHES:
        wrong.append(f"{len(patches)} patches, more than {MOST_PATCHES}")
    largest = max(path.stat().st_size for path in patches)
    return Check(
        "size",
        not wrong,
        listed(wrong) or f"{len(patches)} patches, the largest of {largest} bytes",
        "split it",
    )


def _tested(found: Results) -> Check:
    wrong = [f"{one.cell}: {one.verdict}" for one in found.failed]
    holds = bool(found.results) and not wrong
    some = f"{found.passed} of {len(found.results)} cells pass" if found.results else ""
    return Check(
        "tested",
        holds,
        listed(wrong) or some or "no result of exactly these patches on this kernel is stored",
        "xipmatrix build --kernel … with the same tree, then again",
    )


def patch_by_patch(
    repository: Repository, commits: str, records: Mapping[str, Sequence[PatchRecord]]
) -> Check:
    """Whether every patch was built on its own, without XIP and with it, for all of `records`.

    An architecture whose files it touches, and that is none of these, is missing as well.
    """
    missing: list[str] = []
    wrong: list[str] = []
    builds = boots = 0
    for line in repository.git("log", "--reverse", "--format=%H %T %s", commits).splitlines():
        commit, tree, subject = line.split(" ", 2)
        files = _files(repository, commit)
        archs = {one.split("/")[1] for one in files if one.startswith("arch/")}
        missing += [
            f'not built for {arch}, which the matrix does not have: "{subject}"'
            for arch in sorted(archs - {"Kconfig", *records})
        ]
        for arch, known in records.items():
            found = {one.xip: one for one in known if one.tree == tree}
            builds += sum(not one.absent for one in found.values())
            boots += sum(one.booted for one in found.values())
            wrong += [
                f'{one.cell}: "{subject}": {one.wrong}' for one in found.values() if one.wrong
            ]
            if len(found) < 2:
                missing.append(f'not built for {arch}: "{subject}"')
    return Check(
        "each patch alone",
        not missing and not wrong,
        listed([*wrong, *missing]) or f"{builds} builds, {boots} of them boot in place",
        "xipmatrix each-patch CELL --kernel … with the same tree, then again",
    )


def _applies(name: str, git_dir: Path, commit: str, repository: Repository, commits: str) -> Check:
    """``git am`` on a commit, of which only the files that are touched are checked out."""
    name_of_ours, mail = IDENTITY
    env = {**hermetic(), "GIT_COMMITTER_NAME": name_of_ours, "GIT_COMMITTER_EMAIL": mail}
    touched = repository.git("log", "--format=", "--name-only", commits).split("\n")
    with tempfile.TemporaryDirectory(prefix="xipmatrix-am-") as folder:
        box, clone = Path(folder) / "mbox", Path(folder) / "linux"
        box.write_bytes(repository.raw("format-patch", "--stdout", commits))
        run.run(["git", "init", "-q", str(clone)], env=env, check=True)
        # Not a clone: one of a repository without history has no commit to check out.
        (clone / ".git/objects/info/alternates").write_text(f"{git_dir / 'objects'}\n")
        git = ["git", "-C", str(clone)]
        only = ["sparse-checkout", "set", "--no-cone", *sorted(set(touched))]
        run.run([*git, *only], env=env, check=True)
        run.run([*git, "checkout", "-q", "--detach", commit], env=env, check=True)
        done = run.run([*git, "am", "-q", str(box)], env=env)
    wrong = [one for one in done.output.splitlines() if one.startswith(("error", "Patch failed"))]
    return Check(
        f"git am on {name}",
        done.ok,
        listed(wrong) or ("applies" if done.ok else done.output.strip()),
        "xipmatrix refresh --kernel … says which anchors moved",
    )


def listed(lines: Sequence[str], most: int = 10) -> str:
    """The first of `lines`, and how many there are beyond."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
