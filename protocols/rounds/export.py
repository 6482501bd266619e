"""Export of a round: the outbox that the rig shows and the sealed key that nobody needs before the responses are in.

The outbox is built beside its place and appears in one rename, so that it is there completely or not at all. Its images are numbered in
a shuffled order and carry no role; what they are stands in ``sealed/key.csv``. Stored predictions are those of the PNG read back.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.disk.files import flush_folder, portable, sha256_file, write_checksums, write_json, write_text
from protocols.disk.png import contact_sheet, read_png, write_png
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.packages import package_versions
from protocols.project.folder import Round, utc_now
from protocols.project.key import ROLES, Key, KeyRow, SiteRow, read_key, write_key
from protocols.project.outbox import PlannedTrial, read_images, read_manifest, read_order, verify_outbox

from .order import Trial, pair_balance, trial_list
from .outbox_page import readme

if TYPE_CHECKING:
    from protocols.project.config.protocol import ProtocolConfig
    from protocols.project.display import Display
from protocols.arrays import Floats, Pixels

from .stimulus import SHARED, Stimulus

__all__ = ["PlannedTrial", "export_round", "read_images", "read_manifest", "read_order", "verify_outbox"]


Predict = Callable[[Pixels], dict[str, Floats]]
Check = Callable[[Pixels], list[str]]
Safety = Callable[[dict[str, Pixels], list[str]], dict[str, Any]]
SCHEMA = "manifest/1"
ENTRIES = (
    "schema",
    "session",
    "round",
    "created_utc",
    "toolkit",
    "environment",
    "blinded",
    "display",
    "timing",
    "design",
    "counts",
    "sealed_key_sha256",
    "sealed_sites_sha256",
    "images",
)
PREDICTIONS = ("predicted", "predicted_sd", "validator_predicted")
FAMILIARITY = ("distance", "outside")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
"""What a stimulus and its row of the sealed key have in common."""


def export_round(
    round_: Round,
    display: Display,
    stimuli: Sequence[Stimulus],
    *,
    sites: Sequence[SiteRow],
    config: ProtocolConfig,
    repeats: int,
    predict: Predict | None,
    manifest: dict[str, Any],
    fewer: Mapping[str, int] | None = None,
    check: Check | None = None,
    safety: Safety | None = None,
) -> Path:
    """Write the round's outbox and sealed key; returns the outbox.

    Parameters
    ----------
    round_ : Round
    display : Display
    stimuli : sequence of Stimulus
        Controllers, graded images, arms, references and natural images; the blank is added here where ``config.blanks_per_block`` > 0.
    sites : sequence of SiteRow
        The site set frozen with this export; empty in a baseline round.
    config : ProtocolConfig
    repeats : int
        Presentations of every image.
    predict : callable or None
        uint8 images (S, H, W, C) -> ``predicted`` (S, U), and optionally ``predicted_sd`` and ``validator_predicted``. Called once, with
        the pixels read back from disk. None in a baseline round.
    manifest : dict
        JSON-able entries for ``manifest.json`` (``encoder``, ``validator``, ``config`` ...). With `predict`, ``encoder`` must hold
        ``fingerprint`` and ``field_of_view_deg``.
    fewer : mapping of role to int, optional
        Presentations of the images of a role that is shown less often than `repeats`.
    check : callable, optional
        The display's exact constraint: uint8 controllers and graded images (S, H, W, C), read back, in the order of `stimuli` -> the
        problems found, one sentence each.
    safety : callable, optional
        Images by id and the ids in the order of the trials -> the entry ``safety`` of the manifest; raises `SafetyStop` (see `guard`).

    Raises
    ------
    SafetyStop
        From `safety`. Nothing appears in the round.
    DataError
        X01: the round was exported before; X02: the encoder's field of view is not the display's; X03: an image of another size;
        X04: a controller breaks the display's constraint; X05: a written image reads back differently. Nothing appears in the round.
    ValueError
        Where the arguments contradict each other.
    """
    _refuse_again(round_)
    _check_stimuli(stimuli, display, sites)
    _check_encoder(display, predict, manifest)
    extra = _checked_entries(round_, {"config": {"protocol": config.model_dump(mode="json")}} | manifest)
    named = _named(round_, display, stimuli, blank=config.blanks_per_block > 0, seed=config.seed)
    trials = trial_list(
        [i for i, s in named.items() if s.role != "blank"],
        repeats=repeats,
        blocks=min(config.blocks, repeats),
        blank_id=next((i for i, s in named.items() if s.role == "blank"), None),
        blanks_per_block=config.blanks_per_block,
        fewer={i: min(n, repeats) for i, s in named.items() if (n := (fewer or {}).get(s.role)) is not None},
        seed=[config.seed, round_.number, 1],
    )
    for stale in round_.folder.glob("outbox.tmp-*"):
        _remove(stale)
    folder = round_.folder / f"outbox.tmp-{os.getpid()}"
    try:
        pixels = _write_images(folder / "images", named)
        _check_constraint(stimuli, named, pixels, check=check)
        if safety is not None:
            extra["safety"] = safety(dict(zip(named, pixels, strict=True)), [t.image_id for t in trials])
        _seal(round_, folder / "images", named, sites=sites, predictions=_predictions(predict, pixels, len(sites)))
        entries = _manifest(round_, display, config, named=named, trials=trials)
        _write_tables(folder, trials, config, manifest=entries | extra, pixels=pixels)
        round_.inbox.mkdir(exist_ok=True)
        _publish(folder, round_.outbox)
    finally:
        if folder.exists():
            _remove(folder)
    digest = sha256_file(round_.outbox / "manifest.json")
    judged = extra.get("safety", {})
    told = {"safety": judged["verdict"], "acknowledged": judged["acknowledged"]} if judged else {}
    round_.log("export", images=len(named), trials=len(trials), manifest_sha256=digest, **told)
    return round_.outbox


def _refuse_again(round_: Round) -> None:
    if round_.outbox.exists():
        raise DataError(
            f"{round_.session_id}/{round_.folder.name}/outbox",
            found="an outbox",
            expected="none yet",
            cause="the round was exported before, and the rig may have shown it",
            fix="export the next round; delete the outbox only if nobody has shown it",
            code="X01",
        )


def _check_stimuli(stimuli: Sequence[Stimulus], display: Display, sites: Sequence[SiteRow]) -> None:
    channels, height, width = display.shape
    known = {s.site_id for s in sites}
    if not stimuli:
        raise ValueError("no image to export; give at least one")
    if not all(np.isfinite([s.natural_mean, s.natural_sd]).all() for s in sites):
        raise ValueError("a site has no finite natural_mean and natural_sd; leave it out of the frozen site set")
    for stimulus in stimuli:
        if stimulus.role not in ROLES or stimulus.role == "blank":
            shown = ", ".join(r for r in ROLES if r != "blank")
            raise ValueError(f"{stimulus.source_id}: role {stimulus.role!r}; expected one of {shown}")
        if stimulus.role in ("arm", "graded") and not stimulus.parent:
            raise ValueError(f"{stimulus.source_id}: role {stimulus.role} without a parent; expected a controller's id")
        if stimulus.target and stimulus.target not in known:
            raise ValueError(f"{stimulus.source_id}: target {stimulus.target!r} is not among the {len(known)} sites")
        if stimulus.pixels.shape != (height, width, channels) or stimulus.pixels.dtype != np.uint8:
            raise DataError(
                stimulus.source_id,
                found=f"an image of shape {stimulus.pixels.shape}, {stimulus.pixels.dtype}",
                expected=f"uint8 of shape {(height, width, channels)} (height, width, channels), the display's size",
                cause="the display was changed after the images were made",
                fix="generate the images again for this display",
                code="X03",
            )


def _check_encoder(display: Display, predict: Predict | None, manifest: dict[str, Any]) -> None:
    if predict is None:
        return
    encoder = manifest.get("encoder")
    if not isinstance(encoder, dict) or not {"fingerprint", "field_of_view_deg"} <= set(encoder):
        raise ValueError("with predict, manifest['encoder'] must hold fingerprint and field_of_view_deg")
    shown = {"field_of_view_deg": display.size_deg, "background": display.background, "colour": display.colour}
    for name, value in shown.items():
        declared = encoder.get(name, value)
        same = declared == value if isinstance(value, str) else abs(float(declared) - value) <= 1e-6 * abs(value)
        if not same:
            raise DataError(
                "project.toml [display]",
                found=f"an encoder with {name} = {declared}",
                expected=f"{name} = {value}, as the display has it",
                cause="the encoder was fitted for another display, or [display] was edited since",
                fix="fit the encoder again for this display, or restore [display]",
                code="X02",
            )


def _named(
    round_: Round, display: Display, stimuli: Sequence[Stimulus], *, blank: bool, seed: int
) -> dict[str, Stimulus]:
    """Opaque ids, numbered in a shuffled order, so that neither names nor numbers tell a role."""
    generator = np.random.default_rng([seed, round_.number, 0])
    everything = list(stimuli)
    if blank:
        channels, height, width = display.shape
        plain = np.full((height, width, channels), display.background, dtype=np.uint8)
        everything.append(Stimulus(pixels=plain, role="blank", source_id="blank"))
    named = {}
    for number, index in enumerate(generator.permutation(len(everything)), start=1):
        suffix = "".join(_LETTERS[i] for i in generator.integers(len(_LETTERS), size=4))
        named[f"r{round_.number:02d}_{number:04d}_{suffix}"] = everything[index]
    return named


def _write_images(folder: Path, named: dict[str, Stimulus]) -> Pixels:
    """Write every image and read it back; returns the pixels on disk, shape (S, H, W, C), in the order of `named`."""
    folder.mkdir(parents=True)
    pixels = []
    for image_id, stimulus in named.items():
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


def _check_constraint(
    stimuli: Sequence[Stimulus], named: dict[str, Stimulus], pixels: Pixels, *, check: Check | None
) -> None:
    place = {id(s): i for i, s in enumerate(named.values())}
    chosen = [place[id(s)] for s in stimuli if s.role in ("controller", "graded")]
    problems = check(pixels[chosen]) if check is not None and chosen else []
    if problems:
        raise DataError(
            "controllers",
            found="; ".join(problems[:5]) + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""),
            expected="range, mean, contrast and background of the display in every controller, after 8-bit rounding",
            cause="the controllers were made for another display, or the file was altered",
            fix="generate the controllers again for this display",
            code="X04",
        )


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


def _manifest(
    round_: Round, display: Display, config: ProtocolConfig, *, named: dict[str, Stimulus], trials: list[Trial]
) -> dict[str, Any]:
    """The fixed entries of ``manifest.json``; roles are counted, never named with an image."""
    roles = Counter(s.role for s in named.values())
    shown = Counter(t.image_id for t in trials)
    sha256 = {r.image_id: r.sha256 for r in read_key(round_.key_path).rows}
    values = (
        SCHEMA,
        round_.session_id,
        round_.number,
        utc_now(),
        *package_versions(),
        True,
        display.to_dict(),
        {"on_ms": config.on_ms, "off_ms": config.off_ms, "response_window_ms": list(config.response_window_ms)},
        {
            "repeats": max(shown[i] for i, s in named.items() if s.role != "blank"),
            "blocks": 1 + max(t.block for t in trials),
            "blanks_per_block": config.blanks_per_block,
            "seed": config.seed,
            "previous_image": pair_balance(trials),
        },
        {"images": len(named), "trials": len(trials), **{r: roles[r] for r in ROLES}},
        sha256_file(round_.key_path),
        sha256_file(round_.key_path.with_name("sites.csv")),
        [{"image_id": i, "filename": f"images/{i}.png", "sha256": sha256[i]} for i in named],
    )
    return dict(zip(ENTRIES, values, strict=True))


def _checked_entries(round_: Round, manifest: dict[str, Any]) -> dict[str, Any]:
    """The caller's entries of ``manifest.json``: portable, JSON-able, none of the fixed ones."""
    twice = sorted(set(ENTRIES) & set(manifest))
    if twice:
        raise ValueError(f"the manifest entries {', '.join(twice)} are written by export itself; leave them out")
    entries: dict[str, Any] = portable(manifest, round_.folder)
    json.dumps(entries, allow_nan=False)
    return entries


