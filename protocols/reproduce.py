"""Replay of an exported round: its controllers made again from what was recorded, and held against what was shown.

The recorded settings are replayed, not those of today's project.toml: encoder by fingerprint, objective, constraint,
transforms, seeds, starting images, micro-batches and the number of steps that were really run. On the same type of
device with the same package versions the pixels are identical; elsewhere rounding differs, and the scores are compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.disk.files import inside, is_litter, read_json, sha256_file, verify_checksums, write_json
from protocols.disk.png import read_png, write_png
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.generations.files import EVOLVED
from protocols.project.key import read_key
from protocols.project.outbox import broken_seals
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import gather
from protocols.rounds.decisions.honour import as_shown
from protocols.rounds.stimulus import Stimulus, controller_stimuli, graded_stimuli
from protocols.synthesis.accentuation import GENERATOR
from protocols.synthesis.colour import chroma_limit
from protocols.synthesis.generators import make_part
from protocols.synthesis.request import Request
from protocols.synthesis.shards import make
from synth import Objective, StimulusBatch, fourier, jitter
from synth.parts import row_parts

from .arrays import Pixels
from .errors import DataError
from .packages import package_versions
from .progress import Reporter

__all__ = ["Reproduction", "reproduce"]

SCORE_TOLERANCE = 1e-3
BY_CHECKSUM = (EVOLVED, GENERATOR)  # generators of controllers and graded images that are not replayed


@dataclass(frozen=True)
class Reproduction:
    """Result of a replay.

    Parameters
    ----------
    round : int
    images : int
        Controllers and graded images replayed; `identical` of them have the pixels that were shown.
    pixels_differ : int
        Pixel values that differ in the others, of `pixels` in all, by `largest_difference` at most.
    score_difference : float
        Largest relative difference between the recorded and the replayed score of an image.
    not_replayed : int
        Images that no ascent of controllers made (photographs, also those at levels, arms): verified by checksum alone.
    same_environment : bool
        Device type, Python and package versions are those of the record; `environment` names what is not.
    problems : tuple of str
        What differs from the record although it should not; empty: verified.
    """

    round: int
    images: int
    identical: int
    pixels: int
    pixels_differ: int
    largest_difference: int
    score_difference: float
    steps: int
    not_replayed: int
    same_environment: bool
    environment: tuple[str, ...]
    problems: tuple[str, ...]
    folder: str

    @property
    def verified(self) -> bool:
        """Whether nothing differs that should be the same."""
        return not self.problems

    def summary(self) -> str:
        """What was compared, and every problem, one per line."""
        lines = [
            f"round {self.round}: {self.identical} of {self.images} controllers and graded images identical "
            f"after {self.steps} steps; "
            f"{self.pixels_differ} of {self.pixels} pixel values differ (at most by {self.largest_difference}); "
            f"scores within {self.score_difference:.2g} (relative); {self.not_replayed} other images by checksum",
            *(f"other environment: {text}" for text in self.environment),
            *(f"differs: {text}" for text in self.problems),
        ]
        return "\n".join([*lines, "verified" if self.verified else "NOT verified"])

    def to_dict(self) -> dict[str, Any]:
        """The record for scripts."""
        return asdict(self) | {"verified": self.verified}


def reproduce(
    manifest: str | Path, out: str | Path | None = None, *, device: str = "", progress: Reporter | None = None
) -> Reproduction:
    """Make a round's controllers again and compare them with the round; writes images and ``reproduction.json`` into
    `out`.

    Parameters
    ----------
    manifest : path
        ``outbox/manifest.json`` of a round, in its project.
    out : path, optional
        New folder; default ``reproduced/round_NN`` in the project.
    device : str
        Such as "cpu" or "cuda"; default: the type that was recorded.

    Raises
    ------
    DataError
        U01: no manifest of a round in its project; U02: `out` is not empty; U03: the encoder or the controllers of
        the record are gone; U04: a starting image is gone; U05: a record of a generator that cannot be replayed; U06:
        the device is not available here.
    """
    round_, project, recorded = _placed(Path(manifest))
    out = Path(out) if out is not None else project.folder / "reproduced" / round_.folder.name
    if out.exists() and any(not is_litter(p.name) for p in out.iterdir()):
        raise _gone(
            str(out),
            "a folder with files",
            "a new or empty folder",
            code="U02",
            fix="give another folder with --out, or delete it",
        )
    if not round_.controllers_path.is_file():
        raise _gone(f"{round_.folder.name}/sealed/controllers.h5", "no file", "the controllers' record", code="U03")
    shown = StimulusBatch.load(round_.controllers_path)
    problems = [*verify_checksums(round_.outbox), *_sealed(round_, recorded), *_fingerprints(shown, recorded)]
    again = replay(project, round_, shown, display=Display(**_display_of(recorded)), device=device, progress=progress)
    environment = _environment(recorded, shown, again)
    problems += _other_prior(shown, again)
    problems += [
        f"the {name} is {before}, the replay used {after}"
        for name, before, after in (
            ("encoder", shown.encoder_fingerprint, again.encoder_fingerprint),
            ("validator", shown.validator_fingerprint, again.validator_fingerprint),
        )
        if before != after
    ]
    found = _compare(
        round_, *(as_shown(round_, b) for b in (shown, again)), same_environment=not environment, problems=problems
    )
    for made in _made(again, round_.number):
        write_png(out / "images" / f"{made.source_id}.png", made.pixels)
    report = Reproduction(**found, environment=environment, folder=out.as_posix())
    write_json(out / "reproduction.json", report.to_dict() | {"folder": out.name})
    return report


def replay(
    project: Project,
    round_: Round,
    shown: StimulusBatch,
    *,
    display: Display,
    device: str = "",
    progress: Reporter | None = None,
) -> StimulusBatch:
    """The controllers of a batch, made again by what its ``settings`` record."""
    settings = shown.settings
    device = _available(device, str(settings["device"]))
    sampled = settings.get("generator") == "guide" and "diffusion" in settings
    if not sampled and (settings.get("generator") != "ascend" or settings["parameterisation"].get("name") != "fourier"):
        raise _gone(
            f"{round_.folder.name}/sealed/controllers.h5",
            f"images of the generator {settings.get('generator')!r}",
            "gradient ascent from Fourier coefficients, or guided samples of a prior",
            code="U05",
            fix="reproduce them with the script that made them",
        )
    encoder, validator = (_encoder(project, f) for f in (shown.encoder_fingerprint, shown.validator_fingerprint or ""))
    together = settings["plan"][0][1] - settings["plan"][0][0]
    start, names = (None, None) if sampled else _starts(project, round_, shown)
    request = Request(
        _recipe(settings, display, sampled=sampled),
        shape=display.shape,
        seeds=settings["seeds"],
        steps=settings["steps"],
        diffusion=DiffusionConfig.model_validate(settings.get("diffusion", {})),
        start=start,
        start_ids=names,
        snapshots=settings.get("snapshots", ()),
        batch_size=together,
    )
    objective, seeds = Objective.from_description(settings["objective"]), len(settings["seeds"])
    begins = {begin for begin, _ in settings["plan"]}
    in_parts = {rows[0] * seeds for rows in row_parts(objective, seeds, together)} <= begins
    again = (make if in_parts else make_part)(  # what was not made in parts of whole rows is made at once
        "diffusion" if sampled else "gradient",
        project,
        encoder,
        objective=objective,
        request=request,
        device=device,
        progress=progress,
    )
    return again.validate(validator.to(device))


def _recipe(settings: Mapping[str, Any], display: Display, *, sampled: bool) -> dict[str, Any]:
    """The recipe of a request that a batch's `settings` record."""
    constraint = next((c for c in settings["constraints"] if c["name"] == "exact_statistics"), None)
    limits = [chroma_limit(display, c["chroma"]) for c in settings["constraints"] if c["name"] == "gamut"]
    exact = [] if constraint is None else display.constraints(mean=constraint["mean"], rms=constraint["rms"])
    shifts = [jitter(t["fraction"], max_px=t["max_px"], background=t["background"]) for t in settings["transforms"]]
    common = {"constraints": [*exact, *(limits if exact else [])], "transforms": shifts}
    if sampled:
        return common
    kept = {k: v for k, v in settings["parameterisation"].items() if k in ("decay", "noise", "decorrelate")}
    checks = settings["check_steps"]
    return common | {
        "parameterisation": fourier(display.shape, **kept),
        "learning_rate": settings["learning_rate"],
        "check_every": checks[1] - checks[0],
        "patience": settings["patience"],
    }


