# SPDX-License-Identifier: GPL-2.0-only
"""The first error of a build log: what the first tool that failed said, and where.

Only whole forms of messages count (``file:line: error: …``, ``ld: …``, ``make: *** …``): a
file named error.o, a flag such as -Werror= or a warning that speaks of errors is none. With
several jobs the output of other compilers may lie between the lines that belong together, so
a line is taken by the file and the line number that it names, not by its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ErrorKind(StrEnum):
    """Who found the error."""

    COMPILER = "compiler"
    LINKER = "linker"
    ASSERTION = "assertion"
    KCONFIG = "kconfig"
    MAKE = "make"


@dataclass(frozen=True)
class BuildError:
    """An error: one line that says it, and the excerpt of the log that explains it."""

    kind: ErrorKind
    headline: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class _Log:
    """A log's lines, and the tree that was built: its folder and the kernel's name of its
    architecture (``*`` where nobody knows)."""

    lines: Sequence[str]
    source: Path | None
    arch: str


_DIAGNOSTIC = re.compile(
    r"(?P<file>[^\s:][^:]*):(?P<line>\d+):(?:(?P<column>\d+):)? ?"
    r"(?:fatal |internal compiler )?[Ee]rror: .+"
)
_DEVICE_TREE = re.compile(r"Error: (?P<file>[^\s:]+):(?P<line>\d+)\.(?P<column>\d+)-\S+ .+")
_KCONFIG = re.compile(r"(?P<file>\S*Kconfig[^\s:]*):(?P<line>\d+): ?(?!warning)\S.*")
_RECURSION = re.compile(r"error: recursive dependency detected!")
_TOOL = re.compile(r"(?:\S*/)?[\w.+-]*(?:gcc|clang|cc1|cpp|as)(?:-[\d.]+)?: (?:fatal )?error: .+")
_LINKER = re.compile(r"(?:\S*/)?(?:[\w.]+-)*ld(?:\.\w+)?: (?P<what>.+)")
_UNDEFINED = re.compile(r"undefined (?:reference to|symbol:) .+")
_MODPOST = re.compile(r"ERROR: (?P<what>modpost: .+)")
_STOP = re.compile(r"\S+: \*\*\* (?P<what>.+?)\.?  Stop\.")
_CONSEQUENCE = re.compile(r"g?make(?:\[\d+\])?: (?:\*\*\* |Target |Leaving |Entering )|^\*+$")
_CHAIN = re.compile(r"In file included from .+[:,]|\s+from \S+:\d+(?::\d+)?[:,]")
_SNIPPET = re.compile(r"\s*(\d+) \|")
_CARET = re.compile(r"\s*\|\s*[\^~+]|\s+[~^][\s~^]*$")
_EXPANSION = re.compile(r"\S+:\d+:\d+: note: (?:in expansion of|expanded from) macro .+")
_NEAR = 12
_FEW = 6


def first_error(log: str, source: Path | None = None, arch: str = "*") -> BuildError | None:
    """The first error of `log`; None where nothing failed in a way that is known here.

    `source` is the tree that was built: its files give source lines that the log lacks, and
    its linker scripts of `arch` tell an assertion from other words of the linker.
    """
    found = _Log(log.replace("\r", "").split("\n"), source, arch)
    for at, line in enumerate(found.lines):
        for pattern, read in _READERS:
            match = pattern.fullmatch(line)
            error = read(found, at, match) if match else None
            if error is not None:
                return error
    return _before_make_gave_up(found)


# --- compilers --------------------------------------------------------------------------


def _compiler(log: _Log, at: int, match: re.Match[str]) -> BuildError:
    """The message with its function, its include chain, its source line and its macros."""
    file, number = match["file"], match["line"]
    behind = log.lines[at + 1 : at + 1 + _NEAR]
    function = _last(log.lines[:at], lambda line: line.startswith((f"{file}: In ", f"{file}: At ")))
    top = at if function is None or function < at - _NEAR else function
    chain: list[str] = []
    while top > 0 and _CHAIN.fullmatch(log.lines[top - 1]):
        top -= 1
        chain.insert(0, log.lines[top])
    return _error(
        log,
        _kind_of(file),
        log.lines[at],
        [
            *chain,
            *([] if function is None else [log.lines[function]]),
            log.lines[at],
            *(_snippet(behind, number, match["column"]) or _from_source(log, match)),
            *_macros(behind),
        ],
    )


def _kind_of(file: str) -> ErrorKind:
    return ErrorKind.KCONFIG if Path(file).name.startswith("Kconfig") else ErrorKind.COMPILER


def _last(lines: Sequence[str], fits: Callable[[str], bool]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if fits(lines[at])), None)


def _snippet(behind: Sequence[str], number: str, column: str | None) -> list[str]:
    """The source line of that number, and the line with a caret in that column, as far as
    they are there."""
    for at, line in enumerate(behind):
        shown = _SNIPPET.match(line)
        if shown is not None and shown[1] == number:
            caret = line.index("|") + 1 + int(column or 0)
            below = [one for one in behind[at + 1 :] if one[caret : caret + 1] in ("^", "~")]
            return [line, *[one for one in below if _CARET.match(one)][:1]]
    if len(behind) > 1 and behind[0].startswith(" ") and _CARET.fullmatch(behind[1]):
        return list(behind[:2])
    return []


def _from_source(log: _Log, match: re.Match[str]) -> list[str]:
    """The source line itself: assemblers do not show it."""
    if log.source is None:
        return []
    try:
        text = (log.source / match["file"]).read_text(errors="replace")
        return [f"{match['line']:>5} | {text.splitlines()[int(match['line']) - 1]}"]
    except (OSError, IndexError):
        return []


def _macros(behind: Iterable[str]) -> list[str]:
    found: list[str] = []
    for line in behind:
        if _DIAGNOSTIC.fullmatch(line):
            break
        if _EXPANSION.fullmatch(line):
            found.append(line)
    return found


def _kconfig(log: _Log, at: int, match: re.Match[str]) -> BuildError:
    file = f"{match['file']}:"
    more = [line for line in log.lines[at + 1 : at + _FEW] if line.startswith(file)]
    shown = [log.lines[at], *_from_source(log, match), *more]
    return _error(log, ErrorKind.KCONFIG, log.lines[at], shown)


def _recursion(log: _Log, at: int, _match: re.Match[str]) -> BuildError:
    loop = [line.strip() for line in log.lines[at + 1 : at + _NEAR] if line.startswith("\t")]
    headline = f"{log.lines[at]} {'; '.join(loop)}"
    return _error(log, ErrorKind.KCONFIG, headline, [log.lines[at], *loop])


def _tool(log: _Log, at: int, _match: re.Match[str]) -> BuildError:
    return _error(log, ErrorKind.COMPILER, log.lines[at], log.lines[at : at + 1])


# --- linkers ----------------------------------------------------------------------------


def _linker(log: _Log, at: int, match: re.Match[str]) -> BuildError | None:
    what = match["what"].removeprefix("error: ")
    if what.startswith(("warning: ", "NOTE: ")) or ": warning: " in what:
        return None
    if ": in function " in what:
        return None  # who refers to a symbol; the next line says to which
    if _UNDEFINED.search(what):
        return _undefined(log, at, match)
    place = _assertion(log, what)
    kind = ErrorKind.ASSERTION if place else ErrorKind.LINKER
    return _error(log, kind, what, [log.lines[at], *_referrers(log, at), *place])


def _undefined(log: _Log, at: int, match: re.Match[str]) -> BuildError | None:
    """The first symbol that is missing, who wants it, and how many more are missing."""
    found = _UNDEFINED.search(match[0])
    if found is None or ": warning: " in match[0]:
        return None
    missing = {one[0] for line in log.lines[at:] if (one := _UNDEFINED.search(line))}
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    wants = [line for line in log.lines[max(at - 1, 0) : at] if ": in function " in line]
    shown = [*wants, log.lines[at], *_referrers(log, at)]
    return _error(log, ErrorKind.LINKER, f"{found[0]}{more}", shown)


def _referrers(log: _Log, at: int) -> list[str]:
    """lld's ``>>> referenced by`` lines."""
    return [line for line in log.lines[at + 1 : at + _FEW] if line.startswith(">>>")]


