"""All readouts by their kind, the name in saved encoders.

To add a readout, write its class and add one row to `CLASSES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .attention import AttentionReadout, SemanticTransformerReadout
from .base import Readout
from .combined import CombinedReadout
from .factorised import FactorisedReadout, SpatialFeatureReadout
from .gaussian import GaussianReadout
from .linear import LinearReadout
from .mean import MeanReadout
from .population import PopulationReadout
from .topographic import TopographicReadout

CLASSES: dict[str, type[Readout]] = {
    "attention": AttentionReadout,
    "combined": CombinedReadout,
    "factorised": FactorisedReadout,
    "gaussian": GaussianReadout,
    "population": PopulationReadout,
    "linear": LinearReadout,
    "mean": MeanReadout,
    "semantic_transformer": SemanticTransformerReadout,
    "spatial_feature": SpatialFeatureReadout,
    "topographic": TopographicReadout,
}


def build_readout(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Readout:
    """The readout that ``Readout.config()`` described, with the tensors of its state dict."""
    if config.get("kind") not in CLASSES:
        raise ValueError(f"readout kind {config.get('kind')!r}; expected one of {', '.join(sorted(CLASSES))}")
    return CLASSES[config["kind"]].restore(config, tensors, build_readout)
