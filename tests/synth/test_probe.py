"""Encoders with chance of any kind, in any hiding place and at any door, are refused; the steady ones are not."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synth import StimulusBatch, ascend, guide, pixels, stretch
from synth.priors import spectral
from synth.steady import watched
from tests.synth.helpers.chance import HIDING, STEADY, UNSTEADY, Net

SHAPE = (1, 16, 16)
PRIOR = spectral(SHAPE)
DOORS = st.sampled_from(["ascend", "guide", "validate"])
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Plain(nn.Module):
    """Two pixels: an encoder that nothing is wrong with."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, 3:5]


@pytest.fixture(scope="module")
def batch() -> StimulusBatch:
    return ascend(Plain().eval(), stretch([0]), pixels(SHAPE), seeds=range(4), steps=1)


def through(door: str, encoder: Any, batch: StimulusBatch) -> Any:
    if door == "ascend":
        return ascend(encoder, stretch([0]), pixels(SHAPE), steps=1)
    if door == "guide":
        return guide(encoder, stretch([0]), PRIOR, steps=2)
    return batch.validate(encoder)


def generators() -> list[Any]:
    return [torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())]  # noqa: NPY002


@QUIET
@given(kind=st.sampled_from(sorted(UNSTEADY)), hiding=st.sampled_from(sorted(HIDING)), door=DOORS, seed=st.integers(0, 99))  # fmt: skip
def test_chance_of_any_kind_is_refused_and_nothing_of_the_users_changes(kind: str, hiding: str, door: str, seed: int, batch) -> None:  # fmt: skip
    net = Net(UNSTEADY[kind], seed)
    before, drawn = copy.deepcopy(net.state_dict()), generators()
    modes = [m.training for m in net.modules()]
    with pytest.raises(
        ValueError,
        match=r"training mode|keeps no running statistics|draws random numbers|answers otherwise|changes its own state",
    ):
        through(door, HIDING[hiding](net), batch)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert generators() == drawn
    assert [m.training for m in net.modules()] == modes
    assert not torch.nn.modules.module._global_forward_pre_hooks


@QUIET
@given(kind=st.sampled_from(sorted(STEADY)), hiding=st.sampled_from(sorted(HIDING)), door=DOORS, seed=st.integers(0, 99))  # fmt: skip
def test_steady_encoders_pass_every_door(kind: str, hiding: str, door: str, seed: int, batch) -> None:
    net = Net(STEADY[kind], seed)
    encoder = HIDING[hiding](net)
    drawn = generators()
    made = through(door, encoder, batch)
    with torch.no_grad():
        again = encoder(torch.from_numpy(made.images).permute(0, 3, 1, 2).float() / 255)
    predicted = made.validator_predicted if door == "validate" else made.predicted
    np.testing.assert_allclose(predicted, (again if again.dim() == 2 else again.mean(0)).numpy(), rtol=1e-4, atol=1e-5)
    assert generators() == drawn


def test_the_message_names_the_module_and_the_way_out() -> None:
    net = Net(lambda: nn.Sequential(nn.Dropout(0.1), nn.RReLU()), 0)
    with pytest.raises(ValueError, match=r"the encoder's Dropout 'inner.0' is in training mode \(and 1 more\).*encoder\.eval\(\) first"):  # fmt: skip
        ascend(net, stretch([0]), pixels(SHAPE))
    with pytest.raises(ValueError, match=r"the encoder's Dropout 'behind it' is in training mode"):
        ascend(lambda images: net(images), stretch([0]), pixels(SHAPE))
    assert ascend(net.eval(), stretch([0]), pixels(SHAPE), steps=1).predicted.shape == (1, 2)


def test_an_encoder_is_asked_five_times_of_at_most_four_images() -> None:
    sizes: list[int] = []

    def encoder(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images.flatten(1)[:, :2]

    ascend(encoder, stretch([0]), pixels(SHAPE), steps=1, seeds=range(7))
    assert sizes[:5] == [1, 4, 4, 2, 2]
    assert set(sizes[5:]) == {7}


def test_a_call_in_another_thread_is_not_watched() -> None:
    """Somebody may train a network in another thread meanwhile."""
    import threading

    net = nn.Dropout(0.5).train()
    failed: list[BaseException] = []

    def other() -> None:
        try:
            net(torch.ones(2))
        except BaseException as error:
            failed.append(error)

    state = torch.get_rng_state()
    with watched(Plain(), "encoder", torch.device("cpu")):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    torch.set_rng_state(state)
    assert not failed


def test_weights_without_values_are_refused() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(2)).eval()
    with pytest.raises(ValueError, match=r"1\.weight holds no values yet"):
        ascend(lazy, stretch([0]), pixels(SHAPE))
    with torch.inference_mode(), torch.random.fork_rng():
        made = nn.Sequential(nn.Flatten(), nn.Linear(256, 2)).eval()
    with pytest.raises(ValueError, match=r"made under torch\.inference_mode.*copy\.deepcopy"):
        ascend(made, stretch([0]), pixels(SHAPE))
    assert ascend(copy.deepcopy(made), stretch([0]), pixels(SHAPE), steps=1).images.shape == (1, 16, 16, 1)
