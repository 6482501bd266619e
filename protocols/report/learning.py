"""The learning curve: per round the encoder on frozen held-out photographs and on controllers it never saw, and what
was controlled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats
from protocols.disk.png import read_png
from protocols.models.pair import Predictor, load_encoder
from protocols.models.yardstick import natural_scores, yardstick
from protocols.project.fitted import maker
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.recordings.dataset import Dataset, gather
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.trial_table import trial_table
from protocols.stats.intervals import median_interval
from protocols.verdict.control_report import ControlReport
from protocols.verdict.summary import consistency


def learning_curve(project: Project, *, device: str = "cpu") -> list[dict[str, Any]]:
    """One JSON-able entry per fitted round, oldest first; None = not known (yet).

    Keys of an entry
    ----------------
    round, session, encoder, made_by, mode, check
        The encoder that was scored, the one that made the round (the same, or a final one that was fitted to the
        held-out photographs too), how they came about ("first", "full", "warm", "gain", "reuse") and the verdict of the
        regression check.
    natural_score, natural_r, natural_r_low, natural_r_high, natural_images
        Median over sites of the (noise-corrected) correlation of `encoder` with the baseline responses to the held-out
        photographs that no encoder of the project but a final one was fitted to, and its bootstrap interval over sites.
    controllers, prequential_r2, prequential_low, prequential_high
        Median over sites of the squared noise-corrected correlation of the predictions sealed with the round's
        controllers, hence of an encoder fitted only on earlier rounds, with what was then measured (methods.md H; as in
        evaluation.json).
    after_r2, after_low, after_high, after_encoder
        The same of the encoder that makes the next round on the same controllers. It was fitted to most of them (a
        final one to all): after the refit, not prequential.
    success_OBJECTIVE, tested_OBJECTIVE
        Confirmatory controllers with the verdict "control", and those tested.
    """
    numbers = [r.number for r in project.rounds() if r.number > 0 and project.fitted_for(r.number) is not None]
    first = project.fitted_for(numbers[0]) if numbers else None
    if first is None:
        return []
    data = gather(project, [r.number for r in project.rounds() if r.number > 0])
    chosen, _ = yardstick(project, first, data)
    known: dict[str, dict[str, Any]] = {}
    load = cache(lambda name: load_encoder(project, name))
    entries = []
    for number in numbers:
        round_, record = project.round(number), project.fitted_for(number) or {}
        if record["encoder"] not in known:
            known[record["encoder"]] = _natural(project, load(record["encoder"]), data, chosen=chosen, device=device)
        refit = record.get("refit", {})
        entry = {
            "round": number,
            "session": round_.session_id,
            "encoder": record["encoder"],
            "made_by": maker(record),
            "mode": refit.get("mode", "first"),
            "check": refit.get("regression_check", {}).get("verdict"),
            **known[record["encoder"]],
            **_controllers(project, round_, load, device=device),
        }
        entries.append(entry)
    return entries


def _natural(project: Project, encoder: Predictor, data: Dataset, *, chosen: list[int], device: str) -> dict[str, Any]:
    """Scores of one encoder on the frozen photographs."""
    if not chosen:
        return {"natural_score": None, **_summary("natural_r", np.array([])), "natural_images": 0}
    name, scores = natural_scores(project, encoder, data, chosen=chosen, device=device)
    return {"natural_score": name, **_summary("natural_r", scores), "natural_images": len(chosen)}


def _controllers(project: Project, round_: Round, load: Callable[[str], Predictor], *, device: str) -> dict[str, Any]:
    """Consistency on the round's controllers before and after the refit, and what was controlled."""
    if not round_.evaluation_path.is_file():
        empty = np.array([])
        after = _summary("after", empty) | {"after_encoder": None}
        return {"controllers": None, **_summary("prequential", empty), **after}
    report, key = ControlReport.from_json(round_.evaluation_path), read_key(round_.key_path)
    sites = [c.site for c in report.consistency]
    known: dict[str, Any] = {
        "controllers": len(key.of_role("controller")),
        **_summary("prequential", _squares([c.controllers_r2 for c in report.consistency])),
    }
    later = project.fitted_for(round_.number + 1)
    squares: list[float | None] = []
    if later is not None:
        renewed = predicted_by(load(maker(later)), project, round_, key=key, device=device)
        table = trial_table(read_kept(round_.responses_path), [r.image_id for r in key.rows], seed=report.seed)
        squares = [c.controllers_r2 for c in consistency(table, renewed) if c.site in sites]
    known |= _summary("after", _squares(squares)) | {"after_encoder": None if later is None else maker(later)}
    for s in report.objectives:
        known |= {f"success_{s.objective}": s.successes, f"tested_{s.objective}": s.tested}
    return known


def predicted_by(encoder: Predictor, project: Project, round_: Round, *, key: Key, device: str = "cpu") -> Key:
    """The key with the predictions of another encoder for its controllers; sites that this one lacks have none."""
    rows = key.of_role("controller")
    images = np.stack([read_png(round_.outbox / "images" / f"{r.image_id}.png") for r in rows])
    means = predict_stored(encoder, images, project.cache, device=device).mean(0).double().numpy()
    answers = {
        r.image_id: dict(zip(encoder.site_ids, m.tolist(), strict=True)) for r, m in zip(rows, means, strict=True)
    }
    return replace(key, rows=tuple(replace(r, predicted=answers.get(r.image_id, r.predicted)) for r in key.rows))


def curve_text(entries: list[dict[str, Any]]) -> str:
    """One line per round, for a terminal."""
    return "\n".join(
        f"round {e['round']} ({e['session']}): {e['encoder']} ({e['mode']}{', ' + e['check'] if e['check'] else ''}); "
        f"held-out photographs r {_text(e, 'natural_r')}; controllers, prequential r2 "
        f"{_text(e, 'prequential_r2', 'prequential')}, "
        f"after the refit {_text(e, 'after_r2', 'after')}" + "".join(
            f"; {k.removeprefix('success_').replace('_', '-')} {v} of {e['tested_' + k.removeprefix('success_')]}"
            for k, v in e.items()
            if k.startswith("success_")
        )
        for e in entries
    )  # fmt: skip


def _text(entry: dict[str, Any], name: str, interval: str = "") -> str:
    if entry[name] is None:
        return "-"
    low, high = (entry[f"{interval or name}_{end}"] for end in ("low", "high"))
    return f"{entry[name]:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _squares(values: list[float | None]) -> Floats:
    return np.array([v for v in values if v is not None], dtype=np.float64)


def _summary(name: str, values: Floats) -> dict[str, float | None]:
    """Median over sites with its bootstrap interval."""
    known = values[np.isfinite(values)]
    low, high = median_interval(known)
    label = name if name == "natural_r" else f"{name}_r2"
    return {
        label: float(np.median(known)) if len(known) else None,
        f"{name}_low": None if np.isnan(low) else low,
        f"{name}_high": None if np.isnan(high) else high,
    }
