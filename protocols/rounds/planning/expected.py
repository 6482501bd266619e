"""What is expected of every objective and site of a round before its day: natural responses, trial noise,
controllers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from protocols.arrays import Floats
from protocols.project.config.config import Config
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.dataset import Dataset
from protocols.recordings.natural import NaturalPosterior, References
from protocols.verdict.expected import ExpectedSite

from .contrasts import Contrasts
from .division import Pair
from .found import Pairs
from .noise import Noise

DRAWS = 200


def expected_sites(
    config: Config, sites: Key, means: Floats, *, noise: Noise, references: Mapping[Pair, Sequence[int]]
) -> dict[Pair, ExpectedSite]:
    """`ExpectedSite` of every pair for the simulation of its verdict; empty where the trial noise is unknown.

    Parameters
    ----------
    config : Config
    sites : Key
        Whose sites are the columns of `means`.
    means : array of shape (N, U)
        Expected responses to the photographs.
    noise : Noise
    references : dict of (objective, target) to list of int
        Places of the photographs that are shown.
    """
    if not noise.known:
        return {}
    natural_mean, natural_sd = sites.natural_statistics()
    expected = {}
    for (objective, target), images in references.items():
        k = sites.site_ids.index(target)
        expected[objective, target] = ExpectedSite(
            means[list(images)],
            target=k,
            blank=float(noise.blank[k]),
            natural_mean=natural_mean,
            natural_sd=natural_sd,
            temperature=config.synthesis.temperature,
            **noise.of_trials(),
        )
    return expected


def likely_pairs(
    data: Dataset,
    sites: Key,
    posterior: NaturalPosterior,
    *,
    noise: Noise,
    references: References,
    contrasts: Contrasts,
    gains: Mapping[Pair, tuple[float, float]],
) -> Pairs:
    """What may be true of every pair: draws of its references' and its controller's scores, and the trial noise of
    them.

    Stretch is scored by the response of the site in the recording's unit, one_hot by the contrast of the site with the
    others in natural SDs (`Contrasts`), suppress by the response with its sign turned, which ends at the floor of the
    unit. `gains`: mean and SD of each controller's gain over the expected best reference, of its evoked response
    (stretch in units that count from zero) or in natural SDs.
    """
    generator = np.random.default_rng([len(data.values), 13])
    names, count = tuple(references.images), min(map(len, references.images.values()))
    images = np.array([references.images[name][:count] for name in names], dtype=np.int64)
    natural_sd = sites.natural_statistics()[1]
    drawn, controllers, floor, slope = [], [], [], []
    for p, (objective, target) in enumerate(names):
        k = sites.site_ids.index(target)
        row, most = OBJECTIVES[objective], np.inf
        if not row.all_sites:
            level, doubt = row.sign * posterior.mean[images[p], k], posterior.sd[images[p], k]
            step = natural_sd[k] if noise.fano is None or row.gain_in_sd else level[0] - noise.blank[k]
            floor.append(0.0 if noise.fano is not None else noise.variance[k])
            slope.append(0.0 if noise.fano is None else row.sign * noise.fano[k])
            most = -noise.lowest if row.below else np.inf
        else:
            level, doubt = contrasts.scores(posterior, images[p], p)
            step = 1.0
            base, rise = contrasts.noise(posterior.mean[images[p, 0]], noise, p)
            floor.append(base - rise * level[0])
            slope.append(rise)
        drawn.append(np.minimum(level + doubt * generator.normal(size=(DRAWS, count)), most))
        mean, sd = gains[objective, target]
        controllers.append(np.minimum(level[0] + step * (mean + sd * generator.normal(size=DRAWS)), most))
    return Pairs(
        names=names,
        images=images,
        references=np.stack(drawn, axis=1),
        controllers=np.stack(controllers, axis=1),
        floor=np.array(floor),
        slope=np.array(slope),
    )
