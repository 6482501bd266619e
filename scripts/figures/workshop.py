"""Where pictures are made: commands of stimsynth that are run once, the demo, the project of a recording, pages in the Chromium of this machine; and
whether a picture made again is the one that is committed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .records import ROOT

RECORDING = "210325"


def environment() -> dict[str, str]:
    """What programs run in: one thread, no windows, memory that is freed is kept (as `make bench` does), the packages of this folder."""
    own = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    return {**os.environ, **own, "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4294967296"}


def stamp() -> str:
    """Today and the last commit that touched the packages, with a plus where they differ from it."""
    git, packages = ["git", "-C", str(ROOT)], ["encoders", "synth", "protocols"]
    last = subprocess.run(
        [*git, "log", "-1", "--format=%h", "--", *packages], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "diff", "--quiet", "HEAD", "--", *packages], capture_output=True, check=False
    ).returncode
    return f"{datetime.now(UTC):%Y-%m-%d}, packages of commit {last or 'unknown'}{'+' * bool(changed)}"


class Missing(RuntimeError):
    """A picture needs what is not at hand: recordings, or a browser."""


@dataclass(frozen=True)
class Workshop:
    """A folder to make pictures in, which is kept: what is done is not done again.

    Attributes
    ----------
    work : Path
        The folder.
    data : Path or None
        The folder v4_cowley2023 of recordings.
    """

    work: Path
    data: Path | None = None

    def stimsynth(self, folder: Path, *words: str) -> str:
        """Run a command of stimsynth in `folder`, once, and return what it printed.

        Raises
        ------
        RuntimeError
            Where the command ends with another code than 0.
        """
        kept = self.kept(folder, *words)
        if not kept.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "protocols", "--quiet", *words]
            done = subprocess.run(
                command, cwd=folder, env=environment() | {"COLUMNS": "200"}, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(
                    f"stimsynth {' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}"
                )
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(done.stdout, encoding="utf-8")
            kept.with_suffix(".measured").write_text(stamp(), encoding="utf-8")
        return kept.read_text(encoding="utf-8")

    def kept(self, folder: Path, *words: str) -> Path:
        """Where that command's words are kept."""
        name = re.sub(r"\W+", "_", "_".join(words))[:120].strip("_")
        return folder / "printed" / f"{name}.txt"

    def stamp_of(self, folder: Path, *words: str) -> str:
        """When that command ran, and from what."""
        return self.kept(folder, *words).with_suffix(".measured").read_text(encoding="utf-8")

    def demo(self) -> Path:
        """The folder in which the demo has run, as `demo/project`."""
        self.stimsynth(self.work / "simulated", "demo", "--out", "demo")
        return self.work / "simulated"

    def recordings(self) -> Path:
        """The folder of recordings.

        Raises
        ------
        Missing
            Where it was not given, or holds no recording 210325.
        """
        if self.data is None or not (self.data / f"responses_raw/responses_{RECORDING}.npy").is_file():
            raise Missing("recordings: pass --data with the folder v4_cowley2023")
        return self.data

    def v4(self, *, disc: bool = False) -> Path:
        """The folder with the fitted project `v4` of recording 210325 (docs/formats/v4_cowley2023.md), quick encoder.

        Parameters
        ----------
        disc : bool
            With the aperture of the recording's pictures; else whole squares.
        """
        folder = self.work / ("disc" if disc else "square")
        folder.mkdir(parents=True, exist_ok=True)
        images = folder / f"images_{RECORDING}"
        if not images.is_dir():
            with zipfile.ZipFile(self.recordings() / f"images/images_{RECORDING}.zip") as archive:
                for name in archive.namelist():
                    target = images.with_suffix(".part") / Path(name).name
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(archive.read(name))
            images.with_suffix(".part").rename(images)
        preset = [
            "--preset",
            "v4_cowley2023",
            "--set",
            f"session={RECORDING}",
            "--set",
            "subject=PE",
            "--images",
            images.name,
        ]
        if not (folder / "printed").is_dir():
            shutil.copy(self.recordings() / f"responses_raw/responses_{RECORDING}.npy", folder)
        self.stimsynth(folder, "import", f"responses_{RECORDING}.npy", *preset, "--out", f"recording_{RECORDING}.h5")
        round_ = ["--aperture", "circle", "--background", "134"] if disc else []
        self.stimsynth(folder, "init", "v4", "--width", "112", "--colour", "grey", *round_)
        settings = folder / "v4" / "project.toml"
        text = settings.read_text(encoding="utf-8")
        text = re.sub(r"^effort = .*$", 'effort = "quick"', text, flags=re.MULTILINE)
        text = re.sub(r"^response_window_ms = .*$", "response_window_ms = [50, 150]", text, flags=re.MULTILINE)
        settings.write_text(text, encoding="utf-8")
        self.stimsynth(folder, "fit", "v4", "--images", images.name, "--responses", f"recording_{RECORDING}.h5")
        return folder

    def wanted(self, folder: Path, name: str, *objectives: tuple[str, str]) -> str:
        """Write a file of objectives, each a kind and its site, and return its name."""
        lines = [f'[[objective]]\nkind = "{kind}"\nsites = ["{site}"]\n' for kind, site in objectives]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
        return name


