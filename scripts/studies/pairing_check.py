"""How often the check of pictures against responses finds wrong ids, and how often it alarms where they are right.

Recordings are simulated with compact models of recorded V4 sites, which share nothing with the features that the check
uses: Poisson counts of the models' rates, with a gain that all sites share per trial, and a fifth of the sites without
any response. Sizes are drawn: 300 to 1200 pictures, 2 to 10 repeats, 10 to 40 sites. Each recording is given to the
check as it is and with its ids spoilt. The recordings themselves (single trials of 210325, averages of the others) are
checked too.

    python scripts/studies/pairing_check.py --data ../shared/data/v4_cowley2023 --out pairing

A killed run goes on. About six CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from protocols.arrays import Floats, Ints, Pixels
from protocols.importing.pairing import chosen_pictures
from protocols.importing.pairing_verdict import ALARMS, Finding, Recorded, judge
from protocols.importing.picture_features import SIDE, kernel
from protocols.simulate import v4

SESSION, OTHER, SITES = "201025", "210225", 40
AVERAGES = {"201025": 12, "210224": 9, "210225": 6, "210305": 22, "210322": 4, "210325": 8}
GAIN_SD, SILENT = 0.2, 0.2
Z = 1.959964


class Recording(NamedTuple):
    """Rows in the order shown, the true picture of each, and the likeness of the pictures."""

    values: Floats
    position: Ints
    likeness: Floats
    foreign: Floats
    """Likeness of as many pictures of another session."""


def simulated(number: int, rates: Floats, likeness: dict[str, Floats], *, weak: bool = False) -> Recording:
    """Recording `number`, always the same; `weak`: 300 pictures, 2 repeats, 10 sites, a tenth to a third of the rate."""
    generator = np.random.default_rng([number, 19])
    size = 300 if weak else int(generator.choice([300, 400, 600, 900, 1200]))
    repeats = 2 if weak else int(generator.integers(2, 11))
    sites = generator.permutation(SITES)[: 10 if weak else int(generator.integers(10, SITES + 1))]
    factor = generator.uniform(0.1, 0.35) if weak else generator.uniform(0.7, 1.5)
    pictures = np.sort(generator.permutation(1200)[:size])
    rate = factor * rates[np.ix_(pictures, sites)]
    silent = generator.random(len(sites)) < SILENT
    rate[:, silent] = rate[:, silent].mean(0)
    position = np.concatenate([generator.permutation(size) for _ in range(repeats)])
    gain = np.exp(GAIN_SD * generator.standard_normal((len(position), 1)))
    values = generator.poisson(rate[position] * gain).astype(np.float64)
    strangers = np.sort(generator.permutation(1200)[:size])
    return Recording(
        values, position, likeness[SESSION][np.ix_(pictures, pictures)], likeness[OTHER][np.ix_(strangers, strangers)]
    )


def checked(recording: Recording, *, position: Ints, foreign: bool = False) -> Finding:
    """The finding on a recording whose ids say `position`, on as many pictures as the door looks at."""
    likeness = recording.foreign if foreign else recording.likeness
    listed = chosen_pictures(np.arange(len(likeness)))
    index = np.full(len(likeness), -1, dtype=np.int64)
    index[listed] = np.arange(len(listed))
    return judge(Recorded(recording.values, index[position]), likeness[np.ix_(listed, listed)], listed=listed)


def _shifted(recording: Recording, number: int) -> Finding:
    step = 1 if number % 4 < 2 else -1
    found = checked(recording, position=np.asarray((recording.position - step) % len(recording.likeness)))
    return found


def _permuted(recording: Recording, number: int) -> Finding:
    order = np.random.default_rng([number, 20]).permutation(len(recording.likeness))
    return checked(recording, position=order[recording.position])


def _late(recording: Recording, number: int) -> Finding:
    return checked(recording, position=np.roll(recording.position, -1 if number % 4 < 2 else 1))


def _drifting(recording: Recording, number: int) -> Finding:
    """Pictures shown all repeats on end, while the rates drift: repeats are alike without any response to pictures."""
    generator = np.random.default_rng([number, 21])
    order = np.argsort(recording.position, kind="stable")
    drift = np.exp(np.cumsum(generator.standard_normal((len(order), recording.values.shape[1])), axis=0) * 0.01)
    values = generator.poisson(recording.values.mean(0) * drift / drift.mean(0)).astype(np.float64)
    return checked(recording._replace(values=values), position=recording.position[order])


CASES: dict[str, tuple[bool, Callable[[Recording, int], Finding]]] = {
    "right": (False, lambda r, _: checked(r, position=r.position)),
    "ids shifted by one": (False, _shifted),
    "ids permuted": (False, _permuted),
    "pictures of another session": (False, lambda r, _: checked(r, position=r.position, foreign=True)),
    "log shifted by one trial": (False, _late),
    "right, weak": (True, lambda r, _: checked(r, position=r.position)),
    "weak, permuted": (True, _permuted),
    "no response, drift": (False, _drifting),
}


def recorded(data: Path, likeness: dict[str, Floats]) -> Iterator[tuple[str, Finding]]:
    """The real recordings as they are, shifted and permuted."""
    trials, image = v4.read_trials(data, "210325")
    kept = np.isfinite(trials).any(1)
    order = np.random.default_rng(0).permutation(int(kept.sum()))
    single = Recorded(trials[kept][order], image[kept][order])
    rows = {"210325, single trials": ("210325", single)}
    for session, repeats in AVERAGES.items():
        means = v4.read_averages(data, session)
        number = np.full(len(means), repeats, dtype=np.int64)
        rows[f"{session}, averages"] = (session, Recorded(means, np.arange(len(means)), number, 2 * means.mean(0)))
    for name, (session, right) in rows.items():
        like = likeness[session]
        n = len(like)
        ways = {"right": np.arange(n), "ids +1": (np.arange(n) - 1) % n, "ids -1": (np.arange(n) + 1) % n}
        ways["permuted"] = np.random.default_rng(1).permutation(n)
        for way, to in ways.items():
            given = right._replace(position=to[right.position])
            yield f"{name}: {way}", judge(given, like, listed=np.arange(n))


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927)."""
    share, half = hits / total, Z * math.sqrt(hits / total * (1 - hits / total) / total + Z**2 / (4 * total**2))
    centre, scale = share + Z**2 / (2 * total), 1 + Z**2 / total
    return (centre - half) / scale, (centre + half) / scale


