"""The screen: what a pixel value means in luminance and degrees, and how a photograph becomes an image shown on it.

A pixel value v in [0, 1] (the PNG's pixel / 255) shows the relative luminance L = ``to_luminance(v)``, 0 for black
and 1 for the brightest white. Means and contrasts are always those of L; only the background is given as a pixel value.
Both transfer functions are odd in their argument, so that an optimiser that steps outside [0, 1] still sees a monotone
function.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field, StrictFloat, StrictInt

from protocols.arrays import Pixels
from protocols.disk.toml import load_table, wrong_value

if TYPE_CHECKING:  # torch is imported where it is used: project.toml is read by commands that need none
    from PIL import Image
    from torch import Tensor

    from synth.constraints.exact import ExactStatistics

LUMINANCE_WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Share of the decoded red, green and blue channel in the relative luminance (ITU-R BT.709, as in IEC 61966-2-1)."""
# sRGB, IEC 61966-2-1: linear up to 0.04045, then a power of 2.4. The inverse switches at the image of the same point
# (the standard prints it rounded, 0.0031308), so that the two are inverse everywhere.
SEEN = ("width_px", "height_px", "size_deg", "background", "encoding", "gamma", "colour", "aperture", "aperture_edge")
"""Keys that change what the subject sees."""
_SRGB_SWITCH, _SRGB_SLOPE, _SRGB_OFFSET, _SRGB_POWER = 0.04045, 12.92, 0.055, 2.4
# Below this pixel value a pure power law is replaced by its chord: its inverse has no finite slope at 0.
_POWER_SWITCH = 1e-7


