"""A blind denoiser as a prior: the difference between its output and its input points to more probable images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from synth.contract import check_shape

from .prior import PixelPrior
from .weights import check_finite, read_tensors, without_wrappers

__all__ = ["blind"]

KNOWS = "local structure (edges, surfaces), no objects; results are no evidence about object selectivity"
EPSILON = 1e-5


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def blind(denoiser: str | Path | Callable[[Tensor], Tensor], shape: Sequence[int]) -> Blind:
    """A denoiser that does not use the noise level, as a prior (Kadkhodaie & Simoncelli 2021).

    Of a least-squares denoiser, D(y) - y = sigma^2 grad log p_sigma(y) (Miyasawa 1961).

    Parameters
    ----------
    denoiser : path of weights, or callable
        A bias-free DnCNN (Mohan et al. 2020) as a state dict in ``.safetensors`` or ``.pt`` (read without running any
        code), or any callable of pixel values (B, C, H, W) in [0, 1] plus noise -> clean pixel values.
    shape : (C, H, W), any size that the network takes; (H, W): with the channels of the weights
    """
    wanted = tuple(int(n) for n in shape)
    if not isinstance(denoiser, str | Path):
        size = check_shape(wanted)
        return Blind(denoiser, size, {"name": getattr(denoiser, "__name__", type(denoiser).__name__)})
    path = Path(denoiser)
    state = _read(path)
    network = BiasFree(state, path)
    size = check_shape((network.channels, *wanted) if len(wanted) == 2 else wanted)
    if network.channels != size[0]:
        raise ValueError(
            f"{path.name} denoises images of {network.channels} channel(s); shape {size} has {size[0]}. Give shape "
            f"({network.channels}, H, W): `synth.guide` makes grey or colour of it as the display needs"
        )
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().float().contiguous().numpy().tobytes())
    return Blind(network, size, {"name": path.name, "sha256_of_tensors": digest.hexdigest()})


class Blind(PixelPrior):
    """See `blind`. The noise level that it is called with is not used."""

    blind = True

    def __init__(
        self, denoiser: Callable[[Tensor], Tensor], shape: tuple[int, int, int], source: dict[str, Any]
    ) -> None:
        super().__init__(shape, (0.02, 2.0))
        self.denoiser, self.source = denoiser, source

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Clean estimate of `x`."""
        return 2 * self.denoiser((x + 1) / 2) - 1

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        size = {"shape": list(self.shape), "sigmas": list(self.sigmas)}
        return {"name": "blind", **size, "source": self.source, "knows": KNOWS}


class BiasFree(nn.Module):
    """DnCNN without biases, D(y) = y - network(y); the normalisation by running SDs is folded into the filters."""

    def __init__(self, state: Mapping[str, Tensor], path: Path) -> None:
        super().__init__()
        depth = sum(name.startswith("hidden_layer_list.") for name in state)
        expected = {"first_layer.weight", "last_layer.weight"}
        for i in range(depth):
            expected |= {f"hidden_layer_list.{i}.weight", f"bn_layer_list.{i}.weight", f"bn_layer_list.{i}.running_var"}
        unused = {f"bn_layer_list.{i}.{name}" for i in range(depth) for name in ("running_mean", "num_batches_tracked")}
        if depth == 0 or set(state) - unused != expected:
            odd = sorted((set(state) - unused) ^ expected)
            raise ValueError(
                f"{path.name} is not a bias-free DnCNN: {len(odd)} tensors differ from what one holds, such as "
                f"{odd[:3]}. Expected first_layer.weight, hidden_layer_list.N.weight, bn_layer_list.N.weight and "
                ".running_var, last_layer.weight. Another network: build it, and give it to `blind` as a callable"
            )
        filters = [state["first_layer.weight"].float()]
        for i in range(depth):
            gain = state[f"bn_layer_list.{i}.weight"] / (state[f"bn_layer_list.{i}.running_var"].sqrt() + EPSILON)
            filters.append(state[f"hidden_layer_list.{i}.weight"].float() * gain.view(-1, 1, 1, 1))
        filters.append(state["last_layer.weight"].float())
        self.filters = nn.ParameterList([nn.Parameter(f, requires_grad=False) for f in filters])
        self.channels = int(filters[0].shape[1])

    def forward(self, images: Tensor) -> Tensor:
        """Clean pixel values (B, C, H, W) of noisy ones."""
        hidden = images
        for i, weight in enumerate(self.filters):
            hidden = nn.functional.conv2d(hidden, weight, padding=weight.shape[-1] // 2)
            if i + 1 < len(self.filters):
                hidden = hidden.relu()
        return images - hidden


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the weights of a denoiser, .safetensors or .pt")
    state = without_wrappers(read_tensors(path))
    again = "Copy the file again, or take an earlier one of the training"
    check_finite(state.items(), path.name, again)
    return state
