"""The table of sites: every number that the project holds of a site, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.fitted import SiteFit
from protocols.project.folder import Project, Round
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.dataset import baseline
from protocols.recordings.drift import RoundDrift, SiteDrift
from protocols.recordings.readers.hdf5 import read_kept
from protocols.verdict.control_report import ControlReport

from .measured import Means, means_of

__all__ = ["Material", "table_of"]

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the views of sites are made from, read once.

    Attributes
    ----------
    project : Project
    means : Means or None
        Of the baseline, with source ids as image ids; None before it is recorded.
    unit, window : str
        Of its responses.
    attributes : dict of site id to dict
        What the recordings say of a site: area, electrode, x_um, y_um, z_um.
    record : mapping
        Of the newest fit; empty where there is none.
    evaluated : list of (Round, ControlReport, RoundDrift or None)
        Oldest first.
    drifts : list of (Round, RoundDrift)
        All rounds that have a drift record, oldest first.
    """

    project: Project
    means: Means | None
    unit: str
    window: str
    attributes: Mapping[str, Record]
    record: Mapping[str, Any]
    evaluated: list[tuple[Round, ControlReport]]
    drifts: list[tuple[Round, RoundDrift]]

    @classmethod
    def load(cls, project: Project) -> Material:
        """Read the records of a project."""
        first, rounds = baseline(project), project.rounds()
        newest = project.newest_fit()
        drifts = [(r, d) for r in rounds if r.number and (d := RoundDrift.from_json(r.drift_path)) is not None]
        evaluated = [(r, ControlReport.from_json(r.evaluation_path)) for r in rounds if r.state == "evaluated"]
        attributes: dict[str, Record] = {}
        if first is not None:
            for site, row in first[0].attributes.get("sites", {}).items():
                attributes.setdefault(site, {}).update({k: v for k, v in row.items() if v is not None})
        for round_, _ in evaluated[-1:]:  # the latest word on where a site lies
            for site, row in read_kept(round_.responses_path).attributes.get("sites", {}).items():
                attributes.setdefault(site, {}).update({k: v for k, v in row.items() if v is not None})
        window = first[0].window_ms if first is not None else None
        return cls(
            project=project,
            means=None if first is None else _by_source(means_of(first[0]), first[1]),
            unit="" if first is None else first[0].unit,
            window="" if window is None else f"{window[0]:g} to {window[1]:g}",
            attributes=attributes,
            record=(project.fitted_for(newest) or {}) if newest is not None else {},
            evaluated=evaluated,
            drifts=drifts,
        )

    @cached_property
    def fits(self) -> dict[str, SiteFit]:
        """What the newest fit says of every site."""
        return {s["site_id"]: SiteFit.of(s) for s in self.record.get("report", {}).get("sites", [])}

    @cached_property
    def site_ids(self) -> list[str]:
        """All sites that were recorded or fitted, in the order of the baseline."""
        recorded = () if self.means is None else self.means.site_ids
        return list(dict.fromkeys([*recorded, *self.fits]))

    def places(self) -> dict[str, tuple[float, float]]:
        """Position of every site in micrometres; empty where that of one is not known."""
        known = {
            site: (float(row["x_um"]), float(row["y_um"]))
            for site, row in self.attributes.items()
            if {"x_um", "y_um"} <= row.keys()
        }
        wanted = self.site_ids
        return {s: known[s] for s in wanted} if wanted and known.keys() >= set(wanted) else {}


def _by_source(means: Means, source_of: Mapping[str, str]) -> Means:
    """The means of photographs alone, named by their source ids."""
    kept = [i for i, image in enumerate(means.images) if source_of.get(image)]
    names = tuple(source_of[means.images[i]] for i in kept)
    rows: Floats = means.mean[kept]
    return replace(means, images=names, mean=rows, error=means.error[kept], trials=means.trials[kept])


def _column(key: str, title: str, digits: int | None = 2, *, hint: str = "") -> Record:
    """A column; `digits`: after the point, None = text."""
    return {"key": key, "title": title, "digits": digits, "hint": hint}


