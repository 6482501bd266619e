"""The contract of all readouts, and the base class of those fitted by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.backbones.pooling import feature_maps

DEFAULT_POOL = 7
MAP_POOL = 14
FIRST_WEIGHTS = 0.01  # SD of the first feature weights
Output = Literal["identity", "softplus", "elu1"]
Shapes = Mapping[str, Sequence[int]]
Build = Callable[[Mapping[str, Any], Mapping[str, Tensor]], "Readout"]


class Readout(nn.Module):
    """Features of named layers -> predicted responses.

    Attributes
    ----------
    layers : tuple of str
        The layers that `forward` reads.
    n_sites : int
        U.
    """

    kind: ClassVar[str] = ""
    layers: tuple[str, ...]
    n_sites: int

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        raise NotImplementedError

    def penalty(self) -> Tensor:
        """The term that the fit adds to its error, a scalar."""
        raise NotImplementedError

    def spatial_masks(self) -> dict[str, Tensor] | None:
        """How much each site reads of every position, (U, h, w) >= 0 per layer; None where the readout has no masks."""
        return None

    def config(self) -> dict[str, Any]:
        """JSON-able description; `build_readout` makes the same readout from it and the state dict."""
        raise NotImplementedError

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict.

        `build` does the same for a readout of any kind (`build_readout`); a readout that holds another one needs it.
        """
        readout = cls(**{name: value for name, value in config.items() if name != "kind"})
        readout.load_state_dict(dict(tensors), strict=True)
        return readout


