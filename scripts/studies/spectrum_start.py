"""What the score after 50 unconstrained steps owes to the spectrum: lucent's parameterisation and ours in one loop.

A truncated network with random weights stands for a user's own module; its four scores are in SDs of its responses to
64 noise images. Run: ``python scripts/studies/spectrum_start.py`` (lucent: ``pip install --no-deps torch-lucent==0.1.8``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import LAYER, LITE0, as_loaded, ours_of
from synth import ascend, fourier, stretch
from synth.lucent import from_lucent
from synth.transforms import DEFAULT_TRANSFORMS

SHAPE, STEPS = (3, 64, 64), 50


class Own(nn.Module):
    """The first four channels of a network, with their mean and SD over noise images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.site_ids = network, list("abcd")
        noise = torch.rand(64, *SHAPE, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            responses = self.forward(noise)
        self.natural_mean, self.natural_sd = responses.mean(0), responses.std(0)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4)."""
        responses: Tensor = self.network(images)[:, :4]
        return responses


def main() -> None:
    from lucent.optvis import param

    starts = {
        "lucent's image": from_lucent(lambda: param.image(SHAPE[1]), SHAPE),
        "decay 1.75 (default)": fourier(SHAPE),
        "decay 1.4": fourier(SHAPE, 1.4),
        "decay 1": fourier(SHAPE, 1.0),
    }
    for what, network in (("ResNet18 layer3", as_loaded("resnet18")), (f"Lite0 {LAYER}", ours_of(LITE0, LAYER))):
        own = Own(network).eval()
        for name, parameterisation in starts.items():
            for transforms in ((), DEFAULT_TRANSFORMS):
                batch = ascend(own, stretch(own.site_ids), parameterisation, transforms=transforms, steps=STEPS)
                shifted = "shifted" if transforms else "no transforms"
                print(f"{what:<18}{name:<24}{shifted:<16}{batch.scores.mean():8.2f}", flush=True)


if __name__ == "__main__":
    main()
