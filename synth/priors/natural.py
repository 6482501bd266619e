"""A small trained prior: a network on top of a Wiener filter, for what the filter misses (edges, occlusion)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.contract import check_shape

from .prior import PixelPrior
from .spectral import Spectral, spectral
from .weights import check_finite

__all__ = ["natural"]

EMBEDDED = {"natural64": Path(__file__).with_name("natural64.safetensors")}
GROUPS = 8
FREQUENCIES = 16
KNOWS = "second-order statistics and local edges, no objects; results are no evidence about object selectivity"


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def natural(
    source: str | Path | Mapping[str, Any] = "natural64", shape: Sequence[int] = (3, 64, 64), *, seed: int = 0
) -> Natural:
    """A U-Net preconditioned by the Wiener estimate, of weights made by ``scripts/train_prior.py``.

    Parameters
    ----------
    source : "natural64", path of a ``.safetensors`` file, or a configuration for untrained weights
        A file holds its configuration in the metadata.
        "natural64" comes with the package (model card: docs/natural64.md). Configuration: `widths` (channels of each
        level) and the settings of `spectral`. Untrained, it is the spectral prior exactly.
    shape : (C, H, W), H and W divisible by 2^(number of levels)
    seed : int
        Of untrained weights.
    """
    size = check_shape(shape)
    if isinstance(source, Mapping):
        return Natural(size, dict(source), "untrained", seed=seed)
    path = EMBEDDED.get(str(source), Path(source))
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a prior written by scripts/train_prior.py")
    record, state = _read(path)
    last = state.get("last.weight")
    if last is not None and len(last) != size[0]:
        raise ValueError(
            f"shape {size}; {path.name} was trained on images of {len(last)} channel(s). Give it as many: "
            "`synth.guide` makes grey or colour of them as the display needs"
        )
    try:
        prior = Natural(size, record["config"], path.name)
    except TypeError as error:
        raise ValueError(f"{path} has a configuration that no prior has: {error}; copy the file again") from error
    expected = prior.learned.state_dict()
    if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in expected.items()}:
        odd = sorted(set(state) ^ set(expected)) or [k for k in state if state[k].shape != expected[k].shape]
        raise ValueError(
            f"{path} does not fit its own configuration, such as {odd[:3]}; it was changed or cut: copy it again"
        )
    prior.learned.load_state_dict(state)
    prior.trained = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **{k: v for k, v in record.items() if k != "config"},
    }
    return prior


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record and the tensors, in float32, of a file of `scripts/train_prior.py`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("prior", "null")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        record = json.loads(text)
    except (SafetensorError, OSError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as a prior: {error}. Likely cause: an incomplete copy; copy it again"
        ) from error
    if not isinstance(record, dict) or not isinstance(record.get("config"), dict) or "widths" not in record["config"]:
        raise ValueError(f"{path} holds no configuration of a prior; expected a file written by scripts/train_prior.py")
    check_finite(state.items(), path.name, "Copy the file again, or take an earlier one of the training")
    return record, state


class Natural(PixelPrior):
    """See `natural`. D(x, sigma) = W + e F([x / sqrt(sigma^2 + sd^2), W / sd], ln(sigma) / 4).

    W is the Wiener estimate and e its root mean squared error; F is the network. Preconditioning as in Karras et al.
    (2022), with W in the place of the scaled input.
    """

    def __init__(self, shape: tuple[int, int, int], config: dict[str, Any], source: str, *, seed: int = 0) -> None:
        spectrum = {k: v for k, v in config.items() if k != "widths"}
        wiener = spectral(shape, **spectrum)
        super().__init__(shape, wiener.sigmas)
        self.wiener: Spectral = wiener
        widths = [int(w) for w in config["widths"]]
        step = 2 ** len(widths)
        if shape[1] % step or shape[2] % step:
            raise ValueError(
                f"shape {shape}; expected height and width divisible by {step}, which {len(widths)} levels halve"
            )
        self.config, self.source = config, source
        self.trained: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.default_generator.manual_seed(seed)
            self.learned = UNet(shape[0], widths).float()
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean estimate of `x`."""
        sigmas = sigma.view(-1, 1, 1, 1)
        linear = self.wiener(x, sigma)
        inputs = torch.cat([x / (sigmas**2 + self.sd**2).sqrt(), linear / self.sd], 1)
        learned: Tensor = self.learned(inputs, sigma.log() / 4)
        clean: Tensor = linear + self.wiener.error_sd(sigma).view(-1, 1, 1, 1) * learned
        return clean

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        size = {"shape": list(self.shape), "sigmas": list(self.sigmas)}
        network = {"source": self.source, "config": self.config, "trained": self.trained}
        return {"name": "natural", **size, **network, "knows": KNOWS}


