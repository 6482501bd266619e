"""Candidates of a comparison: a readout on layers of a network, read from ``[[candidate]]`` tables of a TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from encoders.backbones.features import Reduction
from encoders.backbones.networks import DEFAULT_BACKBONE
from encoders.candidate_keys import OF_READOUT, OWN, checked_entries
from encoders.solvers.catalogue import NEEDS_EARLIER

from .readout_spec import READOUTS, ReadoutSpec

COMBINE = ("mean", "best")


@dataclass(frozen=True)
class Candidate:
    """A readout on layers of a network.

    Parameters
    ----------
    name : str
    readout : ReadoutSpec
    layers : tuple of str
        One member per entry; "a+b" are read together.
    backbone, weights, input_size
        See `encoders.backbone`.
    combine : "mean" or "best"
        "mean": the mean of the members' predictions. "best": for each site, the predictions of the layer that predicts
        best in inner folds (layer search: Guclu & van Gerven 2015).
    """

    name: str
    readout: ReadoutSpec
    layers: tuple[str, ...]
    backbone: str = DEFAULT_BACKBONE
    weights: str = "pretrained"
    input_size: int | None = None
    combine: str = "mean"

    def __post_init__(self) -> None:
        if self.combine not in COMBINE:
            raise ValueError(f"candidate {self.name!r}: combine {self.combine!r}; expected mean or best")
        if self.readout.kind in NEEDS_EARLIER:
            raise ValueError(
                f"candidate {self.name!r}: readout {self.readout.kind!r} reads sites of an earlier recording, which "
                "a comparison does not have. Fix: fit it with networks_from and compare the held-out scores"
            )
        if not self.layers:
            raise ValueError(f"candidate {self.name!r} names no layer; list_layers(backbone) lists them")

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Layers that are read together, one entry per member."""
        return self.readout.groups(self.layers)

    @property
    def reduction(self) -> Reduction:
        """What it reads of the features of a layer."""
        return self.readout.reduction


def read_candidates(table: Any, *, layers: Sequence[str]) -> list[Candidate]:
    """Candidates from a parsed TOML file of ``[[candidate]]`` tables.

    Parameters
    ----------
    table : dict
        ``{"candidate": [{...}, ...]}`` with the keys name, readout, layers, backbone, weights, input_size, combine,
        pool, loss, strengths, epochs and options. Only `readout` is needed; the default name is that of the readout.
    layers : sequence of str
        Layers of a candidate that names none.

    Raises
    ------
    ValueError
        Naming the candidate, the entry and what was expected.
    """
    candidates = []
    for i, entry in enumerate(checked_entries(table), start=1):
        kind = entry.get("readout")
        if not isinstance(kind, str):
            raise ValueError(f"candidate {i}: readout {kind!r}; expected one of {', '.join(READOUTS)}")
        spec: dict[str, Any] = {k: tuple(v) if k == "strengths" else v for k, v in entry.items() if k in OF_READOUT[1:]}
        rest = {k: v for k, v in entry.items() if k in OWN}
        rest["name"] = str(entry.get("name", kind))
        rest["layers"] = tuple(entry.get("layers", layers))
        try:
            readout = ReadoutSpec(kind, **spec)
        except ValueError as error:
            raise ValueError(f"candidate {i}: {error}") from error
        candidates.append(Candidate(readout=readout, **rest))
    return candidates
