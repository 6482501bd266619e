"""Clusters of sites with one image each, from several random partitions; a second encoder chooses among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.batch import StimulusBatch
from synth.contract import EncoderLike, Factory, Progress, attributes_of
from synth.objectives import Site, site_name
from synth.objectives.bound import column_of

from .alternation import Begin, Climber, Settings, State, climbed, take_turns
from .changes import MERGE_BELOW, Change, improved, shares
from .partition import Labels, ZScores, adjusted_rand, assigned, margins, occupied, random_partition

LAST_TURNS = 3


@dataclass(frozen=True)
class Restart:
    """What one random partition ended in.

    Attributes
    ----------
    seed : int
    batch : StimulusBatch
        One image per cluster, with the validator's answers where there is one.
    labels : array of shape (sites,)
        The image that drives each site most, as the encoder that made the images predicts it.
    judged : array of shape (sites,), or None
        The same by the validator.
    z, validator_z : arrays of shape (images, sites)
        Predicted responses in natural SDs.
    objective, validator_objective : float
        Mean of J over the images, in nats.
    moves : tuple of int
    changes : tuple of Change
    """

    seed: int
    batch: StimulusBatch
    labels: Labels
    z: ZScores
    objective: float
    judged: Labels | None
    validator_z: ZScores | None
    validator_objective: float | None
    moves: tuple[int, ...]
    changes: tuple[Change, ...]

    @property
    def margins(self) -> NDArray[np.float64]:
        """Response of each site to its own image less its largest to another, by the encoder, in natural SDs."""
        return margins(self.z, self.labels)

    def worth(self, settings: Settings) -> tuple[bool, float]:
        """What restarts are chosen by: whether every two clusters are told apart, then the mean objective, both by the
        validator where there is one. The objective alone would choose a type that was cut in two.
        """
        z = self.z if self.validator_z is None else self.validator_z
        objective = self.objective if self.validator_objective is None else self.validator_objective
        if len(z) == 1:
            return True, 0.0
        return bool(shares(z, self.labels, settings).min() >= MERGE_BELOW), objective


@dataclass(frozen=True)
class Clustering:
    """Clusters of sites, one image each, and how sure each site is of its own.

    Attributes
    ----------
    sites : tuple of str
    restarts : tuple of Restart
        One per seed, in their order.
    chosen : int
        Position of the restart that is best by the validator (`Restart.worth`), or, without one, by the encoder.
    settings : Settings
    """

    sites: tuple[str, ...]
    restarts: tuple[Restart, ...]
    chosen: int
    settings: Settings

    @property
    def best(self) -> Restart:
        """The chosen restart."""
        return self.restarts[self.chosen]

    @property
    def margins(self) -> NDArray[np.float64]:
        """Response of each site to its own image less its largest to another, (sites,), in natural SDs, by the
        validator where there is one; below 0 where the two encoders disagree.
        """
        best = self.best
        return best.margins if best.validator_z is None else margins(best.validator_z, best.labels)

    @property
    def agreement(self) -> NDArray[np.float64] | None:
        """How alike the cluster of a site is in the other restarts, (sites,), in [0, 1]: mean Jaccard overlap (Hennig
        2007); None with one seed.
        """
        others = [r.labels for i, r in enumerate(self.restarts) if i != self.chosen]
        if not others:
            return None
        own = _together(self.best.labels)
        overlaps = [(own & _together(o)).sum(1) / (own | _together(o)).sum(1) for o in others]
        mean: NDArray[np.float64] = np.mean(overlaps, axis=0)
        return mean

    @property
    def stability(self) -> float | None:
        """Mean adjusted Rand index over all pairs of restarts; None with one seed."""
        found = [r.labels for r in self.restarts]
        pairs = [adjusted_rand(a, b) for i, a in enumerate(found) for b in found[:i]]
        return float(np.mean(pairs)) if pairs else None


def _together(labels: Labels) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = labels[:, None] == labels
    return same


def discriminative_stimuli(
    encoder: EncoderLike,
    sites: Sequence[Site],
    parameterisation: Factory,
    *,
    validator: EncoderLike | None = None,
    settings: Settings | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    begin: Begin | None = None,
    options: dict[str, Any] | None = None,
) -> Clustering:
    """Clusters of `sites` and the images that drive one cluster each and no other (Burg et al. 2024).

    From a random partition into clusters of equal size, images and clusters are found in turns
    (`alternation.take_turns`), clusters are merged and split (`changes.improved`), and the images are climbed to the
    end. Every seed does so apart; the best by the `validator` is chosen (`Restart.worth`), since the encoder that made
    the images would judge its own work.

    All depends on the seeds alone: a seed gives the same alone and among others.

    Parameters
    ----------
    encoder : as of `synth.ascend`
    sites : sequence of names or columns
        At least two; the others are free.
    parameterisation : as of `synth.ascend`
    validator : a second encoder with these sites, or None
    settings : Settings
    seeds : sequence of int, each once, 0 to 2**40
    begin : callable (objective) -> start images (rows, C, H, W), or None
        Where fresh images start, such as the best photographs; None: noise.
    options : dict
        Further arguments of `synth.ascend` (constraints, transforms, learning_rate, rule, batch_size, device); with
        ``progress``, called with image-steps made so far.

    Raises
    ------
    ValueError
        Sites or settings that cannot serve, and all that `synth.ascend` refuses.
    """
    settings = settings or Settings()
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {list(seeds)}; expected at least one, each once")
    if len(sites) < max(2, settings.clusters):
        raise ValueError(f"{len(sites)} sites for {settings.clusters} clusters; expected at least one site per cluster")
    own, restarts = attributes_of(encoder), []
    asked = dict(options or {})
    progress: Progress | None = asked.pop("progress", None)
    for number, seed in enumerate(seeds):
        climber = Climber(
            encoder=encoder,
            parameterisation=parameterisation,
            sites=tuple(sites),
            options=asked,
            settings=settings,
            seed=int(seed),
            begin=begin,
        )
        label = f"clusters from partition {number + 1} of {len(seeds)}"
        if progress is not None:
            climber.tell = _teller(progress, label, settings)
        restarts.append(_restart(climber, validator))
        if progress is not None:
            progress(label, 1, 1)
    worth = [r.worth(settings) for r in restarts]
    names = tuple(own.site_ids[c] if own.site_ids else site_name(c) for c in climber.columns)
    return Clustering(names, tuple(restarts), worth.index(max(worth)), settings)


def _teller(progress: Progress, label: str, settings: Settings) -> Callable[[int], None]:
    """Tells `progress` of the image-steps made, as a share of what a run may take."""
    expected = 2 * settings.clusters * (settings.steps * settings.iterations + settings.final_steps)
    made = 0

    def tell(image_steps: int) -> None:
        nonlocal made
        made += image_steps
        progress(label, min(made, expected - 1), expected)

    return tell


def _restart(climber: Climber, validator: EncoderLike | None) -> Restart:
    """One seed, from its random partition to its last images."""
    rng = np.random.default_rng(climber.seed)
    first = random_partition(len(climber.sites), climber.settings.clusters, rng)
    state, changes = improved(climber, take_turns(climber, first), rng)
    batch, labels = _largest_first(*_finished(climber, state))
    judged = validator_z = None
    if validator is not None:
        batch = batch.validate(validator)
        validator_z = _judged(climber, batch, validator)
        judged = assigned(validator_z)
    scores = batch.validator_scores
    return Restart(
        seed=climber.seed,
        batch=batch,
        labels=labels,
        z=climber.responses(batch),
        objective=float(batch.scores.mean()) if len(batch) > 1 else 0.0,
        judged=judged,
        validator_z=validator_z,
        validator_objective=None if scores is None else float(scores.mean()) if len(batch) > 1 else 0.0,
        moves=state.moves,
        changes=tuple(changes),
    )


def _largest_first(batch: StimulusBatch, labels: Labels) -> tuple[StimulusBatch, Labels]:
    """The clusters numbered from the largest, equal ones by their first site."""
    firsts = [int((labels == c).argmax()) for c in range(len(batch))]
    sizes = np.bincount(labels, minlength=len(batch))
    order = sorted(range(len(batch)), key=lambda c: (-sizes[c], firsts[c]))
    return batch.take(order), np.argsort(order)[labels].astype(np.int64)


def _judged(climber: Climber, batch: StimulusBatch, validator: EncoderLike) -> ZScores:
    """What the validator predicts, (images, sites), in its own natural SDs; a batch has it in the encoder's columns."""
    assert batch.validator_predicted is not None
    known = attributes_of(validator)
    z = batch.validator_predicted[:, climber.columns]
    own = [column_of(s, known.site_ids) for s in climber.sites]
    if known.mean is not None and known.sd is not None:
        z = (z - known.mean.double().cpu().numpy()[own]) / known.sd.double().cpu().numpy()[own]
    return np.asarray(z, dtype=np.float64)


def _finished(climber: Climber, state: State) -> tuple[StimulusBatch, Labels]:
    """The last images, and the sites assigned to them; climbed again where sites still moved.

    Where they move to the end, the images are scored anew for the clusters that they have now.
    """
    labels, start = state.labels, None if state.batch is None else climbed(state.batch)
    for _ in range(LAST_TURNS):
        batch = climber.climb(labels, climber.settings.final_steps, among=None, start=start)
        wanted = assigned(climber.responses(batch))
        still = bool((wanted == labels).all())
        labels, kept = occupied(wanted)
        start = climbed(batch)[kept]
        if still:
            return batch, labels
    return climber.scored(batch.take(kept), labels), labels
