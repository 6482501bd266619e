"""Options of a fit: what a user chooses, the same with all defaults filled in, and the check of a warm start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.backbones.multiple import split_layer
from encoders.backbones.networks import DEFAULT_BACKBONE
from encoders.encoder import Encoder, Ensemble
from encoders.solvers.catalogue import NEEDS_EARLIER

from .readout_spec import ReadoutSpec

DEFAULT_LAYERS = ("blocks.2.0", "blocks.3.0", "blocks.4.0")
PRESETS = {
    "diverse": DEFAULT_LAYERS,  # three depths of one network, one member per fold: best transfer to hidden V4 sites
    "diverse_networks": (
        *DEFAULT_LAYERS,
        "offline:efficientnet_lite2/blocks.2.0",
        "offline:efficientnet_lite2/blocks.3.0",
        "offline:efficientnet_lite0@160/blocks.3.0",
    ),
    "two_networks": (
        *DEFAULT_LAYERS,
        *(f"offline:efficientnet_lite2/{layer}" for layer in DEFAULT_LAYERS),
    ),
    "single": ("blocks.3.0",),
}
DEFAULT_VALIDATOR_BACKBONE = "offline:efficientnet_lite2"
DEFAULT_VALIDATOR_LAYERS = ("blocks.3.0",)  # where the validator has a network of its own
SAME_NETWORK_VALIDATOR_LAYERS = ("blocks.3.2",)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Choices of a fit, each with a default.

    Attributes
    ----------
    backbone : str
        Network of the encoder; see `encoders.backbone`.
    layers : str or sequence of str
        Name of a preset (`PRESETS`), or layers. Each layer gives one ensemble member, or one per fold for trained
        readouts. "a+b" are read together. "NETWORK@160/LAYER" is a layer of another network, at 160 pixels.
    readout : str or ReadoutSpec
        Name of the readout (`encoders.READOUTS`), several names joined by "+" for their mean ("ridge+factorised"), or
        its full description. Where the networks are tuned, trained readouts are tuned with them, and ridge and the
        like beside them are then solved on the tuned networks.
    validator_backbone : str, optional
        Default: EfficientNet-Lite2 where `backbone` is the default, else the same network as `backbone`.
    validator_layers : sequence of str, optional
        Candidates. The one that explains most variance in the left-out folds of the fitted images is used.
    weights : str or path
        Weights of `backbone`; see `encoders.backbone`. A file is for this network alone.
    validator_weights : str or path, optional
        The same of the validator's network. Default: `weights` where both networks are the same, else trained ones.
    input_size : int, optional
        Side in pixels at which the networks see the images; see `encoders.backbone`.
    pool : int, optional
        Feature maps are average-pooled to at most ``pool x pool``. Default: the readout's own (`ReadoutSpec`).
    holdout_fraction : float
        Expected share of the groups that are held out: no fit that is scored, and no choice, sees them. A group's side
        depends on its name and `seed` only, so it stays the same when images are added for a later fit.
    folds : int
        Folds of the cross-validation that chooses penalties, and of the members of trained readouts.
    join_near_duplicates : bool
        Images that look alike (see `encoders.splits.photographs`) count as one group, under whatever names. False: they
        are counted in the report and may lie on both sides of a split, where they raise the scores.
    fine_tune : int
        Epochs over the fitted images in which networks and readouts of the encoder are tuned together (`fine_tune`);
        0 = the networks stay frozen. A tenth of the groups that are not held out chooses the epoch to keep and stays
        out of the encoder's fit. ``cv_r2``, best layers and intervals are those before the tuning, scores those after
        it. The validator stays frozen.
    final_fit : bool
        When all is scored, fit the encoder once more, to all images: also those that were held out, and those that
        chose the epoch of a tuning, which is kept. Sites, scores and report stay those of the encoder that was scored.
        The intervals are its own.
    seed : int
        Of the split, the folds and the readouts' first values.
    reliability_fit : float
        Sites below are not fitted.
    reliability_target : float
        Fitted sites below are not offered as targets.
    """

    backbone: str = DEFAULT_BACKBONE
    layers: str | Sequence[str] = "diverse"
    readout: str | ReadoutSpec = "factorised"
    validator_backbone: str | None = None
    validator_layers: Sequence[str] | None = None
    weights: str | Path = "pretrained"
    validator_weights: str | Path | None = None
    input_size: int | None = None
    pool: int | None = None
    holdout_fraction: float = 0.2
    folds: int = 5
    join_near_duplicates: bool = True
    fine_tune: int = 0
    final_fit: bool = False
    seed: int = 0
    reliability_fit: float = 0.3
    reliability_target: float = 0.5


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """`FitOptions` with all defaults filled in, as they are written into the report; in the order of the report.

    Attributes
    ----------
    averages : bool
        See `Recording`.
    networks_from : str
        Fingerprint of the encoder of an earlier recording whose networks the fit begins with; "" = none.
    """

    backbone: str
    layers: tuple[str, ...]
    validator_backbone: str
    validator_layers: tuple[str, ...]
    weights: str
    validator_weights: str
    input_size: int | None
    readout: ReadoutSpec
    holdout_fraction: float
    folds: int
    seed: int
    reliability_fit: float
    reliability_target: float
    averages: bool
    join_near_duplicates: bool
    fine_tune: int
    networks_from: str
    final_fit: bool


