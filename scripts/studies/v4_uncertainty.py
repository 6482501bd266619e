"""Do the encoder's intervals hold on a real recording? Coverage on held-out images of recording 210325 (Cowley et al.).

    python scripts/studies/v4_uncertainty.py --data ../shared/data/v4_cowley2023

The default encoder is fitted to four fifths of the images (near-duplicates together); its 90 % intervals, calibrated on left-out
folds of these, are then compared with the trials and the repeat means of the held-out fifth, in thirds of the predicted SD. Images optimised
against the encoder must be less certain than natural ones, and farther from the images that were fitted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from encoders import Ensemble, FitOptions, Recording, fit_encoder, repeat_means, to_images
from encoders.info import Judgement
from encoders.splits import near_duplicates
from protocols.arrays import Bools, Floats
from protocols.progress import Progress
from protocols.simulate.v4 import read_images, read_trials
from synth import ascend, cautious, exact_statistics, fourier, jitter, one_hot, stretch

SESSION, LEVEL = "210325", 0.9


def thirds(covered: Bools, sd: Floats, known: Bools) -> list[float]:
    """Share of covered values in the thirds of the predicted SD, within every site, all sites pooled."""
    axes = tuple(range(sd.ndim - 1))
    low, high = np.nanquantile(np.where(known, sd, np.nan), [1 / 3, 2 / 3], axis=axes)
    parts = (sd <= low, (sd > low) & (sd <= high), sd > high)
    return [float(covered[known & part].mean()) for part in parts]


def of_trials(encoder: Ensemble, images: torch.Tensor, trials: Floats) -> dict[str, Any]:
    """Coverage of single trials (H, R, U)."""
    judged = encoder.judge(images, level=LEVEL, repeats=1)
    lower, upper = (x.double().numpy()[:, None] for x in (judged.lower, judged.upper))
    sd = np.broadcast_to(judged.sd.double().numpy()[:, None], trials.shape)
    known = np.isfinite(trials)
    covered = (trials >= lower) & (trials <= upper)
    return {"coverage": float(covered[known].mean()), "thirds": thirds(covered, sd, known)}


def of_means(encoder: Ensemble, images: torch.Tensor, means: Floats, counts: Floats) -> dict[str, Any]:
    """Coverage of repeat means (H, U), each with its own number of trials; and whether errors grow with the SD."""
    numbers = np.arange(1, int(counts.max()) + 1)
    judged = [encoder.judge(images, level=LEVEL, repeats=int(n)) for n in numbers]
    row = np.maximum(counts.astype(int) - 1, 0)[None]

    def pick(name: str) -> Floats:
        stack = np.stack([getattr(j, name).double().numpy() for j in judged])
        chosen: Floats = np.take_along_axis(stack, row, 0)[0]
        return chosen

    lower, upper, sd, known = pick("lower"), pick("upper"), pick("sd"), np.isfinite(means)
    covered = (means >= lower) & (means <= upper)
    error = np.abs(means - judged[0].mean.double().numpy())
    rank = [float(spearmanr(error[known[:, u], u], sd[known[:, u], u])[0]) for u in range(means.shape[1])]
    return {
        "coverage": float(covered[known].mean()),
        "thirds": thirds(covered, sd, known),
        "spearman_error_sd": float(np.median(rank)),
        "sites_with_positive_spearman": int((np.array(rank) > 0).sum()),
    }


def optimised(encoder: Ensemble, natural: Judgement, n_targets: int, steps: int) -> dict[str, Any]:
    """Predictive SD of the target on images optimised for it, over its median on natural images; distance and flags."""
    targets = encoder.target_ids[:n_targets]
    shape = encoder.image_shape
    batch = ascend(
        encoder,
        cautious(stretch(targets) | one_hot(targets), 0.5),
        fourier(shape, decay=1.75),
        constraints=[exact_statistics(shape, mean=0.43, rms=0.2)],
        transforms=[jitter(0.07)],
        steps=steps,
        progress=Progress(),
    )
    judged = encoder.judge(torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255)
    column = [encoder.site_ids.index(target) for target in batch.targets]
    usual = natural.sd.median(0).values
    ratios = [float(judged.sd[i, u] / usual[u]) for i, u in enumerate(column)]
    return {
        "images": len(batch),
        "sd_over_natural": float(np.median(ratios)),
        "larger_sd": int((np.array(ratios) > 1).sum()),
        "distance": float(judged.distance.median()),
        "natural_distance": float(natural.distance.median()),
        "outside": int(judged.outside.sum()),
        "natural_outside": float(natural.outside.float().mean()),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    images = read_images(options.data, SESSION)
    values, index = read_trials(options.data, SESSION)
    trials = values.reshape(len(images), -1, values.shape[1])  # (N, R, U)
    recording = Recording(
        pixels=images,
        values=values,
        image_index=index,
        site_ids=[f"s{u:03d}" for u in range(values.shape[1])],
        unit="spikes",
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
        groups=near_duplicates(images),
    )
    pair = fit_encoder(recording, FitOptions(readout=options.readout), progress=Progress())
    held = pair.report.held_out_images
    columns = [u for u, site in enumerate(pair.report.sites) if site.eligible_fit]
    means, counts = repeat_means(values[:, columns], index, len(images))
    shown = to_images(images[held])
    natural = pair.encoder.judge(shown)
    return {
        "sites": len(columns),
        "held_out_images": len(held),
        "trial": of_trials(pair.encoder, shown, trials[held][:, :, columns]),
        "mean": of_means(pair.encoder, shown, means[held], counts[held].astype(float)),
        "optimised": optimised(pair.encoder, natural, options.targets, options.steps),
    }


def text(result: dict[str, Any]) -> str:
    lines = [f"{result['sites']} sites, {result['held_out_images']} held-out images, 90 % intervals"]
    for name, what in (("trial", "a single trial"), ("mean", "the mean of an image's repeats")):
        low, middle, high = (f"{100 * v:.1f}" for v in result[name]["thirds"])
        lines.append(
            f"for {what:<32} cover {100 * result[name]['coverage']:.1f} %; by third of the predicted SD {low}, {middle}, {high} %"
        )
    mean, made = result["mean"], result["optimised"]
    lines.append(
        f"Spearman(|error|, SD), median over sites {mean['spearman_error_sd']:.2f}; above 0 at {mean['sites_with_positive_spearman']} sites"
    )
    lines.append(
        f"{made['images']} optimised images: SD {made['sd_over_natural']:.2f} x natural (larger at {made['larger_sd']}), distance "
        f"{made['distance']:.2f} against {made['natural_distance']:.2f}, outside {made['outside']} "
        f"(natural {100 * made['natural_outside']:.1f} %)"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument("--readout", default="factorised")
    parser.add_argument("--targets", type=int, default=12)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the result here")
    options = parser.parse_args(arguments)
    result = run(options)
    print(text(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
