"""Modules that a network calls more than once, and outputs that are not one tensor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from encoders.backbones import backbone, list_layers
from encoders.backbones.build import backbone_from_config
from tests.encoders.helpers.wrapped import images, wrapped


class Repeated(nn.Module):
    """One rectifier after each of several convolutions."""

    def __init__(self, calls: int, seed: int):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.body = nn.ModuleList(nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1) for i in range(calls))
        self.relu, self.head = nn.ReLU(), nn.Conv2d(4, 2, 1)

    def outputs(self, x):
        found = []
        for convolution in self.body:
            x = torch.relu(convolution(x))
            found.append(x)
        return found

    def forward(self, x):
        for convolution in self.body:
            x = self.relu(convolution(x))
        return self.head(x)


@settings(max_examples=20, deadline=None)
@given(calls=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
def test_any_call_of_a_module_can_be_named_and_without_a_number_it_is_the_last(calls, seed, data):
    network = Repeated(calls, seed)
    named = data.draw(st.lists(st.integers(1, calls), unique=True))
    layers = ["relu", *(f"relu:{n}" for n in named)]
    built, x = wrapped(network, *layers), images((12, 16))
    found = built(x)
    with torch.no_grad():
        expected = network.outputs((x - built.mean) / built.std)
    torch.testing.assert_close(found["relu"], expected[-1])
    for n in named:
        torch.testing.assert_close(found[f"relu:{n}"], expected[n - 1])
    assert bool(built.notes) == (calls > 1)
    with pytest.raises(ValueError, match=f"calls relu {calls} time"):
        wrapped(network, f"relu:{calls + 1}")(x)


def test_the_last_call_is_the_output_of_the_block_and_saved_encoders_keep_the_first():
    layers = ["layer2.0.relu", "layer2.0.relu:1", "layer2.0"]
    built, x = backbone("torchvision:resnet18", layers, weights="random"), images((64, 64))
    found = built(x)
    torch.testing.assert_close(found["layer2.0.relu"], found["layer2.0"])
    assert not torch.equal(found["layer2.0.relu:1"], found["layer2.0"])
    assert "the last of 2 calls" in built.notes[0]
    config = built.config()
    assert config["calls"] == {"layer2.0.relu": 2}
    assert torch.equal(backbone_from_config(config)(x)["layer2.0.relu"], found["layer2.0.relu"])
    del config["calls"]  # as versions wrote it that took the first
    earlier = backbone_from_config(config)
    torch.testing.assert_close(earlier(x)["layer2.0.relu"], found["layer2.0.relu:1"])
    assert earlier.config() == config


def test_list_layers_shows_the_calls():
    listed = list_layers("torchvision:resnet18")
    at = listed.index("layer1.0.relu")
    assert listed[at : at + 3] == ["layer1.0.relu", "layer1.0.relu:1", "layer1.0.relu:2"]
    assert "layer1.0.conv1:1" not in listed


class Boxed(nn.Module):
    def __init__(self, box):
        super().__init__()
        self.box = box

    def forward(self, x):
        return self.box(x)


@pytest.mark.parametrize("box", [lambda x: (x,), lambda x: {"out": x}, lambda x: [x, None], lambda x: (None, x)])
def test_one_tensor_in_a_box_is_taken_out(box):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.boxed = nn.Conv2d(3, 4, 3), Boxed(box)

        def forward(self, x):
            return self.boxed(self.first(x))

    found = wrapped(Net(), "boxed", "first")(images((16, 20)))
    torch.testing.assert_close(found["boxed"], found["first"])


@pytest.mark.parametrize("box", [lambda x: (x, x), lambda x: {"a": x, "b": x}, lambda x: (x, "name"), lambda x: "no"])
def test_other_boxes_are_refused(box):
    with pytest.raises(ValueError, match="expected one tensor"):
        wrapped(nn.Sequential(Boxed(box)), "0")(images((16, 20)))
