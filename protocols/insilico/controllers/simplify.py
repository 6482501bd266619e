"""Least complex controllers: what a site needs of its image, as small as the held response allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders import Encoder, Ensemble
from protocols.arrays import Pixels
from protocols.disk.files import finite_or_none, new_folder, write_atomically, write_json
from protocols.disk.png import encode_png
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.insilico.opened import Opened
from protocols.progress import Reporter
from protocols.synthesis.batch import batch_of
from protocols.synthesis.colour import colour_limits
from synth import Objective, StimulusBatch
from synth.simplification.simplify import STAGES, Step, simplify

from .given import Controllers
from .made import write_images
from .simplify_figure import draw

__all__ = ["Simple", "simplified", "write_simple"]

PROBABILITIES = ("one_hot",)
"""Kinds whose score is the logarithm of a share: the share itself is held."""
PATH_COLUMNS = (
    "controller", "stage", "area", "waves", "grey_levels", "png_bytes", "rms", "held", "validator_held",
)  # fmt: skip
COLUMNS = (
    "image", "controller", "site", "level", "validator_level", "held", "validator_held",
    "area", "waves", "waves_before", "grey_levels", "png_bytes", "png_bytes_before", "rms", "rms_before",
)  # fmt: skip


@dataclass(frozen=True)
class Simple:
    """The simplest image found of every controller.

    Attributes
    ----------
    rows : list of dict
        One per controller that was simplified, keys `COLUMNS`: what is held, of the controller, by encoder and
        validator (``level``); the shares of it that the simplest image keeps (``held``); what is left.
    path : list of dict
        Every accepted step, keys `PATH_COLUMNS`.
    steps : list of list of Step
        The same with pixels, per row.
    left_out : list of dict
        Controllers without a response to hold, with the reason.
    batch : StimulusBatch
        The simplest images, in the order of `rows`.
    hold : float
    origin : str
    """

    rows: list[dict[str, Any]]
    path: list[dict[str, Any]]
    steps: list[list[Step]]
    left_out: list[dict[str, Any]]
    batch: StimulusBatch
    hold: float
    origin: str

    def summary(self) -> str:
        """For people."""
        lines = [
            f"{len(self.rows)} controllers simplified, at least {self.hold:.0%} of the response held by the encoder:"
        ]
        lines += [
            f"  {r['controller']}: area {r['area']:.0%}, {r['waves']} of {r['waves_before']} waves, {r['grey_levels']} "
            f"grey levels, PNG {r['png_bytes']} of {r['png_bytes_before']} bytes; held {r['held']:.2f}, by the "
            f"validator {r['validator_held']:.2f}"
            for r in self.rows
        ]
        lines += [f"  {r['controller']}: left out, {r['reason']}" for r in self.left_out]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "schema": "simple/1",
            "hold": self.hold,
            "origin": self.origin,
            "rows": [finite_or_none(row) for row in self.rows],
            "left_out": self.left_out,
        }


def simplified(
    opened: Opened,
    controllers: Controllers,
    *,
    hold: float = 0.95,
    same_contrast: bool = False,
    progress: Reporter | None = None,
) -> Simple:
    """Every controller with as little of it as holds the response of its row, by the encoder; the validator judges.

    The mean luminance stays the display's; so does the contrast with `same_contrast`, else it falls with what is taken
    away, and what is left stays as it was.

    Raises
    ------
    DataError
        V42: no controller has a response to hold.
    """
    exact = opened.recipe["constraints"][0]
    limits = _limits(opened, exact.rms if same_contrast else None)
    ground = float(opened.project.display.to_pixel(torch.tensor(exact.mean, dtype=torch.float64)))
    found: list[tuple[int, list[Step]]] = []
    left_out: list[dict[str, Any]] = []
    for i, name in enumerate(controllers.names):
        level = held_level(opened.encoder, controllers.objective[i])
        try:
            path = simplify(level, controllers.pixels[i], at_levels=limits, ground=ground, hold=hold)
            found.append((i, path))
        except ValueError as error:
            left_out.append({"controller": name, "reason": str(error)})
        if progress is not None:
            progress("simplify", i + 1, len(controllers))
    if not found:
        raise DataError(
            controllers.origin,
            found=left_out[0]["reason"],
            expected="controllers that raise the score of their row above 0",
            cause="images of a level or a pattern, or controllers that do not drive their sites",
            fix="take controllers made for stretch or one_hot: `stimsynth generate PROJECT --out FOLDER`",
            code="V42",
        )
    return _told(opened, controllers, found, left_out=left_out, hold=hold)


def held_level(encoder: Encoder | Ensemble, row: Objective) -> Callable[[Tensor], Tensor]:
    """What is held of a row of one image: its score, or e to the power of it where the score is a log share."""
    bound = row.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    share = row.kinds[0] in PROBABILITIES

    def level(images: Tensor) -> Tensor:
        images = images.to(encoder.natural_mean.device)
        score = bound(images, encoder(images))
        return score.exp() if share else score

    return level


def _limits(opened: Opened, rms: float | None) -> Callable[[int], Sequence[Any]]:
    exact, project = opened.recipe["constraints"][0], opened.project
    colours = colour_limits(project.display, project.config.synthesis, opened.natural)
    return lambda levels: [exact.changed(rms=rms, levels=levels), *colours]


def _told(
    opened: Opened,
    controllers: Controllers,
    found: list[tuple[int, list[Step]]],
    *,
    left_out: list[dict[str, Any]],
    hold: float,
) -> Simple:
    """The record of the paths `found`, of the controllers of these numbers."""
    exact = opened.recipe["constraints"][0]
    rows: list[dict[str, Any]] = []
    path_rows: list[dict[str, Any]] = []
    for i, path in found:
        judge = held_level(opened.validator, controllers.objective[i])
        judged = [_level_of(judge, step.pixels) for step in path]
        for step, reached in zip(path, judged, strict=True):
            path_rows.append(
                {
                    "controller": controllers.names[i],
                    "stage": step.stage,
                    "area": step.area,
                    "waves": step.waves,
                    "grey_levels": step.grey_levels,
                    "png_bytes": len(encode_png(step.pixels)),
                    "rms": _rms(exact, step.pixels),
                    "held": step.held / path[0].held,
                    "validator_held": reached / judged[0] if judged[0] > 0 else math.nan,
                }
            )
        last, first = path_rows[-1], path_rows[-len(path)]
        rows.append(
            {
                **last,
                "image": f"img_{len(rows) + 1:04d}",
                "site": controllers.sites[i],
                "level": path[0].held,
                "validator_level": judged[0],
                **{f"{key}_before": first[key] for key in ("waves", "png_bytes", "rms")},
            }
        )
    numbers = [i for i, _ in found]
    batch = batch_of(
        opened.pair,
        np.stack([path[-1].pixels for _, path in found]),
        controllers.objective.take(numbers),
        start_ids=[controllers.names[i] for i in numbers],
        settings={"generator": "simplify", "hold": hold, "stages": list(STAGES), "origin": controllers.origin},
    )
    return Simple(
        rows=rows,
        path=path_rows,
        steps=[path for _, path in found],
        left_out=left_out,
        batch=batch,
        hold=hold,
        origin=controllers.origin,
    )


def _level_of(level: Callable[[Tensor], Tensor], pixels: Pixels) -> float:
    with torch.no_grad():
        return float(level(torch.from_numpy(pixels).movedim(-1, 0)[None].float() / 255)[0])


def _rms(exact: Any, pixels: Pixels) -> float:
    return float(exact.statistics(torch.from_numpy(pixels).movedim(-1, 0)[None].double() / 255)["rms"])


def write_simple(found: Simple, out: Path) -> Path:
    """Write images, ``batch.h5``, ``simple.csv``, ``.json``, ``.png`` and ``path.csv`` into a new folder."""
    figure = draw(found.rows, found.path, found.steps)
    with new_folder(out) as folder:
        write_images(folder, found.batch, [f"{row['site']} {row['held']:.2f}" for row in found.rows])
        for name, columns, rows in (("simple", COLUMNS, found.rows), ("path", PATH_COLUMNS, found.path)):
            write_table(folder / f"{name}.csv", columns, [[_cell(row[c]) for c in columns] for row in rows])
        write_json(folder / "simple.json", found.to_dict())
        write_atomically(folder / "simple.png", lambda path: figure.savefig(path, format="png", dpi=100))
    return out


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else "" if value != value else value
