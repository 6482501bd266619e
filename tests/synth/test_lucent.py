"""lucent's parameterisations and objectives here, our encoders there. `make test` installs lucent; without it only the last tests run."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synth import ascend, cautious, exact_statistics, fourier, one_hot, pixels, stretch
from synth.lucent import LucentModel, activations, from_lucent, render

needs_lucent = pytest.mark.skipif(importlib.util.find_spec("lucent") is None, reason="lucent is not installed")
SHAPE = (3, 28, 28)


@pytest.fixture(autouse=True)
def numpy_is_left_alone() -> object:
    """lucent draws its transforms from numpy's global generator; nothing of it may be seen outside."""
    before = np.random.get_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@pytest.fixture
def param():
    return pytest.importorskip("lucent.optvis.param")


@pytest.fixture
def losses():
    return pytest.importorskip("lucent.optvis.objectives")


class Network(nn.Module):
    """A small convolutional network with named layers."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            self.features = nn.Sequential(nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3))
            self.head = nn.Linear(8, 4)
        generator = torch.Generator().manual_seed(3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(2 * images - 1).mean((2, 3)))


# --- a. lucent's parameterisations, our loop --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fft", "pixel", "grey", "cppn"])
def test_their_images_raise_our_objective(kind: str, param, encoder, make_encoder) -> None:
    make = {
        "fft": lambda: param.image(28),
        "pixel": lambda: param.image(28, fft=False),
        "grey": lambda: param.image(28, channels=1),
        "cppn": lambda: param.cppn(28, num_layers=4),
    }[kind]
    shape = (1, 28, 28) if kind == "grey" else SHAPE
    encoder = make_encoder(channels=shape[0])
    objective = stretch(encoder.site_ids[:2]) | one_hot(encoder.site_ids[2])
    batch = ascend(encoder, objective, from_lucent(make, shape), transforms=(), steps=20, check_every=20)
    assert (batch.trace[:, -1] > batch.trace[:, 0] + 0.5).all(), batch.trace
    assert batch.settings["parameterisation"]["name"] == "lucent"


def test_their_images_under_an_exact_display(param, encoder) -> None:
    display = exact_statistics(SHAPE, mean=0.45, rms=0.12)
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), from_lucent(lambda: param.image(28), SHAPE), constraints=[display], steps=10)  # fmt: skip
    assert (batch.scores > batch.trace[:, 0]).all()
    assert not any(display.violations(torch.from_numpy(batch.images)))


def test_their_noise_belongs_to_the_image(param, make_generators) -> None:
    made = from_lucent(lambda: param.image(16), (3, 16, 16))
    together = made(make_generators(3))()
    for i in range(3):
        assert torch.equal(made(make_generators(3)[i : i + 1])(), together[i : i + 1])
    assert not torch.equal(together[0], together[1])


def test_a_start_is_approached(param, make_generators, make_photo) -> None:
    photo = make_photo((2, 3, 24, 24)).clamp(0.05, 0.95)
    y, x = torch.linspace(-1, 1, 24)[:, None], torch.linspace(-1, 1, 24)
    blob = (0.2 + 0.6 * torch.exp(-4 * (x**2 + y**2))).expand(2, 3, 24, 24)
    made = {"fft": lambda: param.image(24), "cppn": lambda: param.cppn(24, num_layers=4)}
    for kind, start in (("fft", photo), ("cppn", blob)):
        images = from_lucent(made[kind], (3, 24, 24), fit_steps=100)(make_generators(2), start)().detach()
        for image, wanted in zip(images, start, strict=True):
            r = torch.corrcoef(torch.stack([image.flatten(), wanted.flatten()]))[0, 1]
            assert r > 0.95, (kind, r)


@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
@pytest.mark.parametrize("channels", [1, 3])
def test_our_spectrum_is_theirs(size: tuple[int, int], channels: int, param, make_generators) -> None:
    """lucent's image is the sigmoid of ours, less its mean, for the same coefficients in the units of each."""
    height, width = size
    with torch.random.fork_rng():
        variables, image_f = param.image(width, height, sd=0.7, channels=None if channels == 3 else 1)
    ours = fourier((channels, height, width), decay=1.0)(make_generators(1))
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    scale = 1 / (fy**2 + fx**2).sqrt().clamp(min=1 / max(height, width))
    with torch.no_grad():
        ours.coefficients.copy_(variables[0] * (scale / 4)[..., None] / ours.amplitude)
        assert (torch.sigmoid(ours() - 0.5) - image_f()).abs().max() < 5e-7


