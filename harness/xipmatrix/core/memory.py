# SPDX-License-Identifier: GPL-2.0-only
"""How much memory programs may still take."""

from __future__ import annotations

import re
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """Bytes: what the kernel thinks can be had without swapping, and what our control group
    (version 2) may still take, whichever is less. 0 where neither is known."""
    text = _text(root / "proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)
    limits = [int(found[1]) * 1024] if found else []
    group = re.search(r"^0::/(.*)$", _text(root / "proc/self/cgroup"), re.M)
    folder = root / "sys/fs/cgroup"
    for part in (Path(group[1]), *Path(group[1]).parents) if group else ():
        most, used = (_text(folder / part / name) for name in ("memory.max", "memory.current"))
        if most.strip().isdecimal() and used.strip().isdecimal():
            limits.append(max(0, int(most) - int(used)))
    return min(limits, default=0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
