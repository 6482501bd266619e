"""Deterministic splits: images that are held out, images that stop a tuning, and folds.

Groups of images stay whole. The side of a group depends on its name and the seed only.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

MINIMUM_FITTED_IMAGES = 20
MINIMUM_HELD_OUT = 3
STOPPING = 0.1  # share of the groups to fit that choose the epoch of a tuning
NEAR_DUPLICATE = 0.8  # correlation of grey pixels
SIDE = 64  # least side in pixels of the images that are compared
COPY = (0.9, 0.95, 0.98)  # correlation of grey pixels less the mean image, above which two images are one photograph
COPY_SIDE = 32  # pixels of the shorter side of the images that are compared so
CHAIN = 0.2  # largest share of the images that may be one photograph before the next of `COPY` is tried
BLOCK = 512  # images compared at once with all others


def group_names(pixels: NDArray[np.uint8], groups: Sequence[object] | None = None) -> list[str]:
    """Name of each image's group.

    Groups that share a pixel-identical image become one, under the name that is first in the alphabet. Without `groups`
    each image is a group, named by the SHA-256 of its pixels.

    Parameters
    ----------
    pixels : array of shape (N, H, W, C), uint8
    groups : sequence of N, optional

    Returns
    -------
    list of N str
    """
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]
    if groups is None:
        return digests
    if len(groups) != len(pixels):
        raise ValueError(f"{len(groups)} groups for {len(pixels)} images; expected one per image")
    return _joined([str(group) for group in groups], digests)


def _joined(names: Sequence[str], marks: Sequence[object]) -> list[str]:
    """Names of groups: those that share a mark become one, under the name that is first in the alphabet."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[object, str] = {}
    for mark, name in zip(marks, names, strict=True):
        low, high = sorted((root(name), root(first.setdefault(mark, name))))
        parent[high] = low
    return [root(name) for name in names]


