"""How well does the default encoder predict real V4 sites? Nested cross-validation on recording 210325 (Cowley et al.).

    python scripts/studies/v4_predictivity.py --data ../shared/data/v4_cowley2023 --random

50 sites of one macaque, 640 images of 8 objects on scenes (80 each, in order), 6 to 10 single trials per image. The score of a site is
r / sqrt(rho): the correlation of its left-out predictions, all folds pooled, with the mean responses, over what its reliability
rho (variance components of the trials) allows. Penalties (and the layer, with --combine best) are chosen inside the training folds.
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
from torch import Tensor

from encoders import DEFAULT_BACKBONE, DEFAULT_LAYERS, backbone, extract_features, group_folds, ridge
from encoders.metrics import noise_corrected_r, repeat_means
from encoders.readouts import DEFAULT_POOL
from encoders.reliability import reliability_of_means
from encoders.splits import near_duplicates
from protocols.arrays import Floats, Ints, Pixels
from protocols.simulate.v4 import read_images, read_trials

SESSION, IMAGES_PER_OBJECT = "210325", 80
CONTROL_LAYERS = (
    "blocks.0.0",
    "blocks.1.0",
    "blocks.1.1",
    "blocks.2.0",
    "blocks.3.0",
    "blocks.4.0",
    "blocks.5.0",
    "blocks.6.0",
)


@dataclass(frozen=True)
class Recording:
    """Images (N, H, W, 3) uint8, trials (T, U), image of every trial (T,)."""

    images: Pixels
    values: Floats
    index: Ints


def read_recording(data: Path, session: str = SESSION) -> Recording:
    return Recording(read_images(data, session), *read_trials(data, session))


def layer_coordinates(
    images: Pixels,
    layers: Sequence[str],
    *,
    uri: str,
    weights: str,
    input_size: int | None,
    pool: int,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """Features of every layer in the N coordinates that they span: a rotation, which leaves every ridge fit unchanged."""
    network = backbone(uri, layers, weights=weights, input_size=input_size)
    coordinates = {}
    for layer, rows in extract_features(network, images, pool=pool, device=device).items():
        centred = rows.double() - rows.double().mean(0)
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        coordinates[layer] = vectors * values.clamp_min(0).sqrt()  # (N, N)
    return coordinates


@dataclass(frozen=True)
class LeftOut:
    """Of one layer and one assignment to folds: left-out predictions (N, U) and, of each fold's fit, its inner score."""

    predicted: Tensor
    outer: Tensor
    inner_scores: list[float]


def left_out(x: Tensor, recording: Recording, groups: Sequence[object], *, folds: int, seed: int) -> LeftOut:
    """Predict every image by a ridge without its fold; penalties come from folds inside the other folds."""
    means, counts = repeat_means(recording.values, recording.index, len(recording.images))
    targets, weights = torch.from_numpy(means), torch.from_numpy(counts.mean(1))
    outer = group_folds(groups, folds, seed=seed)
    predicted, scores = torch.zeros_like(targets), []
    for fold in range(folds):
        train, test = outer != fold, outer == fold
        own = [group for group, keep in zip(groups, train.tolist(), strict=True) if keep]
        inner = group_folds(own, folds, seed=seed + 1000)
        fit = ridge(x[train], targets[train], folds=inner, weights=weights[train])
        predicted[test] = fit.predict(x[test])
        scores.append(float(fit.cv_r2.amax(0).mean()))
    return LeftOut(predicted, outer, scores)


def combine(layers: Sequence[LeftOut], how: str) -> Floats:
    """Mean of the layers' predictions, or in every fold those of the layer with the best inner score; (N, U)."""
    if how == "mean":
        return torch.stack([layer.predicted for layer in layers]).mean(0).numpy()
    predicted = torch.zeros_like(layers[0].predicted)
    for fold in range(len(layers[0].inner_scores)):
        best = max(layers, key=lambda layer: layer.inner_scores[fold])
        predicted[best.outer == fold] = best.predicted[best.outer == fold]
    return predicted.numpy()


