# SPDX-License-Identifier: GPL-2.0-only
"""The machine around us: Debian packages that are missing, and a check-up of the rest."""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from . import memory, run, yamlfile
from .errors import InfrastructureError
from .files import Say
from .progress import Throttle

PACKAGES = Path(__file__).parents[1] / "data" / "packages.yaml"
_QUIET = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
_GIB = 1 << 30
_ROOM = 8 * _GIB  # two kernels with their source folders (4.1 GB), and the builds
_MEMORY = 2 * _GIB


@functools.cache
def installed_version(program: str) -> str | None:
    """What ``--version`` says, such as ``7.2.22``; None where there is no such program."""
    if shutil.which(program) is None:
        return None
    found = re.search(r"version (\d+(?:\.\d+)+)", run.run([program, "--version"]).output)
    return found[1] if found else None


class Compiler(Protocol):
    """What this room needs to know of matrix.model.Compiler."""

    @property
    def packages(self) -> list[str]: ...


class Architecture(Protocol):
    """What this room needs to know of matrix.model.Arch."""

    @property
    def packages(self) -> list[str]: ...

    @property
    def toolchains(self) -> Mapping[str, Compiler]: ...


class _Packages(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    packages: dict[str, str]
    upstream: dict[str, str]
    tests: dict[str, str]


@dataclass(frozen=True)
class Check:
    """One thing about this machine. `fix` says what to do where it is not ok."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


# --- packages ---------------------------------------------------------------------------


def packages_for(pairs: Iterable[tuple[Architecture, str]]) -> list[str]:
    """The Debian packages for (architecture, toolchain) pairs, the common ones first."""
    names = list(yamlfile.load(PACKAGES, _Packages).packages)
    for arch, toolchain in pairs:
        names += [*arch.packages, *arch.toolchains[toolchain].packages]
    return list(dict.fromkeys(names))


def all_packages(archs: Iterable[Architecture]) -> list[str]:
    """The Debian packages for every toolchain of `archs`."""
    return packages_for([(arch, name) for arch in archs for name in arch.toolchains])


def upstream_packages() -> list[str]:
    """The Debian packages that only checks of a series to be sent need."""
    return list(yamlfile.load(PACKAGES, _Packages).upstream)


def test_packages() -> list[str]:
    """The Debian packages that only our own tests need."""
    known = yamlfile.load(PACKAGES, _Packages)
    return [*known.upstream, *known.tests]


def is_debian() -> bool:
    """Whether this system has apt and dpkg."""
    return all(run.find_tool(tool) for tool in ("apt-get", "dpkg-query"))


def missing_packages(packages: Iterable[str]) -> list[str]:
    """Those of `packages` that are neither installed nor provided by an installed one."""
    shape = "${db:Status-Status}|${Package}|${Provides}\n"
    listed = run.run(["dpkg-query", "-W", "-f", shape], merge_stderr=False, check=True)
    there = installed_names(listed.output)
    return [name for name in packages if name not in there]


def installed_names(listing: str) -> set[str]:
    """Names of installed packages, and those they provide, in dpkg-query's listing."""
    names: set[str] = set()
    for line in listing.splitlines():
        status, name, provides = line.split("|", 2)
        if status == "installed":
            names.add(name)
            names |= {one.split()[0] for one in provides.split(",") if one.strip()}
    return names


def policy() -> Literal["yes", "ask", "no"]:
    """Whether packages may be installed: $XIPMATRIX_INSTALL, else yes for root and CI."""
    chosen = os.environ.get("XIPMATRIX_INSTALL", "ask")
    if chosen in ("yes", "no"):
        return "yes" if chosen == "yes" else "no"
    free = os.geteuid() == 0 or os.environ.get("CI") == "true"
    return "yes" if free else "ask"


def install_command(packages: Sequence[str]) -> list[str]:
    """The command that installs `packages`, with sudo where it takes that."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    return [*sudo, "apt-get", "install", "--yes", "--no-install-recommends", *packages]


def ensure_packages(packages: Sequence[str], say: Say) -> None:
    """Install what is missing of `packages`, as far as :func:`policy` allows.

    On a system without apt it only says what is needed: programs that are missing are
    then named where they are used. Raises InfrastructureError with the exact command
    where it may not install, or where apt fails.
    """
    if not is_debian():
        say(
            "this is no Debian or Ubuntu system, so nothing is installed here; "
            f"needed are what Debian calls {' '.join(packages)}"
        )
        return
    missing = missing_packages(packages)
    if not missing:
        return
    command = install_command(missing)
    typed = run.command_line(command)
    allowed = policy()
    if allowed == "ask" and sys.stdin.isatty() and sys.stderr.isatty():
        print(f"xipmatrix: not installed: {' '.join(missing)}", file=sys.stderr)
        print(f'Run "{typed}"? [Y/n] ', end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        allowed = "yes" if answer.strip().lower() in ("", "y", "yes") and answer else "no"
    if allowed != "yes":
        raise InfrastructureError(f"not installed: {' '.join(missing)}", hint=typed)
    if command[0] == "sudo" and run.find_tool("sudo") is None:
        raise InfrastructureError(
            f"not installed: {' '.join(missing)}, and there is no sudo",
            hint=f"as root: {run.command_line(command[1:])}",
        )
    say(f"installing {len(missing)} packages: {' '.join(missing)}")
    _install(missing, command, say)
    still = missing_packages(packages)
    if still:
        raise InfrastructureError(f"still not installed: {' '.join(still)}", hint=typed)


def _install(missing: Sequence[str], command: list[str], say: Say) -> None:
    sudo = command[: command.index("apt-get")]
    update = [*sudo, "apt-get", "-q", "update"]
    if not _known(missing):
        say("updating apt's package lists")
        _apt(update, say)
    status, text = _apt(command, say)
    if status != 0:
        # Lists of some days ago name files that the mirror no longer has.
        say("updating apt's package lists")
        _apt(update, say)
        status, text = _apt(command, say)
    if status != 0:
        tail = "\n  ".join(text.strip().splitlines()[-8:])
        raise InfrastructureError(
            f"apt-get could not install {' '.join(missing)}\n  {tail}",
            hint=run.command_line(command),
        )


def _known(packages: Sequence[str]) -> bool:
    """Whether apt has lists, and every package is in them."""
    shown = run.run(["apt-cache", "policy", *packages], env=_QUIET, merge_stderr=False).output
    # A virtual package is listed without a candidate of its own; only silence is unknown.
    return all(re.search(rf"^{re.escape(name)}:$", shown, re.M) for name in packages)


def _apt(command: list[str], say: Say) -> tuple[int, str]:
    if command[0] == "sudo":
        return _with_terminal(command), ""
    throttle = Throttle(say)
    lines: list[str] = []
    with run.start(command, env=_QUIET) as process:
        assert process.stdout is not None
        for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            lines.append(line)
            if line.startswith(("Get:", "Unpacking", "Setting up")):
                throttle.tell(f"apt-get: {line[:70]}")
    return process.wait(), "\n".join(lines)


def _with_terminal(command: Sequence[str]) -> int:
    """Run sudo where it can ask for a password; what apt prints goes to stderr.

    Not through core.run: a child of ours has a session of its own, and so no terminal.
    """
    words = ["sudo", "env", "DEBIAN_FRONTEND=noninteractive", *command[1:]]
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the child
    try:
        child = os.posix_spawnp(
            words[0],
            words,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)],
            setsigdef=[signal.SIGINT],
        )
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        signal.signal(signal.SIGINT, ours)


# --- check-up ---------------------------------------------------------------------------


def doctor(archs: Iterable[Architecture], cache: Path, qemu: Iterable[str] = ()) -> list[Check]:
    """What is right and wrong with this machine, changing and downloading nothing.

    `qemu` are the programs that the boards name; without, those of the packages count.
    """
    archs = list(archs)
    packages = all_packages(archs)
    binaries = sorted(set(qemu)) or [
        name for name in packages if name.startswith("qemu-system-") and run.find_tool(name)
    ]
    checks = [_python(), _packages(packages), *_compilers(archs), *map(_qemu, binaries)]
    return [*checks, _ccache(), _disk(cache), _memory(), _cores()]


def _python() -> Check:
    return Check(
        "python",
        sys.version_info >= (3, 11),
        f"{platform.python_version()}, {sys.executable}",
        "Python 3.11 or newer",
    )


def _packages(packages: list[str]) -> Check:
    if not is_debian():
        detail = "no Debian or Ubuntu system: packages cannot be checked"
        return Check("packages", False, detail, f"what Debian calls {' '.join(packages)}")
    missing = missing_packages(packages)
    if missing:
        fix = run.command_line(install_command(missing))
        return Check("packages", False, f"not installed: {' '.join(missing)}", fix)
    return Check("packages", True, f"all {len(packages)} are installed")


def _compilers(archs: Iterable[Architecture]) -> list[Check]:
    """Compilers by their packages: a package of Debian's is named like its program."""
    names = dict.fromkeys(
        name for arch in archs for one in arch.toolchains.values() for name in one.packages
    )
    found = []
    for name in names:
        triple = name.removeprefix("gcc-")
        program = f"{triple}-gcc" if triple != name else name
        if run.find_tool(program):
            banner = run.run([program, "--version"]).output.splitlines()
            found.append(Check(program, True, banner[0] if banner else "no version"))
        else:
            fix = run.command_line(install_command([name]))
            found.append(Check(program, False, "not installed", fix))
    return found


def _qemu(binary: str) -> Check:
    if run.find_tool(binary) is None:
        return Check(binary, False, "not installed", "see 'packages' above")
    banner = run.run([binary, "--version"]).output
    found = re.search(r"version ([\d.]+)", banner)
    version = found[1] if found else "unknown"
    if not re.search(r"^-plugin\b", run.run([binary, "-help"]).output, re.M):
        return Check(
            binary,
            False,
            f"{version}, built without TCG plugins",
            "Debian's QEMU has them; others: configure --enable-plugins",
        )
    return Check(binary, True, f"{version}, with TCG plugins")


def _ccache() -> Check:
    if run.find_tool("ccache") is None:
        return Check("ccache", True, "not installed: second builds take as long as the first")
    banner = run.run(["ccache", "--version"]).output.splitlines()
    return Check("ccache", True, banner[0] if banner else "no version")


def _disk(cache: Path) -> Check:
    there = next(path for path in (cache, *cache.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    ok = free >= _ROOM and os.access(there, os.W_OK)
    detail = f"{free / _GIB:.0f} GiB free for {cache}"
    if not os.access(there, os.W_OK):
        detail += ", which is not writable"
    fix = f"{_ROOM // _GIB} GiB are needed: xipmatrix clean, or XIPMATRIX_CACHE on a larger disk"
    return Check("disk", ok, detail, fix)


def _memory() -> Check:
    available = memory.available()
    return Check(
        "memory",
        available >= _MEMORY,
        f"{available / _GIB:.1f} GiB available",
        f"{_MEMORY // _GIB} GiB are needed to link a kernel",
    )


def _cores() -> Check:
    return Check("cores", True, f"{len(os.sched_getaffinity(0))}")
