"""Moving single grey levels until an 8-bit image has its mean and contrast again."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 200
GOLDEN = 0.6180339887498949


def repair(
    exact: Tensor, table: Tensor, weights: Tensor, *, inside: Tensor | None, mean: float, rms: float, tolerance: float
) -> Tensor:
    """Levels near `exact` whose luminance has `mean` and `rms`, as nearly as single-level moves allow.

    Each round looks at every move of one channel of one pixel by one level, sorts the moves by how much they lower the
    squared error (moves towards the exact value first), and makes the prefix of the list that lowers it most. Equal
    moves are taken in a scattered order, so that they dither instead of filling the image from the top. A level stays
    within one of the exact value.

    Parameters
    ----------
    exact : Tensor of shape (C, H, W), float64
        Levels before rounding, 0 to L - 1.
    table : Tensor of shape (L,)
        Luminance of each level.
    weights : Tensor of shape (C,)
        Luminance of the channels.
    inside : Tensor of shape (H, W), bool, or None
        The pixels that count and may move.

    Returns
    -------
    Tensor of shape (C, H, W), float64, whole numbers
    """
    mask = torch.ones(exact.shape[1:], dtype=torch.bool) if inside is None else inside.cpu()
    wanted = exact[:, mask]  # (C, P)
    scatter = torch.argsort((torch.arange(wanted.shape[1], dtype=torch.float64) * GOLDEN) % 1)
    wanted = wanted[:, scatter]
    levels = wanted.round()
    for _ in range(ROUNDS):
        luminance = weights @ table[levels.long()]  # (P,)
        if _error(luminance.mean(), luminance.square().mean(), mean, rms=rms, tolerance=tolerance) <= 2 * 0.6**2:
            break
        moved = _best_moves(
            levels, wanted, luminance, table=table, weights=weights, mean=mean, rms=rms, tolerance=tolerance
        )
        if moved is None:
            break
        levels = moved
    result = exact.round()
    result[:, mask] = levels[:, torch.argsort(scatter)]
    return result


def _error(mean_now: Tensor, square_now: Tensor, mean: float, *, rms: float, tolerance: float) -> Tensor:
    """Squared distance of (mean, RMS) from the targets in units of the tolerance."""
    sd = (square_now - mean_now.square()).clamp_min(0).sqrt()
    return ((mean_now - mean) / tolerance).square() + ((sd - rms) / tolerance).square()


def _best_moves(
    levels: Tensor,
    wanted: Tensor,
    luminance: Tensor,
    *,
    table: Tensor,
    weights: Tensor,
    mean: float,
    rms: float,
    tolerance: float,
) -> Tensor | None:
    """One round of `repair`: new levels (C, P), or None where no move helps."""
    pixels = luminance.numel()
    moves = torch.stack([levels - 1, levels + 1])  # (2, C, P)
    allowed = (moves >= 0) & (moves <= len(table) - 1) & ((moves - wanted).abs() <= 1 + 1e-9)
    change = weights[:, None] * (table[moves.clamp(0, len(table) - 1).long()] - table[levels.long()])  # (2, C, P)
    square_change = 2 * luminance * change + change.square()
    now_mean, now_square = luminance.mean(), luminance.square().mean()
    now = _error(now_mean, now_square, mean, rms=rms, tolerance=tolerance)
    after = _error(now_mean + change / pixels, now_square + square_change / pixels, mean, rms=rms, tolerance=tolerance)
    nearness = 2 - (moves - wanted).abs()  # a move away from the exact value counts for less
    gain = torch.where(allowed, (now - after) * nearness, torch.full_like(after, -1.0))
    best, choice = gain.flatten(0, 1).max(0)  # (P,): the best of the 2 C moves of each pixel
    order = torch.argsort(best, descending=True, stable=True)
    order = order[best[order] > 0]
    if not len(order):
        return None
    dm = change.flatten(0, 1)[choice[order], order].cumsum(0) / pixels
    ds = square_change.flatten(0, 1)[choice[order], order].cumsum(0) / pixels
    errors = _error(now_mean + dm, now_square + ds, mean, rms=rms, tolerance=tolerance)
    count = int(errors.argmin()) + 1
    if not bool(errors[count - 1] < now - 1e-12):
        return None
    chosen = order[:count]
    channel = choice[chosen] % len(weights)
    result = levels.clone()
    result[channel, chosen] = moves.flatten(0, 1)[choice[chosen], chosen]
    return result
