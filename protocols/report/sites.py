"""Site by site on the report page: the grid of controllers of all seeds beside the reference, and the sorted tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.display import Display
from protocols.project.key import Key
from protocols.project.objectives import objective_named
from protocols.recordings.responses import Responses
from protocols.report.figures.sites import Mark, SiteTuning
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow

MOST_TUNINGS = 24


def field_circle(site: Mapping[str, Any] | None, display: Display) -> tuple[float, float, float] | None:
    """Centre x, y and radius (1 SD) of a site's model receptive field, in pixels from the image's upper left corner.

    `site`: its entry in the record of the fit; degrees are from the centre of the image, x to the right, y upwards.
    None where the field is unknown.
    """
    values = [(site or {}).get(f"rf_{name}_deg") for name in ("x", "y", "sd")]
    known = [float(v) for v in values if v is not None and math.isfinite(v)]
    if len(known) < 3 or known[2] <= 0:
        return None
    x, y, sd = (v * display.px_per_deg for v in known)
    return display.width_px / 2 + x, display.height_px / 2 - y, sd


def grids(report: ControlReport, record: Mapping[str, Any], display: Display) -> dict[str, list[dict[str, Any]]]:
    """By objective one line per site: its reference, its controllers (confirmatory first, then by seed), its receptive
    field.
    """
    fits = {s["site_id"]: s for s in record.get("report", {}).get("sites", [])}
    boxes: dict[str, list[dict[str, Any]]] = {}
    for objective in dict.fromkeys(r.objective for r in report.rows):
        rows = [r for r in report.rows if r.objective == objective]
        for site in sorted({r.site for r in rows}):
            mine = sorted((r for r in rows if r.site == site), key=_order)
            line = {
                "site": site,
                "circle": field_circle(fits.get(site), display),
                "reference": mine[0].reference_image,
                "reference_text": _texts(recorded=mine[0].reference),
                "controllers": [_cell(r) for r in mine],
            }
            boxes.setdefault(objective, []).append(line)
    return boxes


def _order(row: ControlRow) -> tuple[bool, int, str]:
    return not row.confirmatory, -1 if row.seed is None else row.seed, row.image_id


def _cell(row: ControlRow) -> dict[str, Any]:
    """One controller of the grid: image, verdict and what stands below it."""
    symbol = objective_named(row.objective).score_name
    return {
        "image": row.image_id,
        "confirmatory": row.confirmatory,
        "verdict": row.verdict,
        "seed": "seed unknown" if row.seed is None else f"seed {row.seed}",
        "text": _texts(recorded=row.measured, predicted=row.predicted, **({symbol: row.score} if symbol else {})),
    }


def _texts(**values: float | None) -> list[str]:
    return [f"{name} {value:.2f}" for name, value in values.items() if value is not None]


def tunings(
    report: ControlReport, key: Key, responses: Responses, *, objective: str, most: int = MOST_TUNINGS
) -> list[SiteTuning]:
    """Sorted responses of the sites with a confirmatory controller of one objective, the first `most` by id.

    Means over all usable trials of this round; the verdicts are computed from the tested trials alone, with block means
    removed.
    """
    rows = sorted((r for r in report.confirmatory(objective) if r.site in responses.site_ids), key=lambda r: r.site)
    images = ImageTrials.of(responses)
    natural = [r for r in key.rows if r.role in ("natural", "reference")]
    source = {r.image_id: r.source_id for r in key.rows}
    listed = []
    for row in rows[:most]:
        marked = {row.image_id: "controller"}
        marked |= {r.image_id: "graded" for r in key.of_role("graded") if source.get(row.image_id, "") in r.parents}
        marked |= {image: kind for kind, image in row.arm_images.items()}
        means, errors = images.means_and_errors(row.site, [r.image_id for r in natural])
        order = np.argsort(-means, kind="stable")[: int(np.isfinite(means).sum())]
        own = np.array([(objective, row.site) in r.reference_for for r in natural], dtype=np.bool_)
        values = zip(
            marked.values(), *(v.tolist() for v in images.means_and_errors(row.site, list(marked))), strict=True
        )
        marks = tuple(Mark(kind, mean, error) for kind, mean, error in values if math.isfinite(mean))
        if len(order):
            listed.append(
                SiteTuning(site=row.site, means=means[order], errors=errors[order], own=own[order], marks=marks)
            )
    return listed


@dataclass(frozen=True)
class ImageTrials:
    """Which usable trials showed which image, looked up once for all sites.

    Attributes
    ----------
    responses : Responses
        The usable trials.
    position : dict of image id to int
    index : int array of shape (T,)
        Position of every trial's image.
    """

    responses: Responses
    position: Mapping[str, int]
    index: Ints

    @classmethod
    def of(cls, responses: Responses) -> ImageTrials:
        """The usable trials of `responses`."""
        usable = responses.usable()
        names, index = np.unique(usable.image_ids, return_inverse=True)
        return cls(usable, {str(name): i for i, name in enumerate(names)}, index.astype(np.int64))

    def means_and_errors(self, site: str, images: Sequence[str]) -> tuple[Floats, Floats]:
        """Mean response of `site` to each of `images` over its usable trials, and standard error; (N,), NaN = unknown
        (as errors of averages).
        """
        values = self.responses.values[:, self.responses.site_ids.index(site)]
        behind = self.responses.averaged_over
        finite = np.isfinite(values)
        weights = np.where(finite, 1.0 if behind is None else behind, 0.0)
        values, length = np.where(finite, values, 0.0), len(self.position)
        counts = np.bincount(self.index, weights, length)
        sums = np.bincount(self.index, weights * values, length)
        means = np.divide(sums, counts, out=np.full(length, np.nan), where=counts > 0)
        about = np.where(finite, values - np.nan_to_num(means)[self.index], 0.0)
        square = np.bincount(self.index, about**2, length)
        several = (counts > 1) & (behind is None)
        error = np.full(length, np.nan)
        error[several] = np.sqrt(square[several] / (counts[several] - 1) / counts[several])
        places = [self.position.get(image, -1) for image in images]
        return tuple(np.append(v, np.nan)[places] for v in (means, error))  # type: ignore[return-value]
