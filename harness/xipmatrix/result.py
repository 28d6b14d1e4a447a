# SPDX-License-Identifier: GPL-2.0-only
"""What is known about a cell at the end: verdict, evidence, figures, stages, paths."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .core.evidence import Evidence, Verdict
from .digest import Digest
from .matrix.model import Cell

RESULT_SCHEMA = 1
# What a cell does between stages: a label for progress, not a stage.
WORKING = "working"


class Stage(StrEnum):
    """A cell's way, in order."""

    SERIES = "series"
    SOURCE = "source"
    CONFIG = "config"
    BUILD = "build"
    IMAGE = "image"
    BOOT = "boot"
    VERDICT = "verdict"


@dataclass(frozen=True)
class StageRecord:
    """One stage of one cell: wall time in seconds, and whether it came from the cache."""

    stage: Stage
    seconds: float
    cached: bool = False


@dataclass
class CellResult:
    """The result of one cell in one run. `verdict` is None where --until ended earlier.

    `arguments` are the command line's that choose another matrix or kernel than this
    checkout's: without them the cell cannot be reproduced. `digest` is a failure's, None for
    a pass and in results of older versions. `command` is the whole command line for what is
    no cell of a matrix.
    """

    cell: str
    expected: list[str]
    known_reason: str = ""
    arguments: str = ""
    verdict: Verdict | None = None
    reason: str = ""
    hint: str = ""
    log: str = ""
    stages: list[StageRecord] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    figures: dict[str, int | float | str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    digest: Digest | None = None
    command: str = ""

    @classmethod
    def of(cls, cell: Cell, arguments: str = "") -> CellResult:
        """An empty result for `cell`."""
        return cls(cell.id, list(cell.expected), cell.known_reason, arguments)

    @property
    def as_expected(self) -> bool:
        """Whether matrix.yaml expects this; a known failure that passes is unexpected."""
        return self.verdict is None or str(self.verdict) in self.expected

    @property
    def known_failure(self) -> bool:
        """Declared to fail in matrix.yaml, and not expired."""
        return "pass" not in self.expected

    @property
    def label(self) -> str:
        """The verdict for people: with what was expected, where that differs from pass."""
        if self.verdict is None:
            return "stopped early"
        if self.known_failure:
            if self.as_expected:
                return f"{self.verdict} (known)"
            if self.verdict is Verdict.PASS:
                return "pass (unexpected)"
        weaknesses = dict.fromkeys(one.weakness for one in self.evidence if one.weakness)
        if self.verdict is Verdict.PASS and weaknesses:
            return f"pass ({', '.join(weaknesses)})"
        return str(self.verdict)

    @property
    def seconds(self) -> float:
        """Wall time of all stages, in seconds."""
        return sum(record.seconds for record in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` is the inverse."""
        data = asdict(self)
        data["evidence"] = [one.as_dict() for one in self.evidence]
        data["digest"] = self.digest.as_dict() if self.digest else None
        data["schema"] = RESULT_SCHEMA
        data["as_expected"] = self.as_expected
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CellResult:
        """A result read back. Raises KeyError, TypeError or ValueError for other data."""
        if data.get("schema") != RESULT_SCHEMA:
            raise ValueError(f"result schema {data.get('schema')}, not {RESULT_SCHEMA}")
        rest = {k: v for k, v in data.items() if k not in ("schema", "as_expected")}
        rest["verdict"] = Verdict(rest["verdict"]) if rest["verdict"] else None
        rest["evidence"] = [Evidence.from_dict(one) for one in rest["evidence"]]
        rest["stages"] = [
            StageRecord(Stage(one["stage"]), one["seconds"], one["cached"])
            for one in rest["stages"]
        ]
        rest["digest"] = Digest.from_dict(rest["digest"]) if rest.get("digest") else None
        return cls(**rest)


def exit_code(results: list[CellResult]) -> int:
    """0 all as expected, 1 a cell is not, 3 our own side failed somewhere."""
    if any(result.verdict is Verdict.INFRASTRUCTURE for result in results):
        return 3
    return 0 if all(result.as_expected for result in results) else 1
