# SPDX-License-Identifier: GPL-2.0-only
"""Pages as bytes: structure, links, escaping, what is said, what is written when."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from pathlib import Path
from urllib.parse import unquote, urldefrag
from xml.etree.ElementTree import Element

import html5lib
import pytest
from click.testing import CliRunner
from html5lib.html5parser import ParseError

from html_support import (
    ARM,
    CELLS,
    FLAKY,
    HOSTILE,
    KNOWN,
    RISCV,
    SMP,
    THRESHOLDS,
    cell_folder,
    made_up,
    nightly,
    put,
    run_row,
    twelve_nights,
)
from test_history import past
from xipmatrix.cli.build import build_command
from xipmatrix.core.evidence import Evidence, Verdict
from xipmatrix.matrix.model import Cell
from xipmatrix.report.explain import explanations
from xipmatrix.report.html import INDEX, page_name, write_pages
from xipmatrix.report.html.charts import FIGURES, make_chart
from xipmatrix.report.html.grid import make_grid
from xipmatrix.report.html.marks import LEGEND, mark_of
from xipmatrix.report.html.text import anchor, link, tail, visible
from xipmatrix.result import CellResult
from xipmatrix.store import Run, Store, logs, upkeep

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


def tree(text: str) -> Element:
    """A page as a tree. Raises ParseError for anything that is not valid HTML syntax."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    page: Element = parser.parse(text)
    for one in page.iter():
        one.tag = str(one.tag).rpartition("}")[2]  # SVG has a namespace of its own
    return page


def words(element: Element) -> str:
    return "".join(element.itertext())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twelve_nights(tmp_path_factory)


@pytest.fixture(scope="module")
def newest(site: Path) -> str:
    return (site / page_name(run_row(12).id)).read_text()


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Element]:
    """All of them as trees, by file name."""
    return {path.name: tree(path.read_text()) for path in sorted(site.glob("*.html"))}


def test_a_page_per_run_and_an_index(site: Path) -> None:
    found = sorted(path.name for path in site.iterdir())
    assert found == [*(page_name(run_row(day).id) for day in range(1, 13)), INDEX]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in site.iterdir())


def test_every_page_is_valid_and_well_ordered(pages: dict[str, Element]) -> None:
    for name, page in pages.items():
        assert page.get("lang") == "en", name
        ids = [one.get("id") for one in page.iter() if one.get("id")]
        assert len(ids) == len(set(ids)), name
        levels = [int(one.tag[1]) for one in page.iter() if one.tag in HEADINGS]
        assert levels[0] == 1 and levels.count(1) == 1, name
        jumps = [b for a, b in itertools.pairwise(levels) if b > a + 1]
        assert not jumps, name
        for cell in page.iter("th"):
            assert cell.get("scope") in ("row", "col"), name
        for one in page.iter("details"):
            assert one[0].tag == "summary", name
        for landmark in ("header", "nav", "main", "footer"):
            assert len(list(page.iter(landmark))) == 1, (name, landmark)
        for one in page.iter("svg"):
            assert [child.tag for child in one][:2] == ["title", "desc"], name


def test_the_structure_check_can_fail() -> None:
    with pytest.raises(ParseError):
        tree("<!doctype html><html><head><title>x</title></head><body><p><div></p></body></html>")


def test_every_link_leads_somewhere(pages: dict[str, Element]) -> None:
    ids = {name: {one.get("id") for one in page.iter()} for name, page in pages.items()}
    count = 0
    for name, page in pages.items():
        for one in page.iter("a"):
            target, fragment = urldefrag(one.get("href", ""))
            place = unquote(target) or name
            assert place in pages, (name, place)
            assert not fragment or unquote(fragment) in ids[place], (name, place, fragment)
            count += 1
    assert count > 300


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Element]) -> None:
    for name, page in pages.items():
        for one in page.iter():
            for attribute in ("src", "srcset", "data", "action", "style", "onclick", "xlink:href"):
                assert one.get(attribute) is None, (name, one.tag)
        assert not list(page.iter("link")), name
        style = words(next(page.iter("style")))
        assert "url(" not in style and "@import" not in style