def test_batches_of_theirs_and_other_sizes_are_refused(param, make_generators) -> None:
    for make in (lambda: param.image(16, batch=2), lambda: param.image(24), lambda: param.image(16, channels=1)):
        with pytest.raises(ValueError, match=r"param_f gives images of shape .*; expected \(3, 16, 16\)"):
            from_lucent(make, (3, 16, 16))(make_generators(2))


# --- b. lucent's objectives, our loop ----------------------------------------------------------------------------------------


def test_their_objectives_give_minus_the_loss_of_each_image_alone(losses, make_photo) -> None:
    network, images = Network(), make_photo((3, *SHAPE))
    vector = torch.linspace(-1, 1, 8)
    made = {
        "channel": losses.channel("features_2", 5),
        "neuron": losses.neuron("features_2", 1),
        "text": "features_1:2",
        "direction": losses.direction("features_2", vector),
        "sum": 2 * losses.channel("features_0", 0) - losses.channel("labels", 3),
        "blur": losses.blur_input_each_step(),
    }
    responses = activations(network, made)(images)
    deep = network.features(2 * images - 1)
    early = network.features[0](2 * images - 1)
    assert torch.allclose(responses[:, 0], deep[:, 5].mean((1, 2)))
    assert torch.allclose(responses[:, 1], deep[:, 1, deep.shape[2] // 2, deep.shape[3] // 2])
    assert torch.allclose(responses[:, 2], early.relu()[:, 2].mean((1, 2)))
    cosine = torch.cosine_similarity(vector[None, :, None, None], deep, 1).mean((1, 2))
    assert torch.allclose(responses[:, 3], cosine, atol=1e-6)
    assert torch.allclose(responses[:, 4], 2 * early[:, 0].mean((1, 2)) - network(images)[:, 3], atol=1e-6)
    assert responses.shape == (3, 6)
    assert (responses[:, 5] > 0).all()


def test_an_activation_in_place_does_not_change_what_is_read(make_photo) -> None:
    with torch.random.fork_rng():
        convolution = nn.Conv2d(3, 4, 3)
    images = make_photo((2, 3, 28, 28))
    read = {"low": lambda layer: layer("0")[:, 1].mean()}
    answers = [
        activations(nn.Sequential(convolution, nn.ReLU(inplace=each)).eval(), read)(images) for each in (True, False)
    ]
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0][:, 0], -convolution(images)[:, 1].mean((1, 2)))


def test_their_objective_rises_in_our_loop(losses) -> None:
    network = Network()
    sites = activations(network, {"edges": losses.channel("features_2", 5), "spots": "features_2:1"})
    batch = ascend(sites, stretch(["edges", "spots"]), fourier(SHAPE), steps=20, check_every=20)
    assert (batch.trace[:, -1] > batch.trace[:, 0] + 0.1).all()
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
    deep = network.features(2 * images - 1).mean((2, 3))
    assert np.allclose(batch.predicted[:, 0], deep[:, 5].detach(), atol=1e-5)
    assert not any(module._forward_hooks for module in network.modules())
    assert all(p.grad is None for p in network.parameters())


def test_objectives_that_compare_images_are_refused(losses, make_photo) -> None:
    images = make_photo((2, *SHAPE))
    for loss in (
        losses.diversity("features_2"),
        losses.alignment("features_2"),
        losses.channel("features_2", 0, batch=1),
    ):
        with pytest.raises(ValueError, match=r"the objective of 'site' gives .*compares the images"):
            activations(Network(), {"site": loss})(images)
    with pytest.raises(ValueError, match=r"unknown layer 'features.2'; expected one of features_0"):
        activations(Network(), {"site": losses.channel("features.2", 0)})(images)
    with pytest.raises(ValueError, match="no objectives"):
        activations(Network(), {})


