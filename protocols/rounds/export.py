"""Export of a round: the outbox that the rig shows and the sealed key that nobody needs before the responses are in.

The outbox is built beside its place and appears in one rename, so that it is there completely or not at all. Its images
are numbered in a shuffled order and carry no role; what they are stands in ``sealed/key.csv``. Stored predictions are
those of the PNG read back.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Floats, Pixels
from protocols.disk.files import files_below, sha256_file, write_checksums, write_json, write_text
from protocols.disk.leftovers import building_of
from protocols.disk.png import contact_sheet, read_png, write_png
from protocols.disk.shares import flush_folder, make_folder, make_read_only, move, writing
from protocols.errors import DataError
from protocols.progress import counted
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.folder import Round
from protocols.project.key import Key, KeyRow, SiteRow, write_key
from protocols.rounds.planning.division import Division
from protocols.rounds.rigs import ShownImage, Timing, check_rigs, write_rigs

from .checks import Check, check_constraint, check_encoder, check_stimuli, refuse_again
from .manifest import checked_entries, fixed_entries
from .order import Trial, trial_list
from .stimulus import SHARED, Stimulus

__all__ = ["Inspection", "Showing", "export_round"]


Predict = Callable[[Pixels], dict[str, Floats]]
Safety = Callable[[dict[str, Pixels], list[str]], dict[str, Any]]
PREDICTIONS = ("predicted", "predicted_sd", "validator_predicted")
FAMILIARITY = ("distance", "outside")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, kw_only=True)
class Showing:
    """How a round is shown.

    Attributes
    ----------
    config : ProtocolConfig
        Durations, blocks, blanks, seed.
    repeats : int
        Presentations of every image, or of those that are shown most often.
    fewer : mapping of role to int
        Presentations of the images of a role that is shown less often than `repeats`.
    division : Division, optional
        How often each image is shown, in place of `fewer`.
    counts : mapping of source id to int
        Presentations of single images.
    rigs : tuple of str
        Rows of `rigs.RIGS` whose files are written beside the plain ones.
    """

    config: ProtocolConfig
    repeats: int
    fewer: Mapping[str, int] = field(default_factory=dict)
    rigs: tuple[str, ...] = ()
    division: Division | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def shown(self, stimulus: Stimulus) -> int:
        """Presentations of one image, at most `repeats`."""
        if self.division is not None:
            return self.division.shown(stimulus)
        own = self.fewer.get(stimulus.role, self.repeats)
        return min(self.counts.get(stimulus.source_id, own), self.repeats)


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What looks at the pixels, as read back from disk, before anything appears in the outbox; None = nothing does.

    Attributes
    ----------
    predict : callable or None
        uint8 images (S, H, W, C) -> ``predicted`` (S, U), and optionally ``predicted_sd`` and ``validator_predicted``
        (S, U), ``distance`` and ``outside`` (S,). Called once. None in a baseline round.
    check : callable or None
        The display's exact constraint: uint8 controllers and graded images (S, H, W, C), in the order of the stimuli ->
        the problems found, one sentence each.
    safety : callable or None
        Images by id and the ids in the order of the trials -> the entry ``safety`` of the manifest; raises `SafetyStop`
        (see `safety.guard`).
    """

    predict: Predict | None = None
    check: Check | None = None
    safety: Safety | None = None


