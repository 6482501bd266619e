"""Readouts: modules from features of named layers to predicted responses.

Each has ``forward(features) -> (B, U)`` and ``penalty()``. `catalogue.CLASSES` lists them by kind.
"""

from .attention import AttentionReadout, SemanticTransformerReadout
from .base import DEFAULT_POOL as DEFAULT_POOL
from .base import MAP_POOL as MAP_POOL
from .base import GradientReadout as GradientReadout
from .base import Readout as Readout
from .catalogue import CLASSES as CLASSES
from .catalogue import build_readout as build_readout
from .combined import CombinedReadout
from .factorised import FactorisedReadout, SpatialFeatureReadout
from .gaussian import GaussianReadout
from .linear import LinearReadout
from .linear import RidgeReadout as RidgeReadout
from .mean import MeanReadout
from .population import PopulationReadout
from .topographic import TopographicReadout

__all__ = [
    "AttentionReadout",
    "CombinedReadout",
    "FactorisedReadout",
    "GaussianReadout",
    "LinearReadout",
    "MeanReadout",
    "PopulationReadout",
    "SemanticTransformerReadout",
    "SpatialFeatureReadout",
    "TopographicReadout",
]
