"""How well is a V4 site predicted after 30, 100 or 300 images, with and without the sites that are already fitted? (Cowley et al.)

    python scripts/studies/v4_few_shot.py --data ../shared/data/v4_cowley2023

Sites and images are dealt to 4 folds each. In turn, the sites of one fold are new: the default encoder's members are fitted to the
other sites and the images of the other image folds; each new site is then fitted to n of those images, drawn at random, and scored
on the left-out image fold, which neither the known sites nor the new ones have seen (near-duplicate images share a fold). Three
fits: ridge on the features alone, mean over the layers (the penalty from folds inside the n images); ridge on the known sites'
predictions alone; and `encoders.few_shot_encoder`, the mean over the members. Differences from ridge are paired over sites.
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

from encoders import DEFAULT_BACKBONE, DEFAULT_LAYERS, backbone, correlation, extract_features, group_folds, ridge
from encoders import reliability_of_means as reliability_of
from encoders.backbones.pooling import feature_maps, flatten_features
from encoders.fitting.members import fit_members
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.readouts import DEFAULT_POOL, MAP_POOL
from encoders.solvers.member import FitRun, standardise
from encoders.solvers.population_prior import few_shot
from encoders.splits import near_duplicates
from protocols.arrays import Floats
from protocols.simulate.v4 import read_averages, read_images, read_trials

SESSIONS = ("210325", "210225", "201025")
SIZES = (30, 100, 300)
METHODS = ("ridge", "population", "few-shot")
FOLDS = 4  # of sites, and of images
INNER_FOLDS = 5
RESAMPLES = 10_000


@dataclass(frozen=True)
class Session:
    """Maps and flat features of every layer, mean responses (N, U), groups (N,), reliability (U,) or None (averages)."""

    name: str
    maps: dict[str, Tensor]
    rows: dict[str, Tensor]
    means: Tensor
    groups: list[int]
    reliability: Floats | None


@dataclass(frozen=True)
class Known:
    """Predictions (N, K) of the known sites by every member, over the sites' SD, and the layer of each member."""

    predictions: list[Tensor]
    layers: list[str]


def read_session(data: Path, name: str) -> Session:
    images = read_images(data, name)
    features = extract_features(backbone(DEFAULT_BACKBONE, DEFAULT_LAYERS), images)
    trials, reliability = data / f"responses_raw/responses_{name}.npy", None
    if trials.is_file():
        reliability = reliability_of(*read_trials(data, name))
    return Session(
        name=name,
        maps={layer: feature_maps(part, MAP_POOL) for layer, part in features.items()},
        rows={layer: standardise(layer, flatten_features(part, DEFAULT_POOL))[0] for layer, part in features.items()},
        means=torch.from_numpy(read_averages(data, name).copy()),
        groups=near_duplicates(images),
        reliability=reliability,
    )


def fit_known(session: Session, train: Tensor, known: Tensor, show: Session | None = None) -> Known:
    """Fit the default encoder's members to the sites `known` (U,) and the images `train` (N,) alone; show them `show`'s images."""
    shown = session if show is None else show
    targets = session.means[train][:, known]
    own = [group for group, keep in zip(session.groups, train.tolist(), strict=True) if keep]
    predictions, layers = [], []
    for seed, (layer, maps) in enumerate(session.maps.items()):
        folds = group_folds(own, INNER_FOLDS, seed=seed)
        fit = fit_members(
            ReadoutSpec(), {layer: maps[train]}, [layer], targets=targets, folds=folds, run=FitRun(seed=seed)
        )
        with torch.no_grad():
            predictions += [readout({layer: shown.maps[layer]}).double() / targets.std(0) for readout in fit.readouts]
        layers += [layer] * len(fit.readouts)
    return Known(predictions, layers)


def predict(session: Session, known: Known, shots: Tensor, test: Tensor, new: Tensor) -> dict[str, Tensor]:
    """Predictions (n_test, U_new) of the sites `new` by every method after the images `shots`."""
    y = session.means[shots][:, new]
    folds = group_folds([session.groups[i] for i in shots.tolist()], INNER_FOLDS)
    plain = [ridge(x[shots], y, folds=folds).predict(x[test]) for x in session.rows.values()]
    population = torch.stack(known.predictions).mean(0)
    alone = ridge(population[shots], y, folds=folds).predict(population[test])
    members = []
    for part, layer in zip(known.predictions, known.layers, strict=True):
        x = session.rows[layer]
        members.append(few_shot(part[shots], x[shots], y).predict(part[test], x[test]))
    return {"ridge": torch.stack(plain).mean(0), "population": alone, "few-shot": torch.stack(members).mean(0)}


