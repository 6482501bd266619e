"""Pictures of recorded V4 sites: commands of stimsynth on the project of recording 210325, and figures of studies."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from .studies import TAILS, WORK, run
from .workshop import Workshop, pictured, reduced

Make = Callable[[Workshop, Path], None]
GROUPS = (20, 25, 34, 39, 41, 42), (1, 9, 10, 11, 17, 44)
"""Numbers of the sites of docs/objectives.md."""


def command(words: Sequence[str], figure: str, width: int, *, box: tuple[int, int, int, int] | None = None) -> Make:
    """The maker of a picture that a command of stimsynth writes into its folder."""

    def make(shop: Workshop, path: Path) -> None:
        folder = shop.v4()
        if "controllers" in words:
            shop.stimsynth(folder, "generate", "v4", "--out", "controllers")
        shop.stimsynth(folder, *words)
        out = words[words.index("--out") + 1]
        reduced(folder / out / figure, path, width, box=box)

    return make


def wanted(name: str, objectives: Sequence[tuple[str, str]], words: Sequence[str], figure: str, width: int) -> Make:
    """The maker of a picture of a batch whose objectives stand in a file."""

    def make(shop: Workshop, path: Path) -> None:
        shop.wanted(shop.v4(), name, *objectives)
        command(words, figure, width)(shop, path)

    return make


def fit(shop: Workshop, path: Path) -> None:
    """The page of the fit."""
    folder, raw = shop.v4(), shop.work / "fit_raw.png"
    shop.stimsynth(folder, "report", "v4", "--fit")
    source = folder / "v4/fitted/for_round_01/fit.html"
    pictured(source, raw, size=(1024, 1100))
    reduced(raw, path, 1024, quality=85)


def preview(shop: Workshop, path: Path) -> None:
    """The preview of a round, of the project with the aperture."""
    folder, raw = shop.v4(disc=True), shop.work / "preview_raw.png"
    shop.stimsynth(folder, "generate", "v4")
    shop.stimsynth(folder, "preview", "v4", "--out", "look.html")
    pictured(folder / "look.html", raw, size=(1400, 1260))
    reduced(raw, path, 1400, quality=85)


def groups(shop: Workshop, path: Path) -> None:
    """Two groups of six sites: both ends of the second principal component of the measured mean responses."""
    folder = shop.v4()
    names = ["".join(f'"v4_{i:03d}", ' for i in some).rstrip(", ") for some in GROUPS]
    text = f'[[objective]]\nkind = "groups"\nfirst = [{names[0]}]\nsecond = [{names[1]}]\n'
    (folder / "areas.toml").write_text(text, encoding="utf-8")
    shop.stimsynth(folder, "generate", "v4", "--wanted", "areas.toml", "--out", "areas", "--seeds", "5")
    reduced(folder / "areas/groups.png", path, 1000)


def tails(shop: Workshop, path: Path) -> None:
    """Both tails of four sites: the first row of the contact sheet."""
    folder = shop.v4()
    shop.wanted(folder, "tails.toml", *TAILS)
    shop.stimsynth(folder, "generate", "v4", "--wanted", "tails.toml", "--out", "tails", "--steps", "25")
    reduced(folder / "tails/contact_sheet.png", path, 800)


def study(name: str, figure: str, width: int) -> Make:
    """The maker of a picture that a study writes."""

    def make(shop: Workshop, path: Path) -> None:
        outcome = run(name, places(shop))
        target = outcome.folder / figure
        with Image.open(target) as opened:
            if opened.width <= width:
                shutil.copy(target, path)
                return
        reduced(target, path, width)

    return make


def places(shop: Workshop) -> dict[str, Path]:
    """What the commands of studies name: recordings, what lies beside them, the project."""
    found = {"work": WORK}
    if shop.data is not None:
        found |= {"data": shop.recordings(), "shared": shop.data.parent, "v4": shop.work / "square" / "v4"}
    return found


def library(shop: Workshop) -> Path:
    """The folder with the search of the library of photographs, after the study that indexes it."""
    return run("library", places(shop)).folder / "strongest"


def search(shop: Workshop, path: Path) -> None:
    """Scores of the library at four sites."""
    shutil.copy(library(shop) / "search.png", path)


def search_best(shop: Workshop, path: Path) -> None:
    """The best photographs of the library for these sites."""
    reduced(library(shop) / "best/contact_sheet.png", path, 1200)
