"""Does tuning the network on the recording predict real V4 sites better than the frozen one? (Cowley et al.)

    python scripts/studies/v4_fine_tuning.py --data ../shared/data/v4_cowley2023

A fifth of the images (whole groups of near-duplicates) is held out. Of the rest, an eighth stops the tuning. Four
encoders are scored on the held-out images: the default encoder fitted to all the rest; the same fitted without the stopping images;
and that one tuned, its late layers only or all layers. Scores are correlations with the mean responses, over the root of the
reliability where there are single trials (210325). Differences are from the encoder fitted to all the rest, which has seen as many images
as the tuned ones were given, and from the one that was tuned; intervals resample sites in pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders import (
    Encoder,
    Ensemble,
    FitOptions,
    FittedPair,
    Recording,
    correlation,
    fit_encoder,
    group_folds,
    reliability_of_means,
    repeat_means,
    to_images,
)
from encoders.splits import near_duplicates
from encoders.tuning.fine_tune import fine_tune
from encoders.tuning.report import FineTuned
from protocols.arrays import Bools, Floats, Ints, Pixels
from protocols.simulate.v4 import read_averages, read_images, read_trials

SESSIONS = ("210325", "210225")
FOLDS, STOPPING_FOLDS = 5, 8
RESAMPLES = 10_000


@dataclass(frozen=True)
class Session:
    """Images (N, H, W, 3), rows of responses (T, U), the image of each (T,), groups (N,), and the reliability (U,) of single trials."""

    name: str
    images: Pixels
    values: Floats
    index: Ints
    groups: list[int]
    reliability: Floats | None

    def fit(
        self,
        held_out: NDArray[np.bool_] | None = None,
        options: FitOptions | None = None,
        networks_from: Encoder | Ensemble | None = None,
    ) -> FittedPair:
        """The default encoder without the images `held_out`, or one as `options` say."""
        recording = Recording(
            pixels=self.images,
            values=self.values,
            image_index=self.index,
            site_ids=[str(u) for u in range(self.values.shape[1])],
            unit="spikes",
            field_of_view_deg=1.0,  # takes no part
            background=128,
            colour="rgb",
            groups=self.groups,
            held_out=held_out,
            averages=self.reliability is None,
        )
        return fit_encoder(recording, options, networks_from=networks_from)


def read_session(data: Path, name: str) -> Session:
    """Single trials where the recording has them, else averages."""
    images = read_images(data, name)
    groups = near_duplicates(images)
    if (data / f"responses_raw/responses_{name}.npy").is_file():
        values, index = read_trials(data, name)
        return Session(
            name=name,
            images=images,
            values=values,
            index=index,
            groups=groups,
            reliability=reliability_of_means(values, index),
        )
    return Session(
        name=name,
        images=images,
        values=read_averages(data, name),
        index=np.arange(len(images)),
        groups=groups,
        reliability=None,
    )


def held_out_r(encoder: Encoder | Ensemble, session: Session, rows: Bools) -> Floats:
    """Correlation of the mean over members with the mean responses to the images `rows`, (U,) in the recording's order; NaN = not fitted."""
    pixels = session.images[rows]
    with torch.no_grad():
        parts = [encoder(to_images(pixels[i : i + 64])) for i in range(0, len(pixels), 64)]
    predicted = torch.cat(parts, 1).mean(0).numpy()
    means, _ = repeat_means(session.values, session.index, len(session.images))
    columns = [int(site) for site in encoder.site_ids]
    r = np.full(means.shape[1], np.nan)
    r[columns] = correlation(predicted, means[rows][:, columns])
    return r


