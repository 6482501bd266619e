"""The frozen page in a real browser: no request, no error, every view by keyboard, whatever the names are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.pages.frozen import script_json, write_frozen
from protocols.pages.views import VIEWS
from protocols.project.folder import Project
from tests.protocols.helpers import viewed_project
from tests.protocols.helpers.browser import chromium, needs_browser, opened
from tests.protocols.helpers.pages import run_page

pytestmark = pytest.mark.xdist_group("views")


@given(st.recursive(st.text(max_size=20), lambda inner: st.dictionaries(st.text(max_size=20), inner, max_size=3)))
@settings(max_examples=60, deadline=None)
def test_no_text_ends_the_script_it_stands_in(value: Any) -> None:
    text = script_json({"a": value, "b": viewed_project.HOSTILE})
    assert json.loads(text) == {"a": value, "b": viewed_project.HOSTILE}
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.fixture(scope="module")
def hostile(evaluated: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return viewed_project.hostile(evaluated, tmp_path_factory.mktemp("frozen") / "hostile")


@pytest.fixture(scope="module")
def page(hostile: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page, opened; what it asked for elsewhere and complained of stands in `faults`."""
    path = write_frozen(hostile, tmp_path_factory.mktemp("page") / "page.html", plan=False)
    with chromium() as browser:
        page, page_faults = opened(browser, path.as_uri())
        page.faults = page_faults
        page.goto(path.as_uri())
        page.address = path.as_uri()
        yield page


def slips(text: str) -> list[str]:
    """What JavaScript writes where a value is none."""
    return [word for word in ("[object", "undefined", "NaN", "null", "Infinity") if word in text]


def tab(page: Any, name: str) -> None:
    page.click(f"#tab-{name}")


@needs_browser
def test_all_views_are_reached_by_keyboard_and_fit_the_window(page: Any) -> None:
    for width in (1900, 1024):
        page.set_viewport_size({"width": width, "height": 800})
        page.focus("#tab-gallery")
        page.keyboard.press("Home")
        for view in VIEWS.values():
            assert page.evaluate("document.activeElement.id") == f"tab-{view.name}"
            assert page.get_attribute(f"#tab-{view.name}", "aria-selected") == "true"
            assert page.inner_text("#panel h2") == view.title
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (view.name, width)
            assert page.evaluate("Array.from(document.querySelectorAll('img')).every(i => i.alt)")
            assert not slips(page.text_content("#panel")), view.name
            page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-gallery"
    assert page.faults == []
    assert page.evaluate("document.querySelectorAll('img[onerror]').length") == 0


@needs_browser
def test_images_are_enlarged_walked_and_compared(page: Any) -> None:
    tab(page, "gallery")
    page.focus("article .open")
    page.keyboard.press("Enter")
    first = page.inner_text("dialog [role=status]")
    page.keyboard.press("ArrowRight")
    second = page.inner_text("dialog [role=status]")
    assert (first.split(":")[0], second.split(":")[0]) == ("1 of 3", "2 of 3")
    assert viewed_project.HOSTILE.replace("\u2028", "") in page.text_content("dialog .zoom table").replace("\u2028", "")
    assert not slips(page.text_content("dialog"))
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('dialog')")
    assert page.evaluate("document.activeElement.className") == "open"
    for box in page.locator("article input[type=checkbox]").all()[:2]:
        box.check()
    page.click("text=compare")
    assert page.locator("dialog table.compare thead img").count() == 2
    assert page.locator("dialog button", has_text="veto").count() == 0  # nothing can be decided in a frozen page
    page.keyboard.press("Escape")
    page.select_option("label:has-text('Sort by') select", "gain")
    gains = [
        a["verdict"]["gain"] for i in _data(page, "gallery")["images"] if i["role"] == "controller" for a in i["at"]
    ]
    top = page.text_content("article b")
    best = max(range(3), key=lambda k: gains[k])
    assert (
        top == [a["site"] for i in _data(page, "gallery")["images"] if i["role"] == "controller" for a in i["at"]][best]
    )


def _data(page: Any, name: str) -> dict[str, Any]:
    return dict(page.evaluate("name => JSON.parse(document.getElementById('data').textContent).data[name]", name))


