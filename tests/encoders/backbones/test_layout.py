"""Layers of networks whose true layout is known: read as maps they are the truth, or they are refused."""

from __future__ import annotations

import copy
from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from encoders.backbones import Backbone, backbone, feature_maps, flatten_features
from encoders.backbones.layout import LaidOut, Layout, lay_out
from encoders.backbones.pooling import summarise
from tests.encoders.helpers.wrapped import images, wrapped


class Planted(nn.Module):
    """Convolutions whose maps (B, C, h, w) are given out in another order, or as tokens.

    Parameters
    ----------
    order : permutation of (1, 2, 3), or None for tokens
    extra : int
        Tokens that are no positions.
    behind : bool
        They stand after the map, not before it.
    by_columns, channels_first : bool
        Order of the tokens; (B, C, T) instead of (B, T, C).
    size : (H, W) or None
        The only size that is taken.
    mixing : float
        How much of the mean over positions is added to each position, as attention does.
    """

    def __init__(self, channels, strides, *, order=None, extra=0, behind=False, by_columns=False, channels_first=False,
                 size=None, mixing=0.0, seed=0):  # fmt: skip
        super().__init__()
        self.order, self.extra, self.behind, self.by_columns = order, extra, behind, by_columns
        self.channels_first, self.size, self.mixing = channels_first, size, mixing
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            sizes = [3, *[channels] * len(strides)]
            self.body = nn.Sequential(
                *(nn.Conv2d(a, b, 3, stride=s, padding=1) for a, b, s in zip(sizes, sizes[1:], strides, strict=False))
            )
            self.own = nn.Parameter(torch.randn(1, extra, channels))
        self.out = nn.Identity()

    def maps(self, x: Tensor) -> Tensor:
        if self.size is not None and tuple(x.shape[-2:]) != self.size:
            raise AssertionError("images of another size")
        maps = F.gelu(self.body(x))
        return maps + self.mixing * maps.mean((2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        if self.order is not None:
            return self.out(maps.permute(0, *self.order))
        tokens = (maps.transpose(2, 3) if self.by_columns else maps).flatten(2).transpose(1, 2)
        own = self.own.expand(len(x), -1, -1) + tokens.mean(1, keepdim=True)
        tokens = torch.cat([tokens, own] if self.behind else [own, tokens], 1)
        return self.out(tokens.transpose(1, 2) if self.channels_first else tokens)


def truth(built: Backbone, x: Tensor) -> Tensor:
    with torch.no_grad():
        return built.network.maps((x - built.mean) / built.std)


sides = st.tuples(st.integers(3, 8), st.integers(3, 8))
nets = {
    "channels": st.integers(2, 24),
    "strides": st.sampled_from([(4,), (2, 2), (4, 2), (2, 2, 2), (8,)]),
    "mixing": st.sampled_from([0.0, 0.5, 2.0]),
    "seed": st.integers(0, 99),
}


@settings(max_examples=40, deadline=None)
@given(order=st.sampled_from(list(permutations((1, 2, 3)))), cells=sides, one_size=st.booleans(), **nets)
def test_maps_in_any_order_are_put_in_order(order, cells, one_size, channels, strides, mixing, seed):
    """(B, C, h, w) in any of its six orders, of images of any aspect."""
    stride = int(torch.tensor(strides).prod())
    size = (cells[0] * stride, cells[1] * stride)
    how = {"order": order, "mixing": mixing, "seed": seed, "size": size if one_size else None}
    built, x = wrapped(Planted(channels, strides, **how), "out"), images(size)
    found, expected = built(x)["out"], truth(built, x)
    assert found.shape == built.network(x).shape  # as the network gives it
    try:
        maps = feature_maps(found, None)
    except ValueError:
        assert one_size, "a map that grows with the image was refused"
        return
    torch.testing.assert_close(maps, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(flatten_features(found, 2), flatten_features(expected, 2), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(summarise(found), summarise(expected), atol=1e-5, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    extra=st.integers(0, 5),
    behind=st.booleans(),
    by_columns=st.booleans(),
    channels_first=st.booleans(),
    cells=sides,
    one_size=st.booleans(),
    **nets,
)
def test_tokens_become_the_map_that_they_form_or_are_refused(
    extra, behind, by_columns, channels_first, cells, one_size, channels, strides, mixing, seed
):
    """0 to 5 tokens that are no positions, before or after the map; by rows or columns; h and w differ."""
    stride = int(torch.tensor(strides).prod())
    size = (cells[0] * stride, cells[1] * stride)
    how = {"extra": extra, "behind": behind, "by_columns": by_columns, "channels_first": channels_first}
    how |= {"mixing": mixing, "seed": seed, "size": size if one_size else None}
    built, x = wrapped(Planted(channels, strides, **how), "out"), images(size)
    found = built(x)["out"]
    try:
        maps = feature_maps(found, None)
    except ValueError:
        return
    torch.testing.assert_close(maps, truth(built, x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("extra", range(6))
@pytest.mark.parametrize("size", [(72, 128), (128, 72), (64, 64)])
def test_usual_token_networks_are_not_refused(extra, size):
    """Class and register tokens before a map of at least eight cells a side, at one size or several."""
    for one_size in (None, size):
        built = wrapped(Planted(16, (4, 2), extra=extra, mixing=1.0, size=one_size), "out")
        torch.testing.assert_close(feature_maps(built(images(size))["out"], None), truth(built, images(size)))


@pytest.mark.parametrize(
    ("uri", "layer", "size", "expected"),
    [
        ("timm:pvt_v2_b0", "stages.0.blocks.0", (72, 128), (32, 18, 32)),
        ("timm:deit_tiny_distilled_patch16_224", "blocks.0", (224, 224), (192, 14, 14)),
    ],
)
def test_networks_of_the_libraries(uri, layer, size, expected):
    """Tokens of images that are not square, two tokens before the map."""
    built = backbone(uri, [layer], weights="random", input_size=224 if "224" in uri else None)
    assert feature_maps(built(images(size))[layer], None).shape == (2, *expected)


def test_tokens_follow_the_image_that_is_shown_now():
    built = wrapped(Planted(6, (4,), extra=1), "out")
    for size in ((32, 64), (64, 32), (48, 48), (32, 64)):
        torch.testing.assert_close(feature_maps(built(images(size))["out"], None), truth(built, images(size)))


def test_attention_weights_are_no_map():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.weights = nn.Conv2d(3, 4, 4, stride=4), nn.Softmax(-1)

        def forward(self, x):
            tokens = self.body(x).flatten(2)  # (B, C, T)
            return self.weights(tokens.transpose(1, 2) @ tokens)[:, None]

    found = wrapped(Attention(), "weights")(images((32, 32)))["weights"]
    with pytest.raises(ValueError, match="could not be told"):
        feature_maps(wrapped_four(found), None)
    assert flatten_features(found, None).shape == (2, 64 * 64)


def wrapped_four(found: Tensor) -> Tensor:
    """Attention weights (B, T, T) as (B, 1, T, T), as networks keep them per head."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.heads = nn.Conv2d(3, 4, 4, stride=4), nn.Softmax(-1)

        def forward(self, x):
            tokens = self.body(x).flatten(2)
            return self.heads((tokens.transpose(1, 2) @ tokens)[:, None].expand(-1, 2, -1, -1))

    return wrapped(Heads(), "heads")(images((32, 32)))["heads"]


def test_the_layout_stays_where_axes_stay_and_goes_where_they_move():
    layout = Layout(axes=(0, 3, 1, 2))
    marked = lay_out(torch.rand(4, 5, 5, 5), layout)
    kept = [
        torch.cat([marked, marked]),
        marked[1:3],
        marked.clone(),
        marked.double(),
        marked * 2,
        copy.deepcopy(marked),
    ]
    kept += list(marked.split(2))
    for tensor in kept:
        assert isinstance(tensor, LaidOut)
        torch.testing.assert_close(feature_maps(tensor, None), tensor.as_subclass(Tensor).permute(0, 3, 1, 2))
    for tensor in (marked.permute(0, 3, 1, 2), marked.transpose(1, 3), marked.mean(0), marked.sum(), marked.flatten(1)):
        assert type(tensor) is Tensor
    assert type(lay_out(torch.rand(2, 3, 4, 5), Layout())) is Tensor


def test_gradients_pass_through_features_of_any_layout():
    built = wrapped(Planted(6, (4,), order=(2, 3, 1)), "out")
    x = images((32, 48)).requires_grad_(True)
    (found,) = torch.autograd.grad(feature_maps(built(x)["out"], 2).square().sum(), x)
    maps = built.network.maps((x - built.mean) / built.std)
    (expected,) = torch.autograd.grad(F.adaptive_avg_pool2d(maps, 2).square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_encoders_of_earlier_versions_are_read_as_they_were_fitted():
    """Their description says nothing of the layout: channels last stay unmarked, and tokens are a square or a row."""
    from encoders.backbones.build import backbone_from_config

    built = backbone("torchvision:convnext_tiny", ["features.1.0.block.2"], weights="random")
    config = built.config()
    assert config.pop("reading") == 2
    earlier = backbone_from_config(config)
    x = images((32, 48))
    assert type(earlier(x)["features.1.0.block.2"]) is Tensor
    assert earlier.config() == config
    found = built(x)["features.1.0.block.2"]
    assert isinstance(found, LaidOut)
    assert feature_maps(found, None).shape == (2, 96, 8, 12)
