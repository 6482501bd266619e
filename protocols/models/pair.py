"""The encoder and validator that serve a round."""

from __future__ import annotations

from typing import Any

from encoders import Encoder, Ensemble
from protocols.errors import DataError
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.key import SiteRow

__all__ = ["Predictor", "Record", "load_pair", "serving", "site_rows"]

Predictor = Encoder | Ensemble
Record = dict[str, Any]


def site_rows(encoder: Encoder | Ensemble) -> list[SiteRow]:
    """The site set frozen at export, with the natural statistics in the encoder's unit."""
    known = encoder.scores.get("reliability", [None] * len(encoder.site_ids))
    reliability = [float("nan") if value is None else value for value in known]
    return [
        SiteRow(
            site_id=site,
            natural_mean=float(mean),
            natural_sd=float(sd),
            reliability=rho,
            is_target=site in encoder.target_ids,
        )
        for site, mean, sd, rho in zip(
            encoder.site_ids, encoder.natural_mean.tolist(), encoder.natural_sd.tolist(), reliability, strict=True
        )
    ]


def serving(project: Project, number: int) -> Record | None:
    """The record of the encoder that served last before round `number`; None before the first fit."""
    records = (project.fitted_for(n) for n in range(number - 1, 0, -1))
    return next((record for record in records if record is not None), None)


def load_pair(project: Project, number: int) -> tuple[Predictor, Predictor]:
    """The encoder that makes the images of a round, and the validator that judges them.

    Parameters
    ----------
    project : Project
    number : int
        Number of the round; ``Project.newest_fit()`` is that of the newest encoder.

    Returns
    -------
    tuple of two encoders
        The encoder is the final one where the fit has one, else the one that was scored
        (`protocols.project.fitted.Fitted.maker`). Both predict images (B, C, H, W) in [0, 1] of the display's size,
        on the CPU until they are moved.

    Raises
    ------
    DataError
        D06: no encoder was fitted for that round.
    """
    fitted = fitted_for(project.fitted, number)
    if fitted is None:
        raise DataError(
            str(project.fitted),
            found=f"no encoder for round {number}",
            expected=f"fitted/for_round_{number:02d}.json",
            cause="the encoder has not been fitted yet",
            fix="run `stimsynth fit` (or `stimsynth refit` after a round)",
            code="D06",
        )
    return Encoder.load(project.fitted / fitted.maker), Encoder.load(project.fitted / fitted.validator)
