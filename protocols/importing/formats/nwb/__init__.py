"""NWB files: spikes of units or traces of ROIs, counted or averaged in a window after each image."""

from .options import NwbOptions
from .read import read_nwb

__all__ = ["NwbOptions", "read_nwb"]
