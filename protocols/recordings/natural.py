"""What the natural images evoked: shrunken means, one-hot scores, the best image of a site."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.stats.trials import sums_per_image, trial_variance

from .dataset import Dataset


def shrunken_means(values: Floats, image_index: Ints, n_images: int) -> Floats:
    """Empirical-Bayes image means, shape (N, U): each mean is drawn to the site's mean by the share of noise in it.

    ``m + s2 / (s2 + v / n_i) * (mean_i - m)`` with pooled within-image variance v, signal variance s2 = max(0,
    Var(means) - mean(v / n_i)) (methods.md H, "shrunken baseline response"). Images without a trial get the site's
    mean; so does all where no image has two trials.
    """
    sums, counts = sums_per_image(values, image_index, n_images)
    has = counts > 0
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=has)
    within = trial_variance(values, image_index)[0]
    n_shown = np.maximum(has.sum(0), 1)
    centre = np.where(has, means, 0.0).sum(0) / n_shown
    spread = np.where(has, (means - centre) ** 2, 0.0).sum(0) / np.maximum(n_shown - 1, 1)
    noise = np.divide(within, counts, out=np.zeros_like(means), where=has)
    signal = np.maximum(spread - np.where(has, noise, 0.0).sum(0) / n_shown, 0.0)
    total = signal + noise
    weight = np.divide(signal, total, out=np.ones_like(total), where=total > 0)
    weight = np.where(np.isfinite(within), weight, 1.0)
    shrunk: Floats = np.where(has, centre + weight * (means - centre), centre)
    return shrunk


def natural_means(dataset: Dataset, site_ids: Sequence[str]) -> Floats:
    """`shrunken_means` of the natural images at the sites named, (N, U) in the recording's unit."""
    columns = [dataset.site_ids.index(s) for s in site_ids]
    natural = dataset.image_index < dataset.natural
    return shrunken_means(dataset.values[natural][:, columns], dataset.image_index[natural], dataset.natural)


def best_natural(
    dataset: Dataset,
    key_sites: Key,
    targets: Sequence[str],
    *,
    objectives: Sequence[str],
    count: int,
    temperature: float,
) -> dict[tuple[str, str], list[int]]:
    """The `count` natural images with the highest shrunken baseline score, best first, per (objective, target)."""
    means = natural_means(dataset, key_sites.site_ids)
    mean, sd = key_sites.natural_statistics()
    scores = {o: OBJECTIVES[o].site_scores(means, mean, sd, temperature=temperature) for o in objectives}
    recorded = np.zeros(dataset.natural, dtype=bool)
    recorded[np.unique(dataset.image_index[(dataset.image_index >= 0) & (dataset.image_index < dataset.natural)])] = (
        True
    )
    best = {}
    for objective in objectives:
        for target in targets:
            column = np.where(recorded, scores[objective][:, key_sites.site_ids.index(target)], -np.inf)
            best[objective, target] = [int(i) for i in np.argsort(-column, kind="stable")[:count]]
    return best