def export_round(
    round_: Round,
    display: Display,
    stimuli: Sequence[Stimulus],
    *,
    sites: Sequence[SiteRow],
    showing: Showing,
    manifest: Mapping[str, Any],
    inspection: Inspection | None = None,
) -> Path:
    """Write the round's outbox and sealed key; returns the outbox.

    Parameters
    ----------
    round_ : Round
    display : Display
    stimuli : sequence of Stimulus
        Controllers, graded images, arms, references and natural images; the blank is added here where
        ``blanks_per_block`` > 0.
    sites : sequence of SiteRow
        The site set frozen with this export; empty in a baseline round.
    showing : Showing
    manifest : mapping
        JSON-able entries for ``manifest.json`` (``encoder``, ``validator``, ``config`` ...). With `Inspection.predict`,
        ``encoder`` must hold ``fingerprint`` and ``field_of_view_deg``.
    inspection : Inspection, optional

    Raises
    ------
    SafetyStop
        From `Inspection.safety`. Nothing appears in the round.
    DataError
        X01: the round was exported before; X02: the encoder's field of view is not the display's; X03: an image of
        another size; X04: a controller breaks the display's constraint; X05: a written image reads back differently;
        F10, F12: the disk is full, or refuses. Nothing appears in the round.
    ValueError
        Where the arguments contradict each other.
    """
    inspection, config = inspection or Inspection(), showing.config
    refuse_again(round_)
    check_rigs(showing.rigs)
    check_stimuli(stimuli, display, sites)
    if inspection.predict is not None:
        check_encoder(display, manifest)
    extra = checked_entries(round_, {"config": {"protocol": config.model_dump(mode="json")}, **manifest})
    named = _named(round_, display, stimuli, blank=config.blanks_per_block > 0, seed=config.seed)
    trials = _trials(round_, named, showing)
    for stale in round_.folder.glob(f"{round_.outbox.name}.tmp-*"):
        _remove(stale)
    folder = building_of(round_.outbox)
    try:
        with writing(round_.outbox):
            pixels = _write_images(folder / "images", named)
            check_constraint(stimuli, named, pixels, check=inspection.check)
            if inspection.safety is not None:
                extra["safety"] = inspection.safety(dict(zip(named, pixels, strict=True)), [t.image_id for t in trials])
            predictions = _predictions(inspection.predict, pixels, len(sites))
            _seal(round_, folder / "images", named, sites=sites, predictions=predictions)
            entries = fixed_entries(round_, display, config, named=named, trials=trials) | extra
            _write_tables(folder, trials, showing, manifest=entries, pixels=pixels)
            make_folder(round_.inbox)
            protected = _protected(folder)
            judged = extra.get("safety", {})
            safety = {"safety": judged["verdict"], "acknowledged": judged["acknowledged"]} if judged else {}
            safety |= {} if protected else {"read_only": False}
            digest = sha256_file(folder / "manifest.json")
            round_.log("export", images=len(named), trials=len(trials), manifest_sha256=digest, **safety)
            move(folder, round_.outbox)  # last: what is logged and not there is exported again
    finally:
        if folder.exists():
            _remove(folder)
    return round_.outbox


def _named(
    round_: Round, display: Display, stimuli: Sequence[Stimulus], *, blank: bool, seed: int
) -> dict[str, Stimulus]:
    """Opaque ids, numbered in a shuffled order, so that neither names nor numbers reveal a role."""
    generator = np.random.default_rng([seed, *round_.entropy, 0])
    everything = list(stimuli)
    if blank:
        channels, height, width = display.shape
        plain = np.full((height, width, channels), display.background, dtype=np.uint8)
        everything.append(Stimulus(pixels=plain, role="blank", source_id="blank"))
    named = {}
    for number, index in enumerate(generator.permutation(len(everything)), start=1):
        suffix = "".join(_LETTERS[i] for i in generator.integers(len(_LETTERS), size=4))
        named[f"{round_.prefix}_{number:04d}_{suffix}"] = everything[index]
    return named


def _trials(round_: Round, named: Mapping[str, Stimulus], showing: Showing) -> list[Trial]:
    """The presentations of the round, in their order."""
    config, repeats = showing.config, showing.repeats
    return trial_list(
        [i for i, s in named.items() if s.role != "blank"],
        repeats=repeats,
        blocks=min(config.blocks, repeats),
        blank_id=next((i for i, s in named.items() if s.role == "blank"), None),
        blanks_per_block=config.blanks_per_block,
        fewer={i: n for i, s in named.items() if s.role != "blank" and (n := showing.shown(s)) < repeats},
        seed=[config.seed, *round_.entropy, 1],
    )


