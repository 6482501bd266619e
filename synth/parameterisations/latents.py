"""Images as latents of a frozen decoder: a generative network, a principal-component basis, any callable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synth.contract import check_shape, describe, draw
from synth.steady import check_frozen

from .core import NATURAL_SD, Parameterisation
from .decoders import Decoder, Map, encoded

__all__ = ["approach", "latent"]


def latent(
    shape: Sequence[int],
    decoder: Map,
    size: Sequence[int],
    *,
    sd: float = 1.0,
    encode: Map | None = None,
    fit_steps: int = 200,
    fit_rate: float = 0.05,
) -> Parameterisation:
    """The latent of a fixed decoder (Nguyen et al. 2016, "Synthesizing the preferred inputs for neurons").

    The decoder's range bounds what can be shown. A start image is approached: `encode` gives its latent where there is
    one, and `fit_steps` of Adam lower the squared error of the image from there, else from the noise start; the best
    step of each image is kept, and ``module.start_error`` (B,) holds the root mean squared error that remains.

    Parameters
    ----------
    shape : (C, H, W) of the images
    decoder : callable, latents (B, *size) -> images (B, C, H, W)
        Pixel values in [0, 1] (of a network that gives [-1, 1]: ``lambda z: (network(z) + 1) / 2``), on the device of
        its input. An `nn.Module` is moved to the device of the run. Networks must be in evaluation mode, those behind a
        function too; neither parameters nor buffers are ever changed. Before the first image the decoder is asked five
        times, of at most 4 latents: the images of a latent must be the same a second time and in another batch, and few
        of their values may lie outside [0, 1].
    size : shape of one latent
    sd : float
        SD of the latents that the decoder knows: of the noise start, and the unit of the learning rate.
    encode : callable, images (B, C, H, W) -> latents (B, *size), or None
    fit_steps, fit_rate : int, float
        Steps (0 = none) and learning rate of the approach to a start image.

    Raises
    ------
    ValueError
        Settings or a decoder that cannot serve; the decoder is asked when the first images are made.
    """
    image, latents = check_shape(shape), tuple(int(n) for n in size)
    if not latents or min(latents) < 1 or not sd > 0 or fit_steps < 0 or not fit_rate > 0:
        raise ValueError(
            f"latents of shape {latents} and SD {sd}, {fit_steps} fit_steps at {fit_rate}; expected sizes of at least "
            "1, an SD and a rate above 0, steps not below 0"
        )
    for what, network in (("decoder", decoder), ("encode network", encode)):
        if isinstance(network, nn.Module):
            check_frozen(network, what)

    asked: dict[torch.device, Decoder] = {}

    def build(generators: Sequence[torch.Generator], start: Tensor | None, device: torch.device) -> nn.Module:
        for network in (decoder, encode):
            if isinstance(network, nn.Module):
                network.to(device)
        if device not in asked:
            asked[device] = Decoder.asked(decoder, latents, image, sd=sd, device=device)
        dtype = asked[device].dtype(start)
        values = draw(generators, latents).to(device, dtype)
        wanted = None if start is None else start.detach().to(device, dtype)
        if wanted is not None and encode is not None:
            values = encoded(encode, wanted, values.shape) / sd
        module = _Latent(values * NATURAL_SD, asked[device].decode, sd / NATURAL_SD)
        _check_images(module, (len(values), *image))
        if wanted is not None:
            module.start_error = approach(module, [module.values], wanted, steps=fit_steps, rate=fit_rate)
        return module

    settings = {"latent": list(latents), "sd": sd, "decoder": _record(decoder), "encode": _record(encode)}
    fit = {"fit_steps": fit_steps, "fit_rate": fit_rate}
    return Parameterisation("latent", image, settings | fit, build, exact_start=False)


class _Latent(nn.Module):
    """images = decoder(scale * values)."""

    start_error: Tensor

    def __init__(self, values: Tensor, decoder: Map, scale: float) -> None:
        super().__init__()
        self.values = nn.Parameter(values)  # (B, *size)
        # behind a function: a module set as an attribute would hand its parameters to the optimiser
        self.decode: Map = lambda z: decoder(z)
        self.scale = scale

    def forward(self) -> Tensor:
        return self.decode(self.scale * self.values)


def approach(
    render: Callable[[], Tensor], variables: Sequence[Tensor], images: Tensor, *, steps: int, rate: float
) -> Tensor:
    """Bring ``render()`` near to `images` (B, C, H, W) by Adam on `variables`, in place; each image's best is kept.

    Variables of several images have the image as their first dimension. Returns the root mean squared error (B,).
    """
    variables = list(variables)
    optimiser = torch.optim.Adam(variables, lr=rate)
    best = torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
    kept = [v.detach().clone() for v in variables]
    for step in range(steps + 1):
        errors = (render() - images).square().flatten(1).mean(1)  # (B,)
        better = errors.detach() < best
        best = torch.where(better, errors.detach(), best)
        for one, variable in zip(kept, variables, strict=True):
            one.copy_(torch.where(better.reshape(-1, *[1] * (one.dim() - 1)), variable.detach(), one))
        if step == steps:
            break
        gradients = torch.autograd.grad(errors.sum(), variables, allow_unused=True)
        for variable, gradient in zip(variables, gradients, strict=True):
            variable.grad = gradient
        optimiser.step()
    with torch.no_grad():
        for one, variable in zip(kept, variables, strict=True):
            variable.copy_(one)
            variable.grad = None
    return best.sqrt()


def _check_images(module: _Latent, expected: tuple[int, ...]) -> None:
    images = module()
    if tuple(images.shape) != expected:
        raise ValueError(
            f"the decoder gives images of shape {tuple(images.shape)}; expected {expected}. Likely cause: another "
            "image size, or a latent of another shape"
        )
    if not images.requires_grad:
        raise ValueError(
            "the decoder's images do not depend on the latent: the gradient is cut. Likely cause: it runs under "
            "no_grad or detaches its input"
        )
    low, high = float(images.detach().min()), float(images.detach().max())
    if not (low >= -3 and high <= 4):  # a linear decoder may well leave [0, 1]
        raise ValueError(
            f"the decoder gives pixels from {low:g} to {high:g}; expected [0, 1]. Likely cause: a network that gives "
            "[0, 255]: wrap it, as in lambda z: decoder(z) / 255"
        )


def _record(network: Map | None) -> Any:
    """JSON-able description of a network: its own, or its name, with a digest of its weights where it has some."""
    if network is None:
        return None
    described = dict(describe(network))
    if isinstance(network, nn.Module):
        weights = hashlib.sha256()
        for name, value in sorted(network.state_dict().items()):
            weights.update(
                name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
        described["sha256"] = weights.hexdigest()
    return described
