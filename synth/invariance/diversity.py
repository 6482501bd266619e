"""Sets of images that all drive a site and differ as much as they can, and the diversity index of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synth.answers import images_of, z_scores_to
from synth.ascent.ascend import ascend
from synth.batch import StimulusBatch
from synth.batches import generator_for
from synth.contract import EncoderLike, Images, Progress, attributes_of
from synth.objectives import Objective, diverse, stretch
from synth.objectives.bound import column_of
from synth.parameterisations import fourier, masked
from synth.starts import noise_within

from .cells import gabor_cells
from .likeness import mean_pairwise

__all__ = ["DiverseSet", "Diversity", "diverse_sets", "diversity_index", "null_diversity"]

SHARE = 0.85  # of the best image's response (Ding et al. 2023)
SPARE = 0.02  # of it: aimed at so much above, since the floor of the ascent is a soft one
CELLS_AT_ONCE = 64  # images: simulated cells take little memory
START_NOISE = 0.1  # SD of the noise that parts the images at the start, in pixel values


@dataclass(frozen=True)
class Diversity:
    """How a set is made; the same for a site and for the simulated cells that it is compared with.

    Attributes
    ----------
    count : int
        Images per set.
    share : float
        Of the best image's response, in natural SDs from the natural mean, that every image keeps.
    steps : int
        Gradient steps, of the best image and of the set.
    learning_rate : float
    penalty : float
        Slope of the hinge below the floor, in pixel values per response of the best image.
    """

    count: int = 10
    share: float = SHARE
    steps: int = 80
    learning_rate: float = 0.1
    penalty: float = 5.0

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count {self.count}; expected at least 2 images in a set")
        if not 0 < self.share < 1:
            raise ValueError(f"share {self.share}; expected a share of the best image's response above 0, below 1")


@dataclass(frozen=True)
class DiverseSet:
    """The set of one site.

    Attributes
    ----------
    site : str
    best : array of shape (H, W, C), uint8
        The image with the largest response.
    best_z, floor : float
        Its response in natural SDs, and the smallest that an image of the set may have.
    batch : StimulusBatch of `Diversity.count` images
    z : array of shape (count,)
        Responses to the 8-bit images.
    """

    site: str
    best: NDArray[np.uint8]
    best_z: float
    floor: float
    batch: StimulusBatch
    z: NDArray[np.float64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which images of the set reach the floor, (count,)."""
        return np.asarray(self.z >= self.floor)

    def distance(self, mask: Tensor) -> float:
        """Mean pairwise distance of the images that reach the floor, inside the receptive field `mask` (H, W)."""
        return mean_pairwise(images_of(self.batch.images[self.kept]), mask)


