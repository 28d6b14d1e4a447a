# SPDX-License-Identifier: GPL-2.0-only
"""The same patches for those who carry them: quilt series, OpenWrt, Buildroot, Yocto.

Sources: quilt(1), "series"; Documentation/process/stable-kernel-rules.rst and the stable queue's
layout; OpenWrt's target/linux/generic/PATCHES.md; the Buildroot manual, "Adding
project-specific patches"; the Yocto Project's Linux kernel development manual, "Feature
Descriptions".
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..core.files import complete_dir
from ..core.git import Repository
from ..kernel import KernelTree
from ..kernel.local import UserRepository
from ..series.engine import Applied, shown_ref
from .branch import Author, rewritten
from .checks import Check, listed
from .mails import subject_of
from .make import Wish

# Documentation/process/stable-kernel-rules.rst: "with context".
_MOST_LINES = 100
# OpenWrt numbers by what a patch touches: 3xx are those of an architecture.
_OPENWRT_FIRST = 300


@dataclass(frozen=True)
class Carried:
    """A series to be carried on kernel `release`; `fragment` are its options, for board `board`.

    The patches lie in `folder`, in order.
    """

    arch: str
    release: str
    folder: Path
    fragment: str
    board: str

    @property
    def patches(self) -> list[Path]:
        """The patches, in order."""
        return sorted(self.folder.glob("*.patch"))

    @property
    def version(self) -> str:
        """The release's first two numbers, as folders of queues are named."""
        return ".".join(self.release.split("-")[0].split(".")[:2])


def carry(
    wish: Wish,
    purpose: str,
    tree: KernelTree,
    states: Mapping[str, Applied],
    user: UserRepository | None,
    fragment: str,
    board: str,
    place: Path,
) -> tuple[list[Path], list[Check]]:
    """Write the patches of `states`, which apply to `tree`, to `place` as `purpose` has them.

    `purpose` is one of PURPOSES, `fragment` the options, for `board`. `place` is replaced as a
    whole. Returns the new files, and what has to be said of them. Raises UsageError where git
    knows no identity, InfrastructureError where it fails.
    """
    author = Author.of(user)
    repository = Repository(tree.git_dir)
    date = repository.git("show", "-s", "--format=%cI", states[wish.name].tip)
    ours = rewritten(
        repository, tree.commit, states, author, date, signoff=wish.signoff, trailers={}
    )
    with tempfile.TemporaryDirectory(prefix="xipmatrix-carry-") as name:
        with shown_ref(repository, f"xipmatrix-carry-{ours[-1][:12]}", ours[-1]) as ref:
            repository.git(
                *("-c", "diff.algorithm=histogram"),
                *("format-patch", "--quiet", "--no-signature", "--no-numbered", "--zero-commit"),
                *("--stat=72", "-o", name, f"{tree.commit}..{ref}"),
            )
        carried = Carried(wish.name, tree.release, Path(name), fragment, board)
        checks = []
        if purpose == "stable":
            subjects = [subject_of(patch) for patch in carried.patches]
            upstream = mainline_commits(user, subjects) if user else {}
            checks.append(stable_rules(carried.patches, upstream))
            for patch in carried.patches:
                _name_upstream(patch, upstream)
        with complete_dir(place) as folder:
            PURPOSES[purpose](carried, folder)
    return sorted(path for path in place.rglob("*") if path.is_file()), checks


def _stable(carried: Carried, folder: Path) -> None:
    _quilt(carried, folder / f"queue-{carried.version}")


def _backport(carried: Carried, folder: Path) -> None:
    _quilt(carried, folder / "patches")


def _downstream(carried: Carried, folder: Path) -> None:
    _quilt(carried, folder / "quilt" / "patches")
    _openwrt(carried, folder / "openwrt" / "target" / "linux" / carried.arch)
    _buildroot(carried, folder / "buildroot")
    _yocto(carried, folder / "yocto" / "recipes-kernel" / "linux")
    (folder / "README").write_text(_README.format(version=__version__, **_words(carried)))


PURPOSES: Mapping[str, Callable[[Carried, Path], None]] = {
    "stable": _stable,
    "backport": _backport,
    "downstream": _downstream,
}


def _quilt(carried: Carried, folder: Path) -> None:
    names = _copied(carried, folder)
    (folder / "series").write_text("".join(f"{name}\n" for name in names))


