# SPDX-License-Identifier: GPL-2.0-only
"""The user's own repositories and folders: only ever read.

The commit that is wanted is fetched, without its history, into a bare repository of our
own; uncommitted changes are added there. Borrowing objects (objects/info/alternates)
would be quicker, but git then touches the times of the user's object files, and a
``git gc`` of the user could take objects from under us. No command that writes runs
inside the user's repository.
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..core.files import Say, bytes_in, complete_dir, key_of, locked
from ..core.git import Repository
from ..core.progress import Throttle, megabytes, run_watched
from ..matrix.model import Git
from .places import SOURCE_DATE
from .tree import release_of_folder

# Safe to leave the user's configuration on: it holds safe.directory, proxies, credentials.
_READING = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
}
# Above this size git writes blobs straight into one pack, instead of 90,000 files.
_PACKING = ("-c", "core.bigFileThreshold=1")
# Dot files of a kernel's source: .gitignore ignores all others. Debian's copy lost these lines.
_DOT_FILES = (
    *(".clang-format", ".clippy.toml", ".cocciconfig", ".editorconfig", ".get_maintainer.ignore"),
    *(".gitattributes", ".gitignore", ".kunitconfig", ".mailmap", ".pylintrc", ".renames.txt"),
    *(".rustfmt.toml", ".yamllint"),
)
# What a copy within one machine should not spend minutes on: looking for small deltas.
_QUICK_PACKS = "--upload-pack=git -c pack.window=0 -c pack.compression=1 upload-pack"
_FULL_ID = frozenset({40, 64})


@dataclass(frozen=True)
class UserRepository:
    """A repository of the user's, which we only read.

    `top` is its work tree, None where it is bare; `common` its .git; `index` may not exist.
    """

    path: Path
    top: Path | None
    common: Path
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
    object_format, bare, index, common = done.output.strip().splitlines()[-4:]
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
    return UserRepository(path, top, Path(common), Path(index), object_format)


def from_repository(spec: Git, kernels: Path, say: Say) -> tuple[str, Repository, str]:
    """(commit, our repository, origin) of a ref in a repository given by path or URL.

    Raises UsageError for a ref or repository that does not exist, InfrastructureError
    where it cannot be fetched.
    """
    path = Path(spec.url).expanduser()
    if "://" not in spec.url and path.exists():
        user = find_repository(path.resolve())
        if user is None:
            raise UsageError("this is no git repository", where=path)
        commit = user.need_commit(spec.ref)
        with _ours(user.path, kernels, say, user) as ours:
            _fetch(str(user.path), commit, ours, say)
            return commit, ours, f"git {path} at {spec.ref} ({commit[:12]})"
    if ":" not in spec.url:
        raise UsageError("no such folder", where=path)
    with _ours(spec.url, kernels, say) as ours:
        commit = _fetch(spec.url, spec.ref, ours, say)
        return commit, ours, f"git {spec.url} at {spec.ref} ({commit[:12]})"


def _fetch(url: str, ref: str, ours: Repository, say: Say) -> str:
    """Fetch the commit `ref` without its history; nothing if it is a full id that we have."""
    full = len(ref) in _FULL_ID and set(ref) <= set("0123456789abcdef")
    if full and (known := ours.resolve(f"{ref}^{{commit}}")):
        return known
    kept = f"refs/fetched/{ref if full else key_of(ref)}"
    say(f"fetching {ref[:12] if full else ref} from {url}")
    throttle = Throttle(say)

    def tick() -> None:
        if throttle.due:
            size = bytes_in(ours.git_dir / "objects" / "pack")
            throttle.tell(f"fetching from {url}: {megabytes(size)}")

    words = ours.argv(
        *("-c", "protocol.version=2", "fetch", "--depth=1", "--no-tags", "--no-write-fetch-head"),
        # A server may allow nothing but its own words for this.
        *((_QUICK_PACKS,) if url.startswith("/") else ()),
        *("--", url, f"+{ref}:{kept}"),
    )
    status, said = run_watched(words, tick, env=_READING)
    if status != 0:
        raise InfrastructureError(f"git fetch of '{ref}' failed:\n  {said}", where=url)
    return ours.git("rev-parse", f"{kept}^{{commit}}")


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
    head = user.commit("HEAD") if user else None
    with _ours(folder, kernels, say, user) as ours:
        index = ours.git_dir / "index"
        env = {"GIT_WORK_TREE": str(folder), "GIT_INDEX_FILE": str(index)}
        if user is None or head is None:
            say(f"reading {folder}")
            _add_plain(folder, ours, env)
        else:
            _fetch(str(folder), head, ours, say)
            say(f"reading {folder}")
            _add_changes(folder, ours, env, user, head)
        tree = ours.git("write-tree", env=env)
        if head and ours.tree_of(head) == tree:
            return head, ours, f"{folder} ({head[:12]})"
        commit = ours.commit_tree(
            tree,
            "The source tree as it is on disk\n",
            date=SOURCE_DATE,
            parents=(head,) if head else (),
        )
        changed = f"{head[:12]} with uncommitted changes" if head else "no git repository"
        return commit, ours, f"{folder} ({changed})"


def _add_changes(
    folder: Path, ours: Repository, env: dict[str, str], user: UserRepository, head: str
) -> None:
    """Make our index that of the work tree `folder`, whose HEAD we have."""
    index = Path(env["GIT_INDEX_FILE"])
    index.unlink(missing_ok=True)
    # With the user's index git reads only the files whose size or times are not in it.
    if user.index.is_file():
        shutil.copyfile(user.index, index)
    # A split index cannot be copied alone; then every file is read.
    if not ours.run("ls-files", "--", "Makefile", env=env).ok:
        index.unlink()
    if not index.exists():
        ours.git("read-tree", head, env=env)
    # What is staged has its blob in the user's repository only: read it from disk again.
    staged = ours.raw("diff-index", "--cached", "--name-only", "-z", head, env=env, cwd=folder)
    _update(ours, env, folder, "--force-remove", staged)
    _update(ours, env, folder, "--add", staged)
    _update(ours, env, folder, "--add", _listed(ours, env, folder, "--others", "--modified"))


def _add_plain(folder: Path, ours: Repository, env: dict[str, str]) -> None:
    """Bring our index up to date with a folder in which nothing says what is tracked."""
    index = Path(env["GIT_INDEX_FILE"])
    if index.exists() and not ours.run("ls-files", "--", "Makefile", env=env).ok:
        index.unlink()
    _update(
        ours, env, folder, "--force-remove", _listed(ours, env, folder, "--ignored", "--cached")
    )
    _update(ours, env, folder, "--add", _listed(ours, env, folder, "--others", "--modified"))


def _update(ours: Repository, env: dict[str, str], folder: Path, how: str, names: bytes) -> None:
    words = (*_PACKING, "update-index", how, "--remove", "-z", "--stdin")
    ours.git(*words, env=env, cwd=folder, input_bytes=names)


def _listed(ours: Repository, env: dict[str, str], folder: Path, *which: str) -> bytes:
    """The files of `folder` that git sorts so by its .gitignore files, each ended by NUL."""
    excludes = ["--exclude-per-directory=.gitignore"]
    if ours.run("check-ignore", "-q", "--no-index", "Makefile", env=env, cwd=folder).ok:
        text = (folder / ".gitignore").read_text(errors="replace")
        excludes += [f"--exclude={pattern}" for pattern in top_patterns(text)]
    return ours.raw("ls-files", "-z", *which, *excludes, env=env, cwd=folder)


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
def _ours(
    source: Path | str, kernels: Path, say: Say, user: UserRepository | None = None
) -> Iterator[Repository]:
    """Our repository for the folder or URL `source`, locked."""
    object_format = user.object_format if user else "sha1"
    # A folder that became a repository, or another one, starts anew.
    place = kernels / f"own-{key_of(str(source), user is not None, object_format)}"
    with locked(place, say, f"a copy of {source}"):
        if not place.exists():
            with complete_dir(place) as work:
                Repository.create(work / "git", object_format=object_format)
        ours = Repository(place / "git")
        for lock in ("index.lock", "shallow.lock"):  # of a killed run: we hold the lock
            (ours.git_dir / lock).unlink(missing_ok=True)
        yield ours
