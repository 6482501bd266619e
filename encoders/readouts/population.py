"""The readout of few-shot sites: a mixture of sites that are already fitted, plus a linear part of the new site."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor

from .base import Build, Readout
from .linear import LinearReadout


class PopulationReadout(Readout):
    r"""Mixture of the predictions of K known sites and a linear readout: :math:`\frac{f(x) - m}{s} C^T + g(x)`.

    Parameters
    ----------
    known : Readout
        f, of K sites; it is not changed.
    linear : LinearReadout
        g, of U sites, with the intercept.
    coef : Tensor of shape (U, K)
        C, in the unit of the U sites.
    mean, scale : Tensors of shape (K,)
        m and s, in the units of the known sites.
    alpha : Tensor of shape (U,)
        Penalty of every site on its coefficients of the population.
    """

    kind = "population"

    coef: Tensor
    mean: Tensor
    scale: Tensor
    alpha: Tensor

    def __init__(
        self, known: Readout, linear: LinearReadout, coef: Tensor, *, mean: Tensor, scale: Tensor, alpha: Tensor
    ) -> None:
        super().__init__()
        sites, population = (linear.n_sites,), (known.n_sites,)
        if tuple(coef.shape) != sites + population or not tuple(mean.shape) == tuple(scale.shape) == population:
            raise ValueError(
                f"coef {tuple(coef.shape)}, mean {tuple(mean.shape)}, scale {tuple(scale.shape)} for {sites[0]} sites "
                f"and {population[0]} known ones; expected (U, K), (K,), (K,)"
            )
        if tuple(alpha.shape) != sites or not bool((scale > 0).all()):
            raise ValueError(f"alpha {tuple(alpha.shape)}; expected {sites}, and every scale positive")
        self.known, self.linear, self.n_sites = known, linear, linear.n_sites
        self.layers = tuple(dict.fromkeys((*known.layers, *linear.layers)))
        for name, tensor in {"coef": coef, "mean": mean, "scale": scale, "alpha": alpha}.items():
            self.register_buffer(name, tensor.detach().float().contiguous())

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        population = (self.known(features) - self.mean) / self.scale  # (B, K)
        responses: Tensor = F.linear(population, self.coef) + self.linear(features)
        return responses

    def penalty(self) -> Tensor:
        """Sum over sites of alpha * squared norm of the coefficients, of the population and of the linear part."""
        return (self.alpha * self.coef.square().sum(1)).sum() + self.linear.penalty()

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        return {"kind": self.kind, "known": self.known.config(), "linear": self.linear.config()}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict; `build` makes the known readout."""
        if build is None:
            raise ValueError("a population readout holds another readout; make it with build_readout(config, tensors)")

        def part(name: str) -> dict[str, Tensor]:
            prefix = f"{name}."
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        linear = LinearReadout.restore(config["linear"], part("linear"))
        own = {name: tensors[name] for name in ("mean", "scale", "alpha")}
        return cls(build(config["known"], part("known")), linear, tensors["coef"], **own)
