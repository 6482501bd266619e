"""Which images are held out, and in which fold each image lies. Groups of images stay whole; the side of a group depends on its name and the seed only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MINIMUM_FITTED_IMAGES = 20
MINIMUM_HELD_OUT = 3
STOPPING = 0.1  # share of the groups to fit that decide which pass of a tuning is kept
NEAR_DUPLICATE = 0.8  # correlation of grey pixels
SIDE = 64  # pixels that are compared, at least


def group_names(images: NDArray[np.uint8], groups: Sequence[object] | None = None) -> list[str]:
    """Name of every image's group; groups that share a pixel-identical image become one, under the first name by alphabet."""
    pixels = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    if groups is None:
        return pixels
    if len(groups) != len(images):
        raise ValueError(f"{len(groups)} groups for {len(images)} images; expected one an image")
    parent = {str(group): str(group) for group in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    first: dict[str, str] = {}
    for digest, group in zip(pixels, groups, strict=True):
        low, high = sorted((root(str(group)), root(first.setdefault(digest, str(group)))))
        parent[high] = low
    return [root(str(group)) for group in groups]


def near_duplicates(images: NDArray[np.uint8], threshold: float = NEAR_DUPLICATE) -> list[int]:
    """Group of every image (N, H, W, C): images whose grey pixels correlate above `threshold` are joined, and those joined to these; (N,)."""
    pixels = _standardised(images)
    group = list(range(len(images)))
    for i, j in np.argwhere(np.triu(pixels @ pixels.T > threshold, 1)):
        if group[i] != group[j]:
            group = [group[i] if g == group[j] else g for g in group]
    return group


def resembling(
    images: NDArray[np.uint8], others: NDArray[np.uint8], threshold: float = NEAR_DUPLICATE
) -> NDArray[np.bool_]:
    """Which of `images` (N, H, W, C) are near duplicates of one of `others` (M, H, W, C): grey pixels correlate above `threshold`; (N,)."""
    if not len(images) or not len(others):
        return np.zeros(len(images), dtype=bool)
    return np.asarray((_standardised(images) @ _standardised(others).T > threshold).any(axis=1))


def _standardised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey pixels of mean 0 and norm 1, shape (N, P); images of 128 pixels or more averaged over squares, to 64 to 127 a side."""
    height, width = images.shape[1:3]
    step = max(1, min(height, width) // SIDE)
    rows, columns = height // step, width // step
    grey = np.stack([image.mean(-1, dtype=np.float32) for image in images])[:, : rows * step, : columns * step]
    pixels = grey.reshape(len(images), rows, step, columns, step).mean((2, 4)).reshape(len(images), -1)
    pixels = pixels - pixels.mean(1, keepdims=True)
    scaled: NDArray[np.float32] = pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
    return scaled


def hold_out(names: Sequence[str], fraction: float, *, seed: int = 0) -> NDArray[np.bool_]:
    """Images whose group is held out: SHA-256 of (seed, name) below `fraction`; shape (N,).

    A group's side never changes when others are added, hence what is held out from the first fit stays so in every later one.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"holdout_fraction {fraction}; expected between 0 and 1")
    side = {name: int(hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()[:13], 16) / 16**13 for name in set(names)}
    held_out = np.array([side[name] < fraction for name in names])
    if held_out.sum() < MINIMUM_HELD_OUT or (~held_out).sum() < MINIMUM_FITTED_IMAGES:
        raise ValueError(
            f"{len(side)} groups of {len(names)} images leave {int(held_out.sum())} images held out and {int((~held_out).sum())} to "
            f"fit; expected at least {MINIMUM_HELD_OUT} and {MINIMUM_FITTED_IMAGES}. Likely cause: few images, or one large "
            "group. Fix: record more images, or change holdout_fraction or seed"
        )
    return held_out


def stopping_images(names: Sequence[str], seed: int = 0) -> NDArray[np.bool_]:
    """Those of the images to fit, of groups `names`, that decide which pass of a tuning is kept; shape (N,).

    A tenth of the groups, drawn apart from those that `hold_out` holds out with the same seed.

    Raises
    ------
    ValueError
        If too few are left for either side.
    """
    try:
        return hold_out(names, STOPPING, seed=seed + 1)
    except ValueError as error:
        raise ValueError(
            f"{len(names)} images of {len(set(names))} groups to fit and to tune on; fine_tune sets a tenth of the groups aside to decide when to "
            f"stop, and expects at least {MINIMUM_HELD_OUT} images there and {MINIMUM_FITTED_IMAGES} beside them. Likely cause: few images, or "
            "large groups. Fix: record more images, or set fine_tune = 0"
        ) from error


def check_split(names: Sequence[str], held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The images to hold out, refused where a group (an image, its copies, its crops) lies on both sides; shape (N,)."""
    held = np.asarray(held_out, bool)
    if held.shape != (len(names),):
        raise ValueError(f"held_out of shape {held.shape} for {len(names)} images; expected one flag an image")
    sides: dict[str, set[bool]] = {}
    for name, side in zip(names, held.tolist(), strict=True):
        sides.setdefault(name, set()).add(side)
    leaks = [name for name, both in sides.items() if len(both) == 2]
    if leaks:
        images = [i for i, name in enumerate(names) if name == leaks[0]]
        raise ValueError(
            f"{len(leaks)} photographs lie on both sides of the split: images {', '.join(map(str, images[:6]))} are one photograph "
            "(or one group), some held out, some fitted. Likely cause: copies or crops of a photograph under several names. "
            "Fix: hold out whole groups, or leave held_out to the toolkit"
        )
    if held.sum() < MINIMUM_HELD_OUT or (~held).sum() < MINIMUM_FITTED_IMAGES:
        raise ValueError(
            f"{int(held.sum())} images held out and {int((~held).sum())} to fit; expected at least {MINIMUM_HELD_OUT} and "
            f"{MINIMUM_FITTED_IMAGES}"
        )
    return held


def group_folds(groups: Sequence[object], n_folds: int, *, seed: int = 0) -> Tensor:
    """Fold of every image, whole groups to one fold, fold sizes as equal as the groups allow; shape (N,), int64.

    Groups are dealt out in a random order, each to the fold that is smallest so far, the largest groups first.
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
    """`group_folds` of the images with `added` = 0, and the others dealt out to these folds; shape (N,), int64.

    An image of a known group goes where its group is, a new group to the fold that is smallest so far, in the order of `added`: a later
    call with more images keeps every fold.
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
