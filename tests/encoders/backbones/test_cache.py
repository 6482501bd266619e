from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders import backbone, extract_features
from encoders.backbones.cache import FeatureCache, image_digest
from encoders.backbones.features import Reduction, check_memory
from encoders.fitting.members import memory_needed
from encoders.fitting.readout_spec import ReadoutSpec

TINY = "timm:test_efficientnet"
LAYERS = ["blocks.0.0", "blocks.1.0"]
KEPT = Reduction(4, maps=True, summary=True)


@pytest.fixture(scope="module")
def network():
    return backbone(TINY, LAYERS, weights="random")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def counted(cache, network, images, reduction=KEPT):
    """Features, and how many images were sent through the network."""
    calls = []
    found = cache.features(network, images, reduction, progress=lambda *call: calls.append(call))
    return found, calls[-1][2] if calls else 0


def assert_same(found, expected):
    assert set(found) == set(expected)
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows, atol=1e-6, rtol=1e-5)


def test_each_image_is_computed_once(tmp_path, network, images):
    cache = FeatureCache(tmp_path / "cache")
    doubled = np.concatenate([images[:4], images[1:2]])
    found, computed = counted(cache, network, doubled)
    assert computed == 4
    assert_same(found, extract_features(network, doubled, reduction=KEPT))
    found, computed = counted(FeatureCache(tmp_path / "cache"), network, images[::-1])
    assert computed == 2
    assert_same(found, extract_features(network, images[::-1], reduction=KEPT))
    found, computed = counted(cache, network, images)
    assert computed == 0
    assert_same(found, extract_features(network, images, reduction=KEPT))


def test_another_network_size_or_reduction_is_another_key(tmp_path, network, images):
    cache = FeatureCache(tmp_path)
    counted(cache, network, images)
    others = [
        backbone(TINY, LAYERS, weights="random", seed=1),
        backbone(TINY, LAYERS, weights="random", input_size=48),
    ]
    for other in others:
        found, computed = counted(cache, other, images)
        assert computed == 6
        assert_same(found, extract_features(other, images, reduction=KEPT))
    assert counted(cache, network, images, Reduction(2, maps=True, summary=True))[1] == 6
    assert counted(cache, network, images, Reduction(4))[1] == 6
    assert counted(cache, network, 255 - images)[1] == 6


def test_one_pixel_or_another_shape_is_another_image(images):
    other = images[0].copy()
    other[3, 4, 1] ^= 1
    assert image_digest(other) != image_digest(images[0])
    assert image_digest(images[0].reshape(16, 64, 3)) != image_digest(images[0])


def test_damaged_chunks_count_as_absent(tmp_path, network, images):
    cache = FeatureCache(tmp_path)
    expected, _ = counted(cache, network, images)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    found, computed = counted(cache, network, images)
    assert computed == 6
    assert_same(found, expected)
    assert counted(cache, network, images)[1] == 0
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_fit_from_the_cache_is_the_same_fit(tmp_path, recording):
    first = recording.fit(cache=tmp_path)
    again = recording.fit(cache=tmp_path)
    assert first.encoder.fingerprint == again.encoder.fingerprint == recording.fit().encoder.fingerprint


def test_too_much_memory_is_refused_with_its_size_and_cure(monkeypatch, recording):
    check_memory(10, "a small thing", available=100)
    with pytest.raises(MemoryError, match=r"a large thing needs about 2\.0 GiB, 1\.0 GiB are free.*Fix: pool"):
        check_memory(2 * 2**30, "a large thing", available=2**30)
    monkeypatch.setattr("encoders.backbones.features.MEMORY_SHARE", 1e-9)
    with pytest.raises(MemoryError, match="the fit of 5 sites to 160 images"):
        recording.fit()


def test_memory_grows_with_what_is_kept():
    sizes = {"a": 100, "b": 50}
    small = memory_needed(ReadoutSpec(), sizes, ["a", "b"], n_images=100, n_sites=10, folds=5)
    assert memory_needed(ReadoutSpec(), sizes, ["a", "b"], n_images=200, n_sites=10, folds=5) > small
    assert memory_needed(ReadoutSpec(), sizes, ["a+b"], n_images=100, n_sites=10, folds=5) > small
    assert (
        memory_needed(ReadoutSpec(strengths=(1.0, 3.0)), sizes, ["a", "b"], n_images=100, n_sites=10, folds=5) > small
    )
    assert (
        memory_needed(ReadoutSpec("ridge"), sizes, ["a", "b"], n_images=100, n_sites=10, folds=5) >= 2 * 4 * 100 * 150
    )
