"""The simulated rig: reads an outbox and nothing else of a project, simulates every trial in the order shown, answers
as a lab would.

Written as the script of a lab would be: plain h5py and csv, no part of the toolkit's own readers and writers.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats, Ints, Pixels
from protocols.disk.files import inside, sha256_file, verify_checksums
from protocols.disk.foreign import read_bytes, read_text
from protocols.disk.pictures import open_picture
from protocols.errors import DataError
from protocols.progress import Reporter

from .subject import Noise, Subject

Session = tuple[Floats, Floats]
WINDOW_MS = (70.0, 170.0)
BLOCK_PAUSE_S = 60.0


@dataclass(frozen=True)
class Shown:
    """An outbox as the rig reads it: the trials in the order of presentation, and every image once.

    Parameters
    ----------
    images : uint8 array of shape (S, H, W, C); image_ids : tuple of S str
    image_index : int array of shape (T,), into `images`
    block, rep : int arrays of shape (T,)
    onset_s, on_ms : float arrays of shape (T,)
    session_id : str; round_number : int; manifest_sha256 : str
    generation : int
        Of an evolution within the round; 0 = the round itself.
    segment : int array of shape (T,)
        First block of the order that a trial is from: 0 for ``order.csv``, N for ``order_from_block_N.csv``.
    """

    images: Pixels
    image_ids: tuple[str, ...]
    image_index: Ints
    block: Ints
    rep: Ints
    onset_s: Floats
    on_ms: Floats
    session_id: str
    round_number: int
    manifest_sha256: str
    segment: Ints
    generation: int = 0

    @property
    def entropy(self) -> list[int]:
        """What sets the draws of this outbox apart from those of others."""
        return [self.round_number, *([1000 + self.generation] if self.generation else [])]


def read_outbox(outbox: Path, *, until: int | None = None) -> Shown:
    """Read an outbox, after its checksums; from block N on in the order of ``order_from_block_N.csv``, where there is
    one with its record (and N is at most `until`, where given).

    Raises
    ------
    DataError
        Y04: not ready; Y05: a file is missing or altered; Y06: tables that contradict each other.
    """
    outbox = Path(outbox)
    if not (outbox / "_READY").is_file():
        raise _bad_outbox(outbox, "no _READY", "the export has not finished, or only a part was copied", code="Y04")
    problems = verify_checksums(outbox)
    if problems:
        raise _bad_outbox(outbox, "; ".join(problems[:5]), "a copy that was altered or is not complete", code="Y05")
    order = _order(outbox / "order.csv", 0)
    for record in sorted(outbox.glob("order_from_block_*.json")):
        first = int(record.stem.rsplit("_", 1)[1])
        if until is not None and first > until:
            continue
        order = [row for row in order if int(row["block"]) < first] + _order(record.with_suffix(".csv"), first)
    filenames = {row["image_id"]: row["filename"] for row in order}
    if not order or any(filenames[row["image_id"]] != row["filename"] for row in order):
        raise _bad_outbox(
            outbox, "an order.csv without trials or with two files for one image", "an edited table", code="Y06"
        )
    manifest = json.loads(read_text(outbox / "manifest.json"))
    image_ids = tuple(sorted(filenames))
    position = {image_id: i for i, image_id in enumerate(image_ids)}
    block = np.array([int(row["block"]) for row in order])
    on_ms = np.array([float(row["on_ms"]) for row in order])
    period_s = (on_ms + np.array([float(row["off_ms"]) for row in order])) / 1000
    return Shown(
        images=np.stack([read_png(inside(outbox, filenames[i])) for i in image_ids]),
        image_ids=image_ids,
        image_index=np.array([position[row["image_id"]] for row in order]),
        block=block,
        rep=np.array([int(row["rep"]) for row in order]),
        onset_s=np.concatenate([[0.0], np.cumsum(period_s)[:-1]]) + BLOCK_PAUSE_S * (block - block[0]),
        on_ms=on_ms,
        session_id=str(manifest.get("session", "")),
        round_number=int(manifest.get("round", 0)),
        manifest_sha256=sha256_file(outbox / "manifest.json"),
        segment=np.array([int(row["segment"]) for row in order]),
        generation=int(manifest.get("generation", 0)),
    )


def _order(path: Path, first: int) -> list[dict[str, str]]:
    """The rows of one table of presentations, each with the first block that the table is for."""
    lines = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8"), newline=""))
    return [{**row, "segment": str(first)} for row in lines]


def simulate_counts(expected: Floats, onset_s: Floats, noise: Noise, *, generator: np.random.Generator) -> Floats:
    """Spike counts of single trials.

    ``mean = expected * shared gain of the trial * slow drift * gain of the round``; counts negative binomial with
    variance ``fano * mean`` (Poisson where fano = 1).

    Parameters
    ----------
    expected : array of shape (T, U)
        In the order of presentation.
    onset_s : array of shape (T,)
        Drift follows time: one period over the session, phases of the sites scattered by half a radian.

    Returns
    -------
    array of shape (T, U), whole numbers
    """
    return _simulated(expected, onset_s, noise, session=None, generator=generator)[0]


def _simulated(
    expected: Floats, onset_s: Floats, noise: Noise, *, session: Session | None, generator: np.random.Generator
) -> tuple[Floats, Session]:
    """Counts of single trials, and the phases of the drift and the gains of the round: drawn, or those of `session`."""
    trials, sites = expected.shape
    spread = np.sqrt(np.log1p(noise.shared_sd**2))  # of the logarithm, for SD `shared_sd` at mean 1
    shared = np.exp(spread * generator.standard_normal((trials, 1)) - spread**2 / 2)
    if session is None:
        phases = np.asarray(generator.uniform(0, 2 * np.pi) + 0.5 * generator.standard_normal(sites))
        session = phases, np.asarray(np.exp(noise.round_sd * generator.standard_normal(sites)))
    phase, of_round = session
    duration = max(float(onset_s[-1] - onset_s[0]), 1e-9)
    turn = 2 * np.pi * (onset_s - onset_s[0])[:, None] / duration  # (T, 1)
    drift = 1 + np.sqrt(2) * noise.drift_sd * np.sin(turn + phase)
    mean = expected * shared * drift * of_round
    if noise.fano > 1:
        counts = generator.negative_binomial(np.maximum(mean, 1e-9) / (noise.fano - 1), 1 / noise.fano)
    else:
        counts = generator.poisson(mean)
    return np.asarray(counts, dtype=np.float64), session


@dataclass(frozen=True)
class Rig:
    """How the simulated rig writes what it recorded.

    Attributes
    ----------
    layout : "python" or "matlab"
        "matlab": dimensions reversed and vectors 1 x N, as MATLAB writes them.
    missing : float
        Fraction of the trials that leave no row.
    invalid : float
        Fraction of the rows that are marked ``valid = 0`` (their counts are noise about 0).
    shuffle, permute_sites : bool
        Write rows and sites in a random order.
    seed : int
        With the subject's own seed and the round's number it fixes every count.
    first_blocks : int
        Deliver the trials of so many blocks alone, as ``responses_before_block_NN.h5``; 0: the whole answer.
    """

    layout: str = "python"
    missing: float = 0.05
    invalid: float = 0.0
    shuffle: bool = True
    permute_sites: bool = True
    seed: int = 0
    first_blocks: int = 0


def answer(
    subject_folder: Path, outbox: Path, inbox: Path, *, rig: Rig | None = None, progress: Reporter | None = None
) -> tuple[int, int]:
    """Show an outbox to a subject and write ``responses.h5`` into `inbox`: as ``.part``, renamed, then
    ``responses.h5.done``.

    Returns
    -------
    tuple of int
        Trials written and trials shown.
    """
    rig = rig or Rig()
    inbox = Path(inbox)
    name = f"responses_before_block_{rig.first_blocks:02d}" if rig.first_blocks else "responses"
    if (inbox / f"{name}.h5.done").exists():
        raise _answered(inbox, name)
    subject, shown = Subject.load(subject_folder), read_outbox(outbox)
    counts, lost = _recorded(subject, shown, outbox, rig=rig, progress=progress)
    delivered = shown.block < rig.first_blocks if rig.first_blocks else np.ones(len(counts), dtype=np.bool_)
    generator = np.random.default_rng([rig.seed, subject.seed, *shown.entropy, 2])
    _drawn(int((shown.segment == 0).sum()), rig.missing, generator)
    rows = np.flatnonzero(~lost & delivered)
    rows = generator.permutation(rows) if rig.shuffle else rows
    broken = _drawn(len(rows), rig.invalid, generator)
    counts[rows[broken]] = generator.poisson(0.5, (int(broken.sum()), counts.shape[1]))
    columns = generator.permutation(counts.shape[1]) if rig.permute_sites else np.arange(counts.shape[1])
    inbox.mkdir(parents=True, exist_ok=True)
    part = inbox / f"{name}.h5.part"
    sites = [subject.site_ids[c] for c in columns]
    write_answer(
        part, shown, counts[np.ix_(rows, columns)], rows=rows, site_ids=sites, valid=~broken, layout=rig.layout
    )
    os.replace(part, inbox / f"{name}.h5")
    (inbox / f"{name}.h5.done").touch()
    return len(rows), int(delivered.sum())


def _recorded(
    subject: Subject, shown: Shown, outbox: Path, *, rig: Rig, progress: Reporter | None
) -> tuple[Floats, NDArray[np.bool_]]:
    """Counts (T, U) of all trials shown, and which are lost (T,).

    The trials before a look are the same whenever they are asked for: those of every order are simulated as a whole, in
    turn, and kept up to the next look.
    """
    entropy = [rig.seed, subject.seed, *shown.entropy]
    counts, lost = np.empty((len(shown.block), len(subject.site_ids))), np.zeros(len(shown.block), dtype=np.bool_)
    session: Session | None = None
    first = read_outbox(outbox, until=0)
    by_image = subject.expected(first.images, progress=progress)
    place = {image: i for i, image in enumerate(first.image_ids)}
    for number in np.unique([0, *shown.segment]):
        part = first if number == 0 else read_outbox(outbox, until=int(number))
        index = np.array([place[part.image_ids[i]] for i in part.image_index])
        seeds = [*entropy, 1] if number == 0 else [*entropy, 1, int(number)]
        generator = np.random.default_rng(seeds)
        simulated, session = _simulated(
            by_image[index], part.onset_s, subject.noise, session=session, generator=generator
        )
        seeds = [*entropy, 2] if number == 0 else [*entropy, 2, int(number)]
        marks = _drawn(len(index), rig.missing, np.random.default_rng(seeds))
        mine = np.flatnonzero(shown.segment == number)
        counts[mine], lost[mine] = simulated[mine], marks[mine]
    return counts, lost


def write_answer(
    path: Path,
    shown: Shown,
    counts: Floats,
    *,
    rows: Ints,
    site_ids: Sequence[str],
    valid: NDArray[np.bool_],
    layout: str,
) -> None:
    """Write counts (R, U) of the trials `rows` (R,) as schema ``responses/1``, in Python's or MATLAB's dimension
    order.
    """
    if layout not in ("python", "matlab"):
        raise ValueError(f"layout {layout!r}; expected python or matlab")
    ids = np.array(shown.image_ids, dtype=object)[shown.image_index]
    before = np.concatenate([np.array([""], dtype=object), ids[:-1]])
    matlab = layout == "matlab"
    trial: dict[str, Any] = {
        "block": shown.block[rows],
        "rep": shown.rep[rows],
        "onset_s": shown.onset_s[rows],
        "on_ms": shown.on_ms[rows],
        "valid": valid.astype(np.uint8),
        "prev_image_id": before[rows],
    }
    text = h5py.string_dtype("utf-8")
    with h5py.File(path, "w") as file:
        file["responses"] = counts.T.astype(np.float32) if matlab else counts.astype(np.float32)
        vectors = {"image_id": ids[rows], "site_id": np.array(site_ids, dtype=object)}
        vectors |= {f"trial/{name}": column for name, column in trial.items()}
        for name, vector in vectors.items():
            values = vector if vector.dtype == object else vector.astype(np.float64) if matlab else vector
            shape = (1, len(values)) if matlab else (len(values),)
            file.create_dataset(name, data=values.reshape(shape), dtype=text if vector.dtype == object else None)
        file.attrs.update(
            schema="responses/1",
            units="spikes",
            window_ms=np.array(WINDOW_MS).reshape(1, 2) if matlab else list(WINDOW_MS),
            session_id=shown.session_id,
            round=shown.round_number,
            manifest_sha256=shown.manifest_sha256,
            writer=layout,
        )


def _drawn(count: int, fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Marks of shape (count,), exactly ``round(fraction * count)`` of them True, at random places."""
    marks = np.zeros(count, dtype=np.bool_)
    marks[generator.permutation(count)[: round(fraction * count)]] = True
    return marks


def read_png(path: Path) -> Pixels:
    """An 8-bit PNG as uint8 (H, W, C)."""
    with open_picture(path) as picture:
        pixels = np.asarray(picture, dtype=np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _answered(inbox: Path, name: str) -> DataError:
    return DataError(
        str(inbox),
        found=f"{name}.h5.done",
        expected="an empty inbox",
        cause="this round was answered before",
        fix="ingest that answer; delete it only to record the round anew",
        code="Y08",
    )


def _bad_outbox(outbox: Path, found: str, cause: str, *, code: str) -> DataError:
    return DataError(
        str(outbox),
        found=found,
        expected="an outbox as it was exported",
        cause=cause,
        fix="copy the outbox again, completely",
        code=code,
    )
