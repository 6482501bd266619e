"""Scores of many images for every row of an objective, from responses that are known already."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.contract import Attributes
from synth.objectives import Objective

__all__ = ["RowScorer"]


class RowScorer:
    """Every row of an objective as a function of responses alone.

    Responses are scored in chunks of one size, the last one filled up, so that a score does not depend on how many
    images are asked about together.

    Parameters
    ----------
    objective : Objective of R rows
    known : Attributes
        Site ids, natural mean and SD of the encoder that gave the responses.
    chunk : int
        Images per call.

    Raises
    ------
    ValueError
        A row that belongs to a set (`synth.diverse`): its score depends on the other images of the set.
    """

    def __init__(self, objective: Objective, known: Attributes, *, chunk: int = 256) -> None:
        sets = [name for name, row in zip(objective.row_names, objective.rows, strict=True) if row.group]
        if sets:
            raise ValueError(
                f"the row {sets[0]} belongs to images that are made as a set; expected rows that score one image alone"
            )
        rows = [objective[i].repeat(chunk) for i in range(len(objective))]
        self.bound = [row.bind(known.site_ids, known.mean, known.sd) for row in rows]
        self.chunk, self.names = chunk, objective.row_names
        self.blank = torch.zeros(chunk, 1, 1, 1)

    def __len__(self) -> int:
        return len(self.bound)

    def __call__(self, responses: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores (R, B) of responses (M, B, U) of M members, or (B, U).

        Raises
        ------
        ValueError
            A score that is not finite.
        """
        return np.stack([self.row(r, responses) for r in range(len(self))])

    def row(self, row: int, responses: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores (B,) of one row; see `__call__`."""
        asked = torch.from_numpy(np.ascontiguousarray(responses))
        count = asked.shape[-2]
        parts = [self._scored(row, asked[..., i : i + self.chunk, :]) for i in range(0, count, self.chunk)]
        scores: NDArray[np.float32] = torch.cat(parts).numpy() if parts else np.zeros(0, dtype=np.float32)
        if not np.isfinite(scores).all():
            at = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ValueError(f"the score of image {at} for {self.names[row]} is {scores[at]}; expected a finite score")
        return scores

    @torch.no_grad()
    def _scored(self, row: int, responses: Tensor) -> Tensor:
        count = responses.shape[-2]
        if count < self.chunk:
            filling = responses[..., -1:, :].expand(*responses.shape[:-2], self.chunk - count, -1)
            responses = torch.cat([responses, filling], -2)
        return self.bound[row](self.blank, responses.contiguous())[:count].float()