def diverse_sets(
    encoder: EncoderLike,
    sites: Sequence[str],
    masks: Tensor,
    *,
    constraints: Sequence[Images],
    settings: Diversity,
    start: NDArray[np.uint8] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> list[DiverseSet]:
    """For each site, images that all keep `Diversity.share` of the best image's response, far from each other.

    The constrained form of diverse exciting inputs (Ding et al. 2023): first the best image by ascent; then,
    from it and noise, the largest distance to the nearest image of the set above a floor on the response
    (`synth.diverse`). Outside
    the receptive field every image is the best one, but for the display's scale, so that diversity comes from inside.

    Parameters
    ----------
    encoder : callable with `site_ids`
    sites : sequence of P names
    masks : Tensor of shape (P, H, W), in [0, 1]
        Receptive fields.
    constraints : sequence of callables
        As of `ascend`.
    settings : Diversity
    start : array of shape (P, H, W, C), uint8, or None
        Where the best image starts, such as the best photograph; None = noise.
    batch_size, progress : as of `ascend`

    Raises
    ------
    ValueError
        Another number of masks; no constraint of a known shape; a best image that does not drive its site.
    """
    shape = next((constraint.shape for constraint in constraints if hasattr(constraint, "shape")), None)
    if shape is None or len(masks) != len(sites):
        raise ValueError(
            f"{len(masks)} masks for {len(sites)} sites and images of shape {shape}; expected one mask per site, and "
            "the constraints of a display: exact_statistics((C, H, W), ...)"
        )
    how: dict[str, Any] = {"constraints": constraints, "transforms": (), "steps": settings.steps}
    how |= {"learning_rate": settings.learning_rate, "batch_size": batch_size, "progress": progress}
    first = None if start is None else images_of(start)
    best = ascend(encoder, stretch(sites), fourier(shape), **how, start=first).images
    columns = [column_of(site, attributes_of(encoder).site_ids) for site in sites]
    top = z_scores_to(encoder, best)[range(len(sites)), columns]
    if not (top > 0).all():
        worst = int(top.argmin())
        raise ValueError(
            f"the best image of {sites[worst]} evokes z = {top[worst]:.2f}; expected a response above the natural mean"
        )
    objective = reduce(
        or_,
        (
            diverse([site], settings.count, (settings.share + SPARE) * float(z), penalty=settings.penalty / float(z))
            for site, z in zip(sites, top, strict=True)
        ),
    )
    of_row = [i for i in range(len(sites)) for _ in range(settings.count)]
    behind, seen = images_of(best)[of_row], masks[of_row]
    made = ascend(
        encoder, objective, masked(fourier(shape), seen, behind), **how, start=_starts(objective, behind, seen)
    )
    answers, found = z_scores_to(encoder, made.images), []
    for i, site in enumerate(sites):
        rows = range(i * settings.count, (i + 1) * settings.count)
        found.append(
            DiverseSet(
                site=site,
                best=best[i],
                best_z=float(top[i]),
                floor=settings.share * float(top[i]),
                batch=made.take(rows),
                z=answers[rows, columns[i]],
            )
        )
    return found


def _starts(objective: Objective, images: Tensor, masks: Tensor) -> Tensor:
    """Images (N, C, H, W), one per row, with noise of a natural spectrum added inside their fields (N, H, W)."""
    generators = [generator_for(f"{name} start", 0) for name in objective.row_names]
    noise = noise_within(masks, images.shape[1], generators, contrast=START_NOISE) - 0.5
    return (images + noise).clamp(0, 1)


def null_diversity(
    mask: Tensor,
    photographs: NDArray[np.uint8],
    *,
    constraints: Sequence[Images],
    settings: Diversity,
    complexity: Sequence[float] = (0.0, 1.0),
    turned: float = 0.0,
    progress: Progress | None = None,
) -> Mapping[float, NDArray[np.float64]]:
    """What the same optimiser gives for simulated cells of the same receptive field, contrast and number of images.

    Parameters
    ----------
    mask : Tensor of shape (H, W)
        The receptive field of the site.
    photographs : array of shape (N, H, W, C), uint8
    complexity : sequence of numbers, 0 = simple, 1 = complex
    turned : float
        Degrees by which the cells' orientations are turned.

    Returns
    -------
    dict of complexity to array of shape (orientations,)
        Mean pairwise distance inside the field, one per orientation.
    """
    cells = gabor_cells(mask, complexity, photographs, turned=turned)
    z = z_scores_to(cells, photographs)
    start = photographs[z.argmax(0)]
    sets = diverse_sets(
        cells,
        cells.site_ids,
        mask.expand(len(cells.site_ids), -1, -1),
        constraints=constraints,
        settings=settings,
        start=start,
        batch_size=CELLS_AT_ONCE,
        progress=progress,
    )
    distances = np.array([s.distance(mask) for s in sets]).reshape(len(complexity), -1)
    return {float(c): row for c, row in zip(complexity, distances, strict=True)}


def diversity_index(distance: float, simple: float, complex_: float) -> float:
    """``(d - d_simple) / (d_complex - d_simple)``: 0 of a noiseless simple cell, 1 of a complex one (Ding et al. 2023).

    Above 1 the images differ more than those of a cell that ignores phase alone.

    Parameters
    ----------
    distance : float
        Mean pairwise distance of a site's set; those of the simulated cells are made in the same way.

    Raises
    ------
    ValueError
        The complex cell's set is not more diverse than the simple one's: the index has no scale.
    """
    if not complex_ > simple:
        raise ValueError(
            f"mean distances {simple:.4f} of simple and {complex_:.4f} of complex cells; expected more of the second. "
            "Likely cause: too few steps or images"
        )
    return (distance - simple) / (complex_ - simple)
