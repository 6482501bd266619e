"""A channel that natural images do not excite, planted in an encoder: the ascent exploits it, the validator exposes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synth import Rule, ascend, exact_statistics, pixels, rules, stretch

SHAPE = (3, 24, 24)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)
STRIPES = torch.where(torch.arange(24) % 2 == 0, 1.0, -1.0).expand(SHAPE) / (3 * 24 * 24) ** 0.5


class Filters(nn.Module):
    """Three sites that answer to smooth patterns; `planted` adds to each a channel of high gain for one-pixel stripes."""

    def __init__(self, natural: Tensor, *, planted: float = 0.0, noise: float = 0.0, seed: int = 0) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(7)
        smooth = nn.functional.interpolate(torch.randn(3, 3, 6, 6, generator=g), size=SHAPE[1:], mode="bicubic")
        fitted = smooth / smooth.flatten(1).norm(dim=1)[:, None, None, None]
        own = torch.randn(
            3, *SHAPE, generator=torch.Generator().manual_seed(seed)
        )  # errors of the fit, each encoder its own
        self.filters = fitted + noise * own / own.flatten(1).norm(dim=1)[:, None, None, None]
        self.planted = planted
        self.site_ids = ("v4_000", "v4_001", "v4_002")
        self.fingerprint = f"enc_{seed:08d}_{planted:g}"
        answers = self(natural)
        self.natural_mean, self.natural_sd = answers.mean(0), answers.std(0)

    def forward(self, images: Tensor) -> Tensor:
        centred = images - 0.45
        responses = torch.einsum("bchw,uchw->bu", centred, self.filters.to(images))
        channel = torch.einsum("bchw,chw->b", centred, STRIPES.to(images))
        return nn.functional.softplus(2 * responses) + self.planted * channel[:, None].abs()


@pytest.fixture
def natural(make_photo) -> Tensor:
    """Photographs at the display's statistics, without the component that the planted channel sees."""
    photos = DISPLAY(make_photo((100, *SHAPE), seed=3))
    return photos - torch.einsum("bchw,chw->b", photos, STRIPES)[:, None, None, None] * STRIPES


def ratios(encoder: Filters, validator: Filters, **more) -> np.ndarray:
    """Validator's z-score over the encoder's, of the images that the encoder was climbed for."""
    settings = {"constraints": [DISPLAY], "steps": 60, "transforms": (), "seeds": (0, 1)} | more
    batch = ascend(encoder, stretch(encoder.site_ids), pixels(SHAPE, noise=0.1), **settings).validate(validator)
    assert (batch.scores > 3).all()  # the ascent found a way
    return batch.validator_scores / batch.scores


def test_the_planted_channel_cannot_be_seen_in_natural_images(natural) -> None:
    sound, planted = (Filters(natural, planted=p) for p in (0.0, 6.0))
    a, b = sound(natural), planted(natural)
    for site in range(3):
        assert np.corrcoef(a[:, site], b[:, site])[0, 1] > 0.9999  # so no test on natural images finds it
    stripes = DISPLAY(0.45 + STRIPES[None])
    z = (planted(stripes) - planted.natural_mean) / planted.natural_sd
    assert (z > 5).all()
    assert ((sound(stripes) - sound.natural_mean) / sound.natural_sd < 1.5).all()


def test_the_validator_ratio_exposes_a_planted_channel(natural) -> None:
    validator = Filters(natural, noise=0.3, seed=1)
    sound = ratios(Filters(natural, noise=0.3, seed=2), validator)
    planted = ratios(Filters(natural, noise=0.3, seed=2, planted=6.0), validator)
    assert (sound > 0.5).all(), sound  # below 0.5 an image counts as adversarial (methods C4)
    assert (planted < 0.5).all(), planted
    assert (planted < 0.6 * sound).all()


def test_a_validator_with_the_same_fault_does_not_expose_it(natural) -> None:
    """What the ratio can tell: only faults that the two encoders do not share."""
    encoder = Filters(natural, noise=0.3, seed=2, planted=6.0)
    accomplice = Filters(natural, noise=0.3, seed=1, planted=6.0)
    assert (ratios(encoder, accomplice) > 0.5).all()


def test_a_blurred_gradient_keeps_out_of_the_planted_channel(natural) -> None:
    """Preconditioning is one answer to such channels: it halves the way there and leaves that of the smooth filters."""
    validator = Filters(natural, noise=0.3, seed=1)
    encoder = Filters(natural, noise=0.3, seed=2, planted=6.0)
    blurred = Rule(rules.sgd(), precondition=(rules.smooth(2.0), rules.normalise()))
    plain = Rule(rules.sgd(), precondition=(rules.normalise(),))
    step = {"learning_rate": 0.01, "start": natural[:3]}
    assert (
        ratios(encoder, validator, rule=blurred, **step) > ratios(encoder, validator, rule=plain, **step) + 0.2
    ).all()
