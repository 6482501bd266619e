"""How much of a site's trial noise do the other sites share, and can it be regressed out? Recording 210325, single trials.

``python scripts/studies/v4_shared_noise.py --data ../shared/data/v4_cowley2023``: weights are found on the trials of one half of the images and judged
on those of the other half; prints the figures of docs/verdicts.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.arrays import Bools, Floats, Ints
from protocols.simulate.v4 import read_trials

SESSION, RIDGE = "210325", 50.0


def noise_of(trials: Floats, image: Ints) -> Floats:
    """Trial noise (T, U): each trial less the mean of the *other* trials of its image, over the root of that image's mean.

    Images of a single trial give NaN. The scale makes the noise of counts about equal over images and sites; means below 0.3 count as 0.3.
    """
    found = np.full(trials.shape, np.nan)
    for i in np.unique(image):
        rows = image == i
        count = int(rows.sum())
        if count > 1:
            mean = trials[rows].mean(0)
            found[rows] = (trials[rows] - mean) * np.sqrt(count / (count - 1)) / np.sqrt(np.maximum(mean, 0.3))
    return found


def shared(noise: Floats, fitted: Bools, others: Sequence[int], site: int) -> tuple[float, float]:
    """Share of a site's noise variance that is gone on the trials outside `fitted`: with the mean of the other sites' noise
    (a gain of all), and with a weight per other site (ridge).
    """
    told, asked = noise[:, list(others)], noise[:, site]
    mean = told.mean(1)
    slope = mean[fitted] @ asked[fitted] / (mean[fitted] @ mean[fitted])
    gram = told[fitted].T @ told[fitted] + RIDGE * np.eye(len(others))
    weights = np.linalg.solve(gram, told[fitted].T @ asked[fitted])
    left = [np.var(asked[~fitted] - fit[~fitted]) for fit in (slope * mean, told @ weights)]
    return tuple(float(1 - of / np.var(asked[~fitted])) for of in left)  # type: ignore[return-value]


def figures(trials: Floats, image: Ints, *, draws: int = 10, seed: int = 0) -> dict[str, object]:
    """Noise correlations of pairs, and the shares of `shared` with all other sites: per site the mean over `draws` halves of the images."""
    rng, whole = np.random.default_rng(seed), ~np.isnan(trials).any(1)
    trials, image = trials[whole], image[whole]
    noise = noise_of(trials, image)
    kept = ~np.isnan(noise).any(1)
    noise, image = noise[kept], image[kept]
    sites, names = noise.shape[1], np.unique(image)
    pairs = np.asarray(np.corrcoef(noise.T))[np.triu_indices(sites, 1)]
    shares = np.zeros((draws, sites, 2))
    for draw in range(draws):
        fitted = np.isin(image, rng.permutation(names)[: len(names) // 2])
        for site in range(sites):
            shares[draw, site] = shared(noise, fitted, [u for u in range(sites) if u != site], site)
    by_site = shares.mean(0)
    return {
        "sites": sites,
        "trials": len(noise),
        "pairs": [float(v) for v in np.percentile(pairs, [5, 50, 95])],
        "mean of all": [float(v) for v in np.percentile(by_site[:, 0], [10, 50, 90])],
        "weights": [float(v) for v in np.percentile(by_site[:, 1], [10, 50, 90])],
    }


def main() -> None:
    """Print what is shared, as text or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = figures(*read_trials(options.data, SESSION))
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(f"{found['sites']} sites, {found['trials']} trials")
    for name, label in (
        ("pairs", "noise correlation of pairs, 5th, 50th, 95th percentile"),
        ("mean of all", "noise variance gone with the mean of the others, 10th, 50th, 90th"),
        ("weights", "with a weight per other site"),
    ):
        print(f"{label:<70}" + "  ".join(f"{value:+.3f}" for value in found[name]))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
