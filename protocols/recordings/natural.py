"""What the natural images evoke, by all that was recorded and what the encoder predicts; the references of a round.

The true mean response of image i at a site has the posterior of two independent normal measurements: the mean y_i of
n_i trials with variance v / n_i, and the encoder's prediction p_i with the error variance t_i^2 that left-out images
showed,

    m_i = p_i + w_i (y_i - p_i),   s_i^2 = w_i v / n_i,   w_i = t_i^2 / (t_i^2 + v / n_i)

(empirical Bayes: Efron & Morris 1975; methods.md H). Without an encoder p_i is the site's mean and t^2 its signal
variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from protocols.arrays import Bools, Floats, Ints
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.stats.trials import sums_per_image, trial_variance

from .dataset import Dataset

Pair = tuple[str, str]
DRAWS = 200  # of the posterior
CANDIDATES = 24  # photographs of the highest expected score, among which references are chosen


@dataclass(frozen=True)
class NaturalPosterior:
    """What is known of the true mean responses to N natural images at U sites, in the recording's unit.

    Attributes
    ----------
    mean, sd : arrays of shape (N, U)
    recorded : bool array of shape (N,)
        Images with a trial; the others are no references.
    """

    mean: Floats
    sd: Floats
    recorded: Bools


def natural_posterior(
    values: Floats,
    image_index: Ints,
    n_images: int,
    *,
    predicted: Floats | None = None,
    error: Floats | None = None,
    noise: Floats | None = None,
) -> NaturalPosterior:
    """Posterior of the image means from trials and, where there is an encoder, its predictions.

    Parameters
    ----------
    values : array of shape (T, U), NaN = missing
    image_index : int array of shape (T,), -1 = no image
    n_images : int
    predicted : array of shape (N, U), optional
        The encoder's predictions; they are shifted to the mean of the measured images.
    error : array of shape (N, U) or (U,), optional
        Variance of the error of a prediction, as left-out images showed it.
    noise : array of shape (N, U), optional
        Variance of a trial of each image; default: pooled over images.
    """
    sums, counts = sums_per_image(values, image_index, n_images)
    has = counts > 0
    measured = np.divide(sums, counts, out=np.zeros_like(sums), where=has)
    within = trial_variance(values, image_index)[0]
    each = np.broadcast_to(within, measured.shape) if noise is None else noise
    noise = np.divide(each, counts, out=np.zeros_like(measured), where=has)
    shown = np.maximum(has.sum(0), 1)
    centre = np.where(has, measured, 0.0).sum(0) / shown
    if predicted is None or error is None:
        spread = np.where(has, (measured - centre) ** 2, 0.0).sum(0) / np.maximum(shown - 1, 1)
        prior = np.broadcast_to(centre, measured.shape)
        doubt = np.broadcast_to(np.maximum(spread - noise.sum(0) / shown, 0.0), measured.shape)
    else:
        shift = np.where(has, measured - predicted, 0.0).sum(0) / shown
        prior, doubt = predicted + shift, np.broadcast_to(error, measured.shape)
    total = doubt + noise
    weight = np.divide(doubt, total, out=np.ones_like(total), where=total > 0)
    weight = np.where(np.isfinite(within), weight, 1.0)  # no image has two trials: the measured means as they are
    mean = np.where(has, prior + weight * (measured - prior), prior)
    variance = np.where(has, weight * np.nan_to_num(noise), np.nan_to_num(doubt))
    return NaturalPosterior(mean, np.sqrt(variance), np.asarray(has.any(1)))


def shrunken_means(values: Floats, image_index: Ints, n_images: int) -> Floats:
    """Empirical-Bayes image means, shape (N, U): each mean is drawn to the site's mean by the share of noise in it.

    `natural_posterior` without an encoder: ``m + s2 / (s2 + v / n_i) * (mean_i - m)`` with pooled within-image
    variance v, signal variance s2 = max(0, Var(means) - mean(v / n_i)). Images without a trial get the site's mean; so
    does all where no image differs from another by more than noise.
    """
    return natural_posterior(values, image_index, n_images).mean


def natural_means(dataset: Dataset, site_ids: Sequence[str]) -> Floats:
    """`shrunken_means` of the natural images at the sites named, (N, U) in the recording's unit."""
    columns = [dataset.site_ids.index(s) for s in site_ids]
    natural = dataset.image_index < dataset.natural
    return shrunken_means(dataset.values[natural][:, columns], dataset.image_index[natural], dataset.natural)


def posterior_of(
    dataset: Dataset, site_ids: Sequence[str], *, predicted: Floats | None = None, error: Floats | None = None
) -> NaturalPosterior:
    """`natural_posterior` of a dataset's natural images at the sites named: trials of the baseline and of all rounds
    in it.
    """
    columns = [dataset.site_ids.index(s) for s in site_ids]
    natural = dataset.image_index < dataset.natural
    values, index = dataset.values[natural][:, columns], dataset.image_index[natural]
    known = {"predicted": predicted, "error": error}
    first = natural_posterior(values, index, dataset.natural, **known)
    noise = rising_noise(values, index, first.mean)
    return natural_posterior(values, index, dataset.natural, noise=noise, **known)


