"""A fitted project opened for an experiment on its encoder: networks, photographs, display, and how images are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.models.pair import load_pair
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.synthesis.request import recipe
from protocols.synthesis.starts import measured_z
from synth import StimulusBatch
from synth.answers import z_scores, z_scores_to

Pair = tuple[Encoder | Ensemble, Encoder | Ensemble]
"""An encoder and its validator."""


@dataclass(frozen=True)
class Opened:
    """All that an experiment on a fitted encoder rests on.

    Attributes
    ----------
    project : Project
    encoder, validator : Encoder or Ensemble, on the device
        The newest pair of the project; the validator makes no image and judges all.
    targets : sequence of str
        The sites that may be controlled, in the encoder's order.
    natural : uint8 array of shape (N, H, W, C)
        The photographs of the project, as the display shows them.
    source_ids : sequence of N str
    measured : array of shape (N, U)
        Shrunken mean responses to them in natural SDs, in the encoder's order of sites.
    recipe : dict
        Of `protocols.synthesis.request.recipe`: arguments of `synth.ascend` (variables, constraints, transforms,
        learning rate) as project.toml has them.
    """

    project: Project
    encoder: Encoder | Ensemble
    validator: Encoder | Ensemble
    targets: Sequence[str]
    natural: Pixels
    source_ids: Sequence[str]
    measured: Floats
    recipe: dict[str, Any]

    @property
    def pair(self) -> Pair:
        """The encoder and the validator."""
        return self.encoder, self.validator


def both_z(pair: Pair, pixels: Pixels) -> tuple[Floats, Floats]:
    """What both predict of 8-bit images (N, H, W, C), each in its own natural SDs: two arrays (N, U) in the first one's
    order of sites.
    """
    encoder, validator = pair
    return z_scores_to(encoder, pixels), z_scores_to(validator, pixels)[:, _order(pair)]


def batch_z(pair: Pair, batch: StimulusBatch) -> tuple[Floats, Floats]:
    """`both_z` of a validated batch from the predictions that stand in it: no network is asked again."""
    encoder, validator = pair
    assert batch.validator_predicted is not None
    judged = np.zeros((len(batch), len(validator.site_ids)))
    judged[:, _order(pair)] = batch.validator_predicted
    return z_scores(batch.predicted, encoder), z_scores(judged, validator)[:, _order(pair)]


def _order(pair: Pair) -> list[int]:
    encoder, validator = pair
    return [list(validator.site_ids).index(site) for site in encoder.site_ids]


def open_fitted(project: Project, *, device: str = "cpu") -> Opened:
    """The newest encoder of `project` with all that is made of it; the project's settings are frozen as for a stage.

    Raises
    ------
    DataError
        D06: no encoder was fitted.
    """
    project = project.for_stage()
    encoder, validator = (e.to(device) for e in load_pair(project, project.newest_fit() or 1))
    photographs = NaturalImages.load(project.data)
    pixels = photographs.pixels()
    return Opened(
        project=project,
        encoder=encoder,
        validator=validator,
        targets=tuple(encoder.target_ids),
        natural=pixels,
        source_ids=tuple(photographs.source_ids),
        measured=measured_z(project, encoder),
        recipe=recipe(project, pixels),
    )