@dataclass(frozen=True)
class Display:
    """The screen area that shows an image, and the meaning of its pixel values (section ``[display]`` of project.toml).

    Parameters
    ----------
    width_px, height_px : int
        Size of the image in pixels; every exported image has exactly this size.
    size_deg : float
        Width of the image in degrees of visual angle. Pixels are square.
    background : int
        Pixel value 0..255 of everything outside the image or aperture, and of blanks.
    encoding : {"linear", "srgb", "gamma"}
        Relative luminance of a pixel value v in [0, 1]: v (a linearised screen), the sRGB curve, or ``v ** gamma``.
    gamma : float or None
        Exponent, for encoding "gamma" alone.
    colour : {"grey", "rgb"}
    aperture : {"none", "circle"}
        "circle": the largest centred circle, fading into the background.
    aperture_edge : float
        Width of the raised-cosine edge, as a fraction of the circle's radius.
    bit_depth : int
        8; other depths are refused.
    viewing_distance_cm, refresh_hz, max_luminance_cd_m2 : float or None
        Recorded in manifests; `refresh_hz` is also used to check that durations are whole frames,
        `max_luminance_cd_m2` by the limits of ``[safety]``.

    Raises
    ------
    DataError
        C02: a value out of range, `gamma` without encoding "gamma" or the reverse.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width_px: Annotated[StrictInt, Field(description="[px] Width of every exported image, 16 to 4096.")]
    height_px: Annotated[StrictInt, Field(description="[px] Height of every exported image, 16 to 4096.")]
    size_deg: Annotated[
        StrictFloat,
        Field(description="[degrees of visual angle] Width of the image as the subject sees it; pixels are square."),
    ]
    background: Annotated[
        StrictInt, Field(description="[pixel value 0..255] Everything outside the image or aperture, and every blank.")
    ] = 128
    encoding: Annotated[
        Literal["linear", "srgb", "gamma"],
        Field(
            description="[name] How the screen turns a pixel value v in 0..1 into relative luminance: "
            '"linear" (v itself, a linearised screen), "srgb" (IEC 61966-2-1), "gamma" (v to the power of gamma). '
            "Nothing is baked into the images."
        ),
    ] = "linear"
    gamma: Annotated[
        StrictFloat | None,
        Field(description='[exponent, 1 to 5] Only with encoding = "gamma"; the measured exponent of the screen.'),
    ] = None
    colour: Annotated[Literal["grey", "rgb"], Field(description='[name] "grey" or "rgb": channels of every image.')] = (
        "grey"
    )
    aperture: Annotated[
        Literal["none", "circle"],
        Field(description='[name] "none", or "circle": the largest centred circle, fading into the background.'),
    ] = "none"
    aperture_edge: Annotated[
        StrictFloat, Field(description="[fraction of the radius, 0..1] Width of the circle's raised-cosine edge.")
    ] = 0.1
    bit_depth: Annotated[StrictInt, Field(description="[bits] 8; other depths are not supported.")] = 8
    viewing_distance_cm: Annotated[StrictFloat | None, Field(description="[cm] Eye to screen; recorded only.")] = None
    refresh_hz: Annotated[
        StrictFloat | None, Field(description="[Hz] Screen refresh rate; durations must then be whole frames.")
    ] = None
    max_luminance_cd_m2: Annotated[
        StrictFloat | None,
        Field(description="[cd/m2] Luminance of pixel value 255; recorded, and used by the limits of [safety]."),
    ] = None

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px"):
            self._require(name, 16 <= getattr(self, name) <= 4096, "a whole number of pixels, 16 to 4096")
        self._require("size_deg", 0 < self.size_deg <= 360, "degrees above 0, at most 360")
        self._require("background", 0 <= self.background <= 255, "a pixel value, 0 to 255")
        self._require("encoding", self.encoding in ("linear", "srgb", "gamma"), "linear, srgb or gamma")
        self._require("colour", self.colour in ("grey", "rgb"), "grey or rgb")
        self._require("aperture", self.aperture in ("none", "circle"), "none or circle")
        self._require("aperture_edge", 0 <= self.aperture_edge <= 1, "a fraction of the radius, 0 to 1")
        self._require("bit_depth", self.bit_depth == 8, "8 (images are exported as 8-bit PNG)")
        if self.encoding == "gamma":
            self._require("gamma", self.gamma is not None and 1 <= self.gamma <= 5, "an exponent from 1 to 5")
        else:
            self._require("gamma", self.gamma is None, f'no exponent with encoding = "{self.encoding}"')
        for name in ("viewing_distance_cm", "refresh_hz", "max_luminance_cd_m2"):
            value = getattr(self, name)
            self._require(name, value is None or (value > 0 and math.isfinite(value)), "a positive number")

    def _require(self, key: str, holds: bool, expected: str) -> None:
        if not holds:
            raise wrong_value(
                f"[display] {key}",
                found=f"{key} = {getattr(self, key)!r}",
                expected=expected,
                cause="a slip in the display's description, or another unit",
                fix=f"correct {key} in the section [display] of project.toml",
            )

    def drawn(self) -> dict[str, Any]:
        """The keys that change the pixels of an imported photograph, or what the subject sees of them."""
        return {key: getattr(self, key) for key in SEEN}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return (1 if self.colour == "grey" else 3, self.height_px, self.width_px)

    @property
    def px_per_deg(self) -> float:
        """Pixels per degree, averaged over the width of the image."""
        return self.width_px / self.size_deg

    def aperture_mask(self) -> Tensor | None:
        """Weight of the image against the background: float32 (H, W) in [0, 1], 0 = background; None without aperture.

        1 up to ``(1 - aperture_edge) * radius``, 0 from the radius on, half a cosine between; distances are those of
        pixel centres.
        """
        import torch

        if self.aperture == "none":
            return None
        rows = torch.arange(self.height_px, dtype=torch.float64) - (self.height_px - 1) / 2
        columns = torch.arange(self.width_px, dtype=torch.float64) - (self.width_px - 1) / 2
        radius = min(self.height_px, self.width_px) / 2
        distance = torch.hypot(rows[:, None], columns[None, :]) / radius
        edge = max(self.aperture_edge, torch.finfo(torch.float64).tiny)
        phase = ((distance - (1 - self.aperture_edge)) / edge).clamp(0, 1)
        mask = 0.5 * (1 + torch.cos(torch.pi * phase))
        return torch.where(distance >= 1, 0.0, mask).float()

    def to_luminance(self, pixels: Tensor) -> Tensor:
        """Relative luminance of pixel values in [0, 1], elementwise and differentiable; shape, dtype and
        device are kept.
        """
        import torch

        if self.encoding == "srgb":
            magnitude = pixels.abs().clamp_min(_SRGB_SWITCH)
            power = ((magnitude + _SRGB_OFFSET) / (1 + _SRGB_OFFSET)) ** _SRGB_POWER
            return torch.where(pixels.abs() <= _SRGB_SWITCH, pixels / _SRGB_SLOPE, pixels.sign() * power)
        if self.gamma is not None:
            power = pixels.abs().clamp_min(_POWER_SWITCH) ** self.gamma
            slope = _POWER_SWITCH ** (self.gamma - 1)
            return torch.where(pixels.abs() <= _POWER_SWITCH, pixels * slope, pixels.sign() * power)
        return pixels

    def to_pixel(self, luminance: Tensor) -> Tensor:
        """Pixel values in [0, 1] that show a relative luminance: the inverse of `to_luminance`."""
        import torch

        if self.encoding == "srgb":
            switch = _SRGB_SWITCH / _SRGB_SLOPE
            magnitude = luminance.abs().clamp_min(switch)
            power = (1 + _SRGB_OFFSET) * magnitude ** (1 / _SRGB_POWER) - _SRGB_OFFSET
            return torch.where(luminance.abs() <= switch, luminance * _SRGB_SLOPE, luminance.sign() * power)
        if self.gamma is not None:
            switch = _POWER_SWITCH**self.gamma
            power = luminance.abs().clamp_min(switch) ** (1 / self.gamma)
            slope = _POWER_SWITCH ** (1 - self.gamma)
            return torch.where(luminance.abs() <= switch, luminance * slope, luminance.sign() * power)
        return luminance

    @property
    def background_luminance(self) -> float:
        """Relative luminance of the background, in [0, 1]."""
        import torch

        return float(self.to_luminance(torch.tensor(self.background / 255, dtype=torch.float64)))

    def constraints(self, mean: float | None = None, rms: float | None = None) -> list[ExactStatistics]:
        """What an image must satisfy on this screen: range, aperture, background and, where given, luminance
        statistics.

        Parameters
        ----------
        mean : float or None
            Mean relative luminance inside the aperture, in [0, 1]; None: not constrained.
        rms : float or None
            Standard deviation of the relative luminance inside the aperture; None: not constrained.
        """
        from synth import exact_statistics

        return [
            exact_statistics(
                self.shape,
                mean=mean,
                rms=rms,
                aperture=self.aperture_mask(),
                background=self.background / 255,
                to_luminance=None if self.encoding == "linear" else self.to_luminance,
                to_pixel=None if self.encoding == "linear" else self.to_pixel,
            )
        ]

    def crop_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The largest centred part of a picture with the display's aspect: (left, upper, right, lower) in pixels."""
        scale = min(width / self.width_px, height / self.height_px)
        crop_width = min(width, max(1, round(self.width_px * scale)))
        crop_height = min(height, max(1, round(self.height_px * scale)))
        left, upper = (width - crop_width) // 2, (height - crop_height) // 2
        return left, upper, left + crop_width, upper + crop_height

    def fit_image(self, image: Image.Image | Pixels) -> Pixels:
        """A picture as this screen shows it: uint8 (H, W, C), cut to the aspect, resized, grey or RGB, aperture
        applied.

        Pixel values are kept as they are (no change of tone curve), as is usual for photographs in this field. A
        picture that has the display's size already is not resampled; others are resized with a Lanczos window on
        pixel values. Grey conversion keeps the luminance that the colours would have on THIS screen: decode, weigh by
        `LUMINANCE_WEIGHTS`, encode. A grey picture therefore comes through unchanged.

        Parameters
        ----------
        image : PIL image (modes L and RGB) or uint8 array of shape (H, W), (H, W, 1) or (H, W, 3)
        """
        from PIL import Image

        picture = _as_picture(image)
        cut = picture.crop(self.crop_box(*picture.size))
        if cut.size != (self.width_px, self.height_px):
            cut = cut.resize((self.width_px, self.height_px), Image.Resampling.LANCZOS)
        pixels = np.asarray(cut, dtype=np.uint8).reshape(self.height_px, self.width_px, -1)  # (H, W, 1 | 3)
        return self.apply_aperture(self._channels(pixels))

    def apply_aperture(self, pixels: Pixels) -> Pixels:
        """Fade uint8 images (..., H, W, C) into the background in luminance; unchanged without aperture."""
        import torch

        mask = self.aperture_mask()
        if mask is None:
            return pixels
        weight = mask.double()[..., None]  # (H, W, 1)
        luminance = self.to_luminance(torch.from_numpy(pixels.astype(np.float64) / 255))
        shown = self.to_pixel(self.background_luminance + weight * (luminance - self.background_luminance))
        return _quantise(torch.where(weight > 0, shown, self.background / 255))

    def _channels(self, pixels: Pixels) -> Pixels:
        """Pixels (H, W, 1 | 3) with the display's number of channels."""
        import torch

        channels = self.shape[0]
        if pixels.shape[-1] == channels:
            return pixels
        if channels == 3:
            return np.repeat(pixels, 3, axis=-1)
        decoded = self.to_luminance(torch.from_numpy(pixels.astype(np.float64) / 255))
        luminance = decoded @ torch.tensor(LUMINANCE_WEIGHTS, dtype=torch.float64)  # (H, W)
        return _quantise(self.to_pixel(luminance)[..., None])

    def to_dict(self) -> dict[str, Any]:
        """All settings, JSON-able, plus what follows from them (`px_per_deg`, `background_luminance`)."""
        return {**asdict(self), "px_per_deg": self.px_per_deg, "background_luminance": self.background_luminance}

    @staticmethod
    def load(path: str | Path) -> Display:
        """The display described in the section ``[display]`` of a project.toml."""
        return load_table(path, "display", Display)


def _as_picture(image: Image.Image | Pixels) -> Image.Image:
    from PIL import Image

    if isinstance(image, Image.Image):
        picture = image
    elif image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3))):
        picture = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)
    else:
        raise ValueError(f"array of shape {image.shape}, {image.dtype}; expected uint8 (H, W), (H, W, 1) or (H, W, 3)")
    if picture.mode not in ("L", "RGB"):
        raise ValueError(f"picture of mode {picture.mode}; expected L (8-bit grey) or RGB, without alpha or palette")
    return picture


def _quantise(pixels: Tensor) -> Pixels:
    import torch

    quantised: Pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return quantised
