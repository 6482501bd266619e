"""The truth about the images of the study of control: noise-free responses, as made and at equal chroma and local contrast.

`v4_control.py` asks it when all images are made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocols.arrays import Bools, Floats, Pixels
from protocols.disk.files import sha256_bytes
from protocols.project.display import LUMINANCE_WEIGHTS
from protocols.project.folder import Project
from protocols.rounds.contrast import measure, site_masks
from protocols.simulate.subject import Subject
from protocols.stats.intervals import wilson_interval
from protocols.stats.trials import margins

DRAWS = 4000


class Truth:
    """Noise-free answers of the subject at the target sites, one image per site."""

    def __init__(self, subject: Subject, site_ids: Sequence[str], targets: Sequence[str], *, kept: Path) -> None:
        self.subject, self.kept = subject, kept
        self.columns = [subject.site_ids.index(s) for s in site_ids]
        self.at = np.array([list(site_ids).index(t) for t in targets])
        natural = subject.natural_expected[:, self.columns]
        self.mean, self.sd = natural.mean(0), natural.std(0)
        self.maximum, self.m = natural.max(0)[self.at], subject.saturation[self.columns][self.at]
        self.margin = margins((natural - self.mean) / self.sd)[:, self.at].max(0)

    def of(self, images: Pixels, objective: str) -> Floats:
        """Stretch: response / M of each image's own site; one-hot: margin in natural SDs."""
        expected = self.expected(images)[:, self.columns]
        own = np.arange(len(images))
        if objective == "stretch":
            found: Floats = expected[own, self.at] / self.m
        else:
            found = margins((expected - self.mean) / self.sd)[own, self.at]
        return found

    def expected(self, images: Pixels) -> Floats:
        """Noise-free responses of all sites, (S, sites). They are kept on disk: asking takes longer than making the images."""
        path = self.kept / f"{sha256_bytes(images.tobytes())[:16]}.npy"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            found = self.subject.expected(images)
            with open(path, "wb") as file:
                np.save(file, found, allow_pickle=False)
        kept: Floats = np.load(path, allow_pickle=False)
        return kept

    def bar(self, objective: str) -> dict[str, Floats]:
        """The values above which an image counts as a success, one per target site."""
        return (
            {"M": np.ones(len(self.at)), "natural maximum": self.maximum / self.m}
            if objective == "stretch"
            else {"best natural margin": self.margin}
        )


class Equaliser:
    """Brings images to the photographs' median chroma and local contrast at the target's receptive field, at the same mean and RMS."""

    def __init__(
        self,
        project: Project,
        site_ids: Sequence[str],
        targets: Sequence[str],
        *,
        light: dict[str, float],
        natural: Pixels,
    ) -> None:
        self.display = project.display
        record = json.loads((project.fitted / "for_round_01.json").read_text(encoding="utf-8"))
        self.masks = site_masks(self.display, record, targets)
        self.constraints = self.display.constraints(**light)
        found = measure(self.display, natural, self.masks)
        self.chroma, self.local = float(np.median(found.chroma)), np.median(found.local, 0)

    def measured(self, images: Pixels) -> dict[str, float]:
        """Medians of chroma and of local contrast, each in units of the photographs' median."""
        found = measure(self.display, images, self.masks)
        own = np.arange(len(images))
        local = (found.local[own, own] / self.local)[np.isfinite(self.local)]
        return {"chroma": float(np.median(found.chroma) / self.chroma), "local": float(np.median(local))}

    def __call__(self, images: Pixels) -> Pixels:
        """uint8 (S, H, W, C), image i for target i -> the same, equalised."""
        own = np.arange(len(images))
        colour, gain = np.ones(len(images)), np.ones(len(images))
        shown = images
        for _ in range(14):
            found = measure(self.display, shown, self.masks)
            colour *= np.clip(self.chroma / np.maximum(found.chroma, 1e-3), 0.5, 2)
            local = np.where(np.isfinite(self.local), self.local / np.maximum(found.local[own, own], 1e-3), 1.0)
            gain *= np.clip(local**3, 0.2, 5)  # the projection takes back most of a change
            shown = self.show(images, np.clip(colour, 0, 20), np.clip(gain, 0, 20))
        return shown

    def show(self, images: Pixels, colour: Floats, gain: Floats) -> Pixels:
        """Scale colour by one factor per image and luminance contrast in the receptive field by another, then project."""
        x = torch.from_numpy(images).movedim(-1, 1).double() / 255
        weights = torch.tensor(LUMINANCE_WEIGHTS, dtype=torch.float64)[:, None, None]
        luminance = (x * weights).sum(1, keepdim=True)
        tint = (x - luminance) * torch.from_numpy(colour)[:, None, None, None]
        bump = torch.nan_to_num(self.masks / self.masks.flatten(1).amax(1)[:, None, None])[:, None]
        centre = (luminance * bump).sum((2, 3), keepdim=True) / bump.sum((2, 3), keepdim=True).clamp_min(1e-9)
        scaled = centre + (luminance - centre) * (1 + (torch.from_numpy(gain)[:, None, None, None] - 1) * bump)
        made = (scaled + tint).float()
        for constraint in self.constraints:
            made = constraint(made)
        pixels: Pixels = self.constraints[-1].quantise(made).numpy()
        return pixels


def row(
    name: str,
    objective: str,
    *,
    values: Floats,
    equal: Floats,
    base: Floats,
    bars: dict[str, Floats],
    contrast: dict[str, float],
) -> dict[str, Any]:
    """One line of the table: medians, shares above the bars, paired difference from `default`."""
    hits = {bar: values > limit for bar, limit in bars.items()}
    above = {bar: share(found) for bar, found in hits.items()}
    return {
        "arm": name,
        "objective": objective,
        "median": interval(values, np.median),
        "above": above,
        "above_equal": {bar: share(equal > limit) for bar, limit in bars.items()},
        "median_equal": interval(equal, np.median),
        "change": interval(values - base, np.mean),
        **contrast,
        "values": values.round(4).tolist(),
        "hits": {bar: found.tolist() for bar, found in hits.items()},
    }


def share(hits: Bools) -> dict[str, Any]:
    """A proportion of sites with its Wilson interval."""
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return {"successes": int(hits.sum()), "of": len(hits), "low": low, "high": high}


def interval(values: Floats, statistic: Callable[..., Any]) -> tuple[float, float, float]:
    """A statistic over sites with its 95 % percentile interval, sites drawn with replacement."""
    draws = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(statistic(values[draws], axis=1), (0.025, 0.975))
    return float(statistic(values)), float(low), float(high)
