# SPDX-License-Identifier: GPL-2.0-only
"""The series on real kernels: patches/ is what the templates render, and git am takes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from conftest import ROOT, TEMPLATES
from kernel_trees import with_branch
from xipmatrix.core.files import cache_dir
from xipmatrix.core.git import Repository
from xipmatrix.kernel import KernelTree, checkout, obtain
from xipmatrix.matrix.load import LoadedMatrix
from xipmatrix.series.engine import GENERIC, Applied, State, apply_all, sources
from xipmatrix.series.export import write_series

pytestmark = pytest.mark.kernel


PINNED = ("7.3", "6.12")
# Every series in patches/, and the kernel it is for.
SERIES = sorted(place for kernel in PINNED for place in (ROOT / "patches" / kernel).iterdir())


@pytest.fixture(scope="session")
def kernels(loaded: LoadedMatrix) -> dict[str, KernelTree]:
    return {name: obtain(name, loaded.kernels[name], cache_dir(), print) for name in PINNED}


@pytest.fixture(scope="session")
def states(kernels: dict[str, KernelTree]) -> dict[str, dict[str, Applied]]:
    return {name: apply_all(sources(TEMPLATES), tree) for name, tree in kernels.items()}


def real_patches(found: Iterable[Path]) -> list[Path]:
    """Without the cover letter."""
    return sorted(path for path in found if not path.name.startswith("0000"))


def name_of(place: Path) -> str:
    return f"{place.parent.name}-{place.name}"


def patches_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.patch"))
    }


# What differs between two point releases of one kernel where the series is the same.
_PLACE = re.compile(r"^(index |@@ |Base: |base-tree: ).*$", re.M)


def comparable(patches: dict[str, str], same_tree: bool) -> dict[str, str]:
    if same_tree:
        return patches
    return {name: _PLACE.sub(r"\1", text) for name, text in patches.items()}


def test_checked_in_patches_equal_what_the_templates_render(
    kernels: dict[str, KernelTree], tmp_path: Path
) -> None:
    assert {path.name for path in (ROOT / "patches").iterdir()} == set(PINNED)
    for name, tree in kernels.items():
        write_series(sources(TEMPLATES), tree, tmp_path)
        rendered, kept = patches_of(tmp_path / name), patches_of(ROOT / "patches" / name)
        covers = [
            text for path, text in kept.items() if path == f"{GENERIC}/0000-cover-letter.patch"
        ]
        same_tree = all(f"base-tree: {tree.tree}" in cover for cover in covers)
        assert comparable(kept, same_tree) == comparable(rendered, same_tree), (
            "patches/ is not what templates/ render: run ./xipmatrix series"
        )


def test_the_comparison_can_fail(linux: KernelTree, tmp_path: Path) -> None:
    write_series(sources(TEMPLATES), linux, tmp_path)
    rendered = patches_of(tmp_path / "7.3")
    name = next(name for name in rendered if name.endswith("head-S.patch") or "0005" in name)
    changed = {**rendered, name: rendered[name].replace("+", "+ ", 1)}
    assert comparable(changed, False) != comparable(rendered, False)


@pytest.mark.parametrize("place", SERIES, ids=name_of)
def test_git_am_takes_the_checked_in_patches_on_a_clean_tree(
    place: Path,
    kernels: dict[str, KernelTree],
    states: dict[str, dict[str, Applied]],
    tmp_path: Path,
) -> None:
    git_dir = kernels[place.parent.name].git_dir
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    clone = tmp_path / "clone"
    # Objects are shared, and only the files that the patches touch are checked out.
    subprocess.run(
        ["git", "clone", "-q", "--shared", "--no-checkout", "-b", "base", git_dir, clone],
        check=True,
    )
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", str(clone)]
    below = (place.parent / GENERIC).glob("[0-9]*.patch") if place.name != GENERIC else ()
    patches = [*real_patches(below), *real_patches(place.glob("[0-9]*.patch"))]
    touched = sorted(
        {path for p in patches for path in re.findall(r"^--- a/(.*)$", p.read_text(), re.M)}
    )
    subprocess.run([*git, "sparse-checkout", "set", "--no-cone", *touched], check=True)
    subprocess.run([*git, "checkout", "-q", "base"], check=True)
    subprocess.run([*git, "am", "-q", *map(str, patches)], check=True)
    tree = subprocess.run(
        [*git, "rev-parse", "HEAD^{tree}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    tip = states[place.parent.name][place.name].tip
    assert tree == Repository(git_dir).git("rev-parse", f"{tip}^{{tree}}", env=index)


@pytest.mark.parametrize("place", SERIES, ids=name_of)
def test_checkpatch_strict_is_clean(place: Path, linux: KernelTree) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    for patch in real_patches(place.glob("[0-9]*.patch")):
        assert checkpatch(source, patch) == ""


def test_checkpatch_can_fail(linux: KernelTree, tmp_path: Path) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    patch = next((ROOT / "patches" / "7.3" / "riscv").glob("0006*.patch"))
    bad = tmp_path / "bad.patch"
    bad.write_text(re.sub(r"^\+\t(\w)", r"+        \1", patch.read_text(), count=1, flags=re.M))
    assert "code indent should use tabs" in checkpatch(source, bad)


def checkpatch(source: Path, patch: Path) -> str:
    # A person signs off. MAINTAINERS covers the folders that new files go to, which
    # checkpatch does not look up.
    done = subprocess.run(
        [
            *("perl", "scripts/checkpatch.pl", "--strict", "--quiet", "--no-signoff"),
            *("--no-tree", "--no-summary", "--ignore", "FILE_PATH_CHANGES", str(patch)),
        ],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_states_on_the_pinned_kernels(states: dict[str, dict[str, Applied]]) -> None:
    assert {
        f"{kernel}/{name}": one.state
        for kernel, found in states.items()
        for name, one in found.items()
    } == {
        "7.3/generic": State.APPLIES,
        "6.12/generic": State.APPLIES,
        "7.3/arm": State.APPLIES,
        "7.3/riscv": State.APPLIES,
        "6.12/arm": State.APPLIES,
        "6.12/riscv": State.APPLIES,
    }


def test_every_maintainer_gets_the_new_files(linux: KernelTree) -> None:
    source = checkout(linux.git_dir, linux.commit, cache_dir(), print)
    patch = next((ROOT / "patches" / "7.3" / "riscv").glob("*Documentation*.patch"))
    done = subprocess.run(
        ["perl", "scripts/get_maintainer.pl", "--no-git", "--no-git-fallback", str(patch)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "linux-riscv@lists.infradead.org" in done.stdout


GLOB = "static char *filter_glob_param = PARAM_FROM_CONFIG(CONFIG_KUNIT_DEFAULT_FILTER_GLOB);\n"
FILTER = "static char *filter_param = PARAM_FROM_CONFIG(CONFIG_KUNIT_DEFAULT_FILTER);\n"


def test_a_new_kernel_is_surveyed(
    linux: KernelTree, own_cache: dict[str, str], tmp_path: Path
) -> None:
    """A user's repository with a commit on top that renames, moves, deletes, doubles and mends
    what anchors say."""
    tree = tmp_path / "linux"
    queue = "obj-$(CONFIG_WATCH_QUEUE) += watch_queue.o\n"
    page = "const uint8_t empty_zero_page[PAGE_SIZE] __aligned(PAGE_SIZE);"
    edits = {
        "arch/riscv/kernel/setup.c": (
            "kimage_res.start = code_res.start;",
            "image.start = code_res.start;",
        ),
        "kernel/Makefile": (queue, queue + queue),
        "mm/mm_init.c": (page, page.replace("const ", "")),
        "lib/kunit/executor.c": (f"{GLOB}{FILTER}", f"{FILTER}{GLOB}"),
        "arch/arm/mm/idmap.c": ("\tend = virt_to_idmap(text_end);\n", ""),
    }
    with_branch(tree, linux, "next", edits)

    command = [sys.executable, "-m", "xipmatrix", "refresh", "--kernel", f"{tree}@next"]
    env = {**os.environ, **own_cache}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 1, done.stdout + done.stderr
    rows = {line[:11]: line.split()[-2:] for line in done.stdout.split("\n\n")[0].splitlines()}
    assert rows["generic   1"] == ["already", "there"]
    assert rows["generic   2"][-1] == "applies"  # wherever it is
    assert rows["generic   8"] == ["anchor", "moved"]
    assert rows["arm       3"] == ["anchor", "moved"]
    assert rows["riscv     8"] == ["anchor", "moved"]
    fates = [line.rsplit(None, 1)[1] for line in done.stdout.split("\n\n")[0].splitlines()[1:]]
    # Beside the first of generic, that of riscv which takes a native implementation out.
    assert fates.count("moved") == 3 and fates.count("there") == 2
    assert set(fates) == {"moved", "there", "applies"}
    doubled, deleted, renamed = done.stdout.split("\n\n")[1:]
    assert "kernel/Makefile: anchor matches 2 times, not once" in doubled
    assert "proposed" not in doubled
    assert "arch/arm/mm/idmap.c" in deleted and "virt_to_idmap(text_end)" in deleted
    was, now = renamed.split("  now:")
    assert "it was:" in was and "kimage_res.start = code_res.start;" in was
    assert "image.start = code_res.start;" in now.split("proposed:")[1]