def reduced(
    source: Path, path: Path, width: int, *, box: tuple[int, int, int, int] | None = None, quality: int = 88
) -> None:
    """Write a picture `width` pixels wide, or as it is where it is narrower; JPEG by the name of `path`, else PNG with 256 colours."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB").crop(box) if box else opened.convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    if path.suffix == ".jpg":
        picture.save(path, quality=quality, optimize=True)
    else:
        picture.quantize(256).save(path, optimize=True)


PATIENCE = 180_000  # milliseconds, on a busy machine
READY = """() => Array.from(document.images).every(
  (i) => i.getBoundingClientRect().top > innerHeight || (i.complete && i.naturalWidth))"""
"""What is seen has loaded."""


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


def select(opened: Any, choose: dict[str, str] | None) -> None:
    """Set selects of a page by their label."""
    for label, value in (choose or {}).items():
        opened.get_by_label(label, exact=False).first.select_option(label=value)


def pictured(
    source: Path, target: Path, *, size: tuple[int, int], tab: str = "", choose: dict[str, str] | None = None
) -> None:
    """A tab of a page that `stimsynth page` or `preview` wrote, as PNG; `choose` sets selects by their label."""
    with page(*size) as opened:
        opened.goto(source.as_uri() + (f"#{tab}" if tab else ""))
        select(opened, choose)
        opened.wait_for_function(READY)
        opened.wait_for_timeout(300)
        opened.screenshot(path=target)


def served_view(project: Path, target: Path, view: str, *, choose: dict[str, str] | None = None) -> None:
    """The first 700 pixels of a view of `stimsynth serve PROJECT --allow-decisions`, as PNG; `choose` sets selects by their label. Nothing is decided."""
    command = [sys.executable, "-m", "protocols", "--quiet", "serve", str(project), "--allow-decisions"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment() | {"LOGNAME": "ann"}
    )
    assert server.stdout is not None
    try:
        url = next(line.strip() for line in server.stdout if line.startswith("http://"))
        with page(1024, 700) as opened:
            opened.goto(url)
            opened.goto(f"{url.partition('?')[0]}#/{view}")
            opened.wait_for_selector(f"#panel[data-shown='{view}']")
            select(opened, choose)
            opened.wait_for_function(READY)
            opened.screenshot(path=target)
    finally:
        server.terminate()
        server.wait()


MEAN, WORST = 4.0, 60.0
"""Largest mean and largest 99th percentile of the differences of blocks, in grey levels of 255, that renderers and fonts may cause."""


def blocks(path: Path, size: int = 8) -> np.ndarray:
    """Means of blocks of `size` x `size` pixels, (h, w, 3), of a picture on white."""
    with Image.open(path) as opened:
        rgba = opened.convert("RGBA")
    ground = Image.new("RGBA", rgba.size, "white")
    ground.alpha_composite(rgba)
    small = ground.convert("RGB").resize(
        (max(rgba.width // size, 1), max(rgba.height // size, 1)), Image.Resampling.BOX
    )
    return np.asarray(small, dtype=float)


def unlike(committed: Path, made: Path, *, mean: float = MEAN, worst: float = WORST) -> str:
    """How a picture differs from the committed one; "" where it does not.

    Parameters
    ----------
    committed, made : Path
        PNG or JPEG.
    mean, worst : float
        Largest mean and 99th percentile of the differences of blocks of 8 pixels, in grey levels of 255.
    """
    with Image.open(committed) as a, Image.open(made) as b:
        sizes = a.size, b.size
    if sizes[0] != sizes[1]:
        return f"{sizes[0][0]} x {sizes[0][1]} pixels became {sizes[1][0]} x {sizes[1][1]}"
    apart = np.abs(blocks(committed) - blocks(made)).mean(-1)
    found = float(apart.mean()), float(np.percentile(apart, 99))
    if found[0] > mean or found[1] > worst:
        return f"grey levels differ by {found[0]:.1f} in the mean (at most {mean:g}) and by {found[1]:.0f} at the 99th percentile (at most {worst:g})"
    return ""
