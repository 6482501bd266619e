"""The recipe of Walker et al. 2019."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from synth.constraints.exact import pixel_range
from synth.contract import check_shape
from synth.rules import Rule, clip, linear, normalise, sgd, smooth, spectral

from .parts import NoisePixels, Recipe, check_pixel_sd


def walker_2019(shape: Sequence[int] = (1, 36, 64), *, pixel_sd: float, steps: int = 1000) -> Recipe:
    """Walker et al. 2019, mouse V1: steps of the Fourier-smoothed, normalised gradient; the image is smoothed, too.

    In the released code (cajal/inception_loop2019) an image in z-scores of the training images starts from N(128, 8) in
    pixel values; the gradient is divided by max(1, f^2)^0.1 in the Fourier domain and by its mean absolute value; the
    step is s * 0.1 / 255 of it, s from 3.0 to 0.125 in a straight line; then the pixel range is clipped and the IMAGE
    smoothed (`scipy.ndimage`'s Gaussian), sigma from 1.5 to 0.01 pixels. Frequencies are those of the discrete
    transform; the released filter is off by one for negative ones. The paper's objective is the mean over an ensemble.

    Parameters
    ----------
    shape : (C, H, W)
    pixel_sd : float
        SD of the training images in pixel values / 255, by which the encoder's input was z-scored: steps are in these
        units.
    steps : int
    """
    size = check_shape(shape)
    check_pixel_sd(pixel_sd)

    def draw(generator: torch.Generator) -> Tensor:
        return ((128 + 8 * torch.randn(size, generator=generator, dtype=torch.float32)) / 255).clamp(0, 1)

    rule = Rule(
        sgd(),
        schedule=linear(1.0, 0.125 / 3.0),
        precondition=(spectral(0.2), normalise("mean_abs")),
        after=(clip(0.0, 1.0), smooth(linear(1.5, 0.01), border="symmetric")),
        name="walker_2019",
    )
    return {
        "parameterisation": NoisePixels("normal", size, draw),
        "rule": rule,
        "learning_rate": 3.0 * 0.1 / 255 * pixel_sd,
        "transforms": (),
        "constraints": (pixel_range,),
        "steps": steps,
        "check_every": steps,
    }
