"""How a gradient becomes a step: optimiser, schedule of the learning rate, changes of the gradient and of the image.

A `Rule` holds plain callables. A *change* is ``(images or gradients (B, C, H, W), progress) -> same shape``, image by
image, so that no image depends on its batch; *progress* runs from 0 at the first step to (steps - 1) / steps at the
last. A schedule is ``progress -> number``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, ParamSpec, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from .contract import describe

__all__ = [
    "Rule",
    "adam",
    "adamw",
    "clip",
    "cosine",
    "fix_norm",
    "linear",
    "nadam",
    "normalise",
    "sgd",
    "smooth",
    "spectral",
]

Change = Callable[[Tensor, float], Tensor]
Schedule = Callable[[float], float]
MakeOptimiser = Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
Border = Literal["reflect", "symmetric", "edge", "wrap"]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Named(Generic[P, T]):
    """A function with a name and settings for the record; `steady`: as a change it does not depend on the progress."""

    name: str
    function: Callable[P, T]
    settings: dict[str, Any]
    steady: bool = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function gives."""
        return self.function(*args, **kwargs)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {"name": self.name, **self.settings}


def adam(**settings: Any) -> MakeOptimiser:
    """Adam (Kingma & Ba 2015); settings as of `torch.optim.Adam`, as for the other optimisers."""
    if not {"fused", "foreach", "differentiable"} & settings.keys():
        settings = {"fused": True, **settings}  # one pass over the variables instead of ten
    return Named("adam", lambda parameters, rate: torch.optim.Adam(parameters, lr=rate, **settings), settings)