def small(images: Pixels) -> Pixels:
    """Pictures (N, H, W, 3) as the check sees them."""
    resized = [Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BOX) for p in images]
    return np.stack([np.asarray(p) for p in resized])


def prepare(data: Path, out: Path) -> tuple[Floats, dict[str, Floats]]:
    """Rates of the simulated sites (1200, `SITES`), and likeness of the pictures by session; kept in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    likeness = {}
    for session in sorted(AVERAGES):
        file = out / f"likeness_{session}.npy"
        if not file.is_file():
            np.save(file, kernel(small(v4.read_images(data, session))))
        likeness[session] = np.load(file, allow_pickle=False)
    file = out / f"rates_{SESSION}.npy"
    if not file.is_file():
        states = list(v4.read_models(data, SESSION).items())[:SITES]
        drive = v4.model_responses(v4.read_images(data, SESSION), [v4.fold(state) for _, state in states])
        means = v4.read_averages(data, SESSION)[:, [site for site, _ in states]]
        lines = [np.polyval(np.polyfit(d, m, 1), d) for d, m in zip(drive.T, means.T, strict=True)]
        np.save(file, np.maximum(np.stack(lines, 1), 0.02))
    return np.load(file, allow_pickle=False), likeness


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder of what was computed already")
    parser.add_argument("--recordings", type=int, default=200, help="recordings per case")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="cases to run")
    options = parser.parse_args(arguments)
    if not (options.data / "images").is_dir():
        print(f"{options.data}: no images here; pass the folder v4_cowley2023", file=sys.stderr)
        return 2
    rates, likeness = prepare(options.data, options.out)
    log = options.out / "verdicts.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    known = {(line["case"], line["number"]): line["verdict"] for line in lines}
    with log.open("a") as file:
        for number in range(options.recordings):
            for case in options.only:
                if (case, number) not in known:
                    weak, spoil = CASES[case]
                    verdict = spoil(simulated(number, rates, likeness, weak=weak), number).verdict
                    known[case, number] = verdict
                    file.write(json.dumps({"case": case, "number": number, "verdict": verdict}) + "\n")
                    file.flush()
    for line in table(known, options.only, options.recordings):
        print(line)
    print("\n| recording | verdict | score | by chance | SDs from chance |\n|---|---|---|---|---|")
    for name, found in recorded(options.data, likeness):
        print(f"| {name} | {found.verdict} | {found.score:.2f} | {found.chance:.2f} | {found.z:.1f} |")
    return 0


def table(known: dict[tuple[str, int], str], cases: Sequence[str], recordings: int) -> list[str]:
    """One line per case: alarms with their Wilson interval, and the verdicts."""
    lines = ["| recordings | alarm | 95 % interval | verdicts |", "|---|---|---|---|"]
    for case in cases:
        verdicts = [known[case, n] for n in range(recordings)]
        alarms = sum(v in ALARMS for v in verdicts)
        low, high = wilson(alarms, recordings)
        counted = ", ".join(f"{count} {v}" for v, count in Counter(verdicts).most_common())
        lines.append(f"| {case} | {alarms} of {recordings} | {low:.1%} to {high:.1%} | {counted} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
