"""Every picture of docs: what makes it, from what, at what cost; and the gallery that lists them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import plots, real, simulated
from .records import ROOT, records
from .workshop import Workshop

DOCS = ROOT / "docs"
ENDINGS = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
FROM = {
    "records": "Drawn from the records in docs/measured: seconds, nothing but the package",
    "simulated": "Made from simulated data: minutes, nothing but the package (pages: and a Chromium)",
    "recordings": "Made from recordings, `--data`: not part of this package",
}
ELSEWHERE = {
    "tutorials/*": "made when the tutorials run",
    "peers*": "made with the page on peers",
}
"""Pictures that other programs of the handbook make, by pattern."""


@dataclass(frozen=True)
class Picture:
    """A picture of docs.

    Attributes
    ----------
    source : str
        A key of `FROM`.
    commands : tuple of str
        What a user types to see the same.
    cost : str
        Time on one core, without the project or the demo that it begins with.
    make : callable
        Writes the file, from a workshop.
    mean, worst : float
        What a picture made again may differ by, in grey levels of 255 (`compare.unlike`).
    """

    source: str
    commands: tuple[str, ...]
    cost: str
    make: Callable[[Workshop, Path], None]
    mean: float = 6.0
    worst: float = 90.0


def _plot(draw: Callable[..., None], shop: Workshop, path: Path) -> None:
    draw(records(), path)


def _of_records() -> dict[str, Picture]:
    command = ("python -m scripts.figures",)
    return {
        name: Picture("records", command, "a second", partial(_plot, draw), 0.5, 12.0)
        for name, (draw, _) in plots.PLOTS.items()
    }


PAGE = ("stimsynth demo --out demo", "stimsynth page demo/project --out look.html")
SERVE = (
    "stimsynth demo --out demo",
    "stimsynth refit demo/project",
    "stimsynth generate demo/project --round 3",
    "stimsynth serve demo/project --open",
)
SIMULATED = {
    "demo.jpg": Picture("simulated", ("stimsynth demo --out demo",), "3 CPU minutes", simulated.demo),
    "generators.jpg": Picture(
        "simulated",
        (
            "stimsynth demo --out demo",
            "stimsynth generate demo/project --wanted WANTED --out both --generator gradient,diffusion --match drive,contrast --seeds 2",
        ),
        "two minutes",
        simulated.generators,
    ),
    "pages_gallery.jpg": Picture("simulated", PAGE, "seconds", simulated.gallery),
    "pages_site.png": Picture("simulated", PAGE, "seconds", simulated.site),
    "pages_population.png": Picture("simulated", PAGE, "seconds", simulated.population),
    "pages_planner.png": Picture("simulated", PAGE, "seconds", simulated.planner),
    "report.jpg": Picture("simulated", ("stimsynth demo --out demo",), "3 CPU minutes", simulated.report),
    "serve_board.jpg": Picture("simulated", SERVE, "a minute", simulated.served),
    "serve_gallery.jpg": Picture(
        "simulated",
        (*SERVE[:3], 'stimsynth decide demo/project veto c0003 --reason "shows a face"', SERVE[3]),
        "a minute",
        simulated.served,
    ),
    "serve_decisions.jpg": Picture(
        "simulated", (*SERVE[:3], "stimsynth serve demo/project --allow-decisions --open"), "a minute", simulated.served
    ),
    "natural64.jpg": Picture(
        "simulated",
        ("python scripts/studies/prior_quality.py --out quality --samples 64",),
        "a minute",
        simulated.prior,
    ),
}
V4 = "the project `v4` of docs/formats/v4_cowley2023.md"


def _v4(
    name: str, *words: str, figure: str, width: int, cost: str, box: tuple[int, int, int, int] | None = None
) -> dict[str, Picture]:
    before = ("stimsynth generate v4 --out controllers",) if "controllers" in words else ()
    typed = " ".join(["stimsynth", *words])
    return {name: Picture("recordings", (*before, typed), cost, real.command(words, figure, width, box=box))}


DATA = "--data ../shared/data/v4_cowley2023"
RECORDED = {
    "fit.jpg": Picture("recordings", ("stimsynth report v4 --fit",), "seconds", real.fit),
    "preview.jpg": Picture("recordings", ("stimsynth generate v4", "stimsynth preview v4"), "10 minutes", real.preview),
    **_v4(
        "describe.jpg",
        "describe",
        "v4",
        "--out",
        "about",
        "--batch",
        "controllers",
        figure="montage.png",
        width=1360,
        cost="a minute",
    ),
    **_v4(
        "describe_clusters.png",
        "describe",
        "v4",
        "--out",
        "about",
        "--batch",
        "controllers",
        figure="clusters.png",
        width=1008,
        cost="a minute",
    ),
    **_v4(
        "tuning.jpg",
        "tuning",
        "v4",
        "--out",
        "series",
        "--sites",
        "v4_020,v4_042",
        figure="tuning.png",
        width=1200,
        cost="a minute",
    ),
    **_v4(
        "simple.jpg",
        "simplify",
        "v4",
        "--batch",
        "controllers",
        "--out",
        "simple",
        "--sites",
        "v4_020,v4_042",
        figure="simple.png",
        width=1100,
        cost="minutes",
    ),
    **_v4(
        "levels.jpg",
        "accentuate",
        "v4",
        "--out",
        "levels",
        "--sites",
        "v4_020",
        figure="levels.png",
        width=1260,
        cost="a minute",
    ),
    **_v4(
        "invariance_sets.jpg",
        "invariance",
        "v4",
        "--out",
        "sets",
        "--kind",
        "diverse",
        "--count",
        "6",
        figure="figure.png",
        width=1204,
        cost="minutes",
    ),
    **_v4(
        "invariance_levels.jpg",
        "invariance",
        "v4",
        "--out",
        "paths",
        "--kind",
        "levels",
        figure="figure.png",
        width=1248,
        cost="minutes",
    ),
    **_v4(
        "invariance_metamers.jpg",
        "invariance",
        "v4",
        "--out",
        "metamers",
        "--kind",
        "metamers",
        "--photographs",
        "2",
        "--count",
        "4",
        "--steps",
        "150",
        figure="figure.png",
        width=825,
        cost="minutes",
    ),
    **_v4(
        "discriminative.jpg",
        "discriminate",
        "v4",
        "--out",
        "types",
        "--seeds",
        "2",
        "--steps",
        "10",
        "--iterations",
        "3",
        "--changes",
        "0",
        figure="types.png",
        width=962,
        cost="minutes",
    ),
    **_v4(
        "controversial.png",
        "controversial",
        "v4",
        "--out",
        "apart",
        "--steps",
        "40",
        figure="pairs.png",
        width=1100,
        cost="minutes",
    ),
    **_v4("triplets.png", "triplets", "v4", "--out", "triplets", figure="triplets.png", width=1100, cost="a minute"),
    "evolution.png": Picture(
        "recordings",
        ("stimsynth generate v4 --out evolved --generator evolution --wanted WANTED",),
        "a minute",
        real.wanted(
            "evolved.toml",
            [("stretch", "v4_004"), ("stretch", "v4_012")],
            ["generate", "v4", "--out", "evolved", "--generator", "evolution", "--wanted", "evolved.toml"],
            "evolution.png",
            1050,
        ),
    ),
    "suppress.png": Picture(
        "recordings", ("stimsynth generate v4 --wanted tails.toml --out tails --steps 25",), "a minute", real.tails
    ),
    "groups.jpg": Picture(
        "recordings", ("stimsynth generate v4 --wanted areas.toml --out areas --seeds 5",), "minutes", real.groups
    ),
    "evolution_rig.png": Picture(
        "recordings",
        (f"python scripts/studies/evolution_rig.py {DATA} --out evolution_rig",),
        "3 CPU minutes",
        real.study("evolution_rig", "evolution_rig.png", 770),
    ),
    "search.png": Picture(
        "recordings",
        (
            "python scripts/studies/natural_search.py v4 --shared ../shared/data --out natural_search",
            "stimsynth generate v4 --out strongest --generator search --library natural_search/library --index natural_search/index --wanted strongest.toml --seeds 8",
        ),
        "5 minutes",
        real.search,
    ),
    "search_best.jpg": Picture(
        "recordings",
        (
            "python scripts/studies/natural_search.py v4 --shared ../shared/data --out natural_search",
            "stimsynth generate v4 --out strongest --generator search --library natural_search/library --index natural_search/index --wanted strongest.toml --seeds 8",
        ),
        "5 minutes",
        real.search_best,
    ),
}
PICTURES: dict[str, Picture] = {**_of_records(), **SIMULATED, **RECORDED}
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)#\s]+)\)")


def present() -> list[str]:
    """Every picture file under docs, from there."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*") if path.suffix.lower() in ENDINGS)


