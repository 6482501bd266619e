"""An image as pieces that can be taken away: squares of a window, and waves behind it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Pieces", "pieces_of"]


@dataclass(frozen=True)
class Pieces:
    """``ground + window * pattern``: an image through a window of squares, made of waves.

    Attributes
    ----------
    pattern : complex Tensor of shape (C, H, W // 2 + 1)
        Fourier coefficients of the image minus the ground.
    ground : float
        Pixel value where the window is shut.
    cells : bool Tensor of shape (N, M)
        Squares of the window that are open.
    waves : bool Tensor of shape (C, H, W // 2 + 1)
        Coefficients that are kept.
    size : (H, W)
    """

    pattern: Tensor
    ground: float
    cells: Tensor
    waves: Tensor
    size: tuple[int, int]

    def image(self, cell_gains: Tensor | None = None, wave_gains: Tensor | None = None) -> Tensor:
        """The image (1, C, H, W); gains, by default those of what is open and kept, are differentiable."""
        shut = self.cells.double() if cell_gains is None else cell_gains
        kept = self.waves.double() if wave_gains is None else wave_gains
        pattern = torch.fft.irfft2(self.pattern * kept, s=self.size)
        image: Tensor = (self.ground + self.window(shut) * pattern)[None]
        return image

    def window(self, gains: Tensor) -> Tensor:
        """Squares (N, M) as a window (H, W) whose edges are ramps of one square's width."""
        wide = functional.interpolate(gains[None, None], size=self.size, mode="nearest")
        steps = [1 + 2 * (n // k // 2) for n, k in zip(self.size, gains.shape, strict=True)]  # odd: nothing moves
        padding = (steps[1] // 2, steps[1] // 2, steps[0] // 2, steps[0] // 2)
        return functional.avg_pool2d(functional.pad(wide, padding, mode="replicate"), steps, stride=1)[0, 0]

    @property
    def area(self) -> float:
        """Share of the image that shows, 0 to 1."""
        return float(self.window(self.cells.double()).mean())

    @property
    def count(self) -> int:
        """Fourier coefficients that are kept and not 0."""
        return int((self.waves & (self.pattern.abs() > 1e-9)).sum())


def pieces_of(image: Tensor, ground: float, cells: int = 16) -> Pieces:
    """All pieces of an image (C, H, W) in [0, 1], float64: at most `cells` squares along the shorter side.

    The mean goes with the waves: a pattern of no waves is the ground.
    """
    height, width = image.shape[-2:]
    square = max(1, round(min(height, width) / cells))
    pattern = torch.fft.rfft2(image.double() - ground)
    shape = (max(1, height // square), max(1, width // square))
    return Pieces(
        pattern=pattern,
        ground=ground,
        cells=torch.ones(shape, dtype=torch.bool),
        waves=torch.ones(pattern.shape, dtype=torch.bool),
        size=(height, width),
    )
