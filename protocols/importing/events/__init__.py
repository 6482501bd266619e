"""The event table that comes beside spikes, traces or betas: which image was shown, and when."""

from .clock import onset_seconds
from .spikes import Sorted, SpikeOptions, named, spike_table
from .table import EventColumns, EventTable, images_of, joined, read_columns, read_events, tables_among

__all__ = [
    "EventColumns",
    "EventTable",
    "Sorted",
    "SpikeOptions",
    "images_of",
    "joined",
    "named",
    "onset_seconds",
    "read_columns",
    "read_events",
    "spike_table",
    "tables_among",
]