def _assertion(log: _Log, what: str) -> list[str]:
    """Where a linker script asserts, in these words, what did not hold; else nothing."""
    if log.source is None:
        return []
    scripts = [
        *sorted(log.source.glob(f"arch/{log.arch}/kernel/**/*.lds.S")),
        *sorted(log.source.glob(f"arch/{log.arch}/include/asm/*lds*.h")),
        *sorted(log.source.glob("include/asm-generic/*lds*.h")),
    ]
    for path in scripts:
        lines = path.read_text(errors="replace").splitlines()
        at = _last(lines, lambda line: f'"{what}"' in line)
        if at is None:
            continue
        begin = _last(lines[: at + 1], lambda line: "ASSERT" in line)
        if begin is not None and at - begin < _FEW:
            shown = path.relative_to(log.source)
            return [f"{shown}:{at + 1}: {line.strip()}" for line in lines[begin : at + 1]]
    return []


def _modpost(log: _Log, at: int, match: re.Match[str]) -> BuildError:
    return _error(log, ErrorKind.LINKER, match["what"], log.lines[at : at + 1])


# --- make -------------------------------------------------------------------------------


def _stop(log: _Log, at: int, match: re.Match[str]) -> BuildError:
    """make's own errors; what is only the consequence of another has no Stop."""
    return _error(log, ErrorKind.MAKE, match["what"], log.lines[at : at + 1])


def _before_make_gave_up(log: _Log) -> BuildError | None:
    """What was said before the first ``make: *** [target] Error 1``."""
    for at, line in enumerate(log.lines):
        if _CONSEQUENCE.match(line) and "***" in line and line.strip("*"):
            said = [one for one in log.lines[:at] if one.strip() and not _CONSEQUENCE.match(one)]
            said = said[-_FEW:]
            return _error(log, ErrorKind.MAKE, said[-1] if said else line, [*said, line])
    return None


def _error(log: _Log, kind: ErrorKind, headline: str, lines: Iterable[str]) -> BuildError:
    """The error, its paths named from the tree on."""
    tree = f"{log.source}/" if log.source else "\0"
    shown = tuple(line.rstrip().replace(tree, "") for line in lines)
    return BuildError(kind, headline.strip().replace(tree, ""), shown)


_READERS: tuple[
    tuple[re.Pattern[str], Callable[[_Log, int, re.Match[str]], BuildError | None]], ...
] = (
    (_DIAGNOSTIC, _compiler),
    (_DEVICE_TREE, _compiler),
    (_KCONFIG, _kconfig),
    (_RECURSION, _recursion),
    (_TOOL, _tool),
    (_LINKER, _linker),
    (re.compile(r"\S+:\S+: " + _UNDEFINED.pattern), _undefined),
    (_MODPOST, _modpost),
    (_STOP, _stop),
)
