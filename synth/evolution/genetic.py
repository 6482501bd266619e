"""The genetic algorithm of XDream."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .generations import Generations

SMALLEST_TEMPERATURE = 1e-8


@dataclass(frozen=True)
class GeneticSettings:
    """Settings of the genetic algorithm; the unit of a gene is that of the code.

    Attributes
    ----------
    mutation_rate : float, 0 to 1
        Share of the genes of a child that mutate.
    mutation_sd : float, at least 0
    selectivity : float, above 0
        The temperature of the fitness is the SD of the scores divided by it.
    heritability : float, 0 to 1
        Probability that a gene comes from the first parent.
    elites : int, at least 0
        Codes of the highest scores that are kept as they are.
    clip : float, or None
        Percentile of the scores above which they are cut before fitness; None = not.
    """

    mutation_rate: float
    mutation_sd: float
    selectivity: float
    heritability: float
    elites: int
    clip: float | None

    def __post_init__(self) -> None:
        shares = {"mutation_rate": self.mutation_rate, "heritability": self.heritability}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; expected a share from 0 to 1")
        if not 0 <= self.mutation_sd < np.inf or not 0 < self.selectivity < np.inf or self.elites < 0:
            raise ValueError(
                f"mutation_sd {self.mutation_sd}, selectivity {self.selectivity}, elites {self.elites}; expected an SD "
                "of at least 0, a selectivity above 0, and no fewer elites than 0"
            )
        if self.clip is not None and not 0 < self.clip <= 100:
            raise ValueError(f"clip is {self.clip}; expected a percentile above 0, to 100, or None")


PRESETS = {
    "tuned": GeneticSettings(
        mutation_rate=0.25, mutation_sd=0.75, selectivity=0.5, heritability=0.75, elites=10, clip=None
    ),
    "released": GeneticSettings(
        mutation_rate=0.5, mutation_sd=0.5, selectivity=2.0, heritability=0.5, elites=1, clip=95.0
    ),
}
"""tuned: as compared with CMA-ES by Wang & Ponce (2022), with a population of 40; their factor of temperature, 2, is
a selectivity of 1 / 2. released: as in the experiment script of the released XDream, with a population of 20."""


class Genetic(Generations):
    """Selection, recombination and mutation of codes (XDream: Ponce et al. 2019; Xiao & Kreiman 2020).

    One generation: scores cut at a percentile; temperature = SD of the scores / selectivity; fitness =
    exp((score - highest score) / temperature); the codes of the highest scores are kept; every other child has two
    parents, drawn in proportion to fitness, and each of its genes from the first with the probability `heritability`;
    normal noise is added to a random share of its genes. A code without a valid score is carried over unchanged.

    Parameters
    ----------
    start : array of shape (D,)
    population : int
        Codes per generation, P.
    sigma : float
        SD of the first generation, in the unit of the code.
    seed : int, at least 0
    settings : GeneticSettings
    """

    def __init__(
        self, start: NDArray[np.float64], *, population: int, sigma: float, seed: int, settings: GeneticSettings
    ) -> None:
        super().__init__(start, population=population)
        if settings.elites >= population:
            raise ValueError(f"{settings.elites} elites of a population of {population}; expected fewer than all")
        self.settings, self.sigma, self.seed = settings, sigma, seed
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._next = start + sigma * self._random.standard_normal((population, start.size))

    def best(self) -> NDArray[np.float64]:
        """The mean of the present codes, (D,)."""
        mean: NDArray[np.float64] = self._next.mean(0)
        return mean

    def describe(self) -> dict[str, Any]:
        """JSON-able settings, for the record."""
        return {
            "method": "genetic",
            "size": self.size,
            "population": self.population,
            "sigma": self.sigma,
            "seed": self.seed,
            "settings": asdict(self.settings),
            "versions": {"numpy": np.__version__},
        }

    def _propose(self) -> NDArray[np.float64]:
        return self._next.copy()

    def _learn(self, codes: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        lost = np.isnan(scores)
        order = np.argsort(-scores[~lost], kind="stable")
        parents, values = codes[~lost][order], scores[~lost][order]  # the highest score first
        kept = parents[: self.settings.elites]
        children = self._children(parents, _fitness(values, self.settings), len(parents) - len(kept))
        self._next = np.concatenate([kept, children, codes[lost]])

    def _children(self, parents: NDArray[np.float64], fitness: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """`count` children of pairs of parents (n, D), recombined and mutated: (count, D)."""
        random, settings = self._random, self.settings
        bins = np.cumsum(fitness)
        bins /= bins[-1]
        first, second = (np.searchsorted(bins, random.random(count), side="right") for _ in range(2))
        inherited = random.random((count, self.size)) < settings.heritability
        genes = np.where(inherited, parents[first], parents[second])
        mutates = random.random((count, self.size)) < settings.mutation_rate
        noise: NDArray[np.float64] = settings.mutation_sd * random.standard_normal((count, self.size))
        return genes + np.where(mutates, noise, 0.0)


def _fitness(scores: NDArray[np.float64], settings: GeneticSettings) -> NDArray[np.float64]:
    """exp((score - highest) / temperature) of descending scores: (n,), no unit, above 0, 1 for the first."""
    temperature = max(float(np.std(scores)) / settings.selectivity, SMALLEST_TEMPERATURE)
    if settings.clip is not None:
        scores = np.minimum(scores, np.percentile(scores, settings.clip))
    fitness: NDArray[np.float64] = np.exp((scores - scores[0]) / temperature)
    positive: NDArray[np.float64] = np.maximum(fitness, fitness[fitness > 0].min())
    return positive
