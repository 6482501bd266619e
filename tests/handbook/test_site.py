"""The site of the documentation: every page has its place, looks as on a forge, and loads nothing from another host."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
hooks = pytest.importorskip("scripts.handbook.hooks", reason="mkdocs is not installed")

PAGES = {path.relative_to(ROOT / "docs").as_posix(): path for path in sorted((ROOT / "docs").rglob("*.md"))}
BROUGHT = {uri: ROOT / place for place, uri in hooks.BROUGHT.items() if place != "README.md"}
MADE = {f"api/{package}.md" for package in hooks.PACKAGES}
NAVIGATION = re.findall(r"([\w./-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_every_page_stands_in_the_navigation_once() -> None:
    assert sorted(NAVIGATION) == sorted({*PAGES, *BROUGHT, *MADE})


def structure(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(li|pre|table|tr|h[1-4]|ul|ol|img|blockquote)\b", html))


@pytest.mark.parametrize("uri", sorted({**PAGES, **BROUGHT}))
def test_a_page_has_the_lists_tables_and_programs_that_a_forge_shows(uri: str) -> None:
    import markdown
    from markdown_it import MarkdownIt

    text = {**PAGES, **BROUGHT}[uri].read_text(encoding="utf-8")
    forge = MarkdownIt("commonmark").enable("table").render(text)
    extensions = ["tables", "sane_lists", "pymdownx.superfences", "pymdownx.highlight"]
    options = {"pymdownx.highlight": {"use_pygments": False}}
    site = markdown.markdown(
        hooks.deeper(text) if uri in BROUGHT else text, extensions=extensions, extension_configs=options
    )
    assert structure(site) == structure(forge)


@pytest.mark.parametrize("uri", sorted({**PAGES, **BROUGHT}))
def test_links_of_a_page_lead_to_a_place_of_the_site(uri: str) -> None:
    text = hooks.FENCE.sub("", hooks.rewritten({**PAGES, **BROUGHT}[uri].read_text(encoding="utf-8"), uri))
    for match in hooks.LINK.finditer(text):
        there = hooks.place_of(match[3], uri)
        if there.startswith("repository/"):
            assert (ROOT / there.removeprefix("repository/")).is_file(), match[0]
        else:
            assert there in {*PAGES, *BROUGHT, *MADE} or (ROOT / "docs" / there).is_file(), match[0]


def test_links_out_of_the_folder_lead_into_the_site() -> None:
    text = "[a](docs/key.md#x) [b](docs) [c](scripts/rooms.py) [d](tests/) [e](https://x.org) `[f](g.md)`"
    assert hooks.rewritten(text, "CONTRIBUTING.md") == (
        "[a](key.md#x) [b](index.md) [c](repository/scripts/rooms.py) d [e](https://x.org) `f`"
    )
    assert hooks.rewritten("[a](../key.md) ![p](../demo.jpg)", "formats/nwb.md") == "[a](../key.md) ![p](../demo.jpg)"
    assert hooks.rewritten("```\n[a](scripts/rooms.py)\n```", "SECURITY.md") == "```\n[a](scripts/rooms.py)\n```"


@pytest.mark.parametrize(
    "text",
    [
        '<script async src="https://cdn.x.org/a.js"></script>',
        "<script src='//cdn.x.org/a.js'></script>",
        '<link rel="stylesheet" href="https://fonts.x.org/css">',
        '<link href="https://fonts.x.org" rel="preconnect">',
        '<img alt="a" src="http://x.org/a.png">',
        "@font-face { src: url(https://x.org/a.woff2) }",
        '@import "https://x.org/a.css";',
    ],
)
def test_what_would_be_loaded_from_another_host_is_seen(text: str) -> None:
    assert hooks.foreign_loads(text)


def test_links_and_own_files_are_not_loads_from_another_host() -> None:
    text = '<a href="https://x.org">x</a><script src="../a.js"></script><link rel="icon" href="a.png"><img src="b.png">'
    assert hooks.foreign_loads(text) == []
    worker = '<script src="https://unpkg.com/iframe-worker/shim"></script>'
    assert hooks.without_hosts(worker, "api/synth.md") == '<script src="../assets/worker.js"></script>'
    assert hooks.foreign_loads(worker)


@pytest.mark.parametrize("package", hooks.PACKAGES)
def test_the_reference_has_every_public_name(package: str) -> None:
    import importlib

    names = hooks.public_names(package)
    assert sorted(names) == sorted(importlib.import_module(package).__all__)
    assert re.findall(r"^::: (\S+)$", hooks.reference(package), flags=re.MULTILINE) == [
        f"{home}.{name}" for name, home in sorted(names.items(), key=lambda item: item[0].lower())
    ]
