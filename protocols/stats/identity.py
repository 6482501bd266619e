"""Which site is which on another day: tuning over common images, against other sites and against shuffled images.

Two questions. `match_sites`: ids mean nothing across the days, which pairs are one site? `identify`: every site carries
its id, is there evidence that it is another one today? Absence of evidence excludes no site.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from protocols.arrays import Bools, Floats

from .intervals import t_below

SAME = 0.6  # least noise-corrected correlation of a site with itself (methods E)
LEAST_GAIN = 0.3  # a site whose gain is surely below has lost its signal
LEVEL = 0.01
FEWEST = 10  # common images below which nothing is said
RELIABLE = 0.3  # reliability over the common images below which a site has no tuning to lose or to take for another's


@dataclass(frozen=True)
class Means:
    """Mean responses (N, U) of one recording to the common images, and their error variances (N, U).

    Error variances are NaN where only averages were recorded.
    """

    site_ids: tuple[str, ...]
    values: Floats
    error: Floats

    @property
    def signal(self) -> Floats:
        """Variance over images that is not trial noise, shape (U,); NaN where the noise is unknown."""
        return np.asarray(self.variance - mean_of(self.error))

    @property
    def variance(self) -> Floats:
        """Variance of the means over the images that were shown, shape (U,); NaN below two."""
        finite = np.isfinite(self.values)
        squares = np.where(finite, self.values - mean_of(self.values), 0.0) ** 2
        n = finite.sum(0)
        return np.asarray(np.divide(squares.sum(0), n - 1, out=np.full(len(n), np.nan), where=n > 1))

    @property
    def reliability(self) -> Floats:
        """Share of the variance of the means that is signal, shape (U,)."""
        total = self.variance
        return np.asarray(np.divide(self.signal, total, out=np.full(len(total), np.nan), where=total > 0))

    def take(self, images: Bools) -> Means:
        """The same sites on some of the images."""
        return Means(self.site_ids, self.values[images], self.error[images])


@dataclass(frozen=True)
class SiteMatch:
    """A site of the second recording and the first recording's site that it resembles most; None = not available.

    Attributes
    ----------
    site, partner : str
        Of the second and of the first recording.
    r, r_nc : float
        Correlation of the two tunings, and that over the root of both reliabilities.
    p_other : float
        How often different sites of ONE recording resemble each other that much, best partner for best partner.
    p_shuffled : float
        How often the best of all sites does with the images' names shuffled.
    mutual : bool
        Each is the other's best.
    matched : bool
        Mutual, both p below 0.01 and r_nc (r where there are no trials) above 0.6.
    """

    site: str
    partner: str
    r: float
    r_nc: float | None
    p_other: float
    p_shuffled: float
    mutual: bool
    matched: bool


def mean_of(values: Floats) -> Floats:
    """Mean of the finite values of each column, NaN where there is none."""
    finite = np.isfinite(values)
    n = finite.sum(0)
    return np.asarray(np.divide(np.where(finite, values, 0.0).sum(0), n, out=np.full(len(n), np.nan), where=n > 0))


def correlations(first: Floats, second: Floats) -> Floats:
    """Pearson correlations over images of all pairs, (N, U) and (N, V) -> (U, V).

    0 where a site does not vary; NaN counts as the mean.
    """
    return np.asarray(standard(first).T @ standard(second))


def standard(values: Floats) -> Floats:
    """Columns of mean 0 and sum of squares 1."""
    finite = np.isfinite(values)
    centred = np.where(finite, values - mean_of(values), 0.0)
    size = np.sqrt((centred**2).sum(0))
    return np.asarray(np.divide(centred, size, out=np.zeros_like(centred), where=size > 0))


def corrected(r: Floats, first: Means, second: Means) -> Floats:
    """Correlations (U, V) over the root of both reliabilities; NaN where a reliability is not above 0.

    The reliability of a recording without trials counts as 1.
    """
    roots = []
    for recording in (first, second):
        rho = recording.reliability
        rho = np.ones_like(rho) if not np.isfinite(recording.error).any() else np.where(rho > 0, rho, np.nan)
        roots.append(np.sqrt(rho))
    return np.asarray(r / (roots[0][:, None] * roots[1]))


def match_sites(first: Means, second: Means, *, permutations: int = 999, seed: int = 0) -> list[SiteMatch]:
    """The best partner of every site of `second` among the sites of `first`, with its evidence.

    Different sites of one area resemble each other, so that beating shuffled images proves no identity: the best
    partners of DIFFERENT sites, within each of the two recordings, are the null of `p_other`. Noise that the sites of a
    recording share makes it strict.
    """
    r = correlations(first.values, second.values)
    r_nc = corrected(r, first, second)
    judged = np.where(np.isfinite(r_nc), r_nc, -1.0)
    both = bool(np.isfinite(first.error).any() and np.isfinite(second.error).any())
    alike = judged if both else r  # what is corrected on one side only has no null within a recording
    others = np.concatenate([best_other(m, correct=both) for m in (first, second)])
    shuffled = shuffled_best(first.values, second.values, permutations, seed=seed)
    best_of_second, best_of_first = judged.argmax(0), judged.argmax(1)
    known = bool(np.isfinite(first.error).any() or np.isfinite(second.error).any())
    matches = []
    for v, site in enumerate(second.site_ids):
        u = int(best_of_second[v])
        p_other = likeness_p(float(alike[u, v]), others)
        p_shuffled = (1 + float((shuffled[:, v] >= r[u, v]).sum())) / (1 + permutations)
        mutual = int(best_of_first[u]) == v
        matched = mutual and judged[u, v] > SAME and max(p_other, p_shuffled) < LEVEL
        value = float(r_nc[u, v]) if known and math.isfinite(r_nc[u, v]) else None
        matches.append(
            SiteMatch(
                site=site,
                partner=first.site_ids[u],
                r=float(r[u, v]),
                r_nc=value,
                p_other=p_other,
                p_shuffled=p_shuffled,
                mutual=mutual,
                matched=bool(matched),
            )
        )
    return matches


def best_other(recording: Means, *, correct: bool) -> Floats:
    """For every site the correlation with the other site of the same recording that resembles it most, shape (U,)."""
    within = correlations(recording.values, recording.values)
    within = corrected(within, recording, recording) if correct else within
    np.fill_diagonal(within, -np.inf)
    return np.asarray(np.where(np.isfinite(within), within, -1.0).max(1))


def likeness_p(r: float, others: Floats) -> float:
    """Share of the best partners of different sites that would reach `r`.

    By Gumbel's law of maxima, fitted by moments to their Fisher z. Two sites that are each other's best count once. The
    ranks alone could not go below 1 / (1 + sites).
    """
    z = np.unique(np.arctanh(np.clip(others, -0.999, 0.999)))
    if len(z) < 4:
        return (1 + float((others >= r).sum())) / (1 + len(others))
    scale = max(float(z.std(ddof=1)), 1e-6) * math.sqrt(6) / math.pi
    place = float(z.mean()) - np.euler_gamma * scale
    return -math.expm1(-math.exp(min(50.0, -(math.atanh(min(max(r, -0.999), 0.999)) - place) / scale)))


def shuffled_best(first: Floats, second: Floats, permutations: int, *, seed: int) -> Floats:
    """Largest correlation of every site of `second` with those of `first`, its images shuffled; (permutations, V)."""
    a, b = standard(first), standard(second)
    generator = np.random.default_rng(seed)
    return np.stack([(a[generator.permutation(len(a))].T @ b).max(0) for _ in range(permutations)])


# --- sites that carry their ids ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """What is known of a site's identity today.

    Attributes
    ----------
    site : str
    outcome : str
        "same"; "moved": another site's tuning, which that site has no more (swapped or renumbered); "split": another
        site's tuning, which that site still has; "lost": tuning or signal gone; "no evidence".
    reason : str
        Evidence for another outcome than "same".
    r, r_nc : float
        Correlation with its own tuning in the baseline, and that corrected for noise.
    p_below : float
        That r_nc is 0.6 or more (jackknife over images).
    p_shuffled, p_other : float
        As in `SiteMatch`, here of the site with itself; `p_other` is its rank among all pairs with other sites.
    partner, partner_r_nc
        The other baseline site that it resembles most, and their correlation corrected for noise.
    p_partner : float
        That its own tuning fits as well as the partner's (jackknife, times the number of other sites).
    """

    site: str
    outcome: str = "no evidence"
    reason: str = ""
    r: float = math.nan
    r_nc: float = math.nan
    p_below: float = math.nan
    p_shuffled: float = math.nan
    p_other: float = math.nan
    partner: str = ""
    partner_r_nc: float = math.nan
    p_partner: float = math.nan


def identify(
    first: Means, second: Means, own: Bools, *, highest_gain: Floats, permutations: int = 499, seed: int = 0
) -> list[Identity]:
    """Identity of every site, the same ids in both recordings.

    A site is taken for another one only on evidence: another baseline site's tuning fits significantly better than its
    own, with r_nc above 0.6 ("moved", or "split" where that site still has it); its own r_nc is significantly below
    0.6, or its gain is surely below 0.3 ("lost"). A site whose baseline is not reliable over these images (0.3) has no
    identity to lose. "same" needs r_nc above 0.6, shuffled images beaten at 0.01 and no more than 1 % (with fewer than
    51 sites: none) of the pairs with other sites as high.

    Parameters
    ----------
    own : bool array of shape (N, U)
        Images chosen as references of a site: their baseline means read too high for it, its own comparison leaves them
        out.
    highest_gain : array of shape (U,)
        One-sided 99 % upper limit of each gain, infinite where it is not known.
    """
    if len(first.values) < FEWEST:
        return [Identity(site) for site in first.site_ids]
    r = correlations(first.values, second.values)
    r_nc = corrected(r, first, second)
    shuffled = shuffled_best(first.values, second.values, permutations, seed=seed)
    every = [
        _judged(first, second, own, u=u, r=r, r_nc=r_nc, shuffled=shuffled[:, u], highest_gain=float(highest_gain[u]))
        for u in range(len(first.site_ids))
    ]
    return [explained(identity, every) for identity in every]


def _judged(
    first: Means,
    second: Means,
    own: Bools,
    *,
    u: int,
    r: Floats,
    r_nc: Floats,
    shuffled: Floats,
    highest_gain: float,
) -> Identity:
    """Site `u` against itself and against its nearest other site.

    `shuffled` (permutations,): its best correlation with shuffled images.
    """
    site = first.site_ids[u]
    use = ~own[:, u] & np.isfinite(first.values[:, u]) & np.isfinite(second.values[:, u])
    x, y, x_error, y_error = (m[use, u] for m in (first.values, second.values, first.error, second.error))
    known = np.isfinite(x_error).all() and np.isfinite(y_error).all()
    if use.sum() < FEWEST or not known or not first.take(use).reliability[u] > RELIABLE:
        return Identity(site)
    own_r, own_nc, p_below = below(x, y, x_error, y_error=y_error)
    others = np.concatenate([np.delete(r[:, u], u), np.delete(r[u], u)])
    p_other = (1 + float((others >= r[u, u]).sum())) / (1 + len(others))
    p_shuffled = (1 + float((shuffled >= own_r).sum())) / (1 + len(shuffled))
    alike = own_nc > SAME and p_shuffled < LEVEL and p_other <= max(LEVEL, 1 / (1 + len(others)))
    outcome, reason = _outcome(own_nc, p_below, highest_gain, alike=alike)
    partner, partner_r_nc, p_partner = rival(first, second, own, r_nc=r_nc, u=u)
    if partner and not (shuffled >= r[first.site_ids.index(partner), u]).mean() < LEVEL:
        p_partner = math.nan  # no better than shuffled images
    return Identity(
        site=site,
        outcome=outcome,
        reason=reason,
        r=own_r,
        r_nc=own_nc,
        p_below=p_below,
        p_shuffled=p_shuffled,
        p_other=p_other,
        partner=partner,
        partner_r_nc=partner_r_nc,
        p_partner=p_partner,
    )


def _outcome(r_nc: float, p_below: float, highest_gain: float, *, alike: bool) -> tuple[str, str]:
    """Outcome and reason of a site from its own tuning: "lost", "same" or "no evidence"."""
    if highest_gain < LEAST_GAIN:
        return "lost", f"hardly responds to the images any more (gain surely below {highest_gain:.2f})"
    if p_below < LEVEL:
        return "lost", f"its tuning is gone (noise-corrected r {r_nc:.2f} with the baseline, below 0.6)"
    return ("same" if alike else "no evidence"), ""


def rival(first: Means, second: Means, own: Bools, *, r_nc: Floats, u: int) -> tuple[str, float, float]:
    """The other baseline site that site `u` resembles most today, its noise-corrected correlation, and `p_partner`."""
    if len(first.site_ids) < 2:
        return "", math.nan, math.nan
    judged = np.where(np.isfinite(r_nc[:, u]) & (first.reliability > RELIABLE), r_nc[:, u], -1.0)
    judged[u] = -np.inf
    partner = int(judged.argmax())
    use = (
        ~own[:, u]
        & ~own[:, partner]
        & np.isfinite(first.values[:, [u, partner]]).all(1)
        & np.isfinite(second.values[:, u])
    )
    n, y = int(use.sum()), second.values[use, u]
    if n < FEWEST or judged[partner] <= -1 or not second.reliability[u] > RELIABLE:
        return first.site_ids[partner], float(r_nc[partner, u]), math.nan
    keep = ~np.eye(n + 1, n, dtype=bool)  # the last row leaves nothing out
    keep[n] = True
    fits = [leave_one_out(first.values[use, k], y, first.error[use, k], keep=keep) for k in (partner, u)]
    difference = fits[0] - fits[1]
    pseudo = n * difference[n] - (n - 1) * difference[:n]
    error = float(pseudo.std(ddof=1)) / math.sqrt(n)
    p = t_below(n - 1, -float(pseudo.mean()) / error) if error > 0 else 1.0
    return first.site_ids[partner], float(r_nc[partner, u]), min(1.0, p * (len(first.site_ids) - 1))


def leave_one_out(x: Floats, y: Floats, x_error: Floats, *, keep: Bools) -> Floats:
    """Covariance with y over the signal SD of x for every row of `keep` (K, n), shape (K,); 0 where x has no signal."""
    count = keep.sum(1)
    dx = np.where(keep, x - (keep @ x / count)[:, None], 0.0)
    dy = np.where(keep, y - (keep @ y / count)[:, None], 0.0)
    signal = (dx**2).sum(1) / (count - 1) - keep @ x_error / count
    covariance = (dx * dy).sum(1) / (count - 1)
    return np.asarray(np.divide(covariance, np.sqrt(np.maximum(signal, 0)), out=np.zeros(len(keep)), where=signal > 0))


def explained(identity: Identity, every: Sequence[Identity]) -> Identity:
    """Outcome "moved" or "split" where another baseline site's tuning is significantly what this site has now."""
    if not (identity.partner_r_nc > SAME and identity.p_partner < LEVEL):
        return identity
    partner = next(i for i in every if i.site == identity.partner)
    stays = partner.outcome == "same" or (partner.r_nc > SAME and not partner.p_partner < LEVEL)
    text = (
        f"its tuning is that of {identity.partner} in the baseline (noise-corrected r {identity.partner_r_nc:.2f}, "
        f"{identity.r_nc:.2f} with itself)"
    )
    reason = text + (", which still has it" if stays else "")
    return replace(identity, outcome="split" if stays else "moved", reason=reason)


