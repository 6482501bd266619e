"""The record of a fit, ``fitted/for_round_NN.json``: which encoder makes the images of a round, and how well it
predicts each site.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from protocols.disk.files import read_json, write_json
from protocols.errors import DataError


@dataclass(frozen=True)
class SiteFit:
    """What a fit reports of one site; None where it is not known.

    Attributes
    ----------
    site_id : str
    reliability, held_out_reliability : float or None
        Of the mean responses to the fitted and to the held-out images.
    held_out_r, held_out_r_nc, held_out_feve : float or None
        Encoder on the held-out images: correlation, the same corrected for noise, fraction of explainable variance
        explained.
    validator_r, validator_r_nc, validator_feve : float or None
        The same of the validator.
    ceiling : float or None
        Correlation that a perfect prediction would reach.
    best_layer : str
        Layer that explains most in left-out folds; "" where it is not known.
    rf_x_deg, rf_y_deg, rf_sd_deg : float or None
        Centre of the model receptive field in degrees, rightwards and upwards from the image's centre, and its mean SD.
    rf_reason : str
        Why there is no receptive field; "" where there is one.
    eligible_fit, eligible_target : bool
        Whether the site is fitted, and whether it may be controlled.
    reason : str
        Why it is not; "" where it is both.
    """

    site_id: str
    reliability: float | None = None
    held_out_reliability: float | None = None
    held_out_r: float | None = None
    held_out_r_nc: float | None = None
    held_out_feve: float | None = None
    validator_r: float | None = None
    validator_r_nc: float | None = None
    validator_feve: float | None = None
    ceiling: float | None = None
    best_layer: str = ""
    rf_x_deg: float | None = None
    rf_y_deg: float | None = None
    rf_sd_deg: float | None = None
    rf_reason: str = ""
    eligible_fit: bool = False
    eligible_target: bool = False
    reason: str = ""

    @classmethod
    def of(cls, values: dict[str, Any]) -> SiteFit:
        """The site of a record's ``report.sites``; other entries are passed over."""
        return cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values})


@dataclass(frozen=True)
class Fitted:
    """The record of a fit. `record` is what stands in the file, unchanged; the properties read it."""

    record: dict[str, Any]

    @property
    def round(self) -> int:
        """Number of the round that the encoder was fitted for."""
        return int(self.record["round"])

    @property
    def encoder(self) -> str:
        """Folder of the encoder that was scored."""
        return str(self.record["encoder"])

    @property
    def validator(self) -> str:
        """Folder of the validator."""
        return str(self.record["validator"])

    @property
    def final(self) -> str | None:
        """Folder of the encoder that was fitted once more, to the held-out images too; None where there is none."""
        return str(self.record["final"]) if self.record.get("final") else None

    @property
    def maker(self) -> str:
        """Folder of the encoder that makes the images of the round: the final one where there is one, else
        the scored one.
        """
        return self.final or self.encoder

    @property
    def members(self) -> dict[str, str]:
        """Folders by name: "encoder", "validator" and, where there is one, "final"."""
        pair = {"encoder": self.encoder, "validator": self.validator}
        return pair | ({"final": self.final} if self.final else {})

    @property
    def rounds(self) -> list[int]:
        """Rounds whose responses the encoder has seen."""
        return list(self.record["rounds"])

    @property
    def readout_rounds(self) -> list[int]:
        """Rounds that the readouts were fitted to; gain and offset of a site may have seen more."""
        return list(self.record.get("readout_rounds", self.rounds))

    @property
    def fitted_rounds(self) -> list[int]:
        """Rounds that the last fit from scratch has seen; a warm start may have seen more."""
        return list(self.record.get("fitted_rounds", self.rounds))

    @property
    def refit(self) -> dict[str, Any]:
        """How the encoder followed from the one before: ``mode``, ``regression_check``, ``weights`` ..."""
        return dict(self.record.get("refit") or {})

    @property
    def sites(self) -> tuple[SiteFit, ...]:
        """Every recorded site, in the order of the report."""
        return tuple(SiteFit.of(s) for s in (self.record.get("report") or {}).get("sites", []))

    def site(self, site_id: str) -> SiteFit:
        """One site; a site without any score where the record does not name it."""
        return next((s for s in self.sites if s.site_id == site_id), SiteFit(site_id))


def path_of(folder: Path, number: int) -> Path:
    """The file of the record for round `number`, in the project's folder of fitted encoders."""
    return folder / f"for_round_{number:02d}.json"


def newest_fit(folder: Path) -> int | None:
    """The number of the newest round that an encoder was fitted for, or None; `folder`: `Project.fitted`."""
    names = (re.fullmatch(r"for_round_(\d+)\.json", p.name, re.ASCII) for p in folder.glob("for_round_*.json"))
    return max((int(name[1]) for name in names if name), default=None)


def fitted_for(folder: Path, number: int) -> Fitted | None:
    """The record of the fit for round `number`, or None where there is none; `folder`: `Project.fitted`.

    Raises
    ------
    DataError
        F01: the file is not JSON; S06: it is no record of a fit.
    """
    path = path_of(folder, number)
    if not path.is_file():
        return None
    record = read_json(path)
    fault = _fault(record)
    if fault:
        raise DataError(
            f"fitted/{path.name}",
            found=fault,
            expected="the record of a fit: names of the encoder and the validator, rounds, report",
            cause="the file was edited",
            fix="delete it and run `stimsynth fit` again",
            code="S06",
        )
    return Fitted(record)


def _fault(record: Any) -> str:
    """What a record lacks to be that of a fit; "" where nothing."""
    if not isinstance(record, dict):
        return f"a JSON {type(record).__name__}"
    kinds = {"encoder": str, "validator": str}
    maybe = {"final": str, "refit": dict, "report": dict, "rounds": list, "readout_rounds": list, "fitted_rounds": list}
    wrong = [f"{key} = {record.get(key)!r}" for key, kind in kinds.items() if not isinstance(record.get(key), kind)]
    wrong += [f"{k} = {record[k]!r}" for k, kind in maybe.items() if record.get(k) and not isinstance(record[k], kind)]
    listed = (record.get("report") or {}).get("sites", []) if not wrong else []
    if not isinstance(listed, list) or not all(isinstance(s, dict) and "site_id" in s for s in listed):
        wrong.append("report.sites that are no list of sites")
    return wrong[0] if wrong else ""


def write_fitted(folder: Path, number: int, record: dict[str, Any]) -> None:
    """Write the record for round `number`."""
    write_json(path_of(folder, number), record)


def maker(record: dict[str, Any]) -> str:
    """Folder of the encoder that makes the images of a round; see `Fitted.maker`."""
    return Fitted(record).maker
