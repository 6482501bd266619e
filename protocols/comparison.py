"""``stimsynth fit --compare``: readouts and backbones side by side on a project's own recording, in a table and a figure."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders.analysis import LayerGradient, layer_gradient
from encoders.candidates import Candidate, read_candidates
from encoders.compare import CandidateScore, Comparison, compare
from encoders.fit import PRESETS
from encoders.metrics import split_half_reliability
from encoders.split import group_names, hold_out

from .dataset import gather
from .errors import DataError
from .figures import new_figure
from .files import write_atomically, write_json, write_text
from .progress import Reporter
from .session import Project

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def read_comparison(path: Path, layers: Sequence[str]) -> list[Candidate]:
    """The candidates of a TOML file.

    Raises
    ------
    DataError
        F01: the file is missing, is no TOML, or names what does not exist.
    """
    try:
        with path.open("rb") as handle:
            return read_candidates(tomllib.load(handle), layers=layers)
    except (OSError, tomllib.TOMLDecodeError, ValueError, TypeError) as error:
        raise DataError(
            str(path),
            found=str(error),
            expected="a TOML file with [[candidate]] tables: name, readout and, where wanted, layers, backbone, combine, options",
            cause="a mistyped name, or another file",
            fix="start from scripts/readouts.toml of the source, which holds every readout",
            code="F01",
        ) from error


def compare_readouts(
    project: Project, path: Path, *, device: str = "cpu", progress: Reporter | None = None
) -> Comparison:
    """Compare the candidates of `path` on the project's baseline; writes ``fitted/comparison.{json,csv,png}``.

    The held-out photographs take no part: what is chosen here can still be scored on them. Sites below reliability_fit are left out.
    """
    settings = project.config.encoder
    candidates = read_comparison(path, settings.layers or PRESETS[settings.preset])
    data = gather(project, [])
    names = group_names(data.pixels, data.groups)
    keep = ~hold_out(names, settings.holdout_fraction, seed=settings.seed)
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    index = np.where(data.image_index >= 0, number[data.image_index], -1)
    columns = np.arange(len(data.site_ids))
    if data.averaged_over is None:
        reliability = split_half_reliability(data.values, index, n_images=int(keep.sum()), seed=settings.seed)
        columns = np.flatnonzero(reliability >= settings.reliability_fit)
    if not len(columns):
        raise DataError(
            str(project.folder),
            found=f"no site with a reliability of at least {settings.reliability_fit}",
            expected="some sites that answer alike to repeats of one image",
            cause="image ids and responses were joined wrongly, or there are too few repeats",
            fix="look at the recording with `stimsynth fit` first",
            code="F02",
        )
    found = compare(
        candidates,
        data.pixels[keep],
        data.values[:, columns],
        index,
        site_ids=[data.site_ids[u] for u in columns],
        coordinates=None if data.coordinates is None else data.coordinates[columns],
        groups=[name for name, kept in zip(names, keep, strict=True) if kept],
        folds=settings.folds,
        seed=settings.seed,
        averages=data.averaged_over is not None,
        repeats=data.averaged_over,
        device=device,
        cache=project.folder / "cache",
        progress=progress,
    )
    areas = [data.areas[u] for u in columns] if data.areas else []
    places = None if data.coordinates is None else data.coordinates[columns]
    save_comparison(found, project.fitted / "comparison", areas=areas, places=places)
    return found


def save_comparison(
    found: Comparison, stem: Path, *, areas: Sequence[str] = (), places: NDArray[np.float64] | None = None
) -> None:
    """Write ``stem.json`` (all), ``stem.csv`` (one line a candidate and site) and ``stem.png``; `areas` and `places` (U, d) of the sites."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["candidate", "site_id", "r", "r_nc", "reliability", "best_layer"])
    for score in (*found.scores, found.chosen):
        layers = usual_layers(score)
        for u, site in enumerate(found.site_ids):
            numbers = [f"{v:.4f}" if np.isfinite(v) else "" for v in (score.r[u], score.r_nc[u], found.reliability[u])]
            table.writerow([score.candidate.name, site, *numbers, layers[u]])
    write_text(stem.with_suffix(".csv"), buffer.getvalue())
    gradient = area_gradient(layer_search(found), areas)
    figure = comparison_figure(found, gradient, places)
    write_atomically(stem.with_suffix(".png"), lambda path: figure.savefig(path, format="png", dpi=130))
    record = found.to_dict()
    if gradient is not None:
        by_area = {
            a: [float(m), int(n)] for a, m, n in zip(gradient.areas, gradient.mean_layer, gradient.n_sites, strict=True)
        }
        record["layer_gradient"] = {"mean_layer_and_sites": by_area, "statistic": gradient.statistic, "p": gradient.p}
    write_json(stem.with_suffix(".json"), record)


