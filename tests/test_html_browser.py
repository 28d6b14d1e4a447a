# SPDX-License-Identifier: GPL-2.0-only
"""Pages in a real browser: from disk, by eye, by keyboard, by screen reader, on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from browser import Watched, chromium
from html_support import (
    ARM,
    CELLS,
    FLAKY,
    KNOWN,
    RISCV,
    SMP,
    THRESHOLDS,
    nightly,
    run_row,
    twelve_nights,
)
from xipmatrix.report.html import INDEX, page_name, write_pages

RUN = page_name(run_row(12).id)
PAGES = (RUN, INDEX)
Open = Callable[..., Watched]

# One worker runs them all, so that one browser is started.
pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twelve_nights(tmp_path_factory)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights of four cells, for what looks at every element: all kinds are there."""
    store = nightly(tmp_path_factory.mktemp("state"), 3, cells=(RISCV, SMP, KNOWN, FLAKY), first=10)
    folder = tmp_path_factory.mktemp("html")
    write_pages(store, store.runs(), folder, THRESHOLDS)
    return folder


@pytest.fixture
def visit(browser: Browser, site: Path) -> Iterator[Open]:
    """Opens a page of `site` from disk in a window of its own; options are Playwright's."""
    contexts = []

    def opened(name: str, where: Path = site, **options: object) -> Watched:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto((where / name).as_uri())
        return watched

    yield opened
    for context in contexts:
        context.close()


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")


# --- from disk ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_it_opens_from_disk_and_asks_for_nothing(visit: Open, site: Path, name: str) -> None:
    seen = visit(name)
    open_all(seen.page)
    assert seen.requests == [(site / name).as_uri()]
    assert seen.said == []
    assert seen.page.get_by_role("main").is_visible()


def test_what_a_console_says_is_not_obeyed(visit: Open) -> None:
    seen = visit(RUN)
    open_all(seen.page)
    assert seen.page.title() == f"7 cells, 3 not as expected · run {run_row(12).id} · xipmatrix"
    log = seen.page.get_by_role("group", name=f"of {RISCV}").last
    assert "<script>document.title = 'owned'</script>" in log.inner_text()
    assert "⟨ESC⟩[31mred" in log.inner_text()
    assert seen.page.locator("img").count() == 0


