# SPDX-License-Identifier: GPL-2.0-only
"""Compilers and builds: what is missing or breaks is named, and nobody else is blamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from machine_support import make_cell
from xipmatrix.build import compile as compiling
from xipmatrix.build import toolchain
from xipmatrix.core import run
from xipmatrix.core.errors import InfrastructureError, UsageError
from xipmatrix.core.evidence import CellFailure, Verdict
from xipmatrix.machine import qemu


def test_a_missing_compiler_names_its_package() -> None:
    cell = make_cell(
        arch={
            "tuxmake_arch": "hexagon",
            "toolchains": {"gcc": {"packages": ["gcc-hexagon-linux-gnu"]}},
        }
    )
    with pytest.raises(InfrastructureError, match=r"hexagon.*-gcc' is not installed") as caught:
        toolchain.of_cell(cell)
    assert caught.value.hint == "apt-get install gcc-hexagon-linux-gnu"


def test_an_architecture_that_tuxmake_does_not_know() -> None:
    with pytest.raises(UsageError, match="tuxmake does not know"):
        toolchain.of_cell(make_cell(arch={"tuxmake_arch": "z80"}))


def test_a_missing_qemu_is_infrastructure() -> None:
    with pytest.raises(InfrastructureError, match="'qemu-system-z80' is not installed"):
        qemu.version("qemu-system-z80")


FAKE_TUXMAKE = """\
import json, os, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
out.mkdir()
(out / "build.log").write_text({log!r})
targets = {{"config": {{"status": {before!r}}}, "make:xipImage": {{"status": {status!r}}}}}
(out / "metadata.json").write_text(json.dumps({{"results": {{"targets": targets}}}}))
sys.exit({code})
"""


@pytest.mark.parametrize(
    ("before", "status", "code", "log", "verdict"),
    [
        # tuxmake may skip a target, with exit status 0 all the same.
        ("PASS", "SKIP", 0, "", Verdict.BUILD_FAILED),
        ("FAIL", "SKIP", 1, "a.c:1:1: error: no\n", Verdict.BUILD_FAILED),
        ("PASS", "FAIL", 1, "a.c:1:1: error: no\n", Verdict.BUILD_FAILED),
        ("PASS", "FAIL", 0, "a.c:1:1: error: no\n", Verdict.BUILD_FAILED),
        ("PASS", "PASS", 0, "", Verdict.BUILD_FAILED),  # says so, and left no image
    ],
)
def test_neither_exit_status_nor_status_is_believed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    status: str,
    code: int,
    log: str,
    verdict: Verdict,
) -> None:
    build_with(tmp_path, monkeypatch, status, code, log, before)
    with pytest.raises(CellFailure) as caught:
        build(tmp_path)
    assert caught.value.verdict is verdict
    if log:
        assert "a.c:1:1: error: no" in caught.value.reason


def test_a_full_disk_in_a_build_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = "fatal error: error writing to a.o: No space left on device\n"
    build_with(tmp_path, monkeypatch, "FAIL", 1, log)
    with pytest.raises(InfrastructureError, match="disk is full"):
        build(tmp_path)


@pytest.mark.parametrize(
    "recipe", ["kill -KILL $$$$", "kill -TERM $$$$"], ids=["SIGKILL", "SIGTERM"]
)
def test_a_build_that_was_killed_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    (tmp_path / "Makefile").write_text(f"all:\n\t@{recipe}\n")
    said = run.run(["make", "-C", tmp_path]).output  # what make itself says of it
    build_with(tmp_path, monkeypatch, "FAIL", 1, said)
    with pytest.raises(InfrastructureError, match=r"ended from outside: .*(Killed|Terminated)"):
        build(tmp_path)


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ("received signal 15; terminating ...\n", 1),
        ("gcc: fatal error: Killed signal terminated program cc1\n", 1),
        ("", "os.kill(os.getpid(), 9)"),
    ],
)
def test_tuxmake_or_a_compiler_that_was_killed_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, code: object
) -> None:
    build_with(tmp_path, monkeypatch, "FAIL", code, log)
    with pytest.raises(InfrastructureError, match="ended from outside"):
        build(tmp_path)


def build_with(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    code: object,
    log: str,
    before: str = "PASS",
) -> None:
    module = tmp_path / "modules" / "tuxmake"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "__main__.py").write_text(
        FAKE_TUXMAKE.format(before=before, status=status, code=code, log=log)
    )
    monkeypatch.setenv("PYTHONPATH", str(module.parent))


def test_a_config_without_xip_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(CellFailure, match="no CONFIG_XIP_KERNEL=y") as caught:
        build(tmp_path, "# CONFIG_XIP_KERNEL is not set\n")
    assert caught.value.verdict is Verdict.CONFIG_DROPPED


def build(tmp_path: Path, config: str = "CONFIG_XIP_KERNEL=y\n") -> None:
    tools = toolchain.Toolchain("gcc", "arm", (("ARCH", "arm"),), "gcc", "gcc 12")
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "config").write_text(config)
    archive = tmp_path / compiling.INITRAMFS
    archive.touch()
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
    )
