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
    "KernelAnalysis",
    "LayerGradient",
    "LayerReceptiveField",
    "NoReliableSites",
    "ReceptiveField",
    "RepresentationalSimilarity",
    "RidgeFit",
    "RidgeReadout",
    "SiteReport",
    "SplitHalfSimilarity",
    "SubsampledSimilarity",
    "backbone",
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
    "rdm",
    "rdm_similarity",
    "repeat_means",
    "representational_similarity",
    "ridge",
    "robust_rdm_similarity",
    "split_half_rdm_similarity",
    "split_half_reliability",
    "to_images",
    "topological_rdm",
    "topological_similarity",
]
