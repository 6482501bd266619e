"""Check an encoder before hours of synthesis; each fault is an error that says how to fix it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

INSENSITIVE = 0.01  # relative change of all responses between black, white and noise images
TOLERANCE = 1e-3  # of the spread of the responses


class EncoderFault(ValueError):
    """A module breaks the encoder contract."""


def check_encoder(module: nn.Module, image_shape: Sequence[int], *, site_ids: Sequence[str] | None = None) -> None:
    """Check that `module` maps images in [0, 1] to responses, deterministically and with a gradient to the images.

    Parameters
    ----------
    module : nn.Module
        ``forward (B, C, H, W) -> (B, U)`` or ``(M, B, U)``.
    image_shape : (C, H, W)
    site_ids : sequence of U str, optional
        Default: the module's own ``site_ids``, if it has any.

    Raises
    ------
    EncoderFault (a ValueError)
        Names the first fault and how to fix it.
    """
    channels, height, width = (int(n) for n in image_shape)
    if channels not in (1, 3) or min(height, width) < 1:
        raise EncoderFault(f"image_shape {tuple(image_shape)}; expected (C, H, W) with C = 1 or 3")
    _check_mode(module)
    images = _probes(channels, height, width, module=module)
    responses = _check_forward(module, images)
    names = getattr(module, "site_ids", None) if site_ids is None else site_ids
    twice = [name for name, times in Counter(map(str, names or ())).items() if times > 1]
    if twice:
        raise EncoderFault(
            f"names {', '.join(twice[:4])} more than once among its sites; give each column its own name"
        )
    if names is not None and responses.shape[-1] != len(names):
        raise EncoderFault(
            f"gives {responses.shape[-1]} responses per image for {len(names)} sites; order the output by site_ids, "
            "one column each"
        )
    _check_repeatable(module, images, responses)
    _check_range(module, images, responses)
    _check_gradient(module, images)


def _check_mode(module: nn.Module) -> None:
    training = [name or "the module itself" for name, part in module.named_modules() if part.training]
    if training:
        raise EncoderFault(
            f"is in training mode ({training[0]}): dropout and batch statistics would change every response; call "
            ".eval() first"
        )


def _probes(channels: int, height: int, width: int, *, module: nn.Module) -> Tensor:
    """Black, white, noise, a ramp and its negative: (5, C, H, W) in [0, 1], where the module's parameters live."""
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    device = tensors[0].device if tensors else torch.device("cpu")
    noise = torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, width).expand(channels, height, width)
    return torch.stack([torch.zeros_like(noise), torch.ones_like(noise), noise, ramp, 1 - ramp]).to(device)


def _check_forward(module: nn.Module, images: Tensor) -> Tensor:
    before = images.clone()
    try:
        with torch.no_grad():
            responses = module(images)
    except Exception as error:  # a module of unknown origin may raise anything
        raise EncoderFault(_explain_failure(module, images, error)) from error
    if not isinstance(responses, Tensor):
        raise EncoderFault(f"gives a {type(responses).__name__}; return one tensor (B, U) or (M, B, U)")
    if responses.ndim not in (2, 3) or responses.shape[-2] != len(images) or 0 in responses.shape:
        raise EncoderFault(
            f"gives shape {tuple(responses.shape)} for {len(images)} images; return (B, U), or (M, B, U) for an "
            "ensemble"
        )
    if not torch.equal(before, images):
        raise EncoderFault("changes the images it is given; work on a copy (no in-place operation on the input)")
    if responses.dtype != images.dtype or responses.device != images.device:
        raise EncoderFault(
            f"gives {responses.dtype} on {responses.device} for {images.dtype} on {images.device}; device and dtype "
            "must follow the input"
        )
    if not bool(torch.isfinite(responses).all()):
        raise EncoderFault(
            "gives NaN or infinity for plain images in [0, 1]; look for logarithms or divisions by zero contrast"
        )
    return responses


def _explain_failure(module: nn.Module, images: Tensor, error: Exception) -> str:
    """The message for a forward pass that failed: a wrong number of channels, or the error itself."""
    channels = images.shape[1]
    other = images[:, :1] if channels == 3 else images.expand(-1, 3, -1, -1)
    try:
        with torch.no_grad():
            module(other)
    except Exception:
        return f"fails on images of shape {tuple(images.shape)} in [0, 1]: {error}"
    return (
        f"takes {other.shape[1]} channels, the images have {channels}; convert inside the module "
        f"({'images.expand(-1, 3, -1, -1)' if channels == 1 else 'images.mean(1, keepdim=True)'})"
    )


def _check_repeatable(module: nn.Module, images: Tensor, responses: Tensor) -> None:
    scale = float(responses.std(-2, unbiased=False).max()) + 1e-6 * float(responses.abs().max()) + 1e-12
    with torch.no_grad():
        again, alone = module(images), module(images[2:3])
    if float((again - responses).abs().max()) > TOLERANCE * scale:
        raise EncoderFault(
            "gives other responses to the same images a second time; remove dropout, noise and state from forward"
        )
    if float((alone - responses[..., 2:3, :]).abs().max()) > TOLERANCE * scale:
        raise EncoderFault(
            "responds differently to an image alone and within a batch; remove what mixes images (batch statistics, "
            "batch-wide normalisation)"
        )


def _check_range(module: nn.Module, images: Tensor, responses: Tensor) -> None:
    """Refuse modules for pixels in 0 ... 255, to which images in [0, 1] look nearly black."""
    relative = _relative_change(responses)
    if relative > INSENSITIVE:
        return
    larger = 0.0
    with torch.no_grad(), contextlib.suppress(ValueError):  # a module that refuses such images needs no telling
        larger = _relative_change(module(images * 255))
    if larger > 20 * max(relative, 1e-9):
        raise EncoderFault(
            f"hardly responds to images in [0, 1] (black, white and noise change it by {relative:.1e}) but does to 0 "
            f"... 255 ({larger:.1e}): it needs the wrong range; multiply by 255 inside the module"
        )
    if relative < 1e-6:
        raise EncoderFault(
            "gives the same responses to black, white and noise images; check its input range and weights"
        )


def _relative_change(responses: Tensor) -> float:
    """SD over images, relative to the mean magnitude of the responses; the largest over sites."""
    rows = responses.reshape(-1, *responses.shape[-2:])  # (M, B, U)
    return float((rows.std(1, unbiased=False) / (rows.abs().mean(1) + 1e-12)).max())


def _check_gradient(module: nn.Module, images: Tensor) -> None:
    images = images[2:].clone().requires_grad_(True)
    with torch.enable_grad():
        responses = module(images)
    cure = "remove no_grad, detach, numpy, round and argmax from forward"
    if not responses.requires_grad:
        raise EncoderFault(f"gives responses without gradient: it is detached from the images; {cure}")
    (gradient,) = torch.autograd.grad(responses.sum(), images, allow_unused=True)
    if gradient is None:
        raise EncoderFault(f"gives no gradient to the images; {cure}")
    if not bool(torch.isfinite(gradient).all()):
        raise EncoderFault("gives a NaN or infinite gradient to the images; look for square roots or norms at zero")
    if float(gradient.abs().max()) == 0:
        raise EncoderFault(f"gives a gradient of zero to the images, so that it is not differentiable here; {cure}")
