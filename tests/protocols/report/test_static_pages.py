"""Pages without a server in a real browser, with few and many sites of hostile names: nothing is asked for, nothing is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.preview.page import write_preview
from protocols.preview.proposals import Preview, Proposal, Range
from protocols.project.display import Display
from protocols.project.fitted import write_fitted
from protocols.project.folder import Project
from protocols.report.fits.page import write_fit
from tests.protocols.helpers.browser import WIDTHS, chromium, fits, needs_browser, opened
from tests.protocols.report.test_fit_page import HOSTILE, record, site

pytestmark = needs_browser


def hostile_names(count: int) -> list[str]:
    """Names of sites: text that would be a tag, a formula, the end of an attribute; and long ones."""
    return [f"{HOSTILE[i % len(HOSTILE)]}{i:03d}" for i in range(count - 1)] + ["v4_" + "a" * 60]


def fit_page(folder: Path, names: list[str]) -> Path:
    from protocols.cli.projects import init

    init(folder / "lab", width=32)
    lab = Project.open(folder / "lab")
    sites = [site(name, rf_x_deg=0.01 * i, eligible_target=i % 3 > 0) for i, name in enumerate(names)]
    write_fitted(lab.fitted, 1, record(sites))
    return write_fit(lab)


def preview_page(folder: Path, names: list[str]) -> Path:
    rng = np.random.default_rng(0)

    def image() -> np.ndarray[Any, np.dtype[np.uint8]]:
        return rng.integers(0, 256, (32, 32, 1), dtype=np.uint8)

    proposals = []
    for i, name in enumerate(names):
        z = rng.normal(1, 1, len(names))
        proposals.append(
            Proposal(
                name=f"c{i:04d}", objective="stretch", site=name, seed=0, best=True, pixels=image(), start=HOSTILE[0], z=z,
                low=z - 0.5, high=z + 0.5, validator_z=1.0, distance=1.2, outside=bool(i % 2), clipped=0.1, contrast=0.2, chroma=0.0,
                decision=HOSTILE[2],
            )
        )  # fmt: skip
    preview = Preview(
        project=HOSTILE[0], session="ses_a", encoder="enc_a", validator="enc_b", number=1, exported=False, site_ids=names,
        proposals=proposals, best={name: (HOSTILE[1], image(), 2.0) for name in names},
        circles={name: (16.0, 16.0, 5.0) if i % 2 else None for i, name in enumerate(names)},
        contrast=Range(0.1, 0.2, 0.3), chroma=Range(0.0, 0.0, 0.0), warnings=[HOSTILE[0]],
    )  # fmt: skip
    display = Display(width_px=32, height_px=32, size_deg=4.0, background=128)
    return write_preview(preview, folder / "preview.html", display=display, plan=HOSTILE[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize("count", [12, 200])
@pytest.mark.parametrize("make", [fit_page, preview_page])
def test_a_page_asks_for_nothing_and_shows_every_site(browser: Any, tmp_path: Path, make: Any, count: int) -> None:
    names = hostile_names(count)
    path = make(tmp_path, names)
    page, faults = opened(browser, path.as_uri())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        assert fits(page), f"cut at {width} px"
    shown = " ".join(page.text_content("body").split())
    missing = [name for name in names if " ".join(name.split()) not in shown]
    assert not missing
    assert page.evaluate("[...document.images].every(image => image.alt)")
    assert page.evaluate("[...document.querySelectorAll('script')].every(s => !s.textContent.startsWith('alert('))")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body"), "nothing can be reached by the keyboard"
    page.close()
    assert faults == []
