"""The trained prior that comes with the package: whole, as its card says, and better than what it starts from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from protocols.project.prior_photographs import photographs
from protocols.synthesis.image_statistics import image_statistics
from synth.contract import draw
from synth.diffusion.sampling import sample
from synth.diffusion.solvers import ddim
from synth.priors import natural
from synth.priors.natural import EMBEDDED, Natural
from synth.priors.training.images import TrainingImages, digest, leaf, set_apart
from synth.priors.training.training import clean_errors

CARD = Path(__file__).parents[3] / "docs" / "natural64.md"


@pytest.fixture(scope="module")
def prior() -> Natural:
    return natural()


def test_its_file_is_small_and_that_of_the_card(prior: Natural) -> None:
    data = EMBEDDED["natural64"].read_bytes()
    assert len(data) <= 8_000_000
    assert hashlib.sha256(data).hexdigest() == prior.describe()["trained"]["sha256"]
    card = CARD.read_text(encoding="utf-8")
    assert prior.trained["sha256"] in card
    assert prior.trained["command"] in card
    for title in prior.trained["pictures"].values():
        assert title.split(":")[-1].strip() in card  # the licence of every picture is in the card


def test_it_was_trained_on_the_photographs_of_the_package(prior: Natural) -> None:
    seen, held_out = set_apart(photographs()[0])
    told = prior.trained["plan"]["data"]
    assert told["photographs_sha256"] == digest(seen)
    assert told["held_out_sha256"] == digest(held_out)


def test_it_knows_unseen_images_better_than_the_wiener_filter_at_every_noise_level(prior: Natural) -> None:
    seen, held_out = set_apart(photographs()[0])
    images = TrainingImages(
        photographs=seen, held_out=held_out, leaves=np.stack([leaf(0, 0, 96, photographs=seen)]), size=64, share=0.5
    )
    clean = np.stack([images.unseen(np.random.default_rng([5, i])) for i in range(24)])
    errors = clean_errors(prior, torch.from_numpy(clean).permute(0, 3, 1, 2))
    for level, error in errors["learned"].items():
        assert error < errors["wiener"][level], level
    assert errors["learned"][0.3] < 0.8 * errors["wiener"][0.3]


def test_samples_have_edges_and_a_natural_spectrum_at_other_sizes_too(prior: Natural) -> None:
    """The card's figures are of 512 samples of 50 steps; these are few and coarse, and tell it from Gaussian noise all the same."""
    for size, count in ((64, 24), (96, 8)):
        sized = natural(shape=(3, size, size))
        streams = [torch.Generator().manual_seed(i) for i in range(count)]
        with torch.no_grad():
            made = sample(
                sized,
                ddim(1.0).begin(sized, 20, torch.device("cpu"), travels=False),
                draw(streams, sized.shape),
                generators=streams,
            )
        found = image_statistics(sized.decode(made).clamp(0, 1))
        assert found.kurtosis(4) > 4.5
        assert found.kurtosis(8) > 3.5
        assert 1.0 < found.slope() < 1.6


def test_other_channels_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"trained on images of 3 channel\(s\).*makes grey or colour"):
        natural(shape=(1, 64, 64))
