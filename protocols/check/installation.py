"""Whether an installation is whole: its files are those that were packed, and a small loop runs from end to end.

Commands run as a user types them, in processes of their own and in a folder that is deleted afterwards.
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from protocols.disk.foreign import read_bytes, read_text
from protocols.packages import PACKAGES, version
from protocols.progress import Reporter
from protocols.project.config.laboratories import LABORATORIES
from protocols.project.photograph_import import demo_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses

from .findings import Finding

EVERY = 10
"""Of the built-in photographs every tenth is shown in the small loop."""
KEY = (
    ("image_id", "role", "objective", "target", "confirmatory", "reference_for"),
    ("made_a", "controller", "stretch", "site_1", "1", ""),
    ("made_b", "controller", "stretch", "site_2", "1", ""),
    ("park", "reference", "", "", "", "stretch:site_1"),
    ("face", "reference", "", "", "", "stretch:site_1 stretch:site_2"),
    ("wall", "natural", "", "", "", ""),
    ("grey", "blank", "", "", "", ""),
)
MEANS = {"made_a": (20, 5), "made_b": (5, 3), "park": (8, 4), "face": (6, 8), "wall": (4, 4), "grey": (1, 1)}
"""Spikes per presentation at the two sites: the first controller drives its site, the second does not."""
VERDICTS = {"site_1": "control", "site_2": "no control"}
REPEATS, PATIENCE_S = 24, 1800.0


class Failed(Exception):
    """A step that did not do what it must; the message says what it did."""


@dataclass(frozen=True)
class Try:
    """One thing that an installation must do: a name, and what does it in a folder and says what it saw."""

    name: str
    act: Callable[[Path], str]


def stimsynth(folder: Path, *words: str) -> str:
    """What ``stimsynth WORDS`` prints, started in `folder`; `Failed` with its last words for any exit code but 0."""
    command = [sys.executable, "-m", "protocols", "--quiet", *words]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"stimsynth {' '.join(words)}: not done within {PATIENCE_S:.0f} s") from error
    if done.returncode:
        raise Failed(f"stimsynth {' '.join(words)}: exit code {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout


def packed(package: Distribution) -> tuple[int, list[str]]:
    """How many files of the packages the installation has by its own record, and which are missing or changed."""
    files = [file for file in package.files or () if file.hash is not None and file.parts[0] in PACKAGES]
    wrong = []
    for file in files:
        path = Path(str(file.locate()))
        held = read_bytes(path) if path.is_file() else None
        assert file.hash is not None
        sum_ = b"" if held is None else urlsafe_b64encode(hashlib.new(file.hash.mode, held).digest()).rstrip(b"=")
        if sum_.decode() != file.hash.value:
            wrong.append(f"{file} {'is missing' if held is None else 'was changed'}")
    return len(files), wrong


def files(folder: Path) -> str:
    """The files of the packages are those that were packed; the data that comes with them can be read."""
    photographs = len(demo_photographs())
    there = f"version {version()}, {photographs} photographs"
    count, wrong = 0, list[str]()
    with suppress(PackageNotFoundError):
        count, wrong = packed(distribution("stimsynth"))
    if not count:
        return f"{there}; run from its sources, so no list of files to compare with"
    if wrong:
        raise Failed(f"{len(wrong)} of {count} files: {'; '.join(wrong[:5])}; install stimsynth again")
    return f"{there}, {count} files as packed"


def templates(folder: Path) -> str:
    """Every template makes a project that `check` takes."""
    for name in LABORATORIES:
        stimsynth(folder, "init", f"lab_{name}", "--template", name)
        stimsynth(folder, "check", f"lab_{name}")
    return f"init and check of {', '.join(LABORATORIES)}"


def key(folder: Path) -> str:
    """A key written by hand gets the verdicts that belong to its numbers."""
    with (folder / "key.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(KEY)
    rng = np.random.default_rng(0)
    ids = np.tile(list(MEANS), REPEATS)
    table = Responses(
        values=rng.poisson(np.array([MEANS[image] for image in ids])).astype(float),
        image_ids=ids,
        site_ids=("site_1", "site_2"),
        unit="spikes",
        window_ms=(70.0, 170.0),
    )
    write_responses(folder / "responses.h5", table)
    told = json.loads(stimsynth(folder, "--json", "evaluate", "--responses", "responses.h5", "--key", "key.csv"))
    found = {row["site"]: row["verdict"] for row in told["rows"]}
    if found != VERDICTS:
        raise Failed(f"verdicts {found}; expected {VERDICTS}")
    return f"verdicts {', '.join(f'{site}: {verdict}' for site, verdict in found.items())}"


def loop(folder: Path) -> str:
    """A closed loop on a simulated subject of two sites, from the baseline to the report of round 1."""
    (folder / "photographs").mkdir()
    for photograph in demo_photographs()[::EVERY]:
        (folder / "photographs" / photograph.filename).write_bytes(photograph.data)
    size = ("--rounds", "1", "--sites", "2", "--steps", "2")
    told = json.loads(
        stimsynth(folder, "--json", "demo", "--out", "demo", "--photographs", "photographs", *size),
    )
    page = folder / told["report"]
    if list(told["rounds"]) != ["1"] or "</html>" not in read_text(page):
        raise Failed(f"rounds {told['rounds']}, report {page.name}")
    return f"baseline, fit, images, export, answer, verdicts, report in {told['seconds']:.0f} s"


TRIES = (Try("files", files), Try("templates", templates), Try("key", key), Try("loop", loop))
"""In the order in which they are made; the last one takes nearly all of the time."""


def tried(folder: Path, *, quick: bool = False, progress: Reporter | None = None) -> Iterator[Finding]:
    """Make each of `TRIES` in the empty `folder`; "fail" where one of them does not do what it must.

    quick: leave out the loop.
    """
    tries = TRIES[:-1] if quick else TRIES
    for number, one in enumerate(tries):
        if progress is not None:
            progress(f"trying: {one.name}", number, len(tries))
        begun = time.monotonic()
        try:
            text = one.act(folder)
        except (Failed, OSError, ValueError, LookupError) as error:
            yield Finding("fail", one.name, f"{error}" or type(error).__name__)
        else:
            yield Finding("ok", one.name, f"{text} ({time.monotonic() - begun:.0f} s)")
    if progress is not None:
        progress("trying", len(tries), len(tries))
