"""What a round will take and what it can find: presentations, hours, smallest p, gain within reach of every site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from protocols.models.fit import held_out_of
from protocols.project.folder import Project
from protocols.project.key import Key
from protocols.project.photographs import NaturalImages
from protocols.recordings.dataset import Dataset, gather
from protocols.recordings.natural import best_natural, shrunken_means
from protocols.recordings.units import UNITS
from protocols.rounds.stimulus import natural_stimuli
from protocols.stats.reach import reachable_p
from protocols.stats.trials import trial_variance
from protocols.synthesis.request import graded_steps
from protocols.verdict.expected import ExpectedSite, Trials
from protocols.verdict.experiments import SIMULATED
from protocols.verdict.power import SitePlan, plan_site

from .progress import Reporter

if TYPE_CHECKING:
    from encoders import Encoder, Ensemble


@dataclass(frozen=True)
class SessionPlan:
    """What a round takes and what it can find.

    Attributes
    ----------
    round : int
    images, presentations : dict of role to int
    minutes : float
        Length of the round with its pauses.
    repeats : int
        Presentations of every image (fewer of graded images and arms).
    smallest_p : dict of objective to float
        The smallest p that a test can reach.
    gain, gain_unit, power
        The gain that is asked for, "fraction" of the evoked response or "natural SD", and the power that is wanted.
    sites : tuple of SitePlan
        One per objective and site; empty before the baseline is recorded.
    notes : tuple of str
    """

    round: int
    images: dict[str, int]
    presentations: dict[str, int]
    minutes: float
    repeats: int
    smallest_p: dict[str, float]
    gain: float
    gain_unit: str
    power: float
    sites: tuple[SitePlan, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The plan for scripts; ``presentations`` is the sum, ``by_role`` its parts."""
        total = sum(self.presentations.values())
        return {
            **asdict(self),
            "presentations": total,
            "by_role": self.presentations,
            "hours": self.minutes / 60,
            "sites": [asdict(s) for s in self.sites],
            "summary": {o: summary for o in self.smallest_p if (summary := self._spread(o))},
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """The plan for people."""
        total = sum(self.presentations.values())
        lines = [
            f"round {self.round}: {total} presentations, {self.minutes:.1f} minutes ({self.minutes / 60:.2f} hours)"
        ]
        lines += [
            f"  {role:<10} {self.images[role]:>5} images {n:>6} presentations" for role, n in self.presentations.items()
        ]
        for objective, p in self.smallest_p.items():
            lines.append(f"{objective}: smallest reachable p {p:.2g} with {self.repeats} repeats")
            if spread := self._spread(objective):
                lines += [f"  {line}" for line in self._sentences(spread)]
        return "\n".join([*lines, *(f"note: {n}" for n in self.notes)])

    def _spread(self, objective: str) -> dict[str, Any]:
        """Median, least and most over the sites; out of reach counts as more than any number (None)."""
        rows = [s for s in self.sites if s.objective == objective]
        if not rows:
            return {}
        columns = {
            "detectable_gain": [math.inf if s.detectable_gain is None else s.detectable_gain for s in rows],
            "repeats_needed": [math.inf if s.repeats_needed is None else s.repeats_needed for s in rows],
            "power": [s.power for s in rows],
        }
        return {
            "sites": len(rows),
            **{
                name: {k: v if math.isfinite(v) else None for k, v in _three(values).items()}
                for name, values in columns.items()
            },
        }

    def _sentences(self, spread: dict[str, Any]) -> list[str]:
        def gain(value: float | None) -> str:
            if value is None:
                return "out of reach"
            return f"+{100 * value:.0f} %" if self.gain_unit == "fraction" else f"+{value:.2f} natural SD"

        def three(name: str, form: Any) -> str:
            values = spread[name]
            least, most = form(values["least"]), form(values["most"])
            return f"{form(values['median'])} (from {least} to {most} over {spread['sites']} sites)"

        return [
            f"gain of the target found with power {self.power:g}: {three('detectable_gain', gain)}",
            f"power for {gain(self.gain)}: {three('power', lambda p: f'{p:.2f}')}",
            f"repeats for {gain(self.gain)} with power {self.power:g}: "
            + three("repeats_needed", lambda n: "out of reach" if n is None else f"{n:.0f}"),
        ]


def _three(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"median": ordered[len(ordered) // 2], "least": ordered[0], "most": ordered[-1]}


def plan_round(
    project: Project, number: int, *, gain: float = 0.3, wanted: float = 0.8, progress: Reporter | None = None
) -> SessionPlan:
    """Plan round `number` from the configuration and, after round 0, from the baseline and the fitted encoder.

    Raises
    ------
    DataError
        D01 nothing recorded, D06 no encoder yet, D07 no site to control.
    """
    config = project.config.protocol
    unit, rows, notes = "", list[SitePlan](), list[str]()
    if number == 0:
        images, repeats = {"natural": len(NaturalImages.load(project.data).source_ids)}, config.baseline_repeats
    else:
        from protocols.models.pair import load_pair
        from protocols.synthesis.request import chosen_targets

        encoder, repeats = load_pair(project, number)[0], config.repeats
        targets, data = chosen_targets(project, encoder), gather(project, [])
        best, images = _images(project, number, data, encoder=encoder, targets=targets)
        sites, unit, notes = expected_sites(project, data, encoder, best=best)
        rows = _site_plans(sites, _trials(project), gain, wanted=wanted, progress=progress)
    if config.overhead == 0 and config.pause_s == 0:
        notes.append("the time is that of images and gaps alone: fixation, reward and pauses are overhead and pause_s")
    schedule = _schedule(project, number, images, repeats=repeats)
    return SessionPlan(
        round=number,
        **schedule._asdict(),
        repeats=repeats,
        gain=gain,
        gain_unit=unit,
        power=wanted,
        sites=tuple(rows),
        notes=tuple(notes),
    )


def _site_plans(
    sites: Mapping[tuple[str, str], ExpectedSite],
    trials: Trials,
    gain: float,
    *,
    wanted: float,
    progress: Reporter | None,
) -> list[SitePlan]:
    """What can be found at each (objective, site)."""
    rows: list[SitePlan] = []
    for (objective, site), expected in sites.items():
        if progress is not None:
            progress("planning", len(rows), len(sites))
        experiments = SIMULATED[objective].planned
        rows.append(
            plan_site(expected, trials, gain, wanted=wanted, objective=objective, experiments=experiments, name=site)
        )
    if progress is not None and rows:
        progress("planning", len(rows), len(sites))
    return rows


class _Schedule(NamedTuple):
    """Images and presentations by role, the length in minutes, and the smallest p by objective."""

    images: dict[str, int]
    presentations: dict[str, int]
    minutes: float
    smallest_p: dict[str, float]


def _schedule(project: Project, number: int, images: dict[str, int], *, repeats: int) -> _Schedule:
    """How long a round with these images takes, and the smallest p that its tests can reach."""
    config = project.config.protocol
    fewer = {"graded": project.config.synthesis.graded_repeats, "arm": project.config.arms.repeats}
    shown = {role: n * min(repeats, fewer.get(role, repeats)) for role, n in images.items()}
    if blanks := config.blanks_per_block * min(config.blocks, repeats):
        images, shown = {**images, "blank": 1}, {**shown, "blank": blanks}
    seconds = sum(shown.values()) * (config.on_ms + config.off_ms) / 1000 * (1 + config.overhead)
    seconds += (min(config.blocks, repeats) - 1) * config.pause_s
    objectives = project.config.synthesis.objectives if number else ()
    least = 1 / (1 + project.config.evaluation.permutations)
    smallest: dict[str, float] = {o: max(least, reachable_p(repeats, config.blocks)) for o in objectives}
    return _Schedule(images=images, presentations=shown, minutes=seconds / 60, smallest_p=smallest)


def _images(
    project: Project, number: int, data: Dataset, *, encoder: Encoder | Ensemble, targets: list[str]
) -> tuple[dict[tuple[str, str], list[int]], dict[str, int]]:
    """The references of every objective and target, and the number of images by role.

    Of graded images and arms there are at most so many. Arms that cannot be made and photographs that are shown anyway
    are known only at export.
    """
    from protocols.models.pair import site_rows

    config, synthesis = project.config.protocol, project.config.synthesis
    key = Key((), tuple(site_rows(encoder)))
    best = best_natural(
        data, key, targets, objectives=synthesis.objectives, count=config.references, temperature=synthesis.temperature
    )
    photographs = natural_stimuli(data, best, config.natural_images, seed=config.seed + number)
    roles, shown = [s.role for s in photographs], {s.source_id for s in photographs}
    fitted = np.array(data.source_ids[: data.natural])[~held_out_of(project, data)[: data.natural]]
    pairs, arms = len(targets) * len(synthesis.objectives), project.config.arms
    affordable = arms.budget // min(arms.repeats, config.repeats)
    return best, {
        "controller": pairs * synthesis.seeds,
        "graded": pairs * len(graded_steps(synthesis)) if synthesis.generator == "gradient" else 0,
        "arm": min(pairs * len(arms.kinds), affordable),
        "reference": roles.count("reference") + min(config.chosen_images, len(set(fitted.tolist()) - shown)),
        "natural": roles.count("natural"),
    }


def _trials(project: Project) -> Trials:
    """How a round of the configuration is shown and tested."""
    config, evaluation = project.config.protocol, project.config.evaluation
    return Trials(
        repeats=config.repeats,
        blocks=config.blocks,
        alpha=evaluation.alpha,
        permutations=evaluation.permutations,
        lost=config.expected_loss,
    )


def expected_sites(
    project: Project, data: Dataset, encoder: Encoder | Ensemble, *, best: dict[tuple[str, str], list[int]]
) -> tuple[dict[tuple[str, str], ExpectedSite], str, list[str]]:
    """What the baseline says of every (objective, target): shrunken means of its references, trial variance, blank.

    Also the unit of gains ("fraction" of the evoked response, or "natural SD") and notes. Empty where only averages
    were recorded.
    """
    if data.averaged_over is not None:
        return {}, "", ["the baseline holds averages: without single trials their variance, hence power, is unknown"]
    columns = [data.site_ids.index(s) for s in encoder.site_ids]
    shown = data.image_index < data.natural
    values, index = data.values[shown][:, columns], data.image_index[shown]
    means = shrunken_means(values, index, data.natural)
    variance, level = (np.nan_to_num(v) for v in trial_variance(values, index))
    zero = UNITS[data.unit].zero
    counted = zero and bool((level > 0).all())
    blanks, notes = values[index < 0], []
    blank = np.nanmean(blanks, axis=0) if len(blanks) else np.zeros(len(columns))
    if zero and not counted:
        notes.append("a site's mean response is not above 0: gains are in natural SDs, not fractions")
    if counted and not len(blanks):
        notes.append("no blanks in the baseline: gains are fractions of the whole response")
    noise: dict[str, Any] = {"fano": variance / np.where(level > 0, level, 1.0)} if counted else {"variance": variance}
    expected = {}
    for (objective, target), images in best.items():
        k = list(encoder.site_ids).index(target)
        expected[objective, target] = ExpectedSite(
            means[images],
            target=k,
            blank=float(blank[k]),
            natural_mean=encoder.natural_mean.double().cpu().numpy(),
            natural_sd=encoder.natural_sd.double().cpu().numpy(),
            temperature=project.config.synthesis.temperature,
            **noise,
        )
    return expected, "fraction" if counted else "natural SD", notes
