# SPDX-License-Identifier: GPL-2.0-only
"""What a bisect found, as a plain mail of 75 columns. A file: nothing is ever sent.

Only what is quoted, git's log entry and the search's log, may be wider.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from itertools import permutations

from ..bisect import Candidate, Mark, Outcome, Step
from ..bisect.marks import culprits
from ..core.evidence import Evidence
from ..result import CellResult
from . import figures
from .evidence import figure_lines

WIDTH = 75
_NAME, _SIDE = 25, 25
_MOST_LINES = 12


def mail(outcome: Outcome, *, series: str, command: str) -> str:
    """The report of `outcome`; `series` names the templates, `command` asks the question again."""
    good, bad = outcome.good_step, outcome.bad_step
    parts = [
        _head(outcome, bad),
        *(
            _section("First bad commit", found.entry)
            for found in outcome.found
            if outcome.first_bad
        ),
        *(_section("Note", _wrapped(note)) for note in outcome.notes),
        _section("What differs", _side_by_side(good, bad)),
        _section("Evidence", _deciding(good.result, bad.result)),
        _skipped(outcome),
        _section("Versions", _versions(good.result, bad.result, series)),
        _section("To repeat", _commands(good.result, bad.result, command)),
        _section("Steps", "\n".join(_step_lines(outcome))),
        _section("git bisect log", outcome.log),
    ]
    return "\n".join(part for part in parts if part)


def _head(outcome: Outcome, bad: Step) -> str:
    question, first, verdict = outcome.question, outcome.first_bad, bad.result.verdict
    since = f"since {first.commit[:12]}" if first else f"before {question.bad.commit[:12]}"
    lines = [f"Subject: [bisected] XIP {question.cell}: {verdict} {since}", ""]
    if first:
        lines += [
            *_wrapped(f"The first commit at which {question.cell} is {verdict}:").splitlines(),
            "",
            *_wrapped(f'{first.commit[:12]} ("{first.subject}")', "  ").splitlines(),
        ]
    else:
        count = len(outcome.found)
        lines += [
            *_wrapped(
                f"{question.cell} is {verdict} since one of {count} commits. Which one cannot "
                "be said, as the others could not be judged (see Skipped):"
            ).splitlines(),
            "",
            *(_candidate(outcome, found) for found in outcome.found),
        ]
    lines += ["", *(_cut(f"good: {end}") for end in question.good), _cut(f"bad:  {question.bad}")]
    if question.paths:
        lines.append(_wrapped(f"only commits that touch: {' '.join(question.paths)}"))
    return "\n".join(lines) + "\n"


def _candidate(outcome: Outcome, found: Candidate) -> str:
    step = outcome.steps.get(found.commit)
    return _cut(f"  {found.commit[:12]} {step.mark if step else '':4} {found.subject}")


def _section(title: str, text: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{text.rstrip()}\n" if text else ""


def _wrapped(text: str, indent: str = "") -> str:
    """Every line of `text` within our width; a word that is longer stays whole."""
    return "\n".join(
        textwrap.fill(
            line.strip(),
            WIDTH,
            initial_indent=indent + _leading(line),
            subsequent_indent=indent + _leading(line) + "  " * line.startswith(" "),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in text.expandtabs().splitlines()
    )


def _leading(line: str) -> str:
    return line[: len(line) - len(line.lstrip())][:16]


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


# --- good and bad, side by side ------------------------------------------------------------


def _side_by_side(good: Step, bad: Step) -> str:
    rows = [
        ("", "good", "bad"),
        ("commit", good.commit[:12], bad.commit[:12]),
        ("verdict", str(good.result.verdict), str(bad.result.verdict)),
    ]
    rows += _evidence_rows(good.result, bad.result)
    rows += [row for row in _figure_rows(good.result, bad.result) if row[1] != row[2]]
    return "\n".join(
        f"{name:{_NAME}}{left:>{_SIDE}}{right:>{_SIDE}}".rstrip() for name, left, right in rows
    )


def _evidence_rows(good: CellResult, bad: CellResult) -> Iterable[tuple[str, str, str]]:
    sides = [{one.name: one for one in side.evidence} for side in (good, bad)]
    for name in (name for name in sides[0] if name in sides[1]):
        left, right = (_state(side[name]) for side in sides)
        if left != right:
            yield name, left, right
    # What comes after the stage that failed is many names, and one fact.
    left, right = (str(len(there - here)) for here, there in permutations(map(set, sides)))
    if left != right:
        yield "evidence not reached", left, right


def _state(one: Evidence) -> str:
    return "holds" if one.holds else "look" if one.advisory else "FAILS"


def _figure_rows(good: CellResult, bad: CellResult) -> Iterable[tuple[str, str, str]]:
    for name, value in good.figures.items():
        if name in bad.figures:
            yield name.replace("_", " "), _figure(value), _figure(bad.figures[name])


def _figure(value: int | float | str) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value}"[:_SIDE]


def _deciding(good: CellResult, bad: CellResult) -> str:
    """What the bad verdict rests on, and the same at the good commit."""
    names = culprits(bad)
    held = {one.name: one for one in good.evidence}
    parts = []
    for one in bad.evidence:
        if one.name not in names:
            continue
        lines = [_wrapped(f"{one.name} FAILS: {one.summary}")]
        told = figure_lines(one)
        lines += [_wrapped(line, "    ") for line in told[:_MOST_LINES]]
        if len(told) > _MOST_LINES:
            lines.append(f"    (and {len(told) - _MOST_LINES} lines more)")
        if one.name in held:
            lines.append(_wrapped(f"at the good commit: {held[one.name].summary}", "  "))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) or _wrapped(f"{bad.verdict}: {bad.reason}")


# --- what it rests on ----------------------------------------------------------------------


def _skipped(outcome: Outcome) -> str:
    lines = []
    for step in outcome.steps.values():
        if step.mark is Mark.SKIP:
            lines.append(_cut(f"{step.commit[:12]} {outcome.subjects[step.commit]}"))
            lines.append(_wrapped(step.why, "    "))
    return _section("Skipped: neither good nor bad", "\n".join(lines))


def _versions(good: CellResult, bad: CellResult, series: str) -> str:
    # A kernel that was never booted knows no QEMU: the other one does.
    merged = {**good.versions, **bad.versions}
    rows = {
        "xipmatrix": merged.get("xipmatrix", ""),
        "templates": series,
        "good series": good.versions.get("series", ""),
        "bad series": bad.versions.get("series", ""),
        "good kernel": good.versions.get("kernel", ""),
        "bad kernel": bad.versions.get("kernel", ""),
        "compiler": merged.get("compiler", ""),
        "QEMU": merged.get("qemu", ""),
    }
    return "\n".join(
        textwrap.fill(
            f"{name + ':':13}{value}",
            WIDTH,
            subsequent_indent=" " * 13,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, value in rows.items()
        if value
    )


def _commands(good: CellResult, bad: CellResult, command: str) -> str:
    asked = [
        ("# good", figures.reproduce(good)),
        ("# bad", figures.reproduce(bad)),
        ("# this search", command),
    ]
    return "\n".join(f"{what}\n{_shell(words)}" for what, words in asked)


def _shell(words: str) -> str:
    """A command over several lines, as a shell takes it."""
    return words.replace(" --", " \\\n    --")


def _step_lines(outcome: Outcome) -> Iterable[str]:
    for step in outcome.steps.values():
        told = f"{step.result.verdict!s:16} {step.result.seconds:4.0f} s"
        yield _cut(f"{step.commit[:12]} {step.mark:4} {told}  {outcome.subjects[step.commit]}")
