"""What both optimisers share: a generation that stays until it is told, and scores that are checked."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Generations(ABC):
    """Codes that are asked for, the same until their scores are told; a subclass says how codes follow from scores.

    A generation without any valid score is asked for again, unchanged.

    Parameters
    ----------
    start : array of shape (D,)
    population : int
        Codes per generation, P.
    """

    def __init__(self, start: NDArray[np.float64], *, population: int) -> None:
        self.size, self.population, self.generation = start.size, population, 0
        self._asked: NDArray[np.float64] | None = None

    def ask(self) -> NDArray[np.float64]:
        """The codes of this generation, (P, D): the same until their scores are told."""
        if self._asked is None:
            self._asked = self._propose()
        return self._asked.copy()

    def tell(self, scores: ArrayLike) -> None:
        """Learn from the scores (P,) of the codes that `ask` gives; NaN = no valid score.

        Raises
        ------
        ValueError
            Another number of scores than of codes, or an infinite score.
        """
        values = np.array(scores, dtype=np.float64)
        if values.shape != (self.population,):
            raise ValueError(f"scores of shape {values.shape}; expected one per code, ({self.population},)")
        if np.isinf(values).any():
            raise ValueError(
                f"the score of code {int(np.isinf(values).argmax())} is infinite; expected a number, or NaN where "
                "there is no valid score"
            )
        codes = self.ask()
        self.generation += 1
        if np.isnan(values).all():
            return
        self._learn(codes, values)
        self._asked = None

    @abstractmethod
    def _propose(self) -> NDArray[np.float64]:
        """The codes of the next generation, (P, D)."""

    @abstractmethod
    def _learn(self, codes: NDArray[np.float64], scores: NDArray[np.float64]) -> None:
        """Learn from the scores (P,) of codes (P, D), of which at least one is a number, the others NaN."""
