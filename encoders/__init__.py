"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`.

The names below are loaded on first use, so that a command that needs no network does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "AttentionReadout": "readouts",
    "Backbone": "backbones.frozen",
    "BandedRidgeFit": "solvers.banded",
    "Calibration": "metrics",
    "Candidate": "fitting.candidates",
    "Comparison": "fitting.comparison",
    "DEFAULT_BACKBONE": "backbones.networks",
    "DEFAULT_LAYERS": "fitting.options",
    "DEFAULT_VALIDATOR_LAYERS": "fitting.options",
    "Encoder": "encoder",
    "EncoderInfo": "info",
    "Ensemble": "encoder",
    "FactorisedReadout": "readouts",
    "FeatureCache": "backbones.cache",
    "FeatureChange": "tuning.change",
    "FineTuned": "tuning.report",
    "FitOptions": "fitting.options",
    "FitReport": "fitting.report",
    "FittedPair": "fitting.fit",
    "GaussianReadout": "readouts",
    "InputGeometry": "analysis.geometry",
    "KernelAnalysis": "analysis.kernel",
    "LayerGradient": "analysis.layer_gradient",
    "LayerMap": "tuning.change",
    "LayerReceptiveField": "fields.maps",
    "LinearReadout": "readouts",
    "MeanReadout": "readouts",
    "NoReliableSites": "fitting.report",
    "PLSFit": "solvers.pls",
    "READOUTS": "fitting.readout_spec",
    "ReadoutSpec": "fitting.readout_spec",
    "ReceptiveField": "fields.receptive_field",
    "Recording": "fitting.recording",
    "RepresentationalSimilarity": "analysis.similarity",
    "RidgeFit": "solvers.ridge",
    "RidgeReadout": "readouts",
    "RidgeStatistics": "solvers.posterior",
    "SemanticTransformerReadout": "readouts",
    "SiteReport": "fitting.report",
    "SpatialFeatureReadout": "readouts",
    "SplitHalfSimilarity": "analysis.similarity",
    "SubsampledSimilarity": "analysis.similarity",
    "TopographicReadout": "readouts",
    "TrainedReadout": "solvers.gradient",
    "Trunk": "tuning.together",
    "TrunkPart": "tuning.together",
    "TuningReport": "tuning.report",
    "TuningSchedule": "tuning.descent",
    "Uncertainty": "uncertainty",
    "adversarial_drop": "analysis.geometry",
    "backbone": "backbones.build",
    "banded_ridge": "solvers.banded",
    "calibration": "metrics",
    "chance_of_signal": "reliability",
    "check_encoder": "check",
    "compare": "fitting.compare",
    "correlation": "metrics",
    "explainable_variance": "metrics",
    "extract_features": "backbones.features",
    "feve": "metrics",
    "few_shot_encoder": "fitting.few_shot",
    "fine_tune": "tuning.fine_tune",
    "fit_encoder": "fitting.fit",
    "fit_receptive_field": "fields.receptive_field",
    "fit_uncertainty": "uncertainty",
    "gradient_map": "fields.maps",
    "group_folds": "splits",
    "input_geometry": "analysis.geometry",
    "join_encoders": "tuning.trunk",
    "kernel_analysis": "analysis.kernel",
    "layer_gradient": "analysis.layer_gradient",
    "layer_receptive_field": "fields.maps",
    "linear_cka": "analysis.cka",
    "list_layers": "backbones.build",
    "mask_map": "fields.maps",
    "noise_corrected_r": "metrics",
    "overlap": "fields.receptive_field",
    "pls": "solvers.pls",
    "predictive_variance": "solvers.posterior",
    "rdm": "analysis.rdm",
    "rdm_similarity": "analysis.rdm",
    "reliability_of_means": "reliability",
    "repeat_means": "metrics",
    "representational_similarity": "analysis.similarity",
    "ridge": "solvers.ridge",
    "ridge_memory": "solvers.ridge",
    "robust_rdm_similarity": "analysis.similarity",
    "spectral_participation": "analysis.geometry",
    "split_half_rdm_similarity": "analysis.similarity",
    "split_half_reliability": "metrics",
    "to_images": "backbones.features",
    "topological_rdm": "analysis.rdm",
    "topological_similarity": "analysis.rdm",
    "train": "solvers.gradient",
    "tune_together": "tuning.together",
    "variance_components": "reliability",
}
__all__ = sorted(_HOMES)

