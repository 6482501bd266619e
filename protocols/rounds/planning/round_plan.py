"""The division of a round of a project: everything known before it, its references, and how often each image is
shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from encoders import Encoder, Ensemble
from encoders.fitting.predict import predict_stored
from encoders.uncertainty import spread_over_layers
from protocols.arrays import Floats
from protocols.libraries.found import FoundPhotographs, found_photographs
from protocols.models.pair import site_rows
from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.folder import Project
from protocols.project.generations.files import OBJECTIVE
from protocols.project.key import Key
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.dataset import Dataset, gather
from protocols.recordings.natural import CANDIDATES, NaturalPosterior, References, choose_references, posterior_of
from protocols.recordings.units import UNITS
from protocols.rounds.evolved import evolved_alone, of_pairs
from protocols.rounds.stimulus import Stimulus
from protocols.stats.trials import sums_per_image
from synth import StimulusBatch

from .allocate import RoundBudget, allocate
from .beside import tested_naturals
from .contrasts import Contrasts, contrasts_of
from .division import Division, Pair, Share, by_hand, minutes_of
from .expected import likely_pairs
from .found import Comparison, Pairs, by_objective, expected_found
from .gains import earlier_controllers, expected_gains
from .levels import made_levels
from .noise import Noise, trial_noise
from .objectives import planned_objectives
from .reach import Judging, least_p
from .wishes import wishes_of

PER_PAIR = 150  # presentations for each target site and objective, where project.toml states none


@dataclass(frozen=True, kw_only=True)
class RoundDivision:
    """A divided round, and what it was divided by.

    Attributes
    ----------
    division : Division
    data : Dataset
        The baseline and all earlier rounds.
    posterior : NaturalPosterior
    predicted : array of shape (N, U)
        The encoder's predictions of the photographs.
    library : FoundPhotographs
        Photographs of a library for the arm ``predicted_natural``.
    references : References
        With their expected shortfall.
    pairs : Pairs
    gains : dict of pair to (mean, SD)
        Of the controllers, as `pairs` draws them.
    found : array of shape (P,)
        Probability to find each true control.
    noise : Noise
    levels : StimulusBatch or None
        The photographs at graded levels, where they are made already.
    wishes : dict of name to Share
        What was asked for beside the tests.
    budget : RoundBudget
    test : Judging
    notes : tuple of str
    columns : dict of site id to int
        Columns of `posterior`.
    natural_sd : array of shape (U,)
    """

    division: Division
    data: Dataset
    posterior: NaturalPosterior
    predicted: Floats
    library: FoundPhotographs
    references: References
    pairs: Pairs
    gains: Mapping[Pair, tuple[float, float]]
    found: Floats
    noise: Noise
    levels: StimulusBatch | None
    wishes: Mapping[str, Share]
    budget: RoundBudget
    test: Judging
    notes: tuple[str, ...]
    columns: Mapping[str, int]
    natural_sd: Floats

    def evoked(self, pair: Pair) -> float:
        """Expected response of the target to its best reference less that to the blank."""
        k = self.columns[pair[1]]
        return float(self.posterior.mean[self.references.images[pair][0], k] - self.noise.blank[k])

    def comparison(self, pair: Pair) -> Comparison:
        """The confirmatory test of a pair against its best reference, gains being fractions of the evoked response, or
        in natural SDs where the unit does not count from zero or the site is to be driven low.
        """
        p, sd = self.pairs.names.index(pair), float(self.natural_sd[self.columns[pair[1]]])
        row, counted = OBJECTIVES[pair[0]], self.noise.fano is not None
        evoked = self.evoked(pair) if counted and not row.gain_in_sd else sd
        return Comparison(
            level=float(self.pairs.references[:, p, 0].mean()),
            step=max(evoked, 0.0) / (sd if row.all_sites else 1.0),
            floor=float(self.pairs.floor[p]),
            slope=float(self.pairs.slope[p]),
            most=-self.noise.lowest if row.below else math.inf,
        )


def divide_round(
    project: Project,
    number: int,
    *,
    encoder: Encoder | Ensemble,
    targets: Sequence[str],
    batch: StimulusBatch | None = None,
    device: str = "cpu",
) -> RoundDivision:
    """Divide round `number` among its images by the configuration and all that was recorded before it.

    Parameters
    ----------
    project : Project
    number : int
    encoder : Encoder or Ensemble
        That makes the images of the round.
    targets : sequence of str
    batch : StimulusBatch, optional
        The controllers with the validator's predictions; without, every pair is expected to gain the same.
    device : str

    Raises
    ------
    DataError
        C18: one site, and objectives that compare sites; C19: too few presentations; D01: nothing recorded.
    """
    config, key, data = project.config, Key((), tuple(site_rows(encoder))), gather(project, range(1, number))
    predicted, error = _predictions(project, encoder, data, device=device)
    posterior = posterior_of(data, key.site_ids, predicted=predicted, error=error)
    objectives, left_out = planned_objectives(
        config.synthesis.objectives,
        None if batch is None else [str(kind) for kind in batch.kinds],
        sites=len(key.sites),
    )
    made = None if batch is None else set(zip(map(str, batch.kinds), map(str, batch.targets), strict=True))
    tested = [(o, t) for o in objectives for t in targets if made is None or (o, t) in made]
    alone = tuple(evolved_alone(project, number, {t for o, t in tested if o == OBJECTIVE}, site_ids=key.site_ids))
    references = _references(project, number, posterior, key=key, tested=tested, alone=alone, unit=data.unit)
    noise, notes = trial_noise(data, key)
    contrasts = contrasts_of(
        data, key, posterior, best=dict(references.images), temperature=config.synthesis.temperature
    )
    known = _Known(project, number, key=key, data=data, posterior=posterior, noise=noise, contrasts=contrasts)
    gains = expected_gains(
        tuple(references.images),
        measured=known.measured(references),
        predicted={} if batch is None else known.predicted(references, batch),
        counted=noise.fano is not None,
    )
    pairs = likely_pairs(data, key, posterior, noise=noise, references=references, contrasts=contrasts, gains=gains)
    library = found_photographs(project, encoder, data.pixels[: data.natural])
    answers = np.vstack([predicted, library.predicted])
    levels = made_levels(project, number)
    wishes = wishes_of(project, data, references, number=number, predicted=answers, sites=key, levels=levels)
    budget, test = budget_of(config, len(pairs.names)), test_of(config)
    division, found = divided(config, pairs, references, wishes=wishes, budget=budget, test=test)
    return RoundDivision(
        division=division,
        data=data,
        posterior=posterior,
        predicted=predicted,
        library=library,
        references=references,
        pairs=pairs,
        gains=gains,
        found=found,
        noise=noise,
        levels=levels,
        wishes=wishes,
        budget=budget,
        test=test,
        notes=(*left_out, *notes, *_few_naturals(division, wishes), *few_blanks(division, test)),
        columns={site: k for k, site in enumerate(key.site_ids)},
        natural_sd=key.natural_statistics()[1],
    )


def _references(
    project: Project,
    number: int,
    posterior: NaturalPosterior,
    *,
    key: Key,
    tested: Sequence[Pair],
    alone: tuple[str, ...],
    unit: str,
) -> References:
    """The references of the round: of the pairs of an objective and a site that are `tested`, and of `alone`, sites
    with an evolved image in place of a stretch controller, for stretch.
    """
    config, shown = project.config, list(dict.fromkeys([*tested, *((OBJECTIVE, t) for t in alone)]))
    references = choose_references(
        posterior,
        key,
        list(dict.fromkeys(t for _, t in shown)),
        objectives=tuple(dict.fromkeys(o for o, _ in shown)),
        count=_most_references(config),
        temperature=config.synthesis.temperature,
        seed=config.protocol.seed + number,
        lowest=UNITS[unit].lowest,
    )
    return of_pairs(references, shown)


def budget_of(config: Config, pairs: int) -> RoundBudget:
    """What the configuration gives a round of so many pairs of an objective and a site."""
    protocol = config.protocol
    total = protocol.presentations or PER_PAIR * pairs
    if protocol.minutes:
        each = (protocol.on_ms + protocol.off_ms) / 1000 * (1 + protocol.overhead)
        total = math.floor(max(0.0, protocol.minutes * 60 - (protocol.blocks - 1) * protocol.pause_s) / each)
    return RoundBudget(
        total=total,
        beside=protocol.beside,
        blocks=protocol.blocks,
        blanks=protocol.blanks_per_block * protocol.blocks,
        references=protocol.references,
    )


def test_of(config: Config) -> Judging:
    """How the configuration tests a round."""
    evaluation = config.evaluation
    return Judging(alpha=evaluation.alpha, permutations=evaluation.permutations, lost=config.protocol.expected_loss)


def divided(
    config: Config,
    pairs: Pairs,
    references: References,
    *,
    wishes: Mapping[str, Share],
    budget: RoundBudget,
    test: Judging,
) -> tuple[Division, Floats]:
    """The division of the configuration, by hand or by the planner, and the probability (P,) to find each true
    control.
    """
    if config.protocol.repeats is None:
        allocated = allocate(pairs, wishes, budget, test=test)
        return allocated.division, allocated.found
    division = by_hand(config, references.images, wishes)
    shown = np.full(len(pairs.names), config.protocol.repeats)
    return division, expected_found(pairs, pairs.images.shape[1], shown, test=test, blocks=division.blocks)


def _most_references(config: Config) -> int:
    """References of a pair that are looked at: all that are stated by hand; the planner takes few of the best."""
    protocol = config.protocol
    return min(protocol.references, CANDIDATES) if protocol.repeats is None else protocol.references


def _few_naturals(division: Division, wishes: Mapping[str, Share]) -> list[str]:
    """A note where too few random photographs are shown for what is tested against them."""
    asked, shown = wishes["natural"].images, division.beside["natural"].images
    if shown >= min(asked, tested_naturals(objective for objective, _ in division.references)):
        return []
    return [
        f"{shown} of {asked} random photographs fit: suppression is tested against them; raise beside or presentations"
    ]


def few_blanks(division: Division, test: Judging) -> list[str]:
    """A note where the blanks are too few to tell that a controller is below them."""
    shown = [division.controller[pair] for pair in division.controller if OBJECTIVES[pair[0]].below]
    if not shown:
        return []
    rule = {"blocks": division.blocks, "permutations": test.permutations, "lost": test.lost}
    if division.blanks and least_p(min(shown), division.blanks, 1, **rule) <= test.alpha:
        return []
    return [
        f"{division.blanks} presentations of the blank: too few to tell that a controller is below it; raise "
        "blanks_per_block"
    ]


def _predictions(
    project: Project, encoder: Encoder | Ensemble, data: Dataset, *, device: str
) -> tuple[Floats, Floats | None]:
    """Predictions of the photographs (N, U), and the variance of their error as left-out images showed it, (N, U).

    None for the error where the encoder carries no uncertainty.
    """
    answers = predict_stored(encoder, data.pixels[: data.natural], project.cache, device=device)  # (M, N, U)
    mean = answers.mean(0)
    predicted: Floats = mean.double().cpu().numpy()
    if encoder.uncertainty is None:
        return predicted, None
    spread = spread_over_layers(answers, [tuple(readout.layers) for readout in encoder.readouts])  # type: ignore[arg-type]
    wider = encoder.output_gain.clamp_min(1.0).cpu() ** 2
    return predicted, (wider * encoder.uncertainty.cpu().variance(mean, spread, None)).double().numpy()


@dataclass(frozen=True)
class _Known:
    """What tells the gains of the controllers of round `number`."""

    project: Project
    number: int
    key: Key
    data: Dataset
    posterior: NaturalPosterior
    noise: Noise
    contrasts: Contrasts

    def measured(self, references: References) -> dict[str, list[float]]:
        """Gains of the controllers of earlier rounds over the expected best reference, per objective."""
        columns = [self.data.site_ids.index(s) for s in self.key.site_ids]
        sums, counts = sums_per_image(self.data.values[:, columns], self.data.image_index, len(self.data.source_ids))
        means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        place = {s: i for i, s in enumerate(self.data.source_ids)}
        gains: dict[str, list[float]] = {}
        for row in earlier_controllers(self.project.rounds(), self.number):
            pair = (row.objective, row.target)
            if pair in references.images and row.source_id in place:
                gain = self._gain(references, pair, means[place[row.source_id]])
                gains.setdefault(row.objective, []).append(gain)
        return gains

    def predicted(self, references: References, batch: StimulusBatch) -> dict[Pair, float]:
        """Gains of the batch's confirmatory controllers as the validator predicts them."""
        if batch.validator_predicted is None:
            return {}
        found = {}
        for i in batch.best_indices():
            pair = (str(batch.kinds[i]), str(batch.targets[i]))
            if pair in references.images:
                found[pair] = self._gain(references, pair, np.asarray(batch.validator_predicted[i], dtype=float))
        return found

    def _gain(self, references: References, pair: Pair, responses: Floats) -> float:
        """Gain of responses (U,) over the expected best reference of `pair`."""
        k = self.key.site_ids.index(pair[1])
        level = self.posterior.mean[references.images[pair][0]]
        if OBJECTIVES[pair[0]].below:
            lowest = self.noise.lowest
            return float((max(level[k], lowest) - max(responses[k], lowest)) / self._sd(k))
        if OBJECTIVES[pair[0]].all_sites:
            place = list(references.images).index(pair)
            return float(self.contrasts.of(responses, place) - self.contrasts.of(level, place))
        unit = level[k] - self.noise.blank[k] if self.noise.fano is not None else self._sd(k)
        return float((responses[k] - level[k]) / unit) if unit > 0 else math.nan

    def _sd(self, k: int) -> float:
        return float(self.key.natural_statistics()[1][k])


def division_entry(plan: RoundDivision, protocol: ProtocolConfig, stimuli: Sequence[Stimulus]) -> dict[str, Any]:
    """What ``manifest.json`` says of the division: numbers only, no image; images, presentations and minutes are those
    of the `stimuli` that are shown.

    ``found`` and ``true``: expected numbers of true controls found, and of true controls; ``shortfall``: median over
    sites of the expected true score of the best natural image less that of the best reference.
    """
    division, count = plan.division, max(map(len, plan.division.references.values()))
    short: dict[str, list[float]] = {}
    for (objective, _), values in plan.references.shortfall.items():
        short.setdefault(objective, []).append(values[count - 1])
    true = by_objective(plan.pairs, plan.pairs.true().mean(0))
    images, presentations = division.made(stimuli)
    return {
        "by_hand": division.by_hand,
        "references": count,
        "images": images,
        "presentations": presentations,
        "minutes": round(minutes_of(protocol, sum(presentations.values()), division.blocks), 2),
        "found": {o: round(v, 2) for o, v in by_objective(plan.pairs, plan.found).items()},
        "true": {o: round(v, 2) for o, v in true.items()},
        "shortfall": {o: float(f"{np.median(values):.3g}") for o, values in short.items()},
    }
