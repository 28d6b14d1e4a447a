# SPDX-License-Identifier: GPL-2.0-only
"""The cramfs that goes into flash: other tools read it, and its pages lie where they must."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.flash import cramfs, filesystem
from xipmatrix.flash.cramfs import PAGE, Stored
from xipmatrix.machine.init import COMPRESSED, IN_PLACE, PROGRAMS

needs_fsck = pytest.mark.skipif(not shutil.which("fsck.cramfs"), reason="needs util-linux' cramfs")
FILES = [
    Stored("zeros", bytes(3 * PAGE), in_place=False),
    Stored("a", os.urandom(2 * PAGE + 5), in_place=False),
    Stored("program", b"x" * PAGE, in_place=False, executable=True),
    Stored("empty", b"", in_place=False),
]


@needs_fsck
def test_another_reader_finds_every_file(tmp_path: Path) -> None:
    path, out = tmp_path / "image", tmp_path / "out"
    path.write_bytes(cramfs.make(FILES).data)
    subprocess.run(["fsck.cramfs", f"--extract={out}", path], check=True)
    assert {one.name: one.content for one in FILES} == {
        one.name: one.read_bytes() for one in out.iterdir()
    }
    assert (out / "program").stat().st_mode & 0o777 == 0o555
    assert (out / "a").stat().st_mode & 0o777 == 0o444


@needs_fsck
def test_the_checksum_is_of_the_whole(tmp_path: Path) -> None:
    image = bytearray(cramfs.make(FILES).data)
    image[-1] ^= 1
    (tmp_path / "image").write_bytes(image)
    done = subprocess.run(["fsck.cramfs", tmp_path / "image"], capture_output=True, text=True)
    assert "crc error" in done.stderr


def pointers(image: bytes, name: str) -> list[int]:
    """The block pointers of the file `name`, read as fs/cramfs/inode.c reads them."""
    at, end = 76, 76 + struct.unpack_from("<I", image, 68)[0]
    while at < end:
        _mode, size, rest = struct.unpack_from("<3I", image, at)
        length = (rest & 63) * 4
        if image[at + 12 : at + 12 + length].rstrip(b"\0") == name.encode():
            return list(struct.unpack_from(f"<{-(-size // PAGE)}I", image, (rest >> 6) * 4))
        at += 12 + length
    raise KeyError(name)


def test_pages_in_place_are_named_by_direct_pointers() -> None:
    content = os.urandom(2 * PAGE + 5)
    image = cramfs.make([*FILES, Stored("xip", content, in_place=True)])
    at = image.places["xip"]
    assert list(image.places) == ["xip"]
    assert at % PAGE == 0
    # cramfs_last_page_is_shared(): zeros follow the file's end.
    assert image.data[at : at + 3 * PAGE] == content + bytes(3 * PAGE - len(content))
    want = [3 << 30 | (at + nth * PAGE) >> 2 for nth in range(3)]
    assert pointers(image.data, "xip") == want
    # The flag by which older kernels know that they cannot read it.
    assert struct.unpack_from("<I", image.data, 8)[0] & 0x800
    assert not struct.unpack_from("<I", cramfs.make(FILES).data, 8)[0] & 0x800


def test_a_whole_last_page_in_place_is_compressed() -> None:
    """cramfs_read_folio() takes it for a hole otherwise."""
    image = cramfs.make([Stored("xip", b"x" * 2 * PAGE, in_place=True)])
    first, last = pointers(image.data, "xip")
    assert first >> 30 == 3
    assert last >> 30 == 1


@pytest.mark.parametrize("name", ["", "a/b", "n" * 253])
def test_what_the_format_has_no_room_for(name: str) -> None:
    with pytest.raises(ValueError, match="no room"):
        cramfs.make([Stored(name, b"", in_place=False)])


def test_the_files_belong_to_the_kernels_build(tmp_path: Path) -> None:
    cell = make_cell({"flash": {"base": 0, "size": "1M", "filesystem": 0x80000}}, None, ["cramfs"])
    with pytest.raises(InfrastructureError, match="has no programs for its flash"):
        filesystem.files_of(cell, tmp_path)
    assert filesystem.files_of(make_cell(), tmp_path) == []
    (tmp_path / PROGRAMS).mkdir()
    for name in (IN_PLACE, COMPRESSED):
        (tmp_path / PROGRAMS / name).write_bytes(name.encode())
    stored = {one.name: one for one in filesystem.files_of(cell, tmp_path)}
    assert stored[IN_PLACE].in_place
    assert not stored[COMPRESSED].in_place
    with pytest.raises(InfrastructureError, match=r"program .* in flash"):
        filesystem.programs_of(cell, tmp_path)
