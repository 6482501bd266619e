"""Which of several images drives a site most, from single trials: permutation test and bootstrap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from protocols.arrays import Floats, Ints

FEWEST = 2
"""Presentations of every image, at least: with one there is no noise to judge by."""


class Largest(NamedTuple):
    """The image with the largest mean response.

    Attributes
    ----------
    image : int
    means : array of shape (images,)
        NaN where an image has no trial.
    counts : array of shape (images,)
        Trials per image.
    p : float
        Of a permutation test that all images evoke the same; NaN with too few trials.
    share : float
        Of bootstrap samples in which the same image is the largest; NaN with too few trials.
    told : bool
        Both reach the confidence that was asked for; else nothing can be told.
    """

    image: int
    means: Floats
    counts: Ints
    p: float
    share: float
    told: bool


def largest_mean(
    values: Floats, images: Ints, count: int, *, confidence: float = 0.95, draws: int = 999, seed: int = 0
) -> Largest:
    """Which of `count` images evokes the largest mean response, and whether the trials suffice to say so.

    Two questions must be answered with yes. Do the images differ? The largest mean less the mean of all trials is
    compared with relabelled trials. Is it this one? Trials are drawn anew within every image (deviations widened by
    sqrt(n / (n - 1)), since a sample varies less around its own mean), and the same image must be the largest again.

    Parameters
    ----------
    values : array of shape (T,)
        One site; NaN = missing.
    images : array of shape (T,)
        The image of every trial, 0 to `count` - 1.
    confidence : float
        1 - alpha of the permutation test, and the share of bootstrap samples.
    """
    usable = np.isfinite(values)
    values, images = values[usable], images[usable]
    counts = np.bincount(images, minlength=count)
    one_of = (images[:, None] == np.arange(count)).astype(np.float64)  # (T, images)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = values @ one_of / counts
    best = int(np.nanargmax(means)) if len(values) else 0
    if count < 2 or counts.min() < FEWEST:
        nan = float("nan")
        return Largest(image=best, means=means, counts=counts, p=nan, share=nan, told=False)
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.broadcast_to(values, (draws, len(values))), axis=1) @ one_of / counts
    reached = shuffled.max(1) >= means[best] - 1e-9 * max(1.0, float(np.abs(values).max()))
    p = float((1 + reached.sum()) / (draws + 1))
    again = np.empty((draws, count))
    for c in range(count):
        own = values[images == c]
        wide = means[c] + (own - means[c]) * np.sqrt(len(own) / (len(own) - 1))
        again[:, c] = rng.choice(wide, (draws, len(own))).mean(1)
    share = float((again.argmax(1) == best).mean())
    told = bool(p <= 1 - confidence + 1e-12 and share >= confidence)
    return Largest(image=best, means=means, counts=counts, p=p, share=share, told=told)
