# SPDX-License-Identifier: GPL-2.0-only
"""The flash image: reset stub, device tree, xipImage, and 0xff everywhere else.

0xff is what erased NOR reads. Filling with zeros would hide real faults of a kernel
that takes what follows its image for cleared memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.evidence import CellFailure, Verdict
from ..core.files import write_atomic
from ..core.template import Templates
from ..machine import qemu
from ..matrix.model import Board, Cell
from . import filesystem
from .cramfs import Stored

ERASED = 0xFF
_FILL = bytes([ERASED]) * (1 << 20)


FLASH_IMAGE = "flash.img"


@dataclass(frozen=True)
class Part:
    """What lies in flash: its offset from the flash's base and its size, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class FlashImage:
    """The image file, as large as the flash, and its layout by offset."""

    path: Path
    parts: tuple[Part, ...]
    size: int

    @property
    def used(self) -> int:
        """Bytes of flash that are not erased."""
        return sum(part.size for part in self.parts)


def make_flash(
    cell: Cell,
    xip_image: Path,
    device_tree: Path | None,
    bootargs: str,
    out: Path,
    *,
    prefix: str,
    templates: Path,
    stored: Sequence[Stored] = (),
) -> FlashImage:
    """Make the flash image flash.img of `cell` in folder `out`.

    `device_tree` is the blob that the kernel's build made, None where the board's tree
    comes from QEMU or from firmware. `bootargs` go into /chosen (where firmware hands
    over the command line they are given to QEMU instead). `prefix` is the cell's
    CROSS_COMPILE, `templates` the folder that holds <arch>/<reset stub>. `stored` are the
    files of the file system behind the kernel.
    Raises CellFailure(image-invalid) where something does not fit or overlaps, saying by
    how many bytes, and InfrastructureError where a tool fails.
    """
    board = cell.board_spec
    out.mkdir(parents=True, exist_ok=True)
    pieces: list[tuple[str, int, bytes]] = []
    if board.reset_stub:
        pieces.append(("reset stub", 0, reset_stub(cell, out, prefix, templates)))
    if board.device_tree:
        blob = pack_tree(board, device_tree or dump_tree(board, out), bootargs, out)
        if board.device_tree.offset is not None:
            pieces.append(("device tree", board.device_tree.offset, blob.read_bytes()))
    pieces.append(("xipImage", board.xip_phys_addr - board.flash.base, xip_image.read_bytes()))
    if board.flash.filesystem is not None and stored:
        pieces.append(("file system", board.flash.filesystem, filesystem.image(stored).data))
    path = out / FLASH_IMAGE
    return FlashImage(path, write_image(path, board.flash.size, pieces), board.flash.size)


def write_image(
    path: Path, size: int, pieces: Sequence[tuple[str, int, bytes]]
) -> tuple[Part, ...]:
    """Write `pieces` (name, offset, content) into an erased flash of `size` bytes.

    Raises CellFailure(image-invalid) where they overlap or do not fit.
    """
    parts = tuple(
        sorted((Part(name, at, len(data)) for name, at, data in pieces), key=lambda p: p.offset)
    )
    check_layout(parts, size)
    with path.open("wb") as image:
        for at in range(0, size, len(_FILL)):
            image.write(_FILL[: size - at])
        for _name, at, data in pieces:
            image.seek(at)
            image.write(data)
    return parts


def check_layout(parts: Sequence[Part], size: int) -> None:
    """Raise CellFailure(image-invalid) where parts (by offset) overlap or leave the flash."""
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        end = part.offset + part.size
        if end > size:
            raise CellFailure(
                Verdict.IMAGE_INVALID,
                f"{part.name} does not fit: it ends {end - size} bytes behind the flash "
                f"({part.size} bytes at {part.offset:#x}, flash {size} bytes)",
            )
        if after is not None and end > after.offset:
            raise CellFailure(
                Verdict.IMAGE_INVALID,
                f"{part.name} overlaps {after.name} by {end - after.offset} bytes "
                f"({part.size} bytes at {part.offset:#x}, {after.name} at {after.offset:#x})",
            )


