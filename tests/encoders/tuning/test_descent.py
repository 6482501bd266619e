"""The course of the learning rate, and the jitter of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from encoders.tuning.descent import one_cycle, shifted


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
