"""The course of the learning rate, the jitter of images, adversarial steps, averages and decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.tuning.descent import Average, TuningData, TuningSchedule, attack, descend, one_cycle, shifted
from encoders.tuning.tunable import Tunable, free_parameters
from tests.encoders.helpers.planted import plant


def test_the_learning_rate_rises_once_and_falls_to_nothing():
    factors = [one_cycle(x) for x in np.linspace(0, 1, 101)]
    assert factors[0] == pytest.approx(1 / 25)
    assert int(np.argmax(factors)) == 20
    assert max(factors) == pytest.approx(1)
    assert factors[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(factors[:21]) > 0).all()
    assert (np.diff(factors[20:]) < 0).all()


def test_jitter_moves_by_less_than_asked():
    ramp = torch.linspace(0, 1, 33).expand(64, 1, 33, 33)
    moved = shifted(ramp, 1.0, torch.Generator().manual_seed(0))
    step = (moved - ramp)[:, 0, 5:-5, 5:-5] * 32  # pixels along the ramp
    assert float(step.abs().max()) <= 1 + 1e-4
    assert float(step[:, 0, 0].std()) == pytest.approx(1 / np.sqrt(3), rel=0.3)
    assert shifted(ramp, 0.0, torch.Generator()) is ramp


class Linear:
    """A stand-in for a tuned encoder: the prediction is a plane in the pixels."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(-1, 1, images[0].numel())
        return (images.flatten(1) @ ramp)[None, :, None]


def test_an_adversarial_step_raises_the_error_by_what_its_size_allows():
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 200, (24, 6, 6, 3)).astype(np.uint8)
    sides = {"fitted": np.arange(24) < 20, "stopping": np.arange(24) >= 20}
    targets = rng.normal(size=(24, 1))
    data = TuningData.read(pixels, targets, sides["fitted"], stopping=sides["stopping"], weights=None, device="cpu")
    rows, model = torch.arange(8), Linear()
    before = data.batch(rows)
    after = attack(model, data, before, rows=rows, step=2 / 255)
    torch.testing.assert_close((after - before).abs(), torch.full_like(before, 2 / 255))
    error = [data.error(model.predict(images), rows).squeeze() for images in (before, after)]
    assert (error[1] > error[0]).all()
    clipped = attack(model, data, torch.ones_like(before), rows=rows, step=0.5)
    assert 0 <= float(clipped.min()) <= float(clipped.max()) <= 1


def test_the_last_passes_are_averaged():
    average = Average(start=2)
    states = [[torch.tensor([float(v)])] for v in (8, 4, 2, 6)]
    kept = [average.add(state, epoch)[0].item() for epoch, state in enumerate(states, start=1)]
    assert kept == [8, 4, 2, 4]


def test_averaging_is_that_of_the_passes_and_decay_holds_the_network_back():
    planted = plant(n=120)

    def tuned(**changes):
        schedule = TuningSchedule(epochs=2, keep=2, learning_rate=2e-3, readout_learning_rate=1e-3, **changes)
        fitted = planted.fitted | planted.stopping
        data = TuningData.read(
            planted.images,
            planted.targets,
            fitted,
            stopping=np.zeros_like(fitted),
            weights=None,
            device="cpu",
        )
        one = Tunable(planted.encoder, "cpu")
        one.free(free_parameters(one.backbone, "late", data.batch(torch.arange(1))), network=True, readouts=True)
        start = one.anchor()
        assert descend([one], [data], schedule, progress=None).epoch == 2
        return float(one.distance(start).detach())

    free, held, robust, averaged = tuned(), tuned(decay=30.0), tuned(adversarial_step=2.0), tuned(averaged=2)
    assert 0 < held < 0.5 * free
    assert robust != free
    assert 0 < averaged < free  # the mean of the first pass and the second lies nearer to the start
