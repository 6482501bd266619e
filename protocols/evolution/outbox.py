"""The outbox of a generation: that of a round, with the images of all targets and their references, shuffled."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import new_folder
from protocols.disk.png import read_png, write_png
from protocols.disk.shares import make_folder, writing
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.project.generations.files import AGAIN, EVOLVED, OBJECTIVE, Evolution, Generation
from protocols.project.photographs import NaturalImages
from protocols.rounds.decisions.evolved import honoured_generation
from protocols.rounds.decisions.honour import tell_honoured
from protocols.rounds.export import Inspection, Showing, export_round
from protocols.rounds.safety import guard
from protocols.rounds.stimulus import Stimulus
from synth.evolution.optimisers import Optimiser, make_optimiser, replayed

from .candidates import Candidate
from .images import Pictures
from .plan import Plan, going_on, seed_of
from .scores import history, image_name

ROUNDING = 1.0
"""Mean difference in grey levels up to which two images are one that was made on two devices."""


def optimiser_of(plan: Plan, number: int, target: str, *, records: Sequence[Mapping[str, Any]]) -> Optimiser:
    """The optimiser of one target after all that it was told: it follows from the plan and the scores alone."""
    settings, start = plan.settings, plan.starts[plan.targets.index(target)]

    def make() -> Optimiser:
        return make_optimiser(
            settings.optimiser,
            start,
            population=settings.population,
            sigma=settings.first_sigma,
            seed=seed_of(settings, number, target),
        )

    return replayed(make, history(records, target, population=settings.population))


def next_images(
    project: Project,
    evolution: Evolution,
    plan: Plan,
    *,
    pictures: Pictures,
    records: Sequence[Mapping[str, Any]],
    progress: Reporter | None = None,
) -> list[Stimulus]:
    """The images of the next generation, of all targets that nobody stopped; the same whenever they are made.

    Raises
    ------
    DataError
        O04: all targets are stopped; O08: more presentations than ``max_presentations``, or no image that the display
        can show.
    """
    number, generation = evolution.round.number, evolution.generation(len(records) + 1)
    settings, stimuli = project.config.evolution, list[Stimulus]()
    if not records and (last := settings.presentations_again(len(plan.targets))) > settings.max_presentations:
        raise _refused(
            f"{last} presentations at the end, when the candidates of {len(plan.targets)} targets are shown again",
            f"at most max_presentations = {settings.max_presentations}",
        )
    targets = going_on(project, plan.targets)
    for done, target in enumerate(targets):
        codes = optimiser_of(plan, number, target, records=records).ask()
        for place, code in enumerate(codes):
            image = pictures.pixels(code)
            if image is not None:
                name = image_name(number, generation.generation, target, place=place)
                stimuli.append(_stimulus(plan, target, name, place=place, pixels=image, generator=EVOLVED))
        if progress is not None:
            progress(f"images of generation {generation.generation}", done + 1, len(targets))
    lost = [t for t in targets if not any(s.target == t for s in stimuli)]
    if lost:
        raise _refused(f"no image for {', '.join(lost)} that the display can show", "images of its mean and contrast")
    return stimuli


def images_again(project: Project, plan: Plan, candidates: Sequence[Candidate]) -> list[Stimulus]:
    """The candidates of the targets that go on, to be shown again; raises as `next_images`."""
    targets = going_on(project, plan.targets)
    return [
        _stimulus(plan, c.target, c.source_id, place=place, pixels=c.pixels, generator=AGAIN)
        for place, c in enumerate(candidates)
        if c.target in targets
    ]


def looked_at(generation: Generation, stimuli: Sequence[Stimulus]) -> list[Stimulus]:
    """The `stimuli` with the pixels in which they were proposed; empty where one of them is another image, or new.

    What is made again on another device may differ by rounding, `ROUNDING` grey levels in the mean over its pixels:
    vetoes are about the pixels that somebody saw, and those are shown.
    """
    proposed, seen = generation.proposed(), list[Stimulus]()
    for stimulus in stimuli:
        if stimulus.source_id not in proposed:
            return []
        pixels = read_png(proposed[stimulus.source_id])
        if pixels.shape != stimulus.pixels.shape:
            return []
        if np.abs(pixels.astype(float) - stimulus.pixels).mean() > ROUNDING:
            return []
        seen.append(replace(stimulus, pixels=pixels))
    return seen


def propose(generation: Generation, stimuli: Sequence[Stimulus]) -> None:
    """Keep the images of a generation as files that a person can look at before its export, instead of earlier ones."""
    shutil.rmtree(generation.proposed_path, ignore_errors=True)
    with new_folder(generation.proposed_path) as folder:
        for stimulus in stimuli:
            write_png(folder / f"{stimulus.source_id}.png", stimulus.pixels)


def _stimulus(plan: Plan, target: str, name: str, *, place: int, pixels: Any, generator: str) -> Stimulus:
    return Stimulus(
        pixels=pixels,
        role="controller",
        source_id=name,
        objective=OBJECTIVE,
        target=target,
        generator=generator,
        seed=place,
        started_from=plan.started_from[target],
    )


def export_images(
    project: Project,
    generation: Generation,
    plan: Plan,
    *,
    pictures: Pictures,
    stimuli: Sequence[Stimulus],
    often: int,
    progress: Reporter | None = None,
) -> Path:
    """Export those images of a generation that nobody vetoed, `often` times each; returns its outbox.

    Raises
    ------
    DataError
        O08: more presentations than ``max_presentations``; S10, S12: the decisions cannot be read, or leave no image of
        a target; X01 to X05, F10, F12: as for a round. `SafetyStop`: a limit of ``[safety]`` is exceeded.
    """
    stimuli, honoured = honoured_generation(project, generation, stimuli)
    targets = {stimulus.target for stimulus in stimuli}
    config, references = project.config, _references(project, plan, targets)
    most = max(often, config.evolution.reference_repeats)
    if len(references) < 2 and len(stimuli) > 1:
        most = often  # a photograph would follow itself
    shown = len(stimuli) * often + len(references) * most
    if shown > config.evolution.max_presentations:
        raise _refused(
            f"{shown} presentations for {len(targets)} targets",
            f"at most max_presentations = {config.evolution.max_presentations}",
        )
    timing = config.protocol.model_copy(update={"blocks": 1, "blanks_per_block": 0})
    with writing(generation.folder):
        make_folder(generation.folder)

    def check(pixels: Any) -> list[str]:
        named = zip(stimuli, pictures.broken(np.asarray(pixels)), strict=True)
        return [f"{s.source_id}: {problem}" for s, problem in named if problem]

    outbox = export_round(
        generation,
        project.display,
        [*stimuli, *references],
        sites=plan.sites,
        showing=Showing(config=timing, repeats=most, fewer={"controller": often}, rigs=config.rig.software),
        manifest={
            "generation": generation.generation,
            "config": {name: config.to_dict()[name] for name in ("rig", "safety")}
            | {"protocol": timing.model_dump(mode="json")},
            "encoder": {"unit": plan.unit},
            "evolution": {"targets": len(targets), "optimiser": plan.settings.optimiser},
            **tell_honoured(generation, honoured),
        },
        inspection=Inspection(check=check, safety=guard(config, progress)),
    )
    shutil.rmtree(generation.proposed_path, ignore_errors=True)  # the outbox has them now
    return outbox


def _references(project: Project, plan: Plan, targets: Collection[str]) -> list[Stimulus]:
    """The photographs shown again for `targets`, each once, with those that it serves."""
    serves: dict[str, list[tuple[str, str]]] = {}
    for target in (t for t in plan.references if t in targets):
        for name in plan.references[target]:
            serves.setdefault(name, []).append((OBJECTIVE, target))
    natural = NaturalImages.load(project.data)
    pixels = dict(zip(natural.source_ids, natural.pixels(), strict=True))
    return [
        Stimulus(pixels=pixels[name], role="reference", source_id=name, reference_for=tuple(pairs))
        for name, pairs in sorted(serves.items())
    ]


def _refused(found: str, expected: str) -> DataError:
    return DataError(
        "project.toml [evolution]",
        found=found,
        expected=expected,
        cause="many targets share one generation, or a display of few levels",
        fix="raise max_presentations or lower candidates or candidate_repeats, which may be changed while an evolution"
        " runs; or move the round's folder evolution away, and name fewer targets or lower population or repeats",
        code="O08",
    )
