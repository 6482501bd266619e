"""Commands of experiments on a fitted encoder alone."""

from __future__ import annotations

__all__ = ["SIBLINGS"]

SIBLINGS: dict[str, str] = {
    "discriminate": "functional types of sites, one image each; types of new sites",
}
"""What the commands that make other images than `generate` are for: the lines below ``generate --help``, by name."""
