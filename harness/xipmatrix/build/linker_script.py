# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's linker script as it was built, and as it would be without XIP.

The second is what the first must keep up with: a section that only it places is how an
XIP script rots. It is the command that kbuild recorded, run again with CONFIG_XIP_KERNEL
undefined once the configuration has been read.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError

BUILT, NORMAL = "vmlinux.lds", "vmlinux-normal.lds"
_COMMAND = re.compile(r"^(?:saved)?cmd_\S+ := (.+)$", re.M)
_LIMIT_SECONDS = 120


def keep_linker_scripts(objects: Path, kernel_arch: str, folder: Path) -> None:
    """Put BUILT and NORMAL into `folder`; neither, where the kernel does not tell how.

    A script that cannot be made is no fault of the kernel's: its absence is said later.
    """
    script = objects / "arch" / kernel_arch / "kernel" / "vmlinux.lds"
    command = _recorded(script.with_name(".vmlinux.lds.cmd"))
    if not command or not script.is_file():
        return
    without = folder / "without-xip.h"
    without.write_text("#undef CONFIG_XIP_KERNEL\n")
    normal = folder / NORMAL
    # -include files are read in their order, so this one comes after kconfig.h's.
    words = [*command, "-include", str(without.resolve())]
    words[words.index("-o") + 1] = str(normal.resolve())
    try:
        made = run.run(words, cwd=objects, timeout=_LIMIT_SECONDS).ok
    except InfrastructureError:
        made = False
    without.unlink()
    if made and normal.is_file():
        shutil.copy(script, folder / BUILT)
    else:
        normal.unlink(missing_ok=True)


def linker_scripts(folder: Path) -> tuple[Path, Path] | None:
    """(as built, without XIP) in a build's folder; None where the build left none."""
    scripts = folder / BUILT, folder / NORMAL
    return scripts if all(path.is_file() for path in scripts) else None


def _recorded(file: Path) -> list[str]:
    """The preprocessor's words in a .cmd file, less those that write its dependencies."""
    try:
        found = _COMMAND.search(file.read_text())
        words = shlex.split(found[1].replace("$(pound)", "#").replace("$$", "$")) if found else []
    except (OSError, ValueError):
        return []
    kept = [word for word in words if not word.startswith("-Wp,-M")]
    return kept if "-o" in kept[:-1] else []
