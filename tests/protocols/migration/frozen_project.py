"""A whole project as this version writes it, frozen in an archive for the versions that come.

    python -m tests.protocols.migration.frozen_project --write NAME    # makes tests/protocols/migration/frozen/NAME.tar.xz

Two rounds that were decided on, exported, answered, ingested and evaluated; a third one follows. Never write a file anew that is
there: a later version must open the earlier files. Add another one where a schema changes.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.encoder import EncoderConfig
from protocols.project.config.protocol import ArmsConfig, EvaluationConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.outbox import read_order
from protocols.project.photograph_import import demo_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses

FOLDER = Path(__file__).parent / "frozen"
SITES = ("site_1", "site_2", "site_3")
MOST_BYTES = 300_000
DERIVED = ("*.html", "contact_sheet.png", "controllers.png", "*.lock", "*.svg", "*.pdf")
"""Files that are made anew from the others; they are left out, as the folder cache is. The outboxes of
rounds 1 and 2 stay whole, since each has the checksums of its files; the sheet of round 0 would be a third of the archive."""


def settings() -> Config:
    """Grey images of 32 px, 50 photographs, one layer, few steps."""
    network = "offline:efficientnet_lite0"
    return Config(
        project=ProjectConfig(name="frozen", species="simulated"),
        display=Display(width_px=32, height_px=32, size_deg=4.0),
        encoder=EncoderConfig(
            folds=3,
            layers=("blocks.1.0",),
            readout="ridge",
            validator_backbone=network,
            validator_layers=("blocks.1.1",),
        ),
        synthesis=SynthesisConfig(steps=3, objectives=("stretch",), graded_steps=(1,), graded_repeats=4),
        arms=ArmsConfig(kinds=("phase_scrambled",), repeats=4),
        protocol=ProtocolConfig(
            repeats=8, blocks=2, natural_images=8, blanks_per_block=4, references=2, baseline_repeats=4
        ),
        evaluation=EvaluationConfig(permutations=499, alpha=0.05),
        loop=LoopConfig(rounds=3),
    )


def stimsynth(folder: Path, *words: str, code: int = 0) -> str:
    """What the command prints; it must leave with `code`."""
    command = [sys.executable, "-m", "protocols", "--quiet", "--workers", "1", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def answer(round_: Round, *, seed: int) -> None:
    """What a simulated subject answers to a round: each site follows the light of one part of the image."""
    order, rng = read_order(round_.outbox), np.random.default_rng(seed)
    pixels = {t.image_id: read_png(round_.image_path(t.image_id)).astype(float) for t in order}
    parts = {i: p.mean(2).reshape(2, 16, 2, 16).mean((1, 3)).ravel()[: len(SITES)] for i, p in pixels.items()}
    light = np.stack([parts[t.image_id] for t in order])
    responses = Responses(
        values=rng.poisson(1 + 9 * light / 255).astype(float),
        image_ids=np.array([t.image_id for t in order]),
        site_ids=SITES,
        unit="spikes",
        window_ms=(70.0, 170.0),
        block=np.array([t.block for t in order]),
        rep=np.array([t.rep for t in order]),
        attributes={
            "manifest_sha256": sha256_file(round_.outbox / "manifest.json"),
            "session_id": round_.session_id,
            "round": round_.number,
        },
    )
    round_.inbox.mkdir(exist_ok=True)
    write_responses(round_.inbox / "responses.h5", responses)
    (round_.inbox / "responses.h5.done").touch()


def make(folder: Path) -> Path:
    """The project in `folder`, after the evaluation of round 2."""
    place = folder / "frozen"
    Project.create(place, template(settings()))
    (folder / "photographs").mkdir()
    for photograph in demo_photographs()[::12]:
        (folder / "photographs" / photograph.filename).write_bytes(photograph.data)
    stimsynth(folder, "export", "frozen", "--baseline", "photographs")
    answer(Project.open(place).round(0), seed=0)
    for number in (1, 2):
        stimsynth(folder, "ingest", "frozen", "--round", str(number - 1))
        if number > 1:
            stimsynth(folder, "evaluate", "frozen", "--round", str(number - 1))
            stimsynth(folder, "report", "frozen", "--round", str(number - 1))
        stimsynth(folder, "fit" if number == 1 else "refit", "frozen")
        stimsynth(folder, "generate", "frozen", "--round", str(number))
        if number == 1:
            stimsynth(
                folder, "decide", "frozen", "veto", f"ctl_r01_stretch_{SITES[2]}_s0", "--reason", "a doubtful image"
            )
        stimsynth(folder, "export", "frozen", "--round", str(number))
        answer(Project.open(place).round(number), seed=number)
    stimsynth(folder, "ingest", "frozen", "--round", "2")
    stimsynth(folder, "evaluate", "frozen", "--round", "2")
    return place


def kept(project: Path) -> Iterable[Path]:
    """The files of a project that are frozen, in order."""
    for path in sorted(project.rglob("*")):
        derived = "cache" in path.relative_to(project).parts or any(path.match(pattern) for pattern in DERIVED)
        if path.is_file() and (not derived or path.match("round_0[12]/outbox/*")):
            yield path


def freeze(project: Path, target: Path) -> None:
    """Write the archive; never over one that is there."""
    target.parent.mkdir(exist_ok=True)
    with tarfile.open(target, "x:xz", preset=9) as archive:
        for path in kept(project):
            data = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(project).as_posix())
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    if (size := target.stat().st_size) > MOST_BYTES:
        target.unlink()
        raise SystemExit(f"{size} bytes, more than {MOST_BYTES}")


def main() -> None:
    """Make and freeze a project."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", required=True, help="name of the file, such as project_0_1_0")
    target = FOLDER / f"{parser.parse_args().write}.tar.xz"
    with tempfile.TemporaryDirectory() as folder:
        freeze(make(Path(folder)), target)
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
