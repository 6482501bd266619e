"""Readouts side by side on real V4 sites: nested cross-validation on recordings 210325, 201025 and 210225 (Cowley et al.).

    python scripts/studies/v4_readouts.py --data ../shared/data/v4_cowley2023 --out readouts

Every image is predicted without its outer fold; penalties, stops, layers and the candidate itself ("chosen") come from inner folds. Folds
keep near-duplicate images together. 201025 and 210225 come as averages: r is not corrected for noise, and the published compact
models' r stands beside the candidates' on the same images (about half of the images were used when those models were made: theirs is
optimistic, the candidates' is not). Features are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoders import DEFAULT_LAYERS, compare, correlation
from encoders.fitting.candidates import read_candidates
from encoders.fitting.comparison import Comparison
from encoders.splits import near_duplicates
from protocols.progress import Progress
from protocols.simulate.v4 import fold, model_responses, read_averages, read_images, read_models, read_trials

SESSIONS = ("210325", "201025", "210225")


def recording(data: Path, session: str) -> dict[str, Any]:
    """Arguments of `compare` for one session."""
    pixels = read_images(data, session)
    if session != "210325":
        means = read_averages(data, session)
        return {"pixels": pixels, "values": means, "image_index": np.arange(len(pixels)), "averages": True}
    trials, index = read_trials(data, session)
    return {"pixels": pixels, "values": trials, "image_index": index}


def beside_compact(data: Path, session: str, found: Comparison, *, given: dict[str, Any], n: int) -> dict[str, float]:
    """Median r over the modelled sites, on the same `n` images: the compact models', and every candidate's."""
    rows = np.linspace(0, len(given["pixels"]) - 1, n).round().astype(int)
    models = read_models(data, session)
    sites = sorted(models)
    means = given["values"][rows][:, sites]
    predicted = model_responses(given["pixels"][rows], [fold(models[site]) for site in sites], progress=Progress())
    median = {"compact models": float(np.median(correlation(predicted, means)))}
    for score in found.scores:
        median[score.candidate.name] = float(np.median(correlation(score.predicted[rows][:, sites], means)))
    return median


def run(data: Path, session: str, options: argparse.Namespace) -> tuple[Comparison, dict[str, float]]:
    given = recording(data, session)
    with options.candidates.open("rb") as file:
        candidates = read_candidates(tomllib.load(file), layers=DEFAULT_LAYERS)
    if options.only:
        candidates = [c for c in candidates if c.name in options.only]
    sites = given["values"].shape[1]
    found = compare(
        candidates,
        **given,
        site_ids=[f"s{u:03d}" for u in range(sites)],
        groups=near_duplicates(given["pixels"]),
        folds=options.folds,
        seed=options.seed,
        cache=options.out / "cache",
        progress=Progress(),
    )
    if not given.get("averages"):
        return found, {}
    return found, beside_compact(data, session, found, given=given, n=options.compact_images)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--out", type=Path, required=True, help="folder for features and results")
    parser.add_argument("--candidates", type=Path, default=Path(__file__).parents[1] / "readouts.toml")
    parser.add_argument("--sessions", nargs="+", choices=SESSIONS, default=list(SESSIONS))
    parser.add_argument("--only", nargs="+", help="names of candidates")
    parser.add_argument(
        "--compact-images", type=int, default=240, help="images for the published models: they are slow"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if not (options.data / "images").is_dir():
        print(f"{options.data}: no images here; pass the folder v4_cowley2023", file=sys.stderr)
        return 3
    options.out.mkdir(parents=True, exist_ok=True)
    for session in options.sessions:
        found, compact = run(options.data, session, options)
        print(f"\nrecording {session}: {len(found.site_ids)} sites, {found.settings['images']} images")
        print(found.table())
        if compact:
            print(
                f"median r on the same {options.compact_images} images: "
                + ", ".join(f"{k} {v:.3f}" for k, v in compact.items())
            )
        record = found.to_dict() | {"beside_compact_models": compact}
        (options.out / f"{session}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