def test_the_policy_allows_the_pages_own_style_and_script_only(newest: str) -> None:
    page = tree(newest)
    (policy,) = (
        one.get("content", "")
        for one in page.iter("meta")
        if one.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for tag in ("style", "script"):
        (one,) = page.iter(tag)
        digest = base64.b64encode(hashlib.sha256(words(one).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


# --- what comes from kernels --------------------------------------------------------------


def test_a_console_is_text_and_nothing_else(newest: str) -> None:
    page = tree(newest)
    texts = [words(one) for one in page.iter("pre")]
    assert texts.count(visible(HOSTILE)) == len(CELLS)
    assert "⟨ESC⟩[31mred" in visible(HOSTILE) and "⟨U+202E⟩" in visible(HOSTILE)
    assert len(list(page.iter("script"))) == len(list(page.iter("style"))) == 1
    assert not list(page.iter("img")) and not list(page.iter("i"))
    assert "<i>Attempted to kill init!</i>⟨ESC⟩" in words(page)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]", newest)


@pytest.mark.parametrize("where", ["cell", "reason", "version", "path", "evidence", "figure"])
def test_every_field_is_escaped(tmp_path: Path, where: str) -> None:
    bad = "x<script>alert(1)</script>\x1b\"'\ud800"
    store, row = Store(tmp_path), run_row(1)
    put(store, row)
    upkeep.adopt(store, store.folder(row.id))
    result = made_up(f"7.3/arm/{bad}" if where == "cell" else ARM, 1, tmp_path / "logs")
    if where == "reason":
        result.reason = result.hint = result.known_reason = result.arguments = bad
    if where == "version":
        result.versions[bad] = bad
    if where == "path":
        result.paths[bad] = bad
    if where == "evidence":
        result.evidence = [Evidence(bad, False, bad, Verdict.BOOT_PANIC, {bad: [bad, {bad: bad}]})]
    if where == "figure":
        result.figures[bad] = bad
    folder = store.folder(row.id) / "cells" / "x"
    folder.mkdir(parents=True)
    # Only in the folder: SQLite refuses a lone surrogate, JSON does not.
    (folder / "result.json").write_text(json.dumps(result.as_dict()))
    (path,) = write_pages(store, [row], tmp_path / "html", THRESHOLDS)
    page = tree(path.read_text())
    assert len(list(page.iter("script"))) == 1
    assert "x<script>alert(1)</script>⟨ESC⟩\"'⟨U+D800⟩" in words(page)


def test_long_logs_keep_their_end() -> None:
    assert tail("a\nb\nc\n", 100) == ("a\nb\nc\n", False)
    assert tail("a\nb\nc\n", 4) == ("b\nc\n", True)
    assert tail("<<<\n<<<\n", 13) == ("<<<\n", True)  # &lt; takes four bytes
    text, cut = tail("x" * 1000 + "\x1b" * 1000, 110)
    assert cut and text == "\x1b" * (110 // 13)
    assert len(visible(text).encode()) <= 110
    assert tail("", 10) == ("", False)


def test_a_run_of_a_hundred_cells_stays_openable(tmp_path: Path) -> None:
    store, row = Store(tmp_path), run_row(1)
    evidence = [
        Evidence(name, True, "s" * 150, Verdict.NOT_IN_PLACE, {"n": ["f" * 60] * 10})
        for name in explanations()
    ]
    for number in range(100):
        name = f"7.3/arm/board{number}/tiny/gcc"
        folder = cell_folder(store, row, name)
        result = made_up(name, 1, folder, "<\x1b&\n" * 40_000 + f"the end of {number}\n")
        result.evidence = evidence
        put(store, row, result)
    upkeep.adopt(store, store.folder(row.id))
    (path,) = write_pages(store, [row], tmp_path / "html", THRESHOLDS)
    text = path.read_text()
    assert path.stat().st_size < 20_000_000
    assert all(f"the end of {number}\n" in text for number in (0, 99))
    assert text.count("only the end, ") == 100


# --- what is said -------------------------------------------------------------------------


def test_what_changed_stands_before_the_matrix(newest: str) -> None:
    headings = [words(one) for one in tree(newest).iter() if one.tag in ("h1", "h2")]
    assert headings == ["7 cells, 3 not as expected", "What changed", "Matrix", "Cells"]
    text = newest[newest.index('id="changes"') : newest.index('id="matrix"')]
    order = ["newly broken", "flaky", "fixed", "still broken"]
    assert [text.index(f'">{kind} <span') for kind in order] == sorted(
        text.index(f'">{kind} <span') for kind in order
    )
    for wanted in (
        f'#{RISCV}">{RISCV}</a>',
        "broken since 2026-11-09 02:10 (7.3.5, run 20261109T021000-109)",
        "last good 2026-11-08 02:10",
        "was build-failed 2026-11-11 02:10",
    ):
        assert wanted in text, wanted
    assert ARM not in text


def test_first_runs_and_quiet_ones_say_so(site: Path) -> None:
    first = (site / page_name(run_row(1).id)).read_text()
    assert "5 cells measured for the first time." in first
    moved = (site / page_name(run_row(8).id)).read_text()
    assert (
        ">figures moved <span" in moved and "image_bytes 2,150,087 → 2,251,288 (+4.71 %)" in moved
    )


def test_nothing_changed_is_said(tmp_path: Path) -> None:
    store = nightly(tmp_path, days=3, cells=(ARM,))
    quiet, first = write_pages(store, [store.runs()[0], store.runs()[2]], tmp_path / "h", {})
    assert "Nothing since the last run of each cell" in quiet.read_text()
    assert "1 cell measured for the first time; nothing else changed." in first.read_text()


def test_a_cell_shows_evidence_figures_history_and_how_to_repeat(newest: str) -> None:
    start = newest.index(f'<article class="cell bad" data-cells="{RISCV}"')
    text = newest[start : newest.index("</article>", start)]
    page = tree(f"<!doctype html><title>x</title>{text}</article>")
    opened = [words(one[0]) for one in page.iter("details") if one.get("open") is not None]
    assert len(opened) == 1 and "FAILS: in-place" in opened[0]
    said = words(page)
    for wanted in (
        "Evidence: 2 hold, 1 fails",
        explanations()["in-place"].claim,
        explanations()["in-place"].method,
        "entry_virtual: 0xbf010000",
        "20,621,994",
        "from the cache",
        "gcc 12",
        f"./xipmatrix build --cell '{RISCV}' --again",
    ):
        assert wanted in said, wanted
    (strip,) = (one for one in page.iter("ol") if one.get("class") == "strip")
    labels = [words(one) for one in strip]
    assert len(labels) == 12
    assert labels[5].endswith("2026-11-06 02:10, 7.3.5: boot-panic")
    assert labels[10].endswith("2026-11-11 02:10, 7.3.6: pass")


def test_logs_that_are_gone_and_first_tries(tmp_path: Path) -> None:
    store = nightly(tmp_path, days=1, cells=(ARM, SMP))
    row = store.runs()[0]
    (cell_folder(store, row, ARM) / "console.log").unlink()
    result = made_up(SMP, 1, cell_folder(store, row, SMP))
    first = tmp_path / "first-try"
    first.mkdir()
    (first / "console.log").write_text("the first try was silent\n" * 400)
    build = tmp_path / "build.log"
    build.write_text("error: no such instruction\n")
    result.paths["first try"], result.log = str(first), str(build)
    logs.compress(first)
    normal = tmp_path / "normal"
    normal.mkdir()
    (normal / "console.log").write_text("said in RAM")
    result.paths["normal boot"] = str(normal)
    put(store, row, result)
    (path,) = write_pages(store, [row], tmp_path / "html", THRESHOLDS)
    page = words(tree(path.read_text()))
    assert "cannot be read: [Errno 2] No such file" in page
    assert "Console log of the first try, 10,000 characters" in page
    assert "the first try was silent" in page
    assert "Console log of the normal kernel" in page and "said in RAM" in page
    assert "Log: build.log" in page and "error: no such instruction" in page


def test_a_run_that_goes_on_and_one_without_results(tmp_path: Path) -> None:
    store, row = Store(tmp_path), run_row(1)
    put(store, row)
    upkeep.adopt(store, store.folder(row.id))
    (path,) = write_pages(store, [row], tmp_path / "html", THRESHOLDS)
    page = words(tree(path.read_text()))
    assert "not ended" in page and "This run has no results yet." in page
    assert "No results yet" in page and "as expected" not in page
    tree((tmp_path / "html" / INDEX).read_text())


def test_an_unreadable_result_is_said_and_passed_over(tmp_path: Path) -> None:
    store = nightly(tmp_path, days=1, cells=(ARM, SMP))
    (cell_folder(store, run_row(1), ARM) / "result.json").write_text("{")
    told: list[str] = []
    (path,) = write_pages(store, store.runs(), tmp_path / "html", THRESHOLDS, told.append)
    assert "not a readable result" in told[0]
    assert "1 cell, all as expected" in path.read_text()
    assert "Missing here:" in path.read_text() and "not a readable result" in path.read_text()


def test_the_index_shows_cells_over_runs(site: Path) -> None:
    page = tree((site / INDEX).read_text())
    (table,) = (one for one in page.iter("table") if one.get("class") == "time")
    rows = {words(row[0]).strip(): [words(one).strip()[:1] for one in row[1:]] for row in table[2]}
    assert list(rows) == sorted(CELLS)
    assert rows[SMP] == list("✓✓✓✓✓✓✓✓✗✗✗✗")
    assert rows[KNOWN] == list("○" * 12)
    assert rows[FLAKY] == list("✓" * 11 + "~")
    dates = [words(one)[:5] for one in table[1][0][1:]]
    assert (dates[0], dates[-1]) == ("11-01", "11-12")
    assert len(list(page.iter("svg"))) == 3 * len(CELLS)
    (runs,) = (one for one in page.iter("table") if one.get("class") == "plain runs")
    first = [words(one) for one in runs[2][0]]
    assert first[0] == run_row(12).id and first[3] == "1 h 30 min"
    assert first[5] == "1 newly broken, 1 flaky, 1 fixed, 1 still broken"


def test_the_index_has_each_drawn_number_in_a_table(site: Path) -> None:
    page = tree((site / INDEX).read_text())
    (article,) = (one for one in page.iter("article") if one.get("data-cells") == SMP)
    numbers = [[words(one) for one in row][1:] for row in article.find(".//tbody") or ()]
    assert numbers[0] == ["✗ boot-silent", "7.3.6", "–", "–", "–"]
    assert numbers[-1] == ["✓ pass", "7.3.4", "2,144,942", "176,532", "20,610,994"]
    titles = [words(one) for one in article.iter("title")]
    assert "2026-11-01 02:10, pass: 2,144,942" in titles
    assert "2026-11-12 02:10, boot-silent: not measured" in titles


def test_an_index_without_runs(tmp_path: Path) -> None:
    write_pages(Store(tmp_path), [], tmp_path, {})
    assert "No run is stored" in words(tree((tmp_path / INDEX).read_text()))


# --- what is written when -----------------------------------------------------------------


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    store = nightly(tmp_path / "state", days=4)
    write_pages(store, store.runs(), tmp_path / "a", THRESHOLDS)
    upkeep.rebuild(store)
    write_pages(store, store.runs(), tmp_path / "b", THRESHOLDS)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_one_run_is_written_without_touching_the_others(tmp_path: Path) -> None:
    store = nightly(tmp_path / "state", days=3)
    html = tmp_path / "html"
    newest, *older = store.runs()
    write_pages(store, older, html, THRESHOLDS)
    before = {path: path.stat().st_ino for path in html.glob("2026*")}
    index = (html / INDEX).read_text()
    assert link(page_name(newest.id)) not in index
    (path,) = write_pages(store, [newest], html, THRESHOLDS)
    assert {one: one.stat().st_ino for one in html.glob("2026*") if one != path} == before
    assert link(page_name(newest.id)) in (html / INDEX).read_text()
    assert link(page_name(older[0].id)) in path.read_text()
    # And a later run changes nothing on an earlier page.
    again = html / page_name(older[0].id)
    kept = again.read_bytes()
    write_pages(store, [older[0]], html, THRESHOLDS)
    assert again.read_bytes() == kept


def test_a_run_without_a_page_is_named_but_not_linked(tmp_path: Path) -> None:
    store = nightly(tmp_path / "state", days=3)
    (path,) = write_pages(store, [store.runs()[0]], tmp_path / "html", THRESHOLDS)
    older = page_name(run_row(1).id)
    assert older not in path.read_text() and "2026-11-01 02:10" in path.read_text()
    assert older not in (tmp_path / "html" / INDEX).read_text()


def test_build_writes_the_page_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XIPMATRIX_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("xipmatrix.core.host.ensure_packages", lambda *_: None)

    class Quick:
        """A pipeline that knows its results."""

        cells_at_a_time = 1

        def __init__(self, _loaded: object, _templates: Path, run: Run, *_: object) -> None:
            self.run = run

        def run_cell(self, cell: Cell) -> CellResult:
            result = made_up(cell.id, 1, self.run.cell_folder(cell))
            self.run.save(cell, result)
            return result

    monkeypatch.setattr("xipmatrix.pipeline.Pipeline", Quick)
    done = CliRunner().invoke(build_command, ["--cell", ARM, "--html", str(tmp_path / "html")])
    (row,) = Store(tmp_path / "state").runs()
    page = tmp_path / "html" / page_name(row.id)
    assert f"page: {page}" in done.output
    assert "1 cell, all as expected" in page.read_text()
    assert page.name in (tmp_path / "html" / INDEX).read_text()


# --- parts --------------------------------------------------------------------------------


def test_marks_differ_by_more_than_colour() -> None:
    assert len({one.symbol for one in LEGEND}) == len({one.tone for one in LEGEND}) == len(LEGEND)
    for verdict in (None, *Verdict):
        mark = mark_of(past(1, verdict))
        assert mark.words and any(mark.tone == one.tone for one in LEGEND)
    assert mark_of(past(1, Verdict.PASS, known=True)).words == "pass (unexpected)"
    assert mark_of(past(1, Verdict.BOOT_PANIC, known=True)).words == "boot-panic (known)"


def test_the_grid_has_a_row_per_name_and_the_newest_kernel_first() -> None:
    grid = make_grid(dict.fromkeys(["6.9/a/b/c/d", "6.12/a/b/c/d", "6.12/x/b/c/d"], LEGEND[0]))
    assert grid.kernels == ("6.12", "6.9")
    assert [row.name for row in grid.rows] == ["a/b/c/d", "x/b/c/d"]
    assert [spot.mark is None for row in grid.rows for spot in row.spots] == [
        False,
        False,
        False,
        True,
    ]


def test_links_and_anchors_fit_for_any_name() -> None:
    for cell in (ARM, "my tree@a%20b/arm/ü/x/<y>\x1b", "a#b/c?d"):
        page, fragment = urldefrag(link("20261101T0210#1.html", cell))
        assert unquote(page) == "20261101T0210#1.html"
        assert unquote(fragment) == anchor(cell) and not re.search(r"\s", anchor(cell))


def test_a_chart_leaves_gaps_and_scales_its_axis() -> None:
    history = [past(day, Verdict.PASS, size=1000 + day) for day in range(1, 6)]
    history[2] = past(3, Verdict.BOOT_PANIC)
    history[2].figures.clear()  # type: ignore[attr-defined]
    chart = make_chart(FIGURES[0], history)
    assert chart is not None
    assert len(chart.points) == 4 and len(chart.gaps) == 1 and len(chart.lines) == 2
    assert chart.unit == "bytes"
    # A change of 0.4 % must not fill the height.
    ys = [point.y for point in chart.points]
    assert max(ys) - min(ys) < 0.3 * (chart.bottom - chart.top)
    assert ys == sorted(ys, reverse=True)
    assert all(chart.left <= point.x <= chart.right for point in chart.points)
    assert [tick.label for tick in chart.releases] == [f"7.3.{day}" for day in range(1, 6)]
    assert chart.summary.startswith("5 runs, 2026-11-01 to 2026-11-05: first 1,001, last 1,005")


@pytest.mark.parametrize("size", [0, 1, 999, 2_144_084, 3e12, 0.5])
def test_a_chart_of_one_value(size: float) -> None:
    chart = make_chart(FIGURES[0], [past(1, Verdict.PASS, size=size)])
    assert chart is not None
    (point,) = chart.points
    assert chart.top <= point.y <= chart.bottom
    assert not chart.lines and len({tick.label for tick in chart.values}) == len(chart.values) > 1


def test_no_chart_of_what_nobody_measured() -> None:
    assert make_chart(FIGURES[1], [past(1, Verdict.PASS)]) is None
