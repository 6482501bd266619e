"""The alternation of Burg et al. (2024): images for the clusters, then clusters by the images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synth.ascent.ascend import ascend
from synth.batch import StimulusBatch
from synth.batches import batch_of
from synth.contract import Attributes, EncoderLike, Factory, attributes_of
from synth.objectives import Objective, Site, discriminate, stretch
from synth.objectives.bound import column_of

from .partition import Labels, ZScores, assigned, members, occupied, standardised

Begin = Callable[[Objective], Tensor]
"""Start images (rows, C, H, W) of an objective, such as photographs."""


@dataclass(frozen=True)
class Settings:
    """How the alternation runs.

    Attributes
    ----------
    clusters : int
        Clusters to start with; splits, merges and empty clusters change their number.
    temperature : float
        Of `synth.discriminate`, in natural SDs; 1.6 in the released example of Burg et al. (2024).
    steps : int
        Gradient steps per turn (50 there).
    iterations : int
        Turns at most (10 there).
    comparison_steps : int
        Gradient steps from fresh starts before two partitions are compared (20 there).
    final_steps : int
        Gradient steps of the last images (100 there).
    separation : float
        How well a split must tell its two halves apart, in nats, 0 to log 2 (`changes.separations`).
    selectivity : float
        How little the image of one half may drive the other, at least; 0 to 1 (`changes.selectivities`).
    improvement : float
        By how much the mean objective must rise with a split, in nats.
    smallest : int
        Sites of the smaller half of a split, at least.
    changes : int
        Rounds of splits and merges at most; 0: the number of clusters only falls, where some are empty.
    """

    clusters: int = 5
    temperature: float = 1.6
    steps: int = 50
    iterations: int = 10
    comparison_steps: int = 20
    final_steps: int = 100
    separation: float = 0.35
    selectivity: float = 0.5
    improvement: float = 0.0
    smallest: int = 3
    changes: int = 6

    def __post_init__(self) -> None:
        counts = {
            "clusters": self.clusters,
            "steps": self.steps,
            "iterations": self.iterations,
            "comparison_steps": self.comparison_steps,
            "final_steps": self.final_steps,
            "smallest": self.smallest,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; expected at least 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}; expected a number above 0, in natural SDs")
        if not 0 < self.separation < math.log(2):
            raise ValueError(f"separation {self.separation}; expected above 0 and below log 2 = 0.693, in nats")
        if not 0 < self.selectivity <= 1:
            raise ValueError(f"selectivity {self.selectivity}; expected above 0, at most 1")
        if self.changes < 0:
            raise ValueError(f"changes is {self.changes}; expected at least 0")

    def of_steps(self, steps: int) -> Settings:
        """The same with `steps` per turn, and the other counts of steps in proportion."""
        return replace(self, steps=steps, comparison_steps=max(1, 2 * steps // 5), final_steps=2 * steps)

    def describe(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass
class Climber:
    """Makes the images of a partition; counts its calls, so that each has draws of its own.

    Attributes
    ----------
    encoder, parameterisation : as of `synth.ascend`
    sites : sequence of names or columns
    options : dict
        Further arguments of `synth.ascend`: constraints, transforms, learning_rate, batch_size, ...
    settings : Settings
    seed : int
    begin : callable (objective) -> start images, or None for noise
    """

    encoder: EncoderLike
    parameterisation: Factory
    sites: Sequence[Site]
    options: dict[str, Any]
    settings: Settings
    seed: int
    begin: Begin | None = None
    calls: int = 0
    tell: Callable[[int], None] = field(default=lambda image_steps: None)

    def __post_init__(self) -> None:
        self.known: Attributes = attributes_of(self.encoder)
        self.columns = [column_of(s, self.known.site_ids) for s in self.sites]
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"{len(self.columns)} sites that are {len(set(self.columns))} columns; expected each once")

    def climb(self, labels: Labels, steps: int, *, among: Labels | None, start: Tensor | None) -> StimulusBatch:
        """One image for every cluster of `labels`, of the sites `among` (indices) alone or of all; from `start`
        (clusters, C, H, W), or fresh where that is None.
        """
        sites = self.sites if among is None else [self.sites[int(i)] for i in among]
        objective = objective_of(members(labels, sites), self.settings.temperature)
        if start is None and self.begin is not None:
            start = self.begin(objective)
        self.calls += 1
        batch = ascend(
            self.encoder,
            objective,
            self.parameterisation,
            seeds=[self.seed * 1_000_000 + self.calls],
            steps=steps,
            check_every=steps,
            start=start,
            **self.options,
        )
        self.tell(steps * len(batch))
        return batch

    def scored(self, batch: StimulusBatch, labels: Labels) -> StimulusBatch:
        """The same images, one per cluster of `labels`, with the objective of these clusters and its scores."""
        return batch_of(
            self.encoder,
            batch.images,
            objective_of(members(labels, self.sites), self.settings.temperature),
            seeds=batch.seeds.tolist(),
            start_ids=batch.start_ids,
            settings={key: value for key, value in batch.settings.items() if key not in ("check_steps", "plan")},
        )

    def responses(self, batch: StimulusBatch) -> ZScores:
        """The answers of all sites to the 8-bit images, (images, sites), in natural SDs."""
        return standardised(batch.predicted, self.known, self.columns)


def objective_of(clusters: Sequence[Sequence[Site]], temperature: float) -> Objective:
    """One row per cluster; of a cluster alone, which nothing can be told apart from, the mean z of its sites."""
    if len(clusters) > 1:
        return discriminate(clusters, temperature)
    return reduce(add, [stretch([site]) for site in clusters[0]]) * (1 / len(clusters[0]))


@dataclass(frozen=True)
class State:
    """Clusters with their images.

    Attributes
    ----------
    labels : array of shape (sites,)
    batch : StimulusBatch of one image per cluster, or None where all sites are one cluster
    moves : tuple of int
        How many sites changed their cluster in each turn.
    """

    labels: Labels
    batch: StimulusBatch | None
    moves: tuple[int, ...] = ()

    @property
    def clusters(self) -> int:
        """How many there are."""
        return int(self.labels.max()) + 1


def climbed(batch: StimulusBatch) -> Tensor:
    """The images of a batch as start images (S, C, H, W) in [0, 1]."""
    return torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255


def take_turns(
    climber: Climber,
    labels: Labels,
    *,
    among: Labels | None = None,
    start: Tensor | None = None,
    turns: int | None = None,
) -> State:
    """Images for the clusters, then every site to the image that drives it most, until no site moves.

    Burg et al. (2024): every turn climbs `Settings.steps` steps from the images of the turn before, and assigns all
    sites at once by the argmax over images of their standardised response. Clusters without a site are dropped.

    Parameters
    ----------
    labels : array of shape (sites,), or of those `among`
    among : array of indices, or None
        The sites that take part.
    start : Tensor of shape (clusters, C, H, W), or None for fresh images
    turns : int, or None for `Settings.iterations`
    """
    chosen = np.arange(len(climber.sites)) if among is None else among
    labels, _ = occupied(labels)
    batch: StimulusBatch | None = None
    moves: list[int] = []
    for _ in range(climber.settings.iterations if turns is None else turns):
        if labels.max() == 0:
            return State(labels, None, tuple(moves))
        batch = climber.climb(labels, climber.settings.steps, among=among, start=start)
        wanted = assigned(climber.responses(batch)[:, chosen])
        moves.append(int((wanted != labels).sum()))
        labels, kept = occupied(wanted)
        start = climbed(batch)[kept]
        if not moves[-1]:
            break
    return State(labels, batch if batch is None or not moves[-1] else batch.take(kept), tuple(moves))
