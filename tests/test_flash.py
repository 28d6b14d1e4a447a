# SPDX-License-Identifier: GPL-2.0-only
"""The flash image: layout, erased bytes, and what does not fit."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix import flash
from xipmatrix.core.evidence import CellFailure, Verdict
from xipmatrix.flash import cramfs
from xipmatrix.flash.cramfs import Stored

TEMPLATES = Path(__file__).parents[1] / "templates"
needs_dtc = pytest.mark.skipif(not shutil.which("dtc"), reason="needs dtc")
needs_binutils = pytest.mark.skipif(
    not shutil.which("arm-linux-gnueabihf-as"), reason="needs arm binutils"
)


def test_pieces_lie_in_erased_flash(tmp_path: Path) -> None:
    path = tmp_path / "flash.img"
    size = (1 << 20) + 512
    parts = flash.write_image(path, size, [("b", 0x100, b"BB"), ("a", 0, b"\0" * 16)])
    data = path.read_bytes()
    assert len(data) == size
    assert [(part.name, part.offset, part.size) for part in parts] == [("a", 0, 16), ("b", 256, 2)]
    assert data[:16] == b"\0" * 16
    assert data[0x100:0x102] == b"BB"
    assert set(data[16:0x100] + data[0x102:]) == {0xFF}


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        ([("xipImage", 90, b"x" * 11)], "xipImage does not fit: it ends 1 bytes behind the flash"),
        ([("a", 0, b"x" * 17), ("b", 16, b"y")], "a overlaps b by 1 bytes"),
        ([("a", 0, b"x" * 99), ("b", 16, b"y"), ("c", 98, b"")], "a overlaps b by 83 bytes"),
        ([("a", 0, b""), ("b", 200, b"y")], "b does not fit: it ends 101 bytes behind"),
    ],
)
def test_what_does_not_fit_says_by_how_much(
    tmp_path: Path, pieces: list[tuple[str, int, bytes]], says: str
) -> None:
    with pytest.raises(CellFailure, match=re.escape(says)) as failure:
        flash.write_image(tmp_path / "flash.img", 100, pieces)
    assert failure.value.verdict is Verdict.IMAGE_INVALID
    assert not (tmp_path / "flash.img").exists()


def test_what_just_fits(tmp_path: Path) -> None:
    flash.write_image(tmp_path / "f", 32, [("a", 0, b"a" * 16), ("b", 16, b"b" * 16)])
    assert (tmp_path / "f").read_bytes() == b"a" * 16 + b"b" * 16


@needs_dtc
@pytest.mark.parametrize("offset", [{"offset": 0x1000}, {}])
def test_a_file_system_lies_behind_the_kernel(tmp_path: Path, offset: dict[str, int]) -> None:
    """The tree that firmware hands over is in no flash."""
    blob, image = tmp_path / "in.dtb", tmp_path / "xipImage"
    subprocess.run(["dtc", "-q", "-o", blob, "-"], input=b"/dts-v1/; / {};", check=True)
    image.write_bytes(b"kernel")
    places = {"base": 0, "size": "1M", "filesystem": 0x80000}
    cell = make_cell({"flash": places, "device_tree": {"source": "x.dtb", **offset}})
    stored = [Stored("file", b"content", in_place=True)]
    made = flash.make_flash(
        cell, image, blob, "", tmp_path / "out", prefix="", templates=TEMPLATES, stored=stored
    )
    tree = ["device tree"] if offset else []
    assert [part.name for part in made.parts] == [*tree, "xipImage", "file system"]
    data = made.path.read_bytes()
    assert data[0x80000:].startswith(cramfs.make(stored).data)
    assert made.path.with_name("board.dtb").is_file()
    without = flash.make_flash(
        cell, image, blob, "", tmp_path / "out", prefix="", templates=TEMPLATES
    )
    assert set(without.path.read_bytes()[0x80000:]) == {0xFF}


@needs_dtc
def test_the_tree_that_goes_into_flash(tmp_path: Path) -> None:
    blob = tmp_path / "in.dtb"
    source = (
        '/dts-v1/; / { #address-cells = <2>; #size-cells = <1>; compatible = "x";'
        ' chosen { rng-seed = <1 2>; kaslr-seed = <3>; bootargs = "old"; };'
        ' memory@1 { device_type = "memory"; reg = <0 0x40000000 0x10000000>; }; };'
    )
    subprocess.run(["dtc", "-q", "-p", "65536", "-o", blob, "-"], input=source.encode(), check=True)
    board = make_cell(
        {"device_tree": {"source": "x.dtb", "offset": 0x1000, "memory_node": "/memory@1"}}
    ).board_spec
    packed = flash.pack_tree(board, blob, 'console=x "quoted" back\\slash', tmp_path)

    def get(*words: str) -> str:
        done = subprocess.run(["fdtget", *words], capture_output=True, text=True)
        return done.stdout.strip()

    assert get(str(packed), "/chosen", "bootargs") == 'console=x "quoted" back\\slash'
    assert get("-p", str(packed), "/chosen") == "bootargs"
    assert get("-t", "x", str(packed), "/memory@1", "reg") == "0 40000000 4000000"
    assert packed.stat().st_size < 1000

    tree = {"source": "x.dtb", "offset": 0x1000, "rng_seed": True}
    packed = flash.pack_tree(make_cell({"device_tree": tree}).board_spec, blob, "x", tmp_path)
    assert get("-t", "bx", str(packed), "/chosen", "rng-seed").startswith("0 1 2 3 4 ")
    assert sorted(get("-p", str(packed), "/chosen").split()) == ["bootargs", "rng-seed"]


@needs_dtc
@needs_binutils
def test_a_whole_image(tmp_path: Path) -> None:
    cell = make_cell(
        {
            "reset_stub": "reset.S.j2",
            "device_tree": {"source": "x.dtb", "offset": 0x1000},
            "flash": {"base": 0x34000000, "size": "1M"},
            "xip_phys_addr": 0x34010000,
        }
    )
    blob = tmp_path / "in.dtb"
    source = b"/dts-v1/; / { #address-cells = <1>; #size-cells = <1>; };"
    subprocess.run(["dtc", "-q", "-o", blob, "-"], input=source, check=True)
    kernel = tmp_path / "xipImage"
    kernel.write_bytes(b"KERNEL" * 1000)
    made = flash.make_flash(
        cell,
        kernel,
        blob,
        "console=x",
        tmp_path / "out",
        prefix="arm-linux-gnueabihf-",
        templates=TEMPLATES,
    )
    data = made.path.read_bytes()
    assert [part.name for part in made.parts] == ["reset stub", "device tree", "xipImage"]
    assert made.used == sum(part.size for part in made.parts)
    stub = data[:32]
    words = [int.from_bytes(stub[at : at + 4], "little") for at in range(0, 32, 4)]
    assert words[0] == 0xE3A00000  # mov r0, #0
    assert words[1] == 0xE3E01000  # mvn r1, #0
    assert words[-2:] == [0x34001000, 0x34010000]  # device tree and entry, physical
    assert data[0x1000:0x1004] == b"\xd0\x0d\xfe\xed"
    assert data[0x10000 : 0x10000 + 6000] == b"KERNEL" * 1000


def test_an_image_too_large_for_its_flash(tmp_path: Path) -> None:
    kernel = tmp_path / "xipImage"
    kernel.write_bytes(bytes((1 << 20) - 0x10000 + 1))
    with pytest.raises(CellFailure, match="xipImage does not fit: it ends 1 bytes behind"):
        flash.make_flash(
            make_cell(), kernel, None, "", tmp_path / "out", prefix="", templates=TEMPLATES
        )
