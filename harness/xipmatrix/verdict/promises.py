# SPDX-License-Identifier: GPL-2.0-only
"""Evidence that the kernel says what the board and the config promise of it."""

from __future__ import annotations

import re

from ..core.evidence import Evidence, Verdict
from ..matrix.model import Cell


def evidence(cell: Cell, console: str) -> list[Evidence]:
    """Whether each promised line is on the console; nothing where nothing is promised."""
    wanted = [*cell.board_spec.says, *cell.config_spec.says]
    if not wanted:
        return []
    found = {text: re.search(text, console, re.M) for text in wanted}
    missing = [text for text, match in found.items() if match is None]
    lines = [match[0].strip() for match in found.values() if match]
    summary = (
        f"the kernel never says: {'; '.join(missing)}"
        if missing
        else f"the kernel says: {'; '.join(lines)}"
    )
    return [
        Evidence("console", not missing, summary, Verdict.USERSPACE_FAILED, {"missing": missing})
    ]