@needs_browser
def test_tables_sort_by_keyboard_numbers_as_numbers_and_empty_last(page: Any) -> None:
    tab(page, "site")
    rows = _data(page, "site")["table"]["rows"]
    head = page.locator("table.data").first.locator("thead th")
    place = head.all_text_contents().index("reliability")
    head.nth(place).locator("button").focus()
    for direction in ("descending", "ascending"):
        page.keyboard.press("Enter")
        assert head.nth(place).get_attribute("aria-sort") == direction
        shown = page.locator("table.data").first.locator(f"tbody tr td:nth-child({place + 1})").all_text_contents()
        told = sorted((r["reliability"] for r in rows), reverse=direction == "descending")
        assert shown == [f"{v:.2f}" for v in told]
    table = [["b", "10"], ["a", "-"], ["c", "9.5 (n 3)"], ["d", "-2"], ["e", ""], ["f", "1e2"], ["g", "text"]]
    order = page.evaluate(
        """lines => {
            const s = stimsynth, t = s.make("table", null, s.make("tr", null, s.make("th", null, "x"), s.make("th", null, "y")),
              lines.map(l => s.make("tr", null, l.map(c => s.make("td", null, c)))));
            document.body.append(t); s.sortable(t);
            const read = () => Array.from(t.querySelectorAll("tr")).slice(1).map(r => r.firstChild.textContent).join("");
            t.sortBy(1); const down = read(); t.sortBy(1); const up = read(); t.remove(); return [down, up];
        }""",
        table,
    )
    assert order == ["fbcdgae", "dcbfgae"]


@needs_browser
def test_a_site_is_walked_by_keyboard_and_shows_its_photographs(page: Any) -> None:
    tab(page, "site")
    curve = _data(page, "site")["by_site"][_data(page, "site")["first"]]["tunings"][0]
    page.focus(".slider")
    for key, place in (("ArrowRight", 1), ("End", len(curve["names"]) - 1), ("Home", 0)):
        page.keyboard.press(key)
        told = page.get_attribute(".slider >> nth=0", "aria-valuetext")
        assert told == f"{place + 1}: {curve['names'][place]}, {curve['mean'][place]:.2f}"
        assert page.locator(".beside img").first.get_attribute("src").startswith("data:image/webp;base64,")
    page.select_option("label:has-text('Site') select", viewed_project.HOSTILE)
    assert viewed_project.HOSTILE.split("\u2028")[0] in page.text_content("#panel h3")


@needs_browser
@pytest.mark.parametrize(
    ("place", "view"), [("site/v4_012", "site"), ("array", "array"), ("nothing", "gallery"), ("site/%E0%A4%A", "site")]
)
def test_the_address_names_a_view_and_a_site(page: Any, place: str, view: str) -> None:
    page.evaluate("place => { location.hash = place; }", place)
    page.wait_for_function("view => document.getElementById('tab-' + view).ariaSelected === 'true'", arg=view)
    if place == "site/v4_012":
        assert page.text_content("#panel h3 >> nth=0") == "v4_012"
    assert page.faults == []


@needs_browser
def test_the_array_and_the_matrix_are_walked_by_keyboard(page: Any) -> None:
    tab(page, "array")
    page.focus("svg.array g[tabindex='0']")
    page.keyboard.press("ArrowRight")
    sites = [s["site"] for s in _data(page, "array")["sites"]]
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"{sites[1]}: ")
    page.keyboard.press("Enter")
    assert page.get_attribute("#tab-site", "aria-selected") == "true"
    assert page.text_content("#panel h3 >> nth=0") == sites[1]
    tab(page, "population")
    data = _data(page, "population")
    page.focus("canvas.matrix")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    value = data["values"][1][1]
    assert page.text_content("#panel > div > p[role=status]").endswith(f"{data['images'][1]['name']}: {value:+.2f} SD")
    page.keyboard.press("s")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    best = int(np.argmax([row[1] for row in data["values"]]))
    told = f"{data['sites'][1]}, {data['images'][best]['kind']} {data['images'][best]['name']}"
    assert page.text_content("#panel > div > p[role=status]").startswith(told)


