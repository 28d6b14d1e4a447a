# SPDX-License-Identifier: GPL-2.0-only
"""Whether the kernels of a matrix can be had, asked without downloading any."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import InfrastructureError
from ..core.host import Check
from ..matrix.model import Debian, Kernel
from .apt import SYSTEM, suite_url
from .obtain import kept

_SECONDS = 10.0


def source_checks(kernels: Mapping[str, Kernel], cache: Path) -> list[Check]:
    """One check per kernel: in the cache, or else whether its Debian suite answers."""
    return [_check(name, spec, cache.absolute()) for name, spec in kernels.items()]


def _check(name: str, spec: Kernel, cache: Path) -> Check:
    label = f"kernel {name}"
    found = kept(spec, cache)
    if found is not None:
        return Check(label, True, f"in the cache: {found.origin}")
    suites = [p.chosen.suite for p in spec.providers if isinstance(p.chosen, Debian)]
    if not suites:
        return Check(label, True, "not in the cache; its providers are asked when it is needed")
    problems = []
    for suite in suites:
        problem = _unreachable(suite)
        if not problem:
            return Check(label, True, f"not in the cache; {suite}: apt's mirror answers")
        problems.append(f"{suite}: {problem}")
    return Check(
        label,
        False,
        f"not in the cache; {'; '.join(problems)}",
        "check the network, or use your own tree: --kernel PATH",
    )


def _unreachable(suite: str) -> str:
    """Why apt's mirror does not answer for `suite`; '' if it does, or cannot be asked so."""
    try:
        url = suite_url(suite)
    except InfrastructureError as error:
        return error.what
    if suite == SYSTEM or not url.startswith(("http://", "https://")):
        return ""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except (urllib.error.URLError, OSError) as error:
        return str(getattr(error, "reason", error))
