"""What encoders give, which floating-point types they take, the mode of gradients and the device: right, or refused before the first step."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synth import (  # fmt: skip
    StimulusBatch,
    ascend,
    exact_statistics,
    fourier,
    guide,
    latent,
    masked,
    parameterisations,
    pixels,
    stretch,
    transforms,
)
from synth.devices import device_named
from synth.priors import natural, spectral

SHAPE = (1, 16, 16)
PRIOR = spectral(SHAPE)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)
DOORS = ("ascend", "guide", "validate")
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Reads(nn.Module):
    """A convolution and a readout, as float32 or another type."""

    def __init__(self, dtype: torch.dtype = torch.float32, sites: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.read = (
                nn.Conv2d(1, 4, 5, 3, dtype=torch.float32),
                nn.Linear(64, sites, dtype=torch.float32),
            )
        self.to(dtype).eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(torch.tanh(4 * self.first(images)).flatten(1))


ENCODER = Reads()


@dataclass
class Output:
    responses: Tensor


class Named(nn.Module):
    """An encoder with the attributes that synthesis reads."""

    def __init__(self, inner: Callable[[Tensor], Any], **attributes: Any) -> None:
        super().__init__()
        self.inner = inner
        for name, value in attributes.items():
            setattr(self, name, value)
        self.eval()

    def forward(self, images: Tensor) -> Any:
        return self.inner(images)


def through(door: str, encoder: Any, *, shape: tuple[int, int, int] = SHAPE, objective: Any = None, **more: Any) -> StimulusBatch:  # fmt: skip
    objective = stretch([0]) if objective is None else objective
    if door == "ascend":
        return ascend(encoder, objective, pixels(shape), **{"steps": 2, **more})
    if door == "guide":
        return guide(encoder, objective, spectral(shape), **{"steps": 2, **more})
    return ascend(ENCODER, stretch([0]), pixels(SHAPE), steps=1).validate(encoder)


# what an encoder may hand over instead of (B, U) or (M, B, U), and a word of the message
WRONG: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "dict": (lambda r: {"logits": r, "loss": 0}, r"gives a dict.*'logits', 'loss'"),
    "ordered dict": (lambda r: OrderedDict(out=r), r"gives a OrderedDict.*'out'"),
    "tuple": (lambda r: (r, r), r"gives a tuple.*2 elements"),
    "list": (lambda r: [r], r"gives a list.*1 elements"),
    "dataclass": (Output, r"gives a Output.*ATTRIBUTE"),
    "numpy": (lambda r: r.detach().numpy(), r"gives a ndarray.*without \.numpy"),
    "nothing": (lambda r: None, r"gives a NoneType.*return the tensor"),
    "number": (lambda r: float(r.detach().sum()), r"gives a float"),
    "integers": (lambda r: r.round().long(), r"tensor of type torch\.int64"),
    "complex": (lambda r: torch.complex(r, r), r"tensor of type torch\.complex64"),
    "sparse": (lambda r: r.to_sparse(), r"gives a sparse tensor.*to_dense"),
    "boolean": (lambda r: r > 0, r"tensor of type torch\.bool"),
    "one number per image": (lambda r: r[:, 0], r"shape \(\d,\).*One site: responses\[:, None\]"),
    "transposed": (lambda r: r.T, r"responses of shape \(3, \d\)"),
    "maps": (lambda r: r[:, :, None, None], r"responses of shape \(\d, 3, 1, 1\)"),
    "batch first members": (lambda r: r[:, None].expand(-1, 4, -1), r"responses of shape \(\d, 4, 3\)"),
    "one mean over images": (lambda r: r.mean(0, keepdim=True), r"responses of shape \(1, 3\) for [24] images|answers otherwise"),
    "no sites": (lambda r: r[:, :0], r"responses of shape \(\d, 0\)"),
}  # fmt: skip


@QUIET
@given(kind=st.sampled_from(sorted(WRONG)), door=st.sampled_from(DOORS), module=st.booleans())
def test_outputs_of_another_type_are_refused_before_the_first_step(kind: str, door: str, module: bool) -> None:
    make, message = WRONG[kind]
    steps: list[int] = []

    def encoder(images: Tensor) -> Any:
        return make(ENCODER(images))

    progress = {} if door == "validate" else {"progress": lambda label, done, total: steps.append(done)}
    with pytest.raises(ValueError, match=message):
        through(door, Named(encoder) if module else encoder, **progress)
    assert not steps


@QUIET
@given(st.data())
def test_site_ids_and_columns_that_disagree_are_refused_before_the_first_step(data: st.DataObject) -> None:
    """Of U columns and V names, some of them twice: accepted where all V names differ and V = U, nowhere else."""
    columns = data.draw(st.integers(1, 4), label="columns")
    names = data.draw(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=5), label="names")
    encoder = Named(lambda images: images.flatten(1)[:, 5 : 5 + columns], site_ids=names)
    door = data.draw(st.sampled_from(DOORS[:2]), label="door")
    fits = len(set(names)) == len(names) == columns
    if fits:
        assert through(door, encoder).site_ids == tuple(names)
        return
    with pytest.raises(ValueError, match=r"more than once|responses per image for \d site_ids"):
        through(door, encoder)


@pytest.mark.parametrize("door", DOORS[:2])
def test_nan_at_a_site_that_is_asked_for_is_told_and_elsewhere_it_does_not_matter(door: str) -> None:
    lost = torch.tensor([False, True, False])
    encoder = Named(lambda images: ENCODER(images).masked_fill(lost, math.nan), site_ids=("a", "b", "c"))
    assert np.isnan(through(door, encoder, objective=stretch("a")).predicted[:, 1]).all()
    from synth import one_hot

    for objective in (stretch("b"), stretch("a") + stretch("b"), one_hot("a"), one_hot("a", among=["a", "b"])):
        with pytest.raises(ValueError, match=r"gives nan for b to plain images"):
            through(door, encoder, objective=objective)
    assert len(through(door, encoder, objective=one_hot("a", among=["a", "c"]))) == 1


@pytest.mark.parametrize("door", DOORS[:2])
def test_an_encoder_that_changes_its_images_or_fails_on_them_is_told(door: str) -> None:
    with pytest.raises(ValueError, match=r"changes the images it is given"):
        through(door, lambda images: ENCODER(images.sub_(0.5)))
    with pytest.raises(ValueError, match=r"it takes 1 channels.*x\.mean\(1, keepdim=True\)"):
        through(door, ENCODER, shape=(3, 16, 16))
    with pytest.raises(ValueError, match=r"fails on inputs of shape \(n, 1, 20, 20\), torch\.float32, on cpu.*mat1"):
        through(door, ENCODER, shape=(1, 20, 20))
    for wrong, message in (("v4", "a sequence of names"), (7, "a sequence of names")):
        with pytest.raises(ValueError, match=message):
            through(door, Named(ENCODER, site_ids=wrong))


STARTS: dict[str, Callable[[np.ndarray], Any]] = {
    "none": lambda values: None,
    "numpy64": lambda values: values,
    "numpy32": lambda values: values.astype(np.float32),
    "numpy fortran": np.asfortranarray,
    "float32": lambda values: torch.from_numpy(values).float(),
    "float64": torch.from_numpy,
    "float16": lambda values: torch.from_numpy(values).half(),
    "bfloat16": lambda values: torch.from_numpy(values).bfloat16(),
    "with a gradient": lambda values: torch.from_numpy(values).float().requires_grad_(),
}
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@QUIET
@given(start=st.sampled_from(sorted(STARTS)), dtype=st.sampled_from(TYPES), default=st.sampled_from(TYPES[:2]), hidden=st.booleans(), seed=st.integers(0, 50))  # fmt: skip
def test_every_start_meets_every_encoder(start: str, dtype: torch.dtype, default: torch.dtype, hidden: bool, seed: int) -> None:  # fmt: skip
    """Predictions are those of the encoder itself in its own type, whatever the types of start and default."""
    values = 0.1 + 0.8 * np.random.default_rng(seed).random((1, *SHAPE))
    with default_dtype(default):
        net = Reads(dtype)
        encoder = (lambda images: net(images)) if hidden else net
        batch = ascend(encoder, stretch([0]), pixels(SHAPE), start=STARTS[start](values), steps=2, seeds=[seed])
        validated = batch.validate(encoder)
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        expected = net(images.to(dtype)).float().numpy()
    np.testing.assert_allclose(batch.predicted, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(validated.validator_predicted, batch.predicted, rtol=1e-5, atol=1e-5)
    assert batch.settings.get("encoder_dtype", "float32") == str(dtype).removeprefix("torch.")
    assert next(net.parameters()).dtype == dtype


@settings(QUIET, max_examples=20)
@given(factory=st.sampled_from(sorted(parameterisations.CATALOGUE)), move=st.sampled_from(sorted(transforms.CATALOGUE)), door=st.sampled_from(DOORS[:2]))  # fmt: skip
def test_the_default_type_changes_no_bit(factory: str, move: str, door: str) -> None:
    def make() -> StimulusBatch:
        moves = [transforms.CATALOGUE[move]]
        if door == "guide":
            return guide(ENCODER, stretch([0, 1]), spectral(SHAPE), steps=2, constraints=[DISPLAY], transforms=moves)
        made = parameterisations.CATALOGUE[factory](SHAPE)
        return ascend(ENCODER, stretch([0, 1]), made, steps=3, constraints=[DISPLAY], transforms=moves)

    plain = make()
    with default_dtype(torch.float64):
        other = make()
    assert np.array_equal(plain.images, other.images)
    assert np.array_equal(plain.scores, other.scores)


def test_the_trained_prior_is_the_same_under_another_default_type() -> None:
    x, sigma = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([0.7])
    plain = natural(shape=(3, 32, 32))(x, sigma)
    with default_dtype(torch.float64):
        assert torch.equal(natural(shape=(3, 32, 32))(x, sigma), plain)


@pytest.mark.parametrize("start", [[[0.5]], "photo.png", np.array(["a"]), object()])
def test_starts_that_are_no_images_are_refused(start: Any) -> None:
    with pytest.raises(ValueError, match=r"start of type .*; expected a tensor or an array of images"):
        ascend(ENCODER, stretch([0]), pixels(SHAPE), start=start)


MODES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(False),
    "enable_grad": torch.enable_grad,
}


def _made(door: str, factory: str, inside: bool) -> StimulusBatch:
    """One batch; its encoder, parameterisation, constraint and prior are made where this is called."""
    encoder = Named(Reads(), natural_mean=torch.zeros(3), natural_sd=torch.full((3,), 0.5)) if inside else ENCODER
    seen = torch.full(SHAPE[1:], 1.0, dtype=torch.float64)
    display, prior = exact_statistics(SHAPE, mean=0.45, rms=0.15, aperture=seen), spectral(SHAPE)
    if door == "guide":
        return guide(encoder, stretch([0, 2]), prior, steps=2, constraints=[display])
    makers = {
        **parameterisations.CATALOGUE,
        "behind a tensor": lambda shape: masked(fourier(shape), torch.full(shape[1:], 0.5), torch.full(shape, 0.4)),
        "latent behind": lambda shape: masked(latent(shape, _flat, (256,)), torch.ones(shape[1:])),
    }
    noise = 0.1 * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    start = (0.5 + noise).clamp(0, 1) if factory in ("pixels", "fourier") else None
    return ascend(encoder, stretch([0, 2]), makers[factory](SHAPE), steps=3, constraints=[display], start=start)


def _flat(z: Tensor) -> Tensor:
    return torch.sigmoid(z).reshape(-1, *SHAPE)


@settings(QUIET, max_examples=20)
@given(mode=st.sampled_from(sorted(MODES)), door=st.sampled_from(DOORS[:2]), factory=st.sampled_from([*sorted(parameterisations.CATALOGUE), "behind a tensor", "latent behind"]))  # fmt: skip
def test_the_mode_of_gradients_around_a_door_changes_no_bit(mode: str, door: str, factory: str) -> None:
    plain = _made(door, factory, inside=False)
    with MODES[mode]():
        inside = _made(door, factory, inside=False)
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    assert (grad, inference) == (mode == "enable_grad", mode == "inference_mode")
    assert np.array_equal(plain.images, inside.images)
    assert torch.is_grad_enabled()


def test_an_encoder_made_under_inference_mode_is_told_how_to_be_copied() -> None:
    with torch.inference_mode(), pytest.raises(ValueError, match=r"made under torch\.inference_mode"):
        _made("ascend", "pixels", inside=True)


@settings(QUIET, max_examples=100)
@given(name=st.text(alphabet="acdugpmsx:0123 -", max_size=8) | st.sampled_from(["cdua", "gpu", "cuda", "cuda:7", "mps", "meta", "CPU", "cpu ", "xla", "cuda:-1"]), door=st.sampled_from(DOORS[:2]))  # fmt: skip
def test_devices_that_are_not_here_are_refused_with_those_that_are(name: str, door: str) -> None:
    """Whatever torch itself can put a tensor on, and gives back, is accepted; all else is a ValueError with a list."""
    try:
        torch.zeros(1, device=name).tolist()
    except Exception:
        with pytest.raises(ValueError, match=r"expected one of cpu"):
            through(door, ENCODER, device=name)
        return
    assume(name)
    assert device_named(name).type == torch.device(name).type
    assert len(through(door, ENCODER, device=name)) == 1


@pytest.mark.parametrize("name", [None, True, 1.5, object(), b"cpu"])
def test_what_is_no_name_of_a_device_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="expected one of cpu"):
        device_named(name)
