"""Section ``[evolution]`` of project.toml: images evolved on the rig by recorded responses (docs/evolution_rig.md)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from .section import Count, Name, Section, Seed

IMAGE_SIGMA = 0.5  # of the first generation around an image
ELITES = 10  # images that the genetic algorithm keeps from one generation to the next


class Wrong(NamedTuple):
    """Keys that do not go together: which, what stands there, what should, and the way out."""

    key: str
    found: str
    expected: str
    fix: str


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
            '[name] What is evolved. "fourier": the low frequencies of the image; "prior": the initial noise of the '
            "prior of [diffusion], from noise alone; else a file with the weights of a decoder, in this folder "
            "(docs/evolution.md)."
        ),
    )
    cutoff: Annotated[float, Field(ge=1, le=1000)] = Field(
        default=10.0,
        description="[cycles per image] Highest frequency of the fourier latent; 10 is 317 numbers for a grey square.",
    )
    start: Literal["noise", "photographs", "controllers"] = Field(
        default="noise",
        description=(
            "[name] Where each target's evolution starts: random codes, its best photographs, or the controllers that "
            "the encoder made (hybrid; they are made before the evolution then)."
        ),
    )
    population: Annotated[int, Field(ge=4, le=1000)] = Field(
        default=40, description="[count] Images per target in each generation."
    )
    sigma: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None,
        description=(
            "[standard deviations of the codes] How far the first generation spreads around its start. Left out: 2 "
            "(cma) or 1 (genetic) from noise, 0.5 from an image, which keeps what it starts from."
        ),
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
    max_unseen: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.5,
        description=(
            "[fraction of the images] Largest part of a generation's images that may be without a usable trial, in "
            "place of max_unseen of [recording]: shown once or twice each, many are lost with their trials."
        ),
    )
    seed: Seed = Field(default=0, description="[integer] Seed of the optimisers.")

    @property
    def comes_before(self) -> str:
        """The stage that the evolution comes before: without an encoder the fit, else the images, or their export."""
        if self.start == "controllers":
            return "export"
        return "generate" if self.targets == "all" else "fit"

    @property
    def first_sigma(self) -> float | None:
        """SD of the first generation; None: that of the optimiser."""
        return IMAGE_SIGMA if self.sigma is None and self.start != "noise" else self.sigma

    def presentations(self, targets: int) -> int:
        """Presentations of a generation of so many targets that share no reference."""
        return targets * (self.population * self.repeats + self.references * self.reference_repeats)

    def presentations_again(self, targets: int) -> int:
        """Presentations at the end, when the candidates of so many targets are shown again."""
        of_references = self.references * max(self.reference_repeats, self.candidate_repeats)
        return targets * (self.candidates * self.candidate_repeats + of_references)

    def contradiction(self, *, shown: bool) -> Wrong | None:
        """The first pair of keys that do not go together; `shown`: the arm "evolved" stands in ``[arms] kinds``."""
        if not self.generations and shown:
            found, fix = 'the arm "evolved" with [evolution] generations = 0', "set generations, such as 20"
            return Wrong("[arms] kinds", found, "images that were evolved", f'{fix}, or leave "evolved" out of kinds')
        if not self.generations:
            return None
        if not shown:
            return Wrong(
                "[arms] kinds",
                f'[evolution] generations = {self.generations} without the arm "evolved"',
                "the round to show what was evolved: scores of the evolution itself suffer the winner's curse",
                'add "evolved" to [arms] kinds, or set generations to 0',
            )
        if self.optimiser == "genetic" and self.population <= ELITES:
            found = f'population = {self.population} with optimiser = "genetic"'
            expected = f"more than the {ELITES} images that each generation keeps"
            return Wrong("[evolution]", found, expected, f"set population to {ELITES + 1} or more, or take cma")
        if self.latent == "prior" and self.start != "noise":
            found = f'start = "{self.start}" with latent = "prior"'
            return Wrong("[evolution]", found, "a latent with a way back from an image", 'set latent to "fourier"')
        return self._wrong_references() or self._wrong_size()

    def _wrong_references(self) -> Wrong | None:
        often, found = self.repeats, f"reference_repeats = {self.reference_repeats} with repeats = {self.repeats}"
        if self.reference_repeats < often:
            expected = "references shown at least as often as the images that are compared with them"
            return Wrong("[evolution]", found, expected, f"set reference_repeats to {often} or more")
        if self.references < 2 and self.reference_repeats > often:
            fix = f"set references to 2 or more, or reference_repeats to {often}"
            return Wrong("[evolution]", f"references = 1, {found}", "two photographs, so that none follows itself", fix)
        return None

    def _wrong_size(self) -> Wrong | None:
        targets = 1 if self.targets == "all" else len(self.targets)
        named = f"{targets} target{'' if targets == 1 else 's'}"
        most, fewer = f"at most max_presentations = {self.max_presentations}", "or raise max_presentations"
        if (shown := self.presentations(targets)) > self.max_presentations:
            found = f"population = {self.population}, repeats = {self.repeats} and their references for {named}"
            fix = f"name fewer targets, lower population or repeats, {fewer}"
            return Wrong("[evolution]", f"{found}: {shown} presentations per generation", most, fix)
        if (shown := self.presentations_again(targets)) > self.max_presentations:
            found = f"candidates = {self.candidates}, candidate_repeats = {self.candidate_repeats}"
            fix = f"name fewer targets, lower candidates or candidate_repeats, {fewer}"
            return Wrong(
                "[evolution]", f"{found} and their references for {named}: {shown} presentations at the end", most, fix
            )
        return None
