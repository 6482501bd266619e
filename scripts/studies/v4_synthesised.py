"""Which encoder predicts what real V4 sites answer to synthesised images? Recording 210305 (Cowley et al.).

    python scripts/studies/v4_synthesised.py --data ../shared/data/v4_cowley2023 --trunk trunks/enc_... --rows default trunk_population

Every encoder is fitted by `fit_encoder` to the 300 photographs (100 photographs in three versions each, which never lie on two sides of
a split), and predicts the real responses to the 100 synthesised images, which take no part in any fit. `photographs`: left-out
predictions of five fits, each without a fifth of the photographs. Settings are chosen on the sites 0, 2, 4, ... and reported on the
others. A trunk is one network tuned on other recordings (`--make-trunk FOLDER --sessions ...`); it never saw 210305.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble, FitOptions, Recording, correlation, fit_encoder, group_folds, to_images
from encoders.analysis.geometry import input_geometry
from encoders.splits import near_duplicates
from encoders.tuning.descent import TuningSchedule
from encoders.tuning.together import TrunkPart, tune_together
from encoders.tuning.trunk import join_encoders
from protocols.arrays import Bools, Floats, Pixels
from protocols.simulate.v4 import read_averages, read_images

SESSION, SYNTHESISED, VERSIONS = (
    "210305",
    100,
    50,
)  # images 0 to 99 are synthesised; 50 photographs per block of versions
OTHERS = ("201025", "210224", "210225", "210322", "210325")
FOLDS, STOPPING_FOLDS, RESAMPLES = 5, 12, 10_000
LOOKED_AT = 16  # photographs for the figures of the input gradient

Fitted = Callable[["Data", Bools], Encoder | Ensemble]  # encoder of the photographs that are not held out


@dataclass(frozen=True)
class Data:
    """Images (N, H, W, 3) and mean responses (N, U); the photographs come after the synthesised images."""

    pixels: Pixels
    means: Floats
    cache: Path | None = None

    @property
    def groups(self) -> list[int]:
        """The photograph that each of the 300 images is a version of."""
        place = np.arange(len(self.pixels) - SYNTHESISED)
        blocks = place // (3 * VERSIONS)
        return [int(g) for g in blocks * VERSIONS + place % VERSIONS]

    def fit(
        self, held_out: Bools, options: FitOptions, networks_from: Encoder | Ensemble | None = None
    ) -> Encoder | Ensemble:
        """An encoder of the photographs that are not `held_out` (300,); where none is, of all of them (`final_fit`)."""
        whole = not held_out.any()
        recording = Recording(
            pixels=self.pixels[SYNTHESISED:],
            values=self.means[SYNTHESISED:],
            image_index=np.arange(len(self.pixels) - SYNTHESISED),
            site_ids=[f"s{u}" for u in range(self.means.shape[1])],
            unit="spikes",
            field_of_view_deg=1.0,  # takes no part
            background=128,
            colour="rgb",
            groups=self.groups,
            held_out=group_folds(self.groups, FOLDS, seed=0).numpy() == 0 if whole else held_out,
            averages=True,
        )
        pair = fit_encoder(recording, _with(options, final_fit=whole), networks_from=networks_from, cache=self.cache)
        return pair.encoder if pair.final is None else pair.final


def _with(options: FitOptions, **changes: Any) -> FitOptions:
    return FitOptions(**{name: getattr(options, name) for name in options.__dataclass_fields__} | changes)


def rows(trunk: Encoder | Ensemble | None) -> dict[str, Fitted]:
    """The encoders that are compared, by name."""
    two = "two_networks"

    def tuned_first(data: Data, held_out: Bools) -> Encoder | Ensemble:
        tuned = data.fit(held_out, FitOptions(layers=two, fine_tune=8))
        return data.fit(held_out, FitOptions(layers=two, readout="ridge"), tuned)

    def plain(start: Encoder | Ensemble | None = None, **options: Any) -> Fitted:
        return lambda data, held_out: data.fit(held_out, FitOptions(**options), start)

    found = {
        "default": plain(),
        "ridge": plain(readout="ridge"),
        "two_networks": plain(layers=two),
        "two_networks_ridge": plain(layers=two, readout="ridge"),
        "tuned": plain(layers=two, fine_tune=8),
        "full": plain(layers=two, readout="ridge+factorised", fine_tune=8),
        "tuned_ridge": tuned_first,
    }
    if trunk is not None:
        found |= {
            f"trunk_{kind}": plain(trunk, layers=two, readout=kind) for kind in ("factorised", "ridge", "population")
        }
        found |= {"trunk_population_tuned": plain(trunk, layers=two, readout="population", fine_tune=8)}
    return found


def mean_prediction(encoder: Encoder | Ensemble, pixels: Pixels) -> Floats:
    """Mean over members, (N, U)."""
    with torch.no_grad():
        parts = [encoder(to_images(pixels[i : i + 50])) for i in range(0, len(pixels), 50)]
    answers = torch.cat(parts, -2)
    return (answers.mean(0) if answers.ndim == 3 else answers).double().numpy()


def run_row(data: Data, fitted: Fitted, *, photographs: bool) -> dict[str, Any]:
    """Correlations (U,) of one encoder, on synthesised images and on left-out photographs, and the geometry of its gradient."""
    start, n = time.process_time(), len(data.pixels) - SYNTHESISED
    encoder = fitted(data, np.zeros(n, bool))
    found: dict[str, Any] = {
        "synthesised": correlation(mean_prediction(encoder, data.pixels[:SYNTHESISED]), data.means[:SYNTHESISED])
    }
    if photographs:
        fold_of, left_out = group_folds(data.groups, FOLDS, seed=0).numpy(), np.empty_like(data.means[SYNTHESISED:])
        for fold in range(FOLDS):
            out = fold_of == fold
            left_out[out] = mean_prediction(fitted(data, out), data.pixels[SYNTHESISED:][out])
        found["photographs"] = correlation(left_out, data.means[SYNTHESISED:])
    looked_at = data.pixels[SYNTHESISED :: n // LOOKED_AT][:LOOKED_AT]
    geometry = input_geometry(encoder, to_images(looked_at), sd=encoder.natural_sd)
    found |= {"participation": geometry.participation, "drop": geometry.drop}
    return found | {"cpu_seconds": time.process_time() - start, "members": len(encoder.readouts)}


def interval(values: Floats, of: Callable[..., Any]) -> tuple[float, float]:
    """Bootstrap 95 % interval (percentiles) over sites."""
    rng = np.random.default_rng(0)
    drawn = of(values[rng.integers(0, len(values), (RESAMPLES, len(values)))], 1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def summary(values: Floats) -> dict[str, Any]:
    """Median and mean over sites with their intervals: all, the sites that choose (even), the sites that report (odd)."""
    sides = {"all": values, "choosing": values[::2], "reporting": values[1::2]}
    return {
        side: {
            "median": float(np.median(part)),
            "median_interval": interval(part, np.median),
            "mean": float(part.mean()),
            "mean_interval": interval(part, np.mean),
        }
        for side, part in sides.items()
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """One row per encoder: median / mean over sites, [interval of the median] of all."""
    head = f"{'encoder':<24} {'images':<12} {'all':<32} {'choosing':<14} {'reporting':<14}"
    lines = [f"{head} {'participation':>13} {'drop':>6}"]
    for name, found in results.items():
        for kind in ("synthesised", "photographs"):
            if kind not in found:
                continue
            text = {}
            for side, part in summary(found[kind]).items():
                text[side] = f"{part['median']:.3f} / {part['mean']:.3f}"
                if side == "all":
                    low, high = part["median_interval"]
                    text[side] += f" [{low:.3f}, {high:.3f}]"
            line = f"{name:<24} {kind:<12} {text['all']:<32} {text['choosing']:<14} {text['reporting']:<14}"
            if kind == "synthesised":
                line += f" {np.nanmedian(found['participation']):>13.3f} {np.median(found['drop']):>6.2f}"
            lines.append(line)
    return "\n".join(lines)


def make_trunk(
    data: Path, sessions: Sequence[str], schedule: TuningSchedule, *, folds: int, cache: Path | None
) -> Ensemble:
    """One network tuned on several recordings, with readouts of all their sites."""
    parts = []
    for name in sessions:
        pixels, means = read_images(data, name), read_averages(data, name)
        groups = near_duplicates(pixels)
        stopping = group_folds(groups, STOPPING_FOLDS, seed=0).numpy() == 0
        recording = Recording(
            pixels=pixels,
            values=means,
            image_index=np.arange(len(pixels)),
            site_ids=[f"s{u}" for u in range(means.shape[1])],
            unit="spikes",
            field_of_view_deg=1.0,  # takes no part
            background=128,
            colour="rgb",
            groups=groups,
            held_out=stopping,
            averages=True,
        )
        encoder = fit_encoder(recording, FitOptions(layers="two_networks", folds=folds), cache=cache).encoder
        columns = [int(site[1:]) for site in encoder.site_ids]
        parts.append(
            TrunkPart(
                encoder=encoder,
                pixels=pixels,
                targets=means[:, columns],
                fitted=~stopping,
                stopping=stopping,
                groups=groups,
            )
        )
        print(f"{name}: {len(columns)} sites fitted", file=sys.stderr, flush=True)
    trunk = tune_together(parts, schedule, progress=lambda *where: print(*where, file=sys.stderr, flush=True))
    print(f"errors {trunk.stopping_errors}, pass {trunk.epoch} kept", file=sys.stderr)
    return join_encoders(trunk.encoders, [f"r{name}" for name in sessions])


def trunk_in(path: Path) -> Path:
    """The encoder at `path`, or the only one in it."""
    inside = sorted(path.glob("enc_*"))
    if len(inside) > 1:
        raise SystemExit(f"{path}: found {len(inside)} trunks, expected one; name it: --trunk {inside[0]}")
    return inside[0] if inside else path


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder v4_cowley2023")
    parser.add_argument(
        "--trunk",
        type=Path,
        help="encoder of earlier recordings that --make-trunk wrote, or the folder that it was written into",
    )
    parser.add_argument("--rows", nargs="+", help="encoders to compare; default: all")
    parser.add_argument("--no-photographs", action="store_true", help="skip the five fits that predict photographs")
    parser.add_argument("--cache", type=Path, help="folder that keeps features")
    parser.add_argument("--json", type=Path, help="write the correlations of every site here")
    parser.add_argument("--make-trunk", type=Path, help="compare nothing: tune a trunk on --sessions and save it here")
    parser.add_argument("--sessions", nargs="+", default=list(OTHERS))
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--adversarial-step", type=float, default=0.0, help="levels of 255")
    parser.add_argument("--decay", type=float, default=0.0)
    parser.add_argument("--averaged", type=int, default=0, help="passes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    needed = options.sessions if options.make_trunk else [SESSION]
    missing = [s for s in needed if not (options.data / f"images/images_{s}.zip").is_file()]
    if missing:
        print(f"{options.data}: no recording {missing[0]} here; pass the folder v4_cowley2023", file=sys.stderr)
        return 3
    if options.make_trunk:
        schedule = TuningSchedule(
            epochs=options.passes,
            adversarial_step=options.adversarial_step,
            decay=options.decay,
            averaged=options.averaged,
        )
        trunk = make_trunk(options.data, options.sessions, schedule, folds=options.folds, cache=options.cache)
        print(trunk.save(options.make_trunk))
        return 0
    data = Data(read_images(options.data, SESSION), read_averages(options.data, SESSION), options.cache)
    known = rows(Encoder.load(trunk_in(options.trunk)) if options.trunk else None)
    unknown = [name for name in options.rows or [] if name not in known]
    if unknown:
        print(f"row {unknown[0]}: expected one of {', '.join(known)} (trunk rows need --trunk)", file=sys.stderr)
        return 2
    results = {}
    for name in options.rows or known:
        results[name] = run_row(data, known[name], photographs=not options.no_photographs)
        print(f"{name}: {results[name]['cpu_seconds']:.0f} CPU s", file=sys.stderr, flush=True)
    print(table(results))
    if options.json is not None:
        plain = {
            n: {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in r.items()} for n, r in results.items()
        }
        options.json.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