def test_the_policy_stops_what_slips_through(visit: Open) -> None:
    """Were escaping to fail, nothing would run and nothing would be fetched."""
    seen = visit(RUN)
    seen.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.owned = true";
            const picture = document.createElement("img");
            picture.src = "https://example.invalid/x.png";
            const style = document.createElement("style");
            style.textContent = "body { display: none }";
            document.body.append(script, picture, style);
        }"""
    )
    assert seen.page.evaluate("window.owned") is None
    assert seen.page.get_by_role("main").is_visible()
    assert seen.refused == ["https://example.invalid/x.png csp"]
    assert len([text for text in seen.said if "Content Security Policy" in text]) == 3


def test_links_lead_from_the_index_to_a_cell_and_back(visit: Open) -> None:
    page = visit(INDEX, viewport={"width": 1280, "height": 400}).page
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=SMP, exact=True))
    row.first.get_by_role("link", name="2026-11-09").click()
    heading = page.get_by_role("heading", name=SMP, exact=True)
    assert page_name(run_row(9).id) in page.url
    heading.wait_for()
    page.wait_for_function(
        "scrollY > 0 && document.querySelector(':target').getBoundingClientRect().top >= 0"
    )
    page.get_by_role("link", name="All runs").click()
    assert page.url.endswith(INDEX)


@pytest.mark.parametrize("name", PAGES)
def test_it_works_without_scripts(visit: Open, name: str) -> None:
    page = visit(name, java_script_enabled=False).page
    assert page.get_by_role("search").count() == 0
    assert page.get_by_role("heading", name=SMP, exact=True).is_visible()
    page.locator("summary", has_text="Numbers" if name == INDEX else "Versions").first.click()
    assert page.locator("details[open] table").first.is_visible()


def test_the_filter_hides_what_does_not_fit(visit: Open) -> None:
    page = visit(RUN).page
    page.get_by_label("Cell contains").fill("RISCV")
    assert page.locator("article:visible").count() == 3
    assert page.locator(".matrix tbody tr:visible").count() == 3
    assert page.get_by_role("status").inner_text() == "3 of 7 cells shown"
    page.get_by_role("combobox", name="Verdict").select_option("boot-silent")
    assert page.locator("article:visible").count() == 1
    page.get_by_label("Cell contains").fill("")
    page.get_by_role("combobox", name="Verdict").select_option("")
    assert page.locator("article:visible").count() == len(CELLS)


# --- by eye -------------------------------------------------------------------------------

# The contrast of SVG text with the card behind it: axe looks at HTML's text only.
SVG_CONTRAST = """() => {
    const light = (text) => {
        const parts = text.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255);
        const [r, g, b] = parts.map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return Math.min(...[...document.querySelectorAll("svg text")].map((one) => {
        const back = light(getComputedStyle(one.closest("article")).backgroundColor);
        const ink = light(getComputedStyle(one).fill);
        return (Math.max(back, ink) + 0.05) / (Math.min(back, ink) + 0.05);
    }));
}"""


CONTRAST = {"runOnly": ["color-contrast"]}


def faults(page: Page, options: dict[str, list[str]] | None = None) -> list[str]:
    """What axe-core finds, with the elements."""
    found = Axe().run(page, options=options).response["violations"]
    return [f"{one['id']}: {[node['html'][:150] for node in one['nodes'][:3]]}" for one in found]


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_fault_in_light_and_in_dark(visit: Open, small: Path, name: str) -> None:
    page = visit(name, small, color_scheme="light").page
    open_all(page)
    assert faults(page) == []
    assert name == RUN or page.evaluate(SVG_CONTRAST) >= 4.5
    page.emulate_media(color_scheme="dark")
    assert faults(page, CONTRAST) == []
    assert name == RUN or page.evaluate(SVG_CONTRAST) >= 4.5


def test_the_checks_find_faults(visit: Open, small: Path) -> None:
    page = visit(INDEX, small).page
    page.evaluate(
        """() => {
            document.querySelector("h1").style.color = "#aaa";
            document.querySelector("svg text").style.fill = "#ddd";
            document.querySelector("input").closest("label").replaceWith(
                document.createElement("input"));
            document.documentElement.removeAttribute("lang");
        }"""
    )
    assert {one.split(":")[0] for one in faults(page)} >= {
        "color-contrast",
        "label",
        "html-has-lang",
    }
    assert page.evaluate(SVG_CONTRAST) < 1.5


@pytest.mark.parametrize("name", PAGES)
def test_light_and_dark_differ(visit: Open, name: str) -> None:
    light, dark = (visit(name, color_scheme=scheme).page for scheme in ("light", "dark"))
    assert light.screenshot() != dark.screenshot()
    assert (brightness(light), brightness(dark)) == (True, False)


def brightness(page: Page) -> bool:
    """Whether the page is light."""
    text = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", text)[:3])) > 3 * 128


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_window_needs_no_sideways_scrolling(visit: Open, name: str) -> None:
    page = visit(name, viewport={"width": 360, "height": 740}).page
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_the_newest_runs_are_in_sight(visit: Open) -> None:
    page = visit(INDEX, viewport={"width": 360, "height": 740}).page
    newest = page.locator(".time thead th").last.bounding_box()
    assert newest is not None and 0 <= newest["x"] < 360 - newest["width"]


def test_marks_are_told_apart_without_colour(visit: Open) -> None:
    page = visit(INDEX).page
    marks = page.locator(".time .step > span:first-child").all_inner_texts()
    assert {"✓", "✗", "~", "○", "?"} <= set(marks)


# --- by keyboard --------------------------------------------------------------------------

FOCUSABLE = """() => [...document.querySelectorAll(
    "a[href], summary, input, select, [tabindex='0']"
)].filter((one) => one.checkVisibility()).length"""
FOCUSED = """() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    window.seen = window.seen || new Map();
    if (!window.seen.has(one)) window.seen.set(one, window.seen.size);
    return [window.seen.get(one), getComputedStyle(one).outlineStyle !== "none"];
}"""


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_everything_and_shows_where_it_is(visit: Open, small: Path, name: str) -> None:
    page = visit(name, small).page
    wanted = page.evaluate(FOCUSABLE)
    reached, unseen = set(), []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        at = page.evaluate(FOCUSED)
        assert at is not None
        reached.add(at[0])
        unseen += [] if at[1] else [at[0]]
    assert len(reached) == wanted > 30
    assert unseen == []


def test_the_first_tab_is_the_way_past_the_head(visit: Open) -> None:
    page = visit(RUN).page
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    box = skip.bounding_box()
    assert skip.evaluate("one => one === document.activeElement")
    assert box is not None and box["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_enter_opens_a_piece_of_evidence(visit: Open) -> None:
    page = visit(RUN).page
    summary = page.locator("summary", has_text="in-place").last
    summary.focus()
    assert summary.evaluate("one => one.parentElement.open") is False
    page.keyboard.press("Enter")
    assert summary.evaluate("one => one.parentElement.open") is True
    assert page.get_by_role("group", name="Figures of in-place").last.is_visible()


# --- by screen reader ---------------------------------------------------------------------


def test_a_screen_reader_hears_the_run(visit: Open) -> None:
    page = visit(RUN).page
    assert page.get_by_role("heading", level=1).inner_text() == "7 cells, 3 not as expected"
    table = page.get_by_role("table", name="Verdicts: a row per architecture")
    assert table.get_by_role("columnheader").count() == 3
    assert table.get_by_role("rowheader", name="riscv / virt / tiny / gcc").count() == 1
    assert table.get_by_role("link", name=f"boot-panic {RISCV}").count() == 1
    strip = page.get_by_role("list", name=f"Last results of {KNOWN}")
    assert strip.get_by_role("listitem").count() == 12
    last = strip.get_by_role("link").last
    assert last.inner_text().endswith("2026-11-12 02:10, 7.3.6: image-invalid (known)")
    assert last.get_attribute("aria-current") == "true"


def test_a_screen_reader_hears_the_charts(visit: Open) -> None:
    page = visit(INDEX).page
    charts = page.get_by_role("img", name="Image size over runs")
    assert charts.count() == len(CELLS)
    snapshot = page.get_by_role("article", name=ARM).first.aria_snapshot()
    assert 'img "Image size over runs' in snapshot
    first = page.get_by_role("article", name=ARM).locator("svg desc").first
    assert "12 runs, 2026-11-01 to 2026-11-12: first 2,144,942" in str(first.text_content())


# --- on paper and for the eye that wants rest ---------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_it_prints_on_white_without_its_controls(visit: Open, small: Path, name: str) -> None:
    page = visit(name, small, color_scheme="dark").page
    page.emulate_media(media="print", color_scheme="dark")
    assert brightness(page)
    assert not page.get_by_role("search").is_visible()
    assert not page.get_by_role("navigation").is_visible()
    assert page.locator("article").first.evaluate("one => getComputedStyle(one).breakInside") == (
        "avoid"
    )
    assert faults(page, CONTRAST) == []
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_nothing_moves_where_nothing_shall(visit: Open) -> None:
    smooth = "getComputedStyle(document.documentElement).scrollBehavior"
    assert visit(RUN, reduced_motion="reduce").page.evaluate(smooth) == "auto"
    assert visit(RUN, reduced_motion="no-preference").page.evaluate(smooth) == "smooth"
