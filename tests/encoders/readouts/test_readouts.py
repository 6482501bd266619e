from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from encoders import LinearReadout, backbone, extract_features, readouts
from encoders.backbones.pooling import feature_maps, flatten_features
from encoders.readouts import FactorisedReadout, GaussianReadout, GradientReadout, build_readout
from encoders.readouts.factorised import read_masked

TINY = "timm:test_efficientnet"


def make(u: int = 3, p: int = 8, **changes):
    generator = torch.Generator().manual_seed(0)
    given = {
        "coef": torch.randn(u, p, generator=generator),
        "intercept": torch.randn(u, generator=generator),
        "mean": torch.randn(p, generator=generator),
        "scale": torch.tensor(2.0),
        "alpha": torch.arange(1.0, u + 1),
    } | changes
    return LinearReadout("a", given.pop("coef"), given.pop("intercept"), **given)


def test_forward_is_the_formula_on_one_layer():
    readout = make()
    maps = torch.rand(5, 2, 2, 2)
    expected = ((maps.reshape(5, 8) - readout.mean) / 2) @ readout.coef.T + readout.intercept
    torch.testing.assert_close(readout({"a": maps, "b": torch.full((5, 1), torch.nan)}), expected)


def test_penalty_by_hand():
    readout = make(2, 2, coef=torch.tensor([[1.0, 2], [0, 3]]), mean=torch.zeros(2))
    assert readout.penalty() == 1 * 5 + 2 * 9


def test_pooling_only_shrinks():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    torch.testing.assert_close(flatten_features(maps, 2), torch.tensor([[2.5, 4.5, 10.5, 12.5]]))
    torch.testing.assert_close(flatten_features(maps, 7), maps.flatten(1))
    torch.testing.assert_close(flatten_features(maps, None), maps.flatten(1))
    assert flatten_features(torch.rand(2, 3, 9, 2), 4).shape == (2, 3 * 4 * 2)
    assert flatten_features(torch.rand(2, 5, 3), 2).shape == (2, 15)
    assert flatten_features(torch.rand(2, 5), 2).shape == (2, 5)
    with pytest.raises(ValueError, match="expected"):
        flatten_features(torch.rand(5), 2)


def test_images_of_another_size_are_named():
    with pytest.raises(ValueError, match="gives 18 features per image, this readout was fitted to 8"):
        make()({"a": torch.rand(1, 2, 3, 3)})


def test_tensors_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"intercept \(2,\)"):
        make(intercept=torch.zeros(2))
    with pytest.raises(ValueError, match=r"scale \(8,\)"):
        make(scale=torch.ones(8))


def example(name: str):
    """A readout of the catalogue on layers a (4, 3, 3) and b (2, 3, 3), with weights that are not at their start."""
    if name == "PopulationReadout":
        own = {"mean": torch.rand(3), "scale": torch.rand(3) + 1, "alpha": torch.rand(3)}
        return readouts.PopulationReadout(
            example("FactorisedReadout"), example("LinearReadout"), torch.randn(3, 3), **own
        )
    if name == "MeanReadout":
        return readouts.MeanReadout([example("FactorisedReadout"), example("LinearReadout")])
    if name == "CombinedReadout":
        return readouts.CombinedReadout([example("FactorisedReadout"), example("LinearReadout")])
    if name == "LinearReadout":
        p = 4 * 9 + 2 * 9
        tensors = {
            "coef": torch.randn(3, p),
            "intercept": torch.randn(3),
            "mean": torch.randn(p),
            "scale": torch.rand(2) + 1,
        }
        coef, intercept = tensors.pop("coef"), tensors.pop("intercept")
        return LinearReadout(("a", "b"), coef, intercept, **tensors, alpha=torch.rand(3, 2), sizes=(36, 18))
    readout = getattr(readouts, name)({"a": (4, 3, 3), "b": (2, 3, 3)}, 3, seed=1)
    with torch.no_grad():
        for parameter in readout.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    return readout


@pytest.mark.parametrize("name", readouts.__all__)
def test_every_readout_keeps_the_contract(name):
    """Gradient to the features, each image on its own, scalar penalty, the same again from configuration and tensors."""
    torch.manual_seed(0)
    readout = example(name)
    maps = {
        "a": torch.rand(4, 4, 3, 3, requires_grad=True),
        "b": torch.rand(4, 2, 3, 3),
        "c": torch.full((4, 1), torch.nan),
    }
    out, sites = readout(maps), 6 if name == "CombinedReadout" else 3  # two readouts of three sites side by side
    assert out.shape == (4, sites)
    assert readout.n_sites == sites
    assert readout.layers == ("a", "b")
    (gradient,) = torch.autograd.grad(out.sum(), maps["a"])
    assert gradient.abs().sum() > 0
    torch.testing.assert_close(readout({k: v[1:2] for k, v in maps.items()}), out[1:2])
    assert readout.penalty().shape == ()
    again = build_readout(json.loads(json.dumps(readout.config())), readout.state_dict())
    torch.testing.assert_close(again(maps), out, rtol=0, atol=0)
    assert again.config() == readout.config()


