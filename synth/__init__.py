"""Synthesis: predicted responses -> images. Imports neither `encoders` nor `protocols`.

The names below are loaded on first use, so that a command that needs no network does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "ConstraintError": "constraints.exact",
    "DEFAULT_TRANSFORMS": "transforms",
    "Objective": "objectives",
    "Rule": "rules",
    "StimulusBatch": "batch",
    "accentuating": "accentuation",
    "affine": "transforms",
    "against": "objectives",
    "ascend": "ascent.ascend",
    "blend": "starts",
    "blur": "transforms",
    "cautious": "objectives",
    "colour": "transforms",
    "discriminate": "objectives",
    "diverse": "objectives",
    "elastic": "transforms",
    "erase": "transforms",
    "exact_statistics": "constraints.exact",
    "fourier": "parameterisations",
    "fractions": "objectives",
    "groups": "objectives",
    "guide": "diffusion",
    "jitter": "transforms",
    "latent": "parameterisations",
    "level": "objectives",
    "margin": "objectives",
    "masked": "parameterisations",
    "noise": "transforms",
    "noise_within": "starts",
    "one_hot": "objectives",
    "pattern": "objectives",
    "phase": "parameterisations",
    "pixels": "parameterisations",
    "rate_softmax": "objectives",
    "stretch": "objectives",
    "suppress": "objectives",
    "within": "objectives",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from .accentuation import accentuating as accentuating
    from .ascent.ascend import ascend as ascend
    from .batch import StimulusBatch as StimulusBatch
    from .constraints.exact import ConstraintError as ConstraintError
    from .constraints.exact import exact_statistics as exact_statistics
    from .diffusion import guide as guide
    from .objectives import Objective as Objective
    from .objectives import against as against
    from .objectives import cautious as cautious
    from .objectives import discriminate as discriminate
    from .objectives import diverse as diverse
    from .objectives import fractions as fractions
    from .objectives import groups as groups
    from .objectives import level as level
    from .objectives import margin as margin
    from .objectives import one_hot as one_hot
    from .objectives import pattern as pattern
    from .objectives import rate_softmax as rate_softmax
    from .objectives import stretch as stretch
    from .objectives import suppress as suppress
    from .objectives import within as within
    from .parameterisations import fourier as fourier
    from .parameterisations import latent as latent
    from .parameterisations import masked as masked
    from .parameterisations import phase as phase
    from .parameterisations import pixels as pixels
    from .rules import Rule as Rule
    from .starts import blend as blend
    from .starts import noise_within as noise_within
    from .transforms import DEFAULT_TRANSFORMS as DEFAULT_TRANSFORMS
    from .transforms import affine as affine
    from .transforms import blur as blur
    from .transforms import colour as colour
    from .transforms import elastic as elastic
    from .transforms import erase as erase
    from .transforms import jitter as jitter
    from .transforms import noise as noise


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'synth' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
