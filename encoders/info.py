"""Records of an encoder: what it is for (`EncoderInfo`), and its predictions with intervals (`Judgement`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class EncoderInfo:
    """What an encoder is for.

    Parameters
    ----------
    site_ids : tuple of U str
        Columns of the output.
    target_ids : tuple of str
        Sites reliable enough to be driven.
    response_unit : str
        Unit of the output, that of the recording.
    image_shape : (C, H, W)
    field_of_view_deg : float
        Width of the image in degrees of visual angle.
    background : int
        Pixel value around and between images, 0 ... 255.
    colour : "grey" or "rgb"
    scores : dict of str to list
        One value per site (None = unknown) for each score: reliability, held-out correlation and the like.
    settings : dict
        How the encoder was fitted, JSON-able.
    """

    site_ids: tuple[str, ...]
    target_ids: tuple[str, ...]
    response_unit: str
    image_shape: tuple[int, int, int]
    field_of_view_deg: float
    background: int
    colour: str
    scores: dict[str, list[float | None]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site_ids", tuple(self.site_ids))
        object.__setattr__(self, "target_ids", tuple(self.target_ids))
        object.__setattr__(self, "image_shape", tuple(int(n) for n in self.image_shape))
        if not isinstance(self.scores, dict) or not isinstance(self.settings, dict):
            raise ValueError("scores and settings of an encoder: expected a table each")
        strangers = set(self.target_ids) - set(self.site_ids)
        if not self.site_ids or len(set(self.site_ids)) != len(self.site_ids) or strangers:
            raise ValueError(
                f"site ids {self.site_ids[:4]} ..., targets {self.target_ids[:4]} ...; expected unique sites, targets "
                "among them"
            )
        if self.colour not in ("grey", "rgb") or self.image_shape[0] != (1 if self.colour == "grey" else 3):
            raise ValueError(
                f"colour {self.colour!r} with image shape {self.image_shape}; expected grey, 1 channel, or rgb, 3"
            )
        if not 0 <= self.background <= 255 or self.field_of_view_deg <= 0:
            raise ValueError(
                f"background {self.background}, field of view {self.field_of_view_deg} deg; expected 0 ... 255, "
                "positive"
            )


@dataclass(frozen=True)
class Judgement:
    """Predictions with their intervals, and how familiar the images are; see `Encoder.judge`.

    Attributes
    ----------
    mean, sd, lower, upper : Tensors of shape (B, U)
        Mean over members, predictive SD and the limits of the interval.
    distance : Tensor of shape (B,)
        To the nearest fitted images; 1 is the median of the fitted images themselves.
    outside : Tensor of shape (B,), bool
        Farther than 99 % of the fitted images: outside the training distribution.
    """

    mean: Tensor
    sd: Tensor
    lower: Tensor
    upper: Tensor
    distance: Tensor
    outside: Tensor
