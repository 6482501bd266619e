"""Choices of a fit, and whether a later fit may go on from an earlier one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encoder import Encoder, Ensemble
from .members import ReadoutSpec


@dataclass(frozen=True)
class FitOptions:
    """Choices of a fit that are written into its report; see `fit_encoder`."""

    backbone: str
    layers: tuple[str, ...]
    validator_backbone: str
    validator_layers: tuple[str, ...]
    weights: str
    input_size: int | None
    readout: ReadoutSpec
    holdout_fraction: float
    folds: int
    seed: int
    reliability_fit: float
    reliability_target: float
    averages: bool


def settings_of(options: FitOptions, n_images: int, held_out: NDArray[np.bool_]) -> dict[str, Any]:
    """The options and numbers of images, JSON-able, for the report."""
    settings = asdict(options) | {"layers": list(options.layers), "validator_layers": list(options.validator_layers)}
    settings["readout"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options.readout).items()}
    settings["weights"] = Path(options.weights).name
    return settings | {"n_images": n_images, "n_fitted_images": int((~held_out).sum())}


class NoWarmStart(ValueError):
    """Why a fit cannot go on from an earlier one."""


def warm_options(
    options: FitOptions, initial: tuple[Encoder | Ensemble, Encoder | Ensemble], site_ids: tuple[str, ...]
) -> FitOptions:
    """The options of a warm start: the validator's layer is the one that was chosen."""
    known = initial[0].info.settings
    chosen = replace(options, validator_layers=(known.get("validator_layer", ""),))
    if not options.readout.trained:
        raise NoWarmStart(f"readout {options.readout.kind!r} is solved in closed form")
    if len(options.readout.strengths) != 1:
        raise NoWarmStart("several strengths of the penalty are to be compared")
    for encoder in initial:
        if encoder.site_ids != site_ids:
            raise NoWarmStart(f"{len(encoder.site_ids)} sites were fitted, {len(site_ids)} other ones are reliable now")
    now = settings_of(chosen, 0, np.zeros(0, bool))
    names = ("backbone", "layers", "validator_backbone", "input_size", "readout", "folds", "seed", "holdout_fraction")
    other = [name for name in names if _plain(now[name]) != _plain(known.get(name))]
    if other:
        raise NoWarmStart(f"{', '.join(other)} changed since the last fit")
    return chosen


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
