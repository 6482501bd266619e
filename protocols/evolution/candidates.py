"""Which evolved images may enter the round: chosen by their first scores, judged by new trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.files import sha256_file, write_json
from protocols.disk.png import read_png, write_png
from protocols.project.generations.files import RECORD, Evolution, evolved_name
from protocols.project.key import read_key

from .figure import write_course
from .images import Pictures
from .plan import Plan
from .scores import curve_of

LATEST = 3  # generations from which the images of the highest scores are taken: later ones are better on average


@dataclass(frozen=True)
class Candidate:
    """An image that is shown again at the end."""

    target: str
    source_id: str
    pixels: Pixels


def candidates_of(
    evolution: Evolution,
    plan: Plan,
    pictures: Pictures,
    *,
    centres: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    count: int,
) -> list[Candidate]:
    """Up to `count` images per target: the centre of the last distribution of codes, where noise is averaged out, and
    those of the highest scores in the last `LATEST` generations, no picture twice.

    `centres`: the code (D,) of each target.
    """
    found = []
    for target in plan.targets:
        here = list[Candidate]()
        middle = pictures.pixels(centres[target])
        if middle is not None:
            name = evolved_name(evolution.round.number, len(records), target, place="centre")
            here.append(Candidate(target, name, middle))
        for name, generation in _ranked(target, records):
            if len(here) >= count:
                break
            image = _shown(evolution, generation, name)
            if not any(np.array_equal(image, c.pixels) for c in here):
                here.append(Candidate(target, name, image))
        found += here
    return found


def _ranked(target: str, records: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Images of the last generations with their generation, the highest score first."""
    scored = [
        (score, name, record["generation"])
        for record in records[-LATEST:]
        for name, score in record["targets"][target]["scores"].items()
        if score is not None
    ]
    return [(name, generation) for _, name, generation in sorted(scored, key=lambda s: (-s[0], s[1]))]


def _shown(evolution: Evolution, number: int, name: str) -> Pixels:
    generation = evolution.generation(number)
    row = next(r for r in read_key(generation.key_path).rows if r.source_id == name)
    return read_png(generation.image_path(row.image_id))


def choose(evolution: Evolution, plan: Plan, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the image of each target that was best when it was shown again, log it, and write ``evolution.json`` last.

    Its score, too, is the highest of several and so too high on average; the round measures it with trials of its own.
    """
    last = records[-1]
    chosen, left_out, images = {}, {}, dict[str, Pixels]()
    for target in plan.targets:
        scores = {n: s for n, s in last["targets"][target]["scores"].items() if s is not None}
        if not scores:
            left_out[target] = "no candidate has a valid trial"
            continue
        name = min(scores, key=lambda n: (-scores[n], n))
        path = evolution.folder / "evolved" / f"{target}.png"
        write_png(path, _shown(evolution, last["generation"], name))
        images[target] = read_png(path)
        chosen[target] = {
            "source_id": name,
            "filename": f"evolved/{path.name}",
            "sha256": sha256_file(path),
            "score": scores[name],
            "started_from": plan.groups[target],
        }
    curves = {t: curve_of(records, t) for t in plan.targets}
    write_course(evolution.folder, curves, images)
    record = {
        "schema": RECORD,
        "round": evolution.round.number,
        "generations": sum(not r["again"] for r in records),
        "presentations": sum(r["presentations"] for r in records),
        "chosen": chosen,
        "left_out": left_out,
        "candidates": {t: last["targets"][t]["scores"] for t in plan.targets},
        "curve": curves,
    }
    evolution.round.log("evolved", generations=record["generations"], chosen=sorted(chosen))
    write_json(evolution.record_path, record)
    return record
