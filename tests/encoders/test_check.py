from __future__ import annotations

import pytest
import torch
from torch import nn

from encoders import check_encoder
from encoders.check import EncoderFault

SHAPE = (3, 16, 16)


class Linear(nn.Module):
    """A sound encoder of two sites; faults are made of it."""

    site_ids = ("v4_000", "v4_001")

    def __init__(self, channels: int = 3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels * 256, 2, generator=torch.Generator().manual_seed(0)) / 20)
        self.calls = 0
        self.eval()

    def forward(self, x):
        return self.respond(x)

    def respond(self, x):
        return torch.relu(x.flatten(1) @ self.weight + 1) + 0.1 * (x - 0.5).flatten(1).square().sum(1, keepdim=True)


def fault(body, **changes):
    """A `Linear` with another forward, and other attributes."""
    made = type("Faulty", (Linear,), {"forward": body} | changes)
    return made()


def counted(self, x):
    self.calls += 1
    return self.respond(x) + 0.1 * self.calls


def stripe(self, x):
    x.clamp_(0.2, 0.8)
    return self.respond(x)


FAULTS = {
    "detached": (lambda self, x: self.respond(x).detach(), "detached from the images; remove no_grad"),
    "zero gradient": (lambda self, x: self.respond(torch.round(x)), "gradient of zero"),
    "no gradient to the images": (lambda self, x: self.respond(x.detach()), "no gradient to the images"),
    "infinite gradient": (
        lambda self, x: self.respond(x) + (x - x.detach()).flatten(1).norm(dim=1, keepdim=True).sqrt(),
        "NaN or infinite gradient",
    ),
    "random": (lambda self, x: self.respond(x) + 0.1 * torch.rand(len(x), 1), "second time; remove dropout"),
    "state": (counted, "second time; remove dropout, noise and state"),
    "batch-dependent": (
        lambda self, x: self.respond(x) - self.respond(x).mean(0),
        "responds differently to an image alone and within a batch",
    ),
    "NaN": (lambda self, x: self.respond(x) / x.flatten(1).std(1, keepdim=True), "NaN or infinity"),
    "range 0 ... 255": (lambda self, x: self.respond((x - 116) / 255), "multiply by 255 inside the module"),
    "constant": (lambda self, x: self.respond(x) * 0 + 1, "same responses to black, white and noise"),
    "site count": (lambda self, x: self.respond(x)[:, :1], "gives 1 responses per image for 2 sites"),
    "one dimension": (lambda self, x: self.respond(x)[:, 0], r"shape \(5,\) for 5 images; return \(B, U\)"),
    "reduced over the batch": (lambda self, x: self.respond(x).mean(0, keepdim=True), r"shape \(1, 2\) for 5 images"),
    "tuple": (lambda self, x: (self.respond(x), 0), "gives a tuple"),
    "dtype": (lambda self, x: self.respond(x).double(), "dtype must follow"),
    "in place": (stripe, "changes the images"),
    "raises": (lambda self, x: x.view(-1) @ self.weight, r"fails on images of shape \(5, 3, 16, 16\)"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_named_with_its_cure(name):
    body, message = FAULTS[name]
    with pytest.raises(EncoderFault, match=message):
        check_encoder(fault(body), SHAPE)


def test_training_mode():
    with pytest.raises(EncoderFault, match=r"training mode .*call .eval\(\) first"):
        check_encoder(Linear().train(), SHAPE)
    parts = nn.Sequential(Linear(), nn.Dropout()).eval()
    parts[1].train()
    with pytest.raises(EncoderFault, match=r"training mode \(1\)"):
        check_encoder(parts, SHAPE)


def test_channels():
    with pytest.raises(EncoderFault, match=r"takes 3 channels, the images have 1; .*expand"):
        check_encoder(Linear(3), (1, 16, 16))
    with pytest.raises(EncoderFault, match=r"takes 1 channels, the images have 3; .*mean"):
        check_encoder(Linear(1), SHAPE)


def test_sound_encoders_pass():
    check_encoder(Linear(), SHAPE)
    check_encoder(Linear(), SHAPE, site_ids=["a", "b"])
    check_encoder(Linear(1), (1, 16, 16))
    check_encoder(fault(lambda self, x: torch.stack([self.respond(x)] * 3)), SHAPE)  # an ensemble
    check_encoder(Linear().double().float(), SHAPE)


def test_a_fault_is_a_value_error_and_shapes_are_checked():
    assert issubclass(EncoderFault, ValueError)
    with pytest.raises(ValueError, match="image_shape"):
        check_encoder(Linear(), (2, 16, 16))


def test_fitted_encoders_pass(pair):
    check_encoder(pair.encoder, pair.encoder.image_shape)
    check_encoder(pair.validator, pair.validator.image_shape, site_ids=pair.validator.site_ids)
