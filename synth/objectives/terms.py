"""The mathematics of the objectives: pure functions on standardised responses, one score per image, higher is better.

Every function takes (images (n, C, H, W), z (..., n, U), columns (n,), settings) and gives (..., n). `columns` holds
the column of each image's target site; `settings` the numbers of the objective and, where it has them, ``among`` (k,),
the columns of the sites that it names, ``values`` (k,), one number for each of these, and ``sets`` (n,), which images
belong together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

Settings = Mapping[str, Any]
TermFunction = Callable[[Tensor, Tensor, Tensor, Settings], Tensor]


class Kind(NamedTuple):
    """A function of the catalogue.

    Attributes
    ----------
    function : callable
    raw : bool
        It reads responses in the encoder's unit instead of natural SDs.
    compares : bool
        It compares the target with the other sites, of those named in `among` or of all.
    """

    function: TermFunction
    raw: bool = False
    compares: bool = False


def of_target(z: Tensor, columns: Tensor) -> Tensor:
    """The target's column of every image: (..., n, U) -> (..., n)."""
    return z.gather(-1, columns.expand(z.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def _named(z: Tensor, columns: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Responses of the sites that compete, and the target's place among them; all sites where none are named."""
    among = settings.get("among")
    if among is None:
        return z, columns
    place = (columns[:, None] == among).int().argmax(-1)
    return z.index_select(-1, among), place


def stretch(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Z of the target."""
    return of_target(z, columns)


def suppress(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Minus z of the target."""
    return -of_target(z, columns)


def one_hot(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Log softmax of z / temperature at the target."""
    z, place = _named(z, columns, settings)
    return of_target(torch.log_softmax(z / settings["temperature"], -1), place)


def rate_softmax(images: Tensor, responses: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Softmax, not its logarithm, of responses in the encoder's unit."""
    responses, place = _named(responses, columns, settings)
    return of_target(torch.softmax(responses, -1), place)


def margin(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Target less the mean of the `top` largest others."""
    z, place = _named(z, columns, settings)
    target = torch.zeros(z.shape[-2:], dtype=torch.bool, device=z.device).scatter_(-1, place[:, None], value=True)
    others = z.masked_fill(target, -torch.inf)
    return of_target(z, place) - others.topk(int(settings["top"]), -1).values.mean(-1)


def discriminate(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """``z_c / t - log mean_c' exp(z_c' / t)`` of cluster means, `values` giving the cluster of each named site."""
    named, place = _named(z, columns, settings)
    labels: Tensor = settings["values"]
    clusters = torch.arange(int(settings["clusters"]), device=z.device, dtype=labels.dtype)
    one_of = (labels[:, None] == clusters).to(z.dtype)  # (k, C)
    cluster = labels.long()
    means = named @ (one_of / one_of.sum(0)) / float(settings["temperature"])  # (..., n, C)
    return of_target(means, cluster[place]) - means.logsumexp(-1) + math.log(means.shape[-1])


def groups(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """``-t log 1/2 sum_g exp(-s_g z_g / t)`` of the mean z of two groups, each asked to be high (s = 1) or low (-1).

    `values` gives the group, 0 or 1, of each named site; `settings` the signs ``first`` and ``second``, and t.
    """
    named, _ = _named(z, columns, settings)
    second = settings["values"].to(z)  # (k,): 0 = first group, 1 = second
    one_of = torch.stack([1 - second, second], -1)  # (k, 2)
    signs = z.new_tensor([float(settings["first"]), float(settings["second"])])
    wanted = signs * (named @ (one_of / one_of.sum(0)))  # (..., n, 2)
    temperature = float(settings["temperature"])
    return temperature * (math.log(2) - (-wanted / temperature).logsumexp(-1))


def level(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Minus the squared distance of the target's z from `level`."""
    return -(of_target(z, columns) - float(settings["level"])).square()


def pattern(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Minus the mean squared distance of the named sites' z from `values`."""
    named, _ = _named(z, columns, settings)
    wanted: Tensor = settings["values"].to(z)
    return -(named - wanted).square().mean(-1)


def within(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Minus the squared distance by which the target's z leaves [low, high]."""
    target = of_target(z, columns)
    return -((float(settings["low"]) - target).relu() + (target - float(settings["high"])).relu()).square()


def diverse(images: Tensor, z: Tensor, columns: Tensor, settings: Settings) -> Tensor:
    """Distance to the nearest other image of the set, less `penalty` x the shortfall of z below `floor`."""
    sets: Tensor = settings["sets"]
    same = sets[:, None] == sets  # (n, n)
    flat = images.flatten(1)
    # root mean square over pixels; a floor under the root keeps the gradient of equal images finite
    squared = (flat[:, None] - flat).square().mean(-1).clamp_min(1e-12)
    itself = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    nearest = squared.masked_fill(~same | itself, torch.inf).amin(-1)
    distance = torch.where(torch.isfinite(nearest), nearest, 0.0).sqrt()
    shortfall = (float(settings["floor"]) - of_target(z, columns)).relu()
    return distance.expand(z.shape[:-1]) - float(settings["penalty"]) * shortfall


KINDS: dict[str, Kind] = {
    "stretch": Kind(stretch),
    "suppress": Kind(suppress),
    "one_hot": Kind(one_hot, compares=True),
    "rate_softmax": Kind(rate_softmax, raw=True, compares=True),
    "margin": Kind(margin, compares=True),
    "discriminate": Kind(discriminate),
    "groups": Kind(groups),
    "level": Kind(level),
    "pattern": Kind(pattern),
    "within": Kind(within),
    "diverse": Kind(diverse),
}
"""What a description can name."""
