"""A readout made of other readouts: their sites side by side, or the mean of their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from .base import Build, Readout


class CombinedReadout(Readout):
    """Several readouts as one.

    Parameters
    ----------
    parts : sequence of Readout
        They are not changed.
    how : "sites" or "mean"
        "sites": the sites of all parts side by side, in their order. "mean": the mean over parts of the same sites.
    """

    kind = "combined"

    def __init__(self, parts: Sequence[Readout], how: Literal["sites", "mean"]) -> None:
        super().__init__()
        sizes = [part.n_sites for part in parts]
        if how not in ("sites", "mean") or not sizes or (how == "mean" and len(set(sizes)) > 1):
            raise ValueError(f"{how!r} of readouts of {sizes} sites; expected 'sites', or 'mean' of as many sites each")
        self.parts, self.how = nn.ModuleList(parts), how
        self.n_sites = sum(sizes) if how == "sites" else sizes[0]
        self.layers = tuple(dict.fromkeys(layer for part in parts for layer in part.layers))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        responses = [part(features) for part in self.parts]
        return torch.cat(responses, 1) if self.how == "sites" else torch.stack(responses).mean(0)

    def penalty(self) -> Tensor:
        """Sum of the penalties of all parts."""
        return torch.stack([part.penalty() for part in self._readouts()]).sum()

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        return {"kind": self.kind, "how": self.how, "parts": [part.config() for part in self._readouts()]}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict; `build` makes the parts."""
        if build is None:
            raise ValueError("a combined readout holds other readouts; make it with build_readout(config, tensors)")
        parts = []
        for place, part in enumerate(config["parts"]):
            prefix = f"parts.{place}."
            parts.append(build(part, {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}))
        return cls(parts, config["how"])

    def _readouts(self) -> list[Readout]:
        return [part for part in self.parts if isinstance(part, Readout)]
