"""The page of a site: its numbers, its field, its sorted tuning, and its gains and drift over the rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.project.arms import ARMS
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.readers.hdf5 import read_kept
from protocols.report.sites import field_circle
from protocols.verdict.control_report import ControlReport

from .images import photo, shown
from .measured import Means, means_of
from .site_table import Material, table_of
from .view import clean, nothing

__all__ = ["frozen_sites", "site"]

MOST_POINTS = 150_000
"""Points of all tuning curves that a frozen page holds; of longer curves the highest and an even choice of the rest."""
HIGHEST = 24
NO_SITE = ("No site is recorded yet.", "stimsynth export --baseline IMAGES")


def site(project: Project, *, site: str = "", **_: str) -> dict[str, Any]:
    """The table of all sites and the page of one, by default of the first target."""
    material = Material.load(project)
    if not material.site_ids:
        return nothing(*NO_SITE)
    chosen = site if site in material.site_ids else _first(material)
    page = _page(material, chosen, _recordings(material), most=None)
    return dict(clean({"table": table_of(material), "display": _display(project.display), **page}))


def frozen_sites(project: Project) -> dict[str, Any]:
    """The pages of all sites, as a page without a server holds them: by site under ``by_site``."""
    material = Material.load(project)
    if not material.site_ids:
        return nothing(*NO_SITE)
    recordings = _recordings(material)
    total = sum(len(means.images) for _, means, _ in recordings) * len(material.site_ids)
    most = None if total <= MOST_POINTS else max(40, MOST_POINTS // len(material.site_ids) // max(1, len(recordings)))
    pages = {name: _page(material, name, recordings, most=most) for name in material.site_ids}
    pictures = [image for page in pages.values() for image in page.pop("pictures")[:HIGHEST]]
    shared = {"table": table_of(material), "display": _display(project.display)}
    data = {**shared, "by_site": pages, "first": _first(material), "pictures": list(dict.fromkeys(pictures))}
    return dict(clean(data))


def _first(material: Material) -> str:
    targets = [name for name in material.site_ids if (fit := material.fits.get(name)) and fit.eligible_target]
    return (targets or material.site_ids)[0]


def _display(display: Display) -> dict[str, Any]:
    return {"width_px": display.width_px, "height_px": display.height_px, "size_deg": display.size_deg}


Recording = tuple[Round | None, Means, Key | None]
"""A round (None: the baseline), its means and its key (None: photographs alone)."""


def _recordings(material: Material) -> list[Recording]:
    """The baseline and every evaluated round."""
    found: list[Recording] = [] if material.means is None else [(None, material.means, None)]
    for round_, _ in material.evaluated:
        found.append((round_, means_of(read_kept(round_.responses_path)), read_key(round_.key_path)))
    return found


def _page(material: Material, name: str, recordings: Sequence[Recording], *, most: int | None) -> dict[str, Any]:
    """What is shown of one site beside the table."""
    fit = next((s for s in material.record.get("report", {}).get("sites", []) if s["site_id"] == name), None)
    reports = {round_.number: report for round_, report in material.evaluated}
    tunings = []
    for recording in recordings:
        report = None if recording[0] is None else reports[recording[0].number]
        tunings += _tuning(recording, report, name, most=most)
    pictures = [image for t in tunings for image in (*(m["image"] for m in t["marks"]), *t["images"][:HIGHEST])]
    return {
        "site": name,
        "unit": material.unit,
        "circle": field_circle(fit, material.project.display),
        "no_field": "" if fit is None else str(fit.get("rf_reason") or ""),
        "layers": (fit or {}).get("cv_r2") or {},
        "tunings": tunings,
        "gains": _gains(material, name),
        "days": _days(material, name),
        "pictures": pictures,
    }


def _tuning(recording: Recording, report: ControlReport | None, name: str, *, most: int | None) -> list[dict[str, Any]]:
    """The sorted responses of a site in one recording, highest first, and the synthesised images among them; none
    where the site was not recorded.
    """
    round_, means, key = recording
    if name not in means.site_ids:
        return []
    column, place = means.site_ids.index(name), {image: i for i, image in enumerate(means.images)}
    natural = (
        list(means.images)
        if key is None
        else [r.image_id for r in key.rows if r.role in ("natural", "reference") and r.image_id in place]
    )
    rows = np.array([place[image] for image in natural], dtype=np.int64)
    rows = rows[np.isfinite(means.mean[rows, column])]
    rows = _kept(rows[np.argsort(-means.mean[rows, column], kind="stable")], most)
    values = {n: _column(v, rows, column) for n, v in (("mean", means.mean), ("error", means.error))}
    name_of = photo if round_ is None else (lambda image: shown(round_, image))
    source = {} if key is None else {r.image_id: r.source_id for r in key.rows}
    own = set() if key is None else {r.image_id for r in key.rows if any(s == name for _, s in r.reference_for)}
    return [
        {
            "round": 0 if round_ is None else round_.number,
            "title": "baseline" if round_ is None else f"round {round_.number}",
            "count": len(natural),
            "images": [name_of(means.images[i]) for i in rows],
            "names": [source.get(means.images[i], means.images[i]) for i in rows],
            "own": [i for i, row in enumerate(rows) if means.images[row] in own],
            **values,
            "marks": [] if report is None else _marks(recording, report, name),
        }
    ]


def _column(values: Floats, rows: Any, column: int) -> list[float]:
    return [float(v) for v in values[rows, column]]


def _kept(rows: Any, most: int | None) -> Any:
    """All `rows`, or the highest and an even choice of the rest."""
    if most is None or len(rows) <= most:
        return rows
    rest = np.linspace(HIGHEST, len(rows) - 1, most - HIGHEST).round().astype(int)
    return np.concatenate([rows[:HIGHEST], rows[np.unique(rest)]])


def _marks(recording: Recording, report: ControlReport, name: str) -> list[dict[str, Any]]:
    """The synthesised images and control arms that were shown for a site, with their mean responses at it."""
    round_, means, key = recording
    if round_ is None or key is None:
        return []
    column, place = means.site_ids.index(name), {image: i for i, image in enumerate(means.images)}
    confirmatory = {r.image_id: r for r in report.confirmatory() if r.site == name}
    marks = []
    for row in key.rows:
        if row.target != name or row.role not in ("controller", "arm", "graded") or row.image_id not in place:
            continue
        verdict = confirmatory.get(row.image_id)
        kind = row.role if row.role != "arm" else (ARMS[row.arm].label if row.arm in ARMS else row.arm)
        if row.role == "controller" and not row.confirmatory:
            kind = "controller of another seed"
        marks.append(
            {
                "kind": kind,
                "objective": OBJECTIVES[row.objective].label if row.objective in OBJECTIVES else row.objective,
                "image": shown(round_, row.image_id),
                "name": row.image_id,
                "mean": float(means.mean[place[row.image_id], column]),
                "error": float(means.error[place[row.image_id], column]),
                "predicted": row.predicted.get(name),
                "verdict": "" if verdict is None else verdict.verdict,
            }
        )
    return marks


def _gains(material: Material, name: str) -> list[dict[str, Any]]:
    """Verdict and gain of the confirmatory controllers of a site, round by round."""
    return [
        {
            "round": round_.number,
            "session": round_.session_id,
            "objective": OBJECTIVES[r.objective].label if r.objective in OBJECTIVES else r.objective,
            "verdict": r.verdict,
            "reason": r.reason,
            "p": r.p,
            "measured": r.measured,
            "predicted": r.predicted,
            "reference": r.reference,
            "gain": r.gain,
            "low": r.gain_low,
            "high": r.gain_high,
            "unit": r.gain_unit,
        }
        for round_, report in material.evaluated
        for r in report.confirmatory()
        if r.site == name
    ]


def _days(material: Material, name: str) -> list[dict[str, Any]]:
    """Gain against the baseline and identity of a site, round by round."""
    return [
        {
            "round": round_.number,
            "session": round_.session_id,
            "gain": s.gain if s.told else None,
            "low": s.gain_low if s.told else None,
            "high": s.gain_high if s.told else None,
            "outcome": s.outcome,
            "reason": s.reason,
            "r_nc": s.r_nc,
            "within": s.within_change,
            "within_unit": "% of the mean response" if drift.percent else "SD of the image means",
            "within_listed": s.within_listed,
        }
        for round_, drift in material.drifts
        for s in drift.sites
        if s.site == name
    ]
