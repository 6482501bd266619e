"""The images of a round as their file has them: predictions, familiarity, colours and clipping; evolved images that
wait for an export.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from protocols.disk.files import read_json, sha256_file
from protocols.disk.hdf5_reading import check_size, open_hdf5
from protocols.errors import DataError
from protocols.project.decisions.standing import read_standing
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.generations.files import OBJECTIVE, Evolution, evolved_images, evolved_target
from protocols.project.objectives import controller_id

from .images import evolved, made

__all__ = ["clipped_shares", "generated_images", "proposed_images"]


def generated_images(round_: Round, display: Display) -> list[dict[str, Any]]:
    """One record per image of a round that is made and not yet exported, as `stimsynth preview` names them.

    Confirmatory is what the export would show as such: the best by the validator of what no decision takes out.
    """
    import torch

    from protocols.rounds.decisions.honour import confirmatory_places, last_words
    from protocols.synthesis.colour import image_chroma
    from synth import StimulusBatch

    batch = StimulusBatch.load(round_.controllers_path)
    words = last_words(read_standing(round_.home), round_.number, batch)
    chosen = confirmatory_places(batch, words)
    chroma = image_chroma(display, batch.images)
    floats = torch.from_numpy(np.ascontiguousarray(batch.images)).permute(0, 3, 1, 2).float() / 255
    contrast = display.constraints()[-1].statistics(floats)["rms"].numpy()
    clipped, judged = batch.black_or_white, batch.validator_predicted
    previewed, usual = _previewed(round_)
    records = []
    for i, (site, word) in enumerate(zip(batch.targets, words, strict=True)):
        column, objective = batch.site_ids.index(site), batch.kinds[i].split("+")[0]
        at = {
            "objective": objective,
            "site": site,
            "predicted": batch.predicted[i, column],
            "predicted_sd": batch.predicted_sd[i, column],
            "validator": None if judged is None else judged[i, column],
            **previewed.get(f"c{i + 1:04d}", {}),
        }
        records.append(
            {
                "id": made(round_, i),
                "name": f"c{i + 1:04d}",
                "round": round_.number,
                "role": "controller",
                "objective": objective,
                "seed": int(batch.seeds[i]),
                "confirmatory": i in chosen,
                "start": batch.start_ids[i],
                "distance": None if batch.distance is None else batch.distance[i],
                "outside": None if batch.outside is None else bool(batch.outside[i]),
                "clipped": clipped[i],
                "contrast": {"luminance": contrast[i], "chroma": chroma[i], **usual},
                "at": [at],
                "decision": None if word is None else {"action": word.action, "who": word.who, "reason": word.reason},
            }
        )
    return records


def _previewed(round_: Round) -> tuple[dict[str, dict[str, Any]], dict[str, float]]:
    """By image the prediction with its interval in natural SDs and the best photograph, and the 95th percentiles of the
    photographs, as `stimsynth preview` found them of these images; empty where it did not.
    """
    with suppress(DataError, OSError, KeyError, TypeError, IndexError):
        record = read_json(round_.preview_path)
        if record["schema"] == "preview/1" and record["controllers"] == sha256_file(round_.controllers_path):
            names = {"z": "z", "z_low": "low", "z_high": "high", "photograph_z": "photograph_z"}
            found = {r["image"]: {name: r[key] for name, key in names.items()} for r in record["images"]}
            return found, {"luminance_natural": record["contrast"][2], "chroma_natural": record["chroma"][2]}
    return {}, {}


def clipped_shares(round_: Round) -> dict[str, float]:
    """Share of black or white values of every controller by its source id; empty where the file is gone."""
    path = round_.controllers_path
    if not path.is_file():
        return {}
    with open_hdf5(path) as file:
        check_size(path, "images", file["images"])
        images, seeds = np.asarray(file["images"]), file["seeds"][()].tolist()
        kinds, targets = (file[name].asstr()[()].tolist() for name in ("kinds", "targets"))
    shares = ((images == 0) | (images == 255)).reshape(len(images), -1).mean(1)
    rows = zip(kinds, targets, seeds, strict=True)
    names = [controller_id(round_.number, kind, target, seed=seed) for kind, target, seed in rows]
    return dict(zip(names, shares.tolist(), strict=True))


def proposed_images(project: Project) -> list[dict[str, Any]]:
    """One record per evolved image that waits for an export, of the next generation or of a round.

    Its veto is found by name, since the pixels are those of the file that the name is of.
    """
    records, held = [], {image: d for (image, _), d in read_standing(project.folder).vetoed.items()}
    for round_ in (r for r in project.rounds() if r.number and not r.outbox.is_dir()):
        generation = Evolution(round_).proposed()
        sites = {name: evolved_target(name) for name in (generation.proposed() if generation is not None else ())}
        if "evolved" in project.config.arms.kinds:
            sites |= {image.source_id: site for site, image in evolved_images(project, round_.number).items()}
        for name, site in sites.items():
            word = held.get(name)
            records.append(
                {
                    "id": evolved(round_, name),
                    "name": name,
                    "round": round_.number,
                    "role": "controller",
                    "objective": OBJECTIVE,
                    "seed": None,
                    "confirmatory": False,
                    "generator": "evolution",
                    "at": [{"objective": OBJECTIVE, "site": site, "predicted": None}],
                    "decision": None if word is None else {"action": "veto", "who": word.who, "reason": word.reason},
                }
            )
    return records
