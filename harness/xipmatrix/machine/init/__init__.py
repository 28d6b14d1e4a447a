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


def build_init(source: Path, cell: Cell, toolchain: Toolchain, out: Path) -> Path:
    """Compile init with the kernel's nolibc; the gen_init_cpio list of the initramfs.

    `source` is the kernel's tree, only read. The list names `out`/init by its absolute
    path: cpio.make_cpio() makes it an archive. Raises InfrastructureError with the
    compiler's words where it fails.
    """
    arch = cell.arch_spec
    headers = _headers(source, arch, toolchain, out / "headers")
    binary = out / "init"
    compiler = [toolchain.compiler]
    if toolchain.name.startswith("clang"):
        compiler += [f"--target={toolchain.prefix.rstrip('-')}"]
    run.run(
        [
            *compiler,
            *_FLAGS,
            *arch.init.cflags,
            *cell.config_spec.init_cflags,
            *(*headers, "-include", source / "tools/include/nolibc/nolibc.h"),
            f"-Wl,-Ttext-segment={arch.init.text_virtual_address:#x}",
            *("-o", binary, *_SOURCES),
            *(["-lgcc"] if arch.init.libgcc else []),
        ],
        check=True,
    )
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
