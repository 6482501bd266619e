"""Most discriminative stimuli: images and clusters of sites found in turns."""

from .alternation import Settings
from .changes import Change, separations
from .clustering import Clustering, Restart, discriminative_stimuli
from .library import Chance, beyond_chance, by_photographs
from .partition import adjusted_rand, assigned, margins

__all__ = [
    "Chance",
    "Change",
    "Clustering",
    "Restart",
    "Settings",
    "adjusted_rand",
    "assigned",
    "beyond_chance",
    "by_photographs",
    "discriminative_stimuli",
    "margins",
    "separations",
]
