"""Commands of experiments on a fitted encoder alone."""

from __future__ import annotations

__all__ = ["SIBLINGS"]

SIBLINGS: dict[str, str] = {
    "accentuate": "photographs changed to graded levels of a response",
    "simplify": "a controller with all taken away that it does not need",
    "tuning": "a controller at graded contrasts, scales, places, angles",
}
"""What the commands that make other images than `generate` are for: the lines below ``generate --help``, by name."""
