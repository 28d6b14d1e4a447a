# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that was built elsewhere, judged as the pipeline judges its own.

Only our init comes another way: as an initrd that lies in RAM from power-on and is named on
the command line, which every board can do whoever hands over the device tree. It holds no
kernel text.
"""

from __future__ import annotations

from .. import __version__
from ..build import toolchain as toolchains
from ..core.evidence import CellFailure, Evidence, Verdict
from ..core.files import sha256_file, write_atomic
from ..image import static_evidence
from ..image.drift import NAME as DRIFT
from ..image.elf import Image, read_image
from ..image.own_init import init_can_start
from ..image.placement import ram_size
from ..machine.qemu import Preload
from ..machine.qemu import version as qemu_version
from ..machine.result import BootResult
from ..matrix.model import Cell
from ..result import CellResult, Stage
from ..verdict.own_init import init_was_taken
from .given import Foreign, tree_in_build
from .ground import Ground
from .stages import Pipeline
from .trial import Way

_PAGE = 1 << 12
# Far enough from the kernel's data, near enough for what a 32-bit kernel maps of much RAM.
_FAR = 64 << 20
# A module of the kernel's own, loaded by some helper in its initramfs, would be code in RAM
# that nobody told us of. What runs here is the image alone.
_WORDS = "rdinit=/init nomodule"


def verify(
    pipeline: Pipeline, cell: Cell, kernel: Foreign, command: str, append: str
) -> CellResult:
    """Judge it: static evidence, one boot, dynamic evidence. `command` does it again.

    `append` goes on the kernel's command line. Raises KeyboardInterrupt only.
    """
    result = CellResult.of(cell)
    result.command = command
    built = kernel.built
    with pipeline.concluding(cell, result):
        folder = pipeline.run.cell_folder(cell)
        if kernel.options is not None:
            write_atomic(folder / "config", kernel.config)
            result.paths["config"] = str(folder / "config")
        result.paths |= {"vmlinux": str(built.vmlinux), "xipImage": str(built.image)}
        result.versions |= {
            "kernel": kernel.banner,
            "config": kernel.origin,
            "xipmatrix": __version__,
            "vmlinux sha256": sha256_file(built.vmlinux),
            "xipImage sha256": sha256_file(built.image),
        }
        if kernel.options is None:
            result.hint = "--config FILE: the .config that it was built with"
        with pipeline.stage(cell, result, Stage.IMAGE):
            files = built.vmlinux, built.image, built.linker_scripts
            static = static_evidence(cell, kernel.options, *files)
            if built.linker_scripts is None:
                # A word on the source, which is not here; nobody could look at it.
                static = [one for one in static if one.name != DRIFT]
            needs = init_can_start(kernel.options, kernel.elf, mmu=cell.arch_spec.mmu)
            static.append(needs)
            pipeline.look_at(result, built.image, static)
        with pipeline.stage(cell, result, Stage.SOURCE):
            initrd = bring_init(pipeline, cell, kernel)
        with pipeline.stage(cell, result, Stage.BOOT):
            result.versions["qemu"] = qemu_version(cell.board_spec.qemu.binary)
            judgement = pipeline.tries(cell, built, result, folder, _way(kernel, initrd, append))
        result.verdict, result.reason = judgement.verdict, judgement.reason
        if judgement.verdict is Verdict.BOOT_SILENT:
            console = cell.board_spec.bootargs
            result.hint = f"has the kernel a driver for the board's console ({console})?"
    return result


def _way(kernel: Foreign, initrd: Preload, append: str) -> Way:
    def taken(seen: BootResult) -> list[Evidence]:
        return [init_was_taken(seen, initrd, sure=kernel.options is not None)]

    return Way(words(initrd, append), initrd, taken)


def words(initrd: Preload, append: str = "") -> str:
    """What goes on the command line: `append`, and behind it what starts our init."""
    size = initrd.path.stat().st_size
    return f"{append} initrd={initrd.address:#x},{size:#x} {_WORDS}".strip()


def bring_init(pipeline: Pipeline, cell: Cell, kernel: Foreign) -> Preload:
    """Our init, compiled with the nolibc of the matrix's first kernel, and where in RAM.

    Raises CellFailure(not-applicable) where the kernel cannot be booted with it, and what
    `obtain` and the compiler raise.
    """
    tree = cell.board_spec.device_tree
    if tree is not None and tree.source != "qemu" and kernel.built.device_tree is None:
        raise CellFailure(
            Verdict.NOT_APPLICABLE,
            f"{cell.arch}/{cell.board} needs a device tree, --dtb FILE: beside vmlinux is no "
            f"{tree_in_build(cell, tree)}",
        )
    prepared = pipeline.prepared(next(iter(pipeline.loaded.matrix.kernels)))
    ground = Ground(
        cell, prepared, lambda: pipeline.source(cell, prepared), toolchains.of_cell(cell)
    )
    archive = pipeline.initramfs(ground)
    init = read_image(archive.with_name("init"))
    if (init.pointer, init.little_endian) != (kernel.elf.pointer, kernel.elf.little_endian):
        raise CellFailure(
            Verdict.NOT_APPLICABLE, f"vmlinux is {_order(kernel.elf)}, our init {_order(init)}"
        )
    board = cell.board_spec
    used = board.data_base + ram_size(cell.arch_spec, kernel.elf)
    room = board.ram_base + board.ram_size - used
    address = used + min(room // 2, _FAR) & -_PAGE
    if room // 2 < archive.stat().st_size + _PAGE:
        raise CellFailure(
            Verdict.NOT_APPLICABLE,
            f"of {board.ram_size} bytes of RAM {room} are left, too few for our init",
        )
    return Preload(archive, address)


def _order(elf: Image) -> str:
    return f"{elf.pointer * 8}-bit {'little' if elf.little_endian else 'big'} endian"
