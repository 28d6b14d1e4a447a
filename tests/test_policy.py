# SPDX-License-Identifier: GPL-2.0-only
"""What a free worker does next."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest

from xipmatrix.schedule.policy import Queue, Task, Worker


def names(queue: Queue, worker: Worker) -> list[str]:
    """All that `worker` takes, alone."""
    found = []
    while (task := queue.take(worker)) is not None:
        found.append(task.name)
    return found


def test_the_longest_goes_first_and_equals_as_given() -> None:
    tasks = [Task("a", 1), Task("b", 3), Task("c", 3), Task("d", 2)]
    assert names(Queue(tasks, 1), Worker()) == ["b", "c", "d", "a"]


def test_only_what_a_worker_can_do() -> None:
    tasks = [
        Task("large", 9, memory=8),
        Task("riscv", 5, needs=frozenset({"riscv-gcc"})),
        Task("small", 1, memory=1),
    ]
    queue = Queue(tasks, 2)
    assert names(queue, Worker(memory=4)) == ["small"]
    assert names(queue, Worker(memory=4, tags=frozenset({"riscv-gcc", "x"}))) == ["riscv"]
    assert len(queue) == 1
    assert names(queue, Worker()) == ["large"]


def test_a_worker_stays_with_what_it_holds_and_others_go_where_most_is_left() -> None:
    tasks = [Task(f"{kernel}{at}", 10 - at, kernel) for kernel in "ab" for at in range(8)]
    queue, first, second = Queue(tasks, 2), Worker(), Worker()
    taken = [(queue.take(one), one) for _ in range(4) for one in (first, second)]
    assert {task.wants for task, one in taken if task and one is first} == {"a"}
    assert {task.wants for task, one in taken if task and one is second} == {"b"}
    assert first.holds == {"a"}


def test_what_would_end_last_goes_before_what_is_near() -> None:
    near = [Task(f"near{at}", 1, "a") for at in range(10)]
    queue = Queue([*near, Task("long", 50, "b")], 2)
    task = queue.take(Worker(holds={"a"}))
    assert task is not None and task.name == "long"


def test_what_was_not_done_is_taken_again() -> None:
    queue = Queue([Task("a", 2), Task("b", 1)], 1)
    task = queue.take(Worker())
    assert task is not None
    queue.put_back(task)
    assert names(queue, Worker()) == ["a", "b"]


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_each_is_done_once_and_the_end_is_near_the_best_there_is(workers: int) -> None:
    chance = random.Random(workers)
    tasks = [
        Task(f"{number}", chance.choice((10, 20, 300)) * chance.uniform(0.5, 2), f"k{number % 3}")
        for number in range(400)
    ]
    queue, done = Queue(tasks, workers), []
    free: list[tuple[float, int, Worker]] = [(0.0, number, Worker()) for number in range(workers)]
    end = 0.0
    while free:
        now, number, worker = heappop(free)
        task = queue.take(worker)
        if task is None:
            continue
        done.append(task)
        end = max(end, now + task.seconds)
        heappush(free, (now + task.seconds, number, worker))
    assert sorted(task.name for task in done) == sorted(task.name for task in tasks)
    best = max(sum(task.seconds for task in tasks) / workers, *(task.seconds for task in tasks))
    assert best <= end * 1.0001
    assert end <= 1.05 * best