def test_hooks_go_when_the_network_fails(losses) -> None:
    network = Network()
    with pytest.raises(RuntimeError):
        activations(network, {"site": losses.channel("features_2", 0)})(torch.zeros(1, 2, 28, 28))
    assert not any(module._forward_hooks for module in network.modules())


# --- c. our encoder, lucent's loop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [1, 3])
def test_render_vis_raises_our_encoder(members: int, param, make_encoder) -> None:
    encoder = make_encoder(members=members).requires_grad_(True)
    transform = pytest.importorskip("lucent.optvis.transform")
    shifts = [transform.pad(2, mode="constant", constant_value=0.5), transform.jitter(3)]
    make = lambda: param.image(28)  # noqa: E731
    site = encoder.site_ids[1]
    answer = lambda x: encoder(x).reshape(members, len(x), -1).mean(0)[:, 1]  # noqa: E731
    before = render(encoder, site, make, steps=1)
    after = render(encoder, site, make, transforms=shifts, steps=20)
    assert after.shape == (1, *SHAPE)
    assert 0 <= after.min() <= after.max() <= 1
    assert (answer(after) > answer(before) + 2 * encoder.natural_sd[1]).all()
    assert torch.equal(after, render(encoder, site, make, transforms=shifts, steps=20))
    assert not any(module._forward_hooks for module in encoder.modules())
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


def test_their_objectives_read_our_sites(param, losses, encoder) -> None:
    both = losses.neuron("responses", 0) - 0.5 * losses.channel("responses", 2)
    score = lambda x: encoder(x)[0, 0] - 0.5 * encoder(x)[0, 2]  # noqa: E731
    first, last = (render(encoder, both, lambda: param.image(28), steps=n) for n in (1, 20))
    assert score(last) > score(first) + 0.05


def test_a_column_without_a_name(param) -> None:
    dark = lambda images: -images.mean((2, 3))  # noqa: E731
    assert render(dark, 0, lambda: param.image(12), steps=20).mean() < 0.49


def test_their_defaults_are_told_apart(encoder, make_photo) -> None:
    normalised = (make_photo((1, *SHAPE)) - 0.45) / 0.22
    with pytest.raises(ValueError, match=r"images range from .*preprocess=False"):
        LucentModel(encoder)(normalised)
    with pytest.raises(ValueError, match="unknown site 'v4_9'"):
        LucentModel(encoder).channel("v4_9")
    assert LucentModel(encoder).channel("v4_002") == "responses:2"


# --- without lucent -----------------------------------------------------------------------------------------------------------


def test_without_lucent_the_way_out_is_told(encoder, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "lucent"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lucent", None)
    commands = r"pip install tqdm decorator ipython kornia\npip install --no-deps torch-lucent==0\.1\.8"
    with pytest.raises(ImportError, match=commands):
        render(encoder, 0, lambda: None)
    with pytest.raises(ImportError, match=commands):
        activations(Network(), {"site": "features_2:1"})


def test_what_needs_no_lucent_works_without_it(encoder, make_generators, monkeypatch) -> None:
    """The adapters know lucent's conventions, not its classes."""
    monkeypatch.setitem(sys.modules, "lucent", None)

    def param_f():
        variables = torch.randn(1, *SHAPE).requires_grad_()
        return [variables], lambda: torch.sigmoid(variables)

    sites = activations(Network(), {"site": lambda of: -of("features_2")[:, 3].mean()})
    batch = ascend(sites, cautious(stretch("site"), 0.5), from_lucent(param_f, SHAPE), steps=5, check_every=1)
    assert batch.trace[0, -1] > batch.trace[0, 0]
    assert "lucent.optvis" not in vars(sys.modules["synth.lucent"])
    assert ascend(encoder, stretch(0), pixels(SHAPE), steps=1).scores.shape == (1,)
