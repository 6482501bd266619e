"""Schedulers of the diffusers library as solvers of any prior.

The edited clean estimate is converted to the model output that the scheduler expects; only `step` of a scheduler is
needed.
"""

from __future__ import annotations

import copy
import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synth.contract import draw
from synth.priors.prior import Prior

__all__ = ["scheduler"]

CLASSES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "dpm_single": "DPMSolverSinglestepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "deis": "DEISMultistepScheduler",
    "lms": "LMSDiscreteScheduler",
}
# Clipping hides the edit of the clean estimate: what was edited beyond the range comes back as noise.
FORCED = {"clip_sample": False, "thresholding": False}
DEFAULTS: dict[str, dict[str, Any]] = {"dpm_single": {"lower_order_final": True}}  # what it would set, with a message
# A step of these uses x itself, whatever their history; heun, dpm_single and unipc go on from an x that they kept.
TRAVELLERS = ("ddpm", "ddim", "dpm", "euler", "euler_ancestral", "deis", "lms")
SMALLEST_ALPHA = 1e-4


@dataclass(frozen=True)
class Scheduler:
    """See `scheduler`."""

    name: str
    config: Mapping[str, Any]

    def begin(self, prior: Prior, steps: int, device: torch.device, *, travels: bool) -> SchedulerTrajectory:
        """The trajectory of one micro-batch, on a fresh scheduler: schedulers carry state."""
        if travels and self.name not in TRAVELLERS:
            raise ValueError(
                f"{CLASSES[self.name]} goes on from an x that it kept, so time travel (repeats above 1) would not "
                f"reach it; use repeats=1, or one of {', '.join(TRAVELLERS)}, or solver=ddim()"
            )
        kind = _class(self.name)
        known = set(inspect.signature(kind.__init__).parameters)
        trained = {k: v for k, v in getattr(prior, "scheduler_config", {}).items() if k in known}
        if str(trained.get("variance_type", "")).startswith("learned"):
            trained["variance_type"] = None  # the network's variance is not used; None = the scheduler's own default
        config = {
            **DEFAULTS.get(self.name, {}),
            **trained,
            **self.config,
            **{k: v for k, v in FORCED.items() if k in known},
        }
        try:
            fresh = kind(**{k: v for k, v in config.items() if not (k == "variance_type" and v is None)})
            fresh.set_timesteps(steps, device=device)
        except (ValueError, NotImplementedError) as error:
            raise ValueError(f"diffusers refuses this {CLASSES[self.name]}: {error}") from error
        return SchedulerTrajectory(fresh, travels)

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        version = importlib.import_module("diffusers").__version__
        return {"name": self.name, "class": CLASSES[self.name], "config": dict(self.config), "diffusers": version}


def scheduler(name: str, **config: Any) -> Scheduler:
    """A scheduler of diffusers, by its short name, as a solver of any prior.

    Where the prior is a diffusers model, the configuration saved with it holds (noise levels, prediction type,
    spacing), `config` above it. The clean estimate is never clipped by the scheduler, and a learned variance is not
    used.

    Parameters
    ----------
    name : "ddpm" | "ddim" | "dpm" | "dpm_single" | "unipc" | "euler" | "euler_ancestral" | "heun" | "deis" | "lms"
    config : arguments of that scheduler's class, such as use_karras_sigmas=True or prediction_type="sample"
    """
    if name not in CLASSES:
        raise ValueError(f"scheduler {name!r}; expected one of {', '.join(CLASSES)}{_meant(name, CLASSES)}")
    known = [p for p in inspect.signature(_class(name).__init__).parameters if p != "self"]
    for key, value in config.items():
        if key not in known:
            raise ValueError(f"{CLASSES[name]} has no setting {key!r}{_meant(key, known)}; it has {', '.join(known)}")
        if FORCED.get(key, value) != value:
            raise ValueError(f"{key}={value}: a scheduler that clips undoes the guidance; leave it out")
    if config.get("prediction_type") == "flow_prediction" or config.get("use_flow_sigmas"):
        raise ValueError(
            "flow matching is not a sum of clean image and noise of one level as used here; choose another scheduler"
        )
    return Scheduler(name, config)


