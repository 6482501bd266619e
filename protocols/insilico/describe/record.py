"""A description as text for the terminal, and as the record ``describe.json``."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.disk.files import finite_or_none
from protocols.packages import version

from .description import Description
from .reading import cluster_sentence
from .sections import WITHOUT_WORDS, layer_sentences, percentile_sentences

SCHEMA = "description/1"


def summary(found: Description) -> str:
    """What was found, for the terminal."""
    material = found.material
    lines = [
        f"{len(material.sites)} sites, {len(material.opened.source_ids)} photographs, "
        f"{len(material.controllers)} controllers",
        cluster_sentence(found.clusters.by_weights, "readout weights"),
        cluster_sentence(found.clusters.by_responses, "predicted responses"),
        *layer_sentences(found.layers),
    ]
    if found.wording is None:
        return "\n".join([*lines, f"In words: {WITHOUT_WORDS}"])
    for v, site in enumerate(material.sites):
        words = ", ".join(f"{word} {r:+.2f}" for word, r in found.wording.words_of(v)[:5])
        lines.append(f"  {site:<12} {words or 'no words better than chance'}")
    return "\n".join([*lines, *percentile_sentences(found)])


def to_dict(found: Description) -> dict[str, Any]:
    """The record, JSON-able."""
    opened, layers = found.material.opened, found.layers
    clusters = {
        name: None
        if one is None
        else {
            "k": one.k,
            "best_k": one.best_k,
            "p": one.p,
            "stability": one.stability,
            "excess": finite_or_none({str(k): v for k, v in one.excess.items()}),
        }
        for name, one in (("weights", found.clusters.by_weights), ("responses", found.clusters.by_responses))
    }
    return {
        "schema": SCHEMA,
        "encoder": opened.encoder.fingerprint,
        "validator": opened.validator.fingerprint,
        "sites": list(found.material.sites),
        "photographs": len(opened.source_ids),
        "controllers": len(found.material.controllers),
        "variance_of_map": found.embedding.share.tolist(),
        "median_neighbour_agreement": _known(np.nanmedian(found.agreement)),
        "clusters": clusters
        | {
            "agreement": found.clusters.agreement,
            "validator": found.clusters.validator,
            "measured": found.clusters.measured,
            "reason": found.clusters.reason,
        },
        "layers": {
            "names": list(layers.now.layers),
            "best": list(layers.now.best),
            "before": None if layers.before is None else list(layers.before.best),
            "photographs": layers.n_images,
            "held_out": layers.held_out,
            "area_p": None if layers.gradient is None else layers.gradient.p,
        },
        "words": None if found.wording is None else found.wording.to_dict(),
        "seed": found.seed,
        "version": version(),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
