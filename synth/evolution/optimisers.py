"""Optimisers that ask for scores and never for gradients: ask, score, tell; the same again from settings and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .diagonal import DiagonalCMA
from .genetic import PRESETS, Genetic, GeneticSettings

__all__ = ["METHODS", "Optimiser", "make_optimiser", "replayed"]

METHODS = {"cma": "diagonal CMA-ES", "genetic": "the genetic algorithm of XDream"}


class Optimiser(Protocol):
    """What proposes codes of images and learns from their scores; higher is better.

    The state is a pure function of the settings, the seed and the scores told so far (`replayed`).

    Attributes
    ----------
    size : int
        Numbers per code, D.
    population : int
        Codes per generation, P.
    generation : int
        Generations that have been told.
    """

    @property
    def size(self) -> int:
        """Numbers per code, D."""
        ...

    @property
    def population(self) -> int:
        """Codes per generation, P."""
        ...

    @property
    def generation(self) -> int:
        """Generations that have been told."""
        ...

    def ask(self) -> NDArray[np.float64]:
        """The codes of this generation, (P, D): the same until their scores are told."""
        ...

    def tell(self, scores: ArrayLike) -> None:
        """Learn from the scores (P,) of the codes that `ask` gives; NaN = no valid score."""
        ...

    def best(self) -> NDArray[np.float64]:
        """The centre of the present distribution of codes, (D,): where the noise of single scores is averaged out."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able settings, for the record."""
        ...


def make_optimiser(
    method: str,
    start: ArrayLike,
    *,
    population: int = 40,
    sigma: float | None = None,
    seed: int,
    settings: GeneticSettings | str | None = None,
) -> Optimiser:
    """An optimiser around the code `start`.

    Parameters
    ----------
    method : "cma" or "genetic"
        Diagonal CMA-ES (Ros & Hansen 2008) by the library `cma`, or the genetic algorithm of XDream (Ponce et al.
        2019; Xiao & Kreiman 2020).
    start : array of shape (D,)
    population : int
        Codes per generation; 40 as of Wang & Ponce (2022).
    sigma : float, or None
        SD of the first generation around `start`, in the unit of the code; None = 2 for "cma", 1 for "genetic", both
        as of Wang & Ponce (2022).
    seed : int, at least 0
        Of a generator of random numbers that no other optimiser uses.
    settings : GeneticSettings, name of a preset, or None
        Of "genetic": "tuned" (the default) or "released" (`synth.evolution.genetic.PRESETS`).

    Raises
    ------
    ValueError
        An unknown method or preset, a code that is not finite, or a number out of its range.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}; expected {' or '.join(METHODS)}")
    centre = np.array(start, dtype=np.float64)
    if centre.ndim != 1 or not centre.size or not np.isfinite(centre).all():
        raise ValueError(f"a start of shape {centre.shape}; expected one finite code of shape (D,)")
    if population < 4:
        raise ValueError(f"population {population}; expected at least 4 codes per generation")
    if sigma is not None and not 0 < sigma < np.inf:
        raise ValueError(f"sigma {sigma}; expected a finite SD above 0")
    if seed < 0:
        raise ValueError(f"seed {seed}; expected an integer of at least 0")
    if method == "cma":
        if settings is not None:
            raise ValueError(f"settings {settings!r} with method 'cma'; expected none: they are of 'genetic'")
        return DiagonalCMA(centre, population=population, sigma=2.0 if sigma is None else sigma, seed=seed)
    if isinstance(settings, str):
        if settings not in PRESETS:
            raise ValueError(f"settings {settings!r}; expected {' or '.join(PRESETS)}, or GeneticSettings")
        settings = PRESETS[settings]
    chosen = PRESETS["tuned"] if settings is None else settings
    return Genetic(centre, population=population, sigma=1.0 if sigma is None else sigma, seed=seed, settings=chosen)


def replayed(make: Callable[[], Optimiser], history: Iterable[ArrayLike]) -> Optimiser:
    """The optimiser that `make` makes, after it was told the scores (P,) of every past generation.

    It is the same as one that was never interrupted, bit for bit, with the same versions of numpy and cma; so the
    scores are all that must be kept of an experiment that goes on later.
    """
    optimiser = make()
    for scores in history:
        optimiser.tell(scores)
    return optimiser
