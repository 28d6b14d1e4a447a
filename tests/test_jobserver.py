# SPDX-License-Identifier: GPL-2.0-only
"""One jobserver for several makes: never more jobs than tokens, and none is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from xipmatrix.build.jobserver import Jobserver
from xipmatrix.core import run

# Each job notes its begin and end. With a file HOLD they wait until that is gone.
MAKEFILE = """\
.PHONY: all sub
JOBS := $(addprefix job-,$(shell seq $(COUNT)))
all: sub
sub:
	+@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) $(JOBS)
$(JOBS):
	@echo begin >> $(LOG); sleep 0.02; while [ -e $(LOG).hold ]; do sleep 0.02; done; \\
	echo end >> $(LOG)
"""


@pytest.fixture
def makefile(tmp_path: Path) -> Path:
    path = tmp_path / "Makefile"
    path.write_text(MAKEFILE)
    return path


def words(makefile: Path, log: Path, count: int) -> list[str]:
    """As tuxmake calls it: with jobs of its own."""
    return ["make", "-f", str(makefile), "--jobs=64", f"COUNT={count}", f"LOG={log}"]


def running(*logs: Path) -> int:
    """How many jobs have begun and not ended."""
    lines = [line for log in logs if log.exists() for line in log.read_text().split()]
    return lines.count("begin") - lines.count("end")


def most_at_once(log: Path) -> int:
    now = most = 0
    for line in log.read_text().split():
        now += 1 if line == "begin" else -1
        most = max(most, now)
    return most


def eventually(holds: object, *, patience: float = 60.0) -> None:
    """Wait until the condition `holds`, which is called, is true."""
    assert callable(holds)
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


def all_idle(jobserver: Jobserver) -> bool:
    return jobserver.idle == jobserver.jobs


@contextmanager
def held(log: Path) -> Iterator[Path]:
    """Jobs with this log begin, and do not end before the block does."""
    hold = log.with_name(f"{log.name}.hold")
    hold.touch()
    try:
        yield hold
    finally:
        hold.unlink(missing_ok=True)


def make_of(group: int) -> list[int]:
    """The makes in a process group, the outermost first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "make" and int(rest.split()[2]) == group:
            found.append(int(folder.name))
    return sorted(found)


def test_one_make_has_all_jobs_and_no_more(tmp_path: Path, makefile: Path) -> None:
    jobserver, log = Jobserver(3), tmp_path / "log"
    with (
        jobserver.build() as env,
        held(log) as hold,
        run.start(words(makefile, log, 9), env=env, stdout=subprocess.PIPE) as make,
    ):
        eventually(lambda: running(log) == 3)
        assert jobserver.idle == 0
        hold.unlink()
        assert make.stdout is not None
        said = make.stdout.read().decode()
        assert make.wait() == 0
    assert said == ""  # no warning that a jobserver was reset or is not there
    assert most_at_once(log) == 3
    assert log.read_text().split().count("end") == 9
    assert all_idle(jobserver)


def test_without_it_make_does_as_it_is_told(tmp_path: Path, makefile: Path) -> None:
    """The control: the makefile alone runs more at a time."""
    log = tmp_path / "log"
    with held(log) as hold, run.start(words(makefile, log, 9)) as make:
        eventually(lambda: running(log) == 9)
        hold.unlink()
        assert make.wait() == 0


def test_two_builds_share_the_jobs(tmp_path: Path, makefile: Path) -> None:
    jobserver, logs = Jobserver(3), [tmp_path / "one", tmp_path / "other"]

    def build(log: Path) -> None:
        with jobserver.build() as env:
            assert run.run(words(makefile, log, 12), env=env).ok

    threads = [threading.Thread(target=build, args=(log,)) for log in logs]
    with held(logs[0]), held(logs[1]):
        for thread in threads:
            thread.start()
        eventually(lambda: running(*logs) == 3)
        time.sleep(0.1)
        assert running(*logs) == 3
    for thread in threads:
        thread.join()
    assert sum(log.read_text().split().count("end") for log in logs) == 24
    assert all_idle(jobserver)


def test_more_builds_than_jobs_wait(tmp_path: Path, makefile: Path) -> None:
    jobserver, log = Jobserver(1), tmp_path / "log"
    order: list[str] = []

    def second() -> None:
        with jobserver.build():
            order.append("second")

    with jobserver.build():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert all_idle(jobserver)
    assert not log.exists()


