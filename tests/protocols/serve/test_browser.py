"""The served pages in a headless Chromium: every view at two widths, with hostile names, while the project is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.project.decisions.record import read_decisions
from protocols.project.folder import Project
from tests.protocols.helpers import decided_project
from tests.protocols.helpers.browser import WIDTHS, chromium, needs_browser, opened
from tests.protocols.helpers.served_project import serving

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


class Watched:
    """A page that keeps what it complained about, and where it asked."""

    def __init__(self, browser: Any, address: Any, width: int) -> None:
        self.page, self.faults = opened(browser, f"http://127.0.0.1:{address.port}/", width)
        self.page.goto(address.url)
        self.page.wait_for_selector("#panel[data-shown='board']")

    def show(self, view: str) -> Any:
        self.page.evaluate(f"() => {{ location.hash = '#/{view}'; }}")
        self.page.wait_for_selector(f"#panel[data-shown='{view}']")
        return self.page


@pytest.mark.parametrize("count", [12, 200])
def test_every_view_is_drawn_without_a_complaint_at_both_widths(browser: Any, tmp_path: Path, count: int) -> None:
    project = decided_project.make(tmp_path / "lab", count, hostile=True)
    (project.cache / "shards" / "images_x").mkdir(parents=True)
    (project.cache / "shards" / "images_x" / "plan.json").write_text('{"schema": "<script>"}')
    ended = threading.Event()

    def writer() -> None:
        while not ended.wait(0.3):
            project.round(1).log("test", text=decided_project.HOSTILE)

    with serving(project, decisions=True) as (address, behind):
        threading.Thread(target=writer, daemon=True).start()
        watched = Watched(browser, address, WIDTHS[0])
        page = watched.page
        assert "token" not in page.url
        for view in behind.views:
            page.set_viewport_size({"width": WIDTHS[0], "height": 900})
            watched.show(view)
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), (view, width)
            assert not page.query_selector_all("#panel [role=alert]"), page.inner_text("#panel")[:500]
            assert all(page.evaluate("() => Array.from(document.images, (i) => i.hasAttribute('alt'))"))
        assert not watched.faults
        page.close()
        ended.set()


def test_keys_alone_lead_through_the_views_to_a_decision(browser: Any, lab: Project) -> None:
    with serving(lab, decisions=True) as (address, _):
        watched = Watched(browser, address, 1024)
        page = watched.page
        page.keyboard.press("Tab")
        seen = list[str]()
        for _ in range(12):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("() => document.activeElement.dataset.view || ''"))
            if seen[-1] == "decisions":
                break
        assert [s for s in seen if s][-1] == "decisions"
        page.keyboard.press("Enter")
        page.wait_for_selector("#panel[data-shown='decisions']")
        page.focus("input[aria-label=image]")
        page.keyboard.type("c0001")
        page.keyboard.press("Enter")
        page.wait_for_selector(".told.bad")
        assert "reason is needed" in page.inner_text(".told.bad")
        page.keyboard.type("<b>too dark</b>")
        page.keyboard.press("Enter")
        page.wait_for_selector("td:has-text('<b>too dark</b>')")
        assert not watched.faults
        page.close()
    kept = read_decisions(lab.folder)
    assert [(d.action, d.image, d.reason, d.who) for d in kept] == [
        ("veto", "ctl_r01_stretch_v4_000_s0", "<b>too dark</b>", "ann")
    ]


def test_two_pages_that_decide_see_one_another(browser: Any, lab: Project) -> None:
    """The second decides on what it saw before the first did: nothing is recorded, it is told, and it decides again."""
    with serving(lab, decisions=True) as (address, _):
        pages = [Watched(browser, address, 1024) for _ in range(2)]
        for watched in pages:
            watched.show("gallery")
        first, second = (watched.page for watched in pages)

        def veto(page: Any, reason: str) -> None:
            page.click(".card .open >> nth=0")
            page.fill("dialog input[aria-label=reason]", reason)
            page.click("dialog button:has-text('veto')")

        veto(first, "a face")
        first.wait_for_selector("dialog [role=status]:has-text('recorded')")
        second.wait_for_selector("#changed:not([hidden])")  # it has asked again, and still shows what it showed
        veto(second, "too dark")
        second.wait_for_selector("dialog [role=status]:has-text('ann: veto')")
        assert len(read_decisions(lab.folder)) == 1
        second.click("dialog button:has-text('approve')")
        second.wait_for_selector("dialog [role=status]:has-text('recorded')")
        assert [d.action for d in read_decisions(lab.folder)] == ["veto", "approve"]
        assert not pages[0].faults
        first.close()
        second.close()
