# SPDX-License-Identifier: GPL-2.0-only
"""Tiny trees that look like Linux, as folders, repositories and archives, for tests."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree

HERMETIC = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@localhost",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@localhost",
}


def make_tree(folder: Path, *, sublevel: str = "4", extra: str = "") -> Path:
    """A folder that passes for the source of Linux 7.3.<sublevel><extra>."""
    for name in ("arch/arm", "init", "scripts", "include/generated"):
        (folder / name).mkdir(parents=True)
    (folder / "Makefile").write_text(
        "# SPDX-License-Identifier: GPL-2.0\n"
        f"VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = {sublevel}\nEXTRAVERSION = {extra}\n"
        "NAME = Test\nVERSION_OTHER = 9\n"
    )
    (folder / "Kbuild").write_text("obj-y += init/\n")
    (folder / "Kconfig").write_text('mainmenu "Test"\n')
    (folder / "init" / "main.c").write_text("int main;\n")
    (folder / "arch" / "arm" / "Kconfig").write_text("config ARM\n")
    (folder / "arch" / "arm" / "name with space.c").write_text("x\n")
    (folder / "arch" / "arm" / "link").symlink_to("Kconfig")
    (folder / "scripts" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "scripts" / "run.sh").chmod(0o755)
    (folder / ".gitignore").write_text(".*\n!.gitignore\n*.o\n/vmlinux\n/include/generated/\n")
    return folder


def add_build_products(folder: Path) -> None:
    """What a build inside the source tree leaves."""
    (folder / "init" / "main.o").write_bytes(b"\x7fELF")
    (folder / "vmlinux").write_bytes(b"\x7fELF")
    (folder / ".config").write_text("CONFIG_ARM=y\n")
    (folder / "include" / "generated" / "autoconf.h").write_text("\n")


def git(folder: Path, *words: str) -> str:
    """git in a test's own repository."""
    done = subprocess.run(
        ["git", "-C", str(folder), *words],
        env={**os.environ, **HERMETIC},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def make_repository(folder: Path) -> Path:
    """A git repository with one commit of :func:`make_tree`, tagged v7.3."""
    make_tree(folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "base")
    git(folder, "tag", "-a", "v7.3", "-m", "7.3")
    return folder


def make_tarball(place: Path, source: Path, top: str = "linux-7.3.4") -> Path:
    """`source` as a tar, compressed as the suffix of `place` says."""
    subprocess.run(
        ["tar", "-C", str(source), "--transform", f"s,^\\.,{top},", "-caf", str(place), "."],
        check=True,
    )
    return place


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, mtime (ns) and bytes of everything in `folder`."""
    found = {}
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        if path.is_symlink():
            data = str(path.readlink()).encode()
        else:
            data = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, data)
    return found


README = MappingProxyType({"README": ("Linux kernel\n=", "Linux\n=")})


def with_branch(
    folder: Path,
    linux: KernelTree,
    branch: str = "other",
    edits: Mapping[str, tuple[str, str]] = README,
) -> Repository:
    """A developer's repository that borrows Linux as its master: on `branch` one commit more, which
    replaces in each file what stands there once."""
    subprocess.run(["git", "init", "-q", "-b", "master", folder], check=True)
    (folder / ".git/objects/info/alternates").write_text(f"{linux.git_dir}/objects\n")
    for key, value in (("name", "A Developer"), ("email", "dev@example.com")):
        git(folder, "config", f"user.{key}", value)
    ours = Repository(folder / ".git")
    ours.git("update-ref", "refs/heads/master", linux.commit)
    files = {}
    for path, (old, new) in edits.items():
        text = ours.text(f"{linux.commit}:{path}") or ""
        assert text.count(old) == 1, path
        files[path] = ("100644", text.replace(old, new))
    change = Change("Rename it\n", "2026-01-01T00:00:00Z", files)
    ours.git("update-ref", f"refs/heads/{branch}", *ours.commit_changes(linux.commit, [change]))
    return ours
