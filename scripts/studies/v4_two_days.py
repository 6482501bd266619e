"""Are sites of two recorded V4 days the same? 210322 (averages over 4 repeats) and 210325 (single trials), 600 common images.

``python scripts/studies/v4_two_days.py shared/data/v4_cowley2023``: sites are matched on a random half of the common images and scored on the other
half; prints the table of docs/drift.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from protocols.arrays import Bools, Floats, Ints
from protocols.recordings.drift import Tuning, tuning
from protocols.recordings.responses import Responses
from protocols.simulate.v4 import read_averages, read_images, read_trials
from protocols.stats.identity import Means, best_other, correlations, match_sites

FIRST, SECOND, REPEATS = "210322", "210325", 4


def read_days(data: Path) -> tuple[Tuning, Tuning]:
    """Mean responses of both days to the images whose pixels are equal, in the order of the second day."""
    place = {image.tobytes(): i for i, image in enumerate(read_images(data, FIRST))}
    common = {
        f"i{place[image.tobytes()]:04d}": f"j{j:04d}"
        for j, image in enumerate(read_images(data, SECOND))
        if image.tobytes() in place
    }
    averages, (trials, index) = read_averages(data, FIRST), read_trials(data, SECOND)
    first = Responses(
        averages,
        np.array([f"i{i:04d}" for i in range(len(averages))]),
        tuple(f"a_{u:02d}" for u in range(averages.shape[1])),
        "spikes",
        averaged_over=np.full(len(averages), REPEATS),
    )
    second = Responses(
        trials, np.array([f"j{j:04d}" for j in index]), tuple(f"b_{u:02d}" for u in range(trials.shape[1])), "spikes"
    )
    names = list(common)
    source = {later: earlier for earlier, later in common.items()}
    return tuning(first, {i: i for i in names}, names, sites=first.site_ids), tuning(
        second, source, names, sites=second.site_ids
    )


def means(table: Tuning) -> Means:
    """Means with their error variances (NaN for averages)."""
    pooled = np.where(np.isfinite(table.each), table.each, table.variance)
    return Means(
        table.site_ids,
        table.means,
        np.divide(pooled, table.repeats, out=np.full_like(pooled, np.nan), where=table.repeats > 0),
    )


def like(second: Means, table: Tuning, averages: Means) -> Means:
    """The averages with error variances of the other day's Fano factor: an assumption, to see whether the outcome hangs on it."""
    fano = float(np.median(table.variance / table.means.mean(0)))
    return Means(averages.site_ids, averages.values, np.maximum(averages.values, 0.01) * fano / REPEATS)


def population_r(first: Floats, second: Floats, train: Bools) -> Floats:
    """Held-out correlation of each site of `second` with a ridge regression on all sites of `first` (penalty by leave-one-out)."""
    x, y = first[train], second[train]
    x_mean, y_mean = x.mean(0), y.mean(0)
    u, s, vt = np.linalg.svd((x - x_mean) / x.std(0), full_matrices=False)
    best: tuple[float, Any] = (np.inf, None)
    for penalty in np.geomspace(1, 1e4, 9):
        hat = u * (s**2 / (s**2 + penalty))
        left_out = ((y - y_mean) - hat @ (u.T @ (y - y_mean))) / (1 - (hat * u).sum(1) - 1 / len(x))[:, None]
        best = min(
            best,
            (float((left_out**2).mean()), vt.T @ np.diag(s / (s**2 + penalty)) @ u.T @ (y - y_mean)),
            key=lambda b: b[0],
        )
    predicted = (first[~train] - x_mean) / x.std(0) @ best[1]
    return np.array([np.corrcoef(p, q)[0, 1] for p, q in zip(predicted.T, second[~train].T, strict=True)])


