"""``stimsynth fit --compare``: readouts and backbones side by side on a project's own recording, in a table and a
figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.fitting.candidates import read_candidates
from encoders.fitting.comparison import Comparison, area_gradient, layer_search, usual_layers
from protocols.disk.files import write_atomically, write_json
from protocols.disk.locks import alone
from protocols.disk.tables import write_table
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.shards.engines import Engine

from .candidates_file import read_candidate_table, refused_candidates
from .compare_figure import comparison_figure
from .compare_shards import folds, forget, layers_of, prepared
from .control import with_control


def checked_table(path: Path, layers: Sequence[str]) -> dict[str, Any]:
    """The parsed TOML file of candidates, of which each was tried; `layers` of those that name none.

    Raises
    ------
    DataError
        F03: the file is missing, is no TOML, or names what does not exist.
    """
    table = read_candidate_table(path)
    try:
        read_candidates(table, layers=layers)
    except (ValueError, TypeError) as error:
        raise refused_candidates(path, error) from error
    return table


@alone("compare")
def compare_readouts(
    project: Project,
    path: Path,
    *,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> Comparison:
    """Compare the candidates of `path` on the project's baseline; writes ``fitted/comparison.{json,csv,png}``.

    The held-out photographs take no part: what is chosen here can still be scored on them. Sites below
    reliability_fit are left out. Folds are fitted where `engine` runs them; None = here, one after the other.
    """
    project = project.for_stage()
    table = checked_table(path, layers_of(project.config.encoder.settled()))
    found = prepared(project, table, device=device)
    fits = folds(project, table, found.bench, device=device, engine=engine, progress=progress)
    comparison = with_control(found.bench.comparison(fits), project, found.data, keep=found.keep, progress=progress)
    areas = [found.data.areas[u] for u in found.columns] if found.data.areas else []
    places = None if found.data.coordinates is None else found.data.coordinates[found.columns]
    save_comparison(comparison, project.fitted / "comparison", areas=areas, places=places)
    forget(project)
    return comparison


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
