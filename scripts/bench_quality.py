"""Time to quality: CPU seconds until the mean VALIDATOR score reaches 95 % of what the first peer's defaults reach in 512 steps.

16 simulated sites (mixtures of EfficientNet-Lite2 channels), an encoder fitted to photographs on EfficientNet-Lite0 and a validator
fitted on Lite2, one image a site. Everybody climbs under the same constraints: mean and RMS contrast fixed exactly in every step.
Scores are of the 8-bit images. Run: ``python scripts/bench_quality.py [--peers] [--seeds 0 1] [--json FILE]``.

The peers, by `--peers` (never a dependency): lucent (``pip install --no-deps torch-lucent==0.1.8``, with kornia's moved functions put
where it looks for them) at its defaults, without its enlargement to 224 px; and mei's PUBLISHED LOOP, WRITTEN ANEW HERE, since
the package is not on the index: pixels from noise, gradient blurred (sigma 1), a step of SGD, statistics fixed after each step.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from encoders import FitOptions, FittedPair, Recording, fit_encoder
from protocols.arrays import Floats, Pixels
from protocols.project.photograph_import import demo_photographs
from protocols.simulate import lite2 as lite2_sites
from synth import Objective, ascend, exact_statistics, fourier, pixels, stretch
from synth.constraints.exact import ExactStatistics
from synth.recipes.few_steps import quick
from synth.rules import Rule, adamw, smooth
from synth.transforms import DEFAULT_TRANSFORMS

SIZE, SITES, SHARE, RMS = 112, 16, 0.95, 0.2
Kept = tuple[list[int], list[float], list[Pixels]]  # steps, CPU seconds, 8-bit images
LUCENT_STEPS, MEI_STEPS = 512, 320
POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 40, 50, 64, 80, 100, 128, 160, 200)
LONG = (*POINTS, 256, 320, 400, 512)


@dataclass(frozen=True)
class Curve:
    """Mean validator score over the sites after so many CPU seconds and steps."""

    who: str
    seed: int
    steps: list[int]
    seconds: list[float]
    scores: list[float]

    def seconds_to(self, score: float) -> float:
        """CPU seconds at which the curve first reaches `score`, in straight lines between its points; infinite where it never does."""
        last_t, last_s = 0.0, float("-inf")
        for t, s in zip(self.seconds, self.scores, strict=True):
            if s >= score:
                share = (score - last_s) / (s - last_s) if last_s > float("-inf") else 1.0
                return last_t + share * (t - last_t)
            last_t, last_s = t, s
        return float("inf")


def photographs(count: int) -> Pixels:
    """The package's photographs at SIZE x SIZE px: uint8 (N, H, W, 3)."""
    opened = (Image.open(io.BytesIO(p.data)).convert("RGB").resize((SIZE, SIZE)) for p in demo_photographs()[:count])
    return np.stack([np.asarray(image) for image in opened])


def fitted(images: Pixels, sites: int) -> tuple[FittedPair, Floats]:
    """Encoder (Lite0) and validator (Lite2) of simulated sites, drawn by the seed `sites`; and what was measured, (N, SITES)."""
    _, drive = lite2_sites.candidates(images, SITES, np.random.default_rng(sites))
    values = (drive - drive.mean(0)) / drive.std(0)
    names = [f"sim_{i:03d}" for i in range(SITES)]
    recording = Recording(
        pixels=images,
        values=values,
        image_index=np.arange(len(images)),
        site_ids=names,
        unit="zscore",
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
        averages=True,
    )
    pair = fit_encoder(recording, FitOptions(readout="ridge"))
    return pair, values[:, [names.index(s) for s in pair.encoder.site_ids]]


class Clock:
    """CPU seconds since it was made, less those spent in `pause`d work; with 8-bit images at chosen steps."""

    def __init__(self, display: ExactStatistics) -> None:
        self.display, self.begun, self.idle = display, time.process_time(), 0.0
        self.steps: list[int] = []
        self.seconds: list[float] = []
        self.images: list[Pixels] = []

    def keep(self, step: int, shown: Tensor) -> None:
        """Note the time, then keep the images as they would be shown; that itself is not counted."""
        now = time.process_time()
        self.steps.append(step)
        self.seconds.append(now - self.begun - self.idle)
        self.images.append(self.display.quantise(shown.detach()).numpy())
        self.idle += time.process_time() - now