@dataclass(frozen=True)
class Photographs:
    """Which images are one photograph.

    Attributes
    ----------
    names : list of N str
        Group of each image, as splits and folds keep them whole.
    looks : list of N str
        The same with near duplicates joined; equal to `names` where these were joined.
    alike : array of shape (N,), bool
        Images that look like an image of another group.
    """

    names: list[str]
    looks: list[str]
    alike: NDArray[np.bool_]

    def across(self, held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Held-out images (N,) that look like an image which is not held out."""
        fitted = {look for look, held in zip(self.looks, held_out.tolist(), strict=True) if not held}
        seen = np.array([look in fitted for look in self.looks], dtype=bool)
        return np.asarray(self.alike & held_out & seen, dtype=bool)


def photographs(
    pixels: NDArray[np.uint8],
    groups: Sequence[object] | None = None,
    *,
    among: NDArray[np.bool_] | None = None,
    join: bool = True,
) -> Photographs:
    """Groups of images, where near duplicates under different names count as one photograph.

    Seen are copies that were compressed, resized, made grey, brighter, paler or mirrored; mostly seen are copies that
    were cropped by up to five per cent (94 of 100 photographs of BSDS500) or moved by a pixel or two (66 of 100, by two
    pixels of 112). Not seen are closer crops, turned pictures, and other views of one object: these need `groups`.
    What all images share (an aperture, a frame, a background) is taken out first: two images are one photograph if
    their grey pixels at 32 pixels (at most half of the side), less the mean image, correlate above 0.9, directly or
    through others. Where that would chain more than a fifth of the images into one, 0.95 and then 0.98 are taken.

    Parameters
    ----------
    pixels : array of shape (N, H, W, C), uint8
    groups : sequence of N, optional
        See `group_names`.
    among : array of shape (N,), bool, optional
        Images that are compared. Default: all.
    join : bool
        False: near duplicates are counted and not joined.

    Returns
    -------
    Photographs
    """
    names = group_names(pixels, groups)
    compared = np.flatnonzero(np.ones(len(pixels), dtype=bool) if among is None else among)
    looks, alike = list(names), np.zeros(len(pixels), dtype=bool)
    if len(compared) > 1:
        pairs = _alike(pixels[compared])
        for threshold in COPY:
            number = _components(len(compared), [(i, j) for i, j, r in pairs if r > threshold])
            marks: list[object] = [("alone", i) for i in range(len(pixels))]
            for place, i in enumerate(compared):
                marks[i] = number[place]
            looks = _joined(names, marks)
            largest = max(Counter(looks).values())
            if largest <= max(CHAIN * len(pixels), max(Counter(names).values()), 2):
                break
        alike = np.array([count > 1 for count in _names_per_look(names, looks)])
    return Photographs(names=looks if join else names, looks=looks, alike=alike)


def _names_per_look(names: Sequence[str], looks: Sequence[str]) -> list[int]:
    """For each image, how many groups were joined into the one that it looks like."""
    within: dict[str, set[str]] = {}
    for name, look in zip(names, looks, strict=True):
        within.setdefault(look, set()).add(name)
    return [len(within[look]) for look in looks]


def _components(n: int, pairs: Sequence[Sequence[int]]) -> list[int]:
    """Number of the connected component of each of n nodes."""
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(n, n))
    labels: list[int] = connected_components(graph, directed=False)[1].tolist()
    return labels


def _alike(pixels: NDArray[np.uint8]) -> list[tuple[int, int, float]]:
    """Pairs of images, and the correlation of their contents or of one with the other mirrored, if above 0.9."""
    small, flipped = _reduced(pixels)
    layout, apart = small.mean(0), small.std(0)
    alive = apart > 1e-3 * max(float(apart.max()), 1e-6)
    plain, mirrored = (_unit_rows((x - layout)[:, alive]) for x in (small, flipped))
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(small), BLOCK):
        block = plain[start : start + BLOCK]
        r = np.maximum(block @ plain.T, block @ mirrored.T)
        for i, j in np.argwhere(r > COPY[0]).tolist():
            if start + i < j:
                found.append((start + i, j, float(r[i, j])))
    return found


def _reduced(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Grey images averaged to 32 pixels along the shorter side, and the same of the mirrored images, each (N, h, w).

    Or to half of that side where it is less: finer detail is lost when a copy is resized.
    """
    height, width = pixels.shape[1:3]
    share = min(0.5, COPY_SIDE / min(height, width))
    down, across = (_averages(n, max(1, round(n * share))) for n in (height, width))
    both = np.empty((2, len(pixels), len(down), len(across)), dtype=np.float32)
    for i, image in enumerate(pixels):
        strips = (down @ image.reshape(height, -1).astype(np.float32)).reshape(len(down), width, -1).mean(2)
        both[:, i] = strips @ across.T, strips[:, ::-1] @ across.T
    return both[0], both[1]


def _averages(n: int, k: int) -> NDArray[np.float32]:
    """Matrix (k, n) that averages n pixels over k stretches of them."""
    starts = np.arange(k) * n // k
    lengths = np.diff(np.append(starts, n))
    return (np.repeat(np.eye(k), lengths, axis=1) / lengths[:, None]).astype(np.float32)


def _unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (N, P) less their mean, with the norm one; rows that do not vary become 0."""
    flat = rows - rows.mean(1, keepdims=True)
    scaled: NDArray[np.float32] = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return scaled


def near_duplicates(pixels: NDArray[np.uint8], threshold: float = NEAR_DUPLICATE) -> list[int]:
    """Group of each image, a list of N numbers: images that look alike, directly or through others, are one group.

    Parameters
    ----------
    pixels : array of shape (N, H, W, C), uint8
    threshold : float
        Two images look alike if their grey pixels correlate above it.
    """
    grey = _standardised(pixels)
    return _components(len(pixels), np.argwhere(np.triu(grey @ grey.T > threshold, 1)).tolist())


def resembling(
    pixels: NDArray[np.uint8], others: NDArray[np.uint8], threshold: float = NEAR_DUPLICATE
) -> NDArray[np.bool_]:
    """Which of the images look like one of the others, (N,): their grey pixels correlate above `threshold`.

    Parameters
    ----------
    pixels : array of shape (N, H, W, C), uint8
    others : array of shape (M, H, W, C), uint8
    threshold : float
    """
    if not len(pixels) or not len(others):
        return np.zeros(len(pixels), dtype=bool)
    return np.asarray((_standardised(pixels) @ _standardised(others).T > threshold).any(axis=1))


def _standardised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey pixels of mean 0 and norm 1, (N, P).

    Images of 128 pixels or more are averaged over squares; the shorter side then has 64 to 127 pixels.
    """
    height, width = pixels.shape[1:3]
    step = max(1, min(height, width) // SIDE)
    rows, columns = height // step, width // step
    grey = np.stack([image.mean(-1, dtype=np.float32) for image in pixels])[:, : rows * step, : columns * step]
    flat = grey.reshape(len(pixels), rows, step, columns, step).mean((2, 4)).reshape(len(pixels), -1)
    return _unit_rows(flat)


def hold_out(names: Sequence[str], fraction: float, *, seed: int = 0) -> NDArray[np.bool_]:
    """Images whose group is held out, (N,): SHA-256 of (seed, name), read as a number in [0, 1), is below `fraction`.

    A group's side does not change when others are added: images held out from the first fit are held out from all later
    ones.

    Parameters
    ----------
    names : sequence of N str
        Group of each image.
    fraction : float
        Expected share of the groups that are held out.
    seed : int

    Raises
    ------
    ValueError
        If too few images are left on either side.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout_fraction {fraction}; expected between 0 and 1")
    side = {name: int(hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:13], 16) / 16**13 for name in set(names)}
    held_out = np.array([side[name] < fraction for name in names])
    if held_out.sum() < MINIMUM_HELD_OUT or (~held_out).sum() < MINIMUM_FITTED_IMAGES:
        raise ValueError(
            f"{len(side)} groups of {len(names)} images leave {int(held_out.sum())} images held out and "
            f"{int((~held_out).sum())} to fit; expected at least {MINIMUM_HELD_OUT} and {MINIMUM_FITTED_IMAGES}. "
            "Likely cause: few images, or one large group. Fix: record more images, or change holdout_fraction or seed"
        )
    return held_out


def stopping_images(names: Sequence[str], seed: int = 0) -> NDArray[np.bool_]:
    """Images that choose the epoch of a tuning, among N images to fit of the groups `names`; (N,).

    They are a tenth of the groups, drawn independently of what `hold_out` draws with the same seed.

    Raises
    ------
    ValueError
        If too few are left for either side.
    """
    try:
        return hold_out(names, STOPPING, seed=seed + 1)
    except ValueError as error:
        raise ValueError(
            f"{len(names)} images of {len(set(names))} groups to fit and to tune on; fine_tune sets a tenth of the "
            f"groups aside to decide when to stop, and expects at least {MINIMUM_HELD_OUT} images there and "
            f"{MINIMUM_FITTED_IMAGES} beside them. Likely cause: few images, or large groups. Fix: record more images, "
            "or set fine_tune = 0"
        ) from error


def check_split(names: Sequence[str], held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The images to hold out, (N,), after a check that no group (an image, its copies, its crops) lies on both sides.

    Raises
    ------
    ValueError
        If a group does, or too few images are left on either side.
    """
    held = np.asarray(held_out, bool)
    if held.shape != (len(names),):
        raise ValueError(f"held_out of shape {held.shape} for {len(names)} images; expected one flag per image")
    sides: dict[str, set[bool]] = {}
    for name, side in zip(names, held.tolist(), strict=True):
        sides.setdefault(name, set()).add(side)
    leaks = [name for name, both in sides.items() if len(both) == 2]
    if leaks:
        images = [i for i, name in enumerate(names) if name == leaks[0]]
        raise ValueError(
            f"{len(leaks)} photographs lie on both sides of the split: images {', '.join(map(str, images[:6]))} are "
            "one photograph (or one group), some held out, some fitted. Likely cause: copies or crops of a photograph "
            "under several names. Fix: hold out whole groups, or leave held_out to the toolkit"
        )
    if held.sum() < MINIMUM_HELD_OUT or (~held).sum() < MINIMUM_FITTED_IMAGES:
        raise ValueError(
            f"{int(held.sum())} images held out and {int((~held).sum())} to fit; expected at least {MINIMUM_HELD_OUT} "
            f"and {MINIMUM_FITTED_IMAGES}"
        )
    return held


def group_folds(groups: Sequence[object], n_folds: int, *, seed: int = 0) -> Tensor:
    """Fold of each image, (N,), int64: a group lies in one fold, and folds are as equal as the groups allow.

    The largest groups are dealt out first, equal ones in a random order, each to the fold that is smallest so far.
    """
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(str(group), []).append(i)
    if n_folds < 2 or len(members) < n_folds:
        raise ValueError(
            f"{len(members)} groups of images for {n_folds} folds; expected at least 2 folds and a group for each. "
            "Fix: record more images, or ask for fewer folds"
        )
    names = sorted(members)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    order.sort(key=lambda k: -len(members[names[k]]))
    sizes, folds = [0] * n_folds, torch.zeros(sum(map(len, members.values())), dtype=torch.int64)
    for k in order:
        fold = sizes.index(min(sizes))
        sizes[fold] += len(members[names[k]])
        folds[members[names[k]]] = fold
    return folds


def extended_folds(groups: Sequence[object], added: Sequence[int], n_folds: int, *, seed: int = 0) -> Tensor:
    """Fold of each image, (N,), int64: `group_folds` of those with `added` = 0, to which the others are added.

    In the order of `added`, an image of a known group goes to the fold of its group, and one of a new group to the fold
    that is smallest so far. So a later call with more images changes no fold.
    """
    old = [i for i, age in enumerate(added) if age == 0]
    folds = torch.zeros(len(groups), dtype=torch.int64)
    folds[old] = group_folds([groups[i] for i in old], n_folds, seed=seed)
    place = {str(groups[i]): int(folds[i]) for i in old}
    sizes = torch.bincount(folds[old], minlength=n_folds).tolist()
    for i in sorted((i for i, age in enumerate(added) if age), key=lambda i: (added[i], i)):
        fold = place.setdefault(str(groups[i]), sizes.index(min(sizes)))
        folds[i] = fold
        sizes[fold] += 1
    return folds
