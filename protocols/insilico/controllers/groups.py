"""Whether images for two groups of sites lead beyond the photographs: both groups at once, by encoder and validator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from protocols.disk.drawing import new_figure
from protocols.disk.files import write_atomically
from protocols.disk.tables import write_table
from protocols.insilico.opened import batch_z, both_z
from protocols.models.pair import load_pair
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from synth import StimulusBatch
from synth.objectives.factories import GROUP_MODES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["JointRange", "beyond", "draw", "group_means", "group_names", "group_rows", "joint_range"]


def beyond(wanted: Floats, natural: Floats) -> NDArray[np.bool_]:
    """Which images are beyond the joint range of the photographs.

    Both groups lie on the side of the natural mean that is asked for, and no photograph reaches as far in both at once.
    Gifford et al. (2025) ask the same of a baseline in place of the photographs' own frontier.

    Parameters
    ----------
    wanted : array of shape (S, 2)
        Mean z of both groups, with the sign of what is asked: higher is better.
    natural : array of shape (N, 2)
        The same of the photographs.

    Returns
    -------
    bool array of shape (S,)
    """
    reached = np.any(np.all(natural[None] >= wanted[:, None], axis=-1), axis=1)
    result: NDArray[np.bool_] = np.asarray(np.all(wanted > 0, axis=-1) & ~reached, dtype=np.bool_)
    return result


def group_rows(batch: StimulusBatch) -> dict[int, Mapping[str, Any]]:
    """The images that were made for two groups of sites, with the term of their row."""
    rows = batch.objective_description["rows"]
    found = {i: next((t for t in row["terms"] if t["kind"] == "groups"), None) for i, row in enumerate(rows)}
    return {i: term for i, term in found.items() if term is not None}


def group_means(z: Floats, term: Mapping[str, Any], site_ids: Sequence[str]) -> Floats:
    """Mean z of both groups of a term, with the sign of what is asked: (S, U) -> (S, 2)."""
    columns = np.array([list(site_ids).index(site) for site in term["among"]])
    second = np.array(term["values"]) > 0
    means = np.stack([z[:, columns[~second]].mean(1), z[:, columns[second]].mean(1)], 1)
    result: Floats = means * np.array([term["settings"]["first"], term["settings"]["second"]])
    return result


@dataclass(frozen=True)
class JointRange:
    """Images for two groups of sites, against the photographs.

    Attributes
    ----------
    rows : list of dict
        One per row of the objective: ``row``, ``mode``, ``images``, ``first_sites`` and ``second_sites``, and, by
        encoder and validator (``validator_``), how many images are `beyond`, and the mean z of both groups of its best
        image, ``first`` and ``second``.
    planes : list of dict
        One per pair of groups: their names, the mean z of both by the encoder of every photograph and of every image,
        (N, 2) and (S, 2), the modes of the images, and of each mode the pixels of its best one.
    """

    rows: list[dict[str, Any]]
    planes: list[dict[str, Any]]

    def text(self) -> str:
        """For people."""
        head = "beyond the photographs' joint range (both groups on the wanted side, no photograph as far in both):"
        return "\n".join([head, *map(_line, self.rows)])

    def write(self, folder: Path) -> None:
        """Write ``groups.csv``, and ``groups.png`` with one line of panels per pair of groups."""
        write_table(folder / "groups.csv", list(self.rows[0]), [list(row.values()) for row in self.rows])
        figure = draw(self.planes)
        write_atomically(folder / "groups.png", lambda path: figure.savefig(path, format="png", dpi=100))


def joint_range(project: Project, batch: StimulusBatch, *, device: str = "cpu") -> JointRange:
    """For every row of two groups the share of its images beyond the joint range of the project's photographs.

    Predictions are compared with predictions: the photographs' are those of the same network.
    """
    encoder, validator = (e.to(device) for e in load_pair(project, project.newest_fit() or 1))
    natural = both_z((encoder, validator), NaturalImages.load(project.data).pixels())
    made = batch_z((encoder, validator), batch)
    rows: dict[str, dict[str, Any]] = {}
    planes: dict[str, dict[str, Any]] = {}
    best = set(batch.best_indices())
    for i, term in group_rows(batch).items():
        name, signs = batch.row_names[i], np.array([term["settings"]["first"], term["settings"]["second"]])
        declared = str(batch.objective_description["rows"][i])  # a name holds the first site of each group alone
        record = rows.setdefault(declared, _empty(name, term, signs))
        record["images"] += 1
        for prefix, z, photographs in zip(("", "validator_"), made, natural, strict=True):
            wanted = group_means(z[i : i + 1], term, encoder.site_ids)
            record[f"{prefix}beyond"] += int(beyond(wanted, group_means(photographs, term, encoder.site_ids))[0])
            if i in best:
                first, second = (signs * wanted[0]).tolist()
                record |= {f"{prefix}first": first, f"{prefix}second": second}
        plain = {**term, "settings": {"first": 1.0, "second": 1.0}}
        plane = planes.setdefault(
            str((term["among"], term["values"])),
            {
                "names": group_names(term),
                "natural": group_means(natural[0], plain, encoder.site_ids),
                "made": [],
                "modes": [],
                "best": {},
            },
        )
        plane["made"].append(group_means(made[0][i : i + 1], plain, encoder.site_ids)[0])
        plane["modes"].append(record["mode"])
        if i in best:
            plane["best"][record["mode"]] = batch.images[i]
    return JointRange(list(rows.values()), list(planes.values()))


def _empty(name: str, term: Mapping[str, Any], signs: Floats) -> dict[str, Any]:
    mode = next(mode for mode, asked in GROUP_MODES.items() if asked == tuple(signs))
    first, second = (" ".join(map(str, group)) for group in _groups(term))
    sites = {"first_sites": first, "second_sites": second}
    return {"row": name, "mode": mode, "images": 0, "beyond": 0, "validator_beyond": 0, **sites}


def _groups(term: Mapping[str, Any]) -> list[list[Any]]:
    """The sites of both groups of a term."""
    second = np.array(term["values"]) > 0
    return [[site for site, s in zip(term["among"], second, strict=True) if s == which] for which in (False, True)]


def _line(record: Mapping[str, Any]) -> str:
    count = record["images"]
    return (
        f"  {record['mode']:<10} {record['beyond']} of {count} images, by the validator {record['validator_beyond']}; "
        f"best image: mean z {record['first']:+.2f} and {record['second']:+.2f}, by the validator "
        f"{record['validator_first']:+.2f} and {record['validator_second']:+.2f}"
    )


def group_names(term: Mapping[str, Any]) -> tuple[str, str]:
    """A name for each of both groups: its first site, and how many more there are."""
    names = [f"{group[0]} and {len(group) - 1} more" if len(group) > 1 else str(group[0]) for group in _groups(term)]
    return names[0], names[1]


def draw(planes: Sequence[Mapping[str, Any]]) -> Figure:
    """Mean z of both groups: photographs and images of every mode; beside it the best image of each mode."""
    figure = new_figure(3.2 + 1.7 * len(GROUP_MODES), 3.2 * len(planes))
    grid = figure.add_gridspec(len(planes), 1 + len(GROUP_MODES), width_ratios=[1.9, *([1.0] * len(GROUP_MODES))])
    colours = dict(zip(GROUP_MODES, ("#d95f02", "#1b9e77", "#7570b3", "#444444"), strict=True))
    for line, plane in enumerate(planes):
        axis = figure.add_subplot(grid[line, 0])
        axis.scatter(plane["natural"][:, 0], plane["natural"][:, 1], s=6, color="#bbbbbb", label="photographs")
        points, modes = np.array(plane["made"]), np.array(plane["modes"])
        for mode in dict.fromkeys(plane["modes"]):
            chosen = points[modes == mode]
            axis.scatter(chosen[:, 0], chosen[:, 1], s=18, color=colours[mode], label=mode)
        axis.axhline(0, color="#dddddd", zorder=0)
        axis.axvline(0, color="#dddddd", zorder=0)
        axis.set_xlabel(f"{plane['names'][0]}: mean z", fontsize=8)
        axis.set_ylabel(f"{plane['names'][1]}: mean z", fontsize=8)
        axis.legend(fontsize=6)
        for place, (mode, pixels) in enumerate(plane["best"].items()):
            shown = figure.add_subplot(grid[line, 1 + place])
            shown.imshow(np.repeat(pixels, 3, 2) if pixels.shape[-1] == 1 else pixels)
            shown.set_title(mode, fontsize=9, color=colours[mode])
            shown.set_axis_off()
    return figure
