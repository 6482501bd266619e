"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`."""

from __future__ import annotations

from .backbones import DEFAULT_BACKBONE, Backbone, backbone, list_layers
from .check import check_encoder
from .encoder import Encoder, EncoderInfo, Ensemble
from .features import extract_features, to_images
from .fit import DEFAULT_LAYERS, DEFAULT_VALIDATOR_LAYERS, FittedPair, fit_encoder
from .metrics import (
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
    split_half_reliability,
)
from .readouts import RidgeReadout
from .regression import RidgeFit, group_folds, ridge
from .report import FitReport, NoReliableSites, SiteReport

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_LAYERS",
    "DEFAULT_VALIDATOR_LAYERS",
    "Backbone",
    "Encoder",
    "EncoderInfo",
    "Ensemble",
    "FitReport",
    "FittedPair",
    "NoReliableSites",
    "RidgeFit",
    "RidgeReadout",
    "SiteReport",
    "backbone",
    "check_encoder",
    "correlation",
    "explainable_variance",
    "extract_features",
    "feve",
    "fit_encoder",
    "group_folds",
    "list_layers",
    "noise_corrected_r",
    "repeat_means",
    "ridge",
    "split_half_reliability",
    "to_images",
]