@pytest.mark.parametrize("which", [0, -1], ids=["the outer make", "the inner make"])
def test_tokens_of_a_killed_make_are_put_back(tmp_path: Path, makefile: Path, which: int) -> None:
    jobserver, log = Jobserver(4), tmp_path / "log"
    with pytest.raises(RuntimeError), jobserver.build() as env, held(log):
        with run.start(words(makefile, log, 9), env=env) as make:
            eventually(lambda: running(log) == 4)
            os.kill(make_of(make.pid)[which], signal.SIGKILL)
            make.wait()
        assert jobserver.idle < 3  # they are lost
        raise RuntimeError("the build failed")
    assert all_idle(jobserver)


def test_after_a_killed_make_nothing_begins_before_all_tokens_are_known(
    tmp_path: Path, makefile: Path
) -> None:
    """While another build goes on, nobody knows which tokens it has."""
    jobserver, killed, other = Jobserver(4), tmp_path / "killed", tmp_path / "other"
    began = threading.Event()

    def third() -> None:
        with jobserver.build():
            began.set()

    with (
        jobserver.build() as env,
        held(other) as hold,
        run.start(words(makefile, other, 2), env=env) as survivor,
    ):
        eventually(lambda: running(other) == 2)  # its own token and one more
        with pytest.raises(RuntimeError), jobserver.build() as own, held(killed):
            with run.start(words(makefile, killed, 9), env=own) as make:
                eventually(lambda: running(killed) == 2)
                os.kill(make_of(make.pid)[-1], signal.SIGKILL)
                make.wait()
            raise RuntimeError("the build failed")
        assert jobserver.idle == 1  # what it had been given to begin with; one more is lost
        thread = threading.Thread(target=third)
        thread.start()
        assert not began.wait(0.5)
        hold.unlink()
        assert survivor.wait() == 0
        assert not began.wait(0.5)
    assert began.wait(60)
    thread.join()
    assert all_idle(jobserver)


def test_after_a_build_that_failed_and_gave_all_back_the_next_begins(
    tmp_path: Path, makefile: Path
) -> None:
    jobserver = Jobserver(4)
    with jobserver.build():
        with pytest.raises(RuntimeError), jobserver.build() as env:
            assert not run.run(["make", "-f", str(makefile), "no-such-target"], env=env).ok
            raise RuntimeError("the build failed")
        with jobserver.build():
            assert jobserver.idle == 2
    assert all_idle(jobserver)


def test_tokens_that_are_too_many_go(makefile: Path, tmp_path: Path) -> None:
    jobserver, log = Jobserver(2), tmp_path / "log"
    with jobserver.build() as env:
        pipe = f"{env['XIPMATRIX_JOBSERVER']}/fd/{env['XIPMATRIX_JOBSERVER_OUT']}"
        with Path(pipe).open("wb", buffering=0) as out:
            out.write(b"+++")
        assert jobserver.idle == 4
    assert all_idle(jobserver)
    assert not log.exists()


def test_ctrl_c_ends_who_waits_for_a_token() -> None:
    # In a process of its own: after a Ctrl-C nothing is started any more.
    code = """
import threading
from xipmatrix.build.jobserver import Jobserver
from xipmatrix.core import run
jobserver = Jobserver(1)
with jobserver.build():
    threading.Timer(0.3, run.stop_all).start()
    try:
        with jobserver.build():
            print("began")
    except KeyboardInterrupt:
        print("interrupted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted\n", done.stderr


def test_where_there_is_no_jobserver_make_does_as_it_is_told(
    tmp_path: Path, makefile: Path
) -> None:
    jobserver, log = Jobserver(2), tmp_path / "log"
    env = {**jobserver.environment, "XIPMATRIX_JOBSERVER": str(tmp_path / "none")}
    done = run.run(words(makefile, log, 3), env=env)
    assert done.ok, done.output
    assert log.read_text().split().count("end") == 3


def test_what_make_sees_is_a_sub_make_s(tmp_path: Path) -> None:
    """Words with blanks, variables and targets come through; only -j does not."""
    makefile = tmp_path / "Makefile"
    makefile.write_text("all:\n\t@echo '$(MAKEFLAGS)' '$(V)'\n")
    with Jobserver(7).build() as env:
        done = run.run(["make", "-s", "-f", str(makefile), "-j3", "V=a  b", "all"], env=env)
    flags = done.output
    assert re.search(r"-j7 --jobserver-(auth|fds)=8,9", flags), flags
    assert flags.rstrip().endswith("a  b")
    assert "-j3" not in flags
