# SPDX-License-Identifier: GPL-2.0-only
"""What the architecture's normal linker script keeps and the XIP one does not.

That is how XIP scripts rot: a section is added to the one and forgotten in the other.
Both are compared as the preprocessor left them (build.linker_script).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..core.evidence import Evidence, Verdict
from ..matrix.model import Arch

NAME = "linker-script-drift"
_SHOWN = 8
_COMMENT = re.compile(r"/\*.*?\*/", re.S)
_TOKEN = re.compile(r'"[^"]*"|[(){};,]|[^\s(){};,"]+')
# What may stand around a pattern inside an input section description.
_WRAPPERS = (
    "KEEP",
    "SORT",
    "SORT_BY_NAME",
    "SORT_BY_ALIGNMENT",
    "SORT_BY_INIT_PRIORITY",
    "SORT_NONE",
)
_INSIDE = 2  # depth of braces: SECTIONS { .text : { here } }


@dataclass(frozen=True)
class Input:
    """An input section pattern such as ``.text.*``, and the output section it goes to."""

    pattern: str
    output: str
    kept: bool

    @property
    def discarded(self) -> bool:
        """Whether what it matches is thrown away."""
        return self.output == "/DISCARD/"


def inputs(script: str) -> list[Input]:
    """The input section patterns of a preprocessed linker script, in its order."""
    tokens = _TOKEN.findall(_COMMENT.sub(" ", script))
    return list(_inputs(tokens))


def _inputs(tokens: list[str]) -> Iterator[Input]:
    output, depth, expression = "", 0, False
    stack: list[str] = []  # the words before the open brackets
    following = iter([*tokens[1:], ""])
    for at, token in enumerate(tokens):
        before_bracket = next(following) == "("
        if token == "{":
            depth += 1
            if depth == _INSIDE:
                output = _output_name(tokens, at)
        elif token == "}":
            depth -= 1
        if token in "{};":
            expression = False
        elif depth < _INSIDE:
            continue
        elif token == "(":
            stack.append(tokens[at - 1])
        elif token == ")" and stack:
            stack.pop()
        elif token.endswith("=") and not stack:
            expression = True  # where * is a product
        elif token != "," and not before_bracket and not expression and _is_input(stack):
            yield Input(token, output, "KEEP" in stack)


def _is_input(stack: list[str]) -> bool:
    """Whether what stands in these brackets is a section pattern: directly in a file's."""
    files = [one for one in stack if one not in _WRAPPERS]
    return len(files) == 1 and _is_file_pattern(files[0])


def _is_file_pattern(word: str) -> bool:
    return "*" in word or word.endswith((".o", ".a"))


def _output_name(tokens: list[str], brace: int) -> str:
    """The name before `name [address] [(TYPE)] : [AT(...)] [ALIGN(...)] {`."""
    at, nested = brace - 1, 0
    while at >= 0:
        token = tokens[at]
        nested += (token == ")") - (token == "(")
        if nested == 0 and token in ("}", ";", "{"):
            break
        at -= 1
    return tokens[at + 1]


def drift(arch: Arch, scripts: tuple[Path, Path] | None) -> Evidence:
    """Advisory: sections that the normal script places, or keeps, and the XIP one does not.

    What is absent for a reason is said in arch.yaml (`linker_script_drift`).
    """
    if scripts is None:
        return Evidence(NAME, False, "not known: the build left no linker scripts", Verdict.PASS)
    xip, normal = (inputs(path.read_text(errors="replace")) for path in scripts)
    placed = [one for one in xip if not one.discarded]
    kept = [one for one in placed if one.kept]
    unplaced: dict[str, str] = {}
    unkept: dict[str, str] = {}
    declared: dict[str, str] = {}
    for one in normal:
        if one.discarded:
            continue
        missing = not _covered(one, placed)
        if not missing and not (one.kept and not _covered(one, kept)):
            continue
        why = next(
            (
                reason
                for pattern, reason in arch.linker_script_drift.items()
                if fnmatchcase(one.pattern, pattern)
            ),
            None,
        )
        if why is not None:
            declared[one.pattern] = why
        else:
            (unplaced if missing else unkept)[one.pattern] = one.output
    summary = f"all {len(normal)} input sections of the normal linker script are in the XIP one"
    if declared:
        summary += f", but for {len(declared)} declared"
    if unplaced or unkept:
        wrong = [f"does not place {_listed(unplaced)}"] if unplaced else []
        wrong += [f"has no KEEP for {_listed(unkept)}"] if unkept else []
        summary = f"the XIP linker script {' and '.join(wrong)}"
    figures = {"not_placed": unplaced, "not_kept": unkept, "declared": declared}
    return Evidence(NAME, not (unplaced or unkept), summary, Verdict.PASS, figures)


def _covered(wanted: Input, there: list[Input]) -> bool:
    """Whether a pattern, or a wider one, is there."""
    sample = wanted.pattern.replace("*", "xip")
    return any(one.pattern == wanted.pattern or fnmatchcase(sample, one.pattern) for one in there)


def _listed(patterns: dict[str, str]) -> str:
    names = list(patterns)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