@pytest.mark.parametrize("name", readouts.__all__)
def test_images_of_another_size_are_named_by_every_readout(name):
    with pytest.raises(ValueError, match="use images of the encoder's image_shape"):
        example(name)({"a": torch.rand(1, 4, 5, 5), "b": torch.rand(1, 2, 5, 5)})


@pytest.mark.parametrize("name", [n for n in readouts.__all__ if issubclass(getattr(readouts, n), GradientReadout)])
def test_sites_can_be_taken_apart_where_they_are_independent(name):
    torch.manual_seed(0)
    readout, maps = example(name), {"a": torch.rand(4, 4, 3, 3), "b": torch.rand(4, 2, 3, 3)}
    if not readout.independent:
        with pytest.raises(ValueError, match="share parameters"):
            readout.select(torch.tensor([2, 0]))
        return
    torch.testing.assert_close(readout.select(torch.tensor([2, 0]))(maps), readout(maps)[:, [2, 0]])


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="readout kind 'magic'; expected one of attention"):
        build_readout({"kind": "magic"}, {})


def test_factorised_is_mask_times_features_by_hand():
    torch.manual_seed(0)
    readout = FactorisedReadout({"a": (4, 3, 5)}, 2, mask=0.1, weight=0.2, smoothness=0.4)
    with torch.no_grad():
        readout.masks[0].normal_(), readout.weights[0].normal_(), readout.bias.normal_()
    maps = torch.randn(6, 4, 3, 5)
    by_hand = torch.einsum("nchw,uhw,uc->nu", maps, readout.masks[0], readout.weights[0]) + readout.bias
    torch.testing.assert_close(readout({"a": maps}), by_hand)
    masks, weights = readout.gauge()
    torch.testing.assert_close(torch.einsum("nchw,uhw,uc->nu", maps, masks[0], weights[0]) + readout.bias, by_hand)
    assert torch.all(masks[0].sum((1, 2)) > 0)
    torch.testing.assert_close(masks[0].flatten(1).norm(dim=1), torch.ones(2))
    m = readout.masks[0].detach()
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    rough = torch.tensor([(convolve(one.numpy(), kernel, mode="constant") ** 2).sum() for one in m])
    a = readout.weights[0].detach().square().sum(1)
    expected = 0.1 * m.abs().sum((1, 2)) + 0.2 * a + 0.4 * rough
    torch.testing.assert_close(readout.site_penalties(), expected)
    released = FactorisedReadout({"a": (4, 3, 5)}, 2, regulariser="bashivan", mask=0.05, weight=0.1)
    released.load_state_dict(readout.state_dict())
    expected = 0.05 * (m.square().sum((1, 2)) + rough.sqrt()) + 0.1 * a
    torch.testing.assert_close(released.site_penalties(), expected, rtol=1e-5, atol=1e-6)
    klindt = FactorisedReadout({"a": (4, 3, 5)}, 2, regulariser="klindt", weight=0.3)
    klindt.load_state_dict(readout.state_dict())
    expected = 0.3 * m.abs().sum((1, 2)) * readout.weights[0].detach().abs().sum(1)
    torch.testing.assert_close(klindt.site_penalties(), expected)


def test_gaussian_reads_bilinearly_at_its_position():
    readout = GaussianReadout({"a": (1, 3, 3)}, 2)
    maps = torch.arange(9.0).view(1, 1, 3, 3)
    with torch.no_grad():
        readout.weights[0].fill_(1.0)
        readout.position.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.5]]))  # x right, y down
    torch.testing.assert_close(readout({"a": maps}), torch.tensor([[2.0, 5.5]]))


def test_semantic_transformer_starts_as_a_factorised_readout():
    torch.manual_seed(0)
    moved, plain = readouts.SemanticTransformerReadout({"a": (4, 5, 5)}, 2), FactorisedReadout({"a": (4, 5, 5)}, 2)
    maps = {"a": torch.randn(3, 4, 5, 5)}
    torch.testing.assert_close(moved(maps), plain(maps))


