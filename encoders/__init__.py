"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`."""

from __future__ import annotations

from .analysis import (
    LayerGradient,
    RepresentationalSimilarity,
    SplitHalfSimilarity,
    SubsampledSimilarity,
    layer_gradient,
    representational_similarity,
    robust_rdm_similarity,
    split_half_rdm_similarity,
)
from .backbones import DEFAULT_BACKBONE, Backbone, backbone, list_layers
from .banded import BandedRidgeFit, banded_ridge
from .check import check_encoder
from .dissimilarity import rdm, rdm_similarity, topological_rdm, topological_similarity
from .encoder import Encoder, EncoderInfo, Ensemble
from .features import extract_features, to_images
from .fit import DEFAULT_LAYERS, DEFAULT_VALIDATOR_LAYERS, FittedPair, fit_encoder
from .kernels import KernelAnalysis, kernel_analysis
from .metrics import (
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
    split_half_reliability,
)
from .partial_least_squares import PLSFit, pls
from .posterior import RidgeStatistics, predictive_variance
from .readouts import RidgeReadout
from .receptive_fields import (
    LayerReceptiveField,
    ReceptiveField,
    fit_receptive_field,
    gradient_map,
    layer_receptive_field,
    mask_map,
    overlap,
)
from .regression import RidgeFit, group_folds, ridge, ridge_memory
from .report import FitReport, NoReliableSites, SiteReport

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_LAYERS",
    "DEFAULT_VALIDATOR_LAYERS",
    "Backbone",
    "BandedRidgeFit",
    "Encoder",
    "EncoderInfo",
    "Ensemble",
    "FitReport",
    "FittedPair",
    "KernelAnalysis",
    "LayerGradient",
    "LayerReceptiveField",
    "NoReliableSites",
    "PLSFit",
    "ReceptiveField",
    "RepresentationalSimilarity",
    "RidgeFit",
    "RidgeReadout",
    "RidgeStatistics",
    "SiteReport",
    "SplitHalfSimilarity",
    "SubsampledSimilarity",
    "backbone",
    "banded_ridge",
    "check_encoder",
    "correlation",
    "explainable_variance",
    "extract_features",
    "feve",
    "fit_encoder",
    "fit_receptive_field",
    "gradient_map",
    "group_folds",
    "kernel_analysis",
    "layer_gradient",
    "layer_receptive_field",
    "list_layers",
    "mask_map",
    "noise_corrected_r",
    "overlap",
    "pls",
    "predictive_variance",
    "rdm",
    "rdm_similarity",
    "repeat_means",
    "representational_similarity",
    "ridge",
    "ridge_memory",
    "robust_rdm_similarity",
    "split_half_rdm_similarity",
    "split_half_reliability",
    "to_images",
    "topological_rdm",
    "topological_similarity",
]
