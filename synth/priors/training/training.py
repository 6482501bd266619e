"""Training the network of `natural`: denoising of crops at all noise levels.

A step depends on its number alone, so that a resumed run is the same run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.priors.natural import Natural, natural

__all__ = ["Plan", "Training", "clean_errors"]

Draw = Callable[[np.random.Generator], NDArray[np.float32]]
DECAY = 0.999
WARM_UP = 100
LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Plan:
    """All that determines the weights.

    `data` holds digests of the images, so that a run is resumed with the same images only.
    """

    steps: int = 20_000
    batch: int = 16
    crop: int = 64
    learning_rate: float = 1.5e-3
    seed: int = 0
    config: dict[str, Any] = field(default_factory=lambda: {"widths": [32, 64, 128, 128], "exponent": 1.3})
    data: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """JSON-able record."""
        return asdict(self)


class Training:
    """The state of a run: weights, their running average, the optimiser, and the number of steps done.

    Parameters
    ----------
    plan : Plan
    draw : callable (numpy Generator) -> one clean image (crop, crop, 3), float32 in [-1, 1]
        It must draw from the given generator alone.
    """

    def __init__(self, plan: Plan, draw: Draw) -> None:
        self.plan, self.draw, self.done = plan, draw, 0
        self.prior = natural(plan.config, (3, plan.crop, plan.crop), seed=plan.seed)
        self.prior.learned.requires_grad_(True)
        self.average = {k: v.detach().clone() for k, v in self.prior.learned.state_dict().items()}
        self.parameters = dict(self.prior.learned.named_parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(), lr=plan.learning_rate, betas=(0.9, 0.99), weight_decay=1e-3
        )

    def step(self) -> float:
        """One step; the loss is the squared error of the clean estimate, in units of that of the Wiener estimate."""
        x, sigma, clean = self._examples(self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.done)
        self.optimiser.zero_grad(set_to_none=True)
        expected = self.prior.wiener.error_sd(sigma).view(-1, 1, 1, 1)
        loss = ((self.prior(x, sigma) - clean) / expected).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimiser.step()
        self.done += 1
        decay = min(DECAY, (1 + self.done) / (20 + self.done))
        with torch.no_grad():
            for name, value in self.prior.learned.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return float(loss.detach())

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a half cosine to 0 at the end of the plan."""
        rise = min(1.0, (step + 1) / WARM_UP)
        return self.plan.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.plan.steps))

    def save(self, path: Path) -> None:
        """The whole state as safetensors, written whole or not at all."""
        tensors = {f"average/{k}": v for k, v in self.average.items()}
        tensors |= {f"weights/{k}": v for k, v in self.prior.learned.state_dict().items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"optimiser/{key}/{name}"] = torch.as_tensor(value)
        _write(path, tensors, {"run": json.dumps({"done": self.done, "plan": self.plan.describe()})})

    def resume(self, path: Path) -> None:
        """Take over a saved state of the same plan."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            run = json.loads((file.metadata() or {}).get("run", "null"))
            if run is None or run["plan"] != self.plan.describe():
                raise ValueError(
                    f"{path} is of another plan ({None if run is None else run['plan']}); expected "
                    f"{self.plan.describe()}. Use the same settings, or another file"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

        def part(kind: str) -> dict[str, Tensor]:
            return {k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)}

        self.average = part("average/")
        self.prior.learned.load_state_dict(part("weights/"))
        for name, parameter in self.parameters.items():
            keys = [k for k in tensors if k.startswith("optimiser/") and k.endswith(f"/{name}")]
            self.optimiser.state[parameter] = {k.split("/")[1]: tensors[k] for k in keys}
        self.done = int(run["done"])

    def export(self, path: Path, record: Mapping[str, Any]) -> None:
        """The averaged weights in half precision, for `natural`; `record` (data, licences, command) goes with them."""
        trained = {"steps": self.done, "plan": self.plan.describe(), **record}
        tensors = {k: v.half() for k, v in self.average.items()}
        _write(path, tensors, {"prior": json.dumps({"config": self.plan.config, **trained})})

    def averaged(self) -> Natural:
        """A prior with the averaged weights."""
        prior = natural(self.plan.config, self.prior.shape)
        prior.learned.load_state_dict(self.average)
        return prior

    def _examples(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """x, sigma and clean images of one step; log sigma is normal, one draw per equal part of its distribution."""
        generator = np.random.default_rng([self.plan.seed, step])
        drawn = np.stack([self.draw(generator) for _ in range(self.plan.batch)])
        clean = torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()
        quantile = torch.from_numpy(
            (np.arange(self.plan.batch) + generator.uniform(size=self.plan.batch)) / self.plan.batch
        )
        normal = torch.special.ndtri(quantile.clamp(1e-3, 1 - 1e-3)).float()
        sigma = torch.exp(-0.6 + 1.6 * normal)  # wide: the mean of a 64-pixel image is open up to sigma = 40
        noise = torch.from_numpy(generator.standard_normal(clean.shape).astype(np.float32))
        return clean + sigma.view(-1, 1, 1, 1) * noise, sigma, clean


@torch.no_grad()
def clean_errors(prior: Natural, clean: Tensor) -> dict[str, dict[float, float]]:
    """Mean squared error of the clean estimate and of the Wiener estimate, at each noise level of `LEVELS`.

    `clean` holds images (B, C, H, W) in [-1, 1].
    """
    generator = np.random.default_rng(0)
    errors_of: dict[str, dict[float, float]] = {"learned": {}, "wiener": {}}
    for level in LEVELS:
        noise = torch.from_numpy(generator.standard_normal(clean.shape).astype(np.float32))
        sigma = torch.full((len(clean),), level)
        x = clean + level * noise
        for name, denoiser in (("learned", prior), ("wiener", prior.wiener)):
            errors = [
                (denoiser(x[i : i + 32], sigma[i : i + 32]) - clean[i : i + 32]).square().mean((1, 2, 3))
                for i in range(0, len(x), 32)
            ]
            errors_of[name][level] = float(torch.cat(errors).mean())
    return errors_of


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