def compare(first: Means, second: Means, *, seed: int, permutations: int) -> dict[str, Any]:
    """Match on a random half of the images and score on the other."""
    n = len(first.values)
    train = np.random.default_rng(seed).permutation(n) < n // 2
    found = match_sites(first.take(train), second.take(train), permutations=permutations, seed=seed)
    r = correlations(first.values[~train], second.values[~train])
    place = {site: i for i, site in enumerate(first.site_ids)}
    pairs = np.array([[place[m.partner], v] for v, m in enumerate(found)])
    mutual, matched = (np.array([getattr(m, name) for m in found]) for name in ("mutual", "matched"))
    held_out = r[pairs[:, 0], pairs[:, 1]]
    rank = (r > held_out).sum(0)
    correct = bool(np.isfinite(first.error).any() and np.isfinite(second.error).any())
    return {
        "seed": seed,
        "images": [int(train.sum()), int((~train).sum())],
        "matched": int(matched.sum()),
        "matched_pairs": [[m.site, m.partner, m.r, m.p_other] for m in found if m.matched],
        "mutual": int(mutual.sum()),
        "order": [kendall(pairs[keep]) for keep in (matched, mutual)],
        "beat_shuffled": sum(m.p_shuffled < 0.01 for m in found),
        "beat_others": sum(m.p_other < 0.01 for m in found),
        "above_0.6": sum((m.r_nc if m.r_nc is not None else m.r) > 0.6 for m in found),
        "median_r_matching": float(np.median([m.r for m in found])),
        "median_r_held_out": float(np.median(held_out)),
        "median_r_all_pairs": float(np.median(r)),
        "best_again": int((rank == 0).sum()),
        "median_best_other": [float(np.median(best_other(m.take(~train), correct=correct))) for m in (first, second)],
        "median_population_r": float(np.median(population_r(first.values, second.values, train))),
        "median_ceiling": float(np.median(np.sqrt(np.maximum(second.take(~train).reliability, 0)))),
    }


def kendall(pairs: Ints) -> float | None:
    """Rank correlation of the two days' row numbers over pairs of sites; None below three pairs."""
    return float(stats.kendalltau(*pairs.T).statistic) if len(pairs) > 2 else None


def line(label: str, r: dict[str, Any]) -> str:
    """One row of the table."""
    cells = [
        label,
        str(r["seed"]),
        str(r["matched"]),
        str(r["beat_shuffled"]),
        str(r["beat_others"]),
        str(r["above_0.6"]),
        str(r["mutual"]),
        f"{r['median_r_matching']:.2f}",
        f"{r['median_r_held_out']:.2f}",
        f"{r['median_r_all_pairs']:.2f}",
        " / ".join(f"{v:.2f}" for v in r["median_best_other"]),
        str(r["best_again"]),
        " / ".join("-" if tau is None else f"{tau:.2f}" for tau in r["order"]),
        f"{r['median_population_r']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder v4_cowley2023")
    parser.add_argument("--seeds", type=int, default=3, help="random halves of the images")
    parser.add_argument("--permutations", type=int, default=999)
    parser.add_argument("--json", type=Path, help="write everything there")
    options = parser.parse_args()
    before, after = read_days(options.data)
    first, second = means(before), means(after)
    print(
        f"{FIRST}: {len(first.site_ids)} sites, averages over {REPEATS} repeats; {SECOND}: {len(second.site_ids)} sites, single trials;"
    )
    print(f"{len(before.images)} common images; sites of {SECOND} matched with those of {FIRST}\n")
    titles = [
        "noise of the averages",
        "seed",
        "matched",
        "beat shuffled images",
        "beat different sites",
        "r_nc > 0.6",
        "mutual best",
    ]
    titles += [
        "r, matching half",
        "r, held-out half",
        "r, all pairs",
        "best different site, each day",
        "best again",
        "order of rows (tau), matched / mutual",
        "r, all sites together",
    ]
    print("| " + " | ".join(titles) + " |\n|" + " --- |" * len(titles))
    results = []
    for label, averages in (("unknown", first), ("Fano factor of 210325", like(second, after, first))):
        for seed in range(options.seeds):
            results.append({"noise": label} | compare(averages, second, seed=seed, permutations=options.permutations))
            print(line(label, results[-1]), flush=True)
    total = sum(r["matched"] for r in results)
    print(
        f"\n{'no site matched' if total == 0 else f'{total} matches over {len(results)} analyses'}; "
        f"ceiling of {SECOND} on the held-out half: median {results[0]['median_ceiling']:.2f}"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
