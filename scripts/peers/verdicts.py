"""Found control at equal presentations: the package's verdict beside what is often done by hand, and how often each is wrong.

No peer ships a test of control, so the other side is the common practice: several candidates are shown, and the best of them is compared
with the best natural image on the very trials that chose it, or with that image's trials of an earlier day.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from protocols.arrays import Floats
from protocols.stats.intervals import welch_p
from protocols.verdict.evaluate import evaluate
from verdict_recordings import BASELINE_REPEATS, FANO, SHARED_GAIN, SITES, picked, record, truth

from .records import Better, Row, paired_ratio

ALPHA, PRESENTATIONS, SEEDS = 0.01, 144, 5
GAIN, SPREAD, CANDIDATES = 0.3, 0.05, 5
DAY_GAIN, DAY_SD = 0.2, 0.1  # log gain of the sites between the two days
NAIVE = {
    "largest mean": "the largest of five means above the natural mean, no test",
    "t-test on the best": "Welch's t of the best of five, on the trials that chose it",
    "t-test across days": "Welch's t of the best of five against the baseline day's natural trials",
}


def rows(experiments: int) -> Iterator[Row]:
    """Shares of sites: false verdicts where nothing is above the natural image, and found gains of 30 %."""
    version = "written anew"
    cases: tuple[tuple[str, float, bool, Better, str], ...] = (
        ("false", 0.0, False, "less", "false: nothing is above the natural image"),
        ("drift", 0.0, True, "less", "false: nothing is above it, and every site's gain grew since the baseline day"),
        ("found", GAIN, False, "more", "found: all controllers evoke 30 % more"),
    )
    for _, gain, drift, better, what in cases:
        ours, naive = shares(experiments, gain=gain, drift=drift)
        for name, hits in naive.items():
            if drift != (name == "t-test across days") and what.startswith("false"):
                continue  # days count where gains differ between them
            found = paired_ratio(ours, hits)
            yield Row(
                group="verdicts", peer=f"by hand: {name}", version=version, what=f"{what} ({PRESENTATIONS} presentations per site; {NAIVE[name]})",
                interval=f"95 %, bootstrap over {experiments} experiments of {SITES} sites", unit="share of sites", better=better, **found,
            )  # fmt: skip


def shares(experiments: int, *, gain: float, drift: bool) -> tuple[Floats, dict[str, Floats]]:
    """Share of sites called controlled, by experiment: ours, and by hand."""
    ours, naive = np.zeros(experiments), {name: np.zeros(experiments) for name in NAIVE}
    for e in range(experiments):
        random = np.random.default_rng([7, e, round(100 * gain), drift])
        day = np.exp(DAY_GAIN + DAY_SD * random.standard_normal(SITES)) if drift else 1.0
        known = truth(
            random,
            gain=gain,
            references=1,
            spread=SPREAD if gain else 0.0,
            candidates=CANDIDATES,
            objectives=("stretch",),
            blank=False,
        )
        shown = record(random, known, repeats=PRESENTATIONS // 2, lost=0.0, day_gain=day)
        report = evaluate(shown.responses, known.key, alpha=ALPHA, permutations=999, seed=e)
        controllers = report.confirmatory("stretch")
        # false means false of what was tested: the controller is not above the reference that was shown
        ours[e] = np.mean([r.verdict == "control" for r in controllers])
        above = [(picked(known, r)[0, k], known.of(r.image_id)[k]) for k, r in enumerate(controllers)]
        for k, (reference, controller) in enumerate(above):
            for name, hit in by_hand(random, reference, controller, day=np.broadcast_to(day, SITES)[k]).items():
                naive[name][e] += hit / SITES
    return ours, naive


def by_hand(random: np.random.Generator, reference: float, controller: float, *, day: float) -> dict[str, bool]:
    """Five controllers and the natural image with 24 trials each, and the natural image's trials of the baseline day."""
    repeats = PRESENTATIONS // (SEEDS + 1)
    candidates = counts(random, np.full((repeats, SEEDS), controller * day))
    natural = counts(random, np.full(repeats, reference * day))
    earlier = counts(random, np.full(BASELINE_REPEATS, reference))
    best = candidates[:, candidates.mean(0).argmax()]
    return {
        "largest mean": bool(best.mean() > natural.mean()),
        "t-test on the best": welch_p(best, natural) <= ALPHA,
        "t-test across days": welch_p(best, earlier) <= ALPHA,
    }


def counts(random: np.random.Generator, expected: Floats) -> Floats:
    """Over-dispersed counts of single trials, with the gain noise of the recordings."""
    gain = np.exp(SHARED_GAIN * random.standard_normal(expected.shape) - SHARED_GAIN**2 / 2)
    drawn: Floats = random.poisson(random.gamma(expected * gain / (FANO - 1), FANO - 1)).astype(float)
    return drawn
