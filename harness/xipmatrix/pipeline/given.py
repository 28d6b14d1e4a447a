# SPDX-License-Identifier: GPL-2.0-only
"""What a person has of a kernel that was built elsewhere: vmlinux, xipImage, .config, device tree.

Each is looked at for what it is. Whether they fit the board and each other is evidence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ..build.compile import Built
from ..build.kconfig import config_of, parse_config
from ..build.linker_script import linker_scripts
from ..core.errors import InfrastructureError, UsageError
from ..core.files import sha256_file
from ..image.elf import Image, read_image
from ..image.ikconfig import embedded_config
from ..image.kinds import kind
from ..matrix.load import LoadedMatrix, unknown
from ..matrix.model import Arch, Cell, Config, DeviceTree, Kernel

NAME = "elsewhere"
_NAMED = 4


@dataclass(frozen=True)
class Given:
    """The files that a person gave. Without `config` and `device_tree` there may be others."""

    vmlinux: Path
    image: Path | None = None
    config: Path | None = None
    device_tree: Path | None = None


@dataclass(frozen=True)
class Foreign:
    """A kernel that was built elsewhere. `options`: its .config, None where it is not known;
    `origin` says where that came from, `config` is its text."""

    built: Built
    elf: Image
    options: dict[str, str] | None
    origin: str
    config: str

    @property
    def banner(self) -> str:
        """Linux's own words on what it is, from vmlinux; empty where it has none."""
        return _banner(self.elf)


def cell_of(loaded: LoadedMatrix, board: str, given: Given) -> tuple[Cell, Given]:
    """The kernel on `board` (``arm/virt``) as a cell, and its files, an image among them.

    Raises UsageError for an unknown board, and where there is no image.
    """
    boards = {f"{a}/{b}": (a, b) for a, group in loaded.matrix.boards.items() for b in group}
    if board not in boards:
        raise unknown("board", board, boards, loaded.path)
    arch, name = boards[board]
    spec, on = loaded.archs[arch], loaded.matrix.boards[arch][name]
    image = given.image or _beside(given.vmlinux, "xipImage", spec.xip_image)
    if image is None:
        raise UsageError(
            f"there is no xipImage beside it, nor is there {spec.xip_image}",
            where=given.vmlinux,
            hint="--image FILE",
        )
    cell = Cell(
        kernel=NAME,
        arch=arch,
        board=name,
        config=sha256_file(image)[:12],
        toolchain=next(iter(spec.toolchains)),
        kernel_spec=Kernel.model_validate({"providers": [{"path": {"path": str(given.vmlinux)}}]}),
        arch_spec=spec.on(on),
        board_spec=on,
        config_spec=Config(base=NAME),
    )
    return cell, replace(given, image=image)


def examine(cell: Cell, given: Given) -> Foreign:
    """What the files are. Raises UsageError where one is not what it was given for."""
    assert given.image is not None
    elf = _vmlinux(given.vmlinux, cell)
    _image(given.image)
    options, config, origin = _config(cell.arch_spec, given, elf)
    folder = given.vmlinux.parent
    built = Built(
        folder, given.image, given.vmlinux, _device_tree(cell, given), linker_scripts(folder)
    )
    return Foreign(built, elf, options, origin, config)


def _beside(vmlinux: Path, *names: str) -> Path | None:
    """The first of `names` that is a file in vmlinux's folder, which may be a build's."""
    return next((p for name in names if (p := vmlinux.parent / name).is_file()), None)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=path) from error


def _vmlinux(path: Path, cell: Cell) -> Image:
    start = _start(path)
    if not start.startswith(b"\x7fELF"):
        what = kind(start)
        raise UsageError(
            f"is no ELF file{f', but {what}' if what else ''}",
            where=path,
            hint="--vmlinux takes the vmlinux at the top of the build folder, --image the xipImage",
        )
    try:
        image = read_image(path)
    except InfrastructureError as error:
        raise UsageError(error.what, where=path, hint="was it copied whole?") from error
    if image.machine != cell.arch_spec.elf_machine:
        raise UsageError(
            f"is for {image.machine}, {cell.arch}/{cell.board} is {cell.arch_spec.elf_machine}",
            where=path,
        )
    if not image.symbols:
        raise UsageError(
            "has no symbols: it is stripped. Without them nobody can name what was executed, nor "
            "find what rewrites text",
            where=path,
            hint="give the vmlinux of the build folder, as the linker left it",
        )
    return image


