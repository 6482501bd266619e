"""Guidance: how a step edits the clean estimate so that the sample scores higher.

Notation: x = clean + sigma * noise, D(x) the clean estimate, J the score of an image, u(g) = g / rms(g) of each image
by itself, n = sqrt(1 + sigma^2), z = x / n = sqrt(abar) clean + sqrt(1 - abar) noise, the x_t of most papers, in which
grad_z = n grad_x. A change of the predicted noise by -sqrt(1 - abar) s grad_z J is one of the clean estimate by + s
sigma^2 grad_x J.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from synth.priors.prior import Denoiser

__all__ = [
    "braindive",
    "classifier_guidance",
    "dps",
    "egg",
    "guided",
    "guided_fast",
    "initial_noise",
    "universal",
]

FLAT = 1e-12
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Edit:
    """The clean estimate after guidance, and a shift of the next z (see above), or None."""

    clean: Tensor
    shift: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """A rule of guidance, its own unit of strength, and its settings.

    `initial_noise` has no rule for a step: it works on the noise that the sample starts from.
    """

    name: str
    strength: float
    rule: Callable[[Step, float], Edit] | None
    steps: int = 50
    settings: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": self.name, **self.settings}


class Step:
    """One guided step: where it stands, and the gradients that the rules are made of.

    Parameters
    ----------
    prior : Prior
    x : Tensor of shape (B, *prior.shape)
    sigma : Tensor of shape (B,)
    score : callable
        Clean values (B, *prior.shape) -> J (B,); rows do not touch each other, except within a set.
    measures : bool
        The noise level is measured from what the denoiser takes away; `sigma` only stands for it.
    """

    def __init__(
        self, prior: Denoiser, x: Tensor, sigma: Tensor, *, score: Score | None, measures: bool = False
    ) -> None:
        self.prior, self.x, self.sigma, self.score, self.measures = prior, x, sigma, score, measures
        self.moved = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    @property
    def sigmas(self) -> Tensor:
        """`sigma` of each image, (B, 1, 1, 1)."""
        return self.sigma.view(-1, 1, 1, 1)

    @property
    def n(self) -> Tensor:
        """sqrt(1 + sigma^2), (B, 1, 1, 1)."""
        return (1 + self.sigmas**2).sqrt()

    @property
    def posterior_sd(self) -> Tensor:
        """SD (B, 1, 1, 1) of independent clean values, given x: sigma sd / sqrt(sigma^2 + sd^2)."""
        sd = self.prior.sd
        return self.sigmas * sd / (self.sigmas**2 + sd**2).sqrt()

    def estimate(self) -> Tensor:
        """D(x), with a graph where gradients are wanted."""
        clean = self.prior(self.x, self.sigma)
        self._measure(clean)
        return clean

    def denoise(self) -> Tensor:
        """D(x), without a graph."""
        with torch.no_grad():
            return self.estimate()

    def slope(self, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """J (B,) of clean values, the direction u(grad J), and the size rms(grad J), (B, 1, 1, 1).

        The direction is 0 where the size is 0.
        """
        if self.score is None:
            raise RuntimeError("an unguided step has no score")
        with torch.enable_grad():
            leaf = clean.detach().requires_grad_()
            scores = self.score(leaf)
            (gradient,) = torch.autograd.grad(scores.sum(), leaf)
        size = rms(gradient)
        if not bool(torch.isfinite(size).all()):
            index = int((~torch.isfinite(size.flatten())).nonzero()[0])
            raise ValueError(
                f"the gradient at image {index} is not finite at noise level {float(self.sigma[index]):.3g}. Likely "
                "cause: the encoder or the decoder overflows: in float16, try bfloat16 or float32"
            )
        self.moved |= size.flatten() > 0
        return scores.detach(), gradient / size.clamp_min(FLAT), size

    def through(self, blend: Callable[[Tensor, Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """D(x); J (B,); d and `size` (B, 1, 1, 1) such that size * d = grad_x J(D(x)), through the network.

        The gradient enters the network with an RMS of 1, whatever the unit of J, so that it does not vanish in half
        precision. `blend` (D(x), x) makes what J is asked of, where that is not D(x).
        """
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            clean = self.prior(x, self.sigma)
            asked = clean if blend is None else blend(clean, x)
        self._measure(clean.detach())
        scores, direction, size = self.slope(asked)
        (gradient,) = torch.autograd.grad(asked, x, direction)
        return clean.detach(), scores, gradient, size

    def _measure(self, clean: Tensor) -> None:
        if self.measures:
            self.sigma = rms(self.x - clean).flatten()


def rms(values: Tensor) -> Tensor:
    """Root mean square of each image, (B, 1, 1, 1)."""
    return values.flatten(1).square().mean(1).sqrt().view(-1, 1, 1, 1)


def unit(values: Tensor) -> Tensor:
    """Each image divided by its root mean square; 0 where that is 0."""
    return values / rms(values).clamp_min(FLAT)


def guided() -> Method:
    """Move D by strength * posterior SD * u(grad_x J(D(x))): the gradient passes through the prior's network.

    Strength in posterior SDs: 0.1 weak, 0.3 (the default) as strong as the prior's spectrum allows, 1 the plain
    optimum.
    """

    def rule(step: Step, strength: float) -> Edit:
        clean, _, gradient, _ = step.through()
        return Edit(clean + strength * step.posterior_sd * unit(gradient))

    return Method("guided", 0.3, rule)


def guided_fast(inner: int = 1) -> Method:
    """Repeat clean += strength / inner * posterior SD * u(grad J(clean)); no gradient through the network.

    As in MPGD (He et al. 2024) and the mean part of TFG (Ye et al. 2024), normalised. It takes about half the time of
    `guided`; later steps must remove what drives the encoder alone.
    """
    _at_least_one("inner", inner)

    def rule(step: Step, strength: float) -> Edit:
        clean = step.denoise()
        for _ in range(inner):
            clean = clean + strength / inner * step.posterior_sd * step.slope(clean)[1]
        return Edit(clean)

    return Method("guided_fast", 0.3, rule, settings={"inner": inner})


def initial_noise(iterations: int = 20, *, range_penalty: float = 10.0) -> Method:
    """Optimise the noise that the sample starts from (ReNO, Eyring et al. 2024; DNO, Tang et al. 2025).

    The image stays a sample of the prior. Adam moves the noise at its own norm (its typical shell); the strength is the
    learning rate, 0 = the unguided sample. The gradient at the image is normalised to RMS 1, and `range_penalty` times
    the distance of each pixel from [0, 1] is taken from it. The best 8-bit iterate is returned.
    """
    _at_least_one("iterations", iterations)
    if not range_penalty > 0:
        raise ValueError(f"range_penalty is {range_penalty}; expected a number above 0: without it images saturate")
    return Method(
        "initial_noise", 0.05, None, steps=8, settings={"iterations": iterations, "range_penalty": range_penalty}
    )


def egg() -> Method:
    """EGG (Pierzchlewicz et al. 2023): after the step, z_next += strength * g / ||g||, g = grad_z J(D(x)).

    Their norm is over the batch, here over each image. Their settings: solver ``scheduler("ddpm")``, 50-100 steps,
    strength 10 for most exciting images, 1-10 for natural-looking ones, 2 for reconstruction, at 3 x 256 x 256.
    """

    def rule(step: Step, strength: float) -> Edit:
        clean, _, gradient, _ = step.through()
        norm = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return Edit(clean, strength * gradient / norm.clamp_min(FLAT))

    return Method("egg", 10.0, rule, steps=100)


def braindive() -> Method:
    """BrainDiVE (Luo et al. 2023): eps' = eps - f * strength * grad_z J(f D + (1 - f) z), f = sqrt(1 - abar).

    Raw gradients: the strength is in their encoder's unit, 130 there. Their settings: Stable Diffusion 2.1 base,
    ``scheduler("dpm")``, 50 steps, the empty prompt. Their self-attention guidance is not part of this.
    """

    def rule(step: Step, strength: float) -> Edit:
        f = step.sigmas / step.n
        clean, _, gradient, size = step.through(lambda clean, x: f * clean + (1 - f) * x / step.n)
        return Edit(clean + strength * step.sigmas**2 * size * gradient)

    return Method("braindive", 130.0, rule)


def classifier_guidance() -> Method:
    """Classifier guidance (Dhariwal & Nichol 2021, algorithm 2): eps' = eps - sqrt(1 - abar) * strength * grad_z J(z).

    J is asked of the noisy image z itself: for encoders that were trained on noisy images.
    """

    def rule(step: Step, strength: float) -> Edit:
        clean = step.denoise()
        _, direction, size = step.slope(step.x / step.n)
        return Edit(clean + strength * step.sigmas**2 * size * direction / step.n)  # grad_x = grad_z / n

    return Method("classifier_guidance", 1.0, rule)


def dps() -> Method:
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1): z_next -= strength / ||r|| * grad_z ||r||^2.

    r is the residual at D(x).     The objective is minus a squared error (`synth.pattern`, `synth.level`): J =
    -||r||^2.
    """

    def rule(step: Step, strength: float) -> Edit:
        clean, scores, gradient, size = step.through()
        if bool((scores > 0).any()):
            index = int((scores > 0).nonzero()[0])
            raise ValueError(
                f"dps needs minus a squared error to maximise, such as synth.pattern; image {index} scores "
                f"{scores[index]:g}, above 0"
            )
        residual = (-scores).sqrt().view(-1, 1, 1, 1).clamp_min(FLAT)
        return Edit(clean, strength / residual * step.n * size * gradient)

    return Method("dps", 1.0, rule, steps=1000)


