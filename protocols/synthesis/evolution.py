"""Batches found by evolution: the objectives of a project, the newest encoder, and a latent by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from protocols.disk.drawing import new_figure
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.folder import Project
from synth import StimulusBatch, ascend
from synth.evolution.decoder_files import decoder_latent
from synth.evolution.evolve import Evolution, evolve
from synth.evolution.fourier_code import CUTOFF, FourierCode
from synth.evolution.latents import Latent, PriorNoise

from .batch import BatchOptions, in_words, plan_batch
from .priors import open_prior

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EvolutionOptions", "evolution_figure", "evolved_batch", "open_latent"]

PRIOR_PIXELS = 64  # pixels per side: 12288 numbers, where the size of the display would be several times as many
HYBRID_SIGMA = 0.5
ROWS_DRAWN, IMAGES_ABREAST = 12, 4


@dataclass(frozen=True, kw_only=True)
class EvolutionOptions:
    """What is asked of an evolution.

    Attributes
    ----------
    method : "cma" or "genetic"
    latent : "fourier", "prior", or path of a decoder's weights, relative to the working folder
    cutoff : float
        Of "fourier", in cycles per image.
    population, generations : int
    sigma : float, or None
        SD of the first generation; None = that of the method, or 0.5 with `hybrid`, which keeps what it starts from.
    hybrid : bool
        Start from the controllers of gradient ascent.
    seeds : int, or None = as project.toml has it
    """

    method: str = "cma"
    latent: str = "fourier"
    cutoff: float = CUTOFF
    population: int = 40
    generations: int = 75
    sigma: float | None = None
    hybrid: bool = False
    seeds: int | None = None


def evolved_batch(
    project: Project,
    wanted: Path | None,
    *,
    options: EvolutionOptions,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> StimulusBatch:
    """Images evolved for the objectives of the file `wanted`, by the newest encoder, judged by its validator.

    The display, its mean and its contrast are those of every other generator.

    Raises
    ------
    DataError
        V10: a latent that cannot be opened, or that has no way back from the controllers of a hybrid.
    """
    latent = open_latent(project, options, device=device)
    plan = plan_batch(project, wanted, options=BatchOptions(seeds=options.seeds), device=device)
    request = plan.request
    begins: dict[str, Any] = {}
    sigma = options.sigma
    if options.hybrid:
        first = ascend(
            plan.encoder,
            plan.objective,
            **request.recipe,
            seeds=request.seeds,
            steps=request.steps,
            start=request.start,
            start_ids=request.start_ids,
            device=device,
            progress=progress,
        )
        images = torch.from_numpy(first.images).movedim(-1, -3).float() / 255
        begins["start"] = images.reshape(len(plan.objective), len(request.seeds), *images.shape[1:])
        names = [f"gradient {row}, seed {seed}" for row, seed in zip(first.row_names, first.seeds, strict=True)]
        count = len(request.seeds)
        begins["start_ids"] = [names[i : i + count] for i in range(0, len(names), count)]
        sigma = HYBRID_SIGMA if sigma is None else sigma
    how = Evolution(options.method, options.population, options.generations, sigma)
    batch = evolve(
        plan.encoder,
        plan.objective,
        latent,
        how=how,
        constraints=request.recipe["constraints"],
        seeds=request.seeds,
        device=device,
        progress=progress,
        **begins,
    )
    return in_words(batch.validate(plan.validator), plan)


def open_latent(project: Project, options: EvolutionOptions, *, device: str = "cpu") -> Latent:
    """The latent that `options` name, for the display of `project`.

    Raises
    ------
    DataError
        V10
    """
    name, shape = options.latent, project.display.shape
    if options.hybrid and name == "prior":
        raise _no_latent(name, "a prior, whose noise cannot be found from an image", "leave out --hybrid, or")
    try:
        if name == "fourier":
            return FourierCode(shape, cutoff=options.cutoff, device=device)
        if name == "prior":
            settings = project.config.diffusion.model_copy(update={"size_px": PRIOR_PIXELS})
            return PriorNoise(open_prior(settings, shape, project.folder), shape, device=device)
        latent = decoder_latent(name, shape, device=device)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        if name == "fourier":
            raise _no_cutoff(options.cutoff, str(error)) from error
        raise _no_latent(name, str(error)) from error
    if options.hybrid and not latent.invertible:
        raise _no_latent(name, "a decoder without a way back from images to codes", "leave out --hybrid, or")
    return latent


def evolution_figure(batch: StimulusBatch) -> Figure:
    """The best score so far against the images that were scored, and the best image of each row (12 rows at most)."""
    chosen = list(batch.best_indices())[:ROWS_DRAWN]
    wide = min(len(chosen), IMAGES_ABREAST)
    deep = -(-len(chosen) // wide)
    figure = new_figure(4.4 + 1.3 * wide, max(3.0, 1.55 * deep))
    parts: Any = figure.subfigures(1, 2, width_ratios=[4.4, 1.3 * wide])
    axes = parts[0].subplots()
    per_generation = batch.settings["evaluations"] / batch.settings["steps"]
    for number, i in enumerate(chosen):
        best = np.fmax.accumulate(batch.trace[i])
        axes.plot(per_generation * np.arange(1, len(best) + 1), best, color=f"C{number % 10}", label=batch.row_names[i])
    axes.set_xlabel("images scored by the encoder")
    axes.set_ylabel("score of the best so far")
    axes.legend(fontsize=7, frameon=False, loc="lower right")
    grid = parts[1].subplots(deep, wide, squeeze=False)
    for place, axis in enumerate(grid.flat):
        axis.axis("off")
        if place < len(chosen):
            image = batch.images[chosen[place]]
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{batch.row_names[chosen[place]]}\n{batch.scores[chosen[place]]:.2f}", fontsize=7)
    return figure


def _no_cutoff(cutoff: float, found: str) -> DataError:
    return DataError(
        f"--cutoff {cutoff:g}",
        found=found,
        expected="a highest frequency that the pixels of this display can show",
        cause="a small display, or a cut-off in other units",
        fix="give --cutoff, in cycles per image, within this range",
        code="V10",
    )


def _no_latent(name: str, found: str, first: str = "correct the path, or") -> DataError:
    return DataError(
        f"latent {name!r}",
        found=found,
        expected="fourier, prior, or a file with the weights of a decoder that is known (docs/evolution.md)",
        cause="a slip of the pen, a path relative to another folder, or a network of another kind",
        fix=f"{first} take --latent fourier, which needs no file",
        code="V10",
    )