def _image(path: Path) -> None:
    start = _start(path)
    what = kind(start) or ("" if start else "empty")
    if what:
        raise UsageError(
            f"is no xipImage, but {what}" if start else "is empty",
            where=path,
            hint="xipImage is what lies in flash byte by byte: arch/<arch>/boot/xipImage",
        )


def _device_tree(cell: Cell, given: Given) -> Path | None:
    """The blob for the flash; None where there is none, or QEMU or firmware has the board's.

    Raises UsageError where one was given that cannot be.
    """
    tree = cell.board_spec.device_tree
    if tree is None:
        if given.device_tree:
            raise UsageError(
                f"firmware hands {cell.arch}/{cell.board} its device tree: --dtb has no effect"
            )
        return None
    path = given.device_tree
    if path is None and tree.source != "qemu":
        path = _beside(given.vmlinux, tree_in_build(cell, tree), "board.dtb")
    if path is not None and not _start(path).startswith(b"\xd0\x0d\xfe\xed"):
        raise UsageError("is no device tree blob", where=path)
    return path


def tree_in_build(cell: Cell, tree: DeviceTree) -> str:
    """Where a kernel's build leaves the board's device tree."""
    return f"arch/{cell.arch_spec.kernel_arch}/boot/dts/{tree.source}"


# --- its configuration ------------------------------------------------------------------


def _config(arch: Arch, given: Given, elf: Image) -> tuple[dict[str, str] | None, str, str]:
    """Options, text and origin of the .config. What the kernel carries itself is the truth.

    Raises UsageError where a file is no .config, or another kernel's.
    """
    try:
        own = embedded_config(elf)
    except InfrastructureError as error:
        raise UsageError(error.what, where=given.vmlinux) from error
    path = given.config or (None if own else _beside(given.vmlinux, ".config", "config"))
    if path is None:
        if own is None:
            return None, "", "not known: vmlinux has no IKCONFIG, and beside it lies no .config"
        return parse_config(own), own, "IKCONFIG of vmlinux"
    try:
        text = path.read_text("utf-8", "replace")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=path) from error
    options = parse_config(text)
    _is_of(path, text, arch, elf)
    if own is not None:
        true = parse_config(own)
        names = sorted({*true, *options})
        other = [n for n in names if true.get(n, "n") != options.get(n, "n")]
        if other:
            more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
            raise UsageError(
                f"is not what vmlinux was built with: its IKCONFIG differs in "
                f"{', '.join(other[:_NAMED])}{more}",
                where=path,
                hint="leave --config out: vmlinux has its own",
            )
    return options, text, str(path)


def _is_of(path: Path, text: str, arch: Arch, elf: Image) -> None:
    """Raises UsageError where `text` is no whole .config, or is for another kernel."""
    head = config_of(text)
    if head is None:
        raise UsageError(
            "is no whole .config as Kconfig writes it: what it leaves out is not known",
            where=path,
            hint="give the .config of the build folder, not a defconfig",
        )
    version = _banner(elf).removeprefix("Linux version ")
    # Behind the version comes a local one: 7.3.4 is neither 7.3's nor 7.3.40's.
    same = not version or re.match(rf"{re.escape(head[1])}(?!\.?\d)", version)
    if not same or head[0] != arch.kernel_arch:
        raise UsageError(
            f"is of Linux/{head[0]} {head[1]}, vmlinux is Linux/{arch.kernel_arch} "
            f"{version.split(' ')[0]}",
            where=path,
            hint="--config FILE",
        )


def _banner(elf: Image) -> str:
    symbol = elf.named.get("linux_banner")
    data = elf.read(symbol.value, 512) if symbol else b""
    return data.partition(b"\0")[0].decode("ascii", "replace").strip()
