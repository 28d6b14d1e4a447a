# SPDX-License-Identifier: GPL-2.0-only
"""A headless Chromium for tests: one per worker, started when the first test asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

# Beside what Playwright gives by itself (--headless, --no-sandbox, --no-first-run, an empty
# profile, no background networking, no component updates).
ARGUMENTS = ["--disable-gpu", "--disable-quic", "--disable-sync"]
# Milliseconds: a page that hangs ends a test, a machine with much to do does not.
PATIENCE = 600_000
_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium, or Playwright's own. Fails where there is none: see packages.yaml."""
    found = next((path for path in map(shutil.which, _NAMES) if path), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=ARGUMENTS, timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that it said or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.requests: list[str] = []
        self.refused: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda one: self.refused.append(f"{one.url} {one.failure}"))
