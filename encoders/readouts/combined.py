"""The sites of several readouts side by side, as one readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from .base import Build, Readout


class CombinedReadout(Readout):
    """The sites of all parts side by side, in their order.

    Parameters
    ----------
    parts : sequence of Readout
        They are not changed.
    """

    kind = "combined"

    def __init__(self, parts: Sequence[Readout]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("no readouts; expected one or more")
        self.parts, self.n_sites = nn.ModuleList(parts), sum(part.n_sites for part in parts)
        self.layers = tuple(dict.fromkeys(layer for part in parts for layer in part.layers))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Responses of shape (B, U) to the features of a batch."""
        return torch.cat([part(features) for part in self.parts], 1)

    def penalty(self) -> Tensor:
        """Sum of the penalties of all parts."""
        return torch.stack([part.penalty() for part in self._readouts()]).sum()

    def config(self) -> dict[str, Any]:
        """JSON-able description; the tensors are the state dict."""
        return {"kind": self.kind, "parts": [part.config() for part in self._readouts()]}

    @classmethod
    def restore(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], build: Build | None = None) -> Self:
        """The readout that `config` described, with the tensors of its state dict; `build` makes the parts."""
        if build is None:
            raise ValueError("a combined readout holds other readouts; make it with build_readout(config, tensors)")
        parts = []
        for place, part in enumerate(config["parts"]):
            prefix = f"parts.{place}."
            parts.append(build(part, {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}))
        return cls(parts)

    def _readouts(self) -> list[Readout]:
        return [part for part in self.parts if isinstance(part, Readout)]
