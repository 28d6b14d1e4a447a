# SPDX-License-Identifier: GPL-2.0-only
"""Evidence and verdicts: the words in which a cell's result is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The closed list of verdicts, worst first."""

    INFRASTRUCTURE = "infrastructure"
    NOT_APPLICABLE = "not-applicable"
    SERIES_CONFLICT = "series-conflict"
    CONFIG_DROPPED = "config-dropped"
    BUILD_FAILED = "build-failed"
    IMAGE_INVALID = "image-invalid"
    BOOT_SILENT = "boot-silent"
    BOOT_PANIC = "boot-panic"
    BOOT_TIMEOUT = "boot-timeout"
    USERSPACE_FAILED = "userspace-failed"
    NOT_IN_PLACE = "not-in-place"
    FLASH_MODIFIED = "flash-modified"
    UNPROTECTED = "unprotected"  # in place, but what must not be written or executed can be
    FLAKY = "flaky"  # two tries that differ; no evidence leads here, only the retry
    PASS = "pass"


# The figures of a cell that history follows, and what they count.
FIGURES = {
    "image_bytes": "xipImage, bytes",
    "in_place_bytes": "what is read and executed in place, bytes",
    "ram_bytes": "the kernel's static RAM, bytes",
    "mem_total_kb": "MemTotal, kB",
    "mem_available_kb": "MemAvailable at userspace, kB",
    "instructions": "all instructions to power-off, firmware's and users' among them",
    "normal_instructions": "the normal kernel's beside it, its decompressor's among them",
    "normal_image_bytes": "the normal kernel's image beside it, which may be compressed, bytes",
    "normal_mem_available_kb": "MemAvailable of the normal kernel beside it, kB",
    "kernel_instructions": "kernel instructions to power-off, where they repeat (icount)",
    "flash_instructions": "kernel instructions executed from flash",
    "flash_share": "their share of all kernel instructions",
    "ram_instructions_declared": "kernel instructions from RAM, as declared",
    "ram_instructions_undeclared": "kernel instructions from RAM that nobody declared",
    "user_instructions": "instructions of user programs",
}

# A figure `grade` says how good a piece of evidence is, where that can differ. A weak grade is
# shown with the verdict.
COUNTED, SAMPLED, NO_CONFIG = "counted", "sampled", "config unknown"
_WEAK = (SAMPLED, NO_CONFIG)


@dataclass(frozen=True)
class Evidence:
    """One fact measured about a cell, with its figures, that can fail.

    `breaks` is the verdict that a failure of this evidence leads to. PASS makes it
    advisory: a failure is shown, and a person should look, but no sound kernel fails by it.
    """

    name: str
    holds: bool
    summary: str
    breaks: Verdict
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def advisory(self) -> bool:
        """Whether a failure is only shown."""
        return self.breaks is Verdict.PASS

    @property
    def weakness(self) -> str:
        """The grade, where it could have been better: it rests on samples, not on counts, or
        on less than the .config; else empty."""
        grade = self.figures.get("grade")
        return str(grade) if grade in _WEAK else ""

    def as_dict(self) -> dict[str, Any]:
        """The evidence as JSON-able data."""
        return {
            "name": self.name,
            "holds": self.holds,
            "summary": self.summary,
            "breaks": str(self.breaks),
            "figures": self.figures,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Evidence:
        """The inverse of :meth:`as_dict`."""
        return cls(**{**data, "breaks": Verdict(data["breaks"])})


class CellFailure(Exception):
    """A stage found the cell to have `verdict`: a fact about the kernel, not our fault."""

    def __init__(self, verdict: Verdict, reason: str, *, log: str = "") -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.log = log