class GradientReadout(Readout):
    """A readout fitted by gradient descent. It reads standardised feature maps and predicts in units of each site's SD.

    Parameters
    ----------
    shapes : dict of layer to (C, h, w)
        Of the maps that `feature_maps` gives.
    n_sites : int
    pool : int, optional
        Passed to `feature_maps`.
    output : "identity", "softplus" or "elu1"
        From the linear response u to the prediction. "identity": u, in SDs about the mean response. "softplus":
        softplus(u); "elu1": ELU(u) + 1 (Lurz et al. 2021); both are rates >= 0 in units of the mean response.
    seed : int
        Of the initial weights.

    Attributes
    ----------
    strength : Tensor of shape (U,)
        Factor of every site's penalty.
    generator : torch.Generator or None
        Source of all random draws while fitting; None afterwards.
    decay : float
        Factor of penalties that fade while fitting: 1 at first, 0 from the middle on.
    """

    independent: ClassVar[bool] = True  # every parameter leads with the site axis; no site's fit depends on another's
    joins_layers: ClassVar[bool] = False  # weighs layers against each other: one readout reads all layers of a fit
    starts: ClassVar[Mapping[str, float]] = {}  # parameters of each site that begin with noise, and its SD
    epochs: ClassVar[int] = 60
    learning_rate: ClassVar[float] = 5e-3

    strength: Tensor
    response_mean: Tensor
    response_scale: Tensor
    bias: nn.Parameter

    def __init__(
        self, shapes: Shapes, n_sites: int, *, pool: int | None = MAP_POOL, output: Output = "identity", seed: int = 0
    ) -> None:
        super().__init__()
        if not shapes or any(len(shape) != 3 for shape in shapes.values()) or n_sites < 1:
            raise ValueError(f"shapes {dict(shapes)} for {n_sites} sites; expected (C, h, w) of at least one layer")
        if output not in ("identity", "softplus", "elu1"):
            raise ValueError(f"output {output!r}; expected identity, softplus or elu1")
        self.shapes = {layer: tuple(int(n) for n in shape) for layer, shape in shapes.items()}
        self.layers, self.n_sites, self.pool, self.output, self.seed = tuple(shapes), n_sites, pool, output, seed
        for i, (channels, _, _) in enumerate(self.shapes.values()):
            self.register_buffer(f"feature_mean_{i}", torch.zeros(channels))
            self.register_buffer(f"feature_scale_{i}", torch.ones(channels))
        self.register_buffer("strength", torch.ones(n_sites))
        self.register_buffer("response_mean", torch.zeros(n_sites))
        self.register_buffer("response_scale", torch.ones(n_sites))
        self.bias = nn.Parameter(torch.zeros(n_sites))
        self.generator: torch.Generator | None = None
        self.decay = 1.0

    def options(self) -> dict[str, Any]:
        """Keyword arguments that only this class has, for `config`."""
        return {}

    def respond(self, maps: Sequence[Tensor]) -> Tensor:
        """Linear responses u (B, U) to standardised maps (B, C, h, w), one per layer."""
        raise NotImplementedError

    def site_penalties(self) -> Tensor:
        """Penalty of every site before `strength`, (U,)."""
        raise NotImplementedError

    def penalty(self) -> Tensor:
        """Sum over sites of strength times the site's penalty."""
        return (self.strength * self.site_penalties()).sum()

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U), in the unit of the fit."""
        return self.finish(self.respond(self.standardised(features)))

    def finish(self, linear: Tensor) -> Tensor:
        """Predictions in the unit of the responses from linear responses (B, U)."""
        if self.output == "softplus":
            return self.response_scale * F.softplus(linear)
        if self.output == "elu1":
            return self.response_scale * (F.elu(linear) + 1)
        return self.response_mean + self.response_scale * linear

    def standardised(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) less the mean of each channel, over its SD."""
        maps = []
        for i, raw in enumerate(self.maps(features)):
            mean, scale = getattr(self, f"feature_mean_{i}"), getattr(self, f"feature_scale_{i}")
            maps.append((raw - mean[:, None, None]) / scale[:, None, None])
        return maps

    def maps(self, features: Mapping[str, Tensor]) -> list[Tensor]:
        """Pooled maps (B, C, h, w) of every layer, not standardised; other shapes than the fitted ones are refused."""
        maps = []
        for layer, shape in self.shapes.items():
            pooled = feature_maps(features[layer], self.pool)
            if tuple(pooled.shape[1:]) != shape:
                raise ValueError(
                    f"layer {layer!r} gives maps of {tuple(pooled.shape[1:])}, this readout was fitted to {shape}. "
                    "Likely cause: images of another size. Fix: use images of the encoder's image_shape"
                )
            maps.append(pooled)
        return maps

    @torch.no_grad()
    def calibrate_features(self, features: Mapping[str, Tensor]) -> None:
        """Set the mean and SD of every channel, over images and positions, to those of `features`."""
        for i, layer in enumerate(self.layers):
            maps = feature_maps(features[layer], self.pool)
            sd = maps.std((0, 2, 3))
            if not bool((sd > 0).any()):
                raise ValueError(f"layer {layer!r} gives the same features to all images; name another layer")
            getattr(self, f"feature_mean_{i}").copy_(maps.mean((0, 2, 3)))
            getattr(self, f"feature_scale_{i}").copy_(sd + 1e-3 * sd.mean())  # a channel that never varies stays small

    @torch.no_grad()
    def calibrate_responses(self, mean: Tensor, sd: Tensor) -> None:
        """Set the mean and SD (U,) of the responses to the fitted images; the bias starts at the mean response."""
        self.response_mean.copy_(mean)
        self.response_scale.copy_(sd if self.output == "identity" else mean.clamp_min(1e-3))
        self.bias.fill_({"identity": 0.0, "softplus": math.log(math.e - 1), "elu1": 0.0}[self.output])

    @torch.no_grad()
    def select(self, columns: Tensor) -> Self:
        """A readout of the sites `columns` alone, in that order."""
        if not self.independent:
            raise ValueError(f"{self.kind}: the sites share parameters; they cannot be taken apart")
        config = self.config() | {"n_sites": len(columns)}
        return type(self).restore(config, self.site_state(columns))

    def standardisation(self) -> dict[str, Tensor]:
        """Mean and SD of every channel, by their names in the state dict; all sites share them."""
        return {name: tensor for name, tensor in self.state_dict().items() if name.startswith("feature_")}

    def site_state(self, columns: Tensor | slice) -> dict[str, Tensor]:
        """State dict of a readout of the sites `columns` alone; only where the sites are independent."""
        shared = self.standardisation()
        return shared | {name: part[columns] for name, part in self.state_dict().items() if name not in shared}

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        shapes = {layer: list(shape) for layer, shape in self.shapes.items()}
        own = {"n_sites": self.n_sites, "pool": self.pool, "output": self.output, "seed": self.seed}
        return {"kind": self.kind, "shapes": shapes} | own | self.options()

    @torch.no_grad()
    def start(self, seeds: Sequence[int]) -> None:
        """Draw the first weights of each site anew, by its own seed (U of them).

        So they depend on no other site of the readout.
        """
        for name, parameter in self.named_parameters():
            scale = self.starts.get(name.partition(".")[0])
            for row, seed in zip(parameter, seeds if scale else (), strict=bool(scale)):
                drawn = torch.randn(row.shape, generator=torch.Generator().manual_seed(seed))
                row.copy_((scale or 0.0) * drawn)

    def noise(self, *shape: int, scale: float) -> nn.Parameter:
        """Initial weights, normal with SD `scale`; the same seed and shape give the same weights."""
        generator = torch.Generator().manual_seed(self.seed)
        return nn.Parameter(scale * torch.randn(*shape, generator=generator))


def per_layer(parts: Sequence[Tensor]) -> nn.ParameterList:
    """One parameter per layer."""
    return nn.ParameterList([nn.Parameter(part) for part in parts])
