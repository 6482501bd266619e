"""Decoders by the path of their weights: nothing but tensors is read, and no code of a file is ever run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.priors.weights import read_tensors

from .latents import DecoderLatent

__all__ = ["decoder_latent"]

FULLY_CONNECTED = ("defc7", "defc6", "defc5")
CONVOLUTIONS = (
    "deconv5", "conv5_1", "deconv4", "conv4_1", "deconv3", "conv3_1", "deconv2", "deconv1", "deconv0",
)  # fmt: skip
SLOPE = 0.3
MEAN_BGR = (104.0, 117.0, 123.0)
KNOWN = (
    "a generator of DeePSiM (Dosovitskiy & Brox 2016, the weights defc7, defc6, defc5, deconv5, ... of its layers fc6, "
    "fc7 or fc8), or a linear one (mean of shape (C, H, W) and basis of shape (D, C, H, W))"
)


def decoder_latent(path: str | Path, shape: Sequence[int], *, device: torch.device | str = "cpu") -> DecoderLatent:
    """The latent of the decoder whose weights `path` holds, for images of `shape` (C, H, W).

    Parameters
    ----------
    path : path of a ``.safetensors`` file, or of a state dict that torch reads without running code
        The generator of DeePSiM as it was published for torch (upconvGAN, 4096 numbers for fc6), the code of XDream
        (Ponce et al. 2019); or a linear decoder: ``mean`` (C, h, w) and ``basis`` (D, C, h, w), as of principal
        components, in pixel values of [0, 1]; there the unit of the code is the length of a basis image.
    shape : (C, H, W)
    device : where the decoder runs

    Raises
    ------
    ValueError
        No tensors, or those of no decoder that is known.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{file}: no such file; expected {KNOWN}")
    state = _plain(read_tensors(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    network: _Linear | _Upconvolution
    if set(state) == {"mean", "basis"}:
        network = _Linear(state, file.name)
    elif {f"{name}.weight" for name in (*FULLY_CONNECTED, *CONVOLUTIONS)} <= set(state):
        network = _Upconvolution(state, file.name)
    else:
        raise ValueError(f"{file.name} holds {', '.join(sorted(state)[:4])}, ...; expected {KNOWN}")
    network.record = {"file": file.name, "sha256": digest}
    encode = network.encode if isinstance(network, _Linear) else None
    return DecoderLatent(network, (network.latent,), network.decoded, shape=shape, encode=encode, device=device)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors in float32 under the names of the layers alone: without "G.", and without the ".1." of some copies."""
    return {name.removeprefix("G.").replace(".1.", "."): value.float() for name, value in state.items()}


class _Linear(nn.Module):
    """images = mean + sum over d of code_d basis_d."""

    mean: Tensor
    basis: Tensor
    inverse: Tensor | None = None

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        mean, basis = state["mean"], state["basis"]
        if mean.dim() != 3 or basis.shape[1:] != mean.shape or not len(basis):
            raise ValueError(
                f"{name} holds mean {tuple(mean.shape)} and basis {tuple(basis.shape)}; expected (C, H, W) and "
                "(D, C, H, W)"
            )
        if not torch.isfinite(mean).all() or not torch.isfinite(basis).all():
            raise ValueError(f"{name} holds NaN or infinity; expected finite numbers")
        self.record: dict[str, Any] = {}
        self.latent, self.decoded = len(basis), tuple(mean.shape)
        self.register_buffer("mean", mean)
        self.register_buffer("basis", basis.flatten(1))
        self.eval()

    def forward(self, codes: Tensor) -> Tensor:
        """Images (n, C, H, W) of codes (n, D)."""
        images: Tensor = (self.mean.flatten() + codes @ self.basis).reshape(len(codes), *self.decoded)
        return images

    def encode(self, images: Tensor) -> Tensor:
        """Codes (n, D) of the nearest images."""
        if self.inverse is None:  # minutes for large images, and for a hybrid alone
            self.inverse = torch.linalg.pinv(self.basis.double()).float()
        codes: Tensor = (images - self.mean).flatten(1) @ self.inverse
        return codes

    def describe(self) -> dict[str, Any]:
        """JSON-able name and file."""
        return {"name": "linear", **self.record}


class _Layer(nn.Module):
    """A weight and its bias."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)


class _Upconvolution(nn.Module):
    """The generator of Dosovitskiy & Brox (2016) from fully connected features back to pixels."""

    means: Tensor

    def __init__(self, state: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.record: dict[str, Any] = {}
        layers: dict[str, nn.Module] = {}
        for layer in (*FULLY_CONNECTED, *CONVOLUTIONS):
            weight, bias = state[f"{layer}.weight"], state.get(f"{layer}.bias")
            expected = 2 if layer in FULLY_CONNECTED else 4
            if weight.dim() != expected or bias is None:
                raise ValueError(
                    f"{name} holds a weight {layer} of shape {tuple(weight.shape)}, and "
                    f"{'no bias' if bias is None else 'its bias'}; expected {expected} dimensions and a bias"
                )
            layers[layer] = _Layer(weight, bias)
        self.layers = nn.ModuleDict(layers)
        self.latent = state["defc7.weight"].shape[1]
        self.channels = state["deconv5.weight"].shape[0]
        self.register_buffer("means", torch.tensor(MEAN_BGR)[:, None, None])
        self.eval().requires_grad_(False)
        try:
            with torch.no_grad():
                self.decoded = tuple(self(torch.zeros(1, self.latent)).shape[1:])
        except RuntimeError as error:
            raise ValueError(
                f"the layers of {name} do not fit one another ({str(error).splitlines()[0]}); expected {KNOWN}"
            ) from error

    def forward(self, codes: Tensor) -> Tensor:
        """Images (n, 3, H, W), pixel values / 255 cut to [0, 1], of codes (n, D)."""
        hidden = codes
        for name in FULLY_CONNECTED:
            weight, bias = self._weights(name)
            hidden = functional.leaky_relu(functional.linear(hidden, weight, bias), SLOPE)
        side = round((hidden.shape[1] / self.channels) ** 0.5)
        hidden = hidden.reshape(len(codes), self.channels, side, side)
        for name in CONVOLUTIONS:
            weight, bias = self._weights(name)
            stride = 2 if weight.shape[-1] == 4 else 1
            hidden = functional.conv_transpose2d(hidden, weight, bias, stride=stride, padding=1)
            if name != CONVOLUTIONS[-1]:
                hidden = functional.leaky_relu(hidden, SLOPE)
        return (hidden + self.means).flip(1).clamp(0, 255) / 255  # blue, green, red -> red, green, blue

    def _weights(self, name: str) -> tuple[Tensor, Tensor]:
        layer = self.layers[name]
        assert isinstance(layer, _Layer)
        return layer.weight, layer.bias

    def describe(self) -> dict[str, Any]:
        """JSON-able name and file."""
        return {"name": "deepsim", **self.record}