def resolve(options: FitOptions, *, averages: bool, networks_from: Encoder | Ensemble | None) -> FitSettings:
    """The options with presets and defaults filled in.

    Raises
    ------
    ValueError
        If a preset is unknown, `fine_tune` is no number of epochs, or the validator reads a layer of the encoder.
    """
    if options.fine_tune != int(options.fine_tune) or options.fine_tune < 0:
        raise ValueError(f"fine_tune is {options.fine_tune}; expected a whole number of epochs, 0 for none")
    readout = options.readout
    spec = readout if isinstance(readout, ReadoutSpec) else ReadoutSpec(readout, pool=options.pool)
    layers = _preset(options.layers) if isinstance(options.layers, str) else tuple(options.layers)
    other = options.validator_backbone or _other_backbone(options.backbone)
    judged_by = options.validator_layers
    if judged_by is None:
        shared = other in {layer_place(options.backbone, entry)[0] for entry in layers}
        judged_by = SAME_NETWORK_VALIDATOR_LAYERS if shared else DEFAULT_VALIDATOR_LAYERS
    settings = FitSettings(
        backbone=options.backbone,
        layers=layers,
        validator_backbone=other,
        validator_layers=tuple(judged_by),
        weights=str(options.weights),
        validator_weights=str(options.validator_weights or ""),
        input_size=options.input_size,
        readout=spec,
        holdout_fraction=options.holdout_fraction,
        folds=options.folds,
        seed=options.seed,
        reliability_fit=options.reliability_fit,
        reliability_target=options.reliability_target,
        averages=averages,
        join_near_duplicates=options.join_near_duplicates,
        fine_tune=options.fine_tune,
        networks_from="" if networks_from is None else networks_from.fingerprint,
        final_fit=options.final_fit,
    )
    check_layers(settings)
    return settings


def check_earlier(settings: FitSettings) -> None:
    """Refuse a readout that is built on the sites of an earlier recording where there is none.

    Raises
    ------
    ValueError
    """
    if settings.readout.kind in NEEDS_EARLIER and not settings.networks_from:
        raise ValueError(
            f"readout {settings.readout.kind!r} reads the sites of an earlier recording; found no networks_from. Fix: "
            "name a tuned encoder or a trunk of earlier recordings there, or choose another readout"
        )


def _preset(name: str) -> tuple[str, ...]:
    if name not in PRESETS:
        raise ValueError(f"layers {name!r}; expected a sequence of layers, or one of the presets {', '.join(PRESETS)}")
    return PRESETS[name]


def _other_backbone(uri: str) -> str:
    """Network of the validator where none is named: another one for the default, the same one for all others."""
    return DEFAULT_VALIDATOR_BACKBONE if uri == DEFAULT_BACKBONE else uri