class SchedulerTrajectory:
    """x = alpha * clean + s * noise, with the scheduler's own alpha and s."""

    measures = False

    def __init__(self, scheduler: Any, travels: bool) -> None:
        self.scheduler, self.travels = scheduler, travels
        self.timesteps = scheduler.timesteps
        self.steps, self.index = len(self.timesteps), 0
        self.before: Any = None
        self.prediction = str(scheduler.config.prediction_type)
        self.takes_generator = "generator" in inspect.signature(scheduler.step).parameters

    def start(self, noise: Tensor) -> Tensor:
        """Where standard normal noise starts."""
        first: Tensor = noise * self.scheduler.init_noise_sigma
        return first

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Clean + sigma * noise (the x of the priors), and sigma (B,)."""
        self.scheduler.scale_model_input(x, self.timesteps[self.index])  # some find their place in the schedule here
        alpha, s = self._coordinates()
        return x / alpha, x.new_full((len(x),), s / alpha)

    def step(self, x: Tensor, clean: Tensor, sigma: Tensor, *, generators: Sequence[torch.Generator]) -> Tensor:
        """One `step` of the scheduler with the clean estimate in the shape of a model output."""
        if self.travels:
            self.before = copy.deepcopy(self.scheduler)
        alpha, s = self._coordinates()
        noise = (x - alpha * clean) / s
        if self.prediction == "epsilon":
            output = noise
        elif self.prediction == "sample":
            output = clean
        else:  # v is defined where alpha^2 + s^2 = 1
            output = (alpha * noise - s * clean) / (alpha**2 + s**2) ** 0.5
        more = {"generator": list(generators)} if self.takes_generator else {}
        try:
            moved: Tensor = self.scheduler.step(output, self.timesteps[self.index], x, **more).prev_sample
        except (ValueError, NotImplementedError) as error:
            name = type(self.scheduler).__name__
            raise ValueError(
                f"diffusers refuses {name} with prediction_type {self.prediction!r}: {error}. Choose another "
                "scheduler, or "
                'prediction_type="epsilon"'
            ) from error
        self.index += 1
        return moved

    def norm(self) -> float:
        """sqrt(alpha^2 + s^2): 1 for schedulers that preserve variance."""
        alpha, s = self._coordinates()
        return float((alpha**2 + s**2) ** 0.5)

    def back(self, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Back to the noise of the level before, the scheduler as it was there."""
        alpha, s = self._coordinates()
        self.scheduler, self.index = self.before, self.index - 1
        alpha_before, s_before = self._coordinates()
        added = max(0.0, (s_before / alpha_before) ** 2 - (s / alpha) ** 2) ** 0.5
        moved: Tensor = alpha_before * (x / alpha + added * draw(generators, x.shape[1:], x.device))
        return moved

    def _coordinates(self) -> tuple[float, float]:
        """(alpha, s) at the present level; (1, 0) after the last."""
        scheduler = self.scheduler
        if hasattr(scheduler, "sigmas"):
            index = scheduler.step_index
            if index is None:
                index = scheduler.index_for_timestep(self.timesteps[self.index])
            sigma = scheduler.sigmas[min(int(index), len(scheduler.sigmas) - 1)].double().cpu()
            if not hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
                return 1.0, float(sigma)
            alpha, s = scheduler._sigma_to_alpha_sigma_t(sigma)
            return max(float(alpha), SMALLEST_ALPHA), float(s)
        if self.index >= self.steps:
            return 1.0, 0.0
        kept = float(scheduler.alphas_cumprod[int(self.timesteps[self.index])])
        return max(kept**0.5, SMALLEST_ALPHA), (1 - kept) ** 0.5


def _class(name: str) -> Any:
    try:
        diffusers = importlib.import_module("diffusers")
    except ImportError as error:
        raise ValueError(
            "the schedulers need diffusers, an optional extra: pip install 'stimsynth[diffusion]'. `ddim` and "
            "`coarse_to_fine` do without it"
        ) from error
    return getattr(diffusers, CLASSES[name])


def _meant(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
