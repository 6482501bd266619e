"""Decoupled triplets: a root and two images whose similarity to it differs by set amounts in two feature spaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Triplets", "coupling", "find_triplets", "random_coupling", "similarity", "spread"]

Matrix = NDArray[np.float32]
Found = tuple[int, int, int, int, int, int]
ROWS = 256
"""Images whose partners are looked for at once: 256 x N numbers are held beside the two matrices."""


@dataclass(frozen=True)
class Triplets:
    """Triplets of images (root, first, second), indices into the N images.

    Attributes
    ----------
    images : int64 array of shape (T, 3)
        Root, first and second image; the first is nearer to the root than the second in the high space. No image
        stands in two triplets.
    bins : int64 array of shape (T, 2)
        The cell of the table, from 1: bins in the high and in the low space.
    sign : int64 array of shape (T,)
        1 where the low space agrees with the high one, -1 where it says the opposite; a coin decided.
    high, low : float64 arrays of shape (T,)
        Difference of similarity, first less second, in each space.
    fill : int64 array of shape (bins, bins)
        Triplets found per cell, high bins down, low bins across.
    asked : int
        Triplets looked for per cell.
    """

    images: NDArray[np.int64]
    bins: NDArray[np.int64]
    sign: NDArray[np.int64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    fill: NDArray[np.int64]
    asked: int

    def __len__(self) -> int:
        return len(self.images)


def similarity(features: NDArray[np.floating]) -> Matrix:
    """Pearson correlation over features of every image with every other one: (N, D) -> float32 (N, N).

    An image whose features are all the same has no correlation: its row and column are NaN, and no triplet takes it.
    """
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features of shape {features.shape}; expected (images, features) of finite numbers")
    centred = features.astype(np.float32) - features.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    norm = np.sqrt(np.einsum("nd,nd->n", centred, centred, dtype=np.float64))
    scale = np.abs(features).max(1).astype(np.float64) * np.sqrt(features.shape[1])
    flat = norm <= 1e-6 * np.maximum(scale, np.finfo(np.float32).tiny)
    centred /= np.where(flat, np.nan, norm)[:, None].astype(np.float32)
    matrix: Matrix = np.clip(centred @ centred.T, -1, 1)
    np.fill_diagonal(matrix, np.where(flat, np.nan, 1.0))
    return matrix


def spread(matrix: Matrix) -> float:
    """SD of the similarities of different images: the diagonal, which is 1 everywhere, is left out.

    Piriyajitakonkij et al. (2024) take the SD of all entries; with few images the diagonal widens it.
    """
    off = ~np.eye(len(matrix), dtype=bool) & np.isfinite(matrix)
    if not off.any():
        raise ValueError(f"{len(matrix)} images without a similarity between two of them; expected at least 3 images")
    return float(matrix[off].std(dtype=np.float64))


def find_triplets(
    high: Matrix,
    low: Matrix,
    *,
    per_cell: int = 20,
    bins: int = 10,
    width: float = 0.5,
    tolerance: float = 0.01,
    balanced: bool = True,
    seed: int = 0,
) -> Triplets:
    """Triplets in which two feature spaces are decoupled (Piriyajitakonkij et al. 2024).

    For every cell (b, c) of the table a root that no triplet has used is drawn, and two unused images i, j with
    ``high[root, i] - high[root, j] = b w_high`` and ``low[root, i] - low[root, j] = s c w_low``, each within
    `tolerance`; w is `width` x the SD of the matrix off its diagonal, s a coin flip. Cells are visited in turns, so
    that images run out evenly. Images are looked through in random order, 256 at a time; of the first pairs that fit
    one is drawn.

    Parameters
    ----------
    high, low : arrays of shape (N, N), similarity of image to image
        Two spaces, such as a late and an early layer of a network.
    per_cell : int
        Triplets looked for in every cell; an even number where `balanced`.
    bins : int
        The cells are 1 to `bins` steps in each space.
    width, tolerance : float
        Step in SDs; largest distance from it, in units of similarity.
    balanced : bool
        Where the two spaces mostly agree, pairs that say the opposite are rarer, and a coin alone leaves the set
        coupled. True: every cell keeps as many triplets of each sign: the next one has the sign that is missing, a coin
        decides where none is, and a last one without its opposite is left out. False: the coin alone, as published.
    seed : int

    Raises
    ------
    ValueError
        Matrices of other shapes, or a number out of range.
    """
    _check(high, low, per_cell=per_cell, bins=bins, width=width, tolerance=tolerance)
    if balanced and per_cell % 2:
        raise ValueError(f"{per_cell} triplets per cell; expected an even number, half of each sign")
    rng = np.random.default_rng(seed)
    step = width * spread(high), width * spread(low)
    unused = np.isfinite(high).sum(1) > 1
    unused &= np.isfinite(low).sum(1) > 1
    found: list[Found] = []
    lead = np.zeros((bins, bins), dtype=np.int64)  # triplets of sign 1 less those of sign -1
    for _ in range(per_cell):
        for cell in rng.permutation(bins * bins):
            b, c = divmod(int(cell), bins)
            roots = np.flatnonzero(unused)
            if len(roots) < 3:
                break
            root, coin = int(rng.choice(roots)), int(rng.choice([-1, 1]))
            sign = int(-np.sign(lead[b, c])) or coin if balanced else coin
            wanted = (b + 1) * step[0], sign * (c + 1) * step[1]
            others = roots[roots != root]
            pair = _pair(high[root, others], low[root, others], wanted, tolerance=tolerance, rng=rng)
            if pair is not None:
                i, j = (int(others[p]) for p in pair)
                unused[[root, i, j]] = False
                lead[b, c] += sign
                found.append((root, i, j, b + 1, c + 1, sign))
    kept = _paired(found) if balanced else found
    return _collected(kept, high, low, bins=bins, asked=per_cell)


def _paired(found: Sequence[Found]) -> list[Found]:
    """The triplets without the last one of every cell that has no opposite."""
    last: dict[tuple[int, int], int] = {}
    for t, (*_, b, c, _sign) in enumerate(found):
        if last.pop((b, c), None) is None:
            last[b, c] = t
    return [triplet for t, triplet in enumerate(found) if t not in last.values()]


def _pair(
    high: NDArray[np.float32],
    low: NDArray[np.float32],
    wanted: tuple[float, float],
    *,
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Positions of two images that differ by `wanted` in both spaces; None where there are none."""
    order = rng.permutation(len(high))
    high, low = high.astype(np.float64), low.astype(np.float64)
    for begin in range(0, len(order), ROWS):
        rows = order[begin : begin + ROWS]
        fits = np.abs(high[rows, None] - high - wanted[0]) <= tolerance
        fits &= np.abs(low[rows, None] - low - wanted[1]) <= tolerance
        fits[np.arange(len(rows)), rows] = False
        hits = np.argwhere(fits)
        if len(hits):
            first, second = hits[rng.integers(len(hits))]
            return int(rows[first]), int(second)
    return None


