# SPDX-License-Identifier: GPL-2.0-only
"""Packages of the machine: what is missing, what may be installed, what the check-up says."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from xipmatrix.core import host
from xipmatrix.core.errors import InfrastructureError
from xipmatrix.core.files import quiet
from xipmatrix.matrix.model import Arch

ARCH = Arch.model_validate(
    {
        "kernel_arch": "arm",
        "tuxmake_arch": "arm",
        "elf_machine": "EM_ARM",
        "xip_image": "x",
        "packages": ["qemu-system-arm"],
        "toolchains": {"gcc": {"packages": ["gcc-arm"]}, "clang": {"packages": ["clang", "lld"]}},
        "kernel_virtual_base": 0,
        "init": {"text_virtual_address": 0},
    }
)


def test_packages_are_those_of_all_and_of_the_chosen_toolchain() -> None:
    names = host.packages_for([(ARCH, "gcc"), (ARCH, "gcc")])
    assert {"make", "bc", "git", "qemu-system-arm", "gcc-arm"} <= set(names)
    assert "clang" not in names
    assert len(names) == len(set(names))
    assert {"clang", "lld", "gcc-arm"} <= set(host.all_packages([ARCH]))


def test_what_an_installed_package_provides_is_there() -> None:
    listing = (
        "installed|qemu-system-misc|qemu-system-riscv64 (= 1:7.2), qemu-system-sh4\n"
        "config-files|bc|\ninstalled|make|\nnot-installed|gcc|\n"
    )
    assert host.installed_names(listing) == {
        "qemu-system-misc",
        "qemu-system-riscv64",
        "qemu-system-sh4",
        "make",
    }


class Machine:
    """dpkg, apt and sudo that only take notes, on a PATH of their own."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        self.log.touch()
        self.installed = folder / "installed"
        self.installed.write_text("installed|make|\n")
        for name in ("sh", "setpriv", "env", "cat", "cp", "sleep"):
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        self.put("dpkg-query", f"cat {self.installed}")
        self.put("apt-cache", 'shift; for one; do echo "$one:"; done')
        self.works()
        self.put("sudo", f'echo "sudo $*" >>{self.log}; "$@"')

    def put(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def works(self) -> None:
        add = f'for one; do echo "installed|$one|" >>{self.installed}; done'
        self.put("apt-get", f'echo "apt-get $*" >>{self.log}; [ "$2" = update ] || {{ {add}; }}')

    @property
    def notes(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("XIPMATRIX_INSTALL", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


def test_nothing_is_done_where_nothing_is_missing(machine: Machine) -> None:
    host.ensure_packages(["make"], quiet)
    assert machine.notes == []


def test_root_installs_what_is_missing(machine: Machine) -> None:
    said: list[str] = []
    host.ensure_packages(["make", "bc", "flex"], said.append)
    assert machine.notes == ["apt-get install --yes --no-install-recommends bc flex"]
    assert said[0] == "installing 2 packages: bc flex"


def test_lists_are_updated_first_where_a_package_is_not_known(machine: Machine) -> None:
    machine.put("apt-cache", "exit 0")
    host.ensure_packages(["bc"], quiet)
    assert machine.notes == [
        "apt-get -q update",
        "apt-get install --yes --no-install-recommends bc",
    ]


def test_no_install_names_the_command(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XIPMATRIX_INSTALL", "no")
    with pytest.raises(InfrastructureError, match="not installed: bc flex") as caught:
        host.ensure_packages(["make", "bc", "flex"], quiet)
    assert caught.value.hint == "apt-get install --yes --no-install-recommends bc flex"
    assert caught.value.exit_code == 3
    assert machine.notes == []


def test_a_user_without_a_terminal_gets_the_command(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InfrastructureError) as caught:
        host.ensure_packages(["bc"], quiet)
    assert caught.value.hint == "sudo apt-get install --yes --no-install-recommends bc"
    assert machine.notes == []


@pytest.mark.parametrize(("name", "value"), [("XIPMATRIX_INSTALL", "yes"), ("CI", "true")])
def test_sudo_is_used_where_it_may(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv(name, value)
    host.ensure_packages(["bc"], quiet)
    assert machine.notes[0].startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install")
    (machine.bin / "sudo").unlink()
    with pytest.raises(InfrastructureError, match="there is no sudo") as caught:
        host.ensure_packages(["flex"], quiet)
    assert caught.value.hint.startswith("as root: apt-get install")


@pytest.mark.parametrize(
    ("answer", "installs"), [("\n", True), ("y\n", True), ("n\n", False), ("", False)]
)
def test_the_user_is_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, answer: str, installs: bool
) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

        def write(self, _text: str) -> None: ...
        def flush(self) -> None: ...

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    if installs:
        host.ensure_packages(["bc"], quiet)
    else:
        with pytest.raises(InfrastructureError, match="not installed: bc"):
            host.ensure_packages(["bc"], quiet)
    assert bool(machine.notes) == installs


def test_an_apt_that_fails_is_quoted(machine: Machine) -> None:
    machine.put("apt-get", "echo 'E: Unable to locate package bc'; exit 100")
    with pytest.raises(InfrastructureError, match="Unable to locate package bc"):
        host.ensure_packages(["bc"], quiet)


def test_an_apt_that_says_yes_and_does_nothing_is_not_believed(machine: Machine) -> None:
    machine.put("apt-get", "exit 0")
    with pytest.raises(InfrastructureError, match="still not installed: bc"):
        host.ensure_packages(["bc"], quiet)


def test_another_system_is_told_what_is_needed(machine: Machine) -> None:
    (machine.bin / "dpkg-query").unlink()
    said: list[str] = []
    host.ensure_packages(["bc", "flex"], said.append)
    assert "no Debian or Ubuntu" in said[0] and "bc flex" in said[0]


def test_doctor_finds_what_is_wrong(machine: Machine, tmp_path: Path) -> None:
    machine.put("arm-gcc", "echo 'arm-gcc 12.2.0'")
    machine.put("qemu-system-arm", "echo 'QEMU emulator version 7.2.1'")
    machine.put("qemu-system-x", "echo 'QEMU emulator version 9.0'; echo '-plugin file'")
    checks = {
        one.name: one for one in host.doctor([ARCH], tmp_path / "new" / "cache", ["qemu-system-x"])
    }
    assert checks["python"].ok
    assert not checks["packages"].ok and "bc" in checks["packages"].fix
    assert checks["arm-gcc"].detail == "arm-gcc 12.2.0"
    assert not checks["clang"].ok and "clang" in checks["clang"].fix
    assert checks["qemu-system-x"].ok and "9.0" in checks["qemu-system-x"].detail
    assert checks["disk"].name == "disk" and "GiB" in checks["disk"].detail
    assert {"memory", "cores", "ccache"} <= set(checks)
    by_package = {one.name: one for one in host.doctor([ARCH], tmp_path)}
    assert not by_package["qemu-system-arm"].ok
    assert "without TCG plugins" in by_package["qemu-system-arm"].detail
    assert not [one for one in checks.values() if not one.ok and not one.fix]
    assert machine.notes == []
