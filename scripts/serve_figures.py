"""Pictures of the served pages for docs/serve.md, from a headless Chromium.

    python scripts/serve_figures.py PROJECT docs

PROJECT is served as `stimsynth serve PROJECT --allow-decisions` does, each view is opened at 1024 px, and its first 700 px are written
as docs/serve_VIEW.jpg. Nothing is decided.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

VIEWS = ("board", "gallery", "decisions")


def draw(project: Path, out: Path) -> list[Path]:
    """Write one picture per view of `VIEWS`; returns their paths."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "protocols", "--quiet", "serve", str(project), "--allow-decisions"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    drawn = []
    try:
        url = next(line.strip() for line in server.stdout if line.startswith("http://"))
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1024, "height": 700})
            page.goto(url)
            for view in VIEWS:
                page.goto(f"{url.partition('?')[0]}#/{view}")
                page.wait_for_selector(f"#panel[data-shown='{view}']")
                page.wait_for_function("() => Array.from(document.images).every((i) => i.complete && i.naturalWidth)")
                path = out / f"serve_{view}.jpg"
                page.screenshot(path=path, type="jpeg", quality=70)
                drawn.append(path)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    return drawn


def main() -> None:
    """Draw and print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    for path in draw(given.project, given.out):
        print(path)


if __name__ == "__main__":
    main()
