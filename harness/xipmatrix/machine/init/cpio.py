# SPDX-License-Identifier: GPL-2.0-only
"""The initramfs as one archive, made by the kernel's own gen_init_cpio.

An archive, not the list it is made from, goes to CONFIG_INITRAMFS_SOURCE: the list
names files by path and would tie a kept build to a folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...core import run
from ...core.errors import InfrastructureError
from ...core.files import write_atomic


def make_cpio(source: Path, listing: Path, out: Path) -> Path:
    """initramfs.cpio in folder `out` from a gen_init_cpio list; all times are 0.

    `source` is the kernel tree; `out` holds init already. Raises InfrastructureError
    where the host compiler or the tool fails.
    """
    archive = _archive(source, listing, out / "initramfs.cpio")
    _check(archive, out / "init")
    return archive


def add_modules(source: Path, archive: Path, modules: Sequence[Path], out: Path) -> Path:
    """initramfs.cpio in folder `out`: `archive`, and behind it /modules with `modules`.

    The kernel unpacks archives one after the other. Raises as make_cpio().
    """
    listing = out / "modules.list"
    lines = ["dir /sys 0555 0 0", "dir /mnt 0555 0 0", "dir /modules 0755 0 0"]
    lines += [f"file /modules/{path.name} {path.resolve()} 0644 0 0" for path in modules]
    write_atomic(listing, "\n".join(lines) + "\n")
    second = _archive(source, listing, out / "modules.cpio")
    for path in modules:
        _check(second, path)
    both = out / "initramfs.cpio"
    both.write_bytes(archive.read_bytes() + second.read_bytes())
    second.unlink()
    listing.unlink()
    return both


def _archive(source: Path, listing: Path, archive: Path) -> Path:
    tool = archive.parent / "gen_init_cpio"
    run.run(["cc", "-O1", "-o", tool, source / "usr" / "gen_init_cpio.c"], check=True)
    with (
        archive.open("wb") as stream,
        run.start([tool, "-t", "0", listing], stdout=stream.fileno()) as process,
    ):
        status = process.wait()
    if status:
        run.run([tool, "-t", "0", listing], check=True)  # says what is wrong
    tool.unlink()
    return archive


def _check(archive: Path, member: Path) -> None:
    # The tool passes over what it cannot write without a word in its exit status.
    if member.read_bytes() not in archive.read_bytes():
        raise InfrastructureError(
            f"gen_init_cpio left {member.name} out of the archive", where=archive
        )