def _available(asked: str, recorded: str) -> str:
    """The device asked for, else the recorded one, if torch can compute on it here."""
    device = asked or recorded
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch built without that kind of device
        raise DataError(
            "--device",
            found=(
                f"the device {device!r} {'that was asked for' if asked else 'that made the round'}, not available "
                f"to torch {torch.__version__} here"
            ),
            expected=f"the recorded type of device ({recorded}), or another one that this machine has",
            cause="the round was made on another machine, or a driver or the right build of torch is missing",
            fix="put `--device cpu` before `reproduce`: pixels are then counted, and scores compared",
            code="U06",
        ) from error
    return device


def _placed(manifest: Path) -> tuple[Round, Project, dict[str, Any]]:
    """The round and the project that a manifest stands in, and what it says."""
    folder = manifest.resolve().parent.parent
    project = Project(folder.parent.parent.parent)
    if not manifest.is_file() or manifest.parent.name != "outbox" or not (project.folder / "project.toml").is_file():
        raise _gone(
            str(manifest), "no manifest of a round in its project",
            "PROJECT/sessions/DAY/round_NN/outbox/manifest.json", code="U01",
            fix="give the manifest in the project folder, not a copy at the rig",
        )  # fmt: skip
    return Round.at(folder), project, read_json(manifest)


