# SPDX-License-Identifier: GPL-2.0-only
"""What one boot left behind: how it ended, its console, its counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# What a boot leaves in its folder.
CONSOLE, COUNTS, FLASH_TRACE, STORES, QEMU_SCRIPT = (
    "console.log",
    "counts.txt",
    "flash-trace.log",
    "stores.txt",
    "qemu.sh",
)


class End(StrEnum):
    """How a boot ended."""

    POWEROFF = "poweroff"
    RESET = "reset"
    PANIC = "panic"
    SILENT = "silent"
    TIMEOUT = "timeout"
    OUTPUT_LIMIT = "output-limit"
    # More writes to flash than anybody needs to see.
    FLASH_LIMIT = "flash-limit"
    # The guest ended the machine and told of a failure.
    FAILURE = "failure"
    QEMU_FAILED = "qemu-failed"


@dataclass(frozen=True)
class Memory:
    """Guest memory and where QEMU keeps it: `physical` (guest), `host`, `size` in bytes.

    `content` is a firmware's memory as it was before the first instruction.
    """

    name: str
    physical: int
    size: int
    host: int
    content: bytes | None = None


@dataclass(frozen=True)
class Moment:
    """The machine, stopped while init stands still.

    `ram` is a dump of all RAM from the board's ram_base on, `info_mem` the monitor's
    page-table view, empty where QEMU has none for this architecture. `flash_differs`: the
    first offset at which the guest's view of its flash is not the image file's content,
    None where all is the same or nobody looked.
    """

    name: str
    ram: Path | None
    info_mem: str = ""
    flash_seen: int = 0
    flash_differs: int | None = None


@dataclass(frozen=True)
class Sample:
    """Where one CPU was when it was asked: program counter (virtual) and its physical
    address, None where nothing is mapped."""

    cpu: int
    pc: int
    physical: int | None


@dataclass(frozen=True)
class BootResult:
    """One boot. `seconds` is wall time from QEMU's start to its end.

    `counts` is the plugin's file, None where there is none; then `samples` stand in.
    `flash_trace` is QEMU's trace of the flash device, `rom_stores` what the plugin says of
    stores to a ROM. The SHA-256 are of the flash image
    before and after. `detail` says why, where QEMU failed. `initrd` is the archive with the
    init that was to start, where that is not in the kernel's own image.
    """

    end: End
    seconds: float
    console: Path
    counts: Path | None
    memories: tuple[Memory, ...]
    challenge: str
    command: tuple[str, ...]
    qemu_version: str
    flash_sha256: str
    flash_sha256_after: str
    silence_limit: float
    total_limit: float
    detail: str = ""
    moments: tuple[Moment, ...] = ()
    flash_trace: Path | None = None
    rom_stores: Path | None = None
    samples: tuple[Sample, ...] = ()
    initrd: Path | None = None

    def moment(self, name: str) -> Moment | None:
        """The moment of that name, None where the boot never came to it."""
        return next((one for one in self.moments if one.name == name), None)

    def console_text(self) -> str:
        """The console log as text."""
        return self.console.read_text("utf-8", "replace")