if TYPE_CHECKING:
    from .analysis.cka import linear_cka as linear_cka
    from .analysis.geometry import InputGeometry as InputGeometry
    from .analysis.geometry import adversarial_drop as adversarial_drop
    from .analysis.geometry import input_geometry as input_geometry
    from .analysis.geometry import spectral_participation as spectral_participation
    from .analysis.kernel import KernelAnalysis as KernelAnalysis
    from .analysis.kernel import kernel_analysis as kernel_analysis
    from .analysis.layer_gradient import LayerGradient as LayerGradient
    from .analysis.layer_gradient import layer_gradient as layer_gradient
    from .analysis.rdm import rdm as rdm
    from .analysis.rdm import rdm_similarity as rdm_similarity
    from .analysis.rdm import topological_rdm as topological_rdm
    from .analysis.rdm import topological_similarity as topological_similarity
    from .analysis.similarity import RepresentationalSimilarity as RepresentationalSimilarity
    from .analysis.similarity import SplitHalfSimilarity as SplitHalfSimilarity
    from .analysis.similarity import SubsampledSimilarity as SubsampledSimilarity
    from .analysis.similarity import representational_similarity as representational_similarity
    from .analysis.similarity import robust_rdm_similarity as robust_rdm_similarity
    from .analysis.similarity import split_half_rdm_similarity as split_half_rdm_similarity
    from .backbones.build import backbone as backbone
    from .backbones.build import list_layers as list_layers
    from .backbones.cache import FeatureCache as FeatureCache
    from .backbones.features import extract_features as extract_features
    from .backbones.features import to_images as to_images
    from .backbones.frozen import Backbone as Backbone
    from .backbones.networks import DEFAULT_BACKBONE as DEFAULT_BACKBONE
    from .check import check_encoder as check_encoder
    from .encoder import Encoder as Encoder
    from .encoder import Ensemble as Ensemble
    from .fields.maps import LayerReceptiveField as LayerReceptiveField
    from .fields.maps import gradient_map as gradient_map
    from .fields.maps import layer_receptive_field as layer_receptive_field
    from .fields.maps import mask_map as mask_map
    from .fields.receptive_field import ReceptiveField as ReceptiveField
    from .fields.receptive_field import fit_receptive_field as fit_receptive_field
    from .fields.receptive_field import overlap as overlap
    from .fitting.candidates import Candidate as Candidate
    from .fitting.compare import compare as compare
    from .fitting.comparison import Comparison as Comparison
    from .fitting.few_shot import few_shot_encoder as few_shot_encoder
    from .fitting.fit import FittedPair as FittedPair
    from .fitting.fit import fit_encoder as fit_encoder
    from .fitting.options import DEFAULT_LAYERS as DEFAULT_LAYERS
    from .fitting.options import DEFAULT_VALIDATOR_LAYERS as DEFAULT_VALIDATOR_LAYERS
    from .fitting.options import FitOptions as FitOptions
    from .fitting.readout_spec import READOUTS as READOUTS
    from .fitting.readout_spec import ReadoutSpec as ReadoutSpec
    from .fitting.recording import Recording as Recording
    from .fitting.report import FitReport as FitReport
    from .fitting.report import NoReliableSites as NoReliableSites
    from .fitting.report import SiteReport as SiteReport
    from .info import EncoderInfo as EncoderInfo
    from .metrics import Calibration as Calibration
    from .metrics import calibration as calibration
    from .metrics import correlation as correlation
    from .metrics import explainable_variance as explainable_variance
    from .metrics import feve as feve
    from .metrics import noise_corrected_r as noise_corrected_r
    from .metrics import repeat_means as repeat_means
    from .metrics import split_half_reliability as split_half_reliability
    from .readouts import AttentionReadout as AttentionReadout
    from .readouts import FactorisedReadout as FactorisedReadout
    from .readouts import GaussianReadout as GaussianReadout
    from .readouts import LinearReadout as LinearReadout
    from .readouts import MeanReadout as MeanReadout
    from .readouts import RidgeReadout as RidgeReadout
    from .readouts import SemanticTransformerReadout as SemanticTransformerReadout
    from .readouts import SpatialFeatureReadout as SpatialFeatureReadout
    from .readouts import TopographicReadout as TopographicReadout
    from .reliability import chance_of_signal as chance_of_signal
    from .reliability import reliability_of_means as reliability_of_means
    from .reliability import variance_components as variance_components
    from .solvers.banded import BandedRidgeFit as BandedRidgeFit
    from .solvers.banded import banded_ridge as banded_ridge
    from .solvers.gradient import TrainedReadout as TrainedReadout
    from .solvers.gradient import train as train
    from .solvers.pls import PLSFit as PLSFit
    from .solvers.pls import pls as pls
    from .solvers.posterior import RidgeStatistics as RidgeStatistics
    from .solvers.posterior import predictive_variance as predictive_variance
    from .solvers.ridge import RidgeFit as RidgeFit
    from .solvers.ridge import ridge as ridge
    from .solvers.ridge import ridge_memory as ridge_memory
    from .splits import group_folds as group_folds
    from .tuning.change import FeatureChange as FeatureChange
    from .tuning.change import LayerMap as LayerMap
    from .tuning.descent import TuningSchedule as TuningSchedule
    from .tuning.fine_tune import fine_tune as fine_tune
    from .tuning.report import FineTuned as FineTuned
    from .tuning.report import TuningReport as TuningReport
    from .tuning.together import Trunk as Trunk
    from .tuning.together import TrunkPart as TrunkPart
    from .tuning.together import tune_together as tune_together
    from .tuning.trunk import join_encoders as join_encoders
    from .uncertainty import Uncertainty as Uncertainty
    from .uncertainty import fit_uncertainty as fit_uncertainty


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'encoders' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
