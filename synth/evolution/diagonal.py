"""Diagonal CMA-ES by the library `cma`, with a generator of random numbers of its own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .generations import Generations


class DiagonalCMA(Generations):
    """CMA-ES with a diagonal covariance matrix (Ros & Hansen 2008, sep-CMA-ES), as `cma` has it.

    Best of the optimisers of Wang & Ponce (2022, GECCO, arXiv 2204.06765) for images under noise, with a population of
    40, 75 generations and a first SD of 2.

    Ranks are all that CMA-ES sees. Codes without a valid score take the middle ranks, whose weights are about 0: such
    a code neither attracts nor repels, whereas the worst rank would repel the search from codes whose trials were lost
    by chance. Equal scores, such as counts of no spike, are ranked at random, not in the order of the codes.

    Parameters
    ----------
    start : array of shape (D,)
    population : int
        Codes per generation, P.
    sigma : float
        SD of the first generation, in the unit of the code.
    seed : int, at least 0
    """

    def __init__(self, start: NDArray[np.float64], *, population: int, sigma: float, seed: int) -> None:
        super().__init__(start, population=population)
        self.sigma, self.seed = sigma, seed
        self._strategy = _strategy(start, population, sigma, seed=seed)
        self._ties = np.random.Generator(np.random.PCG64([seed, 1]))

    def best(self) -> NDArray[np.float64]:
        """The mean of the distribution, (D,)."""
        mean: NDArray[np.float64] = np.array(self._strategy.mean, dtype=np.float64)
        return mean

    def describe(self) -> dict[str, Any]:
        """JSON-able settings, for the record."""
        import cma

        return {
            "method": "cma",
            "size": self.size,
            "population": self.population,
            "sigma": self.sigma,
            "seed": self.seed,
            "versions": {"cma": cma.__version__, "numpy": np.__version__},
        }

    def _propose(self) -> NDArray[np.float64]:
        return np.array(self._strategy.ask(), dtype=np.float64)

    def _learn(self, codes: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        filled = np.where(np.isnan(scores), np.nanmedian(scores), scores)
        order = np.lexsort((self._ties.random(self.population), -filled))  # the highest score first
        ranks = np.empty(self.population)
        ranks[order] = np.arange(self.population)
        with warnings.catch_warnings():
            # two codes of a generation lie along the last step of the mean, which may be long in one coordinate
            warnings.filterwarnings("ignore", message="elements of z2", category=UserWarning)
            self._strategy.tell(list(codes), ranks.tolist())  # `cma` minimises


def _strategy(start: NDArray[np.float64], population: int, sigma: float, *, seed: int) -> Any:
    """The strategy of the library from a code (D,), which draws from its own generator and never stops by itself."""
    import cma
    from cma.evolution_strategy import TPA_dimension
    from cma.sigma_adaptation import CMAAdaptSigmaCSA, CMAAdaptSigmaTPA

    class TwoPoint(CMAAdaptSigmaTPA):  # type: ignore[misc]
        """Its step size, without a check that draws from numpy's global generator."""

        def check_consistency(self, es: object) -> None:
            """Nothing: codes are told as they were asked for."""

    random = np.random.Generator(np.random.PCG64(seed))
    options = {
        "popsize": population,
        "CMA_diagonal": True,
        "AdaptSigma": TwoPoint if start.size >= TPA_dimension else CMAAdaptSigmaCSA,  # the library's own choice
        "randn": lambda *shape: random.standard_normal(shape),
        "seed": np.nan,  # leave the global generator alone
        "verbose": -9,
        "verb_log": 0,
        "verb_disp": 0,
        "signals_filename": "",
    }
    return cma.CMAEvolutionStrategy(start.copy(), sigma, options)
