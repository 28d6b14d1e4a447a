# SPDX-License-Identifier: GPL-2.0-only
"""A series for those who carry it out of tree: their own tools take it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import TEMPLATES
from kernel_trees import git, with_branch
from test_kernel_upstream import upstream
from xipmatrix.core.git import Change, Repository
from xipmatrix.kernel import KernelTree
from xipmatrix.series.engine import apply_all, sources

pytestmark = pytest.mark.kernel

SUBJECT = "mtd: Do not probe the flash that the kernel executes from"


@pytest.fixture
def tree(linux: KernelTree, tmp_path: Path) -> Path:
    """A user's repository with Linux 7.3, and a release that has one of the patches."""
    tree = tmp_path / "linux"
    ours = with_branch(tree, linux)
    date = "2026-01-01T00:00:00Z"
    files = {"README": ("100644", "another\n")}
    release = [Change(f"{SUBJECT}\n\nWhy.\n", date, files), Change("xip: Mend\n", date, {})]
    ours.git("update-ref", "refs/tags/v7.4", ours.commit_changes(linux.commit, release)[-1])
    return tree


def touched(folder: Path, linux: KernelTree, tip: str) -> set[str]:
    """Check out into `folder` what the commits up to `tip` touch; their paths."""
    repository = Repository(linux.git_dir)
    names = repository.git("diff", "--name-only", linux.commit, tip).splitlines()
    for name in names:
        text = repository.text(f"{linux.commit}:{name}")
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return set(names)


def test_each_layout_gives_the_same_files(
    tree: Path, linux: KernelTree, own_cache: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "carry"
    words = ["arm", "--kernel", f"{tree}@master", "-o", str(out), "--signoff"]
    done = upstream(own_cache, *words, "--for", "downstream", "--board", "vexpress-a9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "xip/" not in git(tree, "for-each-ref")
    tip = apply_all(sources(TEMPLATES), linux)["arm"].tip

    def by_patch(folder: Path) -> Callable[[Path], None]:
        def apply(work: Path) -> None:
            for patch in sorted(folder.glob("*.patch")):
                with patch.open() as text:
                    subprocess.run(["patch", "-s", "-p1"], cwd=work, stdin=text, check=True)

        return apply

    def by_quilt(work: Path) -> None:
        env = {**os.environ, "QUILT_PATCHES": str(out / "quilt/patches")}
        subprocess.run(
            ["quilt", "--quiltrc", "-", "push", "-q", "-a"],
            cwd=work,
            env=env,
            check=True,
            capture_output=True,
        )

    layers = out / "yocto/recipes-kernel/linux"
    ways = {
        "quilt": by_quilt,
        "openwrt": by_patch(out / "openwrt/target/linux/arm/patches-7.3"),
        "buildroot": by_patch(out / "buildroot/patches/linux"),
        "yocto": by_patch(layers / "linux-xip"),
    }
    repository = Repository(linux.git_dir)
    for name, apply in ways.items():
        work = tmp_path / name / "work"
        work.mkdir(parents=True)
        paths = touched(work, linux, tip)
        apply(work)
        found = {str(one.relative_to(work)) for one in work.rglob("*") if one.is_file()}
        own = {one for one in found if one.startswith(".pc/") or one.endswith(".orig")}
        assert found - own == paths, name
        for path in paths:
            assert (work / path).read_text() == repository.text(f"{tip}:{path}"), (name, path)

    # What Yocto's tools read: each patch is fetched, and applied by the feature alone.
    scc = (layers / "linux-xip/xip.scc").read_text()
    recipe = (layers / "linux-yocto_%.bbappend").read_text()
    patches = re.findall(r"^patch (.+)$", scc, re.M)
    assert patches == sorted(one.name for one in (layers / "linux-xip").glob("*.patch"))
    assert len(patches) == 17
    assert all(f"file://{one};apply=no" in recipe for one in patches)
    assert "kconf hardware xip.cfg" in scc and "file://xip.cfg" in recipe
    for place in ("buildroot/linux-xip.fragment", "openwrt/target/linux/arm/config-7.3.xip"):
        assert "CONFIG_XIP_KERNEL=y\nCONFIG_XIP_PHYS_ADDR=0x40010000\n" in (out / place).read_text()
    signed = [one for one in out.rglob("*.patch") if "Signed-off-by: A Dev" not in one.read_text()]
    assert not signed


def test_stable_takes_what_is_in_mainline(
    tree: Path, own_cache: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "carry"
    words = ["generic", "--kernel", f"{tree}@master", "-o", str(out)]
    done = upstream(own_cache, *words, "--for", "stable")
    assert done.returncode == 1
    commit = git(tree, "log", "-1", "--format=%H", "v7.4~1")
    queue = out / "queue-7.3"
    names = (queue / "series").read_text().split()
    assert names == sorted(one.name for one in queue.glob("*.patch"))
    told = [
        one for one in names if f"\n\ncommit {commit} upstream.\n\n" in (queue / one).read_text()
    ]
    assert [one[5:8] for one in told] == ["mtd"]
    assert "FAILS  stable rules" in done.stdout and SUBJECT not in done.stdout
    assert '"xip: Add a self-check" is in no released kernel' in done.stdout
    assert re.search(r"lines with context, more than 100|and \d+ more", done.stdout)

    done = upstream(own_cache, *words, "--for", "downstream")
    assert done.returncode == 2 and "name one" in done.stderr
    done = upstream(own_cache, *words, "--for", "stable", "--reroll")
    assert done.returncode == 2 and "--for makes no branch" in done.stderr
    assert queue.is_dir()  # what was there is left alone
