"""Does the planner know what it plans with: references and their shortfall, and the power by which it divides a round.

    python scripts/studies/planner_check.py

First table: photographs with known true means are shown, the reference of every site is chosen by trials alone and by trials with
the predictions of an imperfect encoder; how far it really lies below the best photograph, and how far it is told to lie. Second table: the
normal approximation of the search against simulated verdicts (`protocols.verdict.power`). No data; about a minute of one core.
"""

from __future__ import annotations

import argparse

import numpy as np

from protocols.arrays import Floats
from protocols.project.key import Key, SiteRow
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.natural import NaturalPosterior, choose_references, natural_posterior, rising_noise
from protocols.rounds.planning.found import Pairs, expected_found
from protocols.rounds.planning.reach import Judging
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.power import power

OBJECTIVE_NAMES = ("stretch", "one_hot")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--sites", type=int, default=50, help="sites of the softmax; 20 of them are targets")
    parser.add_argument("--repeats", type=int, default=8, help="presentations of a photograph in the baseline")
    parser.add_argument("--error", type=float, default=1.0, help="variance of the encoder's error; the signal has 4")
    parser.add_argument("--draws", type=int, default=3, help="draws of the photographs and their trials")
    parser.add_argument("--experiments", type=int, default=400, help="simulated verdicts per setting")
    return parser.parse_args()


def posteriors(options: argparse.Namespace, true: Floats, rng: np.random.Generator) -> dict[str, NaturalPosterior]:
    """What trials tell of the photographs, and trials with predictions."""
    index = np.repeat(np.arange(len(true)), options.repeats)
    values = rng.poisson(true[index]).astype(float)
    predicted = true + rng.normal(0, np.sqrt(options.error), true.shape)
    found = {}
    for name, known in (
        ("trials", {}),
        ("trials and encoder", {"predicted": predicted, "error": np.full(true.shape[1], options.error)}),
    ):
        first = natural_posterior(values, index, len(true), **known)
        noise = rising_noise(values, index, first.mean)
        found[name] = natural_posterior(values, index, len(true), noise=noise, **known)
    return found


def shortfalls(options: argparse.Namespace, draw: int) -> list[tuple[str, str, int, float, float]]:
    """(known by, objective, references shown, true shortfall, told) as means over 20 targets."""
    rng = np.random.default_rng(draw)
    true = rng.gamma(4.0, 1.0, (options.images, options.sites)) + 0.5
    rows = [
        SiteRow(site_id=f"s{u:03d}", natural_mean=float(m), natural_sd=float(s), reliability=0.8, is_target=True)
        for u, (m, s) in enumerate(zip(true.mean(0), true.std(0), strict=True))
    ]
    key = Key((), tuple(rows))
    targets, (mean, sd), found = key.site_ids[:20], key.natural_statistics(), []
    for name, posterior in posteriors(options, true, rng).items():
        chosen = choose_references(posterior, key, targets, objectives=OBJECTIVE_NAMES, count=3, temperature=1.0)
        for objective in OBJECTIVE_NAMES:
            scores = OBJECTIVES[objective].site_scores(true, mean, sd, temperature=1.0)
            for count in (1, 2, 3):
                lost = [
                    scores[:, u].max() - scores[chosen.images[objective, s][:count], u].max()
                    for u, s in enumerate(targets)
                ]
                told = [chosen.shortfall[objective, s][count - 1] for s in targets]
                found.append((name, objective, count, float(np.mean(lost)), float(np.mean(told))))
    return found


def compared(options: argparse.Namespace, level: float, count: int, shown: int) -> tuple[float, float]:
    """Power of +30 % by simulated verdicts and by the normal approximation, references 5 % apart, Fano factor 1.3."""
    references = level * (1 - 0.05 * np.arange(count))
    trials = Trials(repeats=shown, blocks=4)
    simulated = power(ExpectedSite(references, fano=1.3), trials, 0.3, experiments=options.experiments)
    pairs = Pairs(
        names=(("stretch", "site"),),
        images=np.arange(count)[None],
        references=np.tile(references, (400, 1, 1)),
        controllers=np.full((400, 1), 1.3 * level),
        floor=np.zeros(1),
        slope=np.full(1, 1.3),
    )
    found = expected_found(pairs, count, np.array([shown]), test=Judging(alpha=0.01, permutations=9999))
    return simulated, float(found[0])


def main() -> None:
    options = parse()
    rows = [shortfalls(options, draw) for draw in range(options.draws)]
    print("| known by | objective | references | shortfall | told |\n|---|---|---|---|---|")
    for lines in zip(*rows, strict=True):
        lost, told = np.mean([line[3:] for line in lines], axis=0)
        print(f"| {lines[0][0]} | {lines[0][1]} | {lines[0][2]} | {lost:.2f} | {told:.2f} |")
    print("\n| evoked | references | repeats | simulated | normal |\n|---|---|---|---|---|")
    for level in (5.0, 7.0, 9.0):
        for count, shown in ((1, 72), (2, 48), (3, 36), (5, 24)):
            simulated, normal = compared(options, level, count, shown)
            print(f"| {level:g} | {count} | {shown} | {100 * simulated:.0f} % | {100 * normal:.0f} % |")


if __name__ == "__main__":
    main()