def rising_noise(values: Floats, image_index: Ints, means: Floats) -> Floats:
    """Variance of a trial of images with the expected responses `means` (N, U), shape (N, U).

    The squared deviation of a trial from its image's mean, over 1 - 1/n, is regressed on `means` per site; the slope
    is at least 0, and the variance at least a quarter of the pooled one. NaN where no image has two trials.
    """
    of_image = image_index >= 0
    values, index = values[of_image], image_index[of_image]
    sums, counts = sums_per_image(values, index, len(means))
    measured = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    squares = sums_per_image((values - measured[index]) ** 2, index, len(means))[0]
    freedom = np.maximum(counts - 1, 0)
    total = freedom.sum(0)
    pooled = np.divide(squares.sum(0), total, out=np.full(len(total), np.nan), where=total > 0)
    level = np.divide((freedom * means).sum(0), total, out=np.zeros(len(total)), where=total > 0)
    away = means - level
    spread = (freedom * away**2).sum(0)
    rise = ((squares - freedom * pooled) * away).sum(0)
    slope = np.maximum(np.divide(rise, spread, out=np.zeros_like(rise), where=spread > 0), 0.0)
    return np.asarray(np.maximum(pooled + slope * away, pooled / 4))


@dataclass(frozen=True)
class References:
    """The references of every (objective, target), best first, and what is expected to be lost by the choice.

    Attributes
    ----------
    images : dict of pair to list of int
        Places of the photographs; the first k are the choice of k.
    shortfall : dict of pair to list of float
        Expected true score of the best of all natural images less that of the best of the first k, k = 1, 2, ...; in
        the unit of the recording (stretch, suppress) or of log S (one_hot).
    """

    images: dict[Pair, list[int]]
    shortfall: dict[Pair, list[float]]


def choose_references(
    posterior: NaturalPosterior,
    sites: Key,
    targets: Sequence[str],
    *,
    objectives: Sequence[str],
    count: int,
    temperature: float,
    seed: int = 0,
    lowest: float = -np.inf,
) -> References:
    """The natural images that are most likely the best of every (objective, target): those of the highest score, which
    drive a site least where the objective drives it low.

    One after the other the image is taken that raises the expected score of the best one chosen most, over `DRAWS`
    draws of all images' true means from the posterior; the first is the image of the highest expected score.

    `lowest`: the lowest response that the unit allows, where draws end for objectives that drive a site low.
    """
    columns = [sites.site_ids.index(t) for t in targets]
    recorded = np.flatnonzero(posterior.recorded)
    mean, sd = sites.natural_statistics()
    options = {"temperature": temperature}

    def scored(responses: Floats, possible: Floats) -> dict[str, Floats]:
        of_side = {True: possible, False: responses}
        return {
            o: OBJECTIVES[o].site_scores(of_side[OBJECTIVES[o].below], mean, sd, **options)[:, columns]
            for o in objectives
        }

    expected, spread = posterior.mean[recorded], posterior.sd[recorded]
    first = scored(expected, expected_above(expected, spread, lowest))
    kept = {
        o: np.argsort(-first[o], axis=0, kind="stable")[: max(CANDIDATES, count)] for o in objectives
    }  # (C, targets)
    generator = np.random.default_rng([seed, 7])
    drawn: dict[str, list[Floats]] = {o: [] for o in objectives}
    best: dict[str, list[Floats]] = {o: [] for o in objectives}
    for _ in range(DRAWS):
        responses = expected + spread * generator.normal(size=expected.shape)
        for o, scores in scored(responses, np.maximum(responses, lowest)).items():
            drawn[o].append(np.take_along_axis(scores, kept[o], axis=0))
            best[o].append(scores.max(0))
    images, shortfall = {}, {}
    for o in objectives:
        at_candidates, at_best = np.stack(drawn[o]), np.stack(best[o])  # (D, C, targets), (D, targets)
        for t, target in enumerate(targets):
            places, values = _greedy(at_candidates[:, :, t], count)
            images[o, target] = [int(recorded[kept[o][p, t]]) for p in places]
            shortfall[o, target] = [float(at_best[:, t].mean() - v) for v in values]
    return References(images, shortfall)


def expected_above(mean: Floats, sd: Floats, lowest: float) -> Floats:
    """Expected value of ``max(x, lowest)`` for normal x of `mean` and `sd`, arrays of one shape: images whose means lie
    below the lowest possible response still differ in how surely they evoke it.
    """
    if not np.isfinite(lowest):
        return mean
    z = np.divide(mean - lowest, sd, out=np.where(mean > lowest, np.inf, -np.inf), where=sd > 0)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    return np.where(sd > 0, lowest + (mean - lowest) * ndtr(z) + sd * density, np.maximum(mean, lowest))


def _greedy(draws: Floats, count: int) -> tuple[list[int], list[float]]:
    """Columns of `draws` (D, C), one after the other, that raise the mean of the largest most, and those means."""
    chosen, values = list[int](), list[float]()
    reached = np.full(len(draws), -np.inf)
    for _ in range(min(count, draws.shape[1])):
        gains = np.maximum(reached[:, None], draws).mean(0)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        reached = np.maximum(reached, draws[:, chosen[-1]])
        values.append(float(reached.mean()))
    return chosen, values


def best_natural(
    dataset: Dataset,
    key_sites: Key,
    targets: Sequence[str],
    *,
    objectives: Sequence[str],
    count: int,
    temperature: float,
) -> dict[Pair, list[int]]:
    """The `count` natural images with the highest shrunken score, best first, per (objective, target)."""
    means = natural_means(dataset, key_sites.site_ids)
    mean, sd = key_sites.natural_statistics()
    recorded = np.zeros(dataset.natural, dtype=bool)
    shown = (dataset.image_index >= 0) & (dataset.image_index < dataset.natural)
    recorded[np.unique(dataset.image_index[shown])] = True
    best = {}
    for objective in objectives:
        scores = OBJECTIVES[objective].site_scores(means, mean, sd, temperature=temperature)
        for target in targets:
            column = np.where(recorded, scores[:, key_sites.site_ids.index(target)], -np.inf)
            best[objective, target] = [int(i) for i in np.argsort(-column, kind="stable")[:count]]
    return best