def scores(session: Session, draws: int, known_from: Session | None = None) -> Floats:
    """Correlation with the mean responses to left-out images, mean over draws, over the root of the reliability where it is known.

    With `known_from`, all sites of `session` are new, and the known ones are all of that other session, fitted to all its images.

    Returns
    -------
    array of shape (sizes, methods, U)
    """
    n_sites = session.means.shape[1]
    r = np.zeros((len(SIZES), len(METHODS), n_sites))
    image_fold = group_folds(session.groups, FOLDS)
    other = None
    if known_from is not None:
        n_images, n_known = known_from.means.shape
        other = fit_known(known_from, torch.ones(n_images) > 0, torch.ones(n_known) > 0, session)
    site_fold = torch.randperm(n_sites, generator=torch.Generator().manual_seed(0)) % FOLDS
    for fold in range(FOLDS):
        train, known = image_fold != fold, site_fold != fold
        fitted = other or fit_known(session, train, known)
        pool, test, new = torch.nonzero(train)[:, 0], torch.nonzero(~train)[:, 0], torch.nonzero(~known)[:, 0]
        observed = session.means[test][:, new].numpy()
        for draw in range(draws):
            order = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(100 * fold + draw))]
            for i, n in enumerate(SIZES):
                found = predict(session, fitted, order[:n], test, new)
                for m, method in enumerate(METHODS):
                    r[i, m, new.numpy()] += correlation(found[method].numpy(), observed) / draws
    return r if session.reliability is None else r / np.sqrt(session.reliability)


def interval(differences: Floats) -> tuple[float, float]:
    """Bootstrap 95 % interval (percentiles) of the mean over sites."""
    rng = np.random.default_rng(0)
    means = differences[rng.integers(0, len(differences), (RESAMPLES, len(differences)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def rows(session: Session, r: Floats) -> list[dict[str, Any]]:
    """One row a number of images and method."""
    found = []
    for i, n in enumerate(SIZES):
        for m, method in enumerate(METHODS):
            difference = r[i, m] - r[i, 0]
            low, high = interval(difference)
            found.append(
                {
                    "session": session.name,
                    "score": "r" if session.reliability is None else "r_nc",
                    "sites": r.shape[2],
                    "images": n,
                    "method": method,
                    "median": float(np.median(r[i, m])),
                    "difference": float(difference.mean()),
                    "low": low,
                    "high": high,
                    "better": int((difference > 0).sum()),
                }
            )
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of the table."""
    start = time.process_time()
    found = []
    source = read_session(options.data, options.known_from) if options.known_from else None
    for name in options.sessions:
        session = read_session(options.data, name)
        found += rows(session, scores(session, options.draws, source))
    return {
        "backbone": DEFAULT_BACKBONE,
        "layers": list(DEFAULT_LAYERS),
        "folds": FOLDS,
        "draws": options.draws,
        "known_from": options.known_from,
        "rows": found,
        "cpu_seconds": round(time.process_time() - start),
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{'session':<8} {'score':<5} {'images':>6}  {'method':<10} {'median':>6}  {'minus ridge, mean over sites [95 %]':<36} better"
    ]
    for row in result["rows"]:
        difference = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
        better = f"{row['better']} of {row['sites']}"
        own = row["method"] == "ridge"
        lines.append(
            f"{row['session']:<8} {row['score']:<5} {row['images']:>6}  {row['method']:<10} {row['median']:>6.3f}  "
            f"{'' if own else difference:<36} {'' if own else better}".rstrip()
        )
    return "\n".join([*lines, f"{result['draws']} draws of images per site, {result['cpu_seconds']} CPU seconds"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--sessions", nargs="+", default=list(SESSIONS))
    parser.add_argument("--draws", type=int, default=2, help="draws of the n images, averaged")
    parser.add_argument(
        "--known-from", help="the known sites are those of this other session; all sites of --sessions are new"
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    for name in [*options.sessions, *([options.known_from] if options.known_from else [])]:
        if not (options.data / f"responses_repeat_averaged/responses_{name}.npy").is_file():
            print(f"{options.data}: no recording {name} here; pass the folder v4_cowley2023", file=sys.stderr)
            return 3
    result = run(options)
    print(table(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
