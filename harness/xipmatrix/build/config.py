# SPDX-License-Identifier: GPL-2.0-only
"""A cell's .config: base plus rendered fragments, and the proof that nothing was dropped.

``allnoconfig`` and ``tinyconfig`` go through ``KCONFIG_ALLCONFIG``: a fragment merged
afterwards would let every option it does not name take its default, which makes the
kernel half as big again. Defconfigs go through the tree's own merge_config.sh.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from ..core import run
from ..core.errors import InfrastructureError, UsageError
from ..core.evidence import CellFailure, Verdict
from ..core.template import Templates
from ..matrix.model import Cell
from . import hosttools
from .kconfig import dropped, is_fragment_line, parse_config
from .toolchain import Toolchain


@dataclass(frozen=True)
class Configured:
    """The final configuration: its text, its file and what it was asked for."""

    path: Path
    options: dict[str, str]
    wanted: dict[str, str]


def render_fragment(
    cell: Cell, release: str, initramfs: Path, templates: Path, extra: tuple[str, ...] = ()
) -> str:
    """The Kconfig fragment of a cell: its config's fragments, then the board's lines.

    `initramfs` is what the archive is called, the same on every machine: with IKCONFIG it is
    in the image. Where it lies is said when the kernel is built.
    Raises UsageError for a template that does not render, or to a line that is neither an
    option nor a comment: Kconfig passes over it, and nobody would miss the option.
    """
    found = _templates(tuple(templates / name for name in cell.template_folders))
    values = _values(cell, release, str(initramfs))
    parts = []
    for name in cell.config_spec.fragments:
        text = found.render_file(f"{name}.config.j2", values)
        wrong = [line for line in text.splitlines() if not is_fragment_line(line)]
        if wrong:
            raise UsageError(
                f"neither an option nor a comment: {wrong[0]!r}",
                where=found.find(f"{name}.config.j2"),
                hint="CONFIG_X=value and '# CONFIG_X is not set' are options",
            )
        parts.append(f"# {name}\n{text}")
    lines = "".join(f"{line}\n" for line in (*cell.board_spec.config, *extra))
    # Not its name: boards with the same lines share a configuration.
    return "\n".join([*parts, f"# board\n{lines}"])


def xip_fragment(cell: Cell, release: str, templates: Path) -> str:
    """What makes a kernel of `release` one that executes in place, on the board of `cell`.

    Raises UsageError for a template that does not render.
    """
    found = Templates([templates / name for name in cell.template_folders])
    return found.render_file("xip.config.j2", _values(cell, release, ""))


@functools.cache
def _templates(folders: tuple[Path, ...]) -> Templates:
    """Shared by the cells of an architecture: a template is compiled once."""
    return Templates(folders)


def _values(cell: Cell, release: str, initramfs: str) -> dict[str, object]:
    return {
        "kernel": release,
        "version": tuple(int(part) for part in release.split("-")[0].split(".")[:2]),
        "arch": cell.arch,
        "mmu": cell.arch_spec.mmu,
        "board": cell.board_spec,
        "initramfs": initramfs,
    }


def without_xip(fragment: str) -> str:
    """The same fragment for a normal kernel: XIP's own options all begin with XIP_."""
    lines = fragment.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("CONFIG_XIP_"))


def make_config(
    cell: Cell, source: Path, toolchain: Toolchain, fragment: str, folder: Path, log: Path
) -> Configured:
    """Configure in `folder` (object tree, our own). Every requested option is checked.

    Raises CellFailure(config-dropped) naming each lost option and its unmet dependencies,
    CellFailure(not-applicable) where the tree lacks the base configuration.
    """
    srcarch = cell.arch_spec.kernel_arch
    make = [
        *("make", "-C", str(source), f"O={folder}", f"ARCH={srcarch}"),
        *(arg for arg in toolchain.make_args if not arg.startswith("ARCH=")),
    ]
    hosttools.give(source, folder)
    wanted_file = folder / "xipmatrix.config"
    wanted_file.write_text(fragment)
    base = cell.config_spec.base
    if base in ("allnoconfig", "tinyconfig"):
        start = _tiny(source) if base == "tinyconfig" else ""
        seed = folder / "xipmatrix.allconfig"
        seed.write_text(start + fragment)
        _make([*make, f"KCONFIG_ALLCONFIG={seed}", "allnoconfig"], log)
    else:
        defconfigs = source / "arch" / srcarch / "configs"
        # arm64, riscv and others keep 'defconfig' itself in the same folder.
        if not (defconfigs / base).is_file():
            raise CellFailure(
                Verdict.NOT_APPLICABLE, f"this kernel has no arch/{srcarch}/configs/{base}"
            )
        _make([*make, base], log)
        merge = source / "scripts" / "kconfig" / "merge_config.sh"
        environment = {"ARCH": srcarch, "KCONFIG_CONFIG": str(folder / ".config")}
        run.run(
            [merge, "-m", "-O", str(folder), str(folder / ".config"), str(wanted_file)],
            cwd=source,
            env=environment,
            log=log,
            check=True,
        )
        _make([*make, "olddefconfig"], log)
    hosttools.keep(source, folder)
    final_path = folder / ".config"
    final = parse_config(final_path.read_text())
    wanted = parse_config(fragment)
    lost = dropped(wanted, final, source, srcarch)
    if lost:
        raise CellFailure(Verdict.CONFIG_DROPPED, "\n".join(str(one) for one in lost), log=str(log))
    return Configured(final_path, final, wanted)


def _tiny(source: Path) -> str:
    tiny = source / "kernel" / "configs" / "tiny.config"
    try:
        return tiny.read_text() + "\n"
    except OSError as error:
        raise UsageError("this kernel has no tinyconfig", where=tiny) from error


def _make(words: list[str], log: Path) -> None:
    done = run.run(words, log=log, death_signal="TERM")
    if not done.ok:
        tail = "\n  ".join(done.output.strip().splitlines()[-8:])
        if "No space left on device" in done.output:
            raise InfrastructureError(f"the disk is full\n  {tail}", where=log)
        raise CellFailure(Verdict.BUILD_FAILED, f"configuring failed:\n  {tail}", log=str(log))
