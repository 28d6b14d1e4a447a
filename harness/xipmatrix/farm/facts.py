# SPDX-License-Identifier: GPL-2.0-only
"""What a machine is: the facts that decide whether it may work on a run, measured there."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ..core import run
from ..core.errors import InfrastructureError, XipmatrixError
from ..core.files import key_of, project_dir, sha256_file

# In a worker's environment: bytes of memory that its cells may take.
MEMORY = "XIPMATRIX_MEMORY"

# Compiled by every compiler: two that say the same version may still make other code.
_PROBE = """\
struct s { int a; long b[8]; };
long probe(const struct s *p, unsigned n)
{
	long sum = p->a;
	for (unsigned i = 0; i < n; i++)
		sum = sum * 31 + (p->b[i & 7] ^ (sum >> 3)) / (i + 1);
	return sum;
}
"""


@dataclass(frozen=True)
class Tool:
    """A compiler or QEMU: its version, and what tells it from another of that version."""

    version: str
    fingerprint: str = ""

    @property
    def identity(self) -> str:
        """All that must be the same on two machines."""
        return f"{self.version}\n{self.fingerprint}"


@dataclass(frozen=True)
class Facts:
    """A machine as it is now.

    `code`: this checkout's programs and templates, by content. `tools` by their tags, as far
    as they work; `missing` says why the others do not. `free` (of `cache`) and `memory` are
    bytes, `clock` is seconds since 1970. `unwritable` is empty where the cache can be written.
    """

    host: str
    code: str
    tuxmake: str
    tools: dict[str, Tool]
    missing: dict[str, str]
    cache: str
    free: int
    memory: int
    cores: int
    clock: float
    unwritable: str = ""
    built: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Facts:
        """Facts that came from another machine. Raises TypeError, KeyError for other data."""
        tools = {tag: Tool(**one) for tag, one in data["tools"].items()}
        return cls(**{**data, "tools": tools})


@dataclass(frozen=True)
class Needed:
    """The tools that a run's cells need: compilers as (tag, architecture, toolchain, Debian
    packages), and QEMU's programs, whose names are their tags."""

    compilers: tuple[tuple[str, str, str, str], ...] = ()
    qemu: tuple[str, ...] = ()


def measure(needed: Needed, cache: Path) -> Facts:
    """Look at this machine. What is missing is a fact too: nothing is raised for it."""
    tools: dict[str, Tool] = {}
    missing: dict[str, str] = {}
    for tag, arch, name, packages in needed.compilers:
        try:
            tools[tag] = _compiler(arch, name, packages)
        except XipmatrixError as error:
            missing[tag] = error.what
    for binary in needed.qemu:
        try:
            tools[binary] = _qemu(binary)
        except XipmatrixError as error:
            missing[binary] = error.what
    return Facts(
        host=socket.gethostname(),
        code=own_code(),
        tuxmake=metadata.version("tuxmake"),
        tools=tools,
        missing=missing,
        cache=str(cache),
        unwritable=_unwritable(cache),
        free=_free(cache),
        memory=_memory(),
        cores=len(os.sched_getaffinity(0)),
        built=built_before(cache),
        clock=time.time(),
    )


@functools.cache
def own_code() -> str:
    """What this checkout's programs and templates are, as a short hash of their content."""
    root = project_dir()
    return key_of(
        {
            path.relative_to(root).as_posix(): sha256_file(path)
            for folder in (Path(__file__).parents[1], root / "templates")
            for path in sorted(folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
    )


def _compiler(arch: str, name: str, packages: str) -> Tool:
    from ..build.toolchain import find  # late: it takes a tenth of a second

    toolchain = find(arch, name, packages)
    with tempfile.TemporaryDirectory(prefix="xipmatrix-probe-") as folder:
        source, made = Path(folder) / "probe.c", Path(folder) / "probe.o"
        source.write_text(_PROBE)
        # Without a file name inside, and no place: only what it makes of the source counts.
        run.run(
            [toolchain.compiler, "-O2", "-g0", "-c", "probe.c", "-o", "probe.o"],
            cwd=Path(folder),
            check=True,
        )
        if not made.is_file():
            raise InfrastructureError(f"'{toolchain.compiler}' compiles nothing")
        return Tool(toolchain.version, hashlib.sha256(made.read_bytes()).hexdigest()[:16])


def _qemu(binary: str) -> Tool:
    run.need_tool(binary)
    banner = run.run([binary, "--version"], check=True).output.splitlines()[0]
    plugins = re.search(r"^-plugin\b", run.run([binary, "-help"]).output, re.M)
    return Tool(banner, "with TCG plugins" if plugins else "without TCG plugins")


def _unwritable(cache: Path) -> str:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return ""
    except OSError as error:
        return str(error)


def _free(cache: Path) -> int:
    there = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _memory() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    free = int(found[1]) * 1024 if found else 0
    return min(free, int(os.environ.get(MEMORY) or free))


# --- what the machine built before ------------------------------------------------------


def _built_file(cache: Path) -> Path:
    return cache / "farm" / "built"


def built_before(cache: Path) -> list[str]:
    """Cells that were compiled on this machine before: ccache knows their files."""
    try:
        return sorted(set(_built_file(cache).read_text().split()))
    except OSError:
        return []


def remember_built(cache: Path, cell: str) -> None:
    """`cell` was compiled here."""
    known = built_before(cache)
    if cell not in known:
        path = _built_file(cache)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(f"{cell}\n")
