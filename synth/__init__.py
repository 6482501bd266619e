"""Synthesis: predicted responses -> images. Imports neither `encoders` nor `protocols`."""

__version__ = "0.1.0"

from synth.diffusion import guide
from synth.objectives import (
    Objective,
    against,
    cautious,
    discriminate,
    diverse,
    fractions,
    level,
    margin,
    one_hot,
    pattern,
    rate_softmax,
    stretch,
    suppress,
    within,
)
from synth.parameterisations import fourier, latent, masked, phase, pixels

from .accentuation import accentuating
from .ascent.ascend import ascend
from .batch import StimulusBatch
from .constraints.exact import ConstraintError, exact_statistics
from .rules import Rule
from .starts import blend, noise_within
from .transforms import DEFAULT_TRANSFORMS, affine, blur, colour, elastic, erase, jitter, noise

__all__ = [
    "DEFAULT_TRANSFORMS",
    "ConstraintError",
    "Objective",
    "Rule",
    "StimulusBatch",
    "accentuating",
    "affine",
    "against",
    "ascend",
    "blend",
    "blur",
    "cautious",
    "colour",
    "discriminate",
    "diverse",
    "elastic",
    "erase",
    "exact_statistics",
    "fourier",
    "fractions",
    "guide",
    "jitter",
    "latent",
    "level",
    "margin",
    "masked",
    "noise",
    "noise_within",
    "one_hot",
    "pattern",
    "phase",
    "pixels",
    "rate_softmax",
    "stretch",
    "suppress",
    "within",
]
