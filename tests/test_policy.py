# SPDX-License-Identifier: GPL-2.0-only
"""What a free worker does next."""

from __future__ import annotations

import random
from heapq import heappop, heappush

import pytest

from xipmatrix.schedule.policy import Queue, Task, Worker, choose


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
    tasks = [Task(f"{kernel}{at}", 10 - at, (kernel,)) for kernel in "ab" for at in range(8)]
    queue, first, second = Queue(tasks, 2), Worker(), Worker()
    taken = [(queue.take(one), one) for _ in range(4) for one in (first, second)]
    assert {task.wants for task, one in taken if task and one is first} == {("a",)}
    assert {task.wants for task, one in taken if task and one is second} == {("b",)}
    assert first.holds == {"a"}


def test_what_would_end_last_goes_before_what_is_near() -> None:
    near = [Task(f"near{at}", 1, ("a",)) for at in range(10)]
    queue = Queue([*near, Task("long", 50, ("b",))], 2)
    task = queue.take(Worker(holds={"a"}))
    assert task is not None and task.name == "long"


def test_what_was_not_done_is_taken_again() -> None:
    queue = Queue([Task("a", 2), Task("b", 1)], 1)
    task = queue.take(Worker())
    assert task is not None
    queue.put(task)
    assert names(queue, Worker()) == ["a", "b"]


def test_what_is_not_wanted_any_more() -> None:
    queue = Queue([Task("a", 3), Task("b", 2), Task("c", 1)], 1)
    for name in ("a", "b", "b", "unknown"):
        queue.drop(name)
    assert (len(queue), names(queue, Worker())) == (1, ["c"])
    queue.put(Task("a", 9, avoid=frozenset({"x"})))
    queue.put(Task("b", 2))
    assert names(queue, Worker(name="x")) == ["b"]
    assert names(queue, Worker(name="y")) == ["a"]


# --- who ----------------------------------------------------------------------------------


def cell(name: str, seconds: float = 10.0) -> Task:
    """One of many, as whether it is late is another question."""
    return Task(name, seconds, (f"tip-{name}", "base"))


MANY = [cell(f"rest{at}", 1.0) for at in range(200)]


def chosen(waiting: list[Task], workers: list[Worker]) -> tuple[str, str] | None:
    found = choose(Queue([*waiting, *MANY], 2), workers)
    return (found[0].name, found[1].name) if found else None


def test_of_cells_that_are_not_late_the_one_goes_whose_tree_is_there() -> None:
    waiting = [cell("x"), cell("y"), cell("z")]
    assert chosen(waiting, [Worker("a", holds={"base", "tip-z"})]) == ("z", "a")
    assert chosen(waiting, [Worker("a", built={"y"})]) == ("y", "a")
    assert chosen(waiting, [Worker("a", holds={"tip-z"}, built={"y"})]) == ("z", "a")


def test_a_late_one_goes_even_where_another_would_be_at_home() -> None:
    home = Worker("a", holds={"base", "tip-short"}, built={"short"})
    assert chosen([cell("short"), cell("long", 900.0)], [home]) == ("long", "a")


def test_of_those_that_caches_know_only_one_that_is_about_as_long() -> None:
    tasks = [Task(name, seconds, ("tip",)) for name, seconds in (("x", 10), ("y", 9), ("z", 7))]
    assert chosen(tasks, [Worker("a", built={"y", "z"})]) == ("y", "a")
    assert chosen(tasks, [Worker("a", built={"z"})]) == ("x", "a")


def test_workers_with_the_kernel_come_before_others_and_idle_ones_before_these() -> None:
    away, home = Worker("a", slots=2), Worker("b", slots=2, holds={"base"})
    assert choose(Queue([cell("x")]), [away, home]) == (cell("x"), home)
    home.busy = 1
    assert choose(Queue([cell("x")]), [away, home]) == (cell("x"), away)
    # But what is finished there only has to be fetched.
    home.finished = {"x"}
    assert chosen([cell("x"), cell("long", 900.0)], [away, home]) == ("x", "b")
    home.busy = 2
    assert chosen([cell("x"), cell("long", 900.0)], [away, home]) == ("long", "a")


def test_one_that_cannot_does_not_hold_up_others() -> None:
    alone = Queue([Task("x", 1, needs=frozenset({"gcc"}))])
    bad, good = Worker("bad"), Worker("good", tags=frozenset({"gcc"}))
    assert choose(alone, [bad]) is None
    assert choose(alone, [bad, good]) == (Task("x", 1, needs=frozenset({"gcc"})), good)
    assert choose(alone, [bad, good]) is None


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_each_is_done_once_and_the_end_is_near_the_best_there_is(workers: int) -> None:
    chance = random.Random(workers)
    tasks = [
        Task(
            f"{number}", chance.choice((10, 20, 300)) * chance.uniform(0.5, 2), (f"k{number % 3}",)
        )
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
