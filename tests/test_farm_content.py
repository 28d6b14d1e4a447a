# SPDX-License-Identifier: GPL-2.0-only
"""What travels arrives as it was sent, or is refused."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from farm_support import tiny
from xipmatrix.core.git import Repository
from xipmatrix.farm import content, trees
from xipmatrix.farm.content import Blobs, Corrupt, Entry, lay_out, listing
from xipmatrix.farm.trees import Trees, adopt, holder
from xipmatrix.pipeline import Prepared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "from"
    (root / "a" / "empty folder").mkdir(parents=True)
    (root / "a" / "tool.sh").write_text("#!/bin/sh\n")
    (root / "a" / "tool.sh").chmod(0o755)
    (root / "zero").write_bytes(b"")
    (root / "big").write_bytes(os.urandom(3 * content.CHUNK + 5))
    (root / "even").write_bytes(bytes(2 * content.CHUNK))
    (root / "link").symlink_to("a/tool.sh")
    return root


def send(source: Path, blobs: Blobs, entry: Entry) -> None:
    for offset, data in content.chunks(source / entry.path):
        blobs.write(entry.sha256, offset, data, entry.size)


def test_a_folder_arrives_as_it_was_sent(folder: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket"))  # QEMU's: nothing to send
    (folder / ".partial-x").write_text("half")
    entries = listing(folder)
    assert [one.path for one in entries] == [
        *("a", "a/empty folder", "a/tool.sh", "big", "even", "link", "zero")
    ]
    blobs = Blobs(tmp_path / "blobs")
    for entry in entries:
        if entry.sha256:
            send(folder, blobs, entry)
    there = tmp_path / "to"
    there.mkdir()
    lay_out(entries, blobs, there)
    assert listing(there) == entries


def test_what_comes_wrong_is_refused_and_not_kept(folder: Path, tmp_path: Path) -> None:
    (entry,) = [one for one in listing(folder) if one.path == "big"]
    blobs = Blobs(tmp_path / "blobs")
    parts = list(content.chunks(folder / "big"))
    with pytest.raises(Corrupt, match=r"bytes 4194304 to 8388608 .* are missing"):
        for offset, data in (parts[0], parts[2]):
            blobs.write(entry.sha256, offset, data, entry.size)
    offset, data = parts[1]
    parts[1] = offset, bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(Corrupt, match="came with the SHA-256"):
        for offset, data in parts:
            blobs.write(entry.sha256, offset, data, entry.size)
    assert not blobs.has(entry.sha256)
    assert not list(blobs.root.iterdir())


def test_a_disk_that_changes_content_is_noticed(folder: Path, tmp_path: Path) -> None:
    (entry,) = [one for one in listing(folder) if one.path == "even"]
    blobs = Blobs(tmp_path / "blobs")
    blobs.add(folder / "even", entry.sha256)
    with (folder / "even").open("r+b") as stream:
        stream.write(b"x")
    (tmp_path / "to").mkdir()
    with pytest.raises(Corrupt, match="has changed on the disk"):
        lay_out([entry], blobs, tmp_path / "to")


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", ""])
def test_nothing_is_written_outside(path: str, tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    (tmp_path / "file").write_text("text")
    digest = content.sha256_file(tmp_path / "file")
    blobs.add(tmp_path / "file", digest)
    (tmp_path / "to").mkdir()
    with pytest.raises(Corrupt, match="leaves its folder"):
        lay_out([Entry(path, 0o644, digest, 4)], blobs, tmp_path / "to")
    with pytest.raises(Corrupt, match="no SHA-256"):
        blobs.place("../../etc/passwd")


# --- kernels ----------------------------------------------------------------------------


@pytest.fixture
def kernel(tmp_path: Path) -> Prepared:
    return tiny(tmp_path / "kernel.git")


def sent(kernel: Prepared) -> Trees:
    tips = tuple(one.tip for one in kernel.states.values())
    return Trees(kernel.kernel.git_dir, kernel.kernel.commit, tips)


def take(cache: Path, pack: trees.Pack) -> Path:
    """As a worker: the pack lies where it was received."""
    place = cache / "kernels" / "farm-incoming" / pack.sha256
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(pack.path.read_bytes())
    return adopt(cache, place, pack.commits, pack.base)


def test_a_kernel_and_its_series_arrive_under_the_same_names(
    kernel: Prepared, tmp_path: Path
) -> None:
    cache, there = tmp_path / "cache", tmp_path / "worker"
    base, series = sent(kernel).pack_of_base(cache), sent(kernel).pack_of_series(cache)
    assert series is not None
    assert holder(there, kernel.kernel.commit) is None
    git_dir = take(there, base)
    assert holder(there, kernel.kernel.commit) == git_dir
    assert holder(there, kernel.tip("arm")) is None
    assert take(there, series) == git_dir
    for name, state in kernel.states.items():
        assert holder(there, state.tip) == git_dir
        assert Repository(git_dir).text(f"{state.tip}:arch/{name}.c") == f"int {name};\n"
    # Without the kernel's history, which nothing here needs, the repository is sound.
    assert Repository(git_dir).git("rev-list", "--count", kernel.kernel.commit) == "1"
    assert Repository(git_dir).run("fsck", "--full").ok


def test_a_kernel_that_was_obtained_there_is_not_sent(kernel: Prepared, tmp_path: Path) -> None:
    there = tmp_path / "worker"
    own = tiny(there / "kernels" / "linux-source" / "git")
    assert holder(there, kernel.kernel.commit) == own.kernel.git_dir


def test_a_pack_that_is_not_sound_is_refused(kernel: Prepared, tmp_path: Path) -> None:
    cache, there = tmp_path / "cache", tmp_path / "worker"
    pack = sent(kernel).pack_of_base(cache)
    other = replace(pack, commits={kernel.kernel.commit: "0" * 40})
    with pytest.raises(Corrupt, match=r"the tree of .* not 0000"):
        take(there, other)
    data = bytearray(pack.path.read_bytes())
    data[len(data) // 2] ^= 1
    pack.path.write_bytes(data)
    with pytest.raises(Corrupt, match="git refuses the pack"):
        take(tmp_path / "second", pack)
    assert holder(tmp_path / "second", kernel.kernel.commit) is None


def test_a_pack_that_lacks_a_file_is_refused(kernel: Prepared, tmp_path: Path) -> None:
    one = sent(kernel)
    pack = one.pack_of_base(tmp_path / "cache")
    repository = Repository(kernel.kernel.git_dir)
    lost = repository.git("rev-parse", f"{kernel.kernel.commit}:init/main.c")
    objects = repository.git("rev-list", "--objects", "--no-walk", kernel.kernel.commit)
    rest = "\n".join(line for line in objects.splitlines() if not line.startswith(lost))
    pack.path.write_bytes(b"")
    raw = repository.git(
        "pack-objects", "-q", str(tmp_path / "less"), input_bytes=rest.encode() + b"\n"
    )
    pack.path.write_bytes((tmp_path / f"less-{raw}.pack").read_bytes())
    with pytest.raises(Corrupt, match="not all of"):
        take(tmp_path / "worker", pack)
    assert holder(tmp_path / "worker", kernel.kernel.commit) is None
