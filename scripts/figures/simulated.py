"""Pictures that need nothing but the package: the demo, the pages of its project, samples of the embedded prior."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

from .records import ROOT
from .workshop import Workshop, environment, pictured, reduced, served_view

SITES = ("sim_000", "sim_002", "sim_005", "sim_007")


def demo(shop: Workshop, path: Path) -> None:
    """Controllers of the demo's last round."""
    (sheet,) = (shop.demo() / "demo/project/sessions").glob("*/round_02/controllers.png")
    reduced(sheet, path, 1152)


def generators(shop: Workshop, path: Path) -> None:
    """Both generators on the demo's project, at equal drive and contrast."""
    folder = shop.demo()
    wanted = shop.wanted(folder, "wanted.toml", *((kind, site) for kind in ("stretch", "one_hot") for site in SITES))
    shop.stimsynth(folder, "generate", "demo/project", "--wanted", wanted, "--out", "both", "--generator", "gradient,diffusion",
                   "--match", "drive,contrast", "--seeds", "2")  # fmt: skip
    reduced(folder / "both/comparison.png", path, 1210)


def frozen(shop: Workshop) -> Path:
    """The page of the demo's project."""
    folder = shop.demo()
    shop.stimsynth(folder, "page", "demo/project", "--out", "look.html")
    return folder / "look.html"


def view(
    shop: Workshop, path: Path, *, size: tuple[int, int], tab: str = "", choose: dict[str, str] | None = None
) -> None:
    """A tab of that page."""
    raw = shop.work / f"{path.stem}_raw.png"
    pictured(frozen(shop), raw, size=size, tab=tab, choose=choose)
    reduced(raw, path, size[0], quality=85)


def gallery(shop: Workshop, path: Path) -> None:
    """The gallery."""
    view(shop, path, size=(1024, 700))


def site(shop: Workshop, path: Path) -> None:
    """One site."""
    view(shop, path, size=(1024, 1250), tab="site/sim_000")


def population(shop: Workshop, path: Path) -> None:
    """Responses to controllers, sorted by target."""
    view(shop, path, size=(1024, 700), tab="population", choose={"Images": "controller", "Sort images": "by target"})


def planner(shop: Workshop, path: Path) -> None:
    """The plan."""
    view(shop, path, size=(1024, 900), tab="planner")


def report(shop: Workshop, path: Path) -> None:
    """The beginning of the report of the demo's last round."""
    (told,) = (shop.demo() / "demo/project/sessions").glob("*/round_02/report.html")
    raw = shop.work / "report_raw.png"
    pictured(told, raw, size=(1024, 1250))
    reduced(raw, path, 1024, quality=85)


def decided(shop: Workshop) -> Path:
    """A copy of the demo's project with a round that is made and not exported, a vetoed image and a stopped site."""
    folder, copy = shop.demo(), shop.work / "simulated" / "decided"
    if not copy.is_dir():
        part = copy.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(folder / "demo/project", part)
        settings = part / "project.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(re.sub(r"^rounds = 2$", "rounds = 3", text, flags=re.MULTILINE), encoding="utf-8")
        part.rename(copy)
    shop.stimsynth(folder, "refit", "decided")
    shop.stimsynth(folder, "generate", "decided", "--round", "3")
    shop.stimsynth(folder, "decide", "decided", "veto", "c0003", "--reason", "shows a face", "--who", "ann")
    shop.stimsynth(
        folder, "decide", "decided", "stop", "sim_001", "--reason", "electrode lost since Monday", "--who", "ann"
    )
    return copy


def served(shop: Workshop, path: Path) -> None:
    """The view that the name of the file says, of that project."""
    raw = shop.work / f"{path.stem}_raw.png"
    which = path.stem.removeprefix("serve_")
    served_view(decided(shop), raw, which, choose={"Round": "3"} if which == "gallery" else None)
    reduced(raw, path, 1024, quality=70)


def prior(shop: Workshop, path: Path) -> None:
    """The first 64 samples of `natural64`."""
    out = shop.work / "prior"
    if not (out / "samples.png").is_file():
        words = ["--out", str(out), "--samples", "64"]
        subprocess.run(
            [sys.executable, "scripts/studies/prior_quality.py", *words],
            cwd=ROOT,
            env=environment(),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    with Image.open(out / "samples.png") as opened:
        wide = opened.convert("RGB").resize(
            (1536, round(opened.height * 1536 / opened.width)), Image.Resampling.LANCZOS
        )
    wide.save(path, quality=88, optimize=True)
