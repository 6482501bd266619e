"""A simulated subject and its rig: a process of its own that the toolkit never imports.

Start it with ``python -m protocols.simulate``.
"""

from __future__ import annotations

from .command import main, write_truth
from .make import make_lite2_subject, make_v4_subject
from .rig import answer, read_outbox, simulate_counts
from .subject import Noise, Subject, expected_responses, saturate

__all__ = [
    "Noise",
    "Subject",
    "answer",
    "expected_responses",
    "main",
    "make_lite2_subject",
    "make_v4_subject",
    "read_outbox",
    "saturate",
    "simulate_counts",
    "write_truth",
]
