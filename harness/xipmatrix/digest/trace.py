# SPDX-License-Identifier: GPL-2.0-only
"""The places that a kernel names as it dies, as functions and, where it can be, source lines.

A small kernel has no names (no CONFIG_KALLSYMS): its addresses are looked up in vmlinux.
Source lines come from the tree's own scripts/decode_stacktrace.sh, which reads places in the
kernel's way of writing them, ``name+0xoffset/0xsize``, and needs debug information.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..machine.residency import Symbols

SHOWN_FRAMES = 6
NO_LINES = "no debug info: CONFIG_DEBUG_INFO gives source lines"
_SCRIPT = Path("scripts") / "decode_stacktrace.sh"
_LIMIT_SECONDS = 60

_HEX = r"\b(?:0x)?[0-9a-f]{8,16}\b"
_NAMED = r"[\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?"
_PC = re.compile(r"\s*(?:PC is at|(?:epc|pc|era|PC)\s*:)\s*(.+)")
_CALLER = re.compile(r"\s*(?:LR is at|(?:ra|lr)\s*:)\s*(.+)")
_FRAME = re.compile(
    rf"\s*(?:\? )?(?:\[<[0-9a-f]+>\].*|Function entered at .*|[\w.$]+ from {_NAMED}.*"
    rf"|{_NAMED}(?: \([A-Z]+\))?)\s*"
)
_CODE = re.compile(r"\s*Code: .*[(<].*")
_LINE = re.compile(r"\(([^?\s]\S*:\d+.*)\)")
_TRAPPED = re.compile(r":\*\s*(.+?)\s*<-- trapping instruction")
# What prints the trace is on top of it where nothing trapped.
_PRINTING = {
    *("unwind_backtrace", "show_stack", "dump_backtrace", "dump_stack", "dump_stack_lvl"),
    *("__dump_stack", "vpanic", "panic", "die", "walk_stackframe"),
}


@dataclass(frozen=True)
class Origin:
    """What the failing kernel was made from; whatever is not known is missing.

    `arch` is the kernel's name of the architecture, `prefix` the CROSS_COMPILE prefix.
    """

    source: Path | None = None
    arch: str = "*"
    vmlinux: Path | None = None
    prefix: str = ""


@dataclass(frozen=True)
class Trace:
    """Where the kernel died: each place as ``name+0xoffset/0xsize``, with its source line where
    that is known. `at` and `caller` are empty where nothing trapped, `instruction` where it
    could not be disassembled, `note` says why there are no source lines."""

    at: str
    caller: str
    frames: tuple[str, ...]
    instruction: str = ""
    note: str = ""

    @property
    def function(self) -> str:
        """The function it died in; empty where it has no name."""
        place = self.at or (self.frames[0] if self.frames else "")
        return place.split("+")[0] if "+0x" in place else ""


def read_trace(report: Sequence[str], origin: Origin) -> Trace:
    """The trace in the lines of one oops or panic, without the log's time stamps."""
    symbols = _symbols(origin.vmlinux)
    at, caller = _first(_PC, report), _first(_CALLER, report)
    frames = [place for line in report if _FRAME.fullmatch(line) and (place := _place(line))]
    frames = [place for place in frames if place.strip("0x")]  # the first caller of all has none
    named = [_name(place, symbols) for place in (at, caller, *frames)]
    code = next((line for line in report if _CODE.match(line)), "")
    has_lines = symbols is not None and symbols.has_lines
    places, instruction = _decoded(named, code, origin, has_lines)
    shown = [place for place, _ in groupby(_without_printing(places[2:]))]
    if places[0] and shown[:1] == places[:1]:
        del shown[0]
    note = NO_LINES if symbols is not None and not has_lines and any(places) else ""
    return Trace(places[0], places[1], tuple(shown[:SHOWN_FRAMES]), instruction, note)


def _symbols(vmlinux: Path | None) -> Symbols | None:
    try:
        return Symbols(vmlinux) if vmlinux is not None else None
    except InfrastructureError:
        return None


def _first(pattern: re.Pattern[str], report: Sequence[str]) -> str:
    """The first place that is introduced by `pattern`."""
    return next((_place(found[1]) for line in report if (found := pattern.match(line))), "")


def _place(text: str) -> str:
    """The last place in `text`, by name rather than by address; empty where there is none."""
    found: list[str] = re.findall(_NAMED, text) or re.findall(_HEX, text)
    return found[-1] if found else ""


def _name(place: str, symbols: Symbols | None) -> str:
    if not place or "+0x" in place:
        return place
    address = int(place, 16)
    return symbols.place(address) if symbols is not None else f"{address:#x}"


def _without_printing(frames: Sequence[str]) -> Sequence[str]:
    for at, frame in enumerate(frames):
        if frame.split("+")[0] not in _PRINTING:
            return frames[at:]
    return frames


def _decoded(
    places: Sequence[str], code: str, origin: Origin, has_lines: bool
) -> tuple[list[str], str]:
    """The places with their source lines, and the trapping instruction, as far as can be."""
    asked = [place for place in places if has_lines and "+0x" in place]
    said = _decode(asked, code, origin) if asked or code else []
    lines = {
        place: found[1]
        for place, answer in zip(asked, said, strict=False)
        if (found := _LINE.search(answer))
    }
    trapped = next((found[1] for line in said if (found := _TRAPPED.search(line))), "")
    shown = [f"{place} ({lines[place]})" if place in lines else place for place in places]
    return shown, " ".join(trapped.split())


def _decode(places: Sequence[str], code: str, origin: Origin) -> list[str]:
    """What the tree's script makes of one place a line, and of the line with the code."""
    if origin.source is None or origin.vmlinux is None:
        return []
    script = origin.source / _SCRIPT
    if not script.is_file():
        return []
    text = "".join(f"{line}\n" for line in (*places, code) if line)
    try:
        return run.run(
            ["bash", script, origin.vmlinux, "auto"],
            env={"CROSS_COMPILE": origin.prefix, "ARCH": origin.arch, "LLVM": ""},
            input_bytes=text.encode(),
            merge_stderr=False,
            timeout=_LIMIT_SECONDS,
        ).output.splitlines()
    except InfrastructureError:
        return []
