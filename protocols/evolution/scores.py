"""Scores of the images of a generation: what their targets answered, above the references shown beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from protocols.arrays import Floats
from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.project.generations.files import AGAIN, SCORES, Evolution, Generation, evolved_name, read_record
from protocols.project.key import Key, KeyRow, read_key
from protocols.recordings.readers.hdf5 import read_kept
from protocols.recordings.responses import Responses

from .plan import Plan

THIS, EARLIER, BASELINE = "this generation", "an earlier generation", "the baseline"
"""Where the level of the references of a target was measured."""


def score_generation(generation: Generation, plan: Plan, earlier: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Score an ingested generation: the record that is to be its ``scores.json``; `earlier`: those of before.

    The score of an image is the mean over its trials of the target's response, less the mean over the target's
    references of theirs (each photograph counts once), in SDs of the recorded responses to the photographs; null where
    the image has no valid trial. Where no reference of the target has one, their level is that of the generation
    before.

    Raises
    ------
    DataError
        K01, K02: the key cannot be read.
    """
    key, responses = read_key(generation.key_path), read_kept(generation.responses_path)
    kinds = {row.generator for row in key.of_role("controller")}
    return {
        "schema": SCORES,
        "generation": generation.generation,
        "again": kinds == {AGAIN},
        "presentations": len(responses.values),
        "responses_sha256": sha256_file(generation.responses_path),
        "targets": {t: _of_target(t, key, responses, plan=plan, earlier=earlier) for t in plan.targets},
    }


def _of_target(
    target: str, key: Key, responses: Responses, *, plan: Plan, earlier: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    rows = sorted((r for r in key.of_role("controller") if r.target == target), key=lambda r: r.seed or 0)
    shown = [r for r in key.of_role("reference") if r.source_id in plan.references[target]]
    means, repeats = responses_at(responses, rows, target)
    level, source = _level(target, responses_at(responses, shown, target)[0], plan=plan, earlier=earlier)
    scores = (means - level) / plan.site(target).natural_sd
    finite = scores[np.isfinite(scores)]
    return {
        "scores": {r.source_id: None if np.isnan(s) else float(s) for r, s in zip(rows, scores, strict=True)},
        "trials": [int(n) for n in repeats],
        "reference": level,
        "reference_from": source,
        "mean": float(finite.mean()) if len(finite) else None,
        "best": float(finite.max()) if len(finite) else None,
    }


def responses_at(responses: Responses, rows: Sequence[KeyRow], target: str) -> tuple[Floats, Floats]:
    """Mean response of `target` to each of the images, (P,), NaN where it has no valid trial; and its trials, (P,)."""
    ids = [r.image_id for r in rows]
    column = responses.site_ids.index(target)
    return responses.mean(ids)[:, column], responses.repeats(ids)[:, column].astype(float)


def _level(target: str, means: Floats, *, plan: Plan, earlier: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    finite = means[np.isfinite(means)]
    if len(finite):
        return float(finite.mean()), THIS
    if earlier:
        return float(earlier[-1]["targets"][target]["reference"]), EARLIER
    return plan.reference_levels[target], BASELINE


def read_scores(evolution: Evolution) -> list[dict[str, Any]]:
    """The records of all generations that are done, in their order.

    Raises
    ------
    DataError
        O01: one cannot be read; O07: it is not of the responses beside it.
    """
    records = []
    for number in range(1, evolution.scored() + 1):
        generation = evolution.generation(number)
        record = read_record(generation.scores_path, SCORES)
        path = generation.responses_path
        if not path.is_file() or sha256_file(path) != record.get("responses_sha256"):
            raise DataError(
                f"{generation.place}/scores.json",
                found="scores of other responses than those beside them" if path.is_file() else "no responses.h5",
                expected="the responses that were scored",
                cause="the answer of a generation was replaced or lost after the next one was made from it",
                fix="restore responses.h5 from a backup, or move this generation and all later ones away: the "
                "evolution goes on from the one before",
                code="O07",
            )
        records.append(record)
    return records


def history(records: Sequence[Mapping[str, Any]], target: str, *, population: int) -> list[Floats]:
    """The scores (P,) of one target in every generation of its evolution, NaN = no valid trial or not shown."""
    told = []
    for record in records:
        if record["again"]:
            continue
        scores = np.full(population, np.nan)
        for name, score in record["targets"][target]["scores"].items():
            scores[place_of(name)] = np.nan if score is None else score
        told.append(scores)
    return told


def image_name(number: int, generation: int, target: str, *, place: int) -> str:
    """Source id of an evolved image: its generation, its target, its place in the population."""
    return evolved_name(number, generation, target, place=f"i{place:03d}")


def place_of(name: str) -> int:
    """The place in the population that `image_name` wrote."""
    return int(name.rpartition("_i")[2])


def curve_of(records: Sequence[Mapping[str, Any]], target: str) -> list[dict[str, Any]]:
    """Mean and best score and the level of the references of one target, generation by generation."""
    names = ("mean", "best", "reference")
    return [
        {"generation": r["generation"], **{n: r["targets"][target][n] for n in names}}
        for r in records
        if not r["again"]
    ]
