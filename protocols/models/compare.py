"""``stimsynth fit --compare``: readouts and backbones side by side on a project's own recording, in a table and a
figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.fitting.candidates import Candidate, read_candidates
from encoders.fitting.compare import compare
from encoders.fitting.comparison import Comparison, area_gradient, layer_search, usual_layers
from encoders.fitting.options import PRESETS
from encoders.reliability import reliability_of_means
from encoders.splits import hold_out
from protocols.disk.files import write_atomically, write_json
from protocols.disk.locks import alone
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.recordings.dataset import gather

from .candidates_file import read_candidate_table, refused_candidates
from .compare_figure import comparison_figure
from .control import with_control
from .fit import names_of_groups


def read_comparison(path: Path, layers: Sequence[str]) -> list[Candidate]:
    """The candidates of a TOML file.

    Raises
    ------
    DataError
        F03: the file is missing, is no TOML, or names what does not exist.
    """
    try:
        return read_candidates(read_candidate_table(path), layers=layers)
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise refused_candidates(path, error) from error


@alone("compare")
def compare_readouts(
    project: Project, path: Path, *, device: str = "cpu", progress: Reporter | None = None
) -> Comparison:
    """Compare the candidates of `path` on the project's baseline; writes ``fitted/comparison.{json,csv,png}``.

    The held-out photographs take no part: what is chosen here can still be scored on them. Sites below
    reliability_fit are left out.
    """
    project = project.for_stage()
    settings = project.config.encoder.settled()
    candidates = read_comparison(path, settings.layers or PRESETS[settings.preset or "diverse"])
    data = gather(project, [])
    names = names_of_groups(project, data)
    keep = ~hold_out(names, settings.holdout_fraction, seed=settings.seed)
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    index = np.where(data.image_index >= 0, number[data.image_index], -1)
    columns, unrepeated = np.arange(len(data.site_ids)), False
    if data.averaged_over is None:
        reliability = reliability_of_means(data.values, index, n_images=int(keep.sum()))
        columns = np.flatnonzero(reliability >= settings.reliability_fit)
        unrepeated = bool(np.isnan(reliability).all())
    if not len(columns):
        raise _no_reliable_site(project, unrepeated=unrepeated)
    comparison = compare(
        candidates,
        data.pixels[keep],
        data.values[:, columns],
        image_index=index,
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
    comparison = with_control(comparison, project, data, keep=keep, progress=progress)
    areas = [data.areas[u] for u in columns] if data.areas else []
    places = None if data.coordinates is None else data.coordinates[columns]
    save_comparison(comparison, project.fitted / "comparison", areas=areas, places=places)
    return comparison


def _no_reliable_site(project: Project, *, unrepeated: bool) -> DataError:
    """F04; `unrepeated`: nothing is known of the trial noise."""
    return DataError(
        str(project.folder),
        found=f"no site with a reliability of at least {project.config.encoder.reliability_fit}",
        expected="some sites that answer alike to repeats of one image",
        cause=(
            "the file holds one row per picture, so that nothing is known of the trial noise"
            if unrepeated
            else "image ids and responses were joined wrongly, or there are too few repeats"
        ),
        fix=(
            "if the rows are averages, write the number of trials behind each as trial/averaged_over into the file"
            if unrepeated
            else "look at the recording with `stimsynth fit` first"
        ),
        code="F04",
    )


def save_comparison(
    found: Comparison, stem: Path, *, areas: Sequence[str] = (), places: NDArray[np.float64] | None = None
) -> None:
    """Write ``stem.json`` (all), ``stem.csv`` (one line per candidate and site) and ``stem.png``; `areas` and
    `places` (U, d) of the sites.
    """
    rows = []
    for score in (*found.scores, found.chosen):
        layers = usual_layers(score)
        for u, site in enumerate(found.site_ids):
            numbers = [f"{v:.4f}" if np.isfinite(v) else "" for v in (score.r[u], score.r_nc[u], found.reliability[u])]
            rows.append([score.candidate.name, site, *numbers, layers[u]])
    header = ["candidate", "site_id", "r", "r_nc", "reliability", "best_layer"]
    write_table(stem.with_suffix(".csv"), header, rows)
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
