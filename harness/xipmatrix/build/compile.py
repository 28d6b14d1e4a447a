# SPDX-License-Identifier: GPL-2.0-only
"""One kernel build: tuxmake in a subprocess of its own, its artefacts kept.

A subprocess because ``Build.run()`` sets signal handlers and fails off the main
thread. Its exit status is not believed: a target's status is read from metadata.json,
since tuxmake skips a target, with exit status 0, whose preconditions do not hold.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError
from ..core.evidence import CellFailure, Verdict
from ..matrix.model import Cell
from . import ccache as ccaching
from . import hosttools
from .errors import first_error
from .kconfig import parse_config
from .linker_script import keep_linker_scripts, linker_scripts
from .toolchain import ABSENT, Toolchain

# The same image wherever and whenever it is built (Documentation/kbuild/reproducible-builds.rst).
FIXED = {
    "KBUILD_BUILD_VERSION": "1",  # else it counts what was built in the same place
    "KBUILD_BUILD_TIMESTAMP": "@0",
    "KBUILD_BUILD_USER": "xipmatrix",
    "KBUILD_BUILD_HOST": "xipmatrix",
}

# The archive that is in the kernel, in its build's folder.
INITRAMFS = "initramfs.cpio"
# What tuxmake, gcc and make say of a signal that nobody here sent.
_KILLED = re.compile(
    r"^received signal \d+; terminating|(?:Killed|Terminated) signal terminated program \S+"
    r"|\*\*\* \[.+\] (?:Killed|Terminated)$",
    re.M,
)

# A normal kernel's image in its build's folder, whatever the architecture calls it.
NORMAL_IMAGE = "normal-image"


@dataclass(frozen=True)
class Built:
    """What a build leaves in its folder.

    `linker_scripts`: as built, and as it would be without XIP; None where not known.
    """

    folder: Path
    image: Path
    vmlinux: Path
    device_tree: Path | None
    linker_scripts: tuple[Path, Path] | None = None


def build_kernel(
    cell: Cell,
    source: Path,
    toolchain: Toolchain,
    config: Path,
    folder: Path,
    *,
    jobs: int,
    timeout: float,
    ccache: bool,
    initramfs: Path,
    xip: bool = True,
    objects: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Build xipImage of `source` into `folder`, which then holds the names of :class:`Built`.

    Without `xip` it is the architecture's normal image, and called NORMAL_IMAGE.
    `initramfs` is the archive, wherever it lies; the configuration only names it. It is kept
    in `folder`, which is ours, and empty but for what build_modules() left; metadata.json,
    build.log and reproducer.sh are tuxmake's.
    `objects` (see :class:`place.BuildPlace`) is kept; without it, `folder` has its own for a while.
    With `ccache`, where it is installed, compilers run under it. `env` is added to the build's
    environment, and not to what reproduces it.
    Raises CellFailure(build-failed) with the first relevant error,
    CellFailure(config-dropped) when `config` has no XIP kernel, and
    InfrastructureError for faults of our own (disk full, time-out).
    """
    if xip and parse_config(config.read_text()).get("XIP_KERNEL") != "y":
        raise CellFailure(Verdict.CONFIG_DROPPED, "the .config has no CONFIG_XIP_KERNEL=y")
    kept = objects is not None
    cached = ccache and ccaching.usable()
    tree, objects = _place(source, folder, objects, cached)
    output = folder / "tuxmake"
    if kept:
        (objects / ".config").unlink(missing_ok=True)  # tuxmake would take it for this one
    target = Path(cell.arch_spec.xip_image if xip else cell.arch_spec.normal_image).name
    device_tree = cell.board_spec.device_tree
    named_tree = device_tree is not None and device_tree.source != "qemu"
    command = [
        *(sys.executable, "-m", "tuxmake", "--fail-fast", "--color", "never"),
        *("-C", str(tree), "-a", toolchain.arch, "-t", toolchain.name),
        *("-k", str(config), "-b", str(objects), "-o", str(output), "-z", "none"),
        *("-j", str(jobs)),
        *(("-w", "ccache") if cached else ()),
        *(word for key, value in FIXED.items() for word in ("-e", f"{key}={value}")),
        f"CONFIG_INITRAMFS_SOURCE={initramfs}",
        *(f"{key}={value}" for key, value in ABSENT.items()),
        "config",  # without any target it makes all of its default ones: headers, device trees
        # tuxmake's own target for XIP makes the default one first: every module, every device tree.
        *("-M", target),
    ]
    if named_tree:
        assert device_tree is not None
        command += ["-M", f"{Path(device_tree.source)}"]
    progress = folder / "tuxmake.log"
    env = {**FIXED, **(ccaching.settings() if cached else {}), **(env or {})}
    done = run.run(command, log=progress, timeout=timeout, death_signal="TERM", env=env)
    log = output / "build.log"
    log = log if log.is_file() else progress
    text = log.read_text(errors="replace") if log.is_file() else ""
    if "No space left on device" in text + done.output:
        raise InfrastructureError("the disk is full", where=folder.parent, hint="xipmatrix clean")
    if done.timed_out:
        raise InfrastructureError(f"the build took longer than {timeout:.0f} s", where=log)
    _not_killed(done.returncode, text, log)
    statuses = _statuses(output / "metadata.json")
    if not done.ok or statuses.get(f"make:{target}") != "PASS":
        text = ccaching.named(text or done.output, source) if tree != source else text
        why = _why(text or done.output, source, cell.arch_spec.kernel_arch)
        raise CellFailure(Verdict.BUILD_FAILED, why, log=str(log))
    _keep(cell, objects, folder, xip=xip)
    if initramfs.parent != folder:
        shutil.copy(initramfs, folder / INITRAMFS)
    if not kept:
        _drop_unless_kept(objects if tree == source else tree)


