# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a user meets it: help, errors on one screen, exit codes, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from conftest import ROOT
from kernel_trees import fingerprint, git, make_repository

COMMANDS = [
    *("list", "build", "boot", "bisect", "verify", "series", "show", "report", "runs", "compare"),
    *("prune", "merge", "durations", "ci", "doctor", "clean", "schema", "completion"),
]
ENDS = ("--kernel", "/nowhere", "--good", "v1", "--bad", "v2")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache and state are empty."""
    return {
        **os.environ,
        "XIPMATRIX_CACHE": str(tmp_path / "cache"),
        "XIPMATRIX_STATE": str(tmp_path / "state"),
        "XIPMATRIX_INSTALL": "no",
        "COLUMNS": "100",
    }


def cli(
    *words: str, env: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "xipmatrix", *words],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, home: dict[str, str]) -> None:
    done = cli(command, "--help", env=home)
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert f"xipmatrix {command}" in done.stdout


def test_the_main_help_lists_every_command(home: dict[str, str]) -> None:
    done = cli("--help", env=home)
    assert all(f"\n  {command} " in done.stdout for command in COMMANDS)
    assert "Exit codes" in done.stdout


def test_list_and_dry_run_name_the_smoke_cells(home: dict[str, str]) -> None:
    smoke = "7.3/arm/virt/tiny/gcc\n7.3/riscv/virt/tiny/gcc\n"
    assert cli("list", env=home).stdout == smoke
    assert cli("build", "--arch", "arm,riscv", "--dry-run", env=home).stdout == smoke
    both = [cli("list", "--shard", f"{number}/2", env=home).stdout for number in (1, 2)]
    assert "".join(sorted(both)) == smoke


def test_list_names_known_failures(home: dict[str, str], tmp_path: Path) -> None:
    matrix = YAML(typ="safe").load(ROOT / "matrix.yaml")
    known = {"cell": "6.12/riscv/virt/*", "verdict": ["boot-silent"], "reason": "broken there"}
    matrix["known_failures"] = [{**known, "expires": "2999-12-31"}]
    with (tmp_path / "matrix.yaml").open("w") as stream:
        YAML().dump(matrix, stream)
    words = ("list", "--matrix", str(tmp_path / "matrix.yaml"), "--profile", "nightly", "--known")
    rows = json.loads(cli(*words, "--json", env=home).stdout)
    assert [(row["cell"], row["reason"]) for row in rows] == [
        ("6.12/riscv/virt/tiny/gcc", "broken there")
    ]


def test_what_changes_nothing_loads_little(home: dict[str, str]) -> None:
    script = (
        "import sys\n"
        "from xipmatrix import cli\n"
        "sys.argv = ['xipmatrix', 'list']\n"
        "try: cli.main()\n"
        "except SystemExit: print([name for name in sys.modules if name in %r])\n"
    )
    slow = ("xipmatrix.kernel", "xipmatrix.pipeline", "rich", "numpy", "tuxmake", "urllib.request")
    done = subprocess.run(
        [sys.executable, "-c", script % (slow,)], env=home, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_cells_that_are_kept_need_no_numpy() -> None:
    script = "import sys, xipmatrix.pipeline, xipmatrix.cli.build; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["False"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["biuld"], 2, "Did you mean build"),
        (["build", "--bord", "x"], 2, "No such option"),
        (["build", "--arch", "amr"], 2, "unknown architecture 'amr'"),
        (["build", "--kernel", "7.33"], 2, "did you mean 7.3"),
        (["build", "--board", "vert"], 2, "did you mean virt"),
        (["build", "--cell", "7.3/arm/virt/tiny/gc"], 2, "did you mean 7.3/arm/virt/tiny/gcc"),
        (["build", "--profile", "nigthly"], 2, "did you mean nightly"),
        (["build", "--until", "never"], 2, "until"),
        (["build", "--jobs", "0"], 2, "jobs"),
        (["build", "--shard", "3/2"], 2, "there are the shards 1/2 to 2/2"),
        (["build", "--durations", "x.json"], 2, "--durations is for --shard"),
        (["list", "--shard", "1/2", "--durations", "/nowhere/x.json"], 2, "no such file"),
        (["merge", "/nowhere"], 2, "/nowhere: no such folder"),
        (["merge"], 2, "Missing argument"),
        (["build", "--matrix", "/nowhere/matrix.yaml"], 2, "/nowhere/matrix.yaml: no such file"),
        (["show", "7.3/arm/virt/tiny/gcc"], 2, "no result of 7.3/arm/virt/tiny/gcc is stored"),
        (["boot", "7.3/arm/virt/tinny/gcc"], 2, "unknown cell"),
        (["boot", "7.3/*"], 2, "'7.3/*' is more than one cell"),
        (["boot", ""], 2, "unknown cell ''"),
        (["boot", "x", "--silence", "0"], 2, "silence"),
        (["build", "--silence", "-5"], 2, "silence"),
        (["build", "--boot-limit", "0"], 2, "boot-limit"),
        (["build", "--boot-limit", "nan"], 2, "boot-limit"),
        (["build", "--arch", ""], 2, "no name is given"),
        (["build", "--board", "virt,"], 2, "no name is given"),
        (["build", "--kernel", ""], 2, "no name is given"),
        (["series", "--arch", ""], 2, "no name is given"),
        (["bisect", "7.3/arm/virt/tinny/gcc", *ENDS], 2, "unknown cell"),
        (["bisect", "7.3/arm/*", *ENDS], 2, "cells: a search is about one"),
        (["bisect", "7.3/arm/virt/tiny/gcc", *ENDS], 2, "/nowhere: no such folder"),
        (["bisect", "7.3/arm/virt/tiny/gcc"], 2, "Missing option '--kernel'"),
        (["verify", "--vmlinux", __file__], 2, "'--board'"),
        (["verify", "--board", "arm/virt", "--vmlinux", "/nowhere"], 2, "/nowhere' does not exist"),
        (["verify", "--board", "arm/vrt", "--vmlinux", __file__], 2, "did you mean arm/virt"),
        (["verify", "--board", "arm/virt", "--vmlinux", __file__], 2, "no xipImage beside it"),
        (
            ["verify", "--board", "arm/virt", "--vmlinux", __file__, "--image", __file__],
            2,
            "is no ELF file",
        ),
        (["series", "--arch", "risc"], 2, "unknown series 'risc'"),
        (["completion", "tcsh"], 2, "tcsh"),
    ],
)
def test_bad_usage_is_one_screen_and_exit_2(
    words: list[str], code: int, message: str, home: dict[str, str]
) -> None:
    done = cli(*words, env=home)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) < 24


@pytest.mark.parametrize("command", ["build", "series"])
def test_a_path_that_is_no_kernel_is_refused(
    command: str, home: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    done = cli(command, "--kernel", str(tmp_path / "notes"), env=home)
    assert done.returncode == 2
    assert "not a Linux kernel source tree" in done.stderr
    assert str(tmp_path / "notes") in done.stderr


def test_a_malformed_matrix_names_file_line_and_key(home: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text("schema: 1\nkernels: {}\nbords: {}\n")
    done = cli("build", "--matrix", str(path), env=home)
    assert done.returncode == 2
    assert f"{path}:3: bords: unknown key; did you mean boards" in done.stderr


def test_missing_tools_are_exit_3_and_name_the_package(
    home: dict[str, str], tmp_path: Path
) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    for tool in ("sh", "setpriv", "git", "cat"):
        (empty / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    done = cli("build", env={**home, "PATH": str(empty)})
    # Without dpkg this is no Debian system: the missing program is named where it is used.
    assert done.returncode == 3
    assert "no Debian" in done.stderr or "not installed" in done.stderr + done.stdout


def test_a_read_only_state_is_infrastructure(home: dict[str, str], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = cli("build", env={**home, "XIPMATRIX_STATE": str(blocked)})
    assert done.returncode == 3
    assert str(blocked) in done.stderr or "not installed" in done.stderr


@pytest.mark.parametrize(
    ("which", "files", "wrong"),
    [
        ("matrix", "matrix.yaml", {"boards": {"arm": {"virt": {"ram_base": "64X"}}}}),
        ("arch", "templates/*/arch.yaml", {"kernel_virtual_base": -1}),
        ("series", "templates/*/series.yaml", {"patches": [{"subject": "s"}]}),
    ],
)
def test_schemas_take_our_own_files_and_no_others(
    which: str, files: str, wrong: dict[str, object], home: dict[str, str]
) -> None:
    schema = json.loads(cli("schema", "--for", which, env=home).stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    found = sorted(Path(__file__).parents[1].glob(files))
    assert found
    for path in found:
        # As an editor sees it: JSON has no dates.
        data = json.loads(json.dumps(YAML(typ="safe").load(path), default=str))
        assert [error.message for error in validator.iter_errors(data)] == []
        (first,) = wrong
        said = [error.json_path for error in validator.iter_errors({**data, **wrong})]
        assert any(place.startswith(f"$.{first}") for place in said)


def test_bash_completes_with_the_script(home: dict[str, str], tmp_path: Path) -> None:
    program = tmp_path / "xipmatrix"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m xipmatrix "$@"\n')
    program.chmod(0o755)
    # What bash sets when it calls the function that the script registers.
    typed = f"""
        compopt() {{ :; }}
        complete -p xipmatrix
        COMP_WORDS=({program} build --until b) COMP_CWORD=3
        _xipmatrix_completion {program}
        echo "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "-c", cli("completion", "bash", env=home).stdout + typed],
        env=home,
        capture_output=True,
        text=True,
        check=True,
    )
    registered, offered = done.stdout.splitlines()
    assert registered.endswith("-F _xipmatrix_completion xipmatrix")
    assert offered == "build boot"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_completes(shell: str, home: dict[str, str]) -> None:
    assert "_XIPMATRIX_COMPLETE" in cli("completion", shell, env=home).stdout
    done = cli(
        env={
            **home,
            "_XIPMATRIX_COMPLETE": "bash_complete",
            "COMP_WORDS": "xipmatrix b",
            "COMP_CWORD": "1",
        }
    )
    assert done.stdout == "plain,build\nplain,boot\nplain,bisect\n"


