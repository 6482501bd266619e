"""Section ``[encoder]`` of a project.toml: how the model of the recorded sites is fitted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .section import Fraction, Section, Seed


class EncoderConfig(Section):
    """Section ``[encoder]``: how the model of the recorded sites is fitted."""

    backbone: str = Field(
        default="offline:efficientnet_lite0",
        min_length=1,
        description='[uri] Network whose features are read out: "offline:NAME" (comes with the installation), "timm:NAME" or "torchvision:NAME".',
    )
    layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description='[layer names] Members of the encoder; "a+b" are read together; empty: those of the preset.',
    )
    preset: Literal["diverse", "diverse_networks", "two_networks", "single"] = Field(
        default="diverse",
        description='[name] Members where layers is empty: "diverse" three depths of EfficientNet-Lite0; "diverse_networks" also Lite2 and a '
        'second resolution, twice the time; "two_networks" three depths of Lite0 and of Lite2; "single" one layer.',
    )
    fine_tune: int = Field(
        default=0,
        ge=0,
        le=50,
        description="[passes] Over the fitted photographs, in which the encoder's networks are tuned with the readouts; 0: they stay frozen. "
        'Strongest controllers: 8, with preset = "two_networks" and final_fit = true (minutes more a fit; docs/fine_tuning.md).',
    )
    networks_from: str = Field(
        default="",
        description="[path] Encoder of an earlier recording of the area (its folder fitted/enc_..., copied into this project), tuned with fine_tune (where photographs "
        "are shared, not the one of its final_fit, which has seen all): the fit begins with its networks (docs/fine_tuning.md); empty: with the trained ones.",
    )
    final_fit: bool = Field(
        default=False,
        description="[true or false] When all is scored, the encoder is fitted once more, to the held-out photographs too, and makes the images; scores stay those "
        "of the encoder that did not see them (doubles the time of a fit; docs/fine_tuning.md). Takes effect with the next fit: refits of mode gain and reuse keep "
        "what was fitted.",
    )
    readout: Literal[
        "factorised",
        "ridge",
        "banded_ridge",
        "pls",
        "gaussian",
        "spatial_feature",
        "attention",
        "semantic_transformer",
        "topographic",
    ] = Field(
        default="factorised",
        description="[name] How responses are read from features: one member a layer (ridge, pls), a layer and fold, or a fold (topographic, which needs site/x_um and y_um) or one (banded_ridge).",
    )
    validator_backbone: str = Field(
        default="",
        description="[uri] Network of the validator; empty: another one where the backbone is the default, else the same.",
    )
    validator_layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="[layer names] Layers of the validator, the second encoder that chooses the confirmatory image; "
        "empty: the standard ones.",
    )
    holdout_fraction: Fraction = Field(
        default=0.2,
        description="[fraction of the images] Kept out of every fit that is scored; the scores in the report are measured on them.",
    )
    folds: int = Field(
        default=5,
        ge=2,
        le=50,
        description="[count] Cross-validation folds that choose penalties; trained readouts have one member each.",
    )
    reliability_fit: float = Field(
        default=0.3, ge=0, lt=1, description="[split-half correlation, Spearman-Brown] Sites below this are not fitted."
    )
    reliability_target: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="[split-half correlation, Spearman-Brown] Sites below this are never controlled.",
    )
    seed: Seed = Field(default=0, description="[integer] Splits of the images.")
