# SPDX-License-Identifier: GPL-2.0-only
"""Building the test's init: static, with nolibc, for the initramfs inside the kernel."""

from __future__ import annotations

from pathlib import Path

from ...build.toolchain import Toolchain
from ...core import run
from ...core.files import remove, write_atomic
from ...matrix.model import Arch, Cell

_HERE = Path(__file__).parent
SOURCE = _HERE / "init.c"
_SOURCES = (SOURCE, _HERE / "workload.c", _HERE / "relocate.c")
# The part of init, and the program, for configs whose workload is in flash.
_FLASH, _PROGRAM = _HERE / "flash.c", _HERE / "program.c"
_USES_FLASH = {"cramfs", "cfi"}
# The programs for a file system in flash, below what build_init() leaves, and where they are
# linked: so many bytes behind init, so that their addresses tell which of them runs.
PROGRAMS = "flash"
IN_PLACE, COMPRESSED = "in-place", "compressed"
_DISTANCES = {IN_PLACE: 16 << 20, COMPRESSED: 32 << 20}
_FLAGS = (
    *("-Os", "-Wall", "-static", "-nostdlib", "-nostdinc", "-ffreestanding"),
    *("-fno-pic", "-no-pie", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-unwind-tables"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-s"),
)
# 'make headers' takes 10 to 20 s for a thousand headers, of which we need twenty. What its
# scripts/headers_install.sh cuts out of each is defined away here instead.
_CUT_OUT = (
    *("-D__user=", "-D__force=", "-D__iomem=", "-D__attribute_const__="),
    *("-D__packed=__attribute__((packed))", "-D__EXPORTED_HEADERS__"),
)
_GENERATED = ("uapi-asm-generic", "archheaders", "include/generated/uapi/linux/version.h")


def _headers(source: Path, arch: Arch, toolchain: Toolchain, out: Path) -> list[str | Path]:
    """Compiler options for the kernel's UAPI headers, the generated ones made in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    variables = [f"ARCH={arch.kernel_arch}", *toolchain.make_args, f"O={out.resolve()}"]
    run.run(["make", "-s", "-C", source, *variables, *_GENERATED], check=True)
    own = Path("arch") / arch.kernel_arch / "include"
    folders = [
        *(source / own / "uapi", out / own / "generated/uapi"),
        *(source / "include/uapi", out / "include/generated/uapi", _HERE / "uapi"),
    ]
    return [*_CUT_OUT, *(word for folder in folders for word in ("-isystem", folder))]


def made_of(cell: Cell) -> dict[str, str]:
    """Name and text of all that init and the programs of `cell` are made of and by."""
    paths = {*_HERE.rglob("*.h"), *_HERE.glob("*.py"), *_SOURCES}
    if _USES_FLASH & set(cell.config_spec.workload):
        paths |= {_FLASH, _PROGRAM}
    return {str(path.relative_to(_HERE)): path.read_text() for path in sorted(paths)}


def build_init(source: Path, cell: Cell, toolchain: Toolchain, out: Path) -> Path:
    """Compile init with the kernel's nolibc; the gen_init_cpio list of the initramfs.

    `source` is the kernel's tree, only read. The list names `out`/init by its absolute
    path: cpio.make_cpio() makes it an archive. Programs for a file system in flash, if the
    config wants one, are in `out`/PROGRAMS. Raises InfrastructureError with the compiler's
    words where it fails.
    """
    arch, workload = cell.arch_spec, set(cell.config_spec.workload)
    headers = _headers(source, arch, toolchain, out / "headers")
    binary = out / "init"
    compiler = [toolchain.compiler]
    if toolchain.name.startswith("clang"):
        compiler += [f"--target={toolchain.prefix.rstrip('-')}"]

    def link(program: Path, address: int, *sources: Path | str) -> None:
        run.run(
            [
                *compiler,
                *_FLAGS,
                *arch.init.cflags,
                *cell.config_spec.init_cflags,
                *(*headers, "-include", source / "tools/include/nolibc/nolibc.h"),
                f"-Wl,-Ttext-segment={address:#x}",
                *("-o", program, *sources),
                *(["-lgcc"] if arch.init.libgcc else []),
            ],
            check=True,
        )

    at = arch.init.text_virtual_address
    uses_flash: list[str | Path] = ["-DUSE_FLASH", _FLASH] if _USES_FLASH & workload else []
    link(binary, at, *_SOURCES, *uses_flash)
    if "cramfs" in workload:
        (out / PROGRAMS).mkdir()
        for name, distance in _DISTANCES.items():
            link(out / PROGRAMS / name, at + distance, _PROGRAM)
    remove(out / "headers")
    listing = out / "initramfs.list"
    write_atomic(
        listing,
        "dir /dev 0755 0 0\n"
        "nod /dev/console 0600 0 0 c 5 1\n"
        "dir /proc 0555 0 0\n"
        f"file /init {binary.resolve()} 0755 0 0\n",
    )
    return listing
