"""Photographs shown beside the random ones because they should teach the refit most: where members disagree, or what is not covered.

They take the role ``reference`` without any ``reference_for``: no controller is compared with them, and neither the empirical chance nor
the suppression verdict, which need random natural images, ever reads them. The random images of the round are the share that is
never chosen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from encoders import Encoder, Ensemble
from encoders.acquisition import core_set, expected_information, greedy_batch
from encoders.stored import predict_stored

from .dataset import Dataset
from .export import Stimulus
from .session import Project

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Choice = Literal["disagreement", "core_set"]


def chosen_stimuli(
    project: Project, data: Dataset, encoder: Encoder | Ensemble, taken: Collection[str], *, device: str = "cpu"
) -> list[Stimulus]:
    """The ``[protocol] chosen_images`` photographs of a round, none of them among the source ids `taken`."""
    protocol = project.config.protocol
    free = np.array([s not in taken for s in data.source_ids[: data.natural]])
    count = min(protocol.chosen_images, int(free.sum()))
    if not count:
        return []
    predictions = predict_stored(encoder, data.pixels[: data.natural], project.cache, device=device)
    recorded = np.zeros(data.natural, dtype=np.bool_)
    recorded[np.unique(data.image_index[(data.image_index >= 0) & (data.image_index < data.natural)])] = True
    columns = [data.site_ids.index(s) for s in encoder.site_ids]
    places = choose_images(
        predictions.double().cpu().numpy(),
        trial_noise(data.values[:, columns], data.image_index),
        recorded,
        free,
        count,
        protocol.choice,
    )
    return [
        Stimulus(pixels=data.pixels[i], role="reference", source_id=data.source_ids[i])
        for i in sorted(map(int, places))
    ]


def choose_images(
    predictions: Floats, noise: Floats, recorded: Bools, free: Bools, count: int, method: Choice
) -> list[int]:
    """Positions of `count` images, from those that are `free` and, as long as there are enough, not `recorded` yet.

    Parameters
    ----------
    predictions : array of shape (M, N, U)
        Of every member of the encoder.
    noise : array of shape (U,)
        Variance of a trial about its image's mean.
    recorded, free : bool arrays of shape (N,)
    method : "disagreement" or "core_set"
        Expected information of a trial (`encoders.acquisition.expected_information`) less redundancy; or coverage: always the image
        farthest, in standardised predicted responses, from all that are recorded or chosen. With one member: coverage.
    """
    new = free & ~recorded
    pool = np.flatnonzero(new if new.sum() >= count else free)
    mean = predictions.mean(0)
    z = (mean - mean.mean(0)) / np.maximum(mean.std(0), 1e-12)
    if method == "disagreement" and len(predictions) > 1:
        scores = expected_information(predictions[:, pool], noise)
        found = greedy_batch(scores, z[pool], count)
    else:
        covered = np.setdiff1d(np.flatnonzero(recorded), pool)
        found = core_set(z[pool], count, covered=z[covered] if len(covered) else None)
    return [int(pool[i]) for i in found]


def trial_noise(values: Floats, image_index: NDArray[np.int64]) -> Floats:
    """Pooled variance of a trial about its image's mean, (U,); where no image has two trials, the variance over all trials."""
    shown = image_index >= 0
    values, index = values[shown], image_index[shown]
    noise = np.ones(values.shape[1])
    for u in range(values.shape[1]):
        known = np.isfinite(values[:, u])
        x, image = values[known, u], index[known]
        count = np.bincount(image)
        means = np.divide(np.bincount(image, weights=x), count, out=np.zeros(len(count)), where=count > 0)
        freedom = len(x) - int((count > 0).sum())
        pooled = float(((x - means[image]) ** 2).sum()) / freedom if freedom > 0 else float(x.var()) if len(x) else 0.0
        noise[u] = pooled if pooled > 0 else 1.0
    return noise