def median_scores(
    layers: dict[str, Tensor],
    recording: Recording,
    groups: Sequence[object],
    *,
    reliability: Floats,
    folds: int,
    seeds: int,
    how: str,
) -> dict[str, float]:
    """Mean over fold seeds of the median over sites of the noise-corrected correlation: each layer's, and combined (key "")."""
    scores: dict[str, list[float]] = {name: [] for name in ("", *layers)}
    for seed in range(seeds):
        fits = {name: left_out(x, recording, groups, folds=folds, seed=seed) for name, x in layers.items()}
        predictions = {name: fit.predicted.numpy() for name, fit in fits.items()} | {
            "": combine(list(fits.values()), how)
        }
        for name, predicted in predictions.items():
            r = noise_corrected_r(predicted, recording.values, recording.index, reliability=reliability)
            scores[name].append(float(np.nanmedian(r)))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of the table."""
    start = time.perf_counter()
    recording = read_recording(options.data)
    n = len(recording.images)
    rho = reliability_of_means(recording.values, recording.index)
    splits: dict[str, list[Any]] = {
        "image": list(range(n)),
        "near-duplicate": near_duplicates(recording.images),
        "object": [i // IMAGES_PER_OBJECT for i in range(n)],
    }
    network = {
        "uri": options.backbone,
        "input_size": options.input_size,
        "pool": options.pool,
        "device": options.device,
    }
    cv: dict[str, Any] = {"folds": options.folds, "seeds": options.seeds}
    trained = layer_coordinates(recording.images, options.layers, weights="pretrained", **network)
    rows = []
    for split, groups in splits.items():
        scores = median_scores(trained, recording, groups, reliability=rho, how=options.combine, **cv)
        label = f"{options.combine} of {', '.join(options.layers)}"
        rows += [
            {"weights": "pretrained", "layers": k or label, "folds_by": split, "r_nc": v} for k, v in scores.items()
        ]
    if options.random:
        control = layer_coordinates(recording.images, CONTROL_LAYERS, weights="random", **network)
        scores = median_scores(control, recording, splits["image"], reliability=rho, how=options.combine, **cv)
        best = max(scores, key=scores.__getitem__)
        label = f"best of {len(control)} layers and their {options.combine}: {best or options.combine}"
        rows.append({"weights": "random", "layers": label, "folds_by": "image", "r_nc": scores[best]})
    return {
        "session": SESSION,
        "sites": recording.values.shape[1],
        "images": n,
        "groups": {split: len(set(groups)) for split, groups in splits.items()},
        "reliability_median": float(np.median(rho)),
        **cv,
        "backbone": options.backbone,
        "input_size": options.input_size or recording.images.shape[1],
        "rows": rows,
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"recording {result['session']}: {result['sites']} sites, {result['images']} images at {result['input_size']} px, "
        f"reliability {result['reliability_median']:.3f} (median), {result['folds']} folds x {result['seeds']} seeds",
        f"{'weights':<11} {'folds by':<15} {'r_nc':>6}  layers",
    ]
    lines += [f"{r['weights']:<11} {r['folds_by']:<15} {r['r_nc']:>6.3f}  {r['layers']}" for r in result["rows"]]
    return "\n".join([*lines, f"{result['seconds']} s"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="repetitions with other folds")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE)
    parser.add_argument("--layers", nargs="+", default=list(DEFAULT_LAYERS))
    parser.add_argument("--combine", choices=("mean", "best"), default="mean", help="of the layers' predictions")
    parser.add_argument(
        "--input-size", type=int, help="resize images to this side inside the backbone (default: 112, their own)"
    )
    parser.add_argument("--pool", type=int, default=DEFAULT_POOL)
    parser.add_argument(
        "--random", action="store_true", help="also the same network with random weights, its best layer"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if not (options.data / f"responses_raw/responses_{SESSION}.npy").is_file():
        print(f"{options.data}: no recording {SESSION} here; pass the folder v4_cowley2023", file=sys.stderr)
        return 3
    result = run(options)
    print(table(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