def test_a_bisect_with_a_wrong_ref_names_near_ones(home: dict[str, str], tmp_path: Path) -> None:
    tree = make_repository(tmp_path / "linux")
    words = ("7.3/arm/virt/tiny/gcc", "--kernel", str(tree), "--good", "v7.4", "--bad", "main")
    done = cli("bisect", *words, env=home)
    assert done.returncode == 2
    assert "there is no commit 'v7.4'" in done.stderr
    assert "did you mean v7.3" in done.stderr


def test_a_bad_end_that_no_series_is_for_is_judged_and_the_log_kept(
    home: dict[str, str], tmp_path: Path
) -> None:
    tree = make_repository(tmp_path / "linux")  # no riscv in it: not-applicable
    git(tree, "commit", "-q", "--allow-empty", "-m", "second")
    before = fingerprint(tree)
    words = ("7.3/riscv/virt/tiny/gcc", "--kernel", str(tree), "--good", "v7.3", "--bad", "main")
    done = cli("bisect", *words, env=home)
    if "not installed" in done.stderr:
        pytest.skip("takes the packages of riscv")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "the good end v7.3" in done.stderr
    assert "is bad: series-conflict" in done.stderr
    assert cli("bisect", *words, "--log", env=home).returncode == 0
    again = cli("bisect", *words, env=home)
    assert again.stdout.count(": known") == 2
    assert cli("bisect", *words, "--restart", env=home).stdout.count(": known") == 0
    assert fingerprint(tree) == before


