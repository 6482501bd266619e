"""What a prior is trained on: drawn from generators alone, photographs held out, colours of the photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from synth.priors.training.images import TrainingImages, coloured_leaves, crop, cut, digest, leaf, set_apart

SIZE = 16


def photographs(count: int = 3, low: int = 0, high: int = 255, seed: int = 0) -> list[np.ndarray]:
    return [np.random.default_rng(seed + i).integers(low, high, (40, 30, 3), dtype=np.uint8) for i in range(count)]


def images(share: float = 0.5, held_out: list[np.ndarray] | None = None) -> TrainingImages:
    seen = photographs()
    leaves = np.stack([leaf(0, i, 24, photographs=seen) for i in range(4)])
    return TrainingImages(
        photographs=seen,
        held_out=photographs(2, seed=50) if held_out is None else held_out,
        leaves=leaves,
        size=SIZE,
        share=share,
    )


def test_an_image_depends_on_its_generator_alone() -> None:
    made = images()
    for draw in (made.draw, made.unseen):
        a, b, c = (draw(np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
        assert (a.shape, a.dtype) == ((SIZE, SIZE, 3), np.float32)
        assert np.abs(a).max() <= 1
    assert np.array_equal(leaf(0, 2, 24, photographs=photographs()), leaf(0, 2, 24, photographs=photographs()))
    assert not np.array_equal(leaf(0, 2, 24, photographs=photographs()), leaf(1, 2, 24, photographs=photographs()))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_held_out_photographs_are_never_trained_on(share: float) -> None:
    """Held-out photographs are all bright, those trained on all dark: so are crops, and leaves in their colours."""
    dark, bright = photographs(2, 0, 100), photographs(2, 155, 255, seed=9)
    leaves = np.stack([leaf(0, i, 24, photographs=dark) for i in range(3)])
    made = TrainingImages(photographs=dark, held_out=bright, leaves=leaves, size=SIZE, share=share)
    assert max(made.draw(np.random.default_rng(i)).mean() for i in range(20)) < 0
    assert min(made.unseen(np.random.default_rng(i)).mean() for i in range(20)) > 0


def test_share_is_that_of_photographs() -> None:
    blank = TrainingImages(photographs=[np.full((20, 20, 3), 0, np.uint8) + np.eye(20, dtype=np.uint8)[..., None] * 255], held_out=[], leaves=np.full((1, 24, 24, 3), 255, np.uint8), size=SIZE, share=0.3)  # fmt: skip
    white = [bool((blank.draw(np.random.default_rng(i)) == 1).all()) for i in range(400)]
    assert np.mean(white) == pytest.approx(0.7, abs=0.08)


def test_pictures_are_set_apart_whole() -> None:
    pictures = [[np.full((1, 1, 3), i, np.uint8)] * 2 for i in range(13)]
    seen, held_out = set_apart(pictures)
    assert [int(i[0, 0, 0]) for i in held_out] == [5, 5, 11, 11]
    assert {int(i[0, 0, 0]) for i in seen} == set(range(13)) - {5, 11}
    assert len(seen) == 22


def test_a_crop_is_a_square_of_the_photograph_never_enlarged() -> None:
    ramp = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None] * 4, (60, 32, 3))
    for seed in range(30):
        found = crop(np.random.default_rng(seed), [ramp], SIZE)
        step = np.diff(found.mean((1, 2))) * 127.5
        assert step.min() > 3.9  # one or two rows of the photograph a row, never less
        assert step.max() < 8.2
        assert np.allclose(found, found[:, :1])


def test_windows_are_turned_and_mirrored_only() -> None:
    leaves = np.stack([leaf(0, 0, SIZE, photographs=photographs())])
    eight = set()
    for seed in range(60):
        found = cut(np.random.default_rng(seed), leaves, SIZE)
        assert np.array_equal(
            np.sort(found.ravel()), np.sort((leaves[0] / np.float32(127.5) - 1).astype(np.float32).ravel())
        )
        eight.add(found.tobytes())
    assert len(eight) == 8


def test_leaves_take_their_colours_from_photographs_with_contrast() -> None:
    flat = [np.full((8, 8, 3), 128, np.uint8)]
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :4, 0] = 255
    made = coloured_leaves(np.random.default_rng(0), 32, [*flat, red])
    assert made[..., 0].mean() > made[..., 1].mean() + 0.2
    assert coloured_leaves(np.random.default_rng(0), 32, flat).shape == (32, 32, 3)  # none has contrast: any will do


def test_the_record_tells_images_apart() -> None:
    first, same, other = images().describe(), images().describe(), images(held_out=photographs(2, seed=51)).describe()
    assert first == same
    assert {k for k in first if first[k] != other[k]} == {"held_out_sha256"}
    json.dumps(first)
    assert digest(photographs()) != digest(photographs()[::-1])