def _display_of(recorded: dict[str, Any]) -> dict[str, Any]:
    """The display's own settings, without what follows from them."""
    return {k: v for k, v in recorded["display"].items() if k in Display.__dataclass_fields__}


def _encoder(project: Project, fingerprint: str) -> Encoder | Ensemble:
    folder = inside(project.fitted, fingerprint)
    if not fingerprint or not folder.is_dir():
        raise _gone(
            f"fitted/{fingerprint or '?'}", "no such encoder", "the encoder that made the round", code="U03",
            fix="restore the folder fitted/ from a backup",
        )  # fmt: skip
    return Encoder.load(folder)


def _starts(
    project: Project, round_: Round, shown: StimulusBatch
) -> tuple[torch.Tensor | None, list[list[str]] | None]:
    """The starting images (rows, seeds, C, H, W) and their names, from the photographs and the rounds before this
    one.
    """
    if shown.settings["start"] == "noise":
        return None, None
    numbers = [r.number for r in project.rounds() if 0 < r.number < round_.number]
    natural = NaturalImages.load(project.data)
    pixels: dict[str, Pixels] = dict(zip(natural.source_ids, natural.pixels(), strict=True))
    if not set(shown.start_ids) <= set(pixels):
        data = gather(project, numbers)
        pixels = dict(zip(data.source_ids, data.pixels, strict=True))
    lost = [s for s in shown.start_ids if s not in pixels]
    if lost:
        raise _gone(str(project.data), f"no image {lost[0]!r}", "every image that an ascent started from", code="U04")
    seeds = len(shown.settings["seeds"])
    stack = np.stack([pixels[s] for s in shown.start_ids])
    start = torch.from_numpy(stack.reshape(-1, seeds, *stack.shape[1:])).movedim(-1, -3).float() / 255
    names = [list(shown.start_ids[i : i + seeds]) for i in range(0, len(shown), seeds)]
    return start, names


def _sealed(round_: Round, recorded: dict[str, Any]) -> list[str]:
    """Whether the sealed key and sites are those of the manifest."""
    return [
        f"sealed/{name} is not the file of the export (SHA-256 differs)"
        for name in broken_seals(round_.sealed, recorded)
    ]


def _fingerprints(shown: StimulusBatch, recorded: dict[str, Any]) -> list[str]:
    """Whether manifest and controllers name the same encoders."""
    used = {"encoder": shown.encoder_fingerprint, "validator": shown.validator_fingerprint}
    named = {name: (recorded.get(name) or {}).get("fingerprint") for name in used}
    return [
        f"the {name} of the manifest is {named[name]}, that of the controllers {used[name]}"
        for name in used
        if named[name] != used[name]
    ]


