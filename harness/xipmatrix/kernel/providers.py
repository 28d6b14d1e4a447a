# SPDX-License-Identifier: GPL-2.0-only
"""Ways to get a kernel's source; each ends in a commit in a bare repository of our own.

Debian packages and tarballs are *fixed*: imported once, then kept. Repositories and
folders are the user's and may change: they are looked at in every run, and only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.files import Say, complete_dir, locked
from ..core.git import Repository
from ..matrix.model import Debian, Git, LocalTree, Provider, Tarball
from .apt import Apt
from .archive import import_tar, unpack_deb, unpack_tarball
from .download import fetch_tarball
from .local import from_folder, from_repository
from .places import SOURCE_DATE
from .tree import release_of_commit

BASE = "refs/heads/base"


@dataclass(frozen=True)
class Found:
    """A provider's result: the repository, the commit in it, and its origin for people."""

    git_dir: Path
    commit: str
    origin: str


def describe(provider: Provider) -> str:
    """A provider in a few words."""
    match provider.chosen:
        case Debian(package=package, suite=suite):
            return f"{package} from {'the system' if suite == 'system' else suite}"
        case Tarball(url=url):
            return f"tarball {url}"
        case other:
            return " ".join(
                ["git" if isinstance(other, Git) else "folder", *other.model_dump().values()]
            )


def provide(provider: Provider, cache: Path, say: Say) -> Found:
    """Get the source. Raises UsageError or InfrastructureError saying why it cannot be had."""
    kernels = cache / "kernels"
    match provider.chosen:
        case Debian() as debian:
            return _debian(debian, cache, say)
        case Tarball() as tarball:
            return _tarball(tarball, cache, say)
        case Git() as git:
            commit, repository, origin = from_repository(git, kernels, say)
        case LocalTree() as local:
            commit, repository, origin = from_folder(Path(local.path), kernels, say)
    return Found(repository.git_dir, commit, origin)


def is_fixed(provider: Provider) -> bool:
    """Whether what the provider once gave stays what it gives."""
    return isinstance(provider.chosen, Debian | Tarball)


def _debian(spec: Debian, cache: Path, say: Say) -> Found:
    with locked(cache / "apt" / spec.suite, say, f"{spec.package} from {spec.suite}"):
        package = Apt(spec.suite, cache / "apt" / spec.suite).fetch(spec.package, say)
        identity = f"{package.name} {package.version}"
        found = _import(
            cache / "kernels" / f"{package.name}_{package.version}".replace(":", "%3a"),
            unpack_deb(package.path, f"./usr/src/{package.name}.tar.xz"),
            identity,
            f"Debian {identity} ({spec.suite})",
            say,
        )
        package.path.unlink()
        return found


def _tarball(spec: Tarball, cache: Path, say: Say) -> Found:
    with fetch_tarball(spec, cache / "downloads", say) as (path, name, digest):
        return _import(
            cache / "kernels" / f"tarball-{digest[:16]}",
            unpack_tarball(path),
            f"{name}, SHA-256 {digest}",
            f"tarball {spec.url}",
            say,
        )


def _import(place: Path, command: str, identity: str, origin: str, say: Say) -> Found:
    """Fill `place` with the repository of an archive, unless that was done before."""
    with locked(place, say, identity):
        if not place.exists():
            with complete_dir(place) as work:
                repository = Repository.create(work / "git")
                tree = import_tar(command, repository, say)
                release = release_of_commit(repository, tree, identity)
                commit = repository.commit_tree(
                    tree, f"Linux {release}\n\n{identity}\n", date=SOURCE_DATE
                )
                repository.git("update-ref", BASE, commit)
                say(f"imported Linux {release}")
    repository = Repository(place / "git")
    return Found(repository.git_dir, repository.git("rev-parse", BASE), origin)
