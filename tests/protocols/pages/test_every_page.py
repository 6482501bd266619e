"""Every HTML page that the program makes, in a real browser: with few and many sites of hostile names, at two widths, by
keyboard; nothing is asked of another host, nothing said on the console, nothing cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.helpers.browser import WIDTHS, chromium, fits, needs_browser, opened
from tests.protocols.helpers.every_page import PACKAGES, PAGES, ROOT, Opened, hostile_names, page_makers

CUT = """() => {
  const told = [];
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('svg.store, caption') || !e.clientWidth || e.scrollWidth <= e.clientWidth + 1) continue;
    const x = getComputedStyle(e).overflowX;
    if (x === 'auto' || x === 'scroll') {
      if (e.tabIndex < 0 && !e.querySelector('a, button, input, [tabindex="0"]')) told.push('no keyboard in ' + e.outerHTML.slice(0, 80));
    }
    else if (x === 'hidden' || x === 'clip') told.push('cut: ' + e.outerHTML.slice(0, 80));
  }
  return told;
}"""
"""Elements whose content is wider than they are: cut without a way to it, or scrolled by a pointer alone."""
OVER = """() => {
  const told = [];
  for (const frame of document.querySelectorAll('table')) {
    let holder = frame.parentElement;
    while (holder !== document.body && !['auto', 'scroll'].includes(getComputedStyle(holder).overflowX)) holder = holder.parentElement;
    const right = holder === document.body ? innerWidth : holder.getBoundingClientRect().left + holder.scrollWidth;
    if (frame.getBoundingClientRect().right - (holder === document.body ? 0 : -holder.scrollLeft) > right + 1)
      told.push('table outside of its frame: ' + frame.textContent.slice(0, 60));
  }
  return told;
}"""
STOPS = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')]
  .filter(e => e.tabIndex >= 0 && !e.disabled && e.checkVisibility() && !(e.type === 'radio' && !e.checked)).length"""
FOCUSED = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  if (!window.stops) window.stops = new Map();
  if (!window.stops.has(e)) window.stops.set(e, window.stops.size);
  const s = getComputedStyle(e), seen = s.outlineStyle !== 'none' || s.boxShadow !== 'none' || e.matches('input, select, textarea, svg *');
  return [window.stops.get(e), seen ? '' : e.outerHTML.slice(0, 80)];
}"""
MOST_STOPS = 40
WIDE = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='1300' height='400'/%3E"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def test_every_maker_of_a_page_is_in_the_catalogue() -> None:
    """A new page is opened in a browser, too; and each comes from a template that escapes what stands in it."""
    assert page_makers() == set(PAGES)
    templates = set[str]()
    for path in (p for package in PACKAGES for p in (ROOT / package).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<(html|body|head|style)\b", text, re.IGNORECASE), f"{path}: a page without a template"
        if "from jinja2" in text:
            made = re.findall(r"\bEnvironment\(([^)]*)\)", text)
            assert made == ["autoescape=True"], path
            templates |= set(re.findall(r"[\w/.]+\.html", text))
    there = {p.name for package in PACKAGES for p in (ROOT / package).rglob("*.html")}
    assert there <= {Path(name).name for name in templates}


def test_a_page_that_is_not_in_the_catalogue_is_found(tmp_path: Path) -> None:
    (tmp_path / "protocols" / "new").mkdir(parents=True)
    (tmp_path / "protocols" / "new" / "text.py").write_text(
        "def filled(t):\n    return E(autoescape=True).from_string(t)\n"
    )
    door = "from .text import filled\n\ndef write_new(path):\n    write_text(path, filled('x'))\n"
    (tmp_path / "protocols" / "new" / "door.py").write_text(door)
    assert page_makers(tmp_path) == {"protocols/new/door.py:write_new"}


@needs_browser
@pytest.mark.parametrize("count", [12, pytest.param(200, marks=[pytest.mark.thorough, pytest.mark.slow])])
@pytest.mark.parametrize("maker", PAGES)
def test_a_page_asks_for_nothing_and_shows_every_site(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str, count: int
) -> None:
    """Figures of few sites are not drawn, but as wide as such figures are."""
    names = hostile_names(count)
    if count < 100:
        monkeypatch.setattr("protocols.report.section.as_data_uri", lambda _: WIDE)
    with PAGES[maker](tmp_path, names) as made:
        page, faults = opened(browser, made.own)
        page.goto(made.url)
        shown = ""
        for view in made.views or [""]:
            _show(page, made, view)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert fits(page), f"{view} is cut at {width} px"
                assert not page.evaluate(CUT), (view, width)
                assert not page.evaluate(OVER), (view, width)
            assert page.evaluate("[...document.images].every(image => image.alt)"), view
            assert page.evaluate("[...document.querySelectorAll('svg[role=img]')].every(e => e.ariaLabel)"), view
            shown += " " + " ".join((page.text_content("body") + " ".join(page.evaluate(LABELS))).split())
            _walk(page, view)
        missing = [name for name in names if name not in shown]
        assert not missing
        page.close()
    assert faults == []


LABELS = "[...document.querySelectorAll('[aria-label], option')].map(e => e.ariaLabel || e.textContent)"


def _show(page: Any, made: Opened, view: str) -> None:
    if view:
        page.evaluate("view => { location.hash = view; }", view)
        page.wait_for_selector(made.drawn.format(view.strip("#/")))
        assert not page.query_selector_all("#panel [role=alert]"), page.inner_text("#panel")[:500]


def _walk(page: Any, view: str) -> None:
    """Tab leads from one control to the next, each once and each with a mark that is seen, and from the first views on."""
    page.evaluate(
        "() => { document.activeElement.blur(); window.stops = new Map(); getSelection().removeAllRanges(); }"
    )
    wanted, met = min(page.evaluate(STOPS), MOST_STOPS), set[int]()
    live = page.query_selector("script:not([type='application/json'])")
    assert wanted or not live, f"{view}: nothing can be reached by the keyboard"
    for _ in range(wanted):
        page.keyboard.press("Tab")
        found = page.evaluate(FOCUSED)
        if found is None:  # from the end of the page to its beginning, by way of the window
            continue
        assert not found[1], f"{view}: the focus is not seen on {found[1]}"
        met.add(found[0])
    assert len(met) >= wanted - 2, f"{view}: {len(met)} of {wanted} controls are reached"