def median_interval(differences: Floats) -> tuple[float, float]:
    """Bootstrap 95 % interval (percentiles) of the median over sites."""
    rng = np.random.default_rng(0)
    medians = np.median(differences[rng.integers(0, len(differences), (RESAMPLES, len(differences)))], 1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def tune(session: Session, encoder: Ensemble, fitted: Any, stopping: Any, layers: str, options: Any) -> FineTuned:
    """The encoder tuned on the images `fitted`, weighted by their trials."""
    means, counts = repeat_means(session.values, session.index, len(session.images))
    columns = [int(site) for site in encoder.site_ids]
    return fine_tune(
        encoder,
        session.images,
        means[:, columns],
        fitted=fitted,
        stopping=stopping,
        groups=session.groups,
        layers="all" if layers == "all" else "late",
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        readout_learning_rate=options.readout_learning_rate,
        weights=counts.mean(1),
        seed=options.seed,
        device=options.device,
    )


def tuned_in_turn(sessions: Sequence[Session]) -> Encoder | Ensemble:
    """An encoder of two networks, tuned on one recording after the other; the last one's sites."""
    earlier: Encoder | Ensemble | None = None
    for session in sessions:
        options = FitOptions(layers="two_networks", folds=3, fine_tune=8, holdout_fraction=0.1)
        pair = session.fit(options=options, networks_from=earlier)
        earlier = pair.encoder
        print(f"{session.name}: errors {pair.report.settings['fine_tuning']['stopping_errors']}", file=sys.stderr)
    assert earlier is not None
    return earlier


def row(name: str, r: Floats, scores: dict[str, Floats], session: Session) -> dict[str, Any]:
    """Medians over sites, and median differences from the two frozen encoders."""
    found: dict[str, Any] = {"encoder": name, "r": float(np.nanmedian(r)), "r_nc": None}
    if session.reliability is not None:
        found["r_nc"] = float(np.nanmedian(r / np.sqrt(session.reliability)))
    for other, theirs in scores.items():
        difference = (r - theirs)[np.isfinite(r - theirs)]
        low, high = median_interval(difference)
        better = float((difference > 0).mean())
        found[f"minus {other}"] = {"median": float(np.median(difference)), "interval": [low, high], "better": better}
    return found


def run_session(session: Session, options: argparse.Namespace) -> dict[str, Any]:
    """All rows of one recording."""
    start = time.process_time()
    held_out = group_folds(session.groups, FOLDS, seed=options.seed).numpy() == 0
    rest = [group for group, held in zip(session.groups, held_out.tolist(), strict=True) if not held]
    stopping = np.zeros_like(held_out)
    stopping[~held_out] = group_folds(rest, STOPPING_FOLDS, seed=options.seed).numpy() == 0
    whole, start_from = (session.fit(images).encoder for images in (held_out, held_out | stopping))
    frozen = {"frozen, all": whole, "frozen, less": start_from}
    scores = {name: held_out_r(encoder, session, held_out) for name, encoder in frozen.items()}
    rows = [row(name, r, {}, session) for name, r in scores.items()]
    for layers in ("late", "all"):
        found = tune(session, start_from, ~held_out & ~stopping, stopping, layers, options)
        report = found.report.as_dict()
        entry = row(f"tuned, {layers}", held_out_r(found.encoder.cpu(), session, held_out), scores, session)
        rows.append(entry | {"report": report})
    return {
        "session": session.name,
        "sites": len(start_from.site_ids),
        "images": {"fitted": int((~held_out & ~stopping).sum()), "stopping": int(stopping.sum()), "held out": int(held_out.sum())},
        "rows": rows,
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """One row an encoder, and below what the tuning did to the features."""
    images = ", ".join(f"{n} {what}" for what, n in result["images"].items())
    lines = [f"recording {result['session']}: {result['sites']} sites; images: {images}"]
    lines.append(f"{'encoder':<14} {'r':>6} {'r_nc':>6}  {'minus frozen, all':<30} {'minus frozen, less':<30} kept")
    for entry in result["rows"]:
        r_nc = "" if entry["r_nc"] is None else f"{entry['r_nc']:.3f}"
        line = f"{entry['encoder']:<14} {entry['r']:>6.3f} {r_nc:>6}"
        for other in ("minus frozen, all", "minus frozen, less"):
            part = entry.get(other)
            text = (
                ""
                if part is None
                else f"{part['median']:+.3f} ({part['interval'][0]:+.3f} ... {part['interval'][1]:+.3f})"
            )
            line += f"  {text + ('' if part is None else ' ' + format(part['better'], '.0%')):<29}"
        lines.append(f"{line} {'pass ' + str(entry['report']['epoch']) if 'report' in entry else ''}".rstrip())
    lines.append(f"{'tuned':<8} {'layer':<12} {'1 - CKA':>8} {'change':>7} {'best for':>9} {'before':>7}")
    for entry in result["rows"]:
        if "report" in entry:
            report = entry["report"]
            for layer, moved in report["forgetting"].items():
                after, before = (report[when]["best"].count(layer) for when in ("after", "before"))
                lines.append(
                    f"{entry['encoder'].removeprefix('tuned, '):<8} {layer:<12} {moved['cka_distance']:>8.4f} "
                    f"{moved['relative_change']:>7.3f} {after:>9} {before:>7}"
                )
    return "\n".join([*lines, f"{result['cpu_seconds']} CPU s"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--sessions", nargs="+", default=list(SESSIONS))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--readout-learning-rate", type=float, default=2e-5)
    parser.add_argument("--seed", type=int, default=0, help="of the split and the tuning")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--save",
        type=Path,
        help="compare nothing: tune two networks on the recordings in turn and save them here, for others to begin with",
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    missing = [s for s in options.sessions if not (options.data / f"images/images_{s}.zip").is_file()]
    if missing:
        print(f"{options.data}: no recording {missing[0]} here; pass the folder v4_cowley2023", file=sys.stderr)
        return 3
    if options.save is not None:
        print(tuned_in_turn([read_session(options.data, name) for name in options.sessions]).save(options.save))
        return 0
    results = []
    for name in options.sessions:
        results.append(run_session(read_session(options.data, name), options))
        print(table(results[-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
