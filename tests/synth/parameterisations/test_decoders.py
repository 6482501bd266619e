"""Decoders of every kind, plainly or behind a function: asked before they make images, and left as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from synth import ascend, latent, stretch

SHAPE = (1, 12, 12)
QUIET = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Grows(nn.Module):
    """Latents (B, 6) through a middle module to images, squashed by `last`."""

    def __init__(self, middle: Callable[[], nn.Module], last: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> None:  # fmt: skip
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.middle, self.read = nn.Linear(6, 36), middle(), nn.ConvTranspose2d(4, 1, 4, 4)
        self.last = last
        self.eval().to(dtype)

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.middle(self.first(z).reshape(-1, 4, 3, 3))
        return self.last(6 * self.read(hidden))


class Drops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, 0.3)


class Statistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.mean, torch.ones_like(self.mean), training=True)


# what stands in the middle, whether it is in training mode, and whether the decoder is then steady
MIDDLES: dict[str, tuple[Callable[[], nn.Module], bool, bool]] = {
    "nothing": (nn.Identity, True, True),
    "batch norm": (lambda: nn.BatchNorm2d(4), False, True),
    "batch norm in training": (lambda: nn.BatchNorm2d(4), True, False),
    "dropout": (lambda: nn.Dropout(0.3), False, True),
    "dropout in training": (lambda: nn.Dropout(0.3), True, False),
    "dropout by a function": (Drops, False, False),
    "batch statistics": (Statistics, False, False),
    "batch norm without statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), False, False),
}
# how the images end, and whether they are pixel values
ENDS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sigmoid": (torch.sigmoid, ""),
    "tanh moved": (lambda x: (torch.tanh(x) + 1) / 2, ""),
    "clipped": (lambda x: (0.5 + 0.1 * x).clamp(0, 1), ""),
    "linear": (lambda x: 0.5 + 0.05 * x, ""),
    "tanh": (torch.tanh, r"a network that gives \[-1, 1\].*\(decoder\(z\) \+ 1\) / 2"),
    "dark tanh": (lambda x: torch.tanh(x - 1), r"a network that gives \[-1, 1\]"),
    "levels": (lambda x: 255 * torch.sigmoid(x), r"a network that gives \[0, 255\]"),
    "wide": (lambda x: 0.5 + 3 * torch.tanh(x), r"outside \[0, 1\].*sd="),
    "nan": (lambda x: x * torch.nan, r"from nan to nan"),
    "tuple": (lambda x: (torch.sigmoid(x),), r"the decoder gives a tuple"),
    "other size": (lambda x: torch.sigmoid(x)[..., :-1], r"images of shape \(\d, 1, 12, 11\)"),
}


@QUIET
@given(middle=st.sampled_from(sorted(MIDDLES)), end=st.sampled_from(sorted(ENDS)), hidden=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), start=st.sampled_from([None, torch.float32, torch.float64]))  # fmt: skip
def test_decoders_serve_or_are_refused_and_stay_as_they_are(middle: str, end: str, hidden: bool, dtype: torch.dtype, start: torch.dtype | None) -> None:  # fmt: skip
    make, trains, steady = MIDDLES[middle]
    last, message = ENDS[end]
    net = Grows(make, last, dtype)
    net.middle.train(trains)
    before = copy.deepcopy(net.state_dict())
    decoder = (lambda z: net(z)) if hidden else net
    begin = None if start is None else torch.full((2, *SHAPE), 0.5, dtype=start)

    def run() -> np.ndarray:
        encoder = lambda images: images.flatten(1)[:, :2]  # noqa: E731
        made = latent(SHAPE, decoder, (6,), fit_steps=1)
        return ascend(encoder, stretch([0, 1]), made, steps=1, start=begin, transforms=()).images

    if steady and not message:
        together = run()
        assert np.array_equal(together, run())
    else:
        words = [message] if message else []
        words += (
            []
            if steady
            else [
                r"training mode|keeps no running statistics|draws random numbers|changes its own state|in another batch"
            ]
        )
        with pytest.raises(ValueError, match="|".join(words)):
            run()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items() if not value.isnan().any())
    assert all(p.grad is None for p in net.parameters())


def test_an_image_of_a_latent_is_the_same_alone(make_generators) -> None:
    net = Grows(lambda: nn.BatchNorm2d(4), torch.sigmoid)
    made = latent(SHAPE, lambda z: net(z), (6,))
    both = made(make_generators(2))().detach()
    alone = made(make_generators(2)[1:])().detach()
    torch.testing.assert_close(alone[0], both[1])


def test_a_decoder_is_asked_once_per_device_and_of_four_latents_at_most(make_generators) -> None:
    sizes: list[int] = []

    def decoder(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return torch.sigmoid(z).reshape(-1, *SHAPE)

    made = latent(SHAPE, decoder, (144,))
    made(make_generators(7))
    assert sizes[:6] == [1, 1, 4, 4, 2, 2]  # the second: whether it takes float64
    assert set(sizes[6:]) == {7}
    made(make_generators(3))
    assert sizes.count(4) == 2


def test_an_encode_network_is_left_as_it_is(make_generators) -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144)).train()
    before = copy.deepcopy(net.state_dict())
    made = latent(SHAPE, lambda z: torch.sigmoid(z).reshape(-1, *SHAPE), (144,), encode=lambda x: net(x))
    with pytest.raises(ValueError, match=r"the encode network's BatchNorm1d 'behind it' is in training mode"):
        made(make_generators(2), torch.full((2, *SHAPE), 0.5))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
