"""A headless Chromium for the tests of pages, and a page that keeps what it complained of and asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (1024, 1900)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page is not opened")


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where Playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright here: the page is not opened")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, own: str, width: int = WIDTHS[0]) -> tuple[Any, list[str]]:
    """An empty page, and the list of its faults: words on the console, errors, dialogs, and requests for what is neither
    data nor begins with `own`.
    """
    page, faults = browser.new_page(viewport={"width": width, "height": 900}), list[str]()
    page.set_default_timeout(20_000)
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (faults.append(f"a script of the data ran: {dialog.message}"), dialog.dismiss()))
    kept = ("data:", "blob:", own)
    page.on("request", lambda request: None if request.url.startswith(kept) else faults.append(request.url))
    return page, faults


def fits(page: Any) -> bool:
    """Whether nothing of the page is cut at its width."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
