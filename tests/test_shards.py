# SPDX-License-Identifier: GPL-2.0-only
"""Shards: every machine computes the same cut, nothing is lost, the parts are even."""

from __future__ import annotations

import json
import random
from itertools import product
from pathlib import Path

import pytest

from xipmatrix.core.errors import UsageError
from xipmatrix.core.files import project_dir
from xipmatrix.matrix.load import LoadedMatrix, Wanted, load_matrix
from xipmatrix.matrix.model import Cell
from xipmatrix.schedule import Shard, cut, load_of, read_durations
from xipmatrix.schedule.costs import costs, estimate


@pytest.fixture(scope="module")
def matrix() -> LoadedMatrix:
    return load_matrix(project_dir() / "matrix.yaml", project_dir() / "templates")


@pytest.fixture(scope="module")
def nightly(matrix: LoadedMatrix) -> list[Cell]:
    return matrix.select(Wanted(profile="nightly"))


def simulated(nightly: list[Cell], count: int) -> list[Cell]:
    """Cells of many boards; every seventh has a large configuration."""
    large = next(cell for cell in nightly if estimate(cell) > 1000)
    small = nightly[0]
    return [
        (large if number % 7 == 0 else small).model_copy(update={"board": f"board-{number}"})
        for number in range(count)
    ]


def test_two_kernels_cost_two_builds(nightly: list[Cell]) -> None:
    cost = {cell.config: estimate(cell) for cell in nightly}
    assert cost["kunit"] == 2 * cost["tiny"]


def ids(parts: list[list[Cell]]) -> list[list[str]]:
    return [[cell.id for cell in part] for part in parts]


@pytest.mark.parametrize(("cells", "count"), list(product((1, 2, 17, 240), (1, 2, 3, 16, 256))))
def test_nothing_is_lost_and_nothing_done_twice(
    nightly: list[Cell], cells: int, count: int
) -> None:
    wanted = simulated(nightly, cells)
    parts = cut(wanted, count, {})
    assert len(parts) == count
    assert sorted(cell.id for part in parts for cell in part) == sorted(c.id for c in wanted)


def test_more_shards_than_cells_leaves_some_empty(nightly: list[Cell]) -> None:
    parts = cut(nightly[:3], 5, {})
    assert sorted(len(part) for part in parts) == [0, 0, 1, 1, 1]


def test_the_order_of_the_cells_does_not_matter(nightly: list[Cell]) -> None:
    wanted = simulated(nightly, 60)
    dice = random.Random(1)
    measured = {cell.id: dice.uniform(1, 900) for cell in wanted[::2]}
    expected = [set(part) for part in ids(cut(wanted, 7, measured))]
    for _ in range(20):
        dice.shuffle(wanted)
        shuffled = dict(sorted(measured.items(), key=lambda _: dice.random()))
        assert [set(part) for part in ids(cut(wanted, 7, shuffled))] == expected


def test_the_cells_of_a_shard_keep_the_order_of_the_matrix(nightly: list[Cell]) -> None:
    place = {cell.id: number for number, cell in enumerate(nightly)}
    for part in ids(cut(nightly, 3, {})):
        assert [place[one] for one in part] == sorted(place[one] for one in part)


@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_the_longest_shard_is_near_the_best_there_can_be(nightly: list[Cell], count: int) -> None:
    wanted = simulated(nightly, 120)
    dice = random.Random(count)
    measured = {cell.id: dice.choice((60, 200, 300, 900, 2700)) * 1.0 for cell in wanted}
    best = max(sum(measured.values()) / count, max(measured.values()))
    assert load_of(wanted, count, measured) <= 4 / 3 * best


def test_what_was_measured_moves_cells(nightly: list[Cell]) -> None:
    small = [cell for cell in nightly if estimate(cell) < 1000][:4]
    slow = small[2].id
    measured = {cell.id: 9000.0 if cell.id == slow else 100.0 for cell in small}
    assert [slow] in ids(cut(small, 2, measured))
    assert [slow] not in ids(cut(small, 2, {}))


def test_what_was_not_measured_is_scaled_by_what_was(nightly: list[Cell]) -> None:
    large = next(cell for cell in nightly if estimate(cell) > 1000)
    first, second = [cell for cell in nightly if estimate(cell) < 1000][:2]
    found = costs([first, second, large], {first.id: estimate(first) / 10})
    assert found[second.id] == pytest.approx(estimate(second) / 10)
    assert found[large.id] == pytest.approx(estimate(large) / 10)


@pytest.mark.parametrize("text", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not I/N|there are the shards 1/"):
        Shard.parse(text)


def test_a_shard_is_read_and_written() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"


def test_durations_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "durations.json"
    path.write_text(json.dumps({"seconds": {"a": 1.5}}))
    assert read_durations(path) == {"a": 1.5}
    for wrong in ('{"seconds": {"a": 0}}', '{"seconds": {"a": .nan}}', '{"secs": {}}', "[1]"):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=r"durations\.json"):
            read_durations(path)
    with pytest.raises(UsageError, match="no such file"):
        read_durations(tmp_path / "none")
