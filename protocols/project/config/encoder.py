"""Section ``[encoder]`` of a project.toml: how the model of the recorded sites is fitted."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from .section import Fraction, Section, Seed

Effort = Literal["quick", "full"]
Preset = Literal["diverse", "diverse_networks", "two_networks", "single"]
Family = Literal[
    "factorised",
    "ridge",
    "banded_ridge",
    "pls",
    "population",
    "gaussian",
    "spatial_feature",
    "attention",
    "semantic_transformer",
    "topographic",
]


def _families(text: str) -> str:
    """Several families joined by +."""
    parts = text.split("+")
    if len(parts) < 2 or not set(parts) <= set(get_args(Family)):
        raise PydanticCustomError("families", "several of these joined by '+'")
    return text


Families = Annotated[str, AfterValidator(_families)]

EFFORTS: dict[Effort, dict[str, Any]] = {
    "quick": {"preset": "diverse", "readout": "factorised", "fine_tune": 0, "final_fit": False},
    "full": {"preset": "two_networks", "readout": "ridge+factorised", "fine_tune": 8, "final_fit": True},
}
"""What an effort gives to keys that are left out; `EncoderConfig.settled` fills them in."""


class EncoderConfig(Section):
    """Section ``[encoder]``: how the model of the recorded sites is fitted."""

    effort: Effort = Field(
        default="quick",
        description=(
            '[name] What preset, readout, fine_tune and final_fit are where they are left out. "full": two networks, '
            "tuned, two families of readouts and a final fit, in some minutes per fit (see docs/fine_tuning.md); "
            '"quick": three depths of one frozen network, in less than a minute, for first looks.'
        ),
    )
    backbone: str = Field(
        default="offline:efficientnet_lite0",
        min_length=1,
        description=(
            '[uri] Network whose features are read out: "offline:NAME" (installed with the package), "timm:NAME" or '
            '"torchvision:NAME".'
        ),
    )
    weights: str = Field(
        default="",
        description=(
            "[file] Weights of backbone: a state dict (.safetensors, .pth, .pt) in this project folder, for a computer "
            'without internet or for a network that you trained. "": the trained weights of that name.'
        ),
    )
    layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description=(
            '[layer names] Layers that the encoder reads, one member for each; "a+b" are read together. Empty: the '
            "layers of the preset."
        ),
    )
    preset: Preset | None = Field(
        default=None,
        description=(
            '[name] What the encoder reads where layers is empty. "diverse": three depths of EfficientNet-Lite0; '
            '"diverse_networks": also Lite2 and a second resolution, in twice the time; "two_networks": three depths '
            'of Lite0 and of Lite2; "single": one layer. Left out: "diverse" with the effort quick, "two_networks" '
            "with full."
        ),
    )
    fine_tune: int | None = Field(
        default=None,
        ge=0,
        le=50,
        description=(
            "[passes] Passes over the fitted photographs in which the networks are tuned together with the readouts; "
            "0: the networks stay frozen. Left out: 0 with the effort quick, 8 with full (see docs/fine_tuning.md)."
        ),
    )
    networks_from: str = Field(
        default="",
        description=(
            "[path] Folder fitted/enc_... of an encoder of an earlier recording of the area, copied into this "
            "project: the fit begins with its networks. That encoder must be tuned with fine_tune. Where the two "
            "recordings share photographs, do not use the encoder of its final_fit, which has seen all of them. "
            "Empty: the trained networks (see docs/fine_tuning.md)."
        ),
    )
    final_fit: bool | None = Field(
        default=None,
        description=(
            "[true or false] After scoring, the encoder is fitted once more, to the held-out photographs too, and "
            "this encoder makes the images. The scores stay those of the encoder that did not see the held-out "
            "photographs. This doubles the time of a fit and takes effect with the next fit; refits of mode gain and "
            "reuse keep what was fitted (see docs/fine_tuning.md). Left out: false with the effort quick, true with "
            "full."
        ),
    )
    readout: Family | Families | None = Field(
        default=None,
        description=(
            "[name] How responses are read from features. ridge and pls have one member per layer, banded_ridge has "
            "one in all, topographic one per fold (it needs site/x_um and y_um), the others one per layer and fold. "
            "population reads the sites of the earlier recordings of networks_from beside the features: the best where "
            "there is such a trunk (stimsynth trunk; see docs/synthesised.md). "
            'Several joined by +, such as "ridge+factorised", are averaged; with fine_tune, ridges are then fitted to '
            'the networks that the factorised readouts tuned. Left out: "factorised" with the effort quick, '
            '"ridge+factorised" with full.'
        ),
    )
    validator_backbone: str = Field(
        default="",
        description=(
            "[uri] Network of the validator. Empty: another network where the backbone is the default one, else the "
            "same."
        ),
    )
    validator_weights: str = Field(
        default="",
        description=(
            '[file] Weights of validator_backbone, in this project folder. "": weights, where both networks are the '
            "same one, else the trained weights of that name."
        ),
    )
    validator_layers: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description=(
            "[layer names] Layers of the validator, the second encoder, which chooses the confirmatory image. Empty: "
            "the standard ones."
        ),
    )
    holdout_fraction: Fraction = Field(
        default=0.2,
        description=(
            "[fraction of the images] Images held out of every fit that is scored; the scores in the report are "
            "measured on them."
        ),
    )
    folds: int = Field(
        default=5,
        ge=2,
        le=50,
        description=(
            "[count] Cross-validation folds that choose the penalties; trained readouts have one member per fold."
        ),
    )
    join_near_duplicates: bool = Field(
        default=True,
        description=(
            "[true or false] Photographs that look alike (compressed, resized or mirrored copies under other names) "
            "stay together on one side of every split. Where they do not, the scores are too high."
        ),
    )
    reliability_fit: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        description="[reliability of the mean responses, 0 ... 1] Sites below this are not fitted.",
    )
    reliability_target: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="[reliability of the mean responses, 0 ... 1] Sites below this are never controlled.",
    )
    seed: Seed = Field(default=0, description="[integer] Seed of the splits of the images.")

    def settled(self) -> Self:
        """The same with preset, readout, fine_tune and final_fit as `effort` has them, where they are left out."""
        left_out = {key: value for key, value in EFFORTS[self.effort].items() if getattr(self, key) is None}
        return self.model_copy(update=left_out)
