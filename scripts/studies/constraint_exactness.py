"""Do 8-bit images hold what a display was asked for? Random settings and images against the law, checked apart from the code.

The law: range, mean luminance and RMS contrast inside the aperture (each within half of one of 255 levels) and the background
outside it, exactly and together, in the pixels themselves; what cannot be is refused with the contrast that can be reached.

    python scripts/studies/constraint_exactness.py [--settings 500] [--json FILE]

First random settings, of which many ask for the impossible; then a grid of settings as natural images have them. A screen of
fewer than 8 bits shows fewer of the 256 values of the file; more than 8 bits are not supported by the displays or the batch format.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protocols.arrays import Bools, Floats, Pixels
from protocols.project.display import Display
from synth import ConstraintError, exact_statistics
from synth.constraints.exact import ExactStatistics

HALF_LEVEL = 0.5 / 255
WEIGHTS = {1: np.ones(1), 3: np.array([0.2126, 0.7152, 0.0722])}
KINDS = ("natural", "noise", "patch", "two_tone", "ramp", "saturated")


@dataclass(frozen=True)
class Setting:
    """One display with what is asked of its images."""

    encoding: str
    gamma: float | None
    colour: str
    height: int
    width: int
    aperture: str
    edge: float
    background: int
    bits: int
    mean: float | None
    rms: float | None

    @property
    def display(self) -> Display:
        """The screen, as a project describes it."""
        return Display(
            width_px=self.width, height_px=self.height, size_deg=4.0, background=self.background, encoding=self.encoding,  # type: ignore[arg-type]
            gamma=self.gamma, colour=self.colour, aperture=self.aperture, aperture_edge=self.edge,  # type: ignore[arg-type]
        )  # fmt: skip

    def constraint(self) -> ExactStatistics:
        """`Display.constraints`, for a screen of so many bits."""
        display = self.display
        return exact_statistics(
            display.shape,
            mean=self.mean,
            rms=self.rms,
            aperture=display.aperture_mask(),
            background=self.background / 255,
            to_luminance=None if self.encoding == "linear" else display.to_luminance,
            to_pixel=None if self.encoding == "linear" else display.to_pixel,
            levels=2**self.bits,
        )


@dataclass
class Count:
    """What came of some settings."""

    settings: int = 0
    images: int = 0
    refused: int = 0
    refused_at_once: int = 0
    unexplained: int = 0
    violations: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    worst_mean: float = 0.0  # in units of what is allowed
    worst_rms: float = 0.0

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        return {**asdict(self), "reasons": dict(self.reasons), "refused_share": self.refused / max(1, self.images)}


def random_settings(count: int, seed: int = 0) -> Iterator[Setting]:
    """Settings over and beyond what a screen can do."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        encoding = str(rng.choice(["linear", "srgb", "gamma"]))
        bits = int(rng.choice([4, 5, 6, 7, 8, 8, 8, 8]))
        step = int(rng.integers(1, 2**bits - 1))
        yield Setting(
            encoding=encoding,
            gamma=float(rng.uniform(1.0, 3.0)) if encoding == "gamma" else None,
            colour=str(rng.choice(["grey", "rgb"])),
            height=int(rng.integers(16, 80)),
            width=int(rng.integers(16, 80)),
            aperture=str(rng.choice(["none", "circle"])),
            edge=float(rng.uniform(0, 1)),
            background=round(255 * step / (2**bits - 1)),
            bits=bits,
            mean=None if rng.random() < 0.1 else float(rng.uniform(0.02, 0.98)),
            rms=None if rng.random() < 0.1 else float(np.exp(rng.uniform(np.log(0.005), np.log(0.5)))),
        )


def natural_settings() -> Iterator[Setting]:
    """A grid of what photographs have on usual screens: SD over mean of luminance from 0.3 to 0.8."""
    screens = [("linear", None), ("srgb", None), ("gamma", 2.2)]
    for (encoding, gamma), colour, aperture, mean, ratio in itertools.product(
        screens, ("grey", "rgb"), ("none", "circle"), (0.2, 0.3, 0.4, 0.5), (0.3, 0.45, 0.6, 0.8)
    ):
        background = {"linear": mean, "srgb": 1.055 * mean ** (1 / 2.4) - 0.055, "gamma": mean ** (1 / 2.2)}[encoding]
        yield Setting(
            encoding=encoding,
            gamma=gamma,
            colour=colour,
            height=64,
            width=64,
            aperture=aperture,
            edge=0.2,
            background=round(255 * background),
            bits=8,
            mean=mean,
            rms=round(ratio * mean, 6),
        )


def image_of(kind: str, shape: Sequence[int], seed: int) -> Tensor:
    """One image (1, C, H, W) before projection, float32; it may leave [0, 1], as an optimiser's iterates do."""
    g = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    noise = torch.randn(1, channels, height, width, generator=g)
    if kind == "noise":
        return 0.5 + 0.2 * noise
    if kind == "two_tone":
        return (noise > 0).float()
    if kind == "ramp":
        return torch.linspace(-0.2, 1.2, width).expand(1, channels, height, width).clone()
    if kind == "patch":
        image = torch.full((1, channels, height, width), 0.5)
        image[..., height // 3 : height // 3 + 6, width // 3 : width // 3 + 6] += 0.3 * noise[..., :6, :6]
        return image
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    amplitude = 1 / torch.hypot(fy, fx).clamp(min=1 / max(height, width))
    planes = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(height, width))
    planes = planes + planes.mean(1, keepdim=True)
    contrast = 0.2 if kind == "natural" else 2.0
    natural: Tensor = 0.45 + contrast * planes / planes.std()
    return natural