def test_clean_removes_what_it_says_and_no_more(home: dict[str, str], tmp_path: Path) -> None:
    cache, state = tmp_path / "cache", tmp_path / "state"
    for folder in (
        cache / "stages" / "build" / "key",
        cache / "sources" / "0123",
        cache / "bisect" / "0123",
        cache / "kernels" / "one" / "git",
        cache / "kernels" / ".partial-two",
        cache / "kernels" / "known",
        state / "runs" / "20260101T000000-1",
        state / "runs" / "20260102T000000-1",
    ):
        folder.mkdir(parents=True)
    assert "would remove" in cli("clean", "--dry-run", env=home).stdout
    assert (cache / "stages").exists()
    assert cli("clean", env=home).returncode == 0
    assert not (cache / "stages").exists()
    assert not (cache / "sources").exists()
    assert not (cache / "bisect").exists()
    assert not (cache / "kernels" / ".partial-two").exists()
    assert (cache / "kernels" / "known").exists()
    assert cli("clean", "--known", env=home).returncode == 0
    assert not (cache / "kernels" / "known").exists()
    assert (cache / "kernels" / "one" / "git").exists()
    cli("prune", "--keep", "1", env=home)
    assert [path.name for path in (state / "runs").iterdir()] == ["20260102T000000-1"]
    cli("clean", "--all", env=home)
    assert not cache.exists()
    assert not state.exists()


def test_a_full_disk_says_which_it_may_be(home: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xipmatrix", "list"],
            env=home,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert f"{home['XIPMATRIX_STATE']} or what the output goes to: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_our_own_is_a_line_and_a_file(home: dict[str, str], tmp_path: Path) -> None:
    script = (
        "from xipmatrix import cli\n"
        "from xipmatrix.store import Store\n"
        "def broken(*words, **more): raise ZeroDivisionError('no such thing')\n"
        "Store.last_result = broken\n"
        "import sys; sys.argv = ['xipmatrix', 'show', 'x']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "internal error: ZeroDivisionError: no such thing" in done.stderr
    (crash,) = (tmp_path / "state").glob("crash-*.log")
    assert "Traceback" in crash.read_text()
    assert str(crash) in done.stderr


def test_report_writes_pages_and_says_where(home: dict[str, str], tmp_path: Path) -> None:
    from html_support import nightly, run_row

    nightly(tmp_path / "state", days=2)
    first, second = (f"{run_row(day).id}.html" for day in (1, 2))
    html = tmp_path / "state" / "html"
    done = cli("report", env=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(html / second), str(html / "index.html")]
    assert sorted(path.name for path in html.iterdir()) == [second, "index.html"]
    done = cli("report", run_row(1).id[:8], "-o", str(tmp_path / "one"), env=home)
    assert done.stdout.splitlines()[0] == str(tmp_path / "one" / first)
    for words in (("20251231",), (run_row(1).id, "--all")):
        assert cli("report", *words, env=home).returncode == 2
    done = cli("report", "--all", "-o", str(tmp_path / "all"), env=home)
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        first,
        second,
        "index.html",
    ]


def test_report_of_an_empty_store_is_a_usage_error(home: dict[str, str]) -> None:
    done = cli("report", env=home)
    assert done.returncode == 2
    assert "there is no run latest: 0 are stored" in done.stderr
