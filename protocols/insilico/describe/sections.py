"""The parts of the page above the sites: sentences, figures and tables of a description."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.report.section import Section, Table, drawn

from . import figures
from .description import Description
from .reading import RULE, Layers, cluster_sentence
from .wording import LEVEL

MOST_WORDS = 6
"""Words of a site in the table of the page."""
WITHOUT_WORDS = (
    "Words were not asked for. They need vectors of the photographs and of words from one model that was trained on "
    "pairs of both, such as CLIP; stimsynth comes with none. make_vectors.py in this folder makes them on any computer "
    "with open_clip, torch and pillow: `python make_vectors.py PROJECT/data/natural words.txt vectors`. Then: "
    "`stimsynth describe PROJECT --out NEW --clip vectors`."
)
"""What to give the command, for the page and the terminal."""


def page_sections(found: Description) -> list[Section]:
    """All of them, in the order of the page."""
    return [word_section(found), map_section(found), cluster_section(found), layer_section(found)]


def word_section(found: Description) -> Section:
    """Words, or what to give the command to have them."""
    wording = found.wording
    if wording is None:
        return Section(title="In words", sentences=[WITHOUT_WORDS])
    sites = found.material.sites
    named = [v for v in range(len(sites)) if wording.words_of(v)]
    sentences = [
        f"{len(named)} of {len(sites)} sites have words that go with their measured responses better than chance "
        f"({len(wording.words)} words; the largest correlation over all words, of permuted responses; false discovery "
        "rate 5 % over sites). A minus stands before words whose images evoke less.",
        "Correlations are shrunken by what permuted responses show. r of the model: how well its vectors predict the "
        "site in left-out folds. Percentile: mean percentile, by measured responses, of photographs that the site's "
        "words retrieve; words and images come from different halves of the photographs, and chance is 50.",
        f"Of the sites with words, {int((wording.direction_p[named] <= LEVEL).sum())} have a word that goes with their "
        "responses better than the best of as many random directions with the mean and covariance of the words (p at "
        "most 0.05); for the others, trust the kind of words more than the word.",
        *percentile_sentences(found),
    ]
    if wording.without:
        sentences.append(f"{len(wording.without)} words of the list have no vector and were passed over.")
    lines = []
    for v in named:
        own = wording.words_of(v)[:MOST_WORDS]
        words = ", ".join(f"{'-' if r < 0 else ''}{word} ({r:+.2f})" for word, r in own)
        lines.append(
            [
                sites[v],
                words,
                f"{wording.direction_p[v]:.2f}",
                f"{wording.left_out_r[v]:.2f}",
                f"{wording.measured.highest[v, v]:.0f}",
                f"{wording.measured.lowest[v, v]:.0f}",
            ]
        )
    header = ["site", "words (shrunken correlation)", "p, random directions", "r of the model"]
    header += ["percentile, most alike", "least alike"]
    table = Table(header=header, lines=lines, numbers=[False, False, True, True, True, True])
    alt = "histograms of the percentile of photographs that a site's own words retrieve, and other sites' words"
    return Section(
        title="In words",
        sentences=sentences,
        drawings=[drawn(alt, figures.word_figure(wording))],
        tables=[table] if lines else [],
    )


def percentile_sentences(found: Description) -> list[str]:
    """The metric of Lad et al. (2026), one sentence per kind of response."""
    if found.wording is None:
        return []
    sentences = []
    for name, test in (("measured", found.wording.measured), ("predicted", found.wording.predicted)):
        parts = [
            f"above the {r['threshold']:.0f}th {_percent(r['highest'])} (words of other sites "
            f"{_percent(r['highest_null'])})"
            for r in test.shares()
        ]
        sentences.append(f"Share of sites whose words retrieve images, by {name} responses: {'; '.join(parts)}.")
    return sentences


def map_section(found: Description) -> Section:
    """The map of feature space, and how far it orders images as the sites do."""
    agreement = found.agreement
    embedding = found.embedding
    return Section(
        title="Feature space",
        sentences=[
            "Photographs by the features that the encoder reads (mean and SD of every channel over positions, each "
            f"layer with the same weight); the map shows {100 * embedding.share.sum():.0f} % of the variance. "
            f"r: correlation of a site's response to a photograph with its mean response to the ten nearest others, "
            f"in all dimensions; median over sites {np.nanmedian(agreement):.2f}.",
        ],
        drawings=[
            drawn(
                "map of feature space: photographs at their first two principal components, controllers as diamonds",
                figures.space_map(embedding, found.made_points, found.material.opened.natural),
            ),
            drawn(
                "one small map per site: photographs coloured by the measured response",
                figures.site_maps(embedding, found.material, agreement),
            ),
        ],
    )


def cluster_section(found: Description) -> Section:
    """Clusters of sites."""
    clusters = found.clusters
    sentences = [
        cluster_sentence(clusters.by_weights, "readout weights"),
        cluster_sentence(clusters.by_responses, "predicted responses to the photographs"),
    ]
    if clusters.reason:
        sentences[0] = f"By readout weights: not looked for, {clusters.reason}."
    if clusters.agreement is not None:
        sentences.append(f"The two agree with an adjusted Rand index of {clusters.agreement:.2f}.")
    if clusters.validator is not None:
        sentences.append(
            "As many clusters of the validator's predicted responses, made with another network, agree with those by "
            f"responses with an adjusted Rand index of {clusters.validator:.2f}."
        )
    if clusters.measured is not None:
        within, across, p = clusters.measured
        which = "clusters by responses"
        if found.material.unseen is not None:
            which = "as many clusters of the predicted responses of the encoder that was not fitted to them"
        sentences.append(
            f"Measured responses to held-out photographs correlate with {within:.2f} within {which} and "
            f"{across:.2f} across them (labels permuted over sites: p = {p:.2g}); trial noise that sites share is "
            "part of both."
        )
    lines = []
    for name, one in (("weights", clusters.by_weights), ("responses", clusters.by_responses)):
        for label in range(one.k if one is not None and one.k > 1 else 0):
            members = [s for s, own in zip(found.material.sites, one.labels, strict=True) if own == label]  # type: ignore[union-attr]
            lines.append([name, f"{label + 1}", f"{len(members)}", ", ".join(members)])
    table = Table(header=["by", "cluster", "sites", ""], lines=lines, numbers=[False, True, True, False])
    alt = "correlations of predicted responses of all pairs of sites, by cluster; tightness against number of clusters"
    return Section(
        title="Clusters of sites",
        sentences=[*sentences, RULE],
        drawings=[drawn(alt, figures.cluster_figure(clusters))],
        tables=[table] if lines else [],
    )


def layer_section(found: Description) -> Section:
    """Which layer each site reads."""
    alt = "share of variance that each layer explains of every site; number of sites that each layer explains best"
    return Section(
        title="Layers",
        sentences=layer_sentences(found.layers),
        drawings=[drawn(alt, figures.layer_figure(found.layers))],
    )


def layer_sentences(layers: Layers) -> list[str]:
    """Sites per best layer, what changed since an earlier encoder, and the gradient over areas."""
    where = "held-out photographs" if layers.held_out else "photographs the encoder was fitted to (none is held out)"
    counts = _counts(layers.now.layers, layers.now.best)
    sentences = [f"Best layer of each site on {layers.n_images} {where}: {counts}."]
    if layers.before is not None:
        moved = sum(a != b for a, b in zip(layers.now.best, layers.before.best, strict=True))
        sentences.append(
            f"The earlier encoder: {_counts(layers.before.layers, layers.before.best)}; {moved} sites changed. Mean "
            f"variance explained by the best layer {_mean_best(layers.before.explained):.3f} before, "
            f"{_mean_best(layers.now.explained):.3f} now."
        )
    if layers.gradient is not None:
        g = layers.gradient
        parts = (f"{a} {m:.2f} ({n} sites)" for a, m, n in zip(g.areas, g.mean_layer, g.n_sites, strict=True))
        sentences.append(
            f"Mean layer per area, counted from 0: {', '.join(parts)}; permutation test of any difference between "
            f"areas p = {g.p:.2g}."
        )
    return sentences


def _counts(layers: Sequence[str], best: Sequence[str]) -> str:
    return ", ".join(f"{layer} {sum(b == layer for b in best)}" for layer in layers)


def _mean_best(explained: np.ndarray) -> float:
    known = explained[:, np.isfinite(explained).all(0)]
    return float(known.max(0).mean()) if known.size else float("nan")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "unknown"
