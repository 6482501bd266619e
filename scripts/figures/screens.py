"""Pictures of pages, by the Chromium of this machine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .records import ROOT
from .workshop import Missing

PATIENCE = 180_000  # milliseconds, on a busy machine
READY = "() => Array.from(document.images).every((image) => image.complete)"


@contextmanager
def page(width: int, height: int) -> Iterator[Any]:
    """A page of that size.

    Raises
    ------
    Missing
        Where neither Chromium nor Playwright is installed.
    """
    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("a browser: install playwright (`make test` does)") from None
    if browser_path is None:
        raise Missing("a browser: install Chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": width, "height": height})
        opened.set_default_timeout(PATIENCE)
        yield opened
        browser.close()


def frozen(
    source: Path, target: Path, *, size: tuple[int, int], tab: str = "", choose: dict[str, str] | None = None
) -> None:
    """A tab of a page that `stimsynth page` or `preview` wrote, as PNG; `choose` sets selects by their label."""
    with page(*size) as opened:
        opened.goto(source.as_uri() + (f"#{tab}" if tab else ""))
        for label, value in (choose or {}).items():
            opened.get_by_label(label, exact=False).first.select_option(label=value)
        opened.wait_for_function(READY)
        opened.wait_for_timeout(300)
        opened.screenshot(path=target)


def served(project: Path, target: Path, view: str, *, size: tuple[int, int] = (1024, 700)) -> None:
    """A view of `stimsynth serve PROJECT --allow-decisions`, as PNG. Nothing is decided."""
    command = [sys.executable, "-m", "protocols", "--quiet", "serve", str(project), "--allow-decisions"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert server.stdout is not None
    try:
        url = next(line.strip() for line in server.stdout if line.startswith("http://"))
        with page(*size) as opened:
            opened.goto(url)
            opened.goto(f"{url.partition('?')[0]}#/{view}")
            opened.wait_for_selector(f"#panel[data-shown='{view}']")
            opened.wait_for_function("() => Array.from(document.images).every((i) => i.complete && i.naturalWidth)")
            opened.screenshot(path=target)
    finally:
        server.terminate()
        server.wait()
