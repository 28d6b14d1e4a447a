# SPDX-License-Identifier: GPL-2.0-only
"""Files that are complete or absent, children that never outlive us, YAML errors on one screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import Field

from xipmatrix.core import run, yamlfile
from xipmatrix.core.errors import InfrastructureError, UsageError
from xipmatrix.core.files import bytes_in, complete_dir, locked, share, write_atomic
from xipmatrix.core.template import Templates
from xipmatrix.matrix.model import Model
from xipmatrix.stagecache import StageCache


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    # No assertion on wall time: the loop ends as soon as the process does.
    for _ in range(600):
        if not alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


def test_bytes_are_counted_while_files_vanish(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(bytes(100))
    # Listed, and gone when it is looked at, as a pack that git renames.
    (tmp_path / "tmp_pack_U3DPYd").symlink_to(tmp_path / "gone")
    assert bytes_in(tmp_path) == 100
    assert bytes_in(tmp_path / "not-made-yet") == 0


def test_run_returns_output_and_status() -> None:
    done = run.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.output) == (3, "out\nerr\n")
    assert not done.ok


def test_run_check_raises_with_the_last_lines() -> None:
    with pytest.raises(InfrastructureError, match=r"exit status 1\n  because"):
        run.run(["sh", "-c", "echo because; exit 1"], check=True)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(InfrastructureError, match="no-such-program"):
        run.run(["no-such-program"])


def test_a_timeout_ends_the_whole_process_group(tmp_path: Path) -> None:
    child = tmp_path / "child"
    done = run.run(
        ["sh", "-c", f"sleep 1000 & echo $! > {child}; wait"], timeout=0.5, log=tmp_path / "log"
    )
    assert done.timed_out
    wait_until_gone(int(child.read_text()))


@pytest.mark.parametrize("told", [True, False])
def test_a_whole_process_tree_dies_with_us_even_after_kill_9(tmp_path: Path, told: bool) -> None:
    mark = tmp_path / "pids"
    # As tuxmake and make: the child goes at its death signal and leaves a grandchild behind.
    tree = f"(trap '' TERM; sleep 1000) & echo $$ $! > {mark}.tmp; mv {mark}.tmp {mark}; wait"
    script = (
        "from xipmatrix.core import run\n"
        "run.run(['true'])\n"
        # Untold is what the watchdog is where we die right after the start.
        f"if not {told}: run._tell_watchdog = lambda *words: None\n"
        f"run.run(['sh', '-c', {tree!r}], death_signal='TERM')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        while not mark.exists():
            assert parent.poll() is None
            time.sleep(0.02)
        pids = [int(word) for word in mark.read_text().split()]
        assert all(alive(pid) for pid in pids)
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    for pid in pids:
        wait_until_gone(pid)


def test_complete_dir_is_there_only_when_done(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(RuntimeError), complete_dir(place) as work:
        (work / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for content in ("one", "two"):
        with complete_dir(place) as work:
            (work / "whole").write_text(content)
    assert (place / "whole").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_what_a_killed_run_left_of_a_folder_goes_when_it_is_made_again(tmp_path: Path) -> None:
    other = tmp_path / ".partial-place-two-abcd1234"
    for folder in (tmp_path / ".partial-place-a_c0efgh", other):
        folder.mkdir()
        (folder / "half").write_text("x")
    with complete_dir(tmp_path / "place"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "place"]


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("links", [True, False])
def test_a_shared_file_is_never_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:

        def link(*_: object) -> None:
            raise OSError(1, "a disk without hard links")

        monkeypatch.setattr(os, "link", link)
    one, other, target = (tmp_path / name for name in ("one", "other", "target"))
    one.write_text("one")
    other.write_text("other")
    share(one, target)
    assert target.samefile(one) == links
    share(other, target)
    assert (one.read_text(), target.read_text()) == ("one", "other")


def test_a_lock_is_waited_for_and_said(tmp_path: Path) -> None:
    import threading

    said: list[str] = []
    order: list[str] = []
    inside = threading.Event()
    leave = threading.Event()

    def first() -> None:
        with locked(tmp_path / "x"):
            inside.set()
            leave.wait()
            order.append("first")

    def second() -> None:
        def say(text: str) -> None:
            said.append(text)
            leave.set()

        with locked(tmp_path / "x", say, "the thing"):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert order == ["first", "second"]
    assert said == ["waiting for another cell or run that makes the thing"]


def test_stage_cache_keeps_successes_only(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    made: list[int] = []

    def good(work: Path) -> None:
        made.append(1)
        (work / "result").write_text(str(len(made)))

    def bad(work: Path) -> None:
        (work / "result").write_text("half")
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        cache.get("build", {"a": 1}, bad)
    first = cache.get("build", {"a": 1}, good)
    assert not first.cached
    assert (first.folder / "result").read_text() == "1"
    assert cache.get("build", {"a": 1}, good).cached
    assert not cache.get("build", {"a": 2}, good).cached
    again = cache.get("build", {"a": 1}, good, again=True)
    assert (again.folder / "result").read_text() == "3"


class Small(Model):
    number: int
    inner: dict[str, int] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("number: [", r"x\.yaml:\d+: malformed YAML"),
        ("- 1\n", "mapping"),
        ("number: 1\nnumbr: 2\n", r"x\.yaml:2: numbr: unknown key; did you mean number\?"),
        ("inner: {}\n", r"x\.yaml:1: number: this key is required"),
        ("number: 1\ninner:\n  a: 1\n  b: q\n", r"x\.yaml:4: inner\.b: .*here: 'q'"),
        ("number: 1\nnumber: 2\n", "malformed YAML.*duplicate"),
        ("number: \x00\n", "malformed YAML"),
    ],
)
def test_yaml_errors_name_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        yamlfile.parse(text, Path("x.yaml"), Small)


def test_templates_are_strict_sandboxed_and_stay_inside(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    folder.mkdir()
    (tmp_path / "secret.j2").write_text("secret")
    (folder / "bad.j2").write_text("fine\n{{ nothing }}\n")
    (folder / "syntax.j2").write_text("fine\n\n{% if %}\n")
    (folder / "escape.j2").write_text("{{ ''.__class__.__mro__ }}")
    (folder / "include.j2").write_text("{% include '../secret.j2' %}")
    (folder / "link.j2").symlink_to(tmp_path / "secret.j2")
    templates = Templates([folder])
    for name, message in (
        ("bad.j2", r"bad\.j2:2: .*'nothing' is undefined"),
        ("syntax.j2", r"syntax\.j2:3"),
        ("escape.j2", "SecurityError"),
        ("include.j2", "TemplateNotFound"),
        ("link.j2", "leaves its folder"),
        ("absent.j2", "no such template"),
    ):
        with pytest.raises(UsageError, match=message):
            templates.render_file(name, {})
    assert templates.render_text("#if A {##x##}{{ n | hex }}", {"n": 16}, "here") == "#if A 0x10"
