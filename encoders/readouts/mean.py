"""The mean of several readouts of the same sites, as one readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .base import Build, Readout


class MeanReadout(Readout):
    """Mean of the predictions of K readouts, such as those that were fitted without each fold in turn.

    Parameters
    ----------
    parts : sequence of K Readout
        All of the same number of sites.
    """

    kind = "mean"

    def __init__(self, parts: Sequence[Readout]) -> None:
        super().__init__()
        if len({part.n_sites for part in parts}) != 1:
            read = ", ".join(str(part.n_sites) for part in parts) or "no"
            raise ValueError(f"readouts of {read} sites; expected one or more, of the same number of sites")
        self.n_sites, self.parts = parts[0].n_sites, nn.ModuleList(parts)
        self.layers = tuple(dict.fromkeys(layer for part in parts for layer in part.layers))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        return torch.stack([part(features) for part in self.parts]).mean(0)

    def penalty(self) -> Tensor:
        """Mean of the penalties of the parts."""
        return torch.stack([part.penalty() for part in self._readouts()]).mean()

    def spatial_masks(self) -> dict[str, Tensor] | None:
        """Mean masks of the parts that read a layer, (U, h, w) per layer; None where a part has no masks."""
        masks = [part.spatial_masks() for part in self._readouts()]
        known = [mask for mask in masks if mask is not None]
        if len(known) < len(masks):
            return None
        layers = dict.fromkeys(layer for mask in known for layer in mask)
        return {layer: torch.stack([mask[layer] for mask in known if layer in mask]).mean(0) for layer in layers}

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        return {"kind": self.kind, "parts": [part.config() for part in self._readouts()]}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict; `build` makes the parts."""
        if build is None:
            raise ValueError("a mean holds other readouts; make it with build_readout(config, tensors)")
        parts = []
        for k, part in enumerate(config["parts"]):
            prefix = f"parts.{k}."
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            parts.append(build(part, own))
        return cls(parts)

    def _readouts(self) -> list[Readout]:
        return [part for part in self.parts if isinstance(part, Readout)]
