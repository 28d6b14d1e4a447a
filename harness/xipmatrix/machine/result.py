# SPDX-License-Identifier: GPL-2.0-only
"""What one boot left behind: how it ended, its console, its counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class End(StrEnum):
    """How a boot ended."""

    POWEROFF = "poweroff"
    RESET = "reset"
    PANIC = "panic"
    SILENT = "silent"
    TIMEOUT = "timeout"
    OUTPUT_LIMIT = "output-limit"
    QEMU_FAILED = "qemu-failed"


@dataclass(frozen=True)
class Memory:
    """Guest memory and where QEMU keeps it: `physical` (guest), `host`, `size` in bytes."""

    name: str
    physical: int
    size: int
    host: int


@dataclass(frozen=True)
class BootResult:
    """One boot. `seconds` is wall time from QEMU's start to its end.

    `counts` is the plugin's file, None where there is none. The SHA-256 are of the
    flash image before and after. `detail` says why, where QEMU failed.
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

    def console_text(self) -> str:
        """The console log as text."""
        return self.console.read_text("utf-8", "replace")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` is the inverse."""
        return {
            **asdict(self),
            "end": str(self.end),
            "console": str(self.console),
            "counts": str(self.counts) if self.counts else None,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BootResult:
        """A result read back."""
        return cls(
            **{
                **data,
                "end": End(data["end"]),
                "console": Path(data["console"]),
                "counts": Path(data["counts"]) if data["counts"] else None,
                "memories": tuple(Memory(**one) for one in data["memories"]),
                "command": tuple(data["command"]),
            }
        )
