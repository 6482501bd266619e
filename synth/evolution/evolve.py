"""Evolution by an encoder: from an objective and a latent to a batch of 8-bit images, without a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.answers import Answers, evaluating
from synth.ascent.checks import start_names_of, start_of, starts_of
from synth.batch import StimulusBatch
from synth.batches import Best, check_finite, collect, in_micro_batches, project, quantise, seed_from
from synth.constraints.exact import ConstraintError
from synth.contract import Attributes, EncoderLike, Images, Progress, attributes_of, describe
from synth.devices import device_named
from synth.objectives import Objective
from synth.probe import ask_encoder, check_answers, probe_images
from synth.steady import check_frozen

from .genetic import GeneticSettings
from .latents import Latent
from .optimisers import Optimiser, make_optimiser

__all__ = ["GENERATIONS", "POPULATION", "Evolution", "evolve"]

POPULATION = 40  # as of Wang & Ponce (2022)
GENERATIONS = 75


@dataclass(frozen=True)
class Evolution:
    """How every image is found; the settings of `synth.evolution.optimisers.make_optimiser`.

    Attributes
    ----------
    method : "cma" or "genetic"
    population, generations : int
        Every image costs population x generations evaluations.
    sigma : float, or None
        SD of the first generation, in the unit of the code.
    settings : GeneticSettings, name of a preset, or None
    """

    method: str = "cma"
    population: int = POPULATION
    generations: int = GENERATIONS
    sigma: float | None = None
    settings: GeneticSettings | str | None = None

    def begin(self, start: NDArray[np.float64], seed: int) -> Optimiser:
        """The optimiser of one image."""
        return make_optimiser(
            self.method, start, population=self.population, sigma=self.sigma, seed=seed, settings=self.settings
        )


@torch.no_grad()
def evolve(
    encoder: EncoderLike,
    objective: Objective,
    latent: Latent,
    *,
    how: Evolution | None = None,
    constraints: Sequence[Images] = (),
    seeds: Sequence[int] = (0,),
    start: Tensor | NDArray[np.floating[Any]] | None = None,
    start_ids: Sequence[Sequence[str]] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> StimulusBatch:
    """Evolve an image per row and seed: ask an optimiser for codes, score their 8-bit images, tell it the scores.

    Every row is evolved from every seed, in the order row 0 seed 0, row 0 seed 1, ..., each by an optimiser of its own
    with a generator of its own: an image is the same alone, in any batch and in any shard (to floating-point rounding
    of the encoder). What is scored is what will be shown: after the constraints, in 8 bits. The best image of all
    generations is returned. No gradient is taken, so the encoder may be any black box that keeps the contract.

    Parameters
    ----------
    encoder : callable
        Images (B, C, H, W) in [0, 1] -> responses (B, U) or (M, B, U), as for `synth.ascend`.
    objective : Objective of R rows
    latent : Latent
        From `synth.evolution.latents`, or any like it.
    how : Evolution, or None = diagonal CMA-ES, 75 generations of 40
    constraints : sequence of callables
        As for `synth.ascend`. A code whose image they cannot make has no score.
    seeds : sequence of int
    start : Tensor or array of shape (R, C, H, W) or (R, len(seeds), C, H, W), in [0, 1], or None
        Images whose codes the evolution starts from, such as controllers found by gradients (a hybrid); None starts
        from a code drawn for each seed.
    start_ids, batch_size, device, progress : as for `synth.ascend`
        `progress` counts generations of all images.

    Returns
    -------
    StimulusBatch of R x len(seeds) images
        ``trace`` holds the best score of every generation.

    Raises
    ------
    ValueError
        An argument, an encoder or an objective that cannot serve, before the first generation; later a score that is
        not finite, or a generation of which no image can be shown (`ConstraintError`).
    """
    check_frozen(encoder)
    how, seeds = Evolution() if how is None else how, [int(s) for s in seeds]
    if how.generations < 1 or not seeds or not len(objective) or (batch_size is not None and batch_size < 1):
        raise ValueError(
            f"{how.generations} generations, {len(seeds)} seeds, {len(objective)} rows, batch_size {batch_size}; "
            "expected at least 1 of each"
        )
    if isinstance(encoder, nn.Module) and device is not None:
        encoder = encoder.to(device_named(device))
    known = attributes_of(encoder)
    place = known.device if device is None else device_named(device)
    images = start_of(start)
    starts = starts_of(images, len(objective), len(seeds))
    codes = None if starts is None else latent.encode(starts.float())
    names_of_starts = start_names_of(start_ids, len(objective), len(seeds))
    asked = ask_encoder(encoder, probe_images(latent.shape, place), site_ids=known.site_ids)
    check_answers(asked, objective.bind(known.site_ids, known.mean, known.sd), known.site_ids)
    rows = objective.repeat(len(seeds))
    every_seed = np.tile(np.array(seeds, dtype=np.int64), len(objective))
    scorer = _Scorer(asked.encoder, latent, tuple(constraints), known, batch_size)
    found: dict[int, Best] = {}
    for images_of_set in _sets(rows):
        own = [seed_of(rows.row_names[i], int(every_seed[i])) for i in images_of_set]
        firsts = [latent.start(s) for s in own] if codes is None else [codes[i] for i in images_of_set]
        optimisers = [how.begin(first, s) for first, s in zip(firsts, own, strict=True)]
        tell = _reporter(progress, len(found), len(own), images=len(rows), generations=how.generations)
        names = [f"{rows.row_names[i]}, seed {every_seed[i]}" for i in images_of_set]
        best = _evolved(
            optimisers, scorer, rows.take(images_of_set), names=names, generations=how.generations, tell=tell
        )
        found |= dict(zip(images_of_set, _apart(best), strict=True))
    settings = {
        "generator": "evolve",
        "objective": objective.describe(),
        "latent": latent.describe(),
        "optimiser": {k: v for k, v in optimisers[0].describe().items() if k != "seed"},
        "constraints": [describe(c) for c in constraints] or [{"name": "clip"}],
        "seeds": seeds,
        "steps": how.generations,
        "evaluations": how.generations * how.population,
        "start": "noise" if images is None else "images",
        "device": place.type,
        "threads": torch.get_num_threads(),
    }
    return collect(
        asked.encoder,
        [found[i] for i in range(len(rows))],
        rows, seeds=every_seed, start_ids=names_of_starts, known=known,
        settings=settings | asked.settings(),
    )  # fmt: skip


def seed_of(row: str, seed: int) -> int:
    """The seed of the optimiser of one image, of its row name and seed."""
    return seed_from(row, "evolution", seed)


def _sets(rows: Objective) -> list[list[int]]:
    """The images that are scored together: those of each set (`synth.diverse`), and every other image alone."""
    sets: dict[object, list[int]] = {}
    for i, row in enumerate(rows.rows):
        sets.setdefault(row.group or i, []).append(i)
    return list(sets.values())


def _apart(best: Best) -> list[Best]:
    """The images of one set, each with its own record."""
    parts = []
    for i in range(len(best.scores)):
        one = Best(1, best.check, None)
        for name in ("trace", "scores", "since", "stopped", "pixels", "shown", "predicted", "sd"):
            setattr(one, name, getattr(best, name)[i : i + 1])
        one.check = best.check
        parts.append(one)
    return parts


def _evolved(
    optimisers: Sequence[Optimiser],
    scorer: _Scorer,
    rows: Objective,
    *,
    names: Sequence[str],
    generations: int,
    tell: Any,
) -> Best:
    """The best images of one set: of the generation and place in the population whose mean score is highest."""
    best = Best(len(rows), generations, None)
    for generation in range(generations):
        codes = np.stack([optimiser.ask() for optimiser in optimisers], 1)  # (P, k, D)
        pixels, shown, answers = scorer.scored(codes, rows, names, generation=generation)
        scores = answers.scores.reshape(len(codes), len(rows))
        for optimiser, own in zip(optimisers, scores.T, strict=True):
            optimiser.tell(own)
        first = int(np.nanargmax(scores.mean(1))) * len(rows)
        chosen = slice(first, first + len(rows))
        one = Answers(answers.mean[chosen], answers.sd[chosen], answers.scores[chosen])
        _keep(best, pixels[chosen], one, shown=shown[chosen])
        tell(generation + 1)
    return best


def _keep(best: Best, pixels: Tensor, answers: Answers, *, shown: Tensor) -> None:
    """Keep the images of a set where their mean score has risen, all of them or none."""
    if best.check and answers.scores.mean() <= best.scores.mean():
        best.trace[:, best.check] = answers.scores
        best.check += 1
        return
    best.scores[:] = -np.inf
    best.update(pixels, answers, shown)


@dataclass(frozen=True)
class _Scorer:
    """Scores codes by the 8-bit images that the display would show."""

    encoder: EncoderLike
    latent: Latent
    constraints: tuple[Images, ...]
    known: Attributes
    batch_size: int | None

    def scored(
        self, codes: NDArray[np.float64], rows: Objective, names: Sequence[str], *, generation: int
    ) -> tuple[Tensor, Tensor, Answers]:
        """Pixels (P k, H, W, C), images before rounding, and answers, of the codes (P, k, D) of k rows.

        The images of one set lie side by side. A code whose image cannot be shown has a score of NaN, and so have the
        others of its set.
        """
        population, k, size = codes.shape
        several = rows.repeat(population).take([r * population + p for p in range(population) for r in range(k)])
        flat = codes.reshape(population * k, size)

        def part(begin: int, end: int) -> tuple[Tensor, Tensor, Answers]:
            known = self.known
            shown, possible = self._shown(flat[begin:end])
            pixels = quantise(shown, self.constraints)
            bound = several[begin:end].bind(known.site_ids, known.mean, known.sd).to(pixels.device)
            answers = evaluating(self.encoder, bound, pixels)
            check_finite(torch.from_numpy(answers.scores), [names[i % k] for i in range(begin, end)], "the score")
            answers.scores[~np.repeat(possible.reshape(-1, k).all(1), k)] = np.nan
            return pixels, shown, answers

        parts, _ = in_micro_batches(several.spans, self.batch_size, part)
        scores = np.concatenate([a.scores for _, _, a in parts])
        if np.isnan(scores).all():
            raise ConstraintError(
                f"generation {generation + 1}, {names[0]}: the display can show no image of this generation; expected "
                "at least one of the population. Take another latent, or wider limits of mean and contrast",
                reachable=None,
                index=0,
            )
        whole = Answers(
            np.concatenate([a.mean for _, _, a in parts]), np.concatenate([a.sd for _, _, a in parts]), scores
        )
        return torch.cat([p for p, _, _ in parts]), torch.cat([s for _, s, _ in parts]), whole

    def _shown(self, codes: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Images (n, C, H, W) as they may be shown, and which of them can be; middle grey in place of the others."""
        images = self.latent.decode(codes).to(self.known.device)
        possible = np.ones(len(codes), dtype=np.bool_)
        try:
            return project(images, self.constraints), possible
        except ConstraintError:
            shown = torch.full_like(images, 0.5)
        for i in range(len(images)):
            try:
                shown[i] = project(images[i : i + 1], self.constraints)[0]
            except ConstraintError:
                possible[i] = False
        return shown, possible


def _reporter(progress: Progress | None, done: int, images_now: int, *, images: int, generations: int) -> Any:
    """Progress in generations of all images, of which `done` are finished."""
    if progress is None:
        return lambda now: None
    return lambda now: progress("evolve", done * generations + now * images_now, images * generations)
