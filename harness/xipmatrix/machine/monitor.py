# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor: what is asked of a machine, running or stopped.

QMP commands where there are; gpa2hva, gva2gpa, info mem and info registers exist for
people only (qapi/misc.json: human-monitor-command), so their text is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from qemu.qmp import QMPClient

from ..core.errors import InfrastructureError
from .result import Memory

_PC = re.compile(r"\bR15=([0-9a-f]+)|^\s*pc\s*=?\s*(?:0x)?([0-9a-f]+)", re.M | re.I)


class Monitor:
    """One connection to one QEMU."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client

    async def execute(self, command: str, **arguments: object) -> object:
        """A QMP command's return value. Raises QMPError."""
        return await self._client.execute(command, arguments)

    async def human(self, line: str) -> str:
        """What the monitor for people says to `line`."""
        return str(await self.execute("human-monitor-command", **{"command-line": line}))

    async def memory(self, name: str, physical: int, size: int) -> Memory:
        """Where QEMU keeps a memory. Raises InfrastructureError where it has none there."""
        said = await self.human(f"gpa2hva {physical:#x}")
        found = re.search(r" is (0x[0-9a-f]+)", said)
        if found is None:
            raise InfrastructureError(
                f"QEMU has no memory at {physical:#x} ({name}): {said.strip()}",
                hint="the board's flash.base, ram_base or firmware in matrix.yaml is wrong",
            )
        return Memory(name, physical, size, int(found[1], 16))

    async def save(self, physical: int, size: int, path: Path) -> Path:
        """Write `size` bytes of guest physical memory, as a CPU would read them, to `path`."""
        await self.execute("pmemsave", val=physical, size=size, filename=str(path.resolve()))
        return path

    async def page_tables(self) -> str:
        """`info mem`: the mappings of the current CPU; empty where QEMU cannot show them."""
        said = await self.human("info mem")
        return "" if "unknown command" in said else said

    async def program_counters(self) -> list[int]:
        """The PC (virtual) of every CPU, in the order of their numbers."""
        said = await self.human("info registers -a")
        return [int(one or other, 16) for one, other in _PC.findall(said)]

    async def physical(self, virtual: int) -> int | None:
        """Where the current CPU's MMU maps an address; None where nowhere."""
        found = re.search(r"gpa: (0x[0-9a-f]+)", await self.human(f"gva2gpa {virtual:#x}"))
        return int(found[1], 16) if found else None
