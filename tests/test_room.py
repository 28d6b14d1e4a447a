# SPDX-License-Identifier: GPL-2.0-only
"""How many builds are under way at a time: by cores, by memory, and never none."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from xipmatrix.build.room import Room, builds_at_a_time
from xipmatrix.core import memory

GIB = 1 << 30


def begins(room: Room, need: int, told: list[str]) -> threading.Event:
    """Try to begin a build in a thread; set once it has begun, and then ended at once."""
    began = threading.Event()

    def build() -> None:
        with room.take(need, told.append):
            began.set()

    threading.Thread(target=build, daemon=True).start()
    return began


@pytest.mark.parametrize(("jobs", "builds"), [(1, 1), (2, 2), (4, 2), (8, 3), (64, 17)])
def test_builds_for_cores(jobs: int, builds: int) -> None:
    assert builds_at_a_time(jobs) == builds


def test_no_more_builds_than_there_is_room_for() -> None:
    room, told = Room(2, lambda: 100 * GIB), list[str]()
    with ExitStack() as running:
        for _ in range(2):
            running.enter_context(room.take(1))
        third = begins(room, 1, told)
        assert not third.wait(0.3)
    assert third.wait(60)
    assert told == ["waiting for another cell's build"]


def test_a_build_waits_for_memory_that_others_have_not_taken_yet() -> None:
    room, told = Room(9, lambda: 3 * GIB), list[str]()
    with room.take(2 * GIB):
        large = begins(room, 2 * GIB, told)
        small = begins(room, GIB, [])
        assert small.wait(60)
        assert not large.wait(0.3)
    assert large.wait(60)
    assert told == ["waiting for memory: 2048 MiB, 3072 MiB are available"]


def test_a_build_waits_for_memory_that_other_programs_have_taken() -> None:
    free = [8 * GIB]
    room = Room(9, lambda: free[0])
    with room.take(GIB):
        free[0] = GIB
        second = begins(room, 2 * GIB, [])
        assert not second.wait(0.3)
        free[0] = 4 * GIB
        assert second.wait(60)


def test_one_build_is_always_under_way() -> None:
    with Room(2, lambda: 0).take(GIB):
        pass


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_available_memory_is_the_machine_s_or_the_control_group_s(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemTotal:  9000 kB\nMemAvailable:    4000 kB\n"}
    assert memory.available(machine(tmp_path, files)) == 4000 << 10
    files["proc/self/cgroup"] = "0::/ci/job\n"
    files["sys/fs/cgroup/ci/job/memory.max"] = "max\n"
    files["sys/fs/cgroup/ci/job/memory.current"] = "7\n"
    assert memory.available(machine(tmp_path, files)) == 4000 << 10
    files["sys/fs/cgroup/ci/memory.max"] = "3000000\n"
    files["sys/fs/cgroup/ci/memory.current"] = "1000000\n"
    assert memory.available(machine(tmp_path, files)) == 2000000
    assert memory.available(tmp_path / "none") == 0