def _openwrt(carried: Carried, folder: Path) -> None:
    def named(number: int, name: str) -> str:
        # Lower case, words joined by underscores: PATCHES.md.
        plain = re.sub(r"^\d+-", "", name.removesuffix(".patch").lower())
        words = re.sub(r"\W+", "_", plain)
        return f"{_OPENWRT_FIRST + number:03}-{words}.patch"

    _copied(carried, folder / f"patches-{carried.version}", named)
    (folder / f"config-{carried.version}.xip").write_text(carried.fragment)


def _buildroot(carried: Carried, folder: Path) -> None:
    _copied(carried, folder / "patches" / "linux")
    (folder / "linux-xip.fragment").write_text(carried.fragment)


def _yocto(carried: Carried, folder: Path) -> None:
    place = folder / "linux-xip"
    names = _copied(carried, place)
    (place / "xip.cfg").write_text(carried.fragment)
    scc = ['define KFEATURE_DESCRIPTION "The kernel executes in place, from flash or ROM"']
    scc += ["define KFEATURE_COMPATIBILITY board", "", *(f"patch {name}" for name in names)]
    scc += ["", "kconf hardware xip.cfg"]
    (place / "xip.scc").write_text("\n".join(scc) + "\n")
    # BitBake's own file names a recipe; '%' stands for its version.
    # It is xip.scc that applies the patches: BitBake need only fetch them.
    files = ["file://xip.scc", "file://xip.cfg", *(f"file://{one};apply=no" for one in names)]
    listed_files = " \\\n    ".join(files)
    (folder / "linux-yocto_%.bbappend").write_text(
        'FILESEXTRAPATHS:prepend := "${THISDIR}/linux-xip:"\n\n' + f'SRC_URI += "{listed_files}"\n'
    )


def _copied(
    carried: Carried, folder: Path, named: Callable[[int, str], str] | None = None
) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for number, patch in enumerate(carried.patches):
        name = named(number, patch.name) if named else patch.name
        shutil.copyfile(patch, folder / name)
        names.append(name)
    return names


def _words(carried: Carried) -> dict[str, str]:
    return {
        "arch": carried.arch,
        "release": carried.release,
        "kernel": carried.version,
        "board": carried.board,
        "count": str(len(carried.patches)),
    }


_README = """\
CONFIG_XIP_KERNEL for {arch} on Linux {release}: {count} patches, rendered by
xipmatrix {version}. The options beside them are those of the QEMU board
"{board}": the addresses and the console are your board's to say.

quilt/      QUILT_PATCHES=<here>/quilt/patches quilt push -a
openwrt/    copy target/ over yours (its folder {arch} is your target's name); add
            config-{kernel}.xip to your config-{kernel}
buildroot/  BR2_GLOBAL_PATCH_DIR="<here>/buildroot/patches"
            BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES="<here>/buildroot/linux-xip.fragment"
yocto/      copy recipes-kernel/ into a layer of yours; xip.scc brings patches and options
"""


# --- stable -----------------------------------------------------------------------------


def mainline_commits(user: UserRepository, subjects: Sequence[str]) -> dict[str, str]:
    """The commits with these subjects in released kernels, as far as the user's tags know."""
    words = [f"--grep={one}" for one in subjects]
    done = user.git("log", "--tags=v*", "--no-merges", "-F", *words, "--format=%H %s")
    found: dict[str, str] = {}
    for line in done.output.splitlines() if done.ok and subjects else []:
        commit, _, subject = line.partition(" ")
        if subject in subjects:
            found[subject] = commit
    return found


def stable_rules(patches: Sequence[Path], upstream: Mapping[str, str]) -> Check:
    """What stable takes: only what is in mainline, and only small (stable-kernel-rules.rst)."""
    wrong = [
        f'"{subject}" is in no released kernel that this repository has tags of'
        for subject in map(subject_of, patches)
        if subject not in upstream
    ]
    for patch in patches:
        lines = patch.read_text().partition("\ndiff --git ")[2].count("\n")
        if lines > _MOST_LINES:
            wrong.append(f"{patch.name}: {lines} lines with context, more than {_MOST_LINES}")
    return Check(
        "stable rules",
        not wrong,
        listed(wrong) or "all are in mainline, and small",
        "first to mainline (xipmatrix upstream without --for); until then carry it",
    )


def _name_upstream(patch: Path, upstream: Mapping[str, str]) -> None:
    """Say which commit of mainline it is, in the words that stable asks for."""
    head, _, rest = patch.read_text().partition("\n\n")
    commit = upstream.get(subject_of(patch))
    if commit is not None:
        patch.write_text(f"{head}\n\ncommit {commit} upstream.\n\n{rest}")
