# SPDX-License-Identifier: GPL-2.0-only
"""git on repositories of our own, deaf to the user's and the system's configuration."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from . import run
from .errors import InfrastructureError

IDENTITY = ("xipmatrix", "xipmatrix@localhost")

# The bare repositories' own settings: no clean-up behind our back (it would cost minutes and
# drop commits that no ref names), no filters or attributes from the user's home, and little
# compression, since time is dearer here than disk.
_CONFIG = """\
[core]
	repositoryformatversion = {version}
	bare = true
	filemode = true
	compression = {compression}
	looseCompression = 1
	attributesFile = /dev/null
	excludesFile = /dev/null
	hooksPath = /dev/null
	autocrlf = false
	fsmonitor = false
	trustctime = false
[gc]
	auto = 0
[maintenance]
	auto = false
[checkout]
	workers = 0
"""
COMPRESSION = 1


def hermetic() -> dict[str, str]:
    """Environment in which git obeys no configuration but the repository's own."""
    return {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


@dataclass(frozen=True)
class Change:
    """A commit to be: its message, its date (ISO 8601), and mode and text of its files by path.

    A file whose text is None goes.
    """

    message: str
    date: str
    files: Mapping[str, tuple[str, str | None]]


@dataclass(frozen=True)
class Repository:
    """A git repository of our own (or, with `git` only, one that is only read)."""

    git_dir: Path

    @classmethod
    def create(cls, git_dir: Path, *, object_format: str = "sha1") -> Repository:
        """A new bare repository at `git_dir`, which does not exist yet."""
        git_dir.mkdir(parents=True)
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
            (git_dir / name).mkdir(parents=True)
        (git_dir / "HEAD").write_text("ref: refs/heads/base\n")
        sha256 = object_format != "sha1"
        text = _CONFIG.format(version=int(sha256), compression=COMPRESSION)
        if sha256:
            text += f"[extensions]\n\tobjectFormat = {object_format}\n"
        (git_dir / "config").write_text(text)
        return cls(git_dir)

    def argv(self, *words: str | os.PathLike[str]) -> list[str]:
        """The command line of a git command on this repository."""
        return ["git", f"--git-dir={self.git_dir}", *map(str, words)]

    def run(
        self,
        *words: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        input_bytes: bytes | None = None,
        cwd: Path | None = None,
    ) -> run.Completed:
        """A git command, whatever becomes of it."""
        return run.run(
            self.argv(*words), env={**hermetic(), **(env or {})}, input_bytes=input_bytes, cwd=cwd
        )

    def git(
        self,
        *words: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        input_bytes: bytes | None = None,
        cwd: Path | None = None,
    ) -> str:
        """A git command's output, stripped. Raises InfrastructureError where it fails."""
        done = self.run(*words, env=env, input_bytes=input_bytes, cwd=cwd)
        if not done.ok:
            raise InfrastructureError(
                f"git {words[0]} failed: {done.output.strip()}", where=self.git_dir
            )
        return done.output.strip()

    def raw(
        self,
        *words: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> bytes:
        """A git command's output as it is (``-z`` lists). Raises as :meth:`git` does."""
        with (
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
            run.start(
                self.argv(*words),
                env={**hermetic(), **(env or {})},
                cwd=cwd,
                stdout=output.fileno(),
                stderr=errors.fileno(),
            ) as process,
        ):
            if process.wait() != 0:
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip()
                raise InfrastructureError(f"git {words[0]} failed: {said}", where=self.git_dir)
            output.seek(0)
            return output.read()

    def text(self, name: str) -> str | None:
        """The blob `name` (``commit:path``) as text, or None where there is no such blob."""
        done = run.run(self.argv("cat-file", "blob", name), env=hermetic(), merge_stderr=False)
        return done.output if done.ok else None

    def resolve(self, name: str) -> str | None:
        """The object id of `name`, or None where this repository has no such object."""
        done = run.run(
            self.argv("rev-parse", "--quiet", "--verify", "--end-of-options", name),
            env=hermetic(),
            merge_stderr=False,
        )
        return done.output.strip() if done.ok else None

    def tree_of(self, commit: str) -> str:
        """The id of the tree of `commit`: all its files, and nothing of its message or history.

        Raises InfrastructureError where this repository has no such commit.
        """
        found = self.resolve(f"{commit}^{{tree}}")
        if found is None:
            raise InfrastructureError(f"there is no commit {commit}", where=self.git_dir)
        return found

    def has(self, names: Iterable[str]) -> bool:
        """Whether this repository has every object of `names`, by one process for all."""
        done = self.run("cat-file", "--batch-check", input_bytes="\n".join([*names, ""]).encode())
        lines = done.output.splitlines()
        return done.ok and not any(line.endswith(" missing") for line in lines)

    def commit_tree(
        self,
        tree: str,
        message: str,
        *,
        date: str,
        parents: tuple[str, ...] = (),
        who: tuple[str, str] = IDENTITY,
    ) -> str:
        """Commit `tree` by `who`; the same arguments give the same commit id everywhere."""
        name, mail = who
        env = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", name), ("EMAIL", mail), ("DATE", date))
        }
        words = [word for parent in parents for word in ("-p", parent)]
        return self.git(
            "commit-tree", tree, *words, "-F", "-", env=env, input_bytes=message.encode()
        )

    def commit_changes(self, base: str, changes: Sequence[Change]) -> tuple[str, ...]:
        """Commit one change after the other on commit `base`; their ids, oldest first.

        In one process, and without an index, which would have all files of the tree. The same
        arguments give the same ids everywhere.
        """
        with tempfile.TemporaryDirectory(prefix="xipmatrix-import-") as folder:
            marks = Path(folder) / "marks"
            # The branch is for fast-import's sake, and gone at its end: "reset" to nothing.
            branch = f"refs/xipmatrix/import-{Path(folder).name}"
            parents = [base, *(f":{number}" for number in range(1, len(changes)))]
            stream = [
                _commit_command(branch, parent, number, one)
                for number, (parent, one) in enumerate(zip(parents, changes, strict=True), 1)
            ]
            stream.append(f"reset {branch}\nfrom {'0' * len(base)}\n\ndone\n".encode())
            self.git(
                # No pack for a few objects, which would be there again with each import.
                *("-c", "fastimport.unpackLimit=1000000", "fast-import", "--quiet", "--done"),
                *("--date-format=raw", f"--export-marks={marks}"),
                input_bytes=b"".join(stream),
            )
            ids = dict(line.split() for line in marks.read_text().splitlines())
        return tuple(ids[f":{number}"] for number in range(1, len(changes) + 1))


def _commit_command(branch: str, parent: str, mark: int, change: Change) -> bytes:
    """git fast-import's words for a commit on `branch`."""
    name, mail = IDENTITY
    who = f"{name} <{mail}> {int(datetime.fromisoformat(change.date).timestamp())} +0000"
    head = f"commit {branch}\nmark :{mark}\nauthor {who}\ncommitter {who}\n"
    files = b"".join(
        f"D {path}\n".encode()
        if text is None
        else f"M {mode} inline {path}\n".encode() + _data(text) + b"\n"
        for path, (mode, text) in change.files.items()
    )
    return head.encode() + _data(change.message) + f"from {parent}\n".encode() + files + b"\n"


def _data(text: str) -> bytes:
    content = text.encode()
    return f"data {len(content)}\n".encode() + content