def test_attention_without_queries_is_a_mean_and_with_a_large_one_a_choice():
    readout = readouts.AttentionReadout({"a": (2, 2, 2)}, 1)
    maps = torch.tensor([[[[5.0, 0], [0, 0]], [[0, 1], [2, 3]]]])
    with torch.no_grad():
        readout.weights[0].copy_(torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(readout({"a": maps}), torch.tensor([[1.5]]))
    with torch.no_grad():
        readout.queries[0].copy_(torch.tensor([[0.0, 50.0]]))
    torch.testing.assert_close(readout({"a": maps}), torch.tensor([[3.0]]))


@pytest.mark.parametrize(("output", "at_zero"), [("identity", 3.0), ("softplus", 3.0), ("elu1", 3.0)])
def test_outputs_start_at_the_mean_response_and_rates_stay_positive(output, at_zero):
    readout = FactorisedReadout({"a": (1, 1, 1)}, 1, output=output)
    readout.calibrate_responses(torch.tensor([3.0]), torch.tensor([2.0]))
    assert abs(float(readout.finish(readout.bias.detach()[None])) - at_zero) < 1e-5
    low = float(readout.finish(torch.tensor([[-9.0]])))
    assert low == -15 if output == "identity" else 0 <= low < 0.01


def test_tokens_become_maps_without_the_class_token():
    tokens = torch.arange(10.0).view(1, 5, 2)
    torch.testing.assert_close(feature_maps(tokens, None)[0, 0], torch.tensor([[2.0, 4], [6, 8]]))
    torch.testing.assert_close(feature_maps(tokens[:, 1:], None), feature_maps(tokens, None))
    with pytest.raises(ValueError, match="7 tokens form no square map"):
        feature_maps(torch.rand(2, 7, 3), 2)
    assert feature_maps(torch.rand(2, 3), None).shape == (2, 3, 1, 1)
    with pytest.raises(ValueError, match="expected"):
        feature_maps(torch.rand(4), None)


def test_coordinates_that_are_missing_are_named():
    with pytest.raises(ValueError, match="a site without x_um"):
        readouts.TopographicReadout({"a": (2, 3, 3)}, 2, coordinates=[[0.0, 1.0], [float("nan"), 0.0]])


def test_extracted_features_equal_single_images_in_any_batch():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    network = backbone(TINY, ["blocks.0.0", "blocks.1.0"], weights="random")
    calls = []
    found = extract_features(network, pixels, batch_size=3, progress=lambda *call: calls.append(call))
    pooled = extract_features(network, pixels, batch_size=7, pool=4)
    assert calls == [("features", 3, 7), ("features", 6, 7), ("features", 7, 7)]
    for layer, maps in found.items():
        alone = torch.cat([extract_features(network, pixels[i : i + 1])[layer] for i in range(7)])
        torch.testing.assert_close(maps, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(pooled[layer], flatten_features(maps, 4), atol=1e-5, rtol=1e-5)
        assert not maps.requires_grad
    with pytest.raises(ValueError, match="no images"):
        extract_features(network, pixels[:0])


@pytest.mark.parametrize("images", [2, 20])
def test_both_orders_of_the_factorised_product_agree(images):
    """Fewer images than positions, and more: the same numbers and gradients."""
    generator = torch.Generator().manual_seed(0)
    maps, masks, weights = (torch.randn(s, generator=generator) for s in ((images, 3, 2, 4), (5, 2, 4), (5, 3)))
    maps.requires_grad_(), masks.requires_grad_(), weights.requires_grad_()
    expected = torch.einsum("nchw,uhw,uc->nu", maps, masks, weights)
    found = read_masked(maps, masks, weights)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    pull = torch.randn(images, 5, generator=generator)
    ours = torch.autograd.grad((found * pull).sum(), [maps, masks, weights])
    theirs = torch.autograd.grad((expected * pull).sum(), [maps, masks, weights])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", [n for n in readouts.__all__ if issubclass(getattr(readouts, n), GradientReadout)])
def test_prediction_is_the_linear_response_to_standardised_maps(name):
    torch.manual_seed(0)
    readout = example(name)
    maps = {"a": 3 + 2 * torch.rand(5, 4, 3, 3), "b": torch.rand(5, 2, 3, 3)}
    readout.calibrate_features(maps)
    readout.calibrate_responses(torch.tensor([1.0, 2, 3]), torch.tensor([0.5, 1, 2]))
    by_hand = [(m - m.mean((0, 2, 3), keepdim=True)) / m.std((0, 2, 3), keepdim=True) for m in maps.values()]
    for found, expected in zip(readout.standardised(maps), by_hand, strict=True):
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    expected = readout.finish(readout.respond(readout.standardised(maps)))
    torch.testing.assert_close(readout(maps), expected, atol=1e-4, rtol=1e-4)


def test_combined_readouts_are_side_by_side_or_their_mean():
    parts, maps = (
        [example("FactorisedReadout"), example("LinearReadout")],
        {"a": torch.rand(2, 4, 3, 3), "b": torch.rand(2, 2, 3, 3)},
    )
    answers = [part(maps) for part in parts]
    side = readouts.CombinedReadout(parts)
    assert side.n_sites == 6
    torch.testing.assert_close(side(maps), torch.cat(answers, 1))
    torch.testing.assert_close(readouts.MeanReadout(parts)(maps), sum(answers) / 2)
    with pytest.raises(ValueError, match="readouts of 3, 6 sites"):
        readouts.MeanReadout([parts[0], side])
    with pytest.raises(ValueError, match="build_readout"):
        readouts.CombinedReadout.restore(side.config(), side.state_dict())
