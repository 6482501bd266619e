"""Frozen feature networks: images in [0, 1] -> features of named layers."""

from .build import backbone, list_layers
from .cache import FeatureCache
from .features import extract_features
from .frozen import Backbone
from .pooling import feature_maps, flatten_features

__all__ = [
    "Backbone",
    "FeatureCache",
    "backbone",
    "extract_features",
    "feature_maps",
    "flatten_features",
    "list_layers",
]
