"""Sections ``[protocol]``, ``[recording]``, ``[arms]``, ``[evaluation]``, ``[refit]``, ``[drift]`` and ``[loop]`` of a
project.toml: what is shown, taken, tested and done between rounds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocols.project.arms import ARMS, DEFAULT, ArmName

from .section import Count, Fraction, Milliseconds, Section, Seed

ANCHOR_REPEATS = 10  # presentations of the anchors of a baseline round


class ArmsConfig(Section):
    """Section ``[arms]``: control images shown beside the confirmatory controllers."""

    kinds: tuple[ArmName, ...] = Field(
        default=DEFAULT,
        strict=False,
        description="[names] Control arms to show, the most important first. "
        + "; ".join(f"{arm.name}: {arm.option}" for arm in ARMS.values())
        + ". []: none.",
    )
    repeats: Count = Field(
        default=8, description="[count] Presentations of each arm, at most as many as of a controller."
    )
    budget: int = Field(
        default=1000,
        ge=0,
        description=(
            "[presentations] Presentations of all arms of a round together. Arms that do not fit are left out from "
            "the end of kinds; the log says which."
        ),
    )
    found: str = Field(
        default="",
        description=(
            "[path] Folder in the project that `stimsynth generate --generator search --as-is` wrote: "
            "predicted_natural shows the best of its photographs where that is predicted above the best of the "
            "project's. Empty: none."
        ),
    )


class ProtocolConfig(Section):
    """Section ``[protocol]``: what is shown, how often, how long."""

    presentations: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=0,
        description=(
            "[presentations] Presentations of a round, blanks among them, which the planner divides among images so "
            "that most true controls are found. 0, and minutes = 0: 150 for each target site and objective."
        ),
    )
    minutes: Annotated[float, Field(ge=0, le=100_000)] = Field(
        default=0.0,
        description=(
            "[min] Length of a round with overhead and pauses, in place of presentations. 0: it is as long as its "
            "presentations take."
        ),
    )
    beside: Annotated[float, Field(ge=0, le=0.9)] = Field(
        default=0.25,
        description=(
            "[fraction of the presentations] Largest share of a round for what no verdict needs: control arms, graded "
            "images, further seeds, and photographs for the refit, all together; with one_hot 8 random photographs "
            "stay as long as they fit, since suppression is tested against them."
        ),
    )
    repeats: Count | None = Field(
        default=None,
        description=(
            "[count] Presentations of each image in a round, counted by hand in place of presentations or minutes: "
            "every image so often, with as many references as stated. Left out: the planner divides."
        ),
    )
    blocks: Count = Field(
        default=4, description="[count] Blocks that a round is cut into; each shows every image, in a new order."
    )
    references: Count = Field(
        default=3,
        description=(
            "[count] Best natural images (of suppress: least activating) shown again for each target and objective, at "
            "most; the planner takes as few as find most, and with repeats given by hand all are shown."
        ),
    )
    natural_images: int = Field(
        default=20, ge=0, description="[count] Random natural images shown per round, to follow drift and to refit."
    )
    chosen_images: int = Field(
        default=0,
        ge=0,
        description=(
            "[count] Natural images shown per round that are chosen to teach the refit, besides the random ones; none"
            " of them is held out."
        ),
    )
    choice: Literal["disagreement", "core_set"] = Field(
        default="disagreement",
        description=(
            '[name] How these images are chosen. "disagreement": the members of the encoder disagree most; '
            '"core_set": they lie farthest from what was shown.'
        ),
    )
    blanks_per_block: int = Field(
        default=8, ge=0, description="[count] Presentations of the plain background in each block."
    )
    on_ms: Milliseconds = Field(default=100.0, description="[ms] Time that an image is on the screen.")
    off_ms: Annotated[float, Field(ge=0, le=60_000)] = Field(
        default=100.0, description="[ms] Time of the background between two images."
    )
    response_window_ms: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(70.0, 170.0),
        description="[ms after image onset] Window in which the recording counts responses.",
    )
    baseline_repeats: Count = Field(
        default=8, description="[count] Presentations of each photograph in the baseline round (round 0)."
    )
    baseline_anchors: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0,
        description=(
            "[count] Photographs of the baseline round that are shown 10 times, so that the sites' reliability is "
            "known; all others are shown baseline_repeats times, which may be 1 or 2 then. 0: all alike."
        ),
    )
    seed: Seed = Field(
        default=0, description="[integer] Seed of the order of the trials and of the names of the images."
    )
    expected_loss: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description=("[fraction] Presentations that leave no usable trial (broken fixation); for planning only."),
    )
    overhead: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.0,
        description=(
            "[fraction of on_ms + off_ms] Time around a presentation (fixation, reward); for planning and minutes."
        ),
    )
    pause_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=0.0, description="[s] Pause between two blocks; for planning and minutes."
    )


class RecordingConfig(Section):
    """Section ``[recording]``: which recordings are taken; `stimsynth ingest` has an option for each key."""

    max_dropped: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.3,
        description="[fraction of the rows] Largest part of a recording that may be marked invalid (broken fixation).",
    )
    max_unseen: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05,
        description="[fraction of the images] Largest part of a round's images that may be without a usable trial.",
    )
    extra: Literal["refuse", "drop"] = Field(
        default="refuse",
        description=(
            '[name] What becomes of an answer in which images were shown more often than planned. "refuse": it may '
            'hold rows twice; "drop": the last presentations of each image are left out and counted.'
        ),
    )


class EvaluationConfig(Section):
    """Section ``[evaluation]``: when a controller counts as a success."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.01, description="[probability] Level of the one-sided permutation test."
    )
    permutations: int = Field(
        default=9999,
        ge=99,
        le=10_000_000,
        description="[count] Random permutations, where not all permutations can be listed.",
    )
    seed: Seed = Field(
        default=0,
        description=("[integer] Seed of the permutations, and of which half of the trials chooses the reference."),
    )
    looks: Annotated[int, Field(ge=0, le=2)] = Field(
        default=0,
        description=(
            "[count] Interim looks at a round whose blocks are delivered one after the other: controllers that are "
            "decided are shown no more, their presentations go to the others (docs/interim.md). 0: none."
        ),
    )
    look_after: tuple[Count, ...] = Field(
        default=(),
        strict=False,
        description=(
            "[blocks] How many blocks each look waits for. []: half of them; with two looks, half and three quarters."
        ),
    )
    spending: Literal["obrien_fleming", "pocock"] = Field(
        default="obrien_fleming",
        description=(
            '[name] How alpha is spent over the looks. "obrien_fleming": little at first, most at the end; "pocock": '
            "about evenly."
        ),
    )
    futility: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05,
        description=(
            "[probability] A look gives up a controller whose chance of success at the end, were its effect as large "
            "as so far, is below this. 0: none is given up."
        ),
    )


