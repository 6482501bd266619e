"""Near-duplicate images and folds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.splits import extended_folds, group_folds, near_duplicates, resembling


def pictures(n: int, side: int, seed: int = 0) -> np.ndarray:
    """Random blobs, smooth over an eighth of the side."""
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3))
    return np.kron(coarse, np.ones((1, side // 8, side // 8, 1))).astype(np.uint8)


def noisy(images: np.ndarray, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(scale=20, size=images.shape)
    return np.clip(images * 0.8 + 20 + drawn, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [48, 64, 112, 256])
def test_a_noisy_paler_copy_is_a_near_duplicate_and_another_picture_is_not(side: int) -> None:
    images = pictures(6, side)
    found = resembling(np.concatenate([noisy(images[2:4]), pictures(3, side, seed=5)]), images)
    assert found.tolist() == [True, True, False, False, False]


def test_resembling_is_the_correlation_of_grey_pixels_below_128_pixels() -> None:
    images, others = pictures(5, 96), noisy(pictures(7, 96, seed=3))
    grey = [x.mean(-1).reshape(len(x), -1) for x in (images, others)]
    r = np.corrcoef(*grey)[:5, 5:]
    for threshold in (-0.2, 0.0, 0.2):
        assert resembling(images, others, threshold).tolist() == (r > threshold).any(1).tolist()


def test_nothing_resembles_nothing() -> None:
    images = pictures(2, 48)
    assert resembling(images, images[:0]).tolist() == [False, False]
    assert resembling(images[:0], images).tolist() == []


def test_near_duplicates_are_joined_through_a_third() -> None:
    a, c = pictures(2, 64)
    b = ((a.astype(int) + c) // 2).astype(np.uint8)  # resembles both, which do not resemble each other
    groups = near_duplicates(np.stack([a, pictures(1, 64, seed=9)[0], c, b]), threshold=0.6)
    assert groups[0] == groups[2] == groups[3]
    assert groups[1] != groups[0]


def test_a_flat_picture_resembles_nothing() -> None:
    flat = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    assert not resembling(flat, np.concatenate([flat, pictures(2, 64)])).any()


def test_folds_keep_groups_together_and_are_balanced():
    groups = [f"g{i // 3}" for i in range(90)] + ["large"] * 20
    folds = group_folds(groups, 5, seed=1)
    for group in set(groups):
        assert len({int(folds[i]) for i, g in enumerate(groups) if g == group}) == 1
    sizes = torch.bincount(folds)
    assert sizes.max() - sizes.min() <= 3
    assert torch.equal(folds, group_folds(groups, 5, seed=1))
    assert not torch.equal(folds, group_folds(groups, 5, seed=2))


def test_too_few_groups_for_the_folds():
    with pytest.raises(ValueError, match="3 groups of images for 5 folds"):
        group_folds([0, 1, 2, 2, 2, 2], 5)


def test_folds_stay_when_images_are_added():
    rng = np.random.default_rng(0)
    groups = [f"g{k}" for k in rng.integers(0, 40, 100)] + [f"h{k}" for k in rng.integers(0, 12, 30)] + groups_of(20)
    first = group_folds(groups[:100], 5, seed=3)
    second = extended_folds(groups[:130], [0] * 100 + [1] * 30, 5, seed=3)
    third = extended_folds(groups, [0] * 100 + [1] * 30 + [2] * 20, 5, seed=3)
    assert torch.equal(second[:100], first)
    assert torch.equal(third[:130], second)
    assert torch.equal(extended_folds(groups, [0] * 150, 5, seed=3), group_folds(groups, 5, seed=3))
    folds = {}
    for group, fold in zip(groups, third.tolist(), strict=True):
        assert folds.setdefault(group, fold) == fold
    assert np.ptp(np.bincount(third.numpy())) <= 12


def groups_of(n):
    return [f"g{k}" for k in range(n)]
