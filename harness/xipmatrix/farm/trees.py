# SPDX-License-Identifier: GPL-2.0-only
"""Kernel trees on their way to another machine, by the names of git's objects.

A commit's files travel as a pack: the kernel's whole tree once, then for each series the few
objects that it adds. History does not travel; a commit's id still says exactly which files
it has, and git computes every object's name anew where it arrives.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import TEMPORARY, locked, sha256_file
from ..core.git import Repository, hermetic
from .content import Corrupt

# Where a worker keeps what it was sent, below its cache's `kernels`; one per object format.
_OWN = {40: "farm-sha1", 64: "farm-sha256"}
_REF = "refs/farm/{commit}"


@dataclass(frozen=True)
class Pack:
    """The objects of `commits` (id → tree id) without those of `base`, as one file."""

    path: Path
    sha256: str
    size: int
    commits: dict[str, str]
    base: str = ""


@dataclass(frozen=True)
class Trees:
    """A kernel as it is sent: its own commit and the tips of its series, each with its tree."""

    git_dir: Path
    base: str
    tips: tuple[str, ...]

    def pack_of_base(self, cache: Path) -> Pack:
        """The kernel's whole tree. Made once: the pack is kept below `cache`."""
        return self._pack(cache, [self.base], ["--no-walk", self.base], "")

    def pack_of_series(self, cache: Path) -> Pack | None:
        """What all series add; None where they add nothing."""
        tips = [tip for tip in dict.fromkeys(self.tips) if tip != self.base]
        if not tips:
            return None
        return self._pack(cache, tips, [*tips, f"^{self.base}"], self.base)

    def _pack(self, cache: Path, commits: Sequence[str], which: Sequence[str], base: str) -> Pack:
        repository = Repository(self.git_dir)
        name = "-".join(one[:12] for one in (*commits[:1], base) if one)
        count = f"-{len(commits)}" if base else ""
        place = cache / "farm" / "packs" / f"{name}{count}.pack"
        trees = {one: repository.tree_of(one) for one in commits}
        with locked(place):
            if base or not place.exists():  # a series' pack is small, and its name says less
                place.parent.mkdir(parents=True, exist_ok=True)
                self._write_pack(repository, which, place)
        return Pack(place, sha256_file(place), place.stat().st_size, trees, base)

    def _write_pack(self, repository: Repository, which: Sequence[str], place: Path) -> None:
        partial = place.with_name(f"{TEMPORARY}{place.name}")
        with tempfile.TemporaryFile() as objects:
            with run.start(
                repository.argv("rev-list", "--objects", *which),
                env=hermetic(),
                stdout=objects.fileno(),
                stderr=None,
            ) as process:
                _ended(process, "rev-list", self.git_dir)
            objects.seek(0)
            with (
                partial.open("wb") as stream,
                run.start(
                    # The deltas that are there are good enough: no search for better ones.
                    repository.argv("pack-objects", "-q", "--stdout", "--window=0"),
                    env=hermetic(),
                    stdin=objects.fileno(),
                    stdout=stream.fileno(),
                    stderr=None,
                ) as process,
            ):
                _ended(process, "pack-objects", self.git_dir)
        partial.replace(place)


def _ended(process: run.Process, what: str, where: Path) -> None:
    if process.wait() != 0:
        raise InfrastructureError(f"git {what}: {process.returncode}", where=where)


# --- on the worker ----------------------------------------------------------------------


def holder(cache: Path, commit: str) -> Path | None:
    """The repository below `cache` that has all of `commit`, or None.

    What this machine obtained itself counts as well as what it was sent.
    """
    own = _own(cache, commit)
    if own.is_dir() and Repository(own).resolve(_REF.format(commit=commit)):
        return own
    for git_dir in sorted((cache / "kernels").glob("*/git")):
        if git_dir != own and Repository(git_dir).resolve(f"{commit}^{{tree}}"):
            return git_dir
    return None


def adopt(cache: Path, pack: Path, commits: dict[str, str], base: str) -> Path:
    """Take `commits` (id → tree id) from the file `pack`; the repository that has them now.

    `base`, where it is given, is here already. Raises Corrupt where the pack is not sound or
    does not hold what it should: git computes the name of every object in it.
    """
    some = next(iter(commits))
    home = holder(cache, base) if base else None
    if base and home is None:
        raise InfrastructureError(f"the kernel {base[:12]} is not on this machine", where=cache)
    git_dir = home or _own(cache, some)
    with locked(git_dir.parent / "adopting"):
        if not git_dir.is_dir():
            Repository.create(git_dir, object_format="sha1" if len(some) == 40 else "sha256")
        repository = Repository(git_dir)
        done = repository.run("index-pack", "-o", pack.with_suffix(".idx"), pack)
        if not done.ok:
            raise Corrupt(f"git refuses the pack: {done.output.strip()}", where=pack)
        target = git_dir / "objects" / "pack" / f"pack-{done.output.split()[-1]}"
        pack.replace(target.with_suffix(".pack"))
        pack.with_suffix(".idx").replace(target.with_suffix(".idx"))  # last: git looks for it
        if not base:
            _forget_history(git_dir, some)
        for commit, tree in commits.items():
            got = repository.resolve(f"{commit}^{{tree}}")
            if got != tree:
                raise Corrupt(f"the tree of {commit[:12]} is {got}, not {tree}", where=git_dir)
            missing = repository.run("rev-list", "--objects", "--no-walk", "--quiet", commit)
            if not missing.ok:
                raise Corrupt(f"not all of {commit[:12]} came: {missing.output.strip()}")
            repository.git("update-ref", _REF.format(commit=commit), commit)
    return git_dir


def _own(cache: Path, commit: str) -> Path:
    return cache / "kernels" / _OWN.get(len(commit), "farm-unknown") / "git"


def _forget_history(git_dir: Path, commit: str) -> None:
    """Tell git that the parents of `commit` are not here, and are not missed."""
    shallow = git_dir / "shallow"
    known = shallow.read_text().split() if shallow.exists() else []
    if commit not in known:
        shallow.write_text("\n".join([*known, commit]) + "\n")
