# SPDX-License-Identifier: GPL-2.0-only
"""Where the CPUs are, asked from outside every ten milliseconds or so.

For a QEMU without plugins: coarser than counting, since it sees only the moments it looks
at, and `stop` tends to come to rest at a pending interrupt.
"""

from __future__ import annotations

import asyncio

from .monitor import Monitor
from .result import Sample

_PAUSE_SECONDS = 0.001


async def sample(monitor: Monitor, turn: asyncio.Lock, into: list[Sample]) -> None:
    """Take samples until cancelled. `turn` keeps others from stopping the machine meanwhile."""
    while True:
        async with turn:
            await monitor.execute("stop")
            for cpu, pc in enumerate(await monitor.program_counters()):
                await monitor.human(f"cpu {cpu}")
                into.append(Sample(cpu, pc, await monitor.physical(pc)))
            await monitor.execute("cont")
        await asyncio.sleep(_PAUSE_SECONDS)