COLUMNS = [
    _column("site", "site", None),
    _column("use", "use", None, hint="target: reliable enough to control; fitted: in the encoder beside them"),
    _column("reason", "why not", None),
    _column("area", "area", None),
    _column("trials", "trials", 0, hint="usable trials of photographs in the baseline"),
    _column("images", "images", 0, hint="photographs with a response in the baseline"),
    _column("mean", "mean response", hint="over the photographs of the baseline, in the recording's unit"),
    _column("sd", "SD over photographs", hint="of the mean responses, noise included"),
    _column("reliability", "reliability", hint="of the mean responses to the fitted images"),
    _column("ceiling", "noise ceiling", hint="correlation that a perfect prediction would reach"),
    _column("held_out_r", "held-out r", hint="encoder on photographs that it never saw"),
    _column("held_out_r_nc", "noise-corrected r"),
    _column("held_out_feve", "FEVE", hint="fraction of explainable variance explained"),
    _column("validator_r", "validator r"),
    _column("best_layer", "best layer", None),
    _column("window", "window (ms)", None),
    _column("rf_x_deg", "field x (deg)", 1, hint="centre of the model receptive field, rightwards"),
    _column("rf_y_deg", "field y (deg)", 1, hint="upwards"),
    _column("rf_sd_deg", "field SD (deg)", 1),
    _column("drift_gain", "gain against baseline", hint="of the newest round with a drift record"),
    _column("identity", "identity", None, hint="whether the site is still the same, in that round"),
]


def table_of(material: Material) -> Record:
    """Columns and one row per site; verdicts and gains of the newest evaluated round are its last columns."""
    columns, rows = list(COLUMNS), [_row(material, site) for site in material.site_ids]
    if material.evaluated:
        round_, report = material.evaluated[-1]
        for name in dict.fromkeys(s.objective for s in report.objectives):
            label = OBJECTIVES[name].label if name in OBJECTIVES else name
            columns.append(_column(f"verdict_{name}", f"{label}, round {round_.number}", None))
            columns.append(_column(f"gain_{name}", f"{label} gain", hint=_unit(report, name)))
            found = {r.site: r for r in report.confirmatory(name)}
            for row in rows:
                mine = found.get(row["site"])
                row |= {f"verdict_{name}": mine and mine.verdict, f"gain_{name}": mine and mine.gain}
    used = [c for c in columns if c["key"] == "site" or any(_there(row.get(c["key"])) for row in rows)]
    return {"columns": used, "rows": [{c["key"]: row.get(c["key"]) for c in used} for row in rows]}


def _unit(report: ControlReport, objective: str) -> str:
    units = sorted({r.gain_unit for r in report.confirmatory(objective) if r.gain is not None})
    return f"over the re-shown natural image, unit: {', '.join(units)}"


def _there(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and np.isnan(value))


def _row(material: Material, site: str) -> Record:
    """The numbers of one site by column."""
    fit, row = material.fits.get(site), {"site": site, "area": str(material.attributes.get(site, {}).get("area", ""))}
    record: Record = {**row, "window": material.window, **_recorded(material.means, site)}
    if fit is not None:
        names = [c["key"] for c in COLUMNS if hasattr(fit, c["key"])]
        record |= {name: getattr(fit, name) for name in names}
        record["use"] = "target" if fit.eligible_target else "fitted" if fit.eligible_fit else "not fitted"
    last = drift_of_site(material, site)
    if last is not None:
        record |= {"drift_gain": last.gain if last.told else None, "identity": last.outcome}
    return record


def _recorded(means: Means | None, site: str) -> Record:
    if means is None or site not in means.site_ids:
        return {}
    column = means.site_ids.index(site)
    known = means.mean[:, column][means.trials[:, column] > 0]
    spread = float(known.std(ddof=1)) if len(known) > 1 else None
    return {
        "trials": int(means.trials[:, column].sum()),
        "images": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "sd": spread,
    }


def drift_of_site(material: Material, site: str) -> SiteDrift | None:
    """The drift of a site in the newest round that has a record; None where there is none."""
    for _, drift in reversed(material.drifts):
        return next((s for s in drift.sites if s.site == site), None)
    return None