def elsewhere(name: str) -> str:
    """Who makes a picture that this program does not; "" where nobody does."""
    return next((told for pattern, told in ELSEWHERE.items() if fnmatch.fnmatch(name, pattern)), "")


def shown_on() -> Iterator[tuple[str, str, str]]:
    """(picture from docs, page from the root, text beside it) of every picture of README and docs, the gallery left out."""
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if page.name != "gallery.md":
            for text, target in SHOWN.findall(page.read_text(encoding="utf-8")):
                place = (page.parent / target).resolve()
                if place.is_relative_to(DOCS):
                    yield place.relative_to(DOCS).as_posix(), page.relative_to(ROOT).as_posix(), text


def gallery_page() -> str:
    """docs/gallery.md: every picture with the commands that make it."""
    uses: dict[str, list[tuple[str, str]]] = {}
    for name, page, text in shown_on():
        uses.setdefault(name, []).append((page, text))
    lines = [
        "# Gallery",
        "",
        "<!-- made by `python -m scripts.figures`; edit scripts/figures/pictures.py, not this page -->",
        "",
        "Every picture of these pages, with the commands that make it. `python -m scripts.figures --list` prints the same list with the measured tables;",
        "`python -m scripts.figures --only NAME` makes one picture again, with all that it begins with, and `--check` compares the committed pictures with new ones.",
        f'Commands with `v4` begin with {V4.replace("docs/formats/v4_cowley2023.md", "[recording 210325](formats/v4_cowley2023.md)")}, made whole by `init v4 --width 112 --colour grey` and `effort = "quick"`.',
        "",
    ]
    for source, about in FROM.items():
        lines += [
            f"## {about.partition(':')[0]}",
            "",
            about.partition(": ")[2][:1].upper() + about.partition(": ")[2][1:] + ".",
            "",
        ]
        for name, picture in PICTURES.items():
            if picture.source == source and name in uses:
                text = uses[name][0][1]
                links = ", ".join(
                    f"[{_title(page)}]({_link(page)})" for page in dict.fromkeys(page for page, _ in uses[name])
                )
                lines += [
                    f"### {name}",
                    "",
                    f"![{text}]({name})",
                    "",
                    f"{text}. On: {links}. Cost: {picture.cost}.",
                    "",
                    "```bash",
                    *picture.commands,
                    "```",
                    "",
                ]
    return "\n".join(lines).rstrip() + "\n"


def _title(page: str) -> str:
    first = (ROOT / page).read_text(encoding="utf-8").splitlines()[0]
    return re.sub(r"[`#]", "", first).strip()


def _link(page: str) -> str:
    return page.removeprefix("docs/") if page.startswith("docs/") else f"../{page}"
