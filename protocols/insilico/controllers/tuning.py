"""Tuning series of controllers: graded contrasts, scales, places and angles, with the curves that are predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.fields.sites import site_fields
from protocols.disk.files import finite_or_none, new_folder, write_atomically, write_json
from protocols.disk.tables import write_table
from protocols.insilico.opened import Opened, batch_z
from protocols.progress import Reporter
from protocols.synthesis.batch import batch_of
from protocols.synthesis.colour import colour_limits
from synth import StimulusBatch
from synth.invariance.tuning import SERIES, half_width, series_images, series_of

from .given import Controllers
from .made import image_names, write_images
from .tuning_figure import draw

__all__ = ["Tuning", "tuning_series", "write_tuning"]

STEP_COLUMNS = (
    "image", "controller", "site", "series", "value", "unit", "identity", "z", "validator_z", "reason",
)  # fmt: skip
WIDTH_COLUMNS = (
    "controller", "site", "series", "unit",
    "z", "below", "above", "best", "validator_z", "validator_below", "validator_above", "validator_best",
)  # fmt: skip


@dataclass(frozen=True)
class Tuning:
    """Tuning series of controllers.

    Attributes
    ----------
    steps : list of dict
        One per controller, series and step, in order; keys are `STEP_COLUMNS`. ``z``: predicted response of the
        controller's site in natural SDs from the natural mean. Without an image (``image`` is "") it is NaN and
        ``reason`` tells why.
    widths : list of dict
        One per controller and series; keys are `WIDTH_COLUMNS`. ``below`` and ``above``: how far the series goes from
        the identity until the response has fallen to half of that at the identity, None where it does not; ``best``:
        the step of the strongest response.
    batch : StimulusBatch
        The images, in the order of `steps`.
    controllers : Controllers
    centres : list of dict
        Of each controller, the point about which it is scaled and turned: ``x_px``, ``y_px``, ``of``.
    """

    steps: list[dict[str, Any]]
    widths: list[dict[str, Any]]
    batch: StimulusBatch
    controllers: Controllers
    centres: list[dict[str, Any]]

    def summary(self) -> str:
        """For people: half-widths per controller and series."""
        without = [step for step in self.steps if step["reason"]]
        count = len(self.controllers)
        lines = [f"{len(self.batch)} images: {count} controller{'s' * (count > 1)} in {len(SERIES)} series, steps that"
                 " halve the response by encoder (validator)"]  # fmt: skip
        for i, name in enumerate(self.controllers.names):
            own = [w for w in self.widths if w["controller"] == i]
            lines.append(f"  {name}: z {own[0]['z']:.2f} ({own[0]['validator_z']:.2f})")
            lines += [f"    {width_text(width)}" for width in own]
        lines += [f"  left out: {len(without)} images; {without[0]['reason']}"] if without else []
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "schema": "tuning/1",
            "controllers": list(self.controllers.names),
            "origin": self.controllers.origin,
            "centres": self.centres,
            "widths": [finite_or_none(width) for width in self.widths],
            "steps": [finite_or_none(step) for step in self.steps],
        }


def width_text(width: dict[str, Any]) -> str:
    """One line on a series: how far each way until the response has halved."""

    def one(prefix: str) -> str:
        far = [width[f"{prefix}{side}"] for side in ("below", "above")]
        return " ".join(
            f"{sign}{'beyond' if d is None else format(d, '.3g')}" for sign, d in zip("-+", far, strict=True)
        )

    unit = "octaves" if width["series"] == "scale" else width["unit"]
    return f"{width['series']:<11} {one('')} ({one('validator_')}) {unit}"


def tuning_series(opened: Opened, controllers: Controllers, *, progress: Reporter | None = None) -> Tuning:
    """Every controller at every step of every series, and what encoder and validator predict.

    Scaling and turning leave the centre of the site's model receptive field in place, or, where it has none inside the
    image, the centre of the image.
    """
    display = opened.project.display
    every = series_of(*display.shape[1:])
    centres = field_centres(opened, controllers.sites)
    limits = contrast_limits(opened)
    steps: list[dict[str, Any]] = []
    pixels: list[NDArray[np.uint8]] = []
    rows: list[int] = []
    for i, site in enumerate(controllers.sites):
        for series in every.values():
            images, reasons = series_images(
                controllers.pixels[i],
                series,
                constraints=opened.recipe["constraints"],
                at_contrast=limits,
                about=(centres[i]["x_px"], centres[i]["y_px"]),
            )
            for value, image, reason in zip(series.values, images, reasons, strict=True):
                about = {"controller": i, "site": site, "series": series.name, "value": value, "unit": series.unit}
                steps.append({"image": "", **about, "identity": value == series.identity, "reason": reason})
                if image is not None:
                    pixels.append(image)
                    rows.append(len(steps) - 1)
        if progress is not None:
            progress("tuning series", i + 1, len(controllers))
    batch = batch_of(
        opened.pair,
        np.stack(pixels),
        controllers.objective.take([steps[row]["controller"] for row in rows]),
        start_ids=[
            f"{controllers.names[steps[r]['controller']]} {steps[r]['series']} {steps[r]['value']:g}" for r in rows
        ],
        settings={"generator": "tuning", "origin": controllers.origin, "centres": centres},
    )
    z = batch_z(opened.pair, batch)
    columns = [list(opened.encoder.site_ids).index(site) for site in controllers.sites]
    for step in steps:
        step |= {"z": math.nan, "validator_z": math.nan}
    for i, (row, name) in enumerate(zip(rows, image_names(len(rows)), strict=True)):
        column = columns[steps[row]["controller"]]
        steps[row] |= {"image": name, "z": float(z[0][i, column]), "validator_z": float(z[1][i, column])}
    return Tuning(steps=steps, widths=_widths(steps), batch=batch, controllers=controllers, centres=centres)


def field_centres(opened: Opened, sites: Sequence[str]) -> list[dict[str, Any]]:
    """The centre of every site's model receptive field in pixels from the upper left corner; else that of the image."""
    _, height, width = opened.project.display.shape
    fields = site_fields(opened.encoder, opened.natural)
    found = []
    for site in sites:
        field = fields[list(opened.encoder.site_ids).index(site)]
        scale = opened.project.display.px_per_deg
        x, y = (width - 1) / 2 + field.x_deg * scale, (height - 1) / 2 - field.y_deg * scale
        if not field.reason and 0 <= x <= width - 1 and 0 <= y <= height - 1:
            found.append({"x_px": round(x, 3), "y_px": round(y, 3), "of": "receptive field"})
        else:
            found.append({"x_px": (width - 1) / 2, "y_px": (height - 1) / 2, "of": "image"})
    return found


