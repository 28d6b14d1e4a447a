# SPDX-License-Identifier: GPL-2.0-only
"""A cramfs whose files are compressed, or stored so that they can be executed in place.

The latter are page-aligned and uncompressed, and their pages are named by direct block pointers
(CRAMFS_FLAG_EXT_BLOCK_POINTERS), which util-linux's mkfs.cramfs does not make. The format is that
of include/uapi/linux/cramfs_fs.h and Documentation/filesystems/cramfs.rst, little endian.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

PAGE = 4096  # bytes; cramfs knows blocks of the machine's page size alone
_MAGIC, _SIGNATURE = 0x28CD3D45, b"Compressed ROMFS"
_FSID_VERSION_2, _SORTED_DIRS, _EXT_BLOCK_POINTERS = 0x1, 0x2, 0x800
_UNCOMPRESSED, _DIRECT = 1 << 31, 1 << 30
_DIRECT_SHIFT = 2
_SUPER = struct.Struct("<4I16s4I16s")
_INODE = struct.Struct("<3I")
_ROOT = _SUPER.size + _INODE.size
_CRC = 32  # where in the super block it is
_DIRECTORY, _REGULAR = 0o040555, 0o100444
_MOST_NAME, _MOST_SIZE = 63 << 2, (1 << 24) - 1


@dataclass(frozen=True)
class Stored:
    """A file in the root folder, and how it is stored."""

    name: str
    content: bytes
    in_place: bool
    executable: bool = False


@dataclass(frozen=True)
class Image:
    """A file system's bytes, and the offset in it of each file that is stored in place."""

    data: bytes
    places: dict[str, int]


def make(files: Sequence[Stored]) -> Image:
    """The cramfs that holds `files`.

    Raises ValueError where the format has no room for one. A page-multiple file in place has its
    last page compressed: cramfs_read_folio() takes that page for a hole (7.3).
    """
    files = sorted(files, key=lambda one: one.name.encode())
    entries = [_entry_size(one) for one in files]
    image = bytearray(_ROOT + sum(entries))
    tables: dict[str, int] = {}
    direct: list[tuple[int, Stored]] = []
    for one in files:
        tables[one.name] = len(image) if one.content else 0
        if one.in_place:
            direct.append((len(image), one))
            image += bytes(4 * len(_pages(one.content)))
        else:
            image += _compressed(len(image), one.content)
        image += bytes(-len(image) % 4)
    places = {}
    for table, one in direct:
        image += bytes(-len(image) % PAGE)
        places[one.name] = len(image)
        _store_in_place(image, table, one.content)
    image += bytes(-len(image) % PAGE)
    at = _ROOT
    for one, size in zip(files, entries, strict=True):
        mode = _REGULAR | (0o111 if one.executable else 0)
        name = one.name.encode()
        _put_inode(image, at, mode, len(one.content), tables[one.name], size - _INODE.size)
        image[at + _INODE.size : at + _INODE.size + len(name)] = name
        at += size
    blocks = sum(len(_pages(one.content)) for one in files)
    flags = _FSID_VERSION_2 | _SORTED_DIRS | (_EXT_BLOCK_POINTERS if direct else 0)
    fields = (_MAGIC, len(image), flags, 0, _SIGNATURE, 0, 0, blocks, len(files) + 1, b"xipmatrix")
    _SUPER.pack_into(image, 0, *fields)
    _put_inode(image, _SUPER.size, _DIRECTORY, sum(entries), _ROOT if files else 0, 0)
    struct.pack_into("<I", image, _CRC, zlib.crc32(image))
    return Image(bytes(image), places)


def _pages(content: bytes) -> list[bytes]:
    return [content[at : at + PAGE] for at in range(0, len(content), PAGE)]


def _entry_size(one: Stored) -> int:
    name = one.name.encode()
    if not 0 < len(name) <= _MOST_NAME or b"/" in name or len(one.content) > _MOST_SIZE:
        raise ValueError(f"cramfs has no room for {one.name!r} of {len(one.content)} bytes")
    return _INODE.size + len(name) + -len(name) % 4


def _put_inode(image: bytearray, at: int, mode: int, size: int, offset: int, name: int) -> None:
    """Owned by root: user and group are 0. The name's length and the offset count words."""
    _INODE.pack_into(image, at, mode, size, name // 4 | offset // 4 << 6)


def _compressed(at: int, content: bytes) -> bytes:
    """The block pointers at offset `at`, each where its block ends, and the blocks."""
    blocks = [zlib.compress(page, 9) for page in _pages(content)]
    pointers, end = [], at + 4 * len(blocks)
    for block in blocks:
        end += len(block)
        pointers.append(end)
    return b"".join([struct.pack(f"<{len(pointers)}I", *pointers), *blocks])


def _store_in_place(image: bytearray, table: int, content: bytes) -> None:
    """Append the pages of `content` to `image`, which ends on a page, and fill its `table`."""
    pages = _pages(content)
    for number, page in enumerate(pages):
        flags = _DIRECT | _UNCOMPRESSED
        if number == len(pages) - 1 and len(page) == PAGE:
            packed = zlib.compress(page, 9)
            page, flags = struct.pack("<H", len(packed)) + packed, _DIRECT
        struct.pack_into("<I", image, table + 4 * number, len(image) >> _DIRECT_SHIFT | flags)
        image += page
