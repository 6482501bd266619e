"""Spikes and traces -> one number per presentation and site in the response window, and the mean response in time."""

from .clock import frame_times
from .psth import psth_of_spikes, psth_of_traces, window_doubt
from .spikes import counts_in_window
from .traces import means_in_window
from .values import Windowed

__all__ = [
    "Windowed",
    "counts_in_window",
    "frame_times",
    "means_in_window",
    "psth_of_spikes",
    "psth_of_traces",
    "window_doubt",
]
