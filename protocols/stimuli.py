"""What goes into a round: where the ascent starts, which natural images are shown again, what is predicted for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from encoders import Encoder, Ensemble
from synth import Objective, StimulusBatch, cautious, fourier, jitter, one_hot, stretch

from .control_report import ControlReport
from .dataset import Dataset, best_natural, gather
from .display import Display
from .errors import DataError
from .export import Stimulus
from .key import Key, read_key
from .session import Project

if TYPE_CHECKING:
    from .config import SynthesisConfig

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
MADE_BY = {"ascend": "gradient", "guide": "diffusion"}


def natural_luminance(display: Display, natural: Pixels) -> dict[str, float]:
    """Medians over natural images of mean luminance and RMS contrast (SD of luminance) inside the aperture."""
    statistics = display.constraints()[-1].statistics(torch.from_numpy(natural).permute(0, 3, 1, 2).float() / 255)
    return {name: float(statistics[name].median()) for name in ("mean", "rms")}


def recipe(project: Project, natural: Pixels) -> dict[str, Any]:
    """How project.toml has images made, as arguments of `synth.ascend`: variables, constraints, transforms, learning rate.

    Mean luminance and contrast that it leaves out are the medians of the photographs `natural`, uint8 (N, H, W, C).
    """
    settings, typical = project.config.synthesis, natural_luminance(project.display, natural)
    mean = typical["mean"] if settings.mean_luminance is None else settings.mean_luminance
    rms = typical["rms"] if settings.rms_contrast is None else settings.rms_contrast
    return {
        "parameterisation": fourier(project.display.shape, decay=settings.decay),
        "constraints": project.display.constraints(mean=mean, rms=rms),
        "transforms": [jitter(settings.jitter_fraction)] if settings.jitter_fraction else [],
        "learning_rate": settings.learning_rate,
    }


def chosen_targets(project: Project, encoder: Encoder | Ensemble) -> list[str]:
    """The sites to control: all eligible ones, or those that the configuration names.

    Raises
    ------
    DataError
        D07: a named site is not eligible, or none is.
    """
    wanted = project.config.synthesis.targets
    targets = list(encoder.target_ids) if wanted == "all" else list(wanted)
    refused = [t for t in targets if t not in encoder.target_ids]
    if refused or not targets:
        raise DataError(
            str(project.folder / "project.toml"),
            found=f"targets that cannot be controlled: {', '.join(refused) or 'no eligible site'}",
            expected=f"sites among {', '.join(encoder.target_ids) or '(none)'}",
            cause="their reliability is below reliability_target, or the name is not one of the recorded sites",
            fix="set [synthesis] targets to eligible sites, or record more repeats",
            code="D07",
        )
    return targets


def declared(project: Project, targets: list[str]) -> Objective:
    """The objectives of project.toml, one row a kind and target, charged for the disagreement of the encoder's members."""
    settings = project.config.synthesis
    made = {"stretch": stretch(targets), "one_hot": one_hot(targets, temperature=settings.temperature)}
    objective = reduce(or_, [made[name] for name in settings.objectives])
    return cautious(objective, settings.kappa) if settings.kappa else objective


def starting_images(
    project: Project, number: int, sites: Key, targets: list[str]
) -> tuple[Pixels, list[list[str]]] | None:
    """The images that the ascent starts from, uint8 (rows, seeds, H, W, C), and their source ids; None where it starts from noise.

    The best measured images so far (transfer.md: the one step that helped most): natural images by shrunken baseline score, and, before
    them, earlier rounds' controllers of the same objective and site that were measured above the re-shown natural reference.
    """
    settings = project.config.synthesis
    if settings.start == "noise":
        return None
    data = gather(project, list(range(1, number)))
    best = best_natural(data, sites, targets, settings.objectives, settings.seeds, settings.temperature)
    won = winners(project, number)
    position = {s: i for i, s in enumerate(data.source_ids)}
    rows = []
    for objective in settings.objectives:
        for target in targets:
            measured = [position[s] for s in won.get((objective, target), []) if s in position]
            rows.append([*measured, *best[objective, target]][: settings.seeds])
    return np.stack([data.pixels[r] for r in rows]), [[data.source_ids[i] for i in r] for r in rows]


def winners(project: Project, number: int) -> dict[tuple[str, str], list[str]]:
    """Source ids of earlier controllers measured above their round's reference, by (objective, site), largest difference first."""
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for round_ in project.rounds():
        if 0 < round_.number < number and round_.evaluation_path.is_file():
            source_of = {r.image_id: r.source_id for r in read_key(round_.key_path).rows}
            for row in ControlReport.from_json(round_.evaluation_path).rows:
                if row.difference is not None and row.difference > 0:
                    found.setdefault((row.objective, row.site), []).append((row.difference, source_of[row.image_id]))
    return {key: [source for _, source in sorted(values, reverse=True)] for key, values in found.items()}