def contrast_limits(opened: Opened) -> Callable[[float], list[Any]]:
    """Factor of the contrast -> what the display may show then: the same mean, the same colours."""
    project, exact = opened.project, opened.recipe["constraints"][0]
    colours = colour_limits(project.display, project.config.synthesis, opened.natural)

    def limits(factor: float) -> list[Any]:
        return [*project.display.constraints(mean=exact.mean, rms=factor * exact.rms), *colours]

    return limits


def _widths(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How far each series of each controller goes; scales in octaves."""
    found: list[dict[str, Any]] = []
    for i in dict.fromkeys(step["controller"] for step in steps):
        for name in SERIES:
            own = [step for step in steps if step["controller"] == i and step["series"] == name]
            values = np.array([step["value"] for step in own])
            axis = np.log2(values) if name == "scale" else values
            identity = next(k for k, step in enumerate(own) if step["identity"])
            record = {"controller": i, "site": own[0]["site"], "series": name, "unit": own[0]["unit"]}
            for prefix in ("", "validator_"):
                z = np.array([step[f"{prefix}z"] for step in own])
                below, above = half_width(axis, z, float(axis[identity]))
                record |= {f"{prefix}z": float(z[identity]), f"{prefix}below": below, f"{prefix}above": above}
                record[f"{prefix}best"] = float(values[np.nanargmax(z)])
            found.append(record)
    return found


def write_tuning(found: Tuning, out: Path) -> Path:
    """Write images, ``batch.h5``, ``steps.csv``, ``tuning.csv``, ``.json`` and ``.png`` into a new folder."""
    shown = [step for step in found.steps if step["image"]]
    below = [f"{step['site']} {step['series'][:10]} {step['value']:.3g}" for step in shown]
    figure = draw(found.controllers.names, found.controllers.pixels, found.steps)
    with new_folder(out) as folder:
        write_images(folder, found.batch, below)
        write_table(
            folder / "steps.csv", STEP_COLUMNS, [[_cell(step[c]) for c in STEP_COLUMNS] for step in found.steps]
        )
        write_table(folder / "tuning.csv", WIDTH_COLUMNS, [[_cell(w[c]) for c in WIDTH_COLUMNS] for w in found.widths])
        write_json(folder / "tuning.json", found.to_dict())
        write_atomically(folder / "tuning.png", lambda path: figure.savefig(path, format="png", dpi=100))
    return out


def _cell(value: Any) -> Any:
    """A cell of a table: empty for what is unknown."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
