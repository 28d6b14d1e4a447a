# SPDX-License-Identifier: GPL-2.0-only
"""The launcher: sets up once, again only when needed, installs only what it may."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[1] / "xipmatrix"

# Stands for python3, for .venv/bin/python, and for pip and xipmatrix in it.
PYTHON = """#!/bin/sh
echo "$*" >>"$FAKE_LOG"
case "$1 ${2-}" in
"-c "*) exit "${FAKE_UNUSABLE:-0}" ;;
"-V "*) echo "Python ${FAKE_VERSION:-3.11.99}" ;;
"-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
"-m pip")
    sleep "${FAKE_SLEEP:-0}"
    [ -z "${FAKE_PIP_FAILS-}" ] || { echo "No matching distribution"; exit 1; } ;;
"-m xipmatrix"*) echo "cli:$* install:${XIPMATRIX_INSTALL-unset}" ;;
esac
"""
OTHERS = {
    "id": 'echo "${FAKE_UID:-0}"',
    "sudo": 'echo "sudo $*" >>"$FAKE_LOG"; "$@"',
    "apt-cache": "exit 1",
    "apt-get": """echo "apt-get $*" >>"$FAKE_LOG"
case "$*" in
*install*) [ -z "${FAKE_APT_FAILS-}" ] || exit 100; cp "$FAKE_GIT" "$FAKE_BIN/git" ;;
esac""",
}

Start = Callable[..., subprocess.CompletedProcess[str]]


class Project:
    """A copy of the launcher in a folder of its own, with programs that only take notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "the project"
        self.folder.mkdir()
        shutil.copy(LAUNCHER, self.folder)
        (self.folder / "pyproject.toml").write_text("[project]\n")
        self.bin = folder / "bin"
        self.bin.mkdir()
        # Only these are found: whether the machine has git or a Python says nothing here.
        for name in (
            "sh",
            "env",
            "cat",
            "cp",
            "cut",
            "dirname",
            "flock",
            "mkdir",
            "mv",
            "readlink",
            "rm",
            "sha256sum",
            "sleep",
            "tail",
        ):
            found = shutil.which(name)
            assert found
            (self.bin / name).symlink_to(found)
        self.put("python3", PYTHON)
        for name, script in OTHERS.items():
            self.put(name, f"#!/bin/sh\n{script}\n")
        self.git = folder / "git"
        self.git.write_text("#!/bin/sh\n")
        self.git.chmod(0o755)
        shutil.copy(self.git, self.bin / "git")
        self.log = folder / "log"
        self.log.touch()

    def put(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def environment(self, **extra: str) -> dict[str, str]:
        return {
            "PATH": str(self.bin),
            "PYTHON": str(self.bin / "python3"),
            "FAKE_LOG": str(self.log),
            "FAKE_BIN": str(self.bin),
            "FAKE_GIT": str(self.git),
            **extra,
        }

    def start(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.folder / "xipmatrix", *words],
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def notes(self, start: str) -> list[str]:
        """What was noted that begins so, since the last time."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith(start)]
        self.log.write_text("")
        return lines


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_it_sets_up_once(project: Project) -> None:
    first = project.start("build", "--arch", "arm riscv")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "cli:-m xipmatrix build --arch arm riscv install:unset\n"
    assert "setting up" in first.stderr
    pip = project.notes("-m pip")
    assert len(pip) == 1 and pip[0].endswith(f"--editable {project.folder}")
    second = project.start("list")
    assert (second.stdout, second.stderr) == ("cli:-m xipmatrix list install:unset\n", "")
    assert project.notes("-m pip") == []


def test_completing_a_word_sets_nothing_up(project: Project) -> None:
    done = project.start(_XIPMATRIX_COMPLETE="bash_complete")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert project.notes("-m") == []
    project.start("list")
    assert project.start(_XIPMATRIX_COMPLETE="bash_complete").stdout.startswith("cli:")


def test_it_works_through_a_link_and_from_elsewhere(project: Project, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project.folder / "xipmatrix")
    done = subprocess.run(
        [tmp_path / "link", "list"], env=project.environment(), cwd="/", capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("cli:")
    assert (project.folder / ".venv" / "stamp").is_file()


def test_new_requirements_another_python_and_a_moved_folder_count(project: Project) -> None:
    project.start("list")
    project.notes("")
    (project.folder / "pyproject.toml").write_text("[project]\nnew\n")
    assert project.start("list").returncode == 0
    assert len(project.notes("-m pip")) == 1
    assert project.start("list", FAKE_VERSION="3.12.1").returncode == 0
    assert len(project.notes("-m pip")) == 1
    marker = project.folder / ".venv" / "marker"
    marker.touch()
    project.folder = project.folder.rename(project.folder.with_name("moved"))
    assert project.start("list", FAKE_VERSION="3.12.1").returncode == 0
    assert len(project.notes("-m pip")) == 1
    assert not (project.folder / ".venv" / "marker").exists()


def test_a_set_up_that_was_killed_starts_anew(project: Project) -> None:
    project.start("list")
    (project.folder / ".venv" / "stamp").unlink()
    half = project.folder / ".venv" / "half"
    half.touch()
    project.notes("")
    assert project.start("list").returncode == 0
    assert len(project.notes("-m pip")) == 1
    assert not half.exists()


def test_a_pip_that_fails_is_said_and_tried_again(project: Project) -> None:
    failed = project.start("list", FAKE_PIP_FAILS="1")
    assert failed.returncode == 3
    assert "No matching distribution" in failed.stderr
    assert "hint:" in failed.stderr and "pip.log" in failed.stderr
    assert failed.stdout == ""
    assert project.start("list").returncode == 0


def test_two_starts_at_once_set_up_once(project: Project) -> None:
    both = [
        subprocess.Popen(
            [project.folder / "xipmatrix", "list"],
            env=project.environment(FAKE_SLEEP="0.5"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(project.notes("-m pip")) == 1
    assert "waiting for another start" in said[0][1] + said[1][1]


@pytest.mark.parametrize(
    ("words", "passed"),
    [(["--yes", "list"], "yes"), (["--no-install", "list"], "no"), (["list"], "unset")],
)
def test_the_policy_is_passed_on(project: Project, words: list[str], passed: str) -> None:
    assert project.start(*words).stdout == f"cli:-m xipmatrix list install:{passed}\n"


def test_the_test_command_has_its_extra(project: Project) -> None:
    project.start("list")
    project.notes("")
    done = project.start("test", "-e", "unit")
    assert done.stdout == "cli:-m xipmatrix.cli.test -e unit install:unset\n"
    assert project.notes("-m pip")[0].endswith("[test]")
    project.start("test")
    project.start("list")
    assert project.notes("-m pip") == []


COMMAND = "apt-get install --yes --no-install-recommends git"


def test_missing_packages_are_installed_by_root(project: Project) -> None:
    (project.bin / "git").unlink()
    done = project.start("list")
    assert done.returncode == 0, done.stderr
    assert project.notes("apt-get") == [
        "apt-get -qq update",
        "apt-get -qq install --yes --no-install-recommends git",
    ]


@pytest.mark.parametrize(
    ("words", "extra", "command"),
    [
        (["--no-install"], {}, COMMAND),
        ([], {"FAKE_UID": "1000"}, f"sudo {COMMAND}"),
        (["--no-install"], {"FAKE_UID": "1000", "CI": "true"}, f"sudo {COMMAND}"),
    ],
)
def test_what_may_not_be_installed_is_printed(
    project: Project, words: list[str], extra: dict[str, str], command: str
) -> None:
    (project.bin / "git").unlink()
    done = project.start(*words, "list", **extra)
    assert done.returncode == 3
    assert f"hint: {command}\n" in done.stderr
    assert project.notes("apt-get") == []


@pytest.mark.parametrize("how", [["--yes"], []])
def test_sudo_without_a_question(project: Project, how: list[str]) -> None:
    (project.bin / "git").unlink()
    extra = {} if how else {"CI": "true"}
    assert project.start(*how, "list", FAKE_UID="1000", **extra).returncode == 0
    assert len(project.notes("sudo env DEBIAN_FRONTEND=noninteractive apt-get")) == 2


def test_an_apt_that_fails_and_no_apt_and_no_sudo(project: Project) -> None:
    (project.bin / "git").unlink()
    done = project.start("list", FAKE_APT_FAILS="1")
    assert done.returncode == 3
    assert "could not install git" in done.stderr
    (project.bin / "sudo").unlink()
    done = project.start("--yes", "list", FAKE_UID="1000")
    assert done.returncode == 3
    assert "there is no sudo" in done.stderr and f"as root: {COMMAND}" in done.stderr
    (project.bin / "apt-get").unlink()
    done = project.start("list")
    assert done.returncode == 3
    assert "no Debian or Ubuntu system" in done.stderr
