"""A small run of `scripts/studies/constraint_exactness.py`, and that its check can fail."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synth import ConstraintError

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "constraint_exactness.py"


@pytest.fixture(scope="module")
def exactness():
    spec = importlib.util.spec_from_file_location("constraint_exactness", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_sixty_settings_hold_or_are_refused(exactness) -> None:
    counts = exactness.run(60, ("natural", "noise", "patch"), grid_step=8)
    random, natural = counts["random"], counts["natural"]
    assert not random.violations
    assert not natural.violations
    assert random.unexplained == natural.unexplained == 0
    assert (random.settings, random.images) == (60, 180)
    assert random.images - random.refused >= 60  # enough was shown for the zero to mean something
    assert natural.refused <= 0.2 * natural.images
    assert max(random.worst_mean, random.worst_rms) > 0.5  # some images are only just within


def test_the_random_settings_are_varied(exactness) -> None:
    drawn = list(exactness.random_settings(60))
    for name in ("encoding", "colour", "aperture", "bits"):
        assert len({getattr(s, name) for s in drawn}) >= 2
    assert {s.encoding for s in drawn} == {"linear", "srgb", "gamma"}
    assert {s.bits for s in drawn} == {4, 5, 6, 7, 8}
    assert {s.mean is None for s in drawn} == {s.rms is None for s in drawn} == {True, False}


@pytest.mark.parametrize("index", range(0, 192, 37))
def test_every_breach_of_the_law_is_seen(exactness, index: int) -> None:
    setting = list(exactness.natural_settings())[index]
    constraint = setting.constraint()
    pixels = constraint.quantise(constraint(exactness.image_of("natural", constraint.shape, 0)))[0].numpy()
    wanted = {"mean": setting.mean, "rms": setting.rms}

    def problems(images, changed=setting, asked=wanted) -> str:
        return "; ".join(exactness.broken(images, changed, asked, count=exactness.Count()))

    assert problems(pixels) == ""
    assert "mean" in problems(np.clip(pixels.astype(int) + 4, 0, 255).astype(np.uint8))
    assert "rms" in problems(pixels, asked={"mean": setting.mean, "rms": setting.rms + 0.6 / 255})
    assert "between the levels" in problems(pixels, replace(setting, bits=6))
    if setting.aperture == "circle":
        corner = pixels.copy()
        corner[0, 0, 0] += 1
        assert "outside is not the background" in problems(corner)


def test_refusals_are_counted_with_their_reason(exactness) -> None:
    setting = replace(next(exactness.natural_settings()), mean=0.1, rms=0.4)
    count = exactness.Count()
    exactness.try_setting(setting, ("natural", "noise"), 0, count=count)
    assert (count.images, count.refused, count.refused_at_once) == (2, 2, 1)
    assert sum(count.reasons.values()) == 2
    assert count.to_dict()["refused_share"] == 1.0
    with pytest.raises(ConstraintError) as refused:
        setting.constraint()
    assert refused.value.reachable == pytest.approx(0.3)