def ours(pair: FittedPair, rows: Objective, display: ExactStatistics, seed: int, **settings: Any) -> Kept:
    """`ascend` twice: once with the images of the points, once without, for their times.

    The time of a point is that of its progress report in the second run, checks included, and that of the check which would end a run there.
    """
    steps = int(settings.get("steps", POINTS[-1]))
    points = [p for p in POINTS if p <= steps]
    how: dict[str, Any] = {
        "parameterisation": fourier(display.shape),
        "constraints": [display],
        "seeds": [seed],
        "steps": steps,
    }
    graded = ascend(pair.encoder, rows, **(how | settings), snapshots=points).graded
    assert graded is not None
    assert graded.steps is not None
    told: list[float] = []
    begun = time.process_time()
    ascend(pair.encoder, rows, progress=lambda *_: told.append(time.process_time() - begun), **(how | settings))
    check = max(0.0, told[-1] - told[-2] - statistics.median(np.diff(told[:-1]).tolist()))
    times = [told[p - 1] + (check if p < steps else 0.0) for p in points]
    return points, times, [graded.images[graded.steps == p] for p in points]


def mei_loop(pair: FittedPair, rows: Objective, display: ExactStatistics, seed: int) -> Kept:
    """The published loop of sinzlab/mei in the V4 setting of its authors, written anew: Gaussian noise, gradient blurred (sigma 1), AdamW of
    rate 10 in z-scored pixels at an SD of 0.25 (= 40 SDs of the image a step), the statistics fixed after each step; no transforms.
    """
    bound = rows.bind(pair.encoder.site_ids, pair.encoder.natural_mean, pair.encoder.natural_sd)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        images = display(0.5 + RMS * torch.randn(SITES, *display.shape, generator=generator)).requires_grad_()
    optimiser, smoothed, clock = torch.optim.AdamW([images], lr=40 * RMS), smooth(1.0), Clock(display)
    for step in range(1, MEI_STEPS + 1):
        (gradient,) = torch.autograd.grad(-bound(images, pair.encoder(images)).sum(), images)
        images.grad = smoothed(gradient, 0.0)
        optimiser.step()
        with torch.no_grad():
            images.copy_(display(images))
        if step in LONG:
            clock.keep(step, images)
    return clock.steps, clock.seconds, clock.images


class Readable(nn.Module):
    """An encoder with a last module that lucent can read."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.sites = encoder, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U), members averaged."""
        responses = self.encoder(images)
        averaged: Tensor = self.sites(responses.mean(0) if responses.dim() == 3 else responses)
        return averaged


def lucent_defaults(pair: FittedPair, rows: Objective, display: ExactStatistics, seed: int) -> Kept:
    """Lucent's `render_vis` as it comes: 512 steps of Adam at 0.05, its Fourier image and standard transforms."""
    import kornia
    from lucent.optvis import objectives, param, render, transform

    moved = kornia.geometry.transform
    transform.kornia = type(
        "Moved", (), {n: staticmethod(getattr(moved, n)) for n in ("get_rotation_matrix2d", "warp_affine")}
    )
    bound = rows.bind(pair.encoder.site_ids, pair.encoder.natural_mean, pair.encoder.natural_sd)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002  lucent draws from the global generators
    clock = Clock(display)
    last: dict[str, Any] = {"step": -1}

    def image() -> tuple[list[Tensor], Callable[[], Tensor]]:
        variables, make = param.image(SIZE, SIZE, batch=SITES)

        def shown() -> Tensor:
            images = display(make())
            last["step"] += 1
            if last["step"] in LONG:
                clock.keep(last["step"], images)
            last["images"] = images
            return images

        return variables, shown

    def score(layer: Callable[[str], Tensor]) -> Tensor:
        return -bound(last["images"], layer("sites")).sum()

    render.render_vis(
        Readable(pair.encoder).eval(), objectives.Objective(score), image, thresholds=(LUCENT_STEPS,), preprocess=False,
        progress=False, show_image=False, fixed_image_size=SIZE,
    )  # fmt: skip
    return clock.steps, clock.seconds, clock.images


def curve(who: str, seed: int, kept: Kept, pair: FittedPair, rows: Objective) -> Curve:
    """Score what was kept by the validator."""
    validator = pair.validator
    bound = rows.bind(validator.site_ids, validator.natural_mean, validator.natural_sd)
    scores = []
    for pixels_ in kept[2]:
        images = torch.from_numpy(pixels_).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            scores.append(float(bound(images, validator(images)).mean()))
    return Curve(who=who, seed=seed, steps=kept[0], seconds=kept[1], scores=scores)


