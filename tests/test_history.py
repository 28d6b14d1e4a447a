# SPDX-License-Identifier: GPL-2.0-only
"""What changed since the last run and since the last good one, and who is told."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from xipmatrix.core.evidence import Verdict
from xipmatrix.history import Kind, change, changes_of, compare
from xipmatrix.report.changes import print_changes
from xipmatrix.report.notify import tell
from xipmatrix.store import Past, Store

CELL = "7.3/riscv/virt/tiny/gcc"
THRESHOLDS = {"image_bytes": 0.01}
PASS, PANIC, SILENT = Verdict.PASS, Verdict.BOOT_PANIC, Verdict.BOOT_SILENT
OURS, FLAKY = Verdict.INFRASTRUCTURE, Verdict.FLAKY


def past(
    number: int,
    verdict: Verdict | None,
    *,
    size: float = 1000,
    known: bool = False,
    cell: str = CELL,
) -> Past:
    """The result of a run on the `number`-th day."""
    good = verdict is PASS
    return Past(
        run=f"run{number}",
        began=f"2026-11-{number:02d}T02:10:00.000000+00:00",
        cell=cell,
        verdict=verdict,
        as_expected=good is not known,
        known=known,
        reason="" if good else f"reason {number}\nmore",
        seconds=1,
        figures={"image_bytes": size},
        versions={"kernel": f"7.3.{number} (Debian)", "compiler": "gcc 12"},
    )


def history(*verdicts: Verdict | None) -> tuple[Past, list[Past]]:
    """The last of `verdicts` as now, the ones before newest first."""
    all_ = [past(number, verdict) for number, verdict in enumerate(verdicts, 1)]
    return all_[-1], all_[-2::-1]


@pytest.mark.parametrize(
    ("verdicts", "kind", "previous", "good", "first_bad"),
    [
        ([PASS], Kind.NEW, None, None, None),
        ([PANIC], Kind.NEW_BROKEN, None, None, "run1"),
        ([PASS, PASS], Kind.SAME, "run1", "run1", None),
        ([PASS, PANIC], Kind.BROKEN, "run1", "run1", "run2"),
        ([PASS, PANIC, PANIC, PANIC], Kind.STILL, "run3", "run1", "run2"),
        ([PANIC, PASS, PANIC, PANIC], Kind.STILL, "run3", "run2", "run3"),
        ([PASS, PANIC, SILENT], Kind.DIFFERENT, "run2", "run1", "run2"),
        ([PASS, PANIC, PASS], Kind.FIXED, "run2", "run1", None),
        ([PANIC, PANIC], Kind.STILL, "run1", None, "run1"),
        ([PASS, FLAKY], Kind.FLAKY, "run1", "run1", "run2"),
        ([PASS, FLAKY, FLAKY], Kind.STILL, "run2", "run1", "run2"),
        ([PASS, FLAKY, PASS], Kind.FIXED, "run2", "run1", None),
        # Our own faults, and runs that were stopped early, say nothing about a kernel.
        ([PASS, OURS], Kind.UNMEASURED, "run1", "run1", None),
        ([PASS, OURS, PASS], Kind.SAME, "run1", "run1", None),
        ([PASS, OURS, PANIC], Kind.BROKEN, "run1", "run1", "run3"),
        ([PASS, None, PANIC, OURS, PANIC], Kind.STILL, "run3", "run1", "run3"),
        ([OURS, PANIC], Kind.NEW_BROKEN, None, None, "run2"),
    ],
)
def test_kinds(
    verdicts: Sequence[Verdict | None],
    kind: Kind,
    previous: str | None,
    good: str | None,
    first_bad: str | None,
) -> None:
    found = change(*history(*verdicts), THRESHOLDS)
    assert found.kind is kind
    named = [one and one.run for one in (found.previous, found.good, found.first_bad)]
    assert named == [previous, good, first_bad]


def test_a_declared_failure_is_no_news_until_it_passes() -> None:
    before = past(1, SILENT, known=True)
    assert change(past(2, SILENT, known=True), [before], {}).kind is Kind.KNOWN
    assert change(past(2, PASS, known=True), [before], {}).kind is Kind.UNEXPECTED_PASS
    # Expired, or another verdict than the declared one: broken since now.
    assert change(past(2, SILENT), [before], {}).kind is Kind.BROKEN


def test_figures_that_move_beyond_their_threshold_are_named() -> None:
    def sizes(*values: float) -> list[tuple[str, float]]:
        now, *earlier = [past(n, PASS, size=size) for n, size in enumerate(values)][::-1]
        found = change(now, earlier, THRESHOLDS)
        return [(one.name, one.before) for one in found.moved]

    assert sizes(1000, 1011) == [("image_bytes", 1000)]
    assert sizes(1000, 989) == [("image_bytes", 1000)]
    assert sizes(1000, 1009) == []
    assert sizes(0, 5) == [("image_bytes", 0)]
    assert sizes(0, 0) == []
    assert change(past(2, PASS, size=9000), [past(1, PASS)], {}).moved == ()


def test_a_broken_kernel_is_measured_against_the_last_good_one() -> None:
    now, *earlier = [past(3, PANIC, size=1025), past(2, PANIC, size=1020), past(1, PASS)]
    found = change(now, earlier, THRESHOLDS)
    assert found.moved == ()
    assert [(one.before, one.now) for one in found.drifted] == [(1000, 1025)]


def test_what_matters_most_comes_first() -> None:
    cells = {"a": (PASS, PASS), "b": (PANIC, PASS), "c": (PASS, PANIC), "d": (PANIC, PANIC)}
    before = [past(1, one[0], cell=name) for name, one in cells.items()]
    now = [past(2, one[1], cell=name) for name, one in cells.items()]
    changes, gone = compare([*before, past(1, PASS, cell="e")], now, THRESHOLDS)
    assert [(one.cell, one.kind) for one in changes] == [
        ("c", Kind.BROKEN),
        ("b", Kind.FIXED),
        ("d", Kind.STILL),
        ("a", Kind.SAME),
    ]
    assert [one.cell for one in gone] == ["e"]


def test_comparing_dates_a_failure_by_what_came_before() -> None:
    older = [past(2, PANIC), past(1, PASS)]
    ((found,), _) = compare([past(3, PANIC)], [past(4, PANIC)], {}, lambda _past: older)
    assert found.first_bad is not None
    assert (found.kind, found.first_bad.run) == (Kind.STILL, "run2")


def test_changes_come_from_the_store(tmp_path: Path) -> None:
    from test_store import CELL as STORED
    from test_store import put, result

    store = Store(tmp_path)
    first = put(store, result())
    run = store.new_run()
    now = Past.of(result(PANIC), run.id, run.row.began)
    (found,) = changes_of(store, [now], run.id, THRESHOLDS)
    assert found.previous is not None
    assert (found.cell, found.kind, found.previous.run) == (STORED, Kind.BROKEN, first)
    stopped = Past.of(result(None), run.id, run.row.began)
    assert changes_of(store, [stopped], run.id, THRESHOLDS) == []


def test_people_read_what_broke_since_when_and_what_else_differs() -> None:
    out = io.StringIO()
    found = change(*history(PASS, PANIC, PANIC), THRESHOLDS)
    moved = change(past(2, PASS, size=1100), [past(1, PASS)], THRESHOLDS)
    same = change(*history(PASS, PASS), THRESHOLDS)
    print_changes(Console(file=out, width=200), [found, moved, same], [past(1, PASS, cell="x/y")])
    text = out.getvalue()
    for wanted in (
        f"still broken: {CELL}",
        "boot-panic: reason 3",
        "broken since 2026-11-02 02:10 (7.3.2, run run2)",
        "last good 2026-11-01 02:10 (7.3.1, run run1)",
        "kernel: 7.3.1 (Debian) → 7.3.3 (Debian)",
        "figures moved",
        "image_bytes 1,000 → 1,100 (+10.00 %)",
        "gone: x/y",
    ):
        assert wanted in text
    assert text.count(CELL) == 2
    out.truncate(0)
    print_changes(Console(file=out), [same])
    assert out.getvalue().strip("\0") == ""


def test_notify_is_started_only_if_something_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "told.json"
    command = f"cat > {told}"
    still, same = change(*history(PASS, PANIC, PANIC), {}), change(*history(PASS, PASS), {})
    assert not tell(command, "run3", [still, same])
    assert not told.exists()
    assert tell(command, "run2", [change(*history(PASS, PANIC), {}), same])
    digest = json.loads(told.read_text())
    assert digest["run"] == "run2"
    assert [one["kind"] for one in digest["changes"]] == ["newly broken"]
    assert digest["changes"][0]["last_good"]["run"] == "run1"
    assert tell("echo no such mail server; exit 7", "run2", [change(*history(PASS, PANIC), {})])
    assert "exit status 7" in capsys.readouterr().err
