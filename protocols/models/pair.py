"""The encoder and validator that serve a round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encoders import Encoder, Ensemble
from protocols.disk.files import inside, refuse_newer, stated_schema
from protocols.disk.foreign import read_text
from protocols.disk.shares import make_folder, writing
from protocols.errors import UNUSABLE, DataError
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.key import SiteRow

__all__ = ["Predictor", "Record", "load_encoder", "load_pair", "save_encoder", "serving", "site_rows"]

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
        D06: no encoder was fitted for that round; S07: its files are missing or damaged.
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
    return load_encoder(project, fitted.maker), load_encoder(project, fitted.validator)


def save_encoder(project: Project, encoder: Predictor) -> str:
    """Write an encoder into ``fitted/``; returns the name of its folder. One that is there and is whole stays.

    Raises
    ------
    DataError
        F10, F12: the disk is full, or refuses.
    """
    with writing(project.fitted):
        make_folder(project.fitted)
        return encoder.save(project.fitted).name


def load_encoder(project: Project, name: str) -> Predictor:
    """The encoder in the folder `name` of ``fitted/``, on the CPU; weights from a file are looked for in this project.

    Raises
    ------
    DataError
        S07: its files are missing or damaged, or the weights of its network are not at hand; F16: a newer version of
        the toolkit wrote them.
    """
    folder = inside(project.fitted, name)
    refuse_newer(f"fitted/{name}/encoder.json", stated_schema(folder / "encoder.json"))
    try:
        return Encoder.load(folder, weights=_weights_file(project, folder))
    except UNUSABLE as error:
        raise DataError(
            f"fitted/{name}",
            found=str(error) or type(error).__name__,
            expected="encoder.json and encoder.safetensors as the fit wrote them, and the weights of its network",
            cause="a file was edited, deleted or copied in part, or the weights of a network are not on this computer",
            fix=(
                "restore this folder from a backup; where weights of a network are missing, copy their file into the "
                "project folder and name it with weights (validator_weights for the validator) in [encoder]"
            ),
            code="S07",
        ) from error


def _weights_file(project: Project, folder: Path) -> Path | None:
    """Where this project has the file of weights that the encoder in `folder` was made with; None: as it was saved."""
    settings = project.config.encoder
    names = [name for name in (settings.weights, settings.validator_weights) if name]
    if not names or not (folder / "encoder.json").is_file():
        return None
    try:
        network = json.loads(read_text(folder / "encoder.json"))["backbone"]
        parts = network["networks"].values() if "networks" in network else [network]
        made_with = {Path(str(part["weights"])).name for part in parts}
    except (ValueError, OSError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # damaged: told by Encoder.load
    found = [name for name in names if Path(name).name in made_with and (project.folder / name).is_file()]
    return project.folder / found[0] if found else None