def check_layers(settings: FitSettings) -> None:
    """Refuse a validator that reads a layer of the encoder.

    Raises
    ------
    ValueError
        If there is such a layer, or no layer at all for one of the two.
    """
    encoder, validator = (
        {layer_place(uri, layer) for entry in entries for layer in entry.split("+")}
        for uri, entries in (
            (settings.backbone, settings.layers),
            (settings.validator_backbone, settings.validator_layers),
        )
    )
    if encoder & validator or not encoder or not validator:
        raise ValueError(
            f"layers {', '.join(settings.layers)} of {settings.backbone} and validator layers "
            f"{', '.join(settings.validator_layers)} of {settings.validator_backbone}; expected at least one each, and "
            "none in both: a validator that shares the encoder's layer shares its mistakes"
        )


def layer_place(uri: str, entry: str) -> tuple[str, str]:
    """Network and layer of an entry, whatever the resolution."""
    name, layer = split_layer(entry)
    return name.partition("@")[0] or uri, layer


def report_settings(settings: FitSettings, n_images: int, held_out: NDArray[np.bool_]) -> dict[str, Any]:
    """Settings and numbers of images for the report, JSON-able."""
    record = asdict(settings) | {"layers": list(settings.layers), "validator_layers": list(settings.validator_layers)}
    record["readout"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings.readout).items()}
    for name in ("weights", "validator_weights"):
        record[name] = Path(record[name]).name
    for name in ("networks_from", "final_fit", "validator_weights"):
        if not record[name]:
            del record[name]
    return record | {"n_images": n_images, "n_fitted_images": int((~held_out).sum())}


class NoWarmStart(ValueError):
    """Why a fit cannot go on from an earlier one."""


SAME_IN_A_WARM_START = (
    "backbone",
    "layers",
    "validator_backbone",
    "input_size",
    "readout",
    "folds",
    "seed",
    "holdout_fraction",
    "join_near_duplicates",
    "networks_from",
)


def warm_settings(
    settings: FitSettings, initial: tuple[Encoder | Ensemble, ...], site_ids: tuple[str, ...]
) -> FitSettings:
    """The settings of a warm start from the encoders `initial`: the validator's layer is the one chosen before.

    Raises
    ------
    NoWarmStart
        If the fit cannot go on from `initial`; says why.
    """
    before = initial[0].info.settings
    chosen = replace(settings, validator_layers=(before.get("validator_layer", ""),))
    if settings.fine_tune or any(_tuned(encoder) for encoder in initial):
        raise NoWarmStart("the network is tuned, or was: every tuning begins with the networks as they were before it")
    if settings.readout.solved:
        raise NoWarmStart(f"readout {settings.readout.kind!r} is solved in closed form")
    if len(settings.readout.families) > 1:  # each gives the mean of its folds, which no fit goes on from
        raise NoWarmStart(f"several families of readouts, {settings.readout.kind!r}")
    if len(settings.readout.strengths) != 1:
        raise NoWarmStart("several strengths of the penalty are to be compared")
    for encoder in initial:
        if encoder.site_ids != site_ids:
            raise NoWarmStart(f"{len(encoder.site_ids)} sites were fitted, {len(site_ids)} other ones are reliable now")
    now = {"networks_from": ""} | report_settings(chosen, 0, np.zeros(0, bool))
    before = {"networks_from": ""} | before
    changed = [name for name in SAME_IN_A_WARM_START if _plain(now[name]) != _plain(before.get(name))]
    if changed:
        raise NoWarmStart(f"{', '.join(changed)} changed since the last fit")
    return chosen


def _tuned(encoder: Encoder | Ensemble) -> bool:
    """Whether its fit tuned its networks; those of an earlier recording that it only began with do not count."""
    settings = encoder.info.settings
    begun_with = "networks_from" in settings and not settings.get("fine_tuning", {}).get("epoch", 0)
    return bool(encoder.backbone.adapted) and not begun_with


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
