"""Most discriminative stimuli: images and clusters of sites found in turns."""

from .alternation import Settings
from .changes import Change, separations
from .clustering import Clustering, Restart, discriminative_stimuli
from .partition import adjusted_rand, assigned, margins

__all__ = [
    "Change",
    "Clustering",
    "Restart",
    "Settings",
    "adjusted_rand",
    "assigned",
    "discriminative_stimuli",
    "margins",
    "separations",
]
