# SPDX-License-Identifier: GPL-2.0-only
"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ..core.evidence import Verdict
from ..result import CellResult, Stage

_SHOWN = (Stage.SERIES, Stage.SOURCE, Stage.CONFIG, Stage.BUILD, Stage.BOOT)


def size(count: int | float | str | None) -> str:
    """Bytes as ``2.42 MiB``."""
    return f"{float(count) / (1 << 20):.2f} MiB" if count is not None else "-"


def kilobytes(count: int | float | str | None) -> str:
    """kB as the kernel counts them (KiB), with thousands separators."""
    return f"{int(count):,} kB" if count is not None else "-"


def millions(count: int | float | str | None) -> str:
    """An instruction count as ``26.6 M``."""
    return f"{float(count) / 1e6:.1f} M" if count is not None else "-"


def percent(share: int | float | str | None) -> str:
    """A share (0 to 1), cut and never rounded up: 100 % means all of it."""
    if share is None:
        return "-"
    return f"{int(float(share) * 1e5) / 1e3:.3f} %"


# The columns of :func:`measured`.
MEASURED = ("image", "RAM free", "in flash", "kernel share")


def measured(result: CellResult) -> tuple[str, ...]:
    """A cell's main figures; - for what was not measured."""
    figure = result.figures.get
    return (
        size(figure("image_bytes")),
        kilobytes(figure("mem_available_kb")),
        millions(figure("flash_instructions")),
        percent(figure("flash_share")),
    )


def stage_times(result: CellResult) -> str:
    """``config 9 build 141 boot 2``: seconds a stage; = marks a stage from the cache."""
    return " ".join(
        f"{record.stage} {'=' if record.cached else f'{record.seconds:.0f}'}"
        for record in result.stages
        if record.stage in _SHOWN
    )


def reproduce(result: CellResult) -> str:
    """The one command that does this cell again."""
    if result.command:
        return result.command
    words = ["./xipmatrix build", result.arguments, f"--cell '{result.cell}'", "--again"]
    return " ".join(word for word in words if word)


def boot_again(result: CellResult) -> str:
    """The command that boots it again: --interactive or --gdb may follow."""
    return result.command or f"./xipmatrix boot {result.cell}"


def tally(found: Sequence[CellResult]) -> str:
    """``4 cells: 2 pass, 1 known failure, 1 NOT as expected``."""
    passed = sum(1 for result in found if result.verdict is Verdict.PASS)
    known = sum(1 for result in found if result.known_failure and result.as_expected)
    unexpected = sum(1 for result in found if not result.as_expected)
    return (
        f"{len(found)} cell{'s' * (len(found) != 1)}: {passed} pass"
        + (f", {known} known failure{'s' * (known != 1)}" if known else "")
        + (f", {unexpected} NOT as expected" if unexpected else ", all as expected")
    )


def labels(found: Iterable[CellResult]) -> str:
    """The verdicts of cells that fail alike, each once: ``boot-panic``, seldom more."""
    return ", ".join(dict.fromkeys(result.label for result in found))


def kibibytes(count: int | float | str | None) -> str:
    """Bytes as ``172 KiB``."""
    return f"{float(count) / (1 << 10):,.0f} KiB" if count is not None else "-"


def duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


def seconds_between(began: str, ended: str) -> float:
    """Between two times as the store has them; 0 where one is missing."""
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
