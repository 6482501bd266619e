"""Near-duplicate images and folds."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.splits import extended_folds, group_folds, near_duplicates, photographs, resembling


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


def natural(n: int, side: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Pictures with the spectrum of photographs (amplitude 1 / frequency), (n, H, W, 3)."""
    rows, columns = (np.fft.fftfreq(k)[:, None] for k in side)
    frequency = np.hypot(rows, columns.T)
    frequency[0, 0] = np.inf
    spectrum = np.fft.fft2(rng.normal(size=(n, 3, *side))) / frequency
    field = np.fft.ifft2(spectrum).real
    field = field / field.std((2, 3), keepdims=True)
    shared = field.mean(1, keepdims=True)  # colours of a photograph go together
    return np.clip(128 + 45 * (shared + 0.4 * field), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def compressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width // 2, height // 2)).resize((width, height)))


COPIES = {
    "compressed": compressed,
    "resized": resized,
    "grey": lambda image: np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, 2),
    "brighter": lambda image: np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8),
    "paler": lambda image: (0.5 * image + 60).astype(np.uint8),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "noisy": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 12, image.shape), 0, 255).astype("uint8"),
}


@settings(max_examples=8, deadline=None)
@example(2, (48, 48), "plain", ["resized"])
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(48, 48), (96, 96), (72, 128), (150, 100)]),
    st.sampled_from(["plain", "aperture", "frame"]),
    st.lists(st.sampled_from(sorted(COPIES)), min_size=1, max_size=12),
)
def test_copies_are_one_photograph_and_different_pictures_are_not(seed, side, layout, kinds):
    """Whatever was done to a copy, in whatever frame; 40 pictures, each kind applied to another one of them."""
    rng = np.random.default_rng(seed)
    pictures_ = natural(40, side, rng)
    copies = np.stack([COPIES[kind](pictures_[i]) for i, kind in enumerate(kinds)])
    images = np.concatenate([pictures_, copies])
    if layout == "aperture":  # discs on black: every pixel outside is the same in all images
        y, x = np.ogrid[: side[0], : side[1]]
        inside = (y - side[0] / 2 + 0.5) ** 2 + (x - side[1] / 2 + 0.5) ** 2 < (min(side) / 2.2) ** 2
        images = np.where(inside[None, :, :, None], images, 0).astype(np.uint8)
    elif layout == "frame":
        images[:, : side[0] // 6], images[:, -side[0] // 6 :] = 255, 0
    order = rng.permutation(len(images))
    names = [f"picture {i:02d}" for i in order]
    found = photographs(images[order], names)
    place = {int(i): k for k, i in enumerate(order)}
    together = {frozenset(k for k, look in enumerate(found.looks) if look == own) for own in found.looks}
    expected = {frozenset({place[i], place[40 + i]}) for i in range(len(kinds))}
    assert expected <= together
    assert {group for group in together if len(group) > 1} == expected
    assert found.alike.sum() == 2 * len(kinds)
    assert found.names == found.looks
    apart = photographs(images[order], names, join=False)
    assert apart.names == names
    held = np.zeros(len(images), dtype=bool)
    held[[place[i] for i in range(len(kinds))]] = True
    assert apart.across(held).tolist() == held.tolist()
    assert not apart.across(~held & False).any()


def test_groups_and_images_that_are_not_compared_stay_apart():
    rng = np.random.default_rng(3)
    first = natural(6, (48, 48), rng)
    images = np.concatenate([first, np.stack([compressed(image) for image in first])])
    among = np.arange(12) < 10  # the copies of the last two are not compared
    found = photographs(images, [f"{i:02d}" for i in range(12)], among=among)
    assert found.names == ["00", "01", "02", "03", "04", "05", "00", "01", "02", "03", "10", "11"]
    one = photographs(images, ["same"] * 12)  # copies of one group are nothing new
    assert not one.alike.any()


def test_a_chain_of_likenesses_is_cut_at_a_higher_correlation():
    """Frames of a film that moves slowly: at 0.9 all would be one photograph, and nothing could be held out."""
    rng = np.random.default_rng(4)
    a, b = natural(2, (48, 48), rng).astype(float)
    angles = np.linspace(0, np.pi / 2, 8)
    film = np.stack([128 + np.cos(t) * (a - 128) + np.sin(t) * (b - 128) for t in angles]).clip(0, 255).astype(np.uint8)
    images = np.concatenate([film, natural(20, (48, 48), rng)])
    found = photographs(images)
    assert max(Counter(found.looks).values()) <= 6
