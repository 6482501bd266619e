"""Which weights of the other sites should the one_hot test freeze? Power and agreement with the true margin, on simulated sites.

    python scripts/studies/selectivity_weights.py

The reference of a site is the most selective of 200 simulated photographs. The controller drives the target
by 10 % less to 40 % more and each other site by 50 % less to 40 % more. Predictions miss every response by a factor (SD of its log 0.2) and take the controller's target for 30 %
higher than it is. Counts are negative-binomial with a gain that all sites share.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from protocols.arrays import Floats
from protocols.stats.selectivity import effective_number, log_share, selectivity_weights

MEAN, SD, LOW, FANO, SHARED_GAIN = 4.0, 2.0, 0.5, 1.3, 0.1
TRIALS, ALPHA = 72, 0.01


def standardised(means: Floats) -> Floats:
    """Responses in natural SDs."""
    return np.asarray((means - MEAN) / SD)


def pair(rng: np.random.Generator, sites: int) -> Floats:
    """Expected counts of a reference and a controller of site 0, shape (2, sites)."""
    photographs = LOW + rng.gamma(4.0, 1.0, (200, sites)) * rng.uniform(0.7, 1.3, (200, 1))
    photographs[:, 0] += rng.uniform(0, 4, 200)
    reference = photographs[log_share(standardised(photographs), 0).argmax()]
    controller = LOW + (reference - LOW) * rng.uniform(0.5, 1.4, sites)
    controller[0] = LOW + (reference[0] - LOW) * rng.uniform(0.9, 1.4)
    return np.array([reference, controller])


def predicted(rng: np.random.Generator, means: Floats) -> Floats:
    """What an encoder says of both images, in natural SDs."""
    said = means * np.exp(0.2 * rng.normal(size=means.shape))
    said[1, 0] *= 1.3
    return standardised(said)


def equal(z: Floats) -> Floats:
    """All other sites alike."""
    return selectivity_weights(np.zeros((0, z.shape[1])), 0)


def inverse_noise(z: Floats) -> Floats:
    """By the inverse of the trial variance that is predicted."""
    weights = 1 / np.maximum(z.mean(0) * SD + MEAN, LOW)
    weights[0] = 0
    return np.asarray(weights / weights.sum())


def softmax(z: Floats) -> Floats:
    """The mean gradient of the log odds at both predictions."""
    return selectivity_weights(z, 0)


def softmax_of_mean(z: Floats) -> Floats:
    """The gradient at the mean prediction."""
    return selectivity_weights(z.mean(0, keepdims=True), 0)


def softmax_and_noise(z: Floats) -> Floats:
    """The product of the softmax and the inverse noise."""
    weights = softmax(z) * inverse_noise(z)
    return np.asarray(weights / weights.sum())


def warm(z: Floats) -> Floats:
    """The gradient of a softmax of twice the temperature."""
    return selectivity_weights(z, 0, temperature=2.0)


WEIGHTS: dict[str, Callable[[Floats], Floats]] = {
    "softmax, mean gradient": softmax,
    "softmax, at the mean": softmax_of_mean,
    "softmax, temperature 2": warm,
    "softmax x inverse noise": softmax_and_noise,
    "equal": equal,
    "inverse noise": inverse_noise,
}


def trials_of(rng: np.random.Generator, mean: Floats) -> Floats:
    """Single trials in natural SDs, shape (TRIALS, sites)."""
    gain = np.exp(SHARED_GAIN * rng.normal(size=(TRIALS, 1)) - SHARED_GAIN**2 / 2)
    return standardised(rng.poisson(rng.gamma(mean * gain / (FANO - 1), FANO - 1)).astype(float))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--pairs", type=int, default=2000, help="pairs of a reference and a controller per number of sites"
    )
    number = parser.parse_args().pairs
    print(
        "| sites | weights | found | found where the true margin rises | false, true margin falls | r with true margin | effective sites |"
    )
    print("|---|---|---|---|---|---|---|")
    critical = float(special.stdtrit(2 * TRIALS - 2, 1 - ALPHA))
    for sites in (8, 20, 40):
        rng = np.random.default_rng(sites)
        true: dict[str, list[tuple[float, float, bool, float]]] = {name: [] for name in WEIGHTS}
        for _ in range(number):
            means = pair(rng, sites)
            z, said = standardised(means), predicted(rng, means)
            margins = z[:, 0] - z[:, 1:].max(1)
            other, mine = trials_of(rng, means[0]), trials_of(rng, means[1])
            for name, make in WEIGHTS.items():
                weights = -make(said)
                weights[0] += 1
                a, b = mine @ weights, other @ weights
                t = (a.mean() - b.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / TRIALS)
                of_others = np.where(np.arange(sites) == 0, 0.0, -weights)
                true[name].append(
                    (
                        float(margins[1] - margins[0]),
                        float((z[1] - z[0]) @ weights),
                        t >= critical,
                        effective_number(of_others),
                    )
                )
        for name, rows in true.items():
            margin, difference, found, effective = np.array(rows).T
            r = stats.pearsonr(margin, difference).statistic
            print(
                f"| {sites} | {name} | {found.mean():.1%} | {found[margin > 0].mean():.1%} | "
                f"{found[margin <= 0].mean() if (margin <= 0).any() else 0:.1%} | {r:.2f} | {np.median(effective):.1f} |"
            )


if __name__ == "__main__":
    main()