def layer_search(found: Comparison) -> CandidateScore:
    """The candidate with the most layers to choose from."""
    return max(found.scores, key=lambda score: len(score.candidate.groups))


def area_gradient(score: CandidateScore, areas: Sequence[str]) -> LayerGradient | None:
    """Mean best layer by area, with its permutation test; None where fewer than two areas are named."""
    if not areas or len({a for a in areas if a}) < 2 or len(score.candidate.groups) < 2:
        return None
    named = np.array([bool(a) for a in areas])
    best = np.array([np.bincount(column).argmax() for column in score.best_layer.T])
    return layer_gradient(best[named], [a for a in areas if a])


def usual_layers(score: CandidateScore) -> list[str]:
    """The layer that explains most in inner folds, for every site the one that most outer folds found."""
    names = ["+".join(group) for group in score.candidate.groups]
    return [names[np.bincount(column, minlength=len(names)).argmax()] for column in score.best_layer.T]


def comparison_figure(
    found: Comparison, gradient: LayerGradient | None = None, places: NDArray[np.float64] | None = None
) -> Figure:
    """One row a candidate: every site's score, the median and its interval. Beside it the layers that sites prefer: how many, their mean by
    area where areas are named, and on the cortex where places are known (of a topographic readout its own map).
    """
    rows = found.to_dict()["candidates"]
    corrected = any(row["median_r_nc"] is not None for row in rows)
    panels = 2 + (gradient is not None) + (places is not None)
    figure = new_figure(6.5 + 2.6 * (panels - 1), max(2.4, 1.4 + 0.34 * len(rows)))
    axes = figure.subplots(1, panels, width_ratios=[3] + [1.3] * (panels - 1))
    draw_scores(axes[0], found, rows, corrected)
    search = layer_search(found)
    names = ["+".join(group) for group in search.candidate.groups]
    usual = usual_layers(search)
    axes[1].barh(range(len(names)), [usual.count(name) for name in names], color="#6baed6")
    axes[1].set_yticks(range(len(names)), names)
    axes[1].invert_yaxis()
    axes[1].set_xlabel("sites best predicted")
    axes[1].set_title(search.candidate.name, fontsize=9)
    if gradient is not None:
        axes[2].plot(range(len(gradient.areas)), gradient.mean_layer, "o-", color="#08519c")
        axes[2].set_xticks(range(len(gradient.areas)), gradient.areas)
        axes[2].set_ylabel("mean best layer (0 = first)")
        axes[2].set_title(f"layer by area, p {gradient.p:.2g}", fontsize=9)
    if places is not None:
        draw_layer_map(axes[-1], found, places, [names.index(name) for name in usual])
    return figure


def draw_scores(axes: Any, found: Comparison, rows: list[dict[str, Any]], corrected: bool) -> None:
    """Sites as points, median and interval on top."""
    for y, (row, score) in enumerate(zip(rows, (*found.scores, found.chosen), strict=True)):
        values = score.r_nc if corrected else score.r
        jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
        axes.plot(values, y + jitter, ".", color="#9ecae1", markersize=4, zorder=1)
        axes.plot(row["interval"], [y, y], color="#08519c", linewidth=2.5, zorder=2)
        axes.plot(row["median_r_nc"] if corrected else row["median_r"], y, "o", color="#08519c", zorder=3)
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("noise-corrected r, images left out" if corrected else "r with the averages, images left out")
    axes.grid(axis="x", alpha=0.3)


def draw_layer_map(axes: Any, found: Comparison, places: NDArray[np.float64], best: Sequence[int]) -> None:
    """Sites on the cortex, coloured by the mean layer of the topographic readout's weights, or else by the best layer."""
    weighed = next((score for score in found.scores if score.layer_weights is not None), None)
    colour, title = np.array(best, float), "best layer"
    if weighed is not None and weighed.layer_weights is not None:
        colour = weighed.layer_weights @ np.arange(weighed.layer_weights.shape[1])
        title = f"mean layer, {weighed.candidate.name}"
    drawn = axes.scatter(places[:, 0], places[:, 1], c=colour, cmap="viridis", s=24)
    axes.figure.colorbar(drawn, ax=axes)
    axes.set_aspect("equal")
    axes.set_xlabel("x (um)")
    axes.set_ylabel("y (um)")
    axes.set_title(title, fontsize=9)