def _collected(found: Sequence[Found], high: Matrix, low: Matrix, *, bins: int, asked: int) -> Triplets:
    table = np.array(found, dtype=np.int64).reshape(-1, 6)
    images, cells = table[:, :3], table[:, 3:5]
    fill = np.zeros((bins, bins), dtype=np.int64)
    np.add.at(fill, (cells[:, 0] - 1, cells[:, 1] - 1), 1)
    return Triplets(
        images=images,
        bins=cells,
        sign=table[:, 5],
        high=differences(high, images),
        low=differences(low, images),
        fill=fill,
        asked=asked,
    )


def differences(matrix: Matrix, images: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much nearer the first image is to the root than the second: (T, 3) -> (T,)."""
    root, first, second = images.T
    nearer: NDArray[np.float64] = matrix[root, first].astype(np.float64) - matrix[root, second].astype(np.float64)
    return nearer


def coupling(high: NDArray[np.float64], low: NDArray[np.float64]) -> float:
    """Correlation of two differences about zero, sum h l / sqrt(sum h^2 sum l^2): which image of a pair is called the
    first does not change it. 0 = decoupled, 1 = the two spaces say the same. NaN where there is nothing to compare.
    """
    scale = float(np.sqrt((high**2).sum() * (low**2).sum()))
    return float((high * low).sum() / scale) if scale > 0 else float("nan")


def random_coupling(high: Matrix, low: Matrix, *, draws: int = 10_000, seed: int = 0) -> float:
    """`coupling` of random triplets of three different images: what the two spaces share in these images."""
    rng = np.random.default_rng(seed)
    known = np.flatnonzero((np.isfinite(high).sum(1) > 1) & (np.isfinite(low).sum(1) > 1))
    if len(known) < 3:
        raise ValueError(f"{len(known)} images with a similarity; expected at least 3")
    triples = known[rng.integers(len(known), size=(draws, 3))]
    triples = triples[[len(set(t)) == 3 for t in triples.tolist()]]
    return coupling(differences(high, triples), differences(low, triples))


def _check(high: Matrix, low: Matrix, *, per_cell: int, bins: int, width: float, tolerance: float) -> None:
    if high.ndim != 2 or high.shape[0] != high.shape[1] or low.shape != high.shape or len(high) < 3:
        raise ValueError(
            f"similarities of shapes {high.shape} and {low.shape}; expected two square matrices of the same 3 or more "
            "images"
        )
    if per_cell < 1 or bins < 1:
        raise ValueError(f"{per_cell} triplets per cell and {bins} bins; expected whole numbers of at least 1")
    if not width > 0 or not tolerance > 0:
        raise ValueError(f"width {width} and tolerance {tolerance}; expected numbers above 0")