def reset_stub(cell: Cell, out: Path, prefix: str, templates: Path) -> bytes:
    """The board's reset stub: rendered, assembled and linked for the flash's base."""
    board = cell.board_spec
    assert board.reset_stub is not None
    offset = board.device_tree.offset if board.device_tree else None
    text = Templates([templates / name for name in cell.template_folders]).render_file(
        board.reset_stub,
        {
            "board": board,
            "device_tree": 0 if offset is None else board.flash.base + offset,
            "entry": board.xip_phys_addr,
        },
    )
    source, obj, elf, binary = (out / f"reset.{end}" for end in ("S", "o", "elf", "bin"))
    write_atomic(source, text)
    run.run([f"{prefix}as", "-o", obj, source], check=True)
    run.run(
        [f"{prefix}ld", "-e", "0", "-Ttext", f"{board.flash.base:#x}", "-o", elf, obj], check=True
    )
    run.run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", elf, binary], check=True)
    return binary.read_bytes()


def dump_tree(board: Board, out: Path) -> Path:
    """The device tree that QEMU makes for the board with the board's own options."""
    path = out / "qemu.dtb"
    args = qemu.machine_args(board, machine_options=[f"dumpdtb={path}"])
    run.run(
        [*args, "-serial", "none", "-monitor", "none"], env=board.qemu.env, check=True, timeout=60
    )
    if not path.is_file():
        raise InfrastructureError(f"QEMU has no device tree for machine {board.qemu.machine}")
    return path


def pack_tree(board: Board, blob: Path, bootargs: str, out: Path) -> Path:
    """The device tree as it goes into flash: board.dtb, and board.dts for people.

    Bootargs set; memory cut to the RAM given; no seeds, unless the board wants to see that
    the kernel does not wipe one, in flash; no padding (QEMU's own blob is 1 MiB).
    """
    dtc = run.need_tool("dtc", "device-tree-compiler")
    text = run.run(
        [dtc, "-q", "-I", "dtb", "-O", "dts", blob], check=True, merge_stderr=False
    ).output
    source, packed = out / "board.dts", out / "board.dtb"
    write_atomic(source, text + _changes(board, blob, bootargs))
    run.run([dtc, "-q", "-I", "dts", "-O", "dtb", "-o", packed, source], check=True)
    return packed


def _changes(board: Board, blob: Path, bootargs: str) -> str:
    tree = board.device_tree
    # Always the same, as in ROM, so that the image is, too.
    seed = f"rng-seed = [{bytes(range(32)).hex()}];" if tree and tree.rng_seed else None
    quoted = bootargs.replace("\\", "\\\\").replace('"', '\\"')
    changes = (
        "\n/ {\n\tchosen {\n"
        f'\t\tbootargs = "{quoted}";\n'
        f"\t\t{seed or '/delete-property/ rng-seed;'}\n"
        "\t\t/delete-property/ kaslr-seed;\n"
        "\t};\n};\n"
    )
    if tree is not None and tree.memory_node:
        reg = _cells(board.ram_base, _root_cells(blob, "#address-cells"))
        reg += _cells(board.ram_size, _root_cells(blob, "#size-cells"))
        changes += f"\n&{{{tree.memory_node}}} {{\n\treg = <{' '.join(reg)}>;\n}};\n"
    return changes + (f"\n{tree.add}" if tree is not None else "")


def _root_cells(blob: Path, name: str) -> int:
    fdtget = run.need_tool("fdtget", "device-tree-compiler")
    return int(run.run([fdtget, blob, "/", name], check=True).output)


def _cells(value: int, cells: int) -> list[str]:
    """`value` as so many 32-bit device tree cells, most significant first."""
    return [f"{value >> 32 * at & 0xFFFFFFFF:#x}" for at in reversed(range(cells))]
