"""The objectives of a round, one row each: its name, its words on the page, how its score reads, what its test needs.

To add an objective: its name in `ObjectiveName`, a row here, one in `protocols.verdict.objectives` (score, gain, test),
one in `protocols.verdict.experiments` (simulated tests), and its image objective in `protocols.synthesis.request`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from protocols.arrays import Floats

ObjectiveName = Literal["stretch", "one_hot", "suppress"]
"""What ``[synthesis] objectives`` of project.toml may name."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What the rooms of `protocols` say of one objective and how they show its score.

    Attributes
    ----------
    name : str
        As project.toml, key.csv and evaluation.json have it.
    label : str
        For titles, axes and legends.
    description : str
        What the images of the objective do, for the comment above ``[synthesis] objectives`` in project.toml; no full
        stop.
    explanation : str
        Sentences of the report page, above the table of the objective.
    all_sites : bool
        The score needs the standardised responses of all sites; False: the response of the target site alone, in the
        recording's unit.
    log_score : bool
        Gains are of the logarithm of the score that is shown.
    below : bool
        A controller succeeds below its references: scores are responses with their sign turned, so that higher is
        better as everywhere, and what is shown of them is the response itself.
    reference_name : str
        What the natural reference of a site is, for axes and sentences.
    score_name : str
        Symbol of the score that is shown ("S"); "" where the score is the response itself.
    score_axis : str
        Label of an axis of scores; ``{unit}`` stands for the recording's unit.
    marker, marker_name : str
        Marker of the objective in figures (matplotlib's code) and its plural noun for the title.
    site_scores : callable
        Score of each image at each site, higher is better, from responses in the recording's unit and the natural mean
        and SD of each site: ``(responses (..., U), mean (U,), sd (U,), temperature=1.0) -> (..., U)``.
    """

    name: ObjectiveName
    label: str
    description: str
    explanation: str
    all_sites: bool
    log_score: bool
    below: bool
    reference_name: str
    score_name: str
    score_axis: str
    marker: str
    marker_name: str
    site_scores: Callable[..., Floats]

    def displayed(self, score: float) -> float:
        """A score as it is shown: the softmax share of a logarithm, a response with its own sign."""
        return math.exp(score) if self.log_score else self.sign * score

    @property
    def sign(self) -> float:
        """-1 where lower responses score higher, else 1."""
        return -1.0 if self.below else 1.0

    @property
    def gain_in_sd(self) -> bool:
        """Gains are in natural SDs in every unit: a fraction of a response that is to vanish would mean nothing."""
        return self.below

    @property
    def side(self) -> str:
        """On which side of its references a controller succeeds: "above" or "below"."""
        return "below" if self.below else "above"

    @property
    def gain_words(self) -> str:
        """What a gain is, before the name of the reference."""
        return "response below" if self.below else "gain over"

    def score_label(self, unit: str) -> str:
        """Label of an axis of scores that were recorded in `unit`."""
        return self.score_axis.format(unit=unit)

    @property
    def tested_name(self) -> str:
        """Name of what the tests compare: the selectivity contrast, or "" where it is the response itself."""
        return "selectivity" if self.all_sites else ""

    @property
    def difference_name(self) -> str:
        """Name of the score whose differences are gains: "log S", or "" where it is the response itself."""
        return f"log {self.score_name}" if self.log_score else self.score_name


def responses_as_scores(responses: Floats, mean: Floats, sd: Floats, *, temperature: float = 1.0) -> Floats:
    """The responses themselves, shape (..., U): `mean`, `sd` and `temperature` do not matter."""
    return responses


def responses_turned(responses: Floats, mean: Floats, sd: Floats, *, temperature: float = 1.0) -> Floats:
    """The responses with their sign turned, shape (..., U): the lowest response has the highest score."""
    return -np.asarray(responses)


def one_hot_scores(responses: Floats, mean: Floats, sd: Floats, *, temperature: float = 1.0) -> Floats:
    """Log softmax over sites of standardised responses, shape (..., U) -> (..., U)."""
    from scipy.special import log_softmax

    return np.asarray(log_softmax((responses - mean) / sd / temperature, axis=-1))


OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective(
            name="stretch",
            label="stretch",
            description="drive the target site as far as possible",
            explanation=(
                "Each controller against the site's best natural image, both shown in this round. A single re-shown "
                "image is tested whole; of several, each half of the trials picks one, which is tested on the other "
                "half. The gain is of the evoked response over the named image."
            ),
            all_sites=False,
            log_score=False,
            below=False,
            reference_name="best natural image",
            score_name="",
            score_axis="recorded response ({unit})",
            marker="o",
            marker_name="circles",
            site_scores=responses_as_scores,
        ),
        Objective(
            name="one_hot",
            label="one-hot",
            description="drive the target site and not the others",
            explanation=(
                "S is the softmax over all sites of the standardised mean responses, at the target. Control: target "
                "less weighted mean of the other sites, above the best natural image's (picked like the stretch "
                "reference; the weights are those of log S at the responses that were predicted before the round). "
                "Suppression: the other sites below their mean over random natural images."
            ),
            all_sites=True,
            log_score=True,
            below=False,
            reference_name="best natural image",
            score_name="S",
            score_axis="softmax share S",
            marker="s",
            marker_name="squares",
            site_scores=one_hot_scores,
        ),
        Objective(
            name="suppress",
            label="suppress",
            description="drive the target site as low as possible",
            explanation=(
                "Each controller against the site's least activating natural image, both shown in this round and "
                "compared like the stretch controllers with the sign turned: the test asks whether the response is "
                "below. The gain is how far below, in natural SDs. Room is the reference's mean response above zero, "
                "which is all that a controller can take away; where the trials hold too few spikes for any verdict, "
                "the site is not testable. The blank stands beside the verdict."
            ),
            all_sites=False,
            log_score=False,
            below=True,
            reference_name="least activating natural image",
            score_name="",
            score_axis="recorded response ({unit})",
            marker="v",
            marker_name="triangles",
            site_scores=responses_turned,
        ),
    )
}
"""Every objective by its name, in the order in which a round makes and reports them."""

NAMES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)
DEFAULT: tuple[ObjectiveName, ...] = ("stretch", "one_hot")
"""The objectives of a project that does not name any."""


def objective_named(name: str) -> Objective:
    """The row of `OBJECTIVES`; an objective of another version gets its own name and a grey word on the page.

    Such an objective is excluded by the evaluation, with the reason; its row here only lets the page show that.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    return replace(
        OBJECTIVES["stretch"],
        label=name,
        description="an objective of another version",
        explanation="This version knows no control score for this objective: nothing is tested.",
        marker="^",
        marker_name="upright triangles",
    )


def controller_id(number: int, objective: str, site: str, *, seed: int) -> str:
    """Source id of the controller of `objective` and `site` that the ascent with `seed` made for round `number`."""
    return f"ctl_r{number:02d}_{objective}_{site}_s{seed}"
