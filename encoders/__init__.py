"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`."""

from __future__ import annotations

from encoders.readouts import (
    AttentionReadout,
    FactorisedReadout,
    GaussianReadout,
    RidgeReadout,
    SemanticTransformerReadout,
    SpatialFeatureReadout,
    TopographicReadout,
)

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
from .candidates import Candidate
from .check import check_encoder
from .compare import Comparison, compare
from .dissimilarity import rdm, rdm_similarity, topological_rdm, topological_similarity
from .encoder import Encoder, EncoderInfo, Ensemble
from .feature_cache import FeatureCache
from .features import extract_features, to_images
from .few_shot import few_shot_encoder
from .fine_tuning import FineTuned, TuningReport, fine_tune
from .fit import DEFAULT_LAYERS, DEFAULT_VALIDATOR_LAYERS, FittedPair, fit_encoder
from .forgetting import FeatureChange, LayerMap, linear_cka
from .kernels import KernelAnalysis, kernel_analysis
from .members import READOUTS, ReadoutSpec
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
from .training import TrainedReadout, train
from .uncertainty import Uncertainty, fit_uncertainty

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_LAYERS",
    "DEFAULT_VALIDATOR_LAYERS",
    "READOUTS",
    "AttentionReadout",
    "Backbone",
    "BandedRidgeFit",
    "Candidate",
    "Comparison",
    "Encoder",
    "EncoderInfo",
    "Ensemble",
    "FactorisedReadout",
    "FeatureCache",
    "FeatureChange",
    "FineTuned",
    "FitReport",
    "FittedPair",
    "GaussianReadout",
    "KernelAnalysis",
    "LayerGradient",
    "LayerMap",
    "LayerReceptiveField",
    "NoReliableSites",
    "PLSFit",
    "ReadoutSpec",
    "ReceptiveField",
    "RepresentationalSimilarity",
    "RidgeFit",
    "RidgeReadout",
    "RidgeStatistics",
    "SemanticTransformerReadout",
    "SiteReport",
    "SpatialFeatureReadout",
    "SplitHalfSimilarity",
    "SubsampledSimilarity",
    "TopographicReadout",
    "TrainedReadout",
    "TuningReport",
    "Uncertainty",
    "backbone",
    "banded_ridge",
    "check_encoder",
    "compare",
    "correlation",
    "explainable_variance",
    "extract_features",
    "feve",
    "few_shot_encoder",
    "fine_tune",
    "fit_encoder",
    "fit_receptive_field",
    "fit_uncertainty",
    "gradient_map",
    "group_folds",
    "kernel_analysis",
    "layer_gradient",
    "layer_receptive_field",
    "linear_cka",
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
    "train",
]
