"""Section ``[evolution]`` of project.toml: images evolved on the rig by recorded responses (docs/evolution_rig.md)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .section import Count, Name, Section, Seed


class EvolutionConfig(Section):
    """Section ``[evolution]``: images evolved on the rig, before the round is exported."""

    generations: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0,
        description=(
            "[count] Generations shown before a round is exported, each a small outbox of its own; the evolved images "
            'then enter the round as the arm "evolved". 0: no evolution. May be lowered while it runs: it ends then.'
        ),
    )
    rounds: tuple[Count, ...] = Field(
        default=(1,),
        strict=False,
        min_length=1,
        description="[round numbers] Rounds before which images are evolved; later rounds show the same images again.",
    )
    targets: Literal["all"] | Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] = Field(
        default="all",
        description=(
            '[site ids] Sites to evolve images for, all in one generation. "all": the targets of [synthesis]. Recorded '
            "sites that are named need no encoder: then nothing is fitted before the evolution."
        ),
    )
    optimiser: Literal["cma", "genetic"] = Field(
        default="cma", description='[name] "cma": diagonal CMA-ES; "genetic": the genetic algorithm of XDream.'
    )
    latent: str = Field(
        default="fourier",
        min_length=1,
        description=(
            '[name] What is evolved. "fourier": low-pass Fourier coefficients; "prior": the initial noise of the prior '
            "of [diffusion]; else a file or folder of a decoder (relative to this folder)."
        ),
    )
    start: Literal["noise", "photographs", "controllers"] = Field(
        default="photographs",
        description=(
            "[name] Where each target's evolution starts: random codes, its best photographs, or the controllers that "
            "the encoder made (hybrid; they are made before the evolution then)."
        ),
    )
    population: Annotated[int, Field(ge=4, le=1000)] = Field(
        default=40, description="[count] Images per target in each generation."
    )
    sigma: Annotated[float, Field(gt=0, le=100)] = Field(
        default=2.0, description="[standard deviation of the codes] First step size of cma."
    )
    repeats: Count = Field(default=1, description="[count] Presentations of each image within its generation.")
    references: Count = Field(
        default=3, description="[count] Best photographs of each target shown again in each generation, against drift."
    )
    reference_repeats: Count = Field(
        default=4, description="[count] Presentations of each of them, at least as many as of an image."
    )
    candidates: Count = Field(
        default=4,
        description=(
            "[count] Images per target that are shown again at the end; the best by these new trials enters the round."
        ),
    )
    candidate_repeats: Count = Field(default=10, description="[count] Presentations of each of them.")
    max_presentations: Count = Field(
        default=2000,
        description="[presentations] Most presentations of one generation; a larger one is refused, not exported.",
    )
    seed: Seed = Field(default=0, description="[integer] Seed of the optimisers.")

    @property
    def comes_before(self) -> str:
        """The stage that the evolution comes before: without an encoder the fit, else the images, or their export."""
        if self.start == "controllers":
            return "export"
        return "generate" if self.targets == "all" else "fit"

    def presentations(self, targets: int) -> int:
        """Presentations of a generation of so many targets that share no reference."""
        return targets * (self.population * self.repeats + self.references * self.reference_repeats)