def adamw(**settings: Any) -> MakeOptimiser:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019); variables decay towards 0, black for `pixels`."""
    return Named("adamw", lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate, **settings), settings)


def nadam(**settings: Any) -> MakeOptimiser:
    """Adam with Nesterov momentum (Dozat 2016)."""
    return Named("nadam", lambda parameters, rate: torch.optim.NAdam(parameters, lr=rate, **settings), settings)


def sgd(**settings: Any) -> MakeOptimiser:
    """Gradient ascent, perhaps with ``momentum=``. A step is learning rate times gradient: `normalise` the gradient."""
    return Named("sgd", lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, **settings), settings)


def linear(begin: float = 1.0, end: float = 0.0) -> Schedule:
    """A straight line from `begin` at the first step to `end` one step after the last."""
    return Named("linear", lambda progress: begin + (end - begin) * progress, {"begin": begin, "end": end})


def cosine(begin: float = 1.0, end: float = 0.0) -> Schedule:
    """Half a cosine from `begin` towards `end` (Loshchilov & Hutter 2017, one period)."""

    def at(progress: float) -> float:
        return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * progress))

    return Named("cosine", at, {"begin": begin, "end": end})


def smooth(sigma: float | Schedule = 1.0, *, border: Border = "reflect", truncate: float = 4.0) -> Change:
    """Smooth the gradient or the image by a Gaussian of one width (the transform `synth.blur` draws its width anew).

    Parameters
    ----------
    sigma : float or schedule, pixels
        Below ``0.5 / truncate`` nothing is changed.
    border : {"reflect", "symmetric", "edge", "wrap"}
        Values outside the image, as in `numpy.pad`: mirrored without or with the border pixel, the border pixel itself,
        or the opposite side.
    truncate : float
        Radius of the kernel in units of sigma.
    """
    if border not in get_args(Border):
        raise ValueError(f"border {border!r}; expected one of {', '.join(get_args(Border))}")
    if not truncate > 0 or (not callable(sigma) and not sigma >= 0):
        raise ValueError(f"smoothing of sigma {sigma} and truncate {truncate}; expected sigma >= 0 and truncate > 0")

    def change(images: Tensor, progress: float) -> Tensor:
        from kornia.filters import filter2d_separable, get_gaussian_kernel1d

        width = sigma(progress) if callable(sigma) else sigma
        radius = int(truncate * width + 0.5)
        if radius < 1:
            return images
        rows, columns = (_padding(n, radius, border).to(images.device) for n in images.shape[-2:])
        padded = images.index_select(-2, rows).index_select(-1, columns)
        kernel = get_gaussian_kernel1d(2 * radius + 1, width, device=images.device, dtype=images.dtype)
        return filter2d_separable(padded, kernel, kernel, padding="valid")

    described = describe(sigma) if callable(sigma) else sigma
    return Named("smooth", change, {"sigma": described, "border": border, "truncate": truncate}, not callable(sigma))


def spectral(power: float = 1.0) -> Change:
    """Fourier preconditioning: amplitudes divided by max(1, f)^`power`, f in cycles per image; mean weight 1."""

    def change(images: Tensor, progress: float) -> Tensor:
        height, width = images.shape[-2:]
        fy, fx = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in (height, width))  # cycles per image
        full = torch.hypot(fy[:, None], fx[None]).clamp_min(1) ** -power
        weights = (full / full.mean())[:, : width // 2 + 1].to(images)
        filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * weights, s=(height, width))
        return filtered

    return Named("spectral", change, {"power": power}, steady=True)


def normalise(by: str = "rms", *, eps: float = 1e-12) -> Change:
    """Divide each gradient by its own size + `eps`: "rms", "sd" (population; the mean stays) or "mean_abs"."""
    sizes: dict[str, Callable[[Tensor], Tensor]] = {
        "rms": lambda flat: flat.square().mean(1).sqrt(),
        "sd": lambda flat: flat.std(1, correction=0),
        "mean_abs": lambda flat: flat.abs().mean(1),
    }
    if by not in sizes:
        raise ValueError(f"normalise by {by!r}; expected one of {', '.join(sizes)}")

    def change(images: Tensor, progress: float) -> Tensor:
        return images / (sizes[by](images.flatten(1)) + eps)[:, None, None, None]

    return Named("normalise", change, {"by": by, "eps": eps}, steady=True)


def clip(low: float = 0.0, high: float = 1.0) -> Change:
    """Keep pixel values in [`low`, `high`]."""
    if not low < high:
        raise ValueError(f"clip from {low} to {high}; expected low < high")
    return Named("clip", lambda images, progress: images.clamp(low, high), {"low": low, "high": high}, steady=True)


def fix_norm(norm: float = 10.0, *, centre: float = 0.5) -> Change:
    """Scale each image about the value `centre` to L2 norm `norm` over all pixels and channels; a blank image stays."""
    if not norm > 0:
        raise ValueError(f"norm {norm}; expected a number above 0")

    def change(images: Tensor, progress: float) -> Tensor:
        deviation = images - centre
        size = deviation.flatten(1).norm(dim=1)[:, None, None, None]
        return torch.where(size > 0, centre + deviation * (norm / size), images)

    return Named("fix_norm", change, {"norm": norm, "centre": centre}, steady=True)


@dataclass(frozen=True)
class Rule:
    """How `ascend` moves the free variables; the default is Adam at a constant learning rate.

    Parameters
    ----------
    optimiser : callable (parameters, learning rate) -> torch.optim.Optimizer
        It must treat every variable by itself, as Adam and SGD do; LBFGS mixes the images of a batch and must not be
        used.
    schedule : callable progress -> number, or None
        What the learning rate is multiplied by; None = 1.
    precondition : sequence of changes
        Applied in order to the gradient with respect to the IMAGE that the variables make, before the gradient with
        respect to the variables is taken; so they mean the same for every parameterisation.
    after : sequence of changes
        Applied in order to the variables after each step. The variables must then be the image, pixel by pixel: those
        of `pixels`, or of a module that declares ``pixelwise = True`` (pixel by pixel in units of its own).
    name : str
        Name in the record.
    """

    optimiser: MakeOptimiser = field(default_factory=adam)
    schedule: Schedule | None = None
    precondition: tuple[Change, ...] = ()
    after: tuple[Change, ...] = ()
    name: str = ""

    def start(self, variables: nn.Module, learning_rate: float, steps: int) -> Stepper:
        """The state of the rule for one micro-batch of `steps` steps."""
        return Stepper(self, variables, learning_rate, steps=steps)

    @property
    def steady(self) -> bool:
        """Whether steps surely do not depend on how many follow; False with changes of other modules."""
        return self.schedule is None and all(getattr(c, "steady", False) for c in (*self.precondition, *self.after))

    def describe(self) -> dict[str, Any]:
        """JSON-able settings for the record."""
        parts = {"name": self.name} if self.name else {}
        return {
            **parts,
            "optimiser": describe(self.optimiser),
            "schedule": None if self.schedule is None else describe(self.schedule),
            "precondition": [describe(change) for change in self.precondition],
            "after": [describe(change) for change in self.after],
        }


class Stepper:
    """The state of a rule for the variables of one micro-batch."""

    def __init__(self, rule: Rule, variables: nn.Module, learning_rate: float, *, steps: int) -> None:
        self.rule, self.learning_rate, self.steps = rule, learning_rate, steps
        self.parameters = list(variables.parameters())
        self.optimiser = rule.optimiser(self.parameters, learning_rate)
        self.done = 0
        self._pixelwise = getattr(variables, "pixelwise", False)

    @property
    def progress(self) -> float:
        """The share of the steps that are done, in [0, 1)."""
        return self.done / self.steps

    def gradients(self, scores: Tensor, images: Tensor) -> Sequence[Tensor | None]:
        """Gradients of the scores (B,) of the `images` (B, C, H, W) that the variables made, one per variable."""
        if self.rule.after and self.done == 0:
            self._check_pixelwise(images)
        if not self.rule.precondition:
            return torch.autograd.grad(scores.sum(), self.parameters, allow_unused=True)
        (gradient,) = torch.autograd.grad(scores.sum(), images)
        for change in self.rule.precondition:
            gradient = change(gradient, self.progress)
        return torch.autograd.grad(images, self.parameters, gradient, allow_unused=True)

    def step(self, gradients: Sequence[Tensor | None]) -> None:
        """Move the variables up their `gradients`, then apply the changes of the image."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else -gradient
        if self.rule.schedule is not None:
            for group in self.optimiser.param_groups:
                group["lr"] = self.learning_rate * self.rule.schedule(self.progress)
        self.optimiser.step()
        with torch.no_grad():
            for change in self.rule.after:
                self.parameters[0].copy_(change(self.parameters[0], self.progress))
        self.done += 1

    def _check_pixelwise(self, images: Tensor) -> None:
        one = len(self.parameters) == 1 and self.parameters[0].shape == images.shape
        if not (one and (self._pixelwise or images is self.parameters[0])):
            raise ValueError(
                f"the rule changes the image after each step ({', '.join(str(describe(c)) for c in self.rule.after)}), "
                "but the variables of this parameterisation are not the image; expected `pixels`. Put the changes in "
                "`precondition`, or among the constraints, or use `pixels`"
            )


def _padding(size: int, radius: int, border: Border) -> Tensor:
    """Indices (size + 2 radius,) of the pixels of a line of `size` that is continued by `radius` at both ends."""
    return torch.from_numpy(np.pad(np.arange(size), radius, mode=border))
