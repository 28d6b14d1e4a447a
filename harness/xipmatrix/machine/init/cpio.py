# SPDX-License-Identifier: GPL-2.0-only
"""The initramfs as one archive, made by the kernel's own gen_init_cpio.

An archive, not the list it is made from, goes to CONFIG_INITRAMFS_SOURCE: the list
names files by path and would tie a kept build to a folder.
"""

from __future__ import annotations

from pathlib import Path

from ...core import run
from ...core.errors import InfrastructureError


def make_cpio(source: Path, listing: Path, out: Path) -> Path:
    """initramfs.cpio in folder `out` from a gen_init_cpio list; all times are 0.

    `source` is the kernel tree; `out` holds init already. Raises InfrastructureError
    where the host compiler or the tool fails.
    """
    tool = out / "gen_init_cpio"
    run.run(["cc", "-O1", "-o", tool, source / "usr" / "gen_init_cpio.c"], check=True)
    archive = out / "initramfs.cpio"
    with (
        archive.open("wb") as stream,
        run.start([tool, "-t", "0", listing], stdout=stream.fileno()) as process,
    ):
        status = process.wait()
    if status:
        run.run([tool, "-t", "0", listing], check=True)  # says what is wrong
    tool.unlink()
    # The tool passes over what it cannot write without a word in its exit status.
    if (out / "init").read_bytes() not in archive.read_bytes():
        raise InfrastructureError("gen_init_cpio left init out of the archive", where=archive)
    return archive
