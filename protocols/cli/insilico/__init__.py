"""Commands of experiments on a fitted encoder alone."""

from __future__ import annotations

__all__ = ["SIBLINGS"]

SIBLINGS: dict[str, str] = {
    "controversial": "pairs of images that tell two encoders apart",
    "triplets": "photographs whose similarity two layers see differently",
    "invariance": "what leaves responses as they are: sets, level sets, metamers",
    "describe": "what each site prefers: images, maps, clusters, layers, words",
    "discriminate": "functional types of sites, one image each; types of new sites",
    "accentuate": "photographs changed to graded levels of a response",
    "simplify": "a controller with all taken away that it does not need",
    "tuning": "a controller at graded contrasts, scales, places, angles",
}
"""What the commands that make other images than `generate` are for: the lines below ``generate --help``, by name."""