def predictor(
    encoder: Encoder | Ensemble, validator: Encoder | Ensemble | None, device: str
) -> Callable[[Pixels], dict[str, Floats]]:
    """uint8 images (S, H, W, C) -> predictions (S, U) by encoder (mean, SD over members) and validator, in micro-batches of 32.

    An encoder that knows its training images also gives their ``distance`` and ``outside``, (S,).
    """

    @torch.no_grad()
    def predict(pixels: Pixels) -> dict[str, Floats]:
        names = ("predicted", "predicted_sd", "validator_predicted", "distance", "outside")
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for first in range(0, len(pixels), 32):
            images = (torch.from_numpy(pixels[first : first + 32]).movedim(-1, 1).float() / 255).to(device)
            answers = encoder(images)
            members = answers if answers.ndim == 3 else answers[None]
            parts["predicted"].append(members.mean(0))
            parts["predicted_sd"].append(members.std(0) if len(members) > 1 else torch.full_like(members[0], torch.nan))
            if encoder.uncertainty is not None:
                judgement = encoder.judge(images)
                parts["distance"].append(judgement.distance)
                parts["outside"].append(judgement.outside)
            if validator is not None:
                judged = validator(images)
                parts["validator_predicted"].append(judged if judged.ndim == 2 else judged.mean(0))
        return {name: torch.cat(values).double().cpu().numpy() for name, values in parts.items() if values}

    return predict


def batch_statistics(batch: StimulusBatch) -> dict[str, float | None]:
    """Mean luminance and RMS contrast that the batch was held to."""
    for constraint in batch.settings.get("constraints", []):
        if "rms" in constraint:
            return {"mean": constraint["mean"], "rms": constraint["rms"]}
    return {"mean": None, "rms": None}


def controller_stimuli(batch: StimulusBatch, number: int) -> list[Stimulus]:
    """The controllers of a batch; one a (objective, site), the validator's choice, is confirmatory."""
    chosen = {(batch.row_names[i], batch.seeds[i]) for i in batch.best_indices()}
    return [
        Stimulus(
            pixels=batch.images[i],
            role="controller",
            source_id=f"ctl_r{number:02d}_{batch.kinds[i]}_{batch.targets[i]}_s{batch.seeds[i]}",
            objective=batch.kinds[i],
            target=batch.targets[i],
            generator=MADE_BY.get(batch.settings.get("generator", "ascend"), str(batch.settings.get("generator"))),
            seed=int(batch.seeds[i]),
            confirmatory=(batch.row_names[i], batch.seeds[i]) in chosen,
            started_from=batch.start_ids[i] if batch.start_ids else "",
            score=float(batch.scores[i]),
            validator_score=float("nan") if batch.validator_scores is None else float(batch.validator_scores[i]),
        )
        for i in range(len(batch))
    ]


def graded_steps(settings: SynthesisConfig) -> tuple[int, ...]:
    """Steps of the ascent whose iterates are shown as graded images: those of the configuration, else 4, 10 and 22 of 60, to scale."""
    if settings.graded_steps is not None:
        return settings.graded_steps
    scaled = {round(step * settings.steps / 60) for step in (4, 10, 22)}
    return tuple(sorted(step for step in scaled if 0 < step < settings.steps))


def graded_stimuli(batch: StimulusBatch, number: int) -> list[Stimulus]:
    """The graded images of the confirmatory controllers; one that is the controller itself is left out."""
    graded, controllers = batch.graded, controller_stimuli(batch, number)
    if graded is None or graded.parents is None or graded.steps is None:
        return []
    found = []
    for i, (parent, step) in enumerate(zip(graded.parents.tolist(), graded.steps.tolist(), strict=True)):
        controller = controllers[parent]
        if controller.confirmatory and not np.array_equal(graded.images[i], controller.pixels):
            found.append(
                replace(
                    controller,
                    pixels=graded.images[i],
                    role="graded",
                    source_id=f"{controller.source_id}_step{step:03d}",
                    parent=controller.source_id,
                    confirmatory=False,
                    score=float(graded.scores[i]),
                    validator_score=float("nan")
                    if graded.validator_scores is None
                    else float(graded.validator_scores[i]),
                )
            )
    return found


def natural_stimuli(data: Dataset, best: dict[tuple[str, str], list[int]], n_random: int, seed: int) -> list[Stimulus]:
    """The references (each listed for every objective and site that it serves) and `n_random` other natural images."""
    serves: dict[int, list[tuple[str, str]]] = {}
    for pair, images in best.items():
        for image in images:
            serves.setdefault(image, []).append(pair)
    others = np.array([i for i in range(data.natural) if i not in serves])
    drawn = np.random.default_rng(seed).permutation(others)[:n_random]
    references = [
        Stimulus(pixels=data.pixels[i], role="reference", source_id=data.source_ids[i], reference_for=tuple(pairs))
        for i, pairs in sorted(serves.items())
    ]
    return references + [
        Stimulus(pixels=data.pixels[i], role="natural", source_id=data.source_ids[i])
        for i in sorted(int(d) for d in drawn)
    ]
