"""The record of generators side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats
from synth import StimulusBatch

from .image_statistics import WAVELENGTHS

TOLERANCE = 0.05  # of the span of scores of an ascent; a pair farther apart counts as unmatched
LOOKS = {
    "slope": "slope",
    **{f"kurtosis_{w}": f"kurtosis {w} px" for w in WAVELENGTHS},
    "distance": "distance",
    "seconds": "s per image",
}
DRIVE = {
    "score": "score",
    "validator_score": "validator",
    "above_natural": "above natural",
    "drive_matched": "drive matched",
}
COLUMNS = (
    "generator", "objective", "target", "seed", "image", "score", "validator_score", "best_natural",
    "best_natural_by_validator", "drive_matched", "slope", *(f"kurtosis_{w}" for w in WAVELENGTHS), "distance",
    "outside", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class GeneratorImages:
    """The images of one generator.

    Parameters
    ----------
    name : str
        "gradient", "gradient_matched", "diffusion" or "unguided" (samples of the prior, by the same export).
    batch : StimulusBatch of S images, validated; rows and seeds in the same order for all generators
    seconds : float
        Wall-clock seconds per image.
    matched : array of shape (S,), bool, or None
        Whether the score is that of the guided image, to `TOLERANCE` of the span of scores along its ascent.
    """

    name: str
    batch: StimulusBatch
    seconds: float
    matched: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class GeneratorComparison:
    """What `compare.compare_generators` measured.

    Parameters
    ----------
    generators : tuple of GeneratorImages
    natural : dict of statistic to {"value", "low", "high"}
        Of the project's photographs.
    best_natural, best_natural_by_validator : arrays of shape (S,)
        Highest score of a photograph for each image's row, as the encoder and as the validator predict; NaN for rows of
        a set.
    rows : list of dict
        One per generator and image, keys `COLUMNS`.
    summary : dict of generator name to numbers
        What images look like over all rows; under ``drive``, by kind of objective (their scores have different units),
        medians over images.
    """

    generators: tuple[GeneratorImages, ...]
    natural: dict[str, Any]
    best_natural: Floats
    best_natural_by_validator: Floats
    rows: list[dict[str, Any]]
    summary: dict[str, dict[str, Any]]

    def text(self) -> str:
        """The table for people."""
        lines = [_line("", LOOKS.values())]
        for name, values in [*self.summary.items(), ("photographs", self.natural)]:
            lines.append(_line(name, (_short(values.get(n)) for n in LOOKS)))
        for kind in dict.fromkeys(row["objective"] for row in self.rows):
            lines += ["", _line(kind, DRIVE.values())]
            for name, values in self.summary.items():
                of = values["drive"][kind]
                lines.append(
                    _line(name, (_short(of[n], percent=n in ("above_natural", "drive_matched")) for n in DRIVE))
                )
        lines.append(
            "\nscore, validator: medians over images; above natural: rows whose chosen image is above every photograph "
            "by the validator's prediction;\n"
            f"drive matched: within {TOLERANCE:.0%} of the span of scores along the ascent; distance: from the images "
            "that were fitted, medians of\n"
            "theirs; time: all iterates of a matched ascent included; intervals: comparison.json"
        )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The record for scripts."""
        return {
            "schema": "generator_comparison/1",
            "tolerance": TOLERANCE,
            "summary": self.summary,
            "natural": self.natural,
            "images": self.rows,
        }


def _line(name: str, cells: Iterable[str]) -> str:
    return f"{name:<18}" + "".join(f"{cell:>16}" for cell in cells)


def _short(value: Any, percent: bool = False) -> str:
    """A number, or the value of one with an interval."""
    level = value.get("value") if isinstance(value, dict) else value
    return "-" if level is None else f"{100 * level:.0f} %" if percent else f"{level:.2f}"