def luminance_of(pixels: Pixels, setting: Setting) -> Floats:
    """Relative luminance (H, W) of pixels (H, W, C), from the definitions of the encodings."""
    v = pixels.astype(np.float64) / 255
    if setting.encoding == "srgb":
        v = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    elif setting.gamma is not None:
        v = v**setting.gamma
    luminance: Floats = v @ WEIGHTS[pixels.shape[-1]]
    return luminance


def aperture_of(setting: Setting) -> Bools:
    """Where the image shows (H, W)."""
    if setting.aperture == "none":
        return np.ones((setting.height, setting.width), dtype=np.bool_)
    y = np.arange(setting.height) - (setting.height - 1) / 2
    x = np.arange(setting.width) - (setting.width - 1) / 2
    inside: Bools = np.hypot(y[:, None], x[None]) < min(setting.height, setting.width) / 2
    return inside


def broken(pixels: Pixels, setting: Setting, wanted: dict[str, float | None], *, count: Count) -> list[str]:
    """What one image (H, W, C) breaks; `wanted` = mean and RMS, None = not asked."""
    problems = []
    inside = aperture_of(setting)
    luminance = luminance_of(pixels, setting)[inside]
    for name, value, target in (
        ("mean", float(luminance.mean()), wanted["mean"]),
        ("rms", float(luminance.std()), wanted["rms"]),
    ):
        if target is None:
            continue
        off = abs(value - target)
        setattr(count, f"worst_{name}", max(getattr(count, f"worst_{name}"), off / HALF_LEVEL))
        if off > HALF_LEVEL * (1 + 1e-9):
            problems.append(f"{name} {value:.6f} instead of {target:.6f}")
    if (pixels[~inside] != setting.background).any():
        problems.append("the outside is not the background")
    levels = {round(255 * k / (2**setting.bits - 1)) for k in range(2**setting.bits)}
    if not {int(v) for v in np.unique(pixels)} <= levels:
        problems.append(f"values between the levels of {setting.bits} bits")
    return problems


def reason(error: ConstraintError) -> str:
    """The kind of a refusal: its words without the numbers."""
    return re.sub(r"[-+]?\d[\d.e-]*", "#", str(error))[:90]


def try_setting(setting: Setting, kinds: tuple[str, ...], seed: int, *, count: Count) -> None:
    """Project, quantise and check one image of each kind."""
    count.settings += 1
    try:
        constraint = setting.constraint()
    except ConstraintError as error:  # no image at all can meet it
        count.images += len(kinds)
        count.refused += len(kinds)
        count.refused_at_once += 1
        count.reasons[reason(error)] += len(kinds)
        return
    for offset, kind in enumerate(kinds):
        count.images += 1
        image = image_of(kind, constraint.shape, 100 * seed + offset)
        try:
            pixels = constraint.quantise(constraint(image))
        except ConstraintError as error:
            count.refused += 1
            count.reasons[reason(error)] += 1
            count.unexplained += error.reachable is None
            continue
        found = broken(pixels[0].numpy(), setting, {"mean": setting.mean, "rms": setting.rms}, count=count)
        if pixels.dtype != torch.uint8:
            found.append(f"pixels of type {pixels.dtype}")
        if found:
            count.violations.append(f"{setting} {kind}: {'; '.join(found)}")


def run(random: int, kinds: tuple[str, ...] = KINDS, *, grid_step: int = 1) -> dict[str, Count]:
    """All random settings, and every `grid_step`-th of the natural grid with natural images alone."""
    counts = {"random": Count(), "natural": Count()}
    for seed, setting in enumerate(random_settings(random)):
        try_setting(setting, kinds, seed, count=counts["random"])
    for seed, setting in enumerate(itertools.islice(natural_settings(), 0, None, grid_step)):
        try_setting(setting, ("natural",), seed, count=counts["natural"])
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--settings", type=int, default=500, help="random settings")
    parser.add_argument("--json", type=Path, help="write the counts here")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    counts = run(arguments.settings)
    for name, count in counts.items():
        print(
            f"{name}: {count.settings} settings, {count.images} images: {len(count.violations)} violations, {count.refused} refused "
            f"({100 * count.refused / count.images:.1f} %; {count.refused_at_once} settings that no image can meet), "
            f"largest error {count.worst_mean:.3f} (mean) and {count.worst_rms:.3f} (RMS) of what is allowed"
        )
        for text in count.violations[:20]:
            print("   ", text)
        for text, number in count.reasons.most_common():
            print(f"    {number:5d} refused: {text}")
    print(f"{time.perf_counter() - begin:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({k: c.to_dict() for k, c in counts.items()}, indent=2) + "\n")
    failed = any(c.violations or c.unexplained for c in counts.values())
    natural = counts["natural"]
    return int(failed or natural.refused > 0.2 * natural.images)


if __name__ == "__main__":
    sys.exit(main())
