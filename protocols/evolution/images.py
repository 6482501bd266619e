"""From the codes of an evolution to images that the display shows exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from protocols.arrays import Floats, Pixels
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.synthesis.request import recipe
from synth import ConstraintError
from synth.batches import project as projected
from synth.batches import quantise
from synth.evolution.latents import Latent


@dataclass(frozen=True)
class Pictures:
    """How codes become images of the display.

    Attributes
    ----------
    latent : Latent
    constraints : list
        Projections, applied in turn; those of the controllers of a round (`protocols.synthesis.request.recipe`).
    """

    latent: Latent
    constraints: list[Any]

    @classmethod
    def of(cls, project: Project, latent: Latent) -> Pictures:
        """The images of a project: mean luminance, contrast and colours are those of its controllers."""
        natural = NaturalImages.load(project.data).pixels()
        return cls(latent, list(recipe(project, natural)["constraints"]))

    def describe(self) -> dict[str, Any]:
        """JSON-able, for the record."""
        described = {"latent": self.latent.describe(), "constraints": [c.describe() for c in self.constraints]}
        record: dict[str, Any] = json.loads(json.dumps(described))
        return record

    def starts(self, pixels: Pixels | None, seeds: Sequence[int]) -> Floats:
        """Codes (T, D) of images uint8 (T, H, W, C); drawn by the `seeds` where there are none."""
        if pixels is None:
            return np.stack([self.latent.start(seed) for seed in seeds])
        images = torch.from_numpy(pixels).movedim(-1, -3).float() / 255
        return np.concatenate([self.latent.encode(image[None]) for image in images])

    def pixels(self, code: Floats) -> Pixels | None:
        """The image of one code (D,), uint8 (H, W, C); None where the display cannot show one exactly.

        Every image is made alone, so that it is the same in any generation and beside any others.
        """
        with torch.no_grad():
            images = self.latent.decode(code[None])
            try:
                made = quantise(projected(images.float(), self.constraints), self.constraints)
            except ConstraintError:
                return None
            shown: Pixels = made[0].cpu().numpy()
        return None if self.broken(shown[None])[0] else shown

    def broken(self, pixels: Pixels) -> list[str]:
        """Per image uint8 (N, H, W, C), what of the display's range, mean and contrast it breaks; "" where nothing."""
        exact = [c for c in self.constraints if hasattr(c, "violations")]
        return list(exact[-1].violations(torch.from_numpy(pixels))) if exact else [""] * len(pixels)
