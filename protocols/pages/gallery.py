"""The gallery: every image of the rounds that may be shown, with what is predicted and what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.project.folder import Project
from protocols.project.key import KeyRow
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.readers.hdf5 import read_kept
from protocols.verdict.records import ControlRow

from .generated import clipped_shares, generated_images, proposed_images
from .images import shown
from .measured import Means, means_of
from .rounds import RoundLook, round_looks
from .view import clean, nothing

__all__ = ["gallery"]

KEEP = "this page is not for whoever shows them."
NOTE = (
    "Predicted: the response to the 8-bit image at the target, in the unit of the encoder, with the SD over its "
    "members. Measured: mean over all usable trials of that day with its 95 % interval (Student's t); verdicts are "
    "computed from the tested trials alone. Distance: from the fitted images, 1 = the median photograph; outside = "
    "farther than 99 % of them."
)


def gallery(project: Project, *, unblind: str = "", **_: str) -> dict[str, Any]:
    """The images of all rounds that may be shown; `unblind`: number of a round to show all the same."""
    looks = round_looks(project, unblind)
    images: list[dict[str, Any]] = []
    for look in looks:
        if look.hidden or look.state == "new":
            continue
        made = generated_images(look.round_, project.display) if look.state == "generated" else _keyed(look)
        images += made
    waiting = proposed_images(project)
    images += waiting
    rounds = [look.to_dict() for look in looks]
    for entry in rounds:
        if any(image["round"] == entry["round"] for image in waiting) and not entry["text"]:
            entry["text"] = f"Images of an evolution before round {entry['round']} wait for their export: {KEEP}"
    if not waiting and all(look.state == "new" for look in looks):
        return nothing("No images are made yet.", "stimsynth generate")
    labels = {name: row.label for name, row in OBJECTIVES.items()}
    pictures = [image["id"] for image in images]
    data = {"rounds": rounds, "images": images, "objectives": labels, "note": NOTE, "pictures": pictures}
    return dict(clean(data))


def _keyed(look: RoundLook) -> list[dict[str, Any]]:
    """One record per image of an exported round; arms and measured responses only where it is evaluated."""
    key, report = look.key, look.report
    clipped = clipped_shares(look.round_)
    means = means_of(read_kept(look.round_.responses_path)) if look.evaluated else None
    verdicts = {(r.image_id, r.objective, r.site): r for r in report.rows} if report is not None else {}
    place = {} if means is None else {image: i for i, image in enumerate(means.images)}
    limits = None if means is None else means.interval()
    records = []
    for row in key.rows:
        if row.role == "blank" or (not look.evaluated and row.role != "controller"):
            continue
        pairs = row.reference_for if row.role == "reference" else ((row.objective, row.target),) if row.target else ()
        at = []
        for objective, site in pairs:
            entry = _at(row, objective, site) | _measured(means, limits, place.get(row.image_id), site=site)
            verdict = verdicts.get((row.image_id, objective, site))
            at.append(entry | ({} if verdict is None else {"verdict": _verdict(look, verdict)}))
        records.append(_record(look, row, at, clipped=clipped))
    return records


def _record(look: RoundLook, row: KeyRow, at: list[dict[str, Any]], *, clipped: Mapping[str, float]) -> dict[str, Any]:
    return {
        "id": shown(look.round_, row.image_id),
        "name": row.image_id,
        "round": look.number,
        "role": row.role,
        "arm": row.arm,
        "objective": row.objective,
        "seed": row.seed,
        "confirmatory": row.confirmatory,
        "generator": row.generator,
        "source": row.source_id,
        "start": row.started_from,
        "distance": row.distance,
        "outside": row.outside,
        "clipped": clipped.get(row.source_id),
        "contrast": row.contrast,
        "at": at,
    }


def _at(row: KeyRow, objective: str, site: str) -> dict[str, Any]:
    return {
        "objective": objective,
        "site": site,
        "predicted": row.predicted.get(site),
        "predicted_sd": row.predicted_sd.get(site),
        "validator": row.validator_predicted.get(site),
    }


def _measured(means: Means | None, limits: Any, place: int | None, *, site: str) -> dict[str, Any]:
    """Mean response of a site to one image with its interval; empty where it was not measured."""
    if means is None or place is None or site not in means.site_ids:
        return {}
    column = means.site_ids.index(site)
    low, high = (float(v[place, column]) for v in limits)
    return {
        "measured": float(means.mean[place, column]),
        "low": low,
        "high": high,
        "trials": int(means.trials[place, column]),
    }


def _verdict(look: RoundLook, row: ControlRow) -> dict[str, Any]:
    """What the evaluation says of a controller, as in the report."""
    reference = shown(look.round_, row.reference_image) if row.reference_image else None
    return {
        "verdict": row.verdict,
        "reason": row.reason,
        "p": row.p,
        "gain": row.gain,
        "low": row.gain_low,
        "high": row.gain_high,
        "unit": row.gain_unit,
        "tested": row.measured,
        "n": row.n,
        "reference": reference,
        "reference_response": row.reference,
    }
