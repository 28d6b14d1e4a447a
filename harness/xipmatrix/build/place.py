# SPDX-License-Identifier: GPL-2.0-only
"""A place to build in that is kept from one commit to the next.

Only a place: what a build leaves there is no input of the next one but through
Kbuild's own dependencies. What Kbuild cannot know is looked after here: files that a
killed build left half-written, and failures that a clean folder would not have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from ..core.evidence import CellFailure, Verdict
from ..core.files import remove

# Kconfig writes beside and renames (scripts/kconfig/confdata.c), so nothing here is ever half
# a file. Without its auto.conf, syncconfig takes every option for changed, and all that was
# compiled for stale.
_WHOLE = Path("include/config")

# (work, objects): build into the folder `work`; `objects` is None for a folder of its own there.
Compile = Callable[[Path, Path | None], None]


@dataclass(frozen=True)
class BuildPlace:
    """A source folder and an object folder below `folder`, both ours.

    They are always at the same path, which Kbuild records. Whoever uses them holds a lock.
    """

    folder: Path

    @property
    def source(self) -> Path:
        """Where the source folder moves from commit to commit."""
        return self.folder / "source"

    @property
    def objects(self) -> Path:
        """Kbuild's O=."""
        return self.folder / "objects"

    @property
    def _building(self) -> Path:
        return self.folder / "building"

    def build(self, work: Path, compile_in: Compile) -> None:
        """Build into the empty folder `work`, compiling only what is not there yet.

        A build that fails is tried once more in a folder of its own: only what fails there
        too is the kernel's fault. Raises what `compile_in` raises.
        """
        try:
            with self._mended() as objects:
                compile_in(work, objects)
            return
        except CellFailure as failure:
            if failure.verdict is not Verdict.BUILD_FAILED:
                raise
        for path in work.iterdir():
            remove(path)
        compile_in(work, None)
        remove(self.objects)  # they were stale in a way that Kbuild does not see

    @contextmanager
    def _mended(self) -> Iterator[Path]:
        """The object folder, without what a build that was ended from outside wrote."""
        self.objects.mkdir(parents=True, exist_ok=True)
        if self._building.exists():
            _remove_since(self._building.stat().st_mtime_ns, self.objects)
        self._building.write_text("")
        try:
            yield self.objects
        except CellFailure:
            self._building.unlink()  # make ended by itself, and removed what it could not finish
            raise
        self._building.unlink()


def _remove_since(nanoseconds: int, folder: Path) -> None:
    """Remove the files below `folder` written at or after a time: any may be half a file.

    Kbuild makes anew what is missing. A second is taken off, for file systems that
    count in seconds.
    """
    for path in folder.rglob("*"):
        stat = path.lstat()
        if S_ISDIR(stat.st_mode) or path.is_relative_to(folder / _WHOLE):
            continue
        if stat.st_mtime_ns >= nanoseconds - 1_000_000_000:
            path.unlink()
