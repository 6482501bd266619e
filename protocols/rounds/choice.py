"""Photographs shown beside the random ones because they should teach the refit most: where members disagree, or what is
not covered.

They take the role ``reference`` without any ``reference_for``: no controller is compared with them, and the suppression
verdict, which needs random natural images, never reads them. The random images of the round are the share that is never
chosen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import numpy as np

from encoders import Encoder, Ensemble
from encoders.acquisition import core_set, expected_information, greedy_batch
from encoders.fitting.predict import predict_stored
from protocols.arrays import Bools, Floats, Ints
from protocols.models.fit import held_out_of
from protocols.project.folder import Project
from protocols.recordings.dataset import Dataset
from protocols.stats.trials import trial_variance

from .stimulus import Stimulus

Choice = Literal["disagreement", "core_set"]


def chosen_stimuli(
    project: Project,
    data: Dataset,
    encoder: Encoder | Ensemble,
    *,
    count: int,
    taken: Collection[str],
    device: str = "cpu",
) -> list[Stimulus]:
    """The `count` photographs that teach the refit most, from those that are fitted and not among the source ids
    `taken`.

    Parameters
    ----------
    data : Dataset
        Baseline and all earlier rounds: what they showed already comes last.
    encoder : Encoder or Ensemble
        Of this round.
    """
    protocol = project.config.protocol
    free = ~held_out_of(project, data)[: data.natural]  # a scored fit learns nothing from the others
    free &= [s not in taken for s in data.source_ids[: data.natural]]
    count = min(count, int(free.sum()))
    if not count:
        return []
    predictions = predict_stored(encoder, data.pixels[: data.natural], project.cache, device=device)
    photograph = (data.image_index >= 0) & (data.image_index < data.natural)
    recorded = np.zeros(data.natural, dtype=np.int64)
    np.maximum.at(recorded, data.image_index[photograph], np.where(data.trial_rounds[photograph] > 0, 2, 1))
    columns = [data.site_ids.index(s) for s in encoder.site_ids]
    places = choose_images(
        predictions.double().cpu().numpy(),
        trial_noise(data.values[:, columns], data.image_index),
        recorded,
        free=free,
        count=count,
        method=protocol.choice,
    )
    return [
        Stimulus(pixels=data.pixels[i], role="reference", source_id=data.source_ids[i])
        for i in sorted(map(int, places))
    ]


def choose_images(
    predictions: Floats, noise: Floats, recorded: Ints, *, free: Bools, count: int, method: Choice
) -> list[int]:
    """Positions of `count` images, from those that are `free`; as long as there are enough, from the least `recorded`
    alone.

    Parameters
    ----------
    predictions : array of shape (M, N, U)
        Of every member of the encoder.
    noise : array of shape (U,)
        Variance of a trial about its image's mean.
    recorded : int array of shape (N,)
        0 = not yet, 1 = in the baseline alone, 2 = in a later round.
    free : bool array of shape (N,)
    method : "disagreement" or "core_set"
        Expected information of a trial (`encoders.acquisition.expected_information`) less redundancy; or coverage:
        always the image farthest, in standardised predicted responses, from all that are recorded or chosen. With one
        member: coverage.
    """
    enough = (level for level in np.unique(recorded) if (free & (recorded <= level)).sum() >= count)
    pool = np.flatnonzero(free & (recorded <= next(enough, recorded.max())))
    mean = predictions.mean(0)
    z = (mean - mean.mean(0)) / np.maximum(mean.std(0), 1e-12)
    if method == "disagreement" and len(predictions) > 1:
        scores = expected_information(predictions[:, pool], noise)
        places = greedy_batch(scores, z[pool], count)
    else:
        covered = np.setdiff1d(np.flatnonzero(recorded), pool)
        places = core_set(z[pool], count, covered=z[covered] if len(covered) else None)
    return [int(pool[i]) for i in places]


def trial_noise(values: Floats, image_index: Ints) -> Floats:
    """Pooled variance of a trial about its image's mean, (U,); where no image has two trials, the variance over all
    trials; never 0.
    """
    noise = trial_variance(values, image_index)[0]
    shown = values[image_index >= 0]
    for u in np.flatnonzero(~np.isfinite(noise)):
        x = shown[np.isfinite(shown[:, u]), u]
        noise[u] = x.var() if len(x) else 0.0
    return np.where(noise > 0, noise, 1.0)