@needs_browser
def test_the_planner_shows_the_numbers_that_it_was_given(page: Any) -> None:
    rng = np.random.default_rng(0)
    targets, minutes, factors = [1, 4], [10.0, 20.0, 40.0], [0.5, 1.0]
    grid = {
        "minutes": minutes, "targets": targets, "factors": factors, "sites": ["a", "b", "c", "<i>"],
        "shown": [[0, 8, 12], [0, 0, 9]], "presentations": [100, 200, 400],
        "found": {"stretch": rng.uniform(0, 4, (2, 3, 2)).tolist()}, "true": {"stretch": rng.uniform(2, 4, (2, 2)).tolist()},
    }  # fmt: skip
    configured = {"minutes": 19.0, "presentations": 190, "targets": 4, "repeats": [8, 8], "by_hand": False,
                  "found": {"stretch": 1.0}, "true": {"stretch": 2.0}}  # fmt: skip
    data = {"grid": grid, "labels": {"stretch": "stretch"}, "gains": {"stretch": 0.3}, "round": 1, "notes": ["<b>"],
            "gain_units": {"stretch": "fraction"}, "configured": configured, "overhead": True, "note": "-"}  # fmt: skip
    page.evaluate(
        "data => { const root = stimsynth.make('div', {id: 'probe', class: 'ss'}); document.body.append(root);"
        " stimsynth.views.planner(root, data, {go: () => {}}); }",
        data,
    )
    assert page.locator("#probe input[type=range]").evaluate_all("all => all.map(i => i.value)") == ["1", "1", "1"]
    for n in range(2):
        for m in range(3):
            for g in range(2):
                for k, place in enumerate((m, n, g)):
                    page.locator("#probe input[type=range]").nth(k).fill(str(place))
                found, true = grid["found"]["stretch"][n][m][g], grid["true"]["stretch"][n][g]
                assert page.text_content("#probe .find b") == f"{found:.1f}"
                assert f"of {true:.1f} true controls at {targets[n]} sites" in page.text_content("#probe .find")
                assert str(grid["presentations"][m]) in page.text_content("#probe > p")
    page.evaluate("document.getElementById('probe').remove()")
    assert page.faults == []


def test_the_commands_of_the_page_work(hostile: Project, tmp_path: Path) -> None:
    (tmp_path / "mylab").symlink_to(hostile.folder)
    (printed,) = run_page("docs/pages.md", tmp_path)
    assert "look.html" in printed


@needs_browser
def test_a_decision_needs_a_reason_and_is_told_to_whoever_records_it(page: Any) -> None:
    tab(page, "gallery")
    images = _data(page, "gallery")
    page.evaluate(
        "data => { const root = stimsynth.make('div', {id: 'probe', class: 'ss'}); document.body.append(root); window.told = [];"
        " stimsynth.views.gallery(root, data, {image: () => null, go: () => {}, query: {}, decide: d => {"
        "   told.push(d); return d.decision === 'veto' ? Promise.resolve({text: 'recorded as <b>1</b>'}) : Promise.reject(new Error('others decided')); } }); }",
        images,
    )
    page.click("#probe article .open")
    page.click("dialog >> text=veto")
    assert page.evaluate("told") == []
    assert page.text_content("dialog .tools:last-of-type [role=status]") == "a reason is needed"
    page.fill("dialog input[aria-label=reason]", " it looks like a face ")
    page.click("dialog >> text=veto")
    page.wait_for_function("document.querySelector('dialog').textContent.includes('recorded as <b>1</b>')")
    page.click("dialog >> text=approve")
    page.wait_for_function("document.querySelector('dialog').textContent.includes('others decided')")
    told = page.evaluate("told")
    first = next(i for i in images["images"] if i["id"] == told[0]["image"])
    assert [(d["decision"], d["reason"]) for d in told] == [(w, "it looks like a face") for w in ("veto", "approve")]
    assert (told[0]["name"], told[0]["round"], told[0]["at"]) == (first["name"], 1, first["at"])
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('probe').remove()")


def test_the_text_of_the_page_holds_no_name_as_markup(hostile: Project, tmp_path: Path) -> None:
    text = write_frozen(hostile, tmp_path / "p.html", plan=False).read_text(encoding="utf-8")
    assert viewed_project.HOSTILE not in text
    assert text.count("<script") == 3
