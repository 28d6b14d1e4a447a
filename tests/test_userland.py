# SPDX-License-Identifier: GPL-2.0-only
"""init's code as a kernel's image carries it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from xipmatrix.machine.residency import Run
from xipmatrix.machine.userland import init_of

CODE = bytes(range(48))
BASE = 0x20000000


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A program with CODE at BASE + 0x1000, and data elsewhere."""
    folder = tmp_path_factory.mktemp("init")
    data = ",".join(map(str, CODE))
    (folder / "i.S").write_text(f".text\n.byte {data}\n.data\n.byte {data}\n")
    flags = ["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-e,0"]
    place = [f"-Wl,-Ttext={BASE + 0x1000:#x}", "-Wl,-Tdata=0x30000000"]
    subprocess.run(["gcc", *flags, *place, "-o", folder / "init", folder / "i.S"], check=True)
    return (folder / "init").read_bytes()


def member(name: str, content: bytes) -> bytes:
    """One file of a newc archive."""
    fields = [0] * 13
    fields[6], fields[11] = len(content), len(name) + 1
    head = b"070701" + "".join(f"{field:08x}" for field in fields).encode()
    named = head + name.encode() + b"\0"
    named += bytes(-len(named) % 4)
    return named + content + bytes(-len(content) % 4)


def archive(init: bytes, name: str = "init") -> bytes:
    first = member("dev", b"") + member("odd", b"x") + member(name, init)
    return first + member("TRAILER!!!", b"")


def vmlinux(folder: Path, content: bytes) -> Path:
    """An ELF file that carries `content` as its initramfs."""
    (folder / "cpio").write_bytes(content)
    (folder / "v.S").write_text(
        '.section .init.ramfs,"a"\n.globl __initramfs_start\n__initramfs_start:\n'
        f'.incbin "{folder}/cpio"\n.balign 8\n'
        f".globl __initramfs_size\n__initramfs_size: .quad {len(content)}\n"
    )
    command = ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-e,0", "-o", folder / "vmlinux"]
    subprocess.run([*command, folder / "v.S"], check=True)
    return folder / "vmlinux"


def packed(data: bytes) -> bytes:
    return data


@pytest.mark.parametrize("pack", [packed, gzip.compress, bz2.compress, lzma.compress])
def test_init_is_found_in_a_kernel(
    init: bytes, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    # Another archive may follow, as that of the modules does.
    program = init_of(vmlinux(tmp_path, pack(archive(init) + bytes(512) + archive(b"no ELF"))))
    assert program is not None
    at = BASE + 0x1000
    assert program.holds(Run(at + 8, 0, CODE[8:16], 1))
    assert not program.holds(Run(at + 8, 0, CODE[9:17], 1))
    # Its data is no code, and behind its end is nothing.
    assert not program.holds(Run(0x30000008, 0, CODE[8:16], 1))
    assert not program.holds(Run(at + 44, 0, CODE[44:] + bytes(4), 1))
    # Of a sample, only the place is known.
    assert program.holds(Run(at + 8, 0, None, 1))
    assert not program.holds(Run(at + 0x100000, 0, None, 1))


def test_init_is_found_in_an_initrd(init: bytes, tmp_path: Path) -> None:
    (tmp_path / "initrd").write_bytes(archive(init, "/init"))
    assert init_of(tmp_path / "initrd") is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"070701",
        b"070701zz",
        b"\x1f\x8bno gzip",
        b"BZhno",
        archive(b"no ELF"),
        archive(b"", "x"),
    ],
)
def test_where_no_init_is(content: bytes, tmp_path: Path) -> None:
    assert init_of(vmlinux(tmp_path, content)) is None
    (tmp_path / "initrd").write_bytes(content)
    assert init_of(tmp_path / "initrd") is None


def test_no_kernel_and_no_symbols(init: bytes, tmp_path: Path) -> None:
    assert init_of(tmp_path / "missing") is None
    (tmp_path / "init").write_bytes(init)
    assert init_of(tmp_path / "init") is None
