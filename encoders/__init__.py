"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`."""

from __future__ import annotations

from encoders.readouts import (
    AttentionReadout,
    FactorisedReadout,
    GaussianReadout,
    LinearReadout,
    RidgeReadout,
    SemanticTransformerReadout,
    SpatialFeatureReadout,
    TopographicReadout,
)

from .analysis.cka import linear_cka
from .analysis.kernel import KernelAnalysis, kernel_analysis
from .analysis.layer_gradient import LayerGradient, layer_gradient
from .analysis.rdm import rdm, rdm_similarity, topological_rdm, topological_similarity
from .analysis.similarity import (
    RepresentationalSimilarity,
    SplitHalfSimilarity,
    SubsampledSimilarity,
    representational_similarity,
    robust_rdm_similarity,
    split_half_rdm_similarity,
)
from .backbones.backbone import Backbone, backbone, list_layers
from .backbones.cache import FeatureCache
from .backbones.features import extract_features, to_images
from .backbones.networks import DEFAULT_BACKBONE
from .check import check_encoder
from .encoder import Encoder, Ensemble
from .fields.maps import LayerReceptiveField, gradient_map, layer_receptive_field, mask_map
from .fields.receptive_field import ReceptiveField, fit_receptive_field, overlap
from .fitting.candidates import Candidate
from .fitting.compare import compare
from .fitting.comparison import Comparison
from .fitting.few_shot import few_shot_encoder
from .fitting.fit import FittedPair, fit_encoder
from .fitting.options import DEFAULT_LAYERS, DEFAULT_VALIDATOR_LAYERS, FitOptions
from .fitting.readout_spec import READOUTS, ReadoutSpec
from .fitting.recording import Recording
from .fitting.report import FitReport, NoReliableSites, SiteReport
from .info import EncoderInfo
from .metrics import (
    correlation,
    explainable_variance,
    feve,
    noise_corrected_r,
    repeat_means,
    split_half_reliability,
)
from .reliability import chance_of_signal, reliability_of_means, variance_components
from .solvers.banded import BandedRidgeFit, banded_ridge
from .solvers.gradient import TrainedReadout, train
from .solvers.pls import PLSFit, pls
from .solvers.posterior import RidgeStatistics, predictive_variance
from .solvers.ridge import RidgeFit, ridge, ridge_memory
from .splits import group_folds
from .tuning.change import FeatureChange, LayerMap
from .tuning.fine_tune import fine_tune
from .tuning.report import FineTuned, TuningReport
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
    "FitOptions",
    "FitReport",
    "FittedPair",
    "GaussianReadout",
    "KernelAnalysis",
    "LayerGradient",
    "LayerMap",
    "LayerReceptiveField",
    "LinearReadout",
    "NoReliableSites",
    "PLSFit",
    "ReadoutSpec",
    "ReceptiveField",
    "Recording",
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
    "chance_of_signal",
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
    "reliability_of_means",
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
    "variance_components",
]
