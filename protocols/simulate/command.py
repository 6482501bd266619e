"""A simulated rig: a process of its own that sees only an outbox and its subject folder, and answers as a lab would.

``python -m protocols.simulate rig --subject DIR --outbox DIR --inbox DIR`` shows every trial of ``order.csv`` to the
subject in the order of the list and writes ``inbox/responses.h5`` (schema ``responses/1``) with plain h5py, as the
script of a lab would, from Python or in MATLAB's dimension order. ``truth`` writes the noise-free responses and belongs
to benchmark scripts alone; ``lite2`` and ``v4`` make subjects. Pixel values are taken as they are; an image of another
size than the subject's is resized by the subject, which sees the screen.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocols.arrays import Pixels
from protocols.disk.files import is_litter
from protocols.errors import DataError
from protocols.progress import Progress, Reporter

from .make import V4Choice, make_lite2_subject, make_v4_subject
from .rig import Rig, answer, read_outbox, read_png, simulate_counts
from .subject import Noise, Subject, expected_responses, saturate

__all__ = [
    "Noise",
    "Rig",
    "Subject",
    "V4Choice",
    "answer",
    "expected_responses",
    "main",
    "make_lite2_subject",
    "make_v4_subject",
    "read_outbox",
    "saturate",
    "simulate_counts",
    "write_truth",
]


THREADS = 2


def write_truth(subject_folder: Path, outbox: Path, out: Path, *, progress: Reporter | None = None) -> None:
    """Noise-free responses to the images of an outbox as NPZ; for benchmark scripts, never for the toolkit.

    Entries: ``image_ids`` (S,), ``site_ids`` (U,), ``expected`` (S, U), ``saturation`` (U,) = M, ``natural_expected``
    (N, U).
    """
    subject, shown = Subject.load(subject_folder), read_outbox(outbox)
    np.savez_compressed(
        out,
        image_ids=np.array(shown.image_ids),
        site_ids=np.array(subject.site_ids),
        expected=subject.expected(shown.images, progress=progress),
        saturation=subject.saturation,
        natural_expected=subject.natural_expected,
    )


def read_folder(folder: Path) -> Pixels:
    """All PNG files of a folder (of its ``natural/`` where it has one), sorted by name: uint8 (N, H, W, C)."""
    folder = folder / "natural" if (folder / "natural").is_dir() else folder
    files = sorted(p for p in folder.glob("*.png") if not is_litter(p.name))
    if not files:
        raise DataError(
            str(folder),
            found="no PNG file",
            expected="natural images to calibrate on",
            cause="another folder was given",
            fix="give a project's data folder, or a folder of PNG files of one size",
            code="Y07",
        )
    return np.stack([read_png(file) for file in files])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the simulation; returns the exit code (0 ok, 2 usage, 3 invalid data)."""
    options = _parser().parse_args(arguments)
    if (
        "OMP_NUM_THREADS" not in os.environ
    ):  # where processes share the cores, threads that wait for each other cost five times
        torch.set_num_threads(THREADS)
    progress = Progress(quiet=options.quiet)
    try:
        print(options.run(options, progress))
    except DataError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def _run_rig(options: argparse.Namespace, progress: Reporter) -> str:
    names = ("layout", "missing", "invalid", "shuffle", "permute_sites", "seed", "first_blocks")
    rig = Rig(**{name: getattr(options, name) for name in names})
    written, shown = answer(options.subject, options.outbox, options.inbox, rig=rig, progress=progress)
    return f"simulated rig: {written} of {shown} trials written ({options.layout} layout)"


def _run_truth(options: argparse.Namespace, progress: Reporter) -> str:
    write_truth(options.subject, options.outbox, options.out, progress=progress)
    return f"truth written: {options.out.name}"


def _run_lite2(options: argparse.Namespace, progress: Reporter) -> str:
    counts = {"n_sites": options.sites, "n_noise_sites": options.noise_sites, "background": options.background}
    make_lite2_subject(options.subject, read_folder(options.images), **counts, seed=options.seed, progress=progress)
    return f"simulated subject made: {options.sites} sites and {options.noise_sites} noise sites (easy transfer)"


def _run_v4(options: argparse.Namespace, progress: Reporter) -> str:
    choice = V4Choice(count=options.sites)
    make_v4_subject(options.subject, options.data, options.session, choice=choice, seed=options.seed, progress=progress)
    return (
        f"simulated subject made: {len(Subject.load(options.subject).site_ids)} V4 sites of session {options.session}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m protocols.simulate", description="Simulated subjects and their rig."
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, summary: str, *, paths: Sequence[str]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        for path in ("subject", *paths):
            sub.add_argument(f"--{path}", type=Path, required=True)
        return sub

    rig = command("rig", _run_rig, "show an outbox to a subject and answer into the inbox", paths=("outbox", "inbox"))
    rig.add_argument(
        "--layout", choices=("python", "matlab"), default="python", help="order of the dimensions in the file"
    )
    rig.add_argument("--missing", type=_fraction, default=0.05, help="fraction of the trials that leave no row")
    rig.add_argument("--invalid", type=_fraction, default=0.0, help="fraction of the rows marked invalid")
    rig.add_argument("--shuffle", action=argparse.BooleanOptionalAction, default=True, help="rows in a random order")
    rig.add_argument(
        "--permute-sites", action=argparse.BooleanOptionalAction, default=True, help="sites in a random order"
    )
    rig.add_argument("--first-blocks", type=int, default=0, help="deliver so many blocks alone, for an interim look")
    truth = command("truth", _run_truth, "write the noise-free responses (benchmarks only)", paths=("outbox",))
    truth.add_argument("--out", type=Path, required=True, help="NPZ file to write")
    lite2 = command("lite2", _run_lite2, "make an easy-transfer subject on a folder of PNG images", paths=("images",))
    lite2.add_argument("--sites", type=int, default=12)
    lite2.add_argument("--noise-sites", type=int, default=2, help="sites that ignore the image")
    lite2.add_argument("--background", type=int, default=128, help="pixel value of the blank")
    v4 = command("v4", _run_v4, "make a subject of recorded V4 sites' models", paths=("data",))
    v4.add_argument("--session", choices=("201025", "210225"), required=True)
    v4.add_argument("--sites", type=int, help="number of sites, drawn; default: all whose model fits with r >= 0.5")
    for sub in (rig, lite2, v4):
        sub.add_argument("--seed", type=int, default=0)
    return parser


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}; expected a fraction from 0 to below 1")
    return value
