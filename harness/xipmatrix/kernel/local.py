# SPDX-License-Identifier: GPL-2.0-only
"""The user's own repositories and folders: only ever read.

Our bare repository borrows a local repository's objects (objects/info/alternates), so
nothing is copied, and what is new (uncommitted changes, our series) is written to ours.
No command that writes runs inside the user's repository: its refs, index, configuration
and work tree metadata stay as they are.
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..core.files import Say, complete_dir, key_of, locked
from ..core.git import Repository
from ..core.progress import Throttle, megabytes
from ..matrix.model import Git
from .tree import release_of_folder

# Safe to leave the user's configuration on: it holds safe.directory, proxies, credentials.
_READING = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
}
_DATE = "2000-01-01T00:00:00+0000"
# Above this size git writes blobs straight into one pack, instead of 90,000 files.
_PACKING = ("-c", "core.bigFileThreshold=1")
# Dot files of a kernel's source: .gitignore ignores all others. Debian's copy lost these lines.
_DOT_FILES = (
    *(".clang-format", ".clippy.toml", ".cocciconfig", ".editorconfig", ".get_maintainer.ignore"),
    *(".gitattributes", ".gitignore", ".kunitconfig", ".mailmap", ".pylintrc", ".renames.txt"),
    *(".rustfmt.toml", ".yamllint"),
)
_FULL_ID = frozenset({40, 64})


@dataclass(frozen=True)
class UserRepository:
    """A repository of the user's, which we only read.

    `top` is its work tree, None where it is bare; `index` may not exist.
    """

    path: Path
    top: Path | None
    objects: Path
    index: Path
    object_format: str

    def git(self, *words: str) -> run.Completed:
        """A git command that only reads."""
        return _reading_git(self.path, *words)

    def commit(self, ref: str) -> str | None:
        """The commit that `ref` means, or None."""
        done = self.git("rev-parse", "--quiet", "--verify", "--end-of-options", f"{ref}^{{commit}}")
        return done.output.strip() if done.ok else None

    def need_commit(self, ref: str) -> str:
        """The commit that `ref` means. Raises UsageError with the nearest refs."""
        commit = self.commit(ref)
        if commit is None:
            listed = self.git("for-each-ref", "--format=%(refname:short)").output.split()
            near = difflib.get_close_matches(ref, listed, 3, 0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "see: git branch -a; git tag"
            raise UsageError(f"there is no commit '{ref}'", where=self.path, hint=hint)
        return commit


def _reading_git(path: Path, *words: str) -> run.Completed:
    return run.run(["git", "-C", str(path), *words], env=_READING)


def find_repository(path: Path) -> UserRepository | None:
    """The repository whose top folder (or bare folder) is `path`, or None.

    Raises InfrastructureError where git refuses to read it (another owner).
    """
    done = _reading_git(
        path,
        "rev-parse",
        "--show-object-format",
        "--is-bare-repository",
        "--path-format=absolute",
        "--git-path",
        "objects",
        "--git-path",
        "index",
        "--git-common-dir",
    )
    if not done.ok:
        if "dubious ownership" in done.output or "safe.directory" in done.output:
            raise InfrastructureError(
                "git does not read a repository of another user",
                where=path,
                hint=f"git config --global --add safe.directory {path}",
            )
        return None
    object_format, bare, objects, index, common = done.output.strip().splitlines()[-5:]
    top: Path | None = None
    if bare == "true":
        # Any folder inside a bare repository answers; only the repository itself counts.
        if Path(common).resolve() != path.resolve():
            return None
    else:
        shown = _reading_git(path, "rev-parse", "--show-toplevel")
        if not shown.ok or Path(shown.output.strip()).resolve() != path.resolve():
            return None
        top = path.resolve()
    return UserRepository(path, top, Path(objects), Path(index), object_format)


def from_repository(spec: Git, kernels: Path, say: Say) -> tuple[str, Repository, str]:
    """(commit, our repository, origin) of a ref in a repository given by path or URL.

    Raises UsageError for a ref or repository that does not exist, InfrastructureError
    where a URL cannot be fetched.
    """
    path = Path(spec.url).expanduser()
    if "://" not in spec.url and path.exists():
        user = find_repository(path.resolve())
        if user is None:
            raise UsageError("this is no git repository", where=path)
        with _ours(kernels / f"git-{key_of(str(user.path))}", say, user) as ours:
            commit = user.need_commit(spec.ref)
            return commit, ours, f"git {path} at {spec.ref} ({commit[:12]})"
    if "://" not in spec.url and ":" not in spec.url:
        raise UsageError("no such folder", where=path)
    with _ours(kernels / f"git-{key_of(spec.url)}", say) as ours:
        commit = _fetch(spec, ours, say)
        return commit, ours, f"git {spec.url} at {spec.ref} ({commit[:12]})"


def _fetch(spec: Git, ours: Repository, say: Say) -> str:
    """Fetch one commit without its history."""
    full = len(spec.ref) in _FULL_ID and set(spec.ref) <= set("0123456789abcdef")
    if full and (known := ours.resolve(f"{spec.ref}^{{commit}}")):
        return known
    ref = f"refs/fetched/{key_of(spec.ref)}"
    say(f"fetching {spec.ref} from {spec.url}")
    throttle = Throttle(say)
    log = ours.git_dir / "fetch.log"
    words = ours.argv(
        "fetch",
        "--depth=1",
        "--no-tags",
        "--no-write-fetch-head",
        "--",
        spec.url,
        f"+{spec.ref}:{ref}",
    )
    with log.open("wb") as output, run.start(words, env=_READING, stdout=output.fileno()) as child:
        while True:
            try:
                child.wait(0.2)
                break
            except subprocess.TimeoutExpired:
                if throttle.due:
                    size = sum(p.stat().st_size for p in ours.git_dir.glob("objects/pack/*"))
                    throttle.tell(f"fetching {spec.ref}: {megabytes(size)}")
    if child.returncode != 0:
        said = log.read_text(errors="replace").strip().splitlines()
        raise InfrastructureError(
            f"git fetch of '{spec.ref}' failed:\n  " + "\n  ".join(said[-4:]), where=spec.url
        )
    return ours.git("rev-parse", f"{ref}^{{commit}}")


def from_folder(path: Path, kernels: Path, say: Say) -> tuple[str, Repository, str]:
    """(commit, our repository, origin) of a source tree as it is on disk.

    In a git work tree tracked and new files count, committed or not; in any folder what
    .gitignore names (build products) does not. Raises UsageError if it is no kernel.
    """
    folder = path.expanduser().resolve()
    if not folder.is_dir():
        raise UsageError("no such folder", where=path)
    release_of_folder(folder)
    user = find_repository(folder)
    if user is not None and user.top is None:
        raise UsageError("this is a bare repository", where=path, hint=f"say which: {path}@REF")
    with _ours(kernels / f"path-{key_of(str(folder))}", say, user) as ours:
        say(f"reading {folder}")
        head = user.commit("HEAD") if user else None
        tree = _snapshot(folder, ours, user, head)
        if head and ours.git("rev-parse", f"{head}^{{tree}}") == tree:
            return head, ours, f"{folder} ({head[:12]})"
        commit = ours.commit_tree(
            tree,
            "The source tree as it is on disk\n",
            date=_DATE,
            parents=(head,) if head else (),
        )
        changed = f"{head[:12]} with uncommitted changes" if head else "no git repository"
        return commit, ours, f"{folder} ({changed})"


def _snapshot(folder: Path, ours: Repository, user: UserRepository | None, head: str | None) -> str:
    """Write what is in `folder` to `ours`; returns the tree."""
    # An index of our own; git hashes only the files whose size or times are not in it.
    index = ours.git_dir / "index"
    env = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
    if user is not None:
        index.unlink(missing_ok=True)
        if user.index.is_file():
            shutil.copyfile(user.index, index)
        # A split index cannot be copied alone; then every file is read.
        if not ours.run("ls-files", "--", "Makefile", env=env).ok:
            index.unlink(missing_ok=True)
        if head and not index.exists():
            ours.git("read-tree", head, env=env)
    elif index.exists() and not ours.run("ls-files", "--", "Makefile", env=env).ok:
        index.unlink()
    if user is not None:
        ours.git(*_PACKING, "add", "-A", "--", ".", env=env, cwd=folder)
    else:
        _add_plain(folder, ours, env)
    return ours.git("write-tree", env=env)


def _add_plain(folder: Path, ours: Repository, env: dict[str, str]) -> None:
    """Bring the index up to date with a folder in which nothing says what is tracked."""
    excludes = ["--exclude-per-directory=.gitignore"]
    if ours.run("check-ignore", "-q", "--no-index", "Makefile", env=env, cwd=folder).ok:
        text = (folder / ".gitignore").read_text(errors="replace")
        excludes += [f"--exclude={pattern}" for pattern in top_patterns(text)]

    def listed(*which: str) -> bytes:
        names = ours.git("ls-files", "-z", *which, *excludes, env=env, cwd=folder)
        return names.encode(errors="surrogateescape")

    def update(how: str, names: bytes) -> None:
        words = (*_PACKING, "update-index", how, "--remove", "-z", "--stdin")
        ours.git(*words, env=env, cwd=folder, input_bytes=names)

    update("--force-remove", listed("--ignored", "--cached"))
    update("--add", listed("--others", "--modified"))


def top_patterns(gitignore: str) -> list[str]:
    """The patterns of a .gitignore that ignores its whole folder, without that, for its top.

    Debian's kernel sources end theirs with ``/*``, since their own git holds no kernel.
    """
    found = ["!/*"]
    for line in gitignore.splitlines():
        negated, name = line.startswith("!"), line.strip().removeprefix("!").removeprefix("/")
        if name in ("", "*") or name.startswith("#") or "/" in name.rstrip("/"):
            continue  # deeper ones still count through the file itself
        found.append(f"{'!' if negated else ''}/{name}")
    return [*found, *(f"!{name}" for name in _DOT_FILES)]


@contextlib.contextmanager
def _ours(place: Path, say: Say, user: UserRepository | None = None) -> Iterator[Repository]:
    """Our repository at `place`, locked; it borrows the objects of `user`."""
    with locked(place, say, f"a copy of {user.path}" if user else ""):
        if not place.exists():
            with complete_dir(place) as work:
                Repository.create(
                    work / "git", object_format=user.object_format if user else "sha1"
                )
        ours = Repository(place / "git")
        (ours.git_dir / "index.lock").unlink(missing_ok=True)  # of a killed run: we hold the lock
        if user is not None:
            borrowed = str(user.objects.resolve())
            if "\n" in borrowed:
                raise UsageError("the path holds a line break", where=user.path)
            (ours.git_dir / "objects/info/alternates").write_text(borrowed + "\n")
        yield ours
