# SPDX-License-Identifier: GPL-2.0-only
"""What incremental builds rest on: a source folder that moves, a place that is mended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kernel_trees import fingerprint, git, make_repository
from machine_support import make_cell
from xipmatrix.build import compile as compiling
from xipmatrix.build import toolchain
from xipmatrix.build.place import BuildPlace
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.evidence import CellFailure, Verdict
from xipmatrix.core.files import quiet
from xipmatrix.kernel import checkout, move_to

# --- the source folder ---------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with the branches main and other, which differ in every way."""
    tree = make_repository(tmp_path / "linux")
    git(tree, "switch", "-q", "-c", "other")
    (tree / "init" / "main.c").write_text("int other;\n")
    (tree / "Kbuild").unlink()
    (tree / "Kbuild").symlink_to("Kconfig")
    (tree / "arch" / "arm" / "Kconfig").unlink()
    (tree / "init" / "new.c").write_text("x\n")
    (tree / "scripts" / "run.sh").unlink()
    (tree / "scripts" / "run.sh").mkdir()
    (tree / "scripts" / "run.sh" / "file").write_text("y\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "other")
    return tree


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of every file."""
    return {
        name: (mode, data)
        for name, (mode, _, data) in fingerprint(folder).items()
        if not (folder / name).is_dir() or (folder / name).is_symlink()
    }


def move(tree: Path, place: Path, ref: str) -> Path:
    return move_to(tree / ".git", git(tree, "rev-parse", ref), place, quiet)


def test_a_moved_folder_is_the_commit_and_only_changes_are_written(
    tree: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    for ref in ("main", "other", "main", "main", "other"):
        before = fingerprint(place / "linux")
        source = move(tree, place, ref)
        fresh = checkout(tree / ".git", git(tree, "rev-parse", ref), tmp_path / "cache", quiet)
        assert content(source) == content(fresh)
        for name, (_, changed, data) in fingerprint(source).items():
            same = name in before and before[name][2] == data
            if same and not (source / name).is_dir() and not (source / name).is_symlink():
                assert before[name][1] == changed, f"{name} was written without need"


@pytest.mark.parametrize("damage", ["changed", "gone", "new", "lock", "no index", "bad index"])
def test_what_a_kill_or_a_hand_left_is_mended(tree: Path, tmp_path: Path, damage: str) -> None:
    place = tmp_path / "place"
    source = move(tree, place, "main")
    wanted = content(source)
    if damage == "changed":  # half of a move to another commit
        (source / "init" / "main.c").write_text("int half;\n")
        (source / "init" / "new.c").write_text("x\n")
    elif damage == "gone":
        (source / "Makefile").unlink()
    elif damage == "new":
        (source / "include" / "new.h").parent.mkdir(exist_ok=True)
        (source / "include" / "new.h").write_text("")
    elif damage == "lock":
        (place / "index.lock").write_text("")
    elif damage == "no index":
        (place / "index").unlink()
    else:
        (place / "index").write_bytes(b"rubbish")
    assert content(move(tree, place, "main")) == wanted


def test_a_commit_that_is_not_there_is_named(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="0" * 40):
        move_to(tree / ".git", "0" * 40, tmp_path / "place", quiet)


# --- the object folder ---------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> BuildPlace:
    return BuildPlace(tmp_path / "place")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    return work


def failing(verdict: Verdict) -> CellFailure:
    return CellFailure(verdict, "init/main.c:1: error: no")


def test_a_build_uses_the_kept_objects(place: BuildPlace, work: Path) -> None:
    seen = []

    def compile_in(folder: Path, objects: Path | None) -> None:
        assert folder == work
        assert objects == place.objects
        seen.append(sorted(path.name for path in objects.iterdir()))
        (objects / f"{len(seen)}.o").write_text("")

    place.build(work, compile_in)
    place.build(work, compile_in)
    assert seen == [[], ["1.o"]]


def test_a_failure_counts_only_if_a_clean_build_fails_too(place: BuildPlace, work: Path) -> None:
    calls: list[Path | None] = []

    def compile_in(folder: Path, objects: Path | None) -> None:
        assert list(folder.iterdir()) == []
        (folder / "tuxmake").write_text("")
        calls.append(objects)
        if objects:
            (objects / "a.o").write_text("")
        raise failing(Verdict.BUILD_FAILED)

    with pytest.raises(CellFailure):
        place.build(work, compile_in)
    assert calls == [place.objects, None]
    assert (place.objects / "a.o").exists()  # as good as before


def test_objects_that_alone_fail_are_dropped(place: BuildPlace, work: Path) -> None:
    def compile_in(folder: Path, objects: Path | None) -> None:
        if objects:
            (objects / "stale.o").write_text("")
            raise failing(Verdict.BUILD_FAILED)
        (folder / "vmlinux").write_text("right")

    place.build(work, compile_in)
    assert (work / "vmlinux").read_text() == "right"
    assert not place.objects.exists()


def test_other_failures_are_not_tried_again(place: BuildPlace, work: Path) -> None:
    calls = []

    def compile_in(folder: Path, objects: Path | None) -> None:
        calls.append(objects)
        raise failing(Verdict.CONFIG_DROPPED)

    with pytest.raises(CellFailure, match="no"):
        place.build(work, compile_in)
    assert calls == [place.objects]


def age(folder: Path, seconds: float) -> None:
    """Make everything in `folder` older."""
    past = time.time_ns() - int(seconds * 1e9)
    for path in folder.rglob("*"):
        os.utime(path, ns=(past, past), follow_symlinks=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InfrastructureError("disk full")])
def test_what_a_killed_build_wrote_goes_and_older_files_stay(
    place: BuildPlace, work: Path, error: BaseException
) -> None:
    def first(folder: Path, objects: Path | None) -> None:
        assert objects
        for name in ("init", "include/config"):
            (objects / name).mkdir(parents=True)
        for name in ("old.o", "init/old.o"):
            (objects / name).write_text("whole")

    def killed(folder: Path, objects: Path | None) -> None:
        assert objects
        (objects / "init" / "half.o").write_text("ha")
        (objects / "old.o").write_text("half of the new one")
        (objects / "link").symlink_to("/nowhere")
        (objects / "include/config/auto.conf").write_text("whole, as Kconfig renames it there")
        raise error

    place.build(work, first)
    age(place.objects, 3600)
    with pytest.raises(type(error)):
        place.build(work, killed)
    found: list[str] = []

    def look(folder: Path, objects: Path | None) -> None:
        assert objects
        found.extend(
            str(path.relative_to(objects)) for path in objects.rglob("*") if not path.is_dir()
        )

    place.build(work, look)
    assert sorted(found) == ["include/config/auto.conf", "init/old.o"]
    place.build(work, look)
    assert sorted(found) == ["include/config/auto.conf"] * 2 + ["init/old.o"] * 2


def test_a_build_that_fails_by_itself_needs_no_mending(place: BuildPlace, work: Path) -> None:
    def failed(folder: Path, objects: Path | None) -> None:
        if objects:
            (objects / "a.o").write_text("whole")
        raise failing(Verdict.BUILD_FAILED)

    with pytest.raises(CellFailure):
        place.build(work, failed)

    def look(folder: Path, objects: Path | None) -> None:
        assert objects
        assert (objects / "a.o").read_text() == "whole"

    place.build(work, look)


# --- tuxmake in a kept folder --------------------------------------------------------------

FAKE_TUXMAKE = """
import json, pathlib, sys
words = sys.argv
def value(option): return pathlib.Path(words[words.index(option) + 1])
objects, output = value("-b"), value("-o")
output.mkdir()
assert not (objects / ".config").exists(), "tuxmake would take this for the configuration"
(objects / ".config").write_text(value("-k").read_text())
(output / "build.log").write_text("")
status = {"results": {"targets": {"make:xipImage": {"status": "PASS"}}}}
(output / "metadata.json").write_text(json.dumps(status))
if "BUILDS=y" in (objects / ".config").read_text():
    (objects / "arch/arm/boot").mkdir(parents=True, exist_ok=True)
    for name in ("vmlinux", "arch/arm/boot/xipImage", "System.map", "kept.o"):
        (objects / name).write_text(name)
"""


def build(tmp_path: Path, config: str, number: int) -> Path:
    module = tmp_path / "modules" / "tuxmake"
    module.mkdir(parents=True, exist_ok=True)
    (module / "__init__.py").touch()
    (module / "__main__.py").write_text(FAKE_TUXMAKE)
    (tmp_path / "config").write_text(config)
    work, objects = tmp_path / f"work{number}", tmp_path / "objects"
    work.mkdir()
    archive = tmp_path / compiling.INITRAMFS
    archive.touch()
    tools = toolchain.Toolchain("gcc", "arm", (("ARCH", "arm"),), "gcc", "gcc 12")
    compiling.build_kernel(
        make_cell(),
        tmp_path,
        tools,
        tmp_path / "config",
        work,
        jobs=1,
        timeout=60,
        ccache=False,
        initramfs=archive,
        objects=objects,
    )
    return work


def test_a_kept_folder_keeps_objects_but_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    work = build(tmp_path, "CONFIG_XIP_KERNEL=y\nBUILDS=y\n", 1)
    assert {"vmlinux", "xipImage", "config", "System.map"} <= {p.name for p in work.iterdir()}
    assert (tmp_path / "objects" / "kept.o").exists()
    # A build that says it passed must not be believed by what the one before left.
    with pytest.raises(CellFailure, match=r"left no vmlinux") as caught:
        build(tmp_path, "CONFIG_XIP_KERNEL=y\nBUILDS=n\n", 2)
    assert caught.value.verdict is Verdict.BUILD_FAILED
    build(tmp_path, "CONFIG_XIP_KERNEL=y\nBUILDS=y\n", 3)


def test_modules_of_another_commit_are_not_taken_for_this_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects, work = tmp_path / "objects", tmp_path / "work"
    (objects / "drivers").mkdir(parents=True)
    (objects / "drivers" / "gone.ko").write_text("")
    work.mkdir()
    (tmp_path / "config").write_text("")
    make = tmp_path / "bin" / "make"
    make.parent.mkdir()
    make.write_text(f"#!/bin/sh\ntouch {objects}/drivers/here-now.ko\n")
    make.chmod(0o755)
    monkeypatch.setenv("PATH", f"{make.parent}:{os.environ['PATH']}")
    tools = toolchain.Toolchain("gcc", "arm", (("ARCH", "arm"),), "gcc", "gcc 12")
    found = compiling.build_modules(
        tmp_path, tools, tmp_path / "config", work, jobs=1, timeout=60, objects=objects
    )
    assert [path.name for path in found] == ["here_now.ko"]
