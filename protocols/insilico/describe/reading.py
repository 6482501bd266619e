"""What the sites read: which layer explains each, and clusters of their readout weights and of their responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from encoders import Encoder, Ensemble
from encoders.analysis.layer_gradient import LayerGradient, layer_gradient
from encoders.analysis.readout_weights import feature_weights
from encoders.analysis.subdivisions import SMALLEST, Subdivisions, adjusted_rand, cluster, cohesion, subdivide
from encoders.readouts import Readout
from encoders.tuning.change import LayerMap, layer_map
from protocols.arrays import Bools, Floats, Ints
from protocols.errors import DataError
from protocols.models.pair import load_encoder
from protocols.progress import Reporter

from .material import Material, see

FEWEST = 8
"""Sites from which clusters are looked for."""


@dataclass(frozen=True)
class Clusters:
    """Clusters of V sites.

    Attributes
    ----------
    by_weights : Subdivisions or None
        Of the weights on feature channels, wherever in the image a site looks; None where readouts have none, or there
        are too few sites.
    by_responses : Subdivisions or None
        Of the predicted responses to the photographs, in SDs of each site.
    agreement : float or None
        Adjusted Rand index of the two, where both found clusters.
    validator : float or None
        Adjusted Rand index of the clusters by responses with as many of the validator's predicted responses.
    measured : (within, across, p) or None
        Mean correlation of measured responses to held-out photographs, of pairs of sites within and across the
        clusters by responses (`cohesion`). Where the encoder was fitted to these photographs too, as many clusters of
        the predictions of the one that was not (`Material.unseen`) stand in their place.
    order : int array of shape (V,)
        Sites by cluster, for figures.
    similarity : array of shape (V, V)
        Correlation of predicted responses.
    reason : str
        Why there is no answer by weights; "" where there is one.
    """

    by_weights: Subdivisions | None
    by_responses: Subdivisions | None
    agreement: float | None
    validator: float | None
    measured: tuple[float, float, float] | None
    order: Ints
    similarity: Floats
    reason: str


@dataclass(frozen=True)
class Layers:
    """Which layer each of V sites reads.

    Attributes
    ----------
    now : LayerMap
        Of the encoder, on the photographs it was not fitted to.
    before : LayerMap or None
        Of an earlier encoder, such as one without fine-tuning.
    gradient : LayerGradient or None
        Of the chosen layers over areas, where the sites are of two or more.
    n_images : int
    held_out : bool
        Whether the photographs were held out; else all of them serve, and the numbers are too high.
    """

    now: LayerMap
    before: LayerMap | None
    gradient: LayerGradient | None
    n_images: int
    held_out: bool


def find_clusters(material: Material, *, draws: int = 99, seed: int = 0, progress: Reporter | None = None) -> Clusters:
    """Clusters of the sites by what they read, with stability and null, each of `draws` (`subdivide`)."""
    responses = _standardised_rows(material.natural.predicted[:, material.columns].T)
    similarity = responses @ responses.T / responses.shape[1]
    readouts = [r for r in material.opened.encoder.readouts if isinstance(r, Readout)]
    weights = feature_weights(readouts)
    joined = None if weights is None else np.concatenate(list(weights.values()), 1)[material.columns]
    reason = "the readouts have no weights per feature channel" if joined is None else ""
    if len(material.sites) < FEWEST:
        reason = f"{len(material.sites)} sites; clusters are looked for from {FEWEST} sites on"
    by_weights = None if joined is None or reason else _subdivided(joined, draws, seed=seed, progress=progress)
    by_responses = None if len(material.sites) < FEWEST else _subdivided(responses, draws, seed=seed, progress=progress)
    both = [s for s in (by_weights, by_responses) if s is not None]
    agreement = adjusted_rand(both[0].labels, both[1].labels) if len(both) == 2 and min(s.k for s in both) > 1 else None
    shown = next((s.labels for s in both if s.k > 1), np.zeros(len(material.sites), dtype=np.int64))
    return Clusters(
        by_weights=by_weights,
        by_responses=by_responses,
        agreement=agreement,
        validator=_by_validator(material, by_responses),
        measured=_measured(material, by_responses),
        order=np.lexsort((-similarity.mean(1), shown)),
        similarity=similarity,
        reason=reason,
    )


def _by_validator(material: Material, found: Subdivisions | None) -> float | None:
    rows = _standardised_rows(material.validated.T)
    if found is None or found.k == 1 or not np.isfinite(rows).all() or not (np.abs(rows).max(1) > 0).all():
        return None
    return adjusted_rand(found.labels, cluster(rows, found.k))


def _measured(material: Material, found: Subdivisions | None) -> tuple[float, float, float] | None:
    y = material.recorded[material.held_out]
    y = y[np.isfinite(y).all(1)]
    if found is None or found.k == 1 or len(y) < 3:
        return None
    labels = found.labels
    if material.unseen is not None:
        predicted = _standardised_rows(material.unseen.T)
        if not (np.abs(predicted).max(1) > 0).all():
            return None
        labels = cluster(predicted, found.k)
    rows = _standardised_rows(y.T)
    within, across, p = cohesion(rows @ rows.T / rows.shape[1], labels)
    return (within, across, p) if np.isfinite(p) else None


def map_layers(
    material: Material, earlier: str | None = None, *, device: str = "cpu", progress: Reporter | None = None
) -> Layers:
    """The layer whose members explain most of each site, and whether later areas read deeper layers.

    Parameters
    ----------
    material : Material
    earlier : str, optional
        Folder in ``fitted/`` of an encoder to compare with: the same sites before a fine-tuning.
    device, progress
        For the earlier encoder.

    Raises
    ------
    DataError
        S07: the earlier encoder cannot be opened; V67: it lacks sites.
    """
    some = bool(material.held_out.sum() >= 2)
    rows = material.held_out if some else np.ones(len(material.measured), dtype=bool)

    def mapped(name: str, what: str) -> LayerMap:
        encoder = _opened(material, name).to(device)
        columns = [encoder.site_ids.index(site) for site in material.sites]
        seen = see(encoder, material.opened.natural[rows], label=f"photographs, {what}", progress=progress)
        return _layers(encoder, seen.members[:, :, columns], material, rows=rows)

    if some and material.scored is not None:  # the encoder that makes images was fitted to these photographs too
        now = mapped(material.scored, "scored encoder")
    else:
        members = material.natural.members[:, rows][:, :, material.columns]
        now = _layers(material.opened.encoder, members, material, rows=rows)
    before = None if earlier is None else mapped(earlier, "earlier encoder")
    return Layers(now=now, before=before, gradient=_gradient(now, material), n_images=int(rows.sum()), held_out=some)


def _opened(material: Material, name: str) -> Encoder | Ensemble:
    """The encoder in the folder `name` of ``fitted/``; refused where it lacks sites."""
    other = load_encoder(material.opened.project, name)
    lacking = [site for site in material.sites if site not in other.site_ids]
    if lacking:
        raise DataError(
            f"fitted/{name}",
            found=f"an encoder without {len(lacking)} of the sites ({', '.join(lacking[:3])})",
            expected="an encoder of all sites that are described",
            cause="an encoder of other sites",
            fix="name another folder of fitted/ with --earlier, or fewer sites with --site",
            code="V67",
        )
    return other


def _layers(encoder: Encoder | Ensemble, members: Floats, material: Material, *, rows: Bools) -> LayerMap:
    names = ["+".join(readout.layers) for readout in encoder.readouts]  # type: ignore[arg-type]
    y = material.recorded[rows]
    shown = np.isfinite(y)
    targets = torch.from_numpy(np.where(shown, y, 0.0))
    return layer_map(names, torch.from_numpy(members), targets, weights=torch.from_numpy(shown.astype(np.float64)))


def _gradient(now: LayerMap, material: Material) -> LayerGradient | None:
    known = [v for v, area in enumerate(material.areas) if area and now.best[v]]
    if len({material.areas[v] for v in known}) < 2:
        return None
    best = np.array([now.layers.index(now.best[v]) for v in known], dtype=np.int64)
    return layer_gradient(best, [material.areas[v] for v in known])


def _subdivided(rows: Floats, draws: int, *, seed: int, progress: Reporter | None) -> Subdivisions | None:
    """None where a site has no weights at all."""
    return (
        subdivide(rows, n_draws=draws, seed=seed, progress=progress) if bool((np.abs(rows).max(1) > 0).all()) else None
    )


def _standardised_rows(rows: Floats) -> Floats:
    centred = rows - rows.mean(1, keepdims=True)
    sd = np.sqrt((centred * centred).mean(1, keepdims=True))
    return np.asarray(np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 1e-12))


def cluster_sentence(found: Subdivisions | None, what: str) -> str:
    """What was found, in one sentence."""
    if found is None:
        return f"By {what}: not looked for."
    numbers = f"p = {found.p:.2g}, stability {found.stability:.2f} (adjusted Rand index)"
    if found.k == 1:
        return f"By {what}: no clusters; {found.best_k}, the best number, is chance or not stable ({numbers})."
    sizes = ", ".join(str(n) for n in np.bincount(found.labels))
    return f"By {what}: {found.k} clusters of {sizes} sites ({numbers})."


RULE = (
    "The number of clusters is chosen among 2 to 8: the sum of squares within clusters is compared with that of 99 "
    "draws of one Gaussian cloud of the same covariance, and the smallest number is taken that stands out within 1 SD "
    f"of the most outstanding, each cluster with at least {SMALLEST} sites. There are clusters if p, over all numbers, "
    "is at most 0.05 and clusterings of random 80 % of the sites agree (adjusted Rand index at least 0.5)."
)
"""How the number of clusters is chosen, for the page."""


def depths(layers: Sequence[str]) -> list[str]:
    """Names of layers for figures, shortened to what tells them apart."""
    return [
        layer.rsplit("/", 1)[-1] if len({n.rsplit("/", 1)[-1] for n in layers}) == len(layers) else layer
        for layer in layers
    ]
