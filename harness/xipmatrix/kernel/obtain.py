# SPDX-License-Identifier: GPL-2.0-only
"""A kernel's providers, one after the other, until one gives the source."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..core.errors import InfrastructureError, XipmatrixError
from ..core.files import Say, key_of, locked, write_json
from ..core.git import Repository
from ..core.progress import DiskFull, names_full_disk
from ..matrix.model import Kernel, Provider
from .providers import Found, describe, is_fixed, provide
from .tree import KernelTree, release_of_commit


def obtain(name: str, spec: Kernel, cache: Path, say: Say) -> KernelTree:
    """The kernel `name` as a commit in a repository below `cache`.

    What a package or tarball gave is kept: a second call needs no network. Progress goes
    to `say`, about a line a second. Raises InfrastructureError that lists every provider
    and why it failed (a sole provider's own error is raised as it is, DiskFull at once).
    """
    cache = cache.absolute()
    with names_full_disk(cache):
        found = kept(spec, cache)
        if found is None:
            with locked(cache / "kernels" / f"{key_of(spec.model_dump())}", say, f"Linux {name}"):
                found = kept(spec, cache) or _provided(name, spec, cache, say)
    repository = Repository(found.git_dir)
    return KernelTree(
        name=name,
        release=release_of_commit(repository, found.commit, found.origin),
        origin=found.origin,
        git_dir=found.git_dir,
        commit=found.commit,
        tree=repository.tree_of(found.commit),
    )


def _provided(name: str, spec: Kernel, cache: Path, say: Say) -> Found:
    errors: list[tuple[Provider, XipmatrixError]] = []
    for provider in spec.providers:
        try:
            found = provide(provider, cache, say)
        except DiskFull:
            raise
        except XipmatrixError as error:
            if len(spec.providers) == 1:
                raise
            with_next = ", trying the next" if provider is not spec.providers[-1] else ""
            say(f"{describe(provider)}: {error.what}{with_next}")
            errors.append((provider, error))
            continue
        if is_fixed(provider):
            _keep(provider, found, cache)
        return found
    tried = "\n".join(
        f"  {number}. {describe(provider)}: {error.what}"
        for number, (provider, error) in enumerate(errors, 1)
    )
    raise InfrastructureError(
        f"the source of Linux {name} cannot be had; tried:\n{tried}",
        hint="give another provider or version in matrix.yaml, or your own tree: --kernel PATH",
    )


def _note(provider: Provider, cache: Path) -> Path:
    return cache / "kernels" / "known" / f"{key_of(provider.model_dump())}.json"


def _keep(provider: Provider, found: Found, cache: Path) -> None:
    write_json(_note(provider, cache), asdict(found))


def kept(spec: Kernel, cache: Path) -> Found | None:
    """What an earlier run got, unless a provider that may have changed stands before it."""
    for provider in spec.providers:
        if not is_fixed(provider):
            return None
        try:
            note = json.loads(_note(provider, cache).read_text())
            found = Found(Path(note["git_dir"]), note["commit"], note["origin"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        # The cache may have been moved or cleaned by hand.
        if Repository(found.git_dir).resolve(f"{found.commit}^{{tree}}"):
            return found
    return None
