"""The record of a description: what was found, without a word about it."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.analysis.neighbours import Embedding
from protocols.arrays import Floats

from .boxes import Box
from .material import Material
from .reading import Clusters, Layers
from .wording import Wording


@dataclass(frozen=True)
class Description:
    """What the sites of a project prefer.

    Attributes
    ----------
    material : Material
    boxes : tuple of Box
        One per site.
    embedding : Embedding
        Of the photographs' features.
    made_points : array of shape (K, 2)
        Controllers on the same map.
    agreement : array of shape (V,)
        See `encoders.analysis.neighbours.neighbour_agreement`.
    clusters : Clusters
    layers : Layers
    wording : Wording or None
        None where no vectors were given.
    seed : int
    """

    material: Material
    boxes: tuple[Box, ...]
    embedding: Embedding
    made_points: Floats
    agreement: Floats
    clusters: Clusters
    layers: Layers
    wording: Wording | None
    seed: int