class LoopConfig(Section):
    """Section ``[loop]``: how far `stimsynth run` goes."""

    rounds: Count = Field(default=2, description="[count] Closed-loop rounds after the baseline round.")
    review: bool = Field(
        default=False,
        description=(
            "[true or false] Stop when the images of a round, or of a generation of its evolution, are made, so that "
            "they can be looked at and vetoed: `stimsynth run` waits until `stimsynth export` (`stimsynth evolve` "
            "for a generation) was given."
        ),
    )


class RefitConfig(Section):
    """Section ``[refit]``: what becomes of the encoder between two rounds."""

    mode: Literal["full", "warm", "gain", "reuse"] = Field(
        default="full",
        description=(
            '[name] "full": fit from scratch on all rounds; "warm": continue from the present weights (readouts '
            'without gradient are fitted from scratch); "gain": fit only gain and offset of every site, on the rounds'
            ' that the readouts were not fitted to; "reuse": the encoder of the round before makes the images again.'
        ),
    )
    recency: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description=(
            "[factor] A trial's weight is this to the power of its age in rounds; the newest round has age 0. 1: old "
            "trials weigh as much as new ones."
        ),
    )
    natural_floor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="[factor] Least weight of a natural image, however old."
    )
    natural_share: Fraction = Field(
        default=0.25,
        description=(
            "[fraction of the weight] Least share of the natural images in a refit; with too few of them the encoder "
            "forgets them."
        ),
    )
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.02,
        description=(
            "[correlation, or FEVE of a gain refit] A refit is refused where the median over sites of the score on "
            "held-out natural images falls by more than this."
        ),
    )
    accept_worse: str = Field(
        default="",
        description=(
            '[text] Reason to accept a refit that would be refused; the reason is recorded. "": none is accepted.'
        ),
    )


class DriftConfig(Section):
    """Section ``[drift]``: what is done about sites that change between the recording days."""

    align: bool = Field(
        default=True,
        description=(
            "[true or false] Bring each round's responses to the baseline's scale, by gains and shifts measured with "
            "images that are shown again, before the rounds are pooled in a fit."
        ),
    )
    exclude: bool = Field(
        default=True,
        description=(
            "[true or false] Leave a site out of a round's verdicts and of later fits where there is evidence that "
            "its tuning or signal is lost, or that it is another site's."
        ),
    )
