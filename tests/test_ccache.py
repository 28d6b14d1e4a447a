# SPDX-License-Identifier: GPL-2.0-only
"""ccache finds in another kernel, cell and run what it has compiled before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.build import ccache, compile, toolchain
from xipmatrix.core import run
from xipmatrix.core.evidence import CellFailure

needs_ccache = pytest.mark.skipif(not ccache.usable(), reason="ccache is not installed")

TUXMAKE = """
import pathlib, sys
words = sys.argv[1:]
out = pathlib.Path(words[words.index("-o") + 1])
out.mkdir()
(out / "words").write_text(" ".join(words))
(out / "build.log").write_text("../init/main.c:2:1: error: expected identifier\\n")
sys.exit(1)
"""


def write_source(folder: Path, value: int) -> Path:
    (folder / "include").mkdir(parents=True)
    (folder / "include" / "value.h").write_text(f"#define VALUE {value}\n")
    (folder / "a.c").write_text('#include "value.h"\nconst char *f(void) { return __FILE__; }\n')
    (folder / "a.c").open("a").write("int value = VALUE;\n")
    return folder


def compile_a(source: str, objects: Path, env: Mapping[str, str]) -> bytes:
    """As Kbuild does; with tuxmake's own option, which names the folder."""
    words = ["ccache", "gcc", "-Wp,-MMD,.a.o.d", f"-I{source}/include", "-g", "-c", "-o", "a.o"]
    maps = [f"-fmacro-prefix-map={source}/=", f"-ffile-prefix-map={objects}/="]
    done = run.run([*words, *maps, f"{source}/a.c"], cwd=objects, env=env)
    assert done.ok, done.output
    return (objects / "a.o").read_bytes()


def hits(env: Mapping[str, str]) -> int:
    said = run.run(["ccache", "--print-stats"], env=env).output
    return sum(
        int(n) for n in re.findall(r"^(?:direct|preprocessed)_cache_hit\s+(\d+)", said, re.M)
    )


@needs_ccache
def test_another_kernel_in_another_run_hits(tmp_path: Path) -> None:
    env = {**ccache.settings(), "CCACHE_DIR": str(tmp_path / "ccache")}
    objects = []
    for number, value in enumerate((1, 1, 2)):
        source = write_source(tmp_path / f"commit{number}", value)
        work = tmp_path / f"work{number}"
        work.mkdir()
        _, folder = ccache.place(source, work)
        objects.append(compile_a("..", folder, env))
        assert hits(env) == (0, 1, 1)[number]  # another header is another key
    assert objects[0] == objects[1] != objects[2]
    assert b"/commit" not in objects[1]


@needs_ccache
def test_an_option_that_makes_no_difference_hits(tmp_path: Path) -> None:
    """Every file of a kernel includes all options of its configuration."""
    env = {**ccache.settings(), "CCACHE_DIR": str(tmp_path / "ccache")}
    for number, options in enumerate(("", "#define CONFIG_OTHER 1\n", "#define VALUE 3\n")):
        source = write_source(tmp_path / f"commit{number}", 2)
        (source / "include" / "value.h").write_text(
            f"{options}#ifndef VALUE\n#define VALUE 2\n#endif\n"
        )
        work = tmp_path / f"work{number}"
        work.mkdir()
        _, folder = ccache.place(source, work)
        compile_a("..", folder, env)
        assert hits(env) == (0, 1, 1)[number]


@needs_ccache
def test_without_the_links_it_misses(tmp_path: Path) -> None:
    """The control: a source folder's path is part of the key."""
    env = {**ccache.settings(), "CCACHE_DIR": str(tmp_path / "ccache")}
    for number in range(2):
        source = write_source(tmp_path / f"commit{number}", 1)
        objects = tmp_path / f"work{number}"
        objects.mkdir()
        compile_a(str(source), objects, env)
    assert hits(env) == 0


def test_the_user_s_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CCACHE_NOHASHDIR", raising=False)
    assert ccache.settings()["CCACHE_NOHASHDIR"] == "true"
    monkeypatch.setenv("CCACHE_NOHASHDIR", "false")
    assert "CCACHE_NOHASHDIR" not in ccache.settings()


@pytest.mark.parametrize("installed", [True, False])
def test_what_failed_names_the_source_s_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    (tmp_path / "modules" / "tuxmake").mkdir(parents=True)
    (tmp_path / "modules" / "tuxmake" / "__init__.py").touch()
    (tmp_path / "modules" / "tuxmake" / "__main__.py").write_text(TUXMAKE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr(ccache, "usable", lambda: installed)
    source, work, config = (tmp_path / name for name in ("source", "work", "config"))
    (source / "init").mkdir(parents=True)
    (source / "init" / "main.c").write_text("\nint\n")
    work.mkdir()
    config.write_text("CONFIG_XIP_KERNEL=y\n")
    tools = toolchain.Toolchain("gcc", "arm", (("ARCH", "arm"),), "gcc", "gcc 12")
    with pytest.raises(CellFailure, match=r"init/main\.c:2:1: error") as caught:
        compile.build_kernel(
            make_cell(),
            source,
            tools,
            config,
            work,
            jobs=1,
            timeout=60,
            ccache=True,
            initramfs=tmp_path / "initramfs.cpio",
        )
    assert caught.value.reason.startswith("init/" if installed else "../init/")
    assert ("-w ccache" in (work / "tuxmake" / "words").read_text()) == installed
    assert [path.name for path in source.iterdir()] == ["init"]
