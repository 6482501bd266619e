"""The trained prior: its network, its training images, and training that can be interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from synth.priors import natural, spectral
from synth.priors.training.dead_leaves import dead_leaves
from synth.priors.training.training import Plan, Training, clean_errors

SMALL = {"widths": [8, 16], "exponent": 1.3}
PLAN = Plan(steps=6, batch=4, crop=16, config=SMALL)


def leaves(generator: np.random.Generator) -> np.ndarray:
    return dead_leaves(generator, 16, shapes=60)


def noisy(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_untrained_it_is_the_spectral_prior() -> None:
    prior = natural(SMALL, (3, 16, 24))
    x, sigma = noisy((2, 3, 16, 24)), torch.tensor([0.3, 2.0])
    assert torch.equal(prior(x, sigma), spectral((3, 16, 24))(x, sigma))
    with pytest.raises(ValueError, match="divisible by 4"):
        natural(SMALL, (3, 18, 16))


def test_what_is_learned_is_in_units_of_the_wiener_error() -> None:
    prior = natural(SMALL, (3, 16, 16))
    prior.learned.last.bias.data += 2.0
    x, sigma = noisy((2, 3, 16, 16)), torch.tensor([0.3, 2.0])
    change = prior(x, sigma) - prior.wiener(x, sigma)
    torch.testing.assert_close(
        change, 2 * prior.wiener.error_sd(sigma).view(-1, 1, 1, 1).expand_as(change), atol=1e-5, rtol=1e-4
    )


@pytest.fixture(scope="module")
def trained() -> Training:
    training = Training(PLAN, leaves)
    losses = [training.step() for _ in range(PLAN.steps)]
    assert 0.5 < losses[0] < 2  # untrained, it errs as the Wiener estimate is expected to
    return training


def test_a_resumed_run_is_the_uninterrupted_one(trained: Training, tmp_path: Path) -> None:
    first = Training(PLAN, leaves)
    for _ in range(2):
        first.step()
    first.save(tmp_path / "run.safetensors")
    second = Training(PLAN, leaves)
    second.resume(tmp_path / "run.safetensors")
    assert second.done == 2
    for _ in range(4):
        second.step()
    for name, value in trained.average.items():
        assert torch.equal(value, second.average[name]), name
    with pytest.raises(ValueError, match="is of another plan"):
        Training(Plan(steps=7, batch=4, crop=16, config=SMALL), leaves).resume(tmp_path / "run.safetensors")
    with pytest.raises(ValueError, match="is of another plan"):  # the same settings, other images
        Training(replace(PLAN, data={"share": 0.5}), leaves).resume(tmp_path / "run.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_training_lowers_the_error_of_what_it_sees() -> None:
    """One image over and over: the network must come to know it better than a Wiener filter can."""
    one = dead_leaves(np.random.default_rng(3), 16, shapes=60)
    training = Training(Plan(steps=150, batch=4, crop=16, config=SMALL), lambda generator: one)
    for _ in range(80):
        training.step()
    errors = clean_errors(training.averaged(), torch.from_numpy(one).permute(2, 0, 1)[None].repeat(8, 1, 1, 1))
    assert errors["learned"][1.0] < 0.8 * errors["wiener"][1.0]
    assert errors["learned"][0.3] < errors["wiener"][0.3]


def test_the_exported_prior_is_the_averaged_one(trained: Training, tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    trained.export(path, {"share": 0.15})
    prior = natural(path, (3, 32, 16))
    for name, value in prior.learned.state_dict().items():
        torch.testing.assert_close(value, trained.average[name], rtol=1e-3, atol=1e-5)
    assert prior.trained["steps"] == 6
    assert prior.describe()["trained"]["share"] == 0.15
    json.dumps(prior.describe())
    x, sigma = noisy((2, 3, 32, 16)), torch.tensor([0.3, 2.0])
    torch.testing.assert_close(prior(x[1:], sigma[1:])[0], prior(x, sigma)[1])


def test_broken_files_are_told(trained: Training, tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    with pytest.raises(FileNotFoundError, match=r"scripts/train_prior\.py"):
        natural(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds no configuration"):
        natural(path)
    trained.export(path, {})
    tensors = load_file(path)
    tensors.popitem()
    save_file(tensors, path, {"prior": json.dumps({"config": SMALL})})
    with pytest.raises(ValueError, match="does not fit its own configuration"):
        natural(path)