def _write_images(folder: Path, named: dict[str, Stimulus]) -> Pixels:
    """Write every image and read it back; returns the pixels on disk, shape (S, H, W, C), in the order of `named`."""
    make_folder(folder)
    pixels = []
    for image_id, stimulus in counted(named.items(), "write images"):
        path = folder / f"{image_id}.png"
        write_png(path, stimulus.pixels)
        back = read_png(path)
        if not np.array_equal(back, stimulus.pixels):
            raise DataError(
                path.name,
                found="other pixels on disk than were written",
                expected="the same pixels",
                cause="a failing or full disk",
                fix="free or change the disk and export again",
                code="X05",
            )
        pixels.append(back)
    return np.stack(pixels)


def _predictions(predict: Predict | None, pixels: Pixels, n_sites: int) -> dict[str, Floats]:
    """Answers of encoder and validator to the pixels on disk, each of shape (S, U)."""
    if predict is None:
        return {}
    answers = predict(pixels)
    for name, values in answers.items():
        expected = (len(pixels),) if name in FAMILIARITY else (len(pixels), n_sites)
        if name not in (*PREDICTIONS, *FAMILIARITY) or np.shape(values) != expected:
            raise ValueError(
                f"predict gave {name!r} of shape {np.shape(values)}; expected {', '.join(PREDICTIONS)} of shape "
                f"{(len(pixels), n_sites)}, {' and '.join(FAMILIARITY)} of shape {(len(pixels),)}"
            )
    if "predicted" not in answers or not np.isfinite(answers["predicted"]).all():
        raise ValueError("predict must give finite values under 'predicted'")
    return answers


def _seal(
    round_: Round, images: Path, named: dict[str, Stimulus], *, sites: Sequence[SiteRow], predictions: dict[str, Floats]
) -> None:
    """Write the key, which must stand before the outbox appears."""
    rows = []
    for index, (image_id, s) in enumerate(named.items()):
        answers: dict[str, Any] = {
            name: {site.site_id: float(v) for site, v in zip(sites, values[index], strict=True)}
            for name, values in predictions.items()
            if name in PREDICTIONS
        }
        distance, outside = (predictions[name][index] if name in predictions else None for name in FAMILIARITY)
        rows.append(
            KeyRow(
                image_id=image_id,
                **{name: getattr(s, name) for name in SHARED},
                distance=math.nan if distance is None else float(distance),
                outside=None if outside is None else bool(outside),
                sha256=sha256_file(images / f"{image_id}.png"),
                **answers,
            )
        )
    write_key(round_.key_path, Key(tuple(rows), tuple(sites)))


def _write_tables(
    folder: Path, trials: list[Trial], showing: Showing, *, manifest: dict[str, Any], pixels: Pixels
) -> None:
    """Everything in the outbox but the images; the checksums last but one, ``_READY`` last."""
    config, (_, height, width, _) = showing.config, pixels.shape
    images = {
        e["image_id"]: ShownImage(filename=e["filename"], width_px=width, height_px=height, sha256=e["sha256"])
        for e in manifest["images"]
    }
    timing = Timing(on_ms=config.on_ms, off_ms=config.off_ms, response_window_ms=config.response_window_ms)
    write_json(folder / "manifest.json", manifest)
    contact_sheet(folder / "contact_sheet.png", list(images), pixels)
    write_rigs(folder, trials, images, timing=timing, manifest=manifest, rigs=showing.rigs)
    write_checksums(folder, files_below(folder))
    write_text(folder / "_READY", "")


def _protected(folder: Path) -> bool:
    """Make the files read-only and flush the folders; False where the file system does not let files be read-only."""
    protected = [make_read_only(path) for path in sorted(folder.rglob("*")) if path.is_file()]  # flushed already
    flush_folder(folder / "images")
    flush_folder(folder)
    return all(protected)


def _remove(folder: Path) -> None:
    """Delete an unfinished outbox, its read-only files too."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder, ignore_errors=True)
