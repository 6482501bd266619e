"""Choices of a fit, and whether a later fit may go on from an earlier one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.backbones.multiple import split_layer
from encoders.encoder import Encoder, Ensemble

from .readout_spec import ReadoutSpec


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
    fine_tune: int = 0
    networks_from: str = ""  # fingerprint of the encoder that tuned them
    final_fit: bool = False


def settings_of(options: FitOptions, n_images: int, held_out: NDArray[np.bool_]) -> dict[str, Any]:
    """The options and numbers of images, JSON-able, for the report."""
    settings = asdict(options) | {"layers": list(options.layers), "validator_layers": list(options.validator_layers)}
    settings["readout"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(options.readout).items()}
    settings["weights"] = Path(options.weights).name
    for name in ("networks_from", "final_fit"):
        if not settings[name]:
            del settings[name]
    return settings | {"n_images": n_images, "n_fitted_images": int((~held_out).sum())}


class NoWarmStart(ValueError):
    """Why a fit cannot go on from an earlier one."""


def warm_options(options: FitOptions, initial: tuple[Encoder | Ensemble, ...], site_ids: tuple[str, ...]) -> FitOptions:
    """The options of a warm start: the validator's layer is the one that was chosen."""
    known = initial[0].info.settings
    chosen = replace(options, validator_layers=(known.get("validator_layer", ""),))
    if options.fine_tune or any(_tuned(encoder) for encoder in initial):
        raise NoWarmStart("the network is tuned, or was: every tuning begins with the networks as they were before it")
    if not options.readout.trained:
        raise NoWarmStart(f"readout {options.readout.kind!r} is solved in closed form")
    if len(options.readout.strengths) != 1:
        raise NoWarmStart("several strengths of the penalty are to be compared")
    for encoder in initial:
        if encoder.site_ids != site_ids:
            raise NoWarmStart(f"{len(encoder.site_ids)} sites were fitted, {len(site_ids)} other ones are reliable now")
    now = {"networks_from": ""} | settings_of(chosen, 0, np.zeros(0, bool))
    known = {"networks_from": ""} | known
    names = (
        "backbone",
        "layers",
        "validator_backbone",
        "input_size",
        "readout",
        "folds",
        "seed",
        "holdout_fraction",
        "networks_from",
    )
    other = [name for name in names if _plain(now[name]) != _plain(known.get(name))]
    if other:
        raise NoWarmStart(f"{', '.join(other)} changed since the last fit")
    return chosen


def _tuned(encoder: Encoder | Ensemble) -> bool:
    """Whether its networks are other than those that it began with."""
    settings = encoder.info.settings
    inherited = "networks_from" in settings and not settings.get("fine_tuning", {}).get("epoch", 0)
    return bool(encoder.backbone.adapted) and not inherited


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def check_layers(options: FitOptions) -> None:
    """Refuse a validator that reads a layer of the encoder's.

    Raises
    ------
    ValueError
        If there is such a layer, or none at all for one of them.
    """
    own, judge = (
        {layer_place(uri, e) for entry in entries for e in entry.split("+")} for uri, entries in _sides(options)
    )
    if own & judge or not own or not judge:
        raise ValueError(
            f"layers {', '.join(options.layers)} of {options.backbone} and validator layers {', '.join(options.validator_layers)} of "
            f"{options.validator_backbone}; expected at least one each, and none in both: a validator that shares the encoder's layer "
            "shares its mistakes"
        )


def _sides(options: FitOptions) -> tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]]:
    return (options.backbone, options.layers), (options.validator_backbone, options.validator_layers)


def layer_place(uri: str, entry: str) -> tuple[str, str]:
    """Network and layer of an entry, whatever the resolution."""
    name, layer = split_layer(entry)
    return name.partition("@")[0] or uri, layer
