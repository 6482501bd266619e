"""Sections ``[protocol]``, ``[arms]``, ``[evaluation]``, ``[refit]``, ``[drift]`` and ``[loop]`` of a project.toml: what is shown, tested and done between rounds."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from protocols.project.arms import ArmName

from .safety import SafetyConfig as SafetyConfig
from .section import Count, Fraction, Milliseconds, Section, Seed


class ArmsConfig(Section):
    """Section ``[arms]``: control images shown beside the confirmatory controllers."""

    kinds: tuple[ArmName, ...] = Field(
        default=get_args(ArmName),
        strict=False,
        description="[names] Control arms, the most important first: the controller at natural local contrast, the best natural image at the "
        "controller's local contrast, the best natural image by prediction, the controller with random phases. [] shows none.",
    )
    repeats: Count = Field(default=8, description="[count] Presentations of each arm, at most those of a controller.")
    budget: int = Field(
        default=1000,
        ge=0,
        description="[presentations] Of all arms of a round; what does not fit is cut from the end of kinds and told in the log.",
    )


class ProtocolConfig(Section):
    """Section ``[protocol]``: what is shown, how often, how long."""

    repeats: Count = Field(
        default=24,
        description="[count] Presentations of each image in a round; half of those of a reference choose it, half test it.",
    )
    blocks: Count = Field(
        default=4, description="[count] Blocks a round is cut into; each shows every image, in a new order."
    )
    references: Count = Field(
        default=5,
        description="[count] Best natural images shown again for each target and objective: what a controller must beat.",
    )
    natural_images: int = Field(
        default=20, ge=0, description="[count] Random natural images a round, to follow drift and to refit."
    )
    chosen_images: int = Field(
        default=0,
        ge=0,
        description="[count] Natural images a round, none held out, chosen to teach the refit, beside the random ones.",
    )
    choice: Literal["disagreement", "core_set"] = Field(
        default="disagreement",
        description='[name] How they are chosen: "disagreement" of the members of the encoder, or "core_set": farthest from what was shown.',
    )
    blanks_per_block: int = Field(
        default=8, ge=0, description="[count] Presentations of the plain background in each block."
    )
    on_ms: Milliseconds = Field(default=100.0, description="[ms] Image on the screen.")
    off_ms: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=100.0, description="[ms] Background between two images."
    )
    response_window_ms: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(70.0, 170.0),
        description="[ms after image onset] Window in which the recording is expected to count responses.",
    )
    baseline_repeats: Count = Field(
        default=8, description="[count] Presentations of each photograph in the baseline round (round 0)."
    )
    seed: Seed = Field(default=0, description="[integer] Order of the trials, names of the images.")
    expected_loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="[fraction] Presentations without a usable trial (broken fixation), for planning only."
    )
    overhead: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.0,
        description="[fraction of on_ms + off_ms] Time around a presentation (fixation, reward), for planning only.",
    )
    pause_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=0.0, description="[s] Pause between two blocks, for planning only."
    )


class EvaluationConfig(Section):
    """Section ``[evaluation]``: when a controller counts as a success."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.01, description="[probability] Level of the one-sided permutation test."
    )
    permutations: int = Field(
        default=9999, ge=99, le=10_000_000, description="[count] Random permutations where not all can be listed."
    )
    seed: Seed = Field(
        default=0, description="[integer] Permutations, and which half of the trials picks the reference."
    )


class LoopConfig(Section):
    """Section ``[loop]``: how far `stimsynth run` goes."""

    rounds: Count = Field(default=2, description="[count] Closed-loop rounds after the baseline round.")


class RefitConfig(Section):
    """Section ``[refit]``: what becomes of the encoder between two rounds."""

    mode: Literal["full", "warm", "gain", "reuse"] = Field(
        default="full",
        description='[name] "full": fit anew on all rounds; "warm": go on from the weights at hand, readouts without gradient fit anew; "gain": only gain and offset of every site, from the rounds that the readouts were not fitted to; '
        '"reuse": the encoder of the round before serves again.',
    )
    recency: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="[factor] A trial's weight is this to the power of its age in rounds, the newest having 1; 1: nothing is forgotten.",
    )
    natural_floor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="[factor] Natural images never weigh less than this, however old."
    )
    natural_share: Fraction = Field(
        default=0.25,
        description="[fraction of the weight] Least share of the natural images in a refit, without which the encoder forgets them.",
    )
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.02,
        description="[correlation, or FEVE of a gain refit] A refit is refused where the median over sites of the score on held-out natural "
        "images falls by more than this.",
    )
    accept_worse: str = Field(
        default="", description='[text] Reason to accept a refit that is refused; it is recorded; "": none is accepted.'
    )


class DriftConfig(Section):
    """Section ``[drift]``: what is done about sites that change between the recording days."""

    align: bool = Field(
        default=True,
        description="[true or false] Bring each round's responses to the baseline's scale, by gains and shifts from re-shown images, before they are pooled in a fit.",
    )
    exclude: bool = Field(
        default=True,
        description="[true or false] Leave sites out of a round's verdicts and of later fits where their tuning or signal is lost, or another site's, on evidence.",
    )
