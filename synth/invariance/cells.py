"""Simulated simple and complex cells of a given receptive field, whose invariance is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.answers import images_of
from synth.contract import LUMINANCE_WEIGHTS

__all__ = ["SimulatedCells", "gabor_cells", "gaussian_field", "place_and_size"]

CYCLES = 0.56  # SDs of the envelope per wavelength: a bandwidth of one octave
ORIENTATIONS = 4  # with fewer, the cells of a small field look more alike than they are


class SimulatedCells(nn.Module):
    """Cells of two Gabor filters in quadrature, with the attributes that synthesis reads.

    With ``a, b`` the filters' answers to luminance less its mean, cell u answers
    ``(1 - c_u) relu(a)^2 + c_u (a^2 + b^2)``: c = 0 is a simple cell (half-squaring, Heeger 1992), c = 1 a complex cell
    (energy model, Adelson & Bergen 1985).

    Parameters
    ----------
    filters : Tensor of shape (U, 2, H, W)
        Even and odd filter of each cell.
    complexity : sequence of U numbers, 0 to 1
    photographs : array of shape (N, H, W, C), uint8
        Natural images, for the natural mean and SD of the answers.
    """

    filters: Tensor
    complexity: Tensor
    weights: Tensor
    natural_mean: Tensor
    natural_sd: Tensor

    def __init__(
        self, filters: Tensor, complexity: Sequence[float], photographs: NDArray[np.uint8], *, names: Sequence[str]
    ) -> None:
        super().__init__()
        if len(complexity) != len(filters) or len(names) != len(filters) or not all(0 <= c <= 1 for c in complexity):
            raise ValueError(f"complexities {list(complexity)} of {len(filters)} cells; expected one each, from 0 to 1")
        self.site_ids = tuple(names)
        self.register_buffer("filters", filters.float())
        self.register_buffer("complexity", torch.tensor(complexity, dtype=torch.float32))
        self.register_buffer("weights", torch.tensor(LUMINANCE_WEIGHTS[photographs.shape[-1]], dtype=torch.float32))
        with torch.no_grad():
            answers = torch.cat([self(images_of(photographs[i : i + 64])) for i in range(0, len(photographs), 64)])
        self.register_buffer("natural_mean", answers.mean(0))
        self.register_buffer("natural_sd", answers.std(0).clamp_min(1e-12))
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) -> answers (B, U)."""
        grey = (images * self.weights[:, None, None]).sum(1)  # (B, H, W)
        even, odd = torch.einsum("bhw,uphw->pbu", grey, self.filters)  # (B, U) each
        simple, energy = even.relu().square(), even.square() + odd.square()
        answers: Tensor = (1 - self.complexity) * simple + self.complexity * energy
        return answers


def place_and_size(field: Tensor) -> tuple[float, float, float]:
    """Centre (row, column) and SD in pixels of the Gaussian with as large an area above half its peak as a map (H, W).

    A Gaussian is above half its peak on ``2 pi ln(2) SD^2``; faint tails of the map do not count.
    """
    values = field.double() - field.double().min()
    above = (values > values.max() / 2).double()
    if not float(above.sum()) > 0:
        raise ValueError("the map of a receptive field is the same everywhere; expected one with a peak")
    weights = values * above / (values * above).sum()
    rows = torch.arange(field.shape[0], dtype=torch.float64, device=field.device)
    columns = torch.arange(field.shape[1], dtype=torch.float64, device=field.device)
    row, column = float((weights.sum(1) * rows).sum()), float((weights.sum(0) * columns).sum())
    return row, column, math.sqrt(float(above.sum()) / (2 * math.pi * math.log(2)))


def gaussian_field(field: Tensor) -> Tensor:
    """The Gaussian of the place and size of a receptive-field map (H, W), of peak 1, float32: weights of the pixels."""
    row, column, sd = place_and_size(field)
    y = torch.arange(field.shape[0], dtype=torch.float64)[:, None] - row
    x = torch.arange(field.shape[1], dtype=torch.float64)[None] - column
    return torch.exp(-(x.square() + y.square()) / (2 * sd**2)).float()


def gabor_cells(
    mask: Tensor,
    complexity: Sequence[float],
    photographs: NDArray[np.uint8],
    *,
    orientations: int = ORIENTATIONS,
    turned: float = 0.0,
) -> SimulatedCells:
    """Cells with the place and size of a receptive field: each complexity at several orientations.

    The Gabors' envelope is the Gaussian of the field's place and size; a wavelength is its SD divided by 0.56, a
    bandwidth of one octave.

    Parameters
    ----------
    mask : Tensor of shape (H, W)
    complexity : sequence of K numbers, 0 = simple to 1 = complex
    photographs : array of shape (N, H, W, C), uint8
    orientations : int
        How many, evenly spaced; cell ``c0.50_o1`` has complexity 0.5 and the second.
    turned : float
        Degrees by which all are turned.

    Returns
    -------
    SimulatedCells of K x orientations sites
    """
    row, column, sd = place_and_size(mask)
    y = torch.arange(mask.shape[0], dtype=torch.float64)[:, None] - row
    x = torch.arange(mask.shape[1], dtype=torch.float64)[None] - column
    envelope = torch.exp(-(x.square() + y.square()) / (2 * sd**2))
    filters, shares, names = [], [], []
    for share in complexity:
        for k in range(orientations):
            angle = np.pi * k / orientations + np.deg2rad(turned)
            phase = 2 * np.pi * CYCLES / sd * (x * np.cos(angle) + y * np.sin(angle))
            pair = torch.stack([torch.cos(phase), torch.sin(phase)]) * envelope
            pair = pair - envelope * pair.sum((1, 2), keepdim=True) / envelope.sum()  # blind to the mean
            filters.append(pair / pair.flatten(1).norm(dim=1)[:, None, None])
            shares.append(float(share))
            names.append(f"c{share:.2f}_o{k}")
    return SimulatedCells(torch.stack(filters), shares, photographs, names=names)
