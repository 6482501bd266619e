"""Search in a library of photographs: exhaustive, or hill climbing on a graph of neighbours."""

from .climb import Climb, climb, random_search
from .found import found_batch
from .graph import NeighbourGraph, neighbour_graph
from .scoring import RowScorer
from .tails import TailKeeper, Tails

__all__ = [
    "Climb",
    "NeighbourGraph",
    "RowScorer",
    "TailKeeper",
    "Tails",
    "climb",
    "found_batch",
    "neighbour_graph",
    "random_search",
]
