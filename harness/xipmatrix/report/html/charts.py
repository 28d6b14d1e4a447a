# SPDX-License-Identifier: GPL-2.0-only
"""Figures over runs as SVG: the geometry. The drawing is charts.svg.j2's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...store import Past
from .marks import Mark, day, mark_of

# All in the SVG's own units; the page scales them to the room there is.
WIDTH, HEIGHT = 360, 196
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 26, 36
_TICKS = 4
# The least that the vertical axis spans, as a share of the highest value: what is smaller
# than a threshold of history must not look like a mountain.
_LEAST_SPAN = 0.02


@dataclass(frozen=True)
class Figure:
    """A figure that is drawn: `name` of core.evidence.FIGURES, `units` largest first."""

    name: str
    title: str
    units: tuple[tuple[float, str], ...]


_BYTES = ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes"))
_COUNT = ((1e9, "thousand million"), (1e6, "million"), (1e3, "thousand"), (1, ""))
FIGURES = (
    Figure("image_bytes", "Image size", _BYTES),
    Figure("ram_bytes", "Static RAM", _BYTES),
    Figure("flash_instructions", "Instructions from flash", _COUNT),
)


@dataclass(frozen=True)
class Point:
    """A measured value. `x` and `y` in the SVG's units; `label` says run, verdict and value."""

    x: float
    y: float
    mark: Mark
    label: str


@dataclass(frozen=True)
class Tick:
    """A grid line at `at` (x or y, in the SVG's units)."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """`lines` are SVG paths, one between each two gaps; `gaps` are runs without the figure."""

    figure: Figure
    unit: str
    summary: str
    points: tuple[Point, ...]
    lines: tuple[str, ...]
    gaps: tuple[Point, ...]
    values: tuple[Tick, ...]
    dates: tuple[Tick, ...]
    releases: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def make_chart(figure: Figure, history: Sequence[Past]) -> Chart | None:
    """`figure` over `history`, oldest first; None where no run measured it."""
    values = [past.figures.get(figure.name) for past in history]
    known = [value for value in values if value is not None]
    if not known:
        return None
    factor, unit = _unit(figure, max(known))
    low, high, step = _axis(min(known) / factor, max(known) / factor)
    where = [_across(number, len(history)) for number in range(len(history))]
    bottom = HEIGHT - _BOTTOM

    def up(value: float) -> float:
        return round(bottom - (value - low) / (high - low) * (bottom - _TOP), 1)

    points: list[Point] = []
    gaps: list[Point] = []
    lines: list[list[str]] = []
    path: list[str] = []
    for x, past, value in zip(where, history, values, strict=True):
        mark = mark_of(past)
        said = f"{day(past.began)}, {mark.words}"
        if value is None:
            gaps.append(Point(x, bottom, mark, f"{said}: not measured"))
            lines.append(path)
            path = []
            continue
        y = up(value / factor)
        points.append(Point(x, y, mark, f"{said}: {_exact(value)}"))
        path.append(f"{x:g} {y:g}")
    lines.append(path)
    return Chart(
        figure=figure,
        unit=unit,
        summary=_summary(history, known),
        points=tuple(points),
        lines=tuple("M" + " L".join(one) for one in lines if len(one) > 1),
        gaps=tuple(gaps),
        values=tuple(
            Tick(up(value), f"{value:,.{_decimals(step)}f}") for value in _steps(low, high, step)
        ),
        dates=tuple(_dates(where, history)),
        releases=tuple(_releases(where, history)),
    )


def _unit(figure: Figure, highest: float) -> tuple[float, str]:
    return next((unit for unit in figure.units if highest >= unit[0]), figure.units[-1])


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """The axis' ends and its step: whole steps of 1, 2 or 5 times a power of ten."""
    least = max(abs(high) * _LEAST_SPAN, 1e-9)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least / 2, middle + least / 2
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = power * next((one for one in (1, 2, 5) if one * power >= rough * 0.999), 10)
    return math.floor(low / step) * step, math.ceil(high / step) * step, step


def _steps(low: float, high: float, step: float) -> list[float]:
    return [low + number * step for number in range(round((high - low) / step) + 1)]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step * 1.0001)))


def _across(number: int, count: int) -> float:
    """The place of run `number` of `count`; a single one stands in the middle."""
    room = WIDTH - _LEFT - _RIGHT - 16
    share = number / (count - 1) if count > 1 else 0.5
    return round(_LEFT + 8 + share * room, 1)


def _dates(where: Sequence[float], history: Sequence[Past]) -> list[Tick]:
    """The first day and the last one."""
    ends = {0: history[0], len(history) - 1: history[-1]}
    return [Tick(where[number], past.began[:10]) for number, past in ends.items()]


def _releases(where: Sequence[float], history: Sequence[Past]) -> list[Tick]:
    """Where another release of the kernel came."""
    found: list[Tick] = []
    before = ""
    for x, past in zip(where, history, strict=True):
        release = past.versions.get("kernel", "").split(" ")[0]
        if release and release != before:
            found.append(Tick(x, release))
        before = release or before
    return found


def _summary(history: Sequence[Past], known: Sequence[float]) -> str:
    span = f"{history[0].began[:10]} to {history[-1].began[:10]}"
    return (
        f"{len(history)} run{'s' * (len(history) != 1)}, {span}: first {_exact(known[0])}, "
        f"last {_exact(known[-1])}, lowest {_exact(min(known))}, highest {_exact(max(known))}"
    )


def _exact(value: float) -> str:
    return f"{value:,.0f}"
