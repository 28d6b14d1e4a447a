# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line, from board data alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.files import cache_dir, locked
from ..core.host import installed_version
from ..kernel.firmware import firmware_file
from ..matrix.model import Board

_KERNEL_STUB = b"\0"
# As unlike a cleared or an erased memory as can be, and no valid pointer.
_POISON = 0xA5
_POISONED = bytes([_POISON]) * (1 << 20)


@dataclass(frozen=True)
class Preload:
    """An initrd that lies in RAM from power-on: `address` is physical."""

    path: Path
    address: int


def version(binary: str) -> str:
    """The version of a QEMU binary, e.g. ``7.2.22``. Raises InfrastructureError."""
    found = installed_version(run.need_tool(binary))
    if found is None:
        raise InfrastructureError(f"{binary} --version says no version")
    return found


@functools.cache
def has_plugins(binary: str) -> bool:
    """Whether this QEMU was built with TCG plugins: its help shows the option only then."""
    return "\n-plugin " in run.run([run.need_tool(binary), "-help"], check=True).output


def machine_args(board: Board, *, machine_options: Sequence[str] = ()) -> list[str]:
    """QEMU and the options that make the board itself: machine, CPU, RAM, extra devices.

    The device tree that QEMU generates depends on exactly these.
    """
    qemu = board.qemu
    args = [qemu.binary, "-M", ",".join([qemu.machine, *machine_options])]
    if qemu.cpu:
        args += ["-cpu", qemu.cpu]
    args += ["-m", f"{qemu.memory >> 10}K", "-smp", str(qemu.cpus)]
    if qemu.icount is not None:
        args += ["-icount", f"shift={qemu.icount}"]
    if qemu.bios is not None:
        args += ["-bios", str(firmware_file(qemu.bios))]
    return [*args, "-display", "none", "-nodefaults", "-no-reboot", *qemu.args]


def boot_args(
    board: Board,
    flash: Path,
    *,
    bootargs: str,
    work: Path,
    kernel: Path | None = None,
    preload: Preload | None = None,
) -> list[str]:
    """QEMU and all that the machine boots with; console and monitor are the caller's.

    `flash` is read-only, a pflash or a ROM, and holds the only copy of the kernel. RAM begins as
    garbage, as on a real board: QEMU's zeros would hide a .bss that nobody clears. Where firmware
    hands the kernel its command line, `bootargs` goes with -append, which wants a
    -kernel: a file of one byte in `work` serves, which is never executed.
    `kernel` is a normal kernel, which is loaded into RAM; then there is no flash.
    """
    if board.flash.kind == "rom":
        if kernel is not None:
            raise InfrastructureError(
                f"{board.qemu.machine} has a ROM, but no RAM that takes a normal kernel"
            )
        return _with_rom(board, flash, preload, work)
    drive = f"if=pflash,unit={board.flash.unit},format=raw,readonly=on,file={_escape(flash)}"
    machine = machine_args(board, machine_options=["memory-backend=garbage"])
    machine += ["-object", f"{_file_memory('garbage', _garbage(board.ram_size))},share=off"]
    if kernel is not None:
        # Without the drive: a machine that finds a flash starts there, whatever -kernel says.
        return [*machine, *_tree(flash), "-kernel", str(kernel), "-append", bootargs]
    # Nobody reads the tree in RAM: but where QEMU puts one there of its own accord, arm virt's
    # is 1 MiB of zeros, which would cover the garbage that .bss must be cleared of.
    args = [*machine, *_tree(flash), "-drive", drive, *_preloaded(preload)]
    if board.qemu.boots_with_dummy_kernel:
        stub = work / "never-executed"
        stub.write_bytes(_KERNEL_STUB)
        args += ["-kernel", str(stub), "-append", bootargs]
    return args


def _tree(flash: Path) -> list[str]:
    """The device tree that was packed for `flash`, where its board has one."""
    packed = flash.with_name("board.dtb")
    return ["-dtb", str(packed)] if packed.is_file() else []


def _with_rom(board: Board, image: Path, preload: Preload | None, work: Path) -> list[str]:
    """The machine whose -m memory is the ROM, and its other RAM, which starts as garbage too."""
    rom = f"{_file_memory('rom', image)},share=on,readonly=on"
    ram = Preload(_garbage(board.ram_size), board.ram_base)
    if preload is not None:
        # Two things to load must not overlap.
        content = bytearray(ram.path.read_bytes())
        inside = preload.path.read_bytes()
        at = preload.address - board.ram_base
        content[at : at + len(inside)] = inside
        ram = Preload(work / "ram-at-reset.bin", board.ram_base)
        ram.path.write_bytes(content)
    machine = machine_args(board, machine_options=["memory-backend=rom"])
    return [*machine, "-object", rom, *_preloaded(ram)]


def _preloaded(preload: Preload | None) -> list[str]:
    if preload is None:
        return []
    where = f"file={_escape(preload.path)},addr={preload.address:#x}"
    return ["-device", f"loader,{where},force-raw=on"]


def _file_memory(name: str, path: Path) -> str:
    """The -object for memory that is a file, with its content."""
    size = path.stat().st_size
    return f"memory-backend-file,id={name},size={size},mem-path={_escape(path)}"


def _garbage(size: int) -> Path:
    """A file of `size` bytes, all of them one poison byte.

    All boots share it; of it, RAM is a private mapping: QEMU never writes to it.
    """
    path = cache_dir() / "ram" / f"{_POISON:02x}-{size}"
    with locked(path):
        if not (path.is_file() and path.stat().st_size == size):
            partial = path.with_suffix(".partial")
            with partial.open("wb") as out:
                for at in range(0, size, len(_POISONED)):
                    out.write(_POISONED[: size - at])
            partial.replace(path)
    return path


def interactive_args(
    board: Board,
    flash: Path,
    *,
    bootargs: str,
    work: Path,
    gdb: bool = False,
    preload: Preload | None = None,
) -> list[str]:
    """QEMU with its console on the user's terminal (Ctrl-A X ends it).

    With `gdb` it waits, stopped, for a debugger on TCP port 1234 of this machine alone:
    QEMU's -s would listen on every address.
    """
    args = boot_args(board, flash, bootargs=bootargs, work=work, preload=preload)
    stub = ["-gdb", "tcp:127.0.0.1:1234", "-S"] if gdb else []
    return [*args, "-serial", "mon:stdio", *stub]


def run_interactive(board: Board, command: Sequence[str]) -> int:
    """Run interactive_args()'s `command` on the user's terminal to its end: its exit status.

    Raises InfrastructureError where QEMU is missing.
    """
    with run.start(
        command, env=board.qemu.env, stdin=None, stdout=None, stderr=None, death_signal="TERM"
    ) as process:
        return process.wait()


def _escape(path: Path) -> str:
    """A file name in a QEMU option list: commas are doubled."""
    return str(path).replace(",", ",,")
