"""Where pictures are made: commands of stimsynth that are run once, the demo, and the project of a recording."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .records import ROOT

RECORDING = "210325"


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
        name = re.sub(r"\W+", "_", "_".join(words))[:120].strip("_")
        kept = folder / "printed" / f"{name}.txt"
        if not kept.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            env = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "MPLBACKEND": "Agg",
                "PYTHONPATH": str(ROOT),
                "TERM": "dumb",
                "COLUMNS": "200",
            }
            command = [sys.executable, "-m", "protocols", "--quiet", *words]
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(
                    f"stimsynth {' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout)[-400:]}"
                )
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(done.stdout, encoding="utf-8")
        return kept.read_text(encoding="utf-8")

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
