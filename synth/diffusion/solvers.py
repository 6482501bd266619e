"""From noise to a sample, level by level: the next x, given the clean estimate of a step.

A solver is a recipe; ``begin`` gives a trajectory, the state of one micro-batch. In every step the trajectory gives x
in the units of the priors (clean + sigma * noise) and takes the clean estimate, which guidance may have edited. So any
solver can be guided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from synth.contract import draw
from synth.priors.prior import Prior

__all__ = ["coarse_to_fine", "ddim"]


class Trajectory(Protocol):
    """The way of one micro-batch from noise to a sample; x is in the trajectory's own units."""

    steps: int
    measures: bool  # the noise level is measured from what the denoiser takes away

    def start(self, noise: Tensor) -> Tensor:
        """Where standard normal noise (B, *shape) starts."""
        ...

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Clean + sigma * noise (the x of the priors), and sigma (B,)."""
        ...

    def step(self, x: Tensor, clean: Tensor, sigma: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
        """The next level's x."""
        ...

    def norm(self) -> float:
        """The factor from a shift of sqrt(abar) clean + sqrt(1 - abar) noise to one of x, at the present level."""
        ...

    def back(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Back by one level, with fresh noise (time travel)."""
        ...


class Solver(Protocol):
    """A recipe for trajectories."""

    def begin(self, prior: Prior, steps: int, device: torch.device, *, travels: bool) -> Trajectory:
        """A trajectory of `steps` steps; `travels` = it will be asked to go back."""
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        ...


@dataclass(frozen=True)
class Ddim:
    """See `ddim`."""

    eta: float
    rho: float

    def begin(self, prior: Prior, steps: int, device: torch.device, *, travels: bool) -> DdimTrajectory:
        """The trajectory of one micro-batch."""
        return DdimTrajectory(karras(prior.sigmas, steps, self.rho), self.eta)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "ddim", **asdict(self)}


def ddim(eta: float = 0.0, *, rho: float = 7.0) -> Ddim:
    """First-order steps (Song, Meng & Ermon 2021, eq. 12) over the noise levels of Karras et al. (2022, eq. 5).

    Parameters
    ----------
    eta : float
        0 is deterministic, 1 ancestral sampling.
    rho : float
        How much the levels crowd at little noise.
    """
    if not 0 <= eta <= 1 or not rho > 0:
        raise ValueError(f"eta {eta} and rho {rho}; expected 0 <= eta <= 1 and rho above 0")
    return Ddim(float(eta), float(rho))


def karras(sigmas: tuple[float, float], steps: int, rho: float) -> list[float]:
    """`steps` noise levels from the largest to the smallest, then 0."""
    low, high = (s ** (1 / rho) for s in sigmas)
    return [*((high + i / max(steps - 1, 1) * (low - high)) ** rho for i in range(steps)), 0.0]


class DdimTrajectory:
    """x = clean + sigma * noise."""

    measures = False

    def __init__(self, sigmas: Sequence[float], eta: float) -> None:
        self.sigmas, self.eta, self.index = list(sigmas), eta, 0
        self.steps = len(self.sigmas) - 1

    def start(self, noise: Tensor) -> Tensor:
        """Where standard normal noise starts."""
        return self.sigmas[0] * noise

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The x as it is, and its noise level (B,)."""
        return x, x.new_full((len(x),), self.sigmas[self.index])

    def step(self, x: Tensor, clean: Tensor, sigma: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
        """The clean estimate, with part of the old noise and part fresh."""
        now, after = self.sigmas[self.index : self.index + 2]
        self.index += 1
        fresh = self.eta * after * math.sqrt(max(0.0, 1 - (after / now) ** 2))
        moved = clean + math.sqrt(after**2 - fresh**2) / now * (x - clean)
        return moved + fresh * draw(generators, x.shape[1:], x.device) if fresh else moved

    def norm(self) -> float:
        """sqrt(1 + sigma^2)."""
        return math.sqrt(1 + self.sigmas[self.index] ** 2)

    def back(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Back to the noise of the level before."""
        self.index -= 1
        before, after = self.sigmas[self.index : self.index + 2]
        return x + math.sqrt(before**2 - after**2) * draw(generators, x.shape[1:], x.device)


@dataclass(frozen=True)
class CoarseToFine:
    """See `coarse_to_fine`."""

    beta: float
    h0: float | None

    def begin(self, prior: Prior, steps: int, device: torch.device, *, travels: bool) -> CoarseToFineTrajectory:
        """The trajectory of one micro-batch."""
        if travels:
            raise ValueError(
                "coarse_to_fine measures its noise level and does not go back; use repeats=1, or solver=ddim()"
            )
        if not getattr(prior, "blind", False):
            raise ValueError(
                "coarse_to_fine measures the noise level from what a blind denoiser takes away, but "
                f"{type(prior).__name__} needs it as an input; use solver=ddim()"
            )
        h0 = self.h0 if self.h0 is not None else fitting_h0(prior.sigmas[1] / prior.sigmas[0], steps, self.beta)
        return CoarseToFineTrajectory(prior.sigmas, steps, h0, beta=self.beta)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": "coarse_to_fine", **asdict(self)}


def coarse_to_fine(beta: float = 0.5, *, h0: float | None = None) -> CoarseToFine:
    """Stochastic ascent of the score with a blind denoiser (Kadkhodaie & Simoncelli 2021, algorithm 1).

    Each step goes the share h_t = h0 t / (1 + h0 (t - 1)) of the way to the denoised image and adds noise, so that the
    noise level, which is measured from what the denoiser takes away, falls by 1 - beta h_t. An image stops at the
    smallest level of the prior.

    Parameters
    ----------
    beta : float
        1 adds no noise; the paper's images: 0.01 with h0 = 0.01, which take thousands of steps.
    h0 : float, or None
        None = the value that arrives at the smallest level in the given number of steps.
    """
    if not 0 < beta <= 1 or (h0 is not None and not 0 < h0 <= 1):
        raise ValueError(f"beta {beta} and h0 {h0}; expected 0 < beta <= 1, and 0 < h0 <= 1 or None")
    return CoarseToFine(float(beta), None if h0 is None else float(h0))


def shares(h0: float, steps: int) -> list[float]:
    """h_t for t = 1 .. `steps`."""
    return [h0 * t / (1 + h0 * (t - 1)) for t in range(1, steps + 1)]


def fitting_h0(ratio: float, steps: int, beta: float) -> float:
    """The h0 at which `steps` steps lower the noise level by `ratio`, by bisection."""

    def lowered(h0: float) -> float:
        return -sum(math.log(max(1 - beta * h, 1e-300)) for h in shares(h0, steps))

    if lowered(1.0) < math.log(ratio):
        raise ValueError(
            f"{steps} steps with beta {beta} lower the noise level at most {math.exp(lowered(1.0)):.3g}-fold; expected "
            f"{ratio:.3g}-fold. Give more steps, or a larger beta"
        )
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if lowered(middle) < math.log(ratio) else (low, middle)
    return high


class CoarseToFineTrajectory:
    """x = clean + sigma * noise, each image with its own measured sigma."""

    measures = True

    def __init__(self, sigmas: tuple[float, float], steps: int, h0: float, *, beta: float) -> None:
        self.lowest, self.highest = sigmas
        self.steps, self.shares, self.beta, self.index = steps, shares(h0, steps), beta, 0

    def start(self, noise: Tensor) -> Tensor:
        """Where standard normal noise starts."""
        return self.highest * noise

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The x as it is, and a noise level (B,) that stands for the one to be measured."""
        return x, x.new_full((len(x),), self.highest)

    def step(self, x: Tensor, clean: Tensor, sigma: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
        """Part of the way to the clean estimate, and noise; the last step goes all the way."""
        h = self.shares[self.index]
        self.index += 1
        noise = draw(generators, x.shape[1:], x.device)  # always drawn: an image's stream is its own
        if self.index == self.steps:
            return clean
        sigmas = sigma.view(-1, 1, 1, 1)
        fresh = math.sqrt((1 - self.beta * h) ** 2 - (1 - h) ** 2) * sigmas
        return torch.where(sigmas > self.lowest, x + h * (clean - x) + fresh * noise, x)

    def norm(self) -> float:
        """Not known before the next level is measured."""
        raise ValueError(
            "this method shifts x after a step, at a known noise level; coarse_to_fine measures its own: use "
            "solver=ddim()"
        )

    def back(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Refused in `begin`."""
        raise NotImplementedError
