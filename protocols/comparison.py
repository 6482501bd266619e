"""``stimsynth fit --compare``: readouts and backbones side by side on a project's own recording, in a table and a figure."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
        groups=[name for name, kept in zip(names, keep, strict=True) if kept],
        folds=settings.folds,
        seed=settings.seed,
        averages=data.averaged_over is not None,
        repeats=data.averaged_over,
        device=device,
        cache=project.folder / "cache",
        progress=progress,
    )
    save_comparison(found, project.fitted / "comparison")
    return found


def save_comparison(found: Comparison, stem: Path) -> None:
    """Write ``stem.json`` (all), ``stem.csv`` (one line a candidate and site) and ``stem.png``."""
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["candidate", "site_id", "r", "r_nc", "reliability", "best_layer"])
    for score in (*found.scores, found.chosen):
        layers = usual_layers(score)
        for u, site in enumerate(found.site_ids):
            numbers = [f"{v:.4f}" if np.isfinite(v) else "" for v in (score.r[u], score.r_nc[u], found.reliability[u])]
            table.writerow([score.candidate.name, site, *numbers, layers[u]])
    write_text(stem.with_suffix(".csv"), buffer.getvalue())
    figure = comparison_figure(found)
    write_atomically(stem.with_suffix(".png"), lambda path: figure.savefig(path, format="png", dpi=130))
    write_json(stem.with_suffix(".json"), found.to_dict())


def usual_layers(score: CandidateScore) -> list[str]:
    """The layer that explains most in inner folds, for every site the one that most outer folds found."""
    names = ["+".join(group) for group in score.candidate.groups]
    return [names[np.bincount(column, minlength=len(names)).argmax()] for column in score.best_layer.T]


def comparison_figure(found: Comparison) -> Figure:
    """One row a candidate: every site's score, the median and its interval; beside it, which layers the sites prefer."""
    rows = found.to_dict()["candidates"]
    corrected = any(row["median_r_nc"] is not None for row in rows)
    figure = new_figure(9.5, 1.4 + 0.34 * len(rows))
    scores, layers = figure.subplots(1, 2, width_ratios=[3, 1.2])
    for y, (row, score) in enumerate(zip(rows, (*found.scores, found.chosen), strict=True)):
        values = score.r_nc if corrected else score.r
        jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
        scores.plot(values, y + jitter, ".", color="#9ecae1", markersize=4, zorder=1)
        scores.plot(row["interval"], [y, y], color="#08519c", linewidth=2.5, zorder=2)
        scores.plot(row["median_r_nc"] if corrected else row["median_r"], y, "o", color="#08519c", zorder=3)
    scores.set_yticks(range(len(rows)), [row["name"] for row in rows])
    scores.invert_yaxis()
    scores.set_xlabel("noise-corrected r, images left out" if corrected else "r with the averages, images left out")
    scores.grid(axis="x", alpha=0.3)
    search = max(found.scores, key=lambda score: len(score.candidate.groups))
    names = ["+".join(group) for group in search.candidate.groups]
    counts = [usual_layers(search).count(name) for name in names]
    layers.barh(range(len(names)), counts, color="#6baed6")
    layers.set_yticks(range(len(names)), names)
    layers.invert_yaxis()
    layers.set_xlabel("sites best predicted")
    layers.set_title(search.candidate.name, fontsize=9)
    return figure