def build_modules(
    source: Path,
    toolchain: Toolchain,
    config: Path,
    folder: Path,
    *,
    jobs: int,
    timeout: float,
    ccache: bool = False,
    objects: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> list[Path]:
    """Build the modules of `config` before the kernel that shall carry them: `folder`/modules.

    Each file has its module's name. What was compiled stays in `objects`, by default below
    `folder`, for build_kernel() with the same `ccache`. Raises CellFailure(build-failed), also
    where there is no module.
    """
    log, cached = folder / "modules.log", ccache and ccaching.usable()
    tree, objects = _place(source, folder, objects, cached)
    for path in objects.rglob("*.ko"):  # of another commit: it may have fewer
        path.unlink()
    shutil.copy(config, objects / ".config")
    done = run.run(
        [
            *("make", "-C", str(tree), f"O={objects}", f"-j{jobs}", *toolchain.make_args),
            # Without vmlinux nobody knows which symbols there are; loading will tell.
            *("KBUILD_MODPOST_WARN=1", "modules"),
        ],
        log=log,
        timeout=timeout,
        death_signal="TERM",
        env={**FIXED, **(env or {})},
    )
    if done.timed_out:
        raise InfrastructureError(f"the modules took longer than {timeout:.0f} s", where=log)
    if not done.ok and "No space left on device" in done.output:
        raise InfrastructureError("the disk is full", where=folder.parent, hint="xipmatrix clean")
    _not_killed(done.returncode, done.output, log)
    found = sorted(objects.rglob("*.ko")) if done.ok else []
    if not found:
        text = log.read_text(errors="replace")
        why = _why(ccaching.named(text, source) if tree != source else text, source)
        raise CellFailure(Verdict.BUILD_FAILED, f"no modules were built: {why}", log=str(log))
    kept = folder / "modules"
    kept.mkdir()
    return [Path(shutil.copy(path, kept / path.name.replace("-", "_"))) for path in found]


def _not_killed(status: int, text: str, log: Path) -> None:
    """Raise InfrastructureError where a build, or a part of it, was ended from outside."""
    found = _KILLED.search(text)
    if found or status < 0:
        what = found[0].strip() if found else f"killed by signal {-status}"
        raise InfrastructureError(
            f"the build was ended from outside: {what}",
            where=log,
            hint="was memory short? dmesg tells; fewer --jobs need less",
        )


def _place(source: Path, folder: Path, objects: Path | None, cached: bool) -> tuple[Path, Path]:
    """Where the source is read and where objects go: `objects`, or a folder below `folder`."""
    if cached and objects is None:
        return ccaching.place(source, folder)
    objects = objects or folder / "objects"
    objects.mkdir(exist_ok=True)
    hosttools.give(source, objects)
    return source, objects


def _statuses(metadata: Path) -> dict[str, str]:
    try:
        results = json.loads(metadata.read_text())["results"]["targets"]
        return {name: result["status"] for name, result in results.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _why(log: str, source: Path, arch: str = "*") -> str:
    """What failed, by the log; its last lines where that is not known."""
    error = first_error(log, source, arch)
    return str(error) if error else "\n".join(log.splitlines()[-5:]) or "tuxmake said nothing"


def _keep(cell: Cell, objects: Path, folder: Path, *, xip: bool) -> None:
    """Move what later stages need out of the object tree, so that none of it is ever stale."""
    arch = cell.arch_spec
    wanted = {"vmlinux": objects / "vmlinux", "config": objects / ".config"}
    if xip:
        wanted["xipImage"] = objects / arch.xip_image
    else:
        wanted[NORMAL_IMAGE] = objects / arch.normal_image
    tree = cell.board_spec.device_tree
    if tree is not None and tree.source != "qemu":
        wanted["board.dtb"] = objects / "arch" / arch.kernel_arch / "boot" / "dts" / tree.source
    for name, path in wanted.items():
        if not path.is_file():
            raise CellFailure(
                Verdict.BUILD_FAILED, f"the build says it passed but left no {path.name}"
            )
        shutil.move(path, folder / name)
    shutil.copy(objects / "System.map", folder / "System.map")
    keep_linker_scripts(objects, arch.kernel_arch, folder)


def _drop_unless_kept(objects: Path) -> None:
    if not os.environ.get("XIPMATRIX_KEEP_OBJECTS"):
        shutil.rmtree(objects, ignore_errors=True)


def built(folder: Path) -> Built:
    """The result that `build_kernel` left in `folder`."""
    tree = folder / "board.dtb"
    return Built(
        folder,
        folder / "xipImage",
        folder / "vmlinux",
        tree if tree.is_file() else None,
        linker_scripts(folder),
    )
