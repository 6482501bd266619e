"""Readouts: features of named layers -> predicted responses. One ``nn.Module`` each: ``forward(features) -> (B, U)``, ``penalty()``.

The catalogue is `__all__`; to add one, write its class and add its name here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .attention import AttentionReadout, SemanticTransformerReadout
from .base import DEFAULT_POOL as DEFAULT_POOL
from .base import MAP_POOL as MAP_POOL
from .base import GradientReadout as GradientReadout
from .base import Readout as Readout
from .factorised import FactorisedReadout, SpatialFeatureReadout
from .gaussian import GaussianReadout
from .linear import RidgeReadout
from .population import PopulationReadout
from .topographic import TopographicReadout

__all__ = [
    "AttentionReadout",
    "FactorisedReadout",
    "GaussianReadout",
    "PopulationReadout",
    "RidgeReadout",
    "SemanticTransformerReadout",
    "SpatialFeatureReadout",
    "TopographicReadout",
]

KINDS: dict[str, type[Readout]] = {globals()[name].kind: globals()[name] for name in __all__}


def build_readout(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Readout:
    """The readout that ``Readout.config()`` described, with the tensors of its state dict."""
    if config.get("kind") not in KINDS:
        raise ValueError(f"readout kind {config.get('kind')!r}; expected one of {', '.join(sorted(KINDS))}")
    return KINDS[config["kind"]].restore(config, tensors)