def universal(inner: int = 0, *, rate: float = 0.1) -> Method:
    """Universal guidance (Bansal et al. 2023), forward and backward.

    Forward: eps' = eps - sqrt(1 - abar) * strength * grad_z J(D(x)). Backward: Delta += rate * grad J(D + Delta),
    `inner` times, and clean += Delta (their eqs 7 and 9). Their recurrences are ``repeats`` of `synth.guide`.
    """
    if inner < 0 or not rate > 0:
        raise ValueError(f"inner {inner} and rate {rate}; expected inner at least 0 and rate above 0")

    def rule(step: Step, strength: float) -> Edit:
        clean, _, gradient, size = step.through()
        better = clean
        for _ in range(inner):
            _, direction, steepness = step.slope(better)
            better = better + rate * steepness * direction
        return Edit(better + strength * step.sigmas**2 * size * gradient)

    return Method("universal", 1.0, rule, settings={"inner": inner, "rate": rate})


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; expected at least 1")


CATALOGUE: dict[str, Callable[[], Method]] = {
    "braindive": braindive,
    "classifier_guidance": classifier_guidance,
    "dps": dps,
    "egg": egg,
    "guided": guided,
    "guided_fast": guided_fast,
    "initial_noise": initial_noise,
    "universal": universal,
}
"""Every method by its name, with a default for each setting."""
FORMER_NAMES = {"noise": "initial_noise"}
"""Names that stand in older records."""
