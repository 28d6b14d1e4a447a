# SPDX-License-Identifier: GPL-2.0-only
"""Evidence that the kernel's own tests say the same of it in place as in RAM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..core.evidence import Evidence, Verdict
from ..machine.ktap import Results

_NAMED = 4


def parity(
    in_place: Results, in_ram: Results, *, ended: str, config_differs: Sequence[str] = ()
) -> Evidence:
    """The same suites and cases with the same results. What fails in both is none of XIP's.

    `ended` is how the normal kernel's boot ended; `config_differs` are options that the two
    kernels do not have alike, for whoever looks into a difference.
    """
    suites, cases = len({path[0] for path in in_place}), len(in_place)
    counts = Counter(in_place.values())
    differences = _differences(in_place, in_ram)
    in_both = ["/".join(path) for path, one in in_place.items() if _bad(one, in_ram.get(path))]
    if not in_place or not in_ram:
        nowhere = not in_place and not in_ram
        where = "in place or in RAM" if nowhere else "in RAM" if in_place else "in place"
        summary = f"no KUnit suite ran {where}; the normal kernel ended by {ended}"
    elif differences:
        more = f"; and {len(differences) - _NAMED} more" * (len(differences) > _NAMED)
        summary = f"{'; '.join(differences[:_NAMED])}{more}"
    else:
        fail = f", {len(in_both)} fail in both" * bool(in_both)
        summary = (
            f"{suites} suites, {cases} cases: the same results in place and in RAM "
            f"({counts['PASS']} pass, {counts['SKIP']} skipped{fail})"
        )
    figures = {
        "suites": suites,
        "cases": cases,
        "results": dict(counts),
        "differences": differences,
        "fail_in_both": in_both,
        "config_differs": list(config_differs),
        "normal_kernel_ended": ended,
    }
    holds = bool(in_place) and bool(in_ram) and not differences
    return Evidence("kunit-parity", holds, summary, Verdict.USERSPACE_FAILED, figures)


def _bad(one: str, other: str | None) -> bool:
    return one == other and one not in ("PASS", "SKIP")


def _differences(in_place: Results, in_ram: Results) -> list[str]:
    """In words: suites that only one side has, then cases, in their order."""
    found, gone = [], set()
    for here, there, where in ((in_place, in_ram, "in place"), (in_ram, in_place, "in RAM")):
        others = {path[0] for path in there}
        for suite, count in Counter(path[0] for path in here).items():
            if suite not in others:
                found.append(f"{suite}, a suite of {count}, ran only {where}")
                gone.add(suite)
    for path in dict.fromkeys((*in_place, *in_ram)):
        one, other = (side.get(path, "not run") for side in (in_place, in_ram))
        if one != other and path[0] not in gone:
            found.append(f"{'/'.join(path)}: {one} in place, {other} in RAM")
    return found
