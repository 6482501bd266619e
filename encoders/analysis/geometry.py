"""Geometry of an encoder's input gradient: figures from photographs alone that may tell how well an encoder controls.

Over 250 site-models of macaque visual cortex (bioRxiv 10.64898/2026.08.16.745063, 2026), control went with the
concentration of the gradient's spatial spectrum (r 0.64) and against the sensitivity to adversarial steps (r -0.51).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from encoders.contract import Floats

STEP = 2 / 255
Respond = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InputGeometry:
    """Result of `input_geometry`, one value per site: means over the images.

    Attributes
    ----------
    participation : array of shape (U,)
        Share of the spatial frequencies that carry the gradient's power, in (0, 1]; small = concentrated. NaN where
        the response depends on no pixel.
    drop : array of shape (U,)
        Loss of response under one adversarial step, in natural SDs; small = robust.
    """

    participation: Floats
    drop: Floats


def input_geometry(respond: Respond, images: Tensor, *, sd: Tensor, step: float = STEP) -> InputGeometry:
    """Participation ratio of the input gradient's spectrum, and loss under one adversarial step, of every site.

    Parameters
    ----------
    respond : callable
        An encoder: images (B, C, H, W) in [0, 1] -> responses (B, U), or (M, B, U), of which the mean is taken. The
        answer to an image must not depend on the other images.
    images : Tensor of shape (B, C, H, W)
        Such as photographs: 16 or so suffice to compare encoders.
    sd : Tensor of shape (U,)
        Natural SD of every site, > 0, in the unit of the responses.
    step : float
        Size of the step, the same for all pixels and channels, in image values.

    Returns
    -------
    InputGeometry
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        responses = _mean(respond(images))
        sites = range(responses.shape[1])
        gradients = [torch.autograd.grad(responses[:, u].sum(), images, retain_graph=True)[0] for u in sites]
    before, images = responses.detach(), images.detach()
    participation, drops = [], []
    for u, gradient in enumerate(gradients):
        participation.append(spectral_participation(gradient).mean())
        drops.append((before[:, u] - _weakened(respond, images, gradient, step=step)[:, u]).mean() / sd[u].to(before))
    parts = (torch.stack(values).double().cpu().numpy() for values in (participation, drops))
    return InputGeometry(*parts)


def spectral_participation(gradients: Tensor) -> Tensor:
    """Participation ratio of the spatial power spectrum, over the number of frequencies K; small = concentrated.

    With P(k) the power at frequency k, summed over channels: (sum P)^2 / (K sum P^2). It is 1 for a flat spectrum and
    1 / K for one frequency. The mean over pixels (k = 0) does not count: a display with fixed mean luminance never
    shows it.

    Parameters
    ----------
    gradients : Tensor of shape (..., C, H, W)

    Returns
    -------
    Tensor of shape (...)
        NaN for a gradient without power.
    """
    power = torch.fft.fft2(gradients.double()).abs().square().sum(-3).flatten(-2)[..., 1:]
    share = power / power.sum(-1, keepdim=True)
    participation: Tensor = 1 / (share.square().sum(-1) * power.shape[-1])
    return participation


def adversarial_drop(respond: Respond, images: Tensor, *, site: int, step: float = STEP) -> Tensor:
    """Loss of one site's response, (B,) in its unit, when all pixels move by `step` against the gradient's sign.

    One step of the fast gradient sign method (Goodfellow, Shlens & Szegedy 2015), clipped to [0, 1].

    Parameters
    ----------
    respond, images, step
        See `input_geometry`.
    site : int
        Column of the responses.
    """
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        before = _mean(respond(images))[:, site]
        gradient = torch.autograd.grad(before.sum(), images)[0]
    return before.detach() - _weakened(respond, images.detach(), gradient, step=step)[:, site]


@torch.no_grad()
def _weakened(respond: Respond, images: Tensor, gradient: Tensor, *, step: float) -> Tensor:
    """Responses (B, U) to the images moved by one step against the gradient."""
    return _mean(respond((images - step * gradient.sign()).clamp(0, 1)))


def _mean(responses: Tensor) -> Tensor:
    return responses.mean(0) if responses.ndim == 3 else responses