def _write_tables(
    folder: Path, trials: list[Trial], config: ProtocolConfig, *, manifest: dict[str, Any], pixels: Pixels
) -> None:
    """Everything in the outbox but the images; the checksums last but one, ``_READY`` last."""
    _, height, width, _ = pixels.shape
    rows = [[e["image_id"], e["filename"], width, height, e["sha256"]] for e in manifest["images"]]
    write_table(folder / "images.csv", ["image_id", "filename", "width_px", "height_px", "sha256"], rows)
    times = [f"{config.on_ms:g}", f"{config.off_ms:g}"]
    write_table(
        folder / "order.csv",
        ["trial", "block", "rep", "image_id", "filename", "on_ms", "off_ms"],
        [[t.trial, t.block, t.rep, t.image_id, f"images/{t.image_id}.png", *times] for t in trials],
    )
    write_json(folder / "manifest.json", manifest)
    write_text(folder / "README.txt", readme(manifest))
    contact_sheet(folder / "contact_sheet.png", [e["image_id"] for e in manifest["images"]], pixels)
    write_checksums(folder, [p for p in folder.rglob("*") if p.is_file()])
    write_text(folder / "_READY", "")


def _publish(folder: Path, outbox: Path) -> None:
    """Make the files read-only, flush the folders, and let the outbox appear in one rename."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():  # written atomically, hence already flushed
            path.chmod(0o444)
    flush_folder(folder / "images")
    flush_folder(folder)
    for attempt in range(10):
        try:
            os.rename(folder, outbox)
            break
        except PermissionError:  # a virus scanner or indexer on Windows has a file open
            if attempt == 9:
                raise
            time.sleep(0.2)
    flush_folder(outbox.parent)


def _remove(folder: Path) -> None:
    """Delete an unfinished outbox, its read-only files too."""
    for path in folder.rglob("*"):
        with suppress(OSError):
            path.chmod(0o755 if path.is_dir() else 0o644)
    shutil.rmtree(folder)