def _other_prior(shown: StimulusBatch, again: StimulusBatch) -> list[str]:
    """Whether guided samples came from the prior that is here now: its weights and settings."""
    before, after = (json.loads(json.dumps(b.settings.get("prior"))) for b in (shown, again))
    if before == after:
        return []
    return [f"the prior is {before}, the replay used {after}"]


def _environment(recorded: dict[str, Any], shown: StimulusBatch, again: StimulusBatch) -> tuple[str, ...]:
    """What is not as it was: Python, packages, device, threads."""
    then, now = recorded["environment"], json.loads(json.dumps(package_versions()[1]))
    pairs = {"python": (then["python"], now["python"]), "platform": (then["platform"], now["platform"])}
    pairs |= {n: (then["packages"].get(n), now["packages"].get(n)) for n in then["packages"]}
    pairs |= {n: (shown.settings[n], again.settings[n]) for n in ("device", "threads")}
    return tuple(f"{name} {before} then, {after} now" for name, (before, after) in pairs.items() if before != after)


def _made(batch: StimulusBatch, number: int) -> list[Stimulus]:
    """Controllers and graded images of a batch under their names in the sealed key."""
    return [*controller_stimuli(batch, number), *graded_stimuli(batch, number)]


def _compare(
    round_: Round, shown: StimulusBatch, again: StimulusBatch, *, same_environment: bool, problems: list[str]
) -> dict[str, Any]:
    """Pixels of the PNGs that were shown and scores of the record against the replay."""
    rows = read_key(round_.key_path).rows
    of_batch = [r for r in rows if r.role in ("controller", "graded") and r.generator not in BY_CHECKSUM]
    row_of = {r.source_id: r for r in of_batch}
    recorded = {s.source_id: s.score for s in _made(shown, round_.number)}
    replayed = [s for s in _made(again, round_.number) if s.confirmatory or s.source_id in row_of]  # others: no room
    others, differing, largest, identical, relative = [], 0, 0, 0, 0.0
    for made in replayed:
        source, row = made.source_id, row_of.get(made.source_id)
        path = round_.image_path(row.image_id) if row is not None else None
        if row is None or path is None or not path.is_file() or source not in recorded:
            others.append(f"{source} is not among the images that were shown")
            continue
        if row.sha256 != sha256_file(path):
            others.append(f"{path.name} is not the file in sealed/key.csv (SHA-256 differs)")
        gap = np.abs(read_png(path).astype(np.int16) - made.pixels)
        differing, largest = differing + int((gap > 0).sum()), max(largest, int(gap.max()))
        identical += not gap.any()
        if gap.any() and same_environment:
            others.append(f"{source}: {int((gap > 0).sum())} pixel values differ in the same environment")
        apart = max(_relative(row.score, made.score), _relative(recorded[source], made.score))
        relative = max(relative, apart)
        if apart > SCORE_TOLERANCE:
            others.append(f"{source}: score {row.score:.6g} in the key, {made.score:.6g} now")
    others += [
        f"{source} was shown but not made again" for source in sorted(set(row_of) - {m.source_id for m in replayed})
    ]
    return {
        "round": round_.number,
        "images": len(replayed),
        "identical": identical,
        "pixels": sum(made.pixels.size for made in replayed),
        "pixels_differ": differing,
        "largest_difference": largest,
        "score_difference": relative,
        "steps": int(again.settings["steps"]),
        "not_replayed": len(rows) - len(row_of),
        "same_environment": same_environment,
        "problems": (*problems, *others),
    }


def _relative(first: float, second: float) -> float:
    """|a - b| / max(|a|, |b|), 1 where one of them is no number."""
    apart = abs(float(first) - float(second)) / max(abs(float(first)), abs(float(second)), 1e-6)
    return apart if np.isfinite(apart) else 1.0


def _gone(where: str, found: str, expected: str, *, code: str, fix: str = "restore it from a backup") -> DataError:
    cause = "files were moved or deleted since the export"
    return DataError(where, found=found, expected=expected, cause=cause, fix=fix, code=code)