def variants() -> dict[str, dict[str, Any]]:
    """Settings of `ascend` that are compared."""
    shape = (3, SIZE, SIZE)
    return {
        "ours": {},
        "ours, rate 0.02": {"learning_rate": 0.02, "steps": 50},
        "ours, rate 0.01": {"learning_rate": 0.01, "steps": 50},
        "ours, rate 0.005": {"learning_rate": 0.005, "steps": 50},
        "ours, rate 0.2": {"learning_rate": 0.2, "steps": 100},
        "ours, forgets 5 %": {"rule": Rule(adamw(weight_decay=1.0)), "steps": 50},
        "ours, forgets 10 %": {"rule": Rule(adamw(weight_decay=2.0)), "steps": 50},
        "ours, forgets 25 %": {"rule": Rule(adamw(weight_decay=5.0)), "steps": 50},
        "ours, rate 0.02, forgets 25 %": {"learning_rate": 0.02, "rule": Rule(adamw(weight_decay=12.5)), "steps": 50},
        "ours, rate 0.02, forgets 40 %": {"learning_rate": 0.02, "rule": Rule(adamw(weight_decay=20.0)), "steps": 50},
        "ours, noise of SD 0.2": {"parameterisation": fourier(shape, noise=0.2), "steps": 50},
        "ours, pixels, blurred": {
            "learning_rate": 40 * RMS,
            "parameterisation": pixels(shape),
            "steps": 64,
            "rule": Rule(precondition=(smooth(1.0),)),
        },
        "ours, best photograph": {"start": True, "steps": 50},
        "quick": {"start": True, **quick(shape, steps=16)},
        "quick, shifted": {"start": True, **quick(shape, steps=32), "transforms": DEFAULT_TRANSFORMS},
        "ours, best photograph, rate 0.02": {"start": True, "learning_rate": 0.02, "steps": 50},
        "ours, best photograph, rate 0.01": {"start": True, "learning_rate": 0.01, "steps": 50},
    }


def best_photographs(measured: Floats, images: Pixels) -> Tensor:
    """For each site the photograph with the highest measured response, as a round starts from it, (SITES, 3, SIZE, SIZE)."""
    return torch.from_numpy(images[measured.argmax(0)]).permute(0, 3, 1, 2).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help="also run lucent and mei's loop")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--sites", type=int, default=0, help="seed of the simulated sites")
    parser.add_argument("--photographs", type=int, default=400)
    parser.add_argument("--only", nargs="+", help="names of variants; default: all")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.only or [] if name not in variants()]:
        parser.error(f"no variant {', '.join(unknown)}; there are {', '.join(variants())}")
    images = photographs(arguments.photographs)
    pair, measured = fitted(images, arguments.sites)
    display = exact_statistics((3, SIZE, SIZE), mean=0.43, rms=RMS)
    rows = stretch(pair.encoder.site_ids)
    curves: list[Curve] = []
    for seed in arguments.seeds:
        if arguments.peers:
            for who, run in (("lucent", lucent_defaults), ("mei's loop, rewritten", mei_loop)):
                curves.append(curve(who, seed, run(pair, rows, display, seed), pair, rows))
                tell(curves[-1])
        for who, settings in variants().items():
            if arguments.only is None or who in arguments.only:
                if settings.get("start"):
                    settings["start"] = best_photographs(measured, images)
                curves.append(curve(who, seed, ours(pair, rows, display, seed, **settings), pair, rows))
                tell(curves[-1])
    print(table(curves))
    if arguments.json is not None:
        record = {"torch": torch.__version__, "threads": torch.get_num_threads(), "curves": [asdict(c) for c in curves]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def ratio(seconds: float, theirs: float) -> float:
    """NaN where they never get there."""
    return seconds / theirs if theirs < float("inf") else float("nan")


def tell(curve: Curve) -> None:
    """One line a finished curve: a run takes minutes."""
    print(curve.who, curve.seed, [round(s, 2) for s in curve.scores], round(curve.seconds[-1]), "s", flush=True)


def table(curves: Sequence[Curve]) -> str:
    """CPU seconds to 95 % of lucent's last score (of the best of all, without peers), medians over seeds, and their ratios to lucent's whole run."""
    of = {c.seed: c for c in curves if c.who == "lucent"}
    best = {s: max(max(c.scores) for c in curves if c.seed == s) for s in {c.seed for c in curves}}
    mei = {c.seed: c for c in curves if c.who.startswith("mei")}
    lines = [
        f"{'who':<30}{'last score':>11}{'seconds to':>12}{'/ lucent 512':>14}{'/ lucent to it':>15}{'/ mei to it':>13}"
    ]
    for who in dict.fromkeys(c.who for c in curves):
        mine = [c for c in curves if c.who == who]
        goals = [SHARE * (of[c.seed].scores[-1] if of else best[c.seed]) for c in mine]
        seconds = [c.seconds_to(g) for c, g in zip(mine, goals, strict=True)]
        whole = [t / of[c.seed].seconds[-1] for c, t in zip(mine, seconds, strict=True)] if of else [float("nan")]
        first = (
            [ratio(t, of[c.seed].seconds_to(g)) for c, t, g in zip(mine, seconds, goals, strict=True)]
            if of
            else [float("nan")]
        )
        third = (
            [ratio(t, mei[c.seed].seconds_to(g)) for c, t, g in zip(mine, seconds, goals, strict=True)]
            if mei
            else [float("nan")]
        )
        last = statistics.median(c.scores[-1] for c in mine)
        lines.append(
            f"{who:<30}{last:>11.2f}{statistics.median(seconds):>12.1f}{statistics.median(whole):>14.3f}{statistics.median(first):>15.3f}"
            f"{statistics.median(third):>13.3f}"  # nan: it did not get there itself
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