def below(x: Floats, y: Floats, x_error: Floats, *, y_error: Floats, least: float = SAME) -> tuple[float, float, float]:
    """Correlation, noise-corrected correlation and the one-sided p that the latter is `least` or more.

    NaN without signal. Jackknife over images of ``cov - least * sqrt(signal_x signal_y)``, which is below 0 where the
    tuning has changed; t with n - 1 degrees of freedom. Signals are variances over images less the mean error
    variances.
    """
    n = len(x)
    dx, dy = x - x.mean(), y - y.mean()
    sums = np.array([dx @ dx, dy @ dy, dx @ dy])
    if n < 4 or not (sums[0] > 0 and sums[1] > 0):
        return math.nan, math.nan, 1.0
    left = sums[:, None] - n / (n - 1) * np.stack([dx * dx, dy * dy, dx * dy])  # (3, n): one image left out
    errors = np.stack([x_error, y_error])
    whole = contrast(sums / (n - 1), errors.mean(1), least)
    parts = contrast(left / (n - 2), (errors.sum(1, keepdims=True) - errors) / (n - 1), least)
    pseudo = n * whole - (n - 1) * parts
    error = float(pseudo.std(ddof=1)) / math.sqrt(n)
    p = t_below(n - 1, float(pseudo.mean()) / error) if error > 0 else 1.0
    signal = sums[:2] / (n - 1) - errors.mean(1)
    r_nc = float(sums[2] / (n - 1) / math.sqrt(signal[0] * signal[1])) if (signal > 0).all() else math.nan
    return float(sums[2] / math.sqrt(sums[0] * sums[1])), r_nc, p


def contrast(moments: Floats, errors: Floats, least: float) -> Floats:
    """``cov - least * sqrt(signal_x signal_y)``.

    From two variances and the covariance (3, ...), and mean error variances (2, ...).
    """
    signal = np.maximum(moments[:2] - errors, 0.0)
    return np.asarray(moments[2] - least * np.sqrt(signal[0] * signal[1]))
