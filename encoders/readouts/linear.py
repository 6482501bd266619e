"""The linear readout of the closed forms: ridge, banded ridge, partial least squares, few-shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.backbones.pooling import flatten_features

from .base import DEFAULT_POOL, Build, Readout


class LinearReadout(Readout):
    """Linear readout of one or several layers: sum_l ((features_l - mean_l) / scale_l) @ coef_l.T + intercept.

    Parameters
    ----------
    layers : str or sequence of L str
    coef : Tensor of shape (U, P)
        P features, layer after layer.
    intercept : Tensor of shape (U,)
    mean : Tensor of shape (P,)
        Mean of every feature over the fitted images.
    scale : Tensor of shape () or (L,)
        One number per layer. The channels of a layer keep their variances: standardising channels, or single features,
        lowers the accuracy on recorded V4 sites by about 0.01 and 0.02.
    alpha : Tensor of shape (U,) or (U, L)
        Penalty of every site, or of every site and layer (banded ridge); 0 where the solver has no penalty (PLS).
    pool : int, optional
        Passed to `flatten_features`.
    sizes : sequence of L ints, optional
        Number of features of every layer; needed for several layers.
    solver : str
        Which solver gave the coefficients: "ridge", "banded_ridge", "pls" or "few_shot".
    """

    kind = "linear"

    coef: Tensor
    intercept: Tensor
    mean: Tensor
    scale: Tensor
    alpha: Tensor

    def __init__(
        self,
        layers: str | Sequence[str],
        coef: Tensor,
        intercept: Tensor,
        *,
        mean: Tensor,
        scale: Tensor,
        alpha: Tensor,
        pool: int | None = DEFAULT_POOL,
        sizes: Sequence[int] | None = None,
        solver: str = "ridge",
    ) -> None:
        super().__init__()
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        self.sizes = (len(mean),) if sizes is None else tuple(int(n) for n in sizes)
        self.pool, self.n_sites, self.solver = pool, len(intercept), solver
        bands = len(self.layers)
        fits = tuple(coef.shape) == (len(intercept), len(mean)) and len(self.sizes) == bands
        fits = (
            fits and sum(self.sizes) == len(mean) and tuple(alpha.shape) in ((len(intercept),), (len(intercept), bands))
        )
        if not fits or tuple(scale.shape) not in ((), (bands,)):
            raise ValueError(
                f"coef {tuple(coef.shape)}, intercept {tuple(intercept.shape)}, mean {tuple(mean.shape)}, alpha "
                f"{tuple(alpha.shape)}, scale {tuple(scale.shape)}, sizes {self.sizes}; expected (U, P), (U,), (P,), "
                f"(U,) or (U, L), () or (L,) and {bands} sizes that sum to P"
            )
        tensors = {"coef": coef, "intercept": intercept, "mean": mean, "scale": scale, "alpha": alpha}
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().to(torch.float32).contiguous())

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch; "rows/LAYER", if there, is the layer as it was pooled.

        So a stored layer is pooled once, as in the encoder, wherever this readout stands in another one.
        """
        responses: Tensor | None = None
        means, coefs = torch.split(self.mean, list(self.sizes)), torch.split(self.coef, list(self.sizes), 1)
        for layer, size, mean, coef, scale in zip(
            self.layers, self.sizes, means, coefs, self.scale.expand(len(self.layers)), strict=True
        ):
            stored = features.get(f"rows/{layer}")
            rows = flatten_features(features[layer], self.pool) if stored is None else stored
            if rows.shape[1] != size:
                raise ValueError(
                    f"layer {layer!r} gives {rows.shape[1]} features per image, this readout was fitted to {size}. "
                    "Likely cause: images of another size. Fix: use images of the encoder's image_shape"
                )
            part = F.linear((rows - mean) / scale, coef)
            responses = part if responses is None else responses + part
        assert responses is not None
        return responses + self.intercept

    def penalty(self) -> Tensor:
        """Sum over sites (and layers) of alpha * squared norm of the coefficients, as in the error of ridge."""
        squared = torch.stack(
            [part.square().sum(1) for part in torch.split(self.coef, list(self.sizes), 1)], dim=1
        )  # (U, L)
        return ((self.alpha if self.alpha.ndim == 2 else self.alpha[:, None]) * squared).sum()

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        return {
            "kind": self.kind,
            "layers": list(self.layers),
            "sizes": list(self.sizes),
            "pool": self.pool,
            "solver": self.solver,
        }

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict."""
        parts = {name: tensors[name] for name in ("mean", "scale", "alpha")}
        return cls(
            config["layers"],
            tensors["coef"],
            tensors["intercept"],
            pool=config["pool"],
            sizes=config["sizes"],
            solver=config["solver"],
            **parts,
        )


RidgeReadout = LinearReadout
"""The earlier name of `LinearReadout`."""
