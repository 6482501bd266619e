"""The same alternation over a library of photographs, and whether sites group beyond chance in their answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .partition import Labels, ZScores, assigned, occupied, random_partition

TURNS = 20
RESTARTS = 8


def by_photographs(
    z: ZScores, clusters: int, rng: np.random.Generator, *, temperature: float = 1.6
) -> tuple[Labels, list[int], float]:
    """Clusters of sites with the photograph that discriminates each best, in turns from a random partition.

    As `alternation.take_turns`, with the best photograph of a library in place of an image that is climbed.

    Parameters
    ----------
    z : array of shape (photographs, sites), in natural SDs

    Returns
    -------
    Labels (sites,), the photograph of each cluster, and the mean of J over clusters in nats
    """
    labels, images, objective = random_partition(z.shape[1], clusters, rng), [0], 0.0
    for _ in range(TURNS):
        if labels.max() == 0:
            return labels, [int(z.mean(1).argmax())], 0.0
        scores = photograph_scores(z, labels, temperature)
        images, objective = [int(i) for i in scores.argmax(0)], float(scores.max(0).mean())
        wanted = assigned(z[images])
        if (wanted == labels).all():
            break
        labels, kept = occupied(wanted)
        images = [images[k] for k in kept]
    return labels, images, objective


def photograph_scores(z: ZScores, labels: Labels, temperature: float = 1.6) -> ZScores:
    """The objective J of every cluster for every photograph, (photographs, clusters), in nats, as `synth.discriminate`.

    `z` (photographs, sites) in natural SDs, `labels` (sites,) without empty clusters, `temperature` in natural SDs.
    """
    one_of = labels[:, None] == np.arange(labels.max() + 1)
    means = z @ (one_of / one_of.sum(0)) / temperature  # (photographs, clusters)
    largest = means.max(1, keepdims=True)
    scores: ZScores = means - largest - np.log(np.exp(means - largest).mean(1, keepdims=True))
    return scores


def rotated(z: ZScores, rng: np.random.Generator) -> ZScores:
    """Sites mixed by a random rotation that keeps their mean: the same covariance spectrum over photographs, no groups.

    The null of a continuum of Gaussian answers alone: every surrogate site is a random mixture of all sites, scaled to
    the mean and SD of a site, and mixtures are nearer to Gaussian than sites with a nonlinearity, which surpass it
    without groups. Hence `gap`. z (photographs, sites).
    """
    sites = z.shape[1]
    mean = np.full((sites, 1), sites**-0.5)
    basis = np.linalg.qr(np.hstack([mean, rng.standard_normal((sites, sites - 1))]))[0][:, 1:]
    turned = np.linalg.qr(rng.standard_normal((sites - 1, sites - 1)))[0]
    mixed = z @ (mean @ mean.T + basis @ turned @ basis.T)
    out: ZScores = (mixed - mixed.mean(0)) / mixed.std(0) * z.std(0) + z.mean(0)
    return out


def independent(z: ZScores, rng: np.random.Generator) -> ZScores:
    """Every site with its answers in another order of photographs: no two sites alike. z (photographs, sites)."""
    return rng.permuted(z, axis=0)


def gap(z: ZScores, labels: Labels) -> float:
    """How much more alike sites of one cluster are than sites of two, by z (photographs, sites) and labels (sites,): a
    difference of correlations, -2 to 2, above 0 where there is an empty space between all clusters.

    The weakest link that holds a cluster together (single linkage), less the largest correlation of any two sites of
    different clusters. A continuum is cut somewhere between neighbours, so it stays below 0 whatever the nonlinearity
    of its sites. A site that is a cluster alone is left out. -2 where fewer than two clusters of several sites are.
    """
    several = np.flatnonzero(np.bincount(labels) > 1)
    if len(several) < 2:
        return -2.0
    z, labels = z[:, np.isin(labels, several)], labels[np.isin(labels, several)]
    with np.errstate(divide="ignore", invalid="ignore"):
        alike = np.nan_to_num(np.atleast_2d(np.corrcoef(z.T)))  # a site that answers always the same is like none
    across = alike[labels[:, None] != labels].max()
    weakest = 1.0
    for cluster in several:
        reached = alike[np.ix_(labels == cluster, labels == cluster)]
        for between in range(len(reached)):  # the best chain of any two, by way of one more site each time
            reached = np.maximum(reached, np.minimum(reached[:, [between]], reached[between]))
        weakest = min(weakest, float(reached.min()))
    return float(weakest - across)


@dataclass(frozen=True)
class Chance:
    """Whether sites group in their answers to photographs, against sites that do not.

    Attributes
    ----------
    clusters : int
    objective : float
        Best mean of J over `RESTARTS` random partitions, in nats.
    independent, rotated : float
        Mean of the same over draws of each null, in nats.
    p_independent, p_rotated : float
        Share of draws that reach the objective, the observation counted as one.
    gap : float
        Of the clusters in question, a difference of correlations (`gap`).
    draws : int
    """

    clusters: int
    objective: float
    independent: float
    rotated: float
    p_independent: float
    p_rotated: float
    gap: float
    draws: int

    @property
    def p(self) -> float:
        """The larger of both: groups must be beyond sites without any likeness, and beyond a Gaussian continuum."""
        return max(self.p_independent, self.p_rotated)

    def grouped(self, alpha: float) -> bool:
        """Whether p is at most `alpha` and there is a space between the clusters, which p alone does not tell."""
        return self.p <= alpha and self.gap > 0


def beyond_chance(z: ZScores, labels: Labels, *, draws: int = 99, seed: int = 0, temperature: float = 1.6) -> Chance:
    """Test whether the sites fall into groups in their answers z (photographs, sites) to photographs, in natural SDs.

    `labels` (sites,) are the clusters in question, found in any way. The statistic is the best mean objective of
    `by_photographs` over random partitions into as many; the gap is of `labels` themselves. Two nulls:
    sites without any likeness (`independent`), and a Gaussian continuum with the covariance of these sites (`rotated`).
    Sites with a nonlinearity surpass the second without groups, so that p must not be read alone (`Chance.grouped`).
    With one cluster there is nothing to test: p = 1.

    Raises
    ------
    ValueError
        Answers that are not finite, or of other sites than `labels`.
    """
    clusters = int(labels.max()) + 1
    if z.ndim != 2 or z.shape[1] != len(labels):
        raise ValueError(f"answers of shape {z.shape} with {len(labels)} labels; expected one column per site")
    if not np.isfinite(z).all():
        raise ValueError("answers to photographs that are not finite; expected one number per photograph and site")
    if clusters < 2:
        return Chance(
            clusters=clusters,
            objective=0.0,
            independent=0.0,
            rotated=0.0,
            p_independent=1.0,
            p_rotated=1.0,
            gap=-2.0,
            draws=draws,
        )

    def best(answers: ZScores, rng: np.random.Generator) -> float:
        runs = (by_photographs(answers, clusters, rng, temperature=temperature) for _ in range(RESTARTS))
        return max(objective for _, _, objective in runs)

    found = best(z, np.random.default_rng([seed, 0]))
    nulls = {}
    for number, null in enumerate((independent, rotated), start=1):
        generators = (np.random.default_rng([seed, number, draw]) for draw in range(draws))
        nulls[number] = np.array([best(null(z, rng), rng) for rng in generators])
    shares = [float((1 + (reached >= found).sum()) / (draws + 1)) for reached in nulls.values()]
    return Chance(
        clusters=clusters,
        objective=found,
        independent=float(nulls[1].mean()),
        rotated=float(nulls[2].mean()),
        p_independent=shares[0],
        p_rotated=shares[1],
        gap=gap(z, labels),
        draws=draws,
    )
