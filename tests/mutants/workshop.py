# SPDX-License-Identifier: GPL-2.0-only
"""Where mutated kernels are built: one tree and one folder of objects per architecture.

A cell's build starts from nothing each time; a mutant differs by a few files, so it is
built on what the one before left. The tree is a hard-linked copy of the product's source
folder, which is only to be read: a file is unlinked before it is changed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xipmatrix.build.compile import FIXED, INITRAMFS
from xipmatrix.build.errors import first_error
from xipmatrix.build.kconfig import dropped, parse_config
from xipmatrix.build.toolchain import Toolchain
from xipmatrix.core import run
from xipmatrix.core.evidence import CellFailure, Verdict
from xipmatrix.core.files import locked, remove, write_atomic
from xipmatrix.matrix.model import Cell

JOBS = os.cpu_count() or 1
_TARGET = re.compile(r"^\+\+\+ (?:b/)?(\S+)", re.M)


@dataclass(frozen=True)
class Workshop:
    """A place to build mutants of one source tree. `source` is the product's: never written."""

    place: Path
    source: Path
    cell: Cell
    toolchain: Toolchain

    @property
    def _tree(self) -> Path:
        return self.place / "linux"

    @property
    def _objects(self) -> Path:
        return self.place / "objects"

    def build(self, config: Path, patches: Iterable[Path], lines: Iterable[str], out: Path) -> None:
        """Build the tree with `patches`, and `config` with `lines` on top, into folder `out`.

        `out` then holds vmlinux, xipImage and config. Raises CellFailure as the product's
        stages do: config-dropped for a line that does not survive, build-failed.
        """
        with locked(self.place):
            self._open()
            for patch in patches:
                self._apply(patch)
            self._configure(config, list(lines))
            log = out / "build.log"
            archive = f"CONFIG_INITRAMFS_SOURCE={config.with_name(INITRAMFS)}"
            make = [*self._make, archive, "xipImage"]
            done = run.run(make, log=log, env=FIXED, death_signal="TERM")
            if not done.ok:
                reason = str(first_error(done.output, self._tree) or done.output[-1000:])
                raise CellFailure(Verdict.BUILD_FAILED, reason, log=str(log))
            kept = {"vmlinux": "vmlinux", ".config": "config"}
            for name, target in (*kept.items(), (self.cell.arch_spec.xip_image, "xipImage")):
                shutil.copy(self._objects / name, out / target)

    @property
    def _make(self) -> list[str]:
        return [
            *("make", "-s", "-C", str(self._tree), f"O={self._objects}", f"-j{JOBS}"),
            *self.toolchain.make_args,
        ]

    # --- the tree -----------------------------------------------------------------------

    @property
    def _changed(self) -> Path:
        """Names of the files that are not the product's; written before they are changed."""
        return self.place / "changed"

    def _open(self) -> None:
        """The tree as the product has it, whatever was done here before."""
        if not self._changed.is_file():
            remove(self._tree)
            self.place.mkdir(parents=True, exist_ok=True)
            run.run(["cp", "-al", self.source, self._tree], check=True)
            write_atomic(self._changed, "")
        for name in self._changed.read_text().splitlines():
            self._own(name)
        write_atomic(self._changed, "")

    def _own(self, name: str) -> None:
        """Make file `name` a fresh copy of the product's, new enough for make to look at."""
        mine, theirs = self._tree / name, self.source / name
        mine.unlink(missing_ok=True)
        if theirs.exists():
            shutil.copyfile(theirs, mine)
            shutil.copymode(theirs, mine)

    def _apply(self, patch: Path) -> None:
        names = [name for name in _TARGET.findall(patch.read_text()) if name != "/dev/null"]
        with self._changed.open("a") as changed:
            changed.writelines(f"{name}\n" for name in names)
        for name in names:
            self._own(name)
        run.run(
            ["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-s", "-i", patch.resolve()],
            cwd=self._tree,
            check=True,
        )

    # --- the configuration --------------------------------------------------------------

    def _configure(self, config: Path, lines: list[str]) -> None:
        self._objects.mkdir(exist_ok=True)
        final = self._objects / ".config"
        text = config.read_text() + "".join(f"{line}\n" for line in lines)
        final.write_text(text)
        log = self.place / "config.log"
        run.run([*self._make, "olddefconfig"], log=log, env=FIXED, check=True)
        wanted = parse_config("\n".join(lines))
        lost = dropped(
            wanted, parse_config(final.read_text()), self._tree, self.cell.arch_spec.kernel_arch
        )
        if lost:
            reason = "\n".join(str(one) for one in lost)
            raise CellFailure(Verdict.CONFIG_DROPPED, reason, log=str(log))
