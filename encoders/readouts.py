"""Readouts: features of named layers -> predicted responses. One ``nn.Module`` each: ``forward(features) -> (B, U)``, ``penalty()``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEFAULT_POOL = 7


def flatten_features(features: Tensor, pool: int | None) -> Tensor:
    """One row an image.

    Parameters
    ----------
    features : Tensor of shape (B, C, h, w), (B, T, C) or (B, C)
    pool : int or None
        Maps wider or higher than this are average-pooled to at most ``pool x pool``; None = never.

    Returns
    -------
    Tensor of shape (B, P)
    """
    if features.ndim not in (2, 3, 4):
        raise ValueError(f"features of shape {tuple(features.shape)}; expected (B, C, h, w), (B, T, C) or (B, C)")
    if features.ndim == 4 and pool is not None and max(features.shape[-2:]) > pool:
        height, width = (min(pool, side) for side in features.shape[-2:])
        features = F.adaptive_avg_pool2d(features, (height, width))
    return features.flatten(1)  # (B, P)


class RidgeReadout(nn.Module):
    """Linear readout of one layer: ((features - mean) / scale) @ coef.T + intercept.

    Parameters
    ----------
    layer : str
    coef : Tensor of shape (U, P)
    intercept : Tensor of shape (U,)
    mean : Tensor of shape (P,)
        Mean of every feature over the fitted images.
    scale : Tensor of shape ()
        One number a layer. The ridge keeps the channels' own variances: standardising them, or single features, lowers the
        accuracy on recorded V4 sites by about 0.01 and 0.02.
    alpha : Tensor of shape (U,)
        Penalty of every site, for `penalty`.
    pool : int, optional
        Passed to `flatten_features`.
    """

    coef: Tensor
    intercept: Tensor
    mean: Tensor
    scale: Tensor
    alpha: Tensor

    def __init__(
        self,
        layer: str,
        coef: Tensor,
        intercept: Tensor,
        *,
        mean: Tensor,
        scale: Tensor,
        alpha: Tensor,
        pool: int | None = DEFAULT_POOL,
    ) -> None:
        super().__init__()
        if tuple(coef.shape) != (len(intercept), len(mean)) or alpha.shape != intercept.shape or scale.ndim:
            raise ValueError(
                f"coef {tuple(coef.shape)}, intercept {tuple(intercept.shape)}, mean {tuple(mean.shape)}, alpha "
                f"{tuple(alpha.shape)}, scale {tuple(scale.shape)}; expected (U, P), (U,), (P,), (U,), ()"
            )
        self.layer, self.pool = layer, pool
        tensors = {"coef": coef, "intercept": intercept, "mean": mean, "scale": scale, "alpha": alpha}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().to(torch.float32).contiguous())

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        rows = flatten_features(features[self.layer], self.pool)
        if rows.shape[1] != len(self.mean):
            raise ValueError(
                f"layer {self.layer!r} gives {rows.shape[1]} features an image, this readout was fitted to {len(self.mean)}. "
                "Likely cause: images of another size. Fix: use images of the encoder's image_shape"
            )
        return F.linear((rows - self.mean) / self.scale, self.coef, self.intercept)

    def penalty(self) -> Tensor:
        """Sum over sites of alpha * squared norm of the coefficients: what the ridge added to its squared error."""
        return (self.alpha * self.coef.square().sum(1)).sum()

    def config(self) -> dict[str, object]:
        """JSON-able description; the tensors are the state dict."""
        return {"kind": "ridge", "layer": self.layer, "pool": self.pool}