class UNet(nn.Module):
    """Convolutional, at half resolution and below, without attention: any size. Its last layer starts at 0."""

    frequencies: Tensor

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        top, embedded = widths[0], 4 * widths[0]
        self.register_buffer(
            "frequencies",
            torch.exp(torch.linspace(0, math.log(100), FREQUENCIES, dtype=torch.float32)),
            persistent=False,
        )
        self.embed = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, embedded), nn.SiLU(), nn.Linear(embedded, embedded), nn.SiLU()
        )
        self.first = nn.Conv2d(8 * channels, top, 3, padding=1)  # x and W, 2 x 2 pixels per place
        outer = [top, *widths[:-1]]
        self.down = nn.ModuleList(Block(a, b, embedded) for a, b in zip(outer, widths, strict=True))
        self.halve = nn.ModuleList(nn.Conv2d(w, w, 3, stride=2, padding=1) for w in widths[:-1])
        self.middle = Block(widths[-1], widths[-1], embedded)
        self.up = nn.ModuleList(Block(2 * b, a, embedded) for a, b in zip(outer, widths, strict=True))
        self.norm = nn.GroupNorm(GROUPS, top)
        self.spread = nn.Conv2d(top, 4 * 2 * channels, 3, padding=1)
        self.last = nn.Conv2d(4 * channels, channels, 3, padding=1)  # at full resolution: no pattern of 2 x 2 pixels
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs: Tensor, noise: Tensor) -> Tensor:
        """(B, 2C, H, W) and a number for the noise level (B,) -> (B, C, H, W)."""
        angles = noise[:, None] * self.frequencies
        embedding = self.embed(torch.cat([angles.sin(), angles.cos()], 1))
        hidden = self.first(functional.pixel_unshuffle(inputs, 2))
        kept = []
        for i, block in enumerate(self.down):
            hidden = block(hidden, embedding)
            kept.append(hidden)
            if i < len(self.halve):
                hidden = self.halve[i](hidden)
        hidden = self.middle(hidden, embedding)
        for i in reversed(range(len(self.up))):
            hidden = self.up[i](torch.cat([hidden, kept[i]], 1), embedding)
            if i:
                hidden = functional.interpolate(hidden, scale_factor=2, mode="nearest")
        full = functional.pixel_shuffle(self.spread(functional.silu(self.norm(hidden))), 2)  # (B, 2C, H, W)
        answer: Tensor = self.last(torch.cat([full, inputs], 1))
        return answer


class Block(nn.Module):
    """Two convolutions with a skip; the noise level scales and shifts in between."""

    def __init__(self, channels: int, width: int, embedded: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(GROUPS, channels), nn.GroupNorm(GROUPS, width)])
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)]
        )
        self.film = nn.Linear(embedded, 2 * width)
        self.skip = nn.Conv2d(channels, width, 1) if channels != width else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, width, h, w)."""
        hidden = self.convolutions[0](functional.silu(self.norms[0](x)))
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, 1)
        hidden = self.convolutions[1](functional.silu(self.norms[1](hidden) * (1 + scale) + shift))
        summed: Tensor = self.skip(x) + hidden
        return summed
