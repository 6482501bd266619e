"""Evolution by an encoder: what is scored is what is shown, alone as in a batch, and better than chance draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth import diverse, exact_statistics, one_hot, stretch
from synth.answers import evaluating
from synth.batches import project, quantise
from synth.evolution.evolve import Evolution, evolve, seed_of
from synth.evolution.latents import FourierCode, PriorNoise
from synth.priors import spectral

SHAPE = (1, 16, 16)
BRIEF = Evolution("cma", 8, 6)


class Filters(torch.nn.Module):
    """Three rectified filters of unit norm inside the reach of the code, and a blank one; answers carry no gradient."""

    site_ids = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        images = FourierCode(SHAPE, cutoff=4).decode(np.random.default_rng(5).standard_normal((3, 49))) - 0.5
        self.register_buffer("filters", images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            answers = (images.double() - 0.5).flatten(1).numpy() @ self.filters.double().numpy().T  # no torch at all
        return torch.from_numpy(np.maximum(answers, -1.0)).float()


@pytest.fixture(scope="module")
def latent():
    return FourierCode(SHAPE, cutoff=4)


@pytest.fixture(scope="module")
def exact():
    return [exact_statistics(SHAPE, mean=0.5, rms=0.2)]


@pytest.mark.parametrize("method", ["cma", "genetic"])
def test_the_known_optimum_is_approached_without_a_gradient_and_chance_draws_stay_behind(latent, exact, method):
    encoder, seeds = Filters().eval(), (0, 1)
    how = Evolution(method, 20, 20)
    batch = evolve(encoder, stretch(["a", "b"]), latent, how=how, constraints=exact, seeds=seeds)
    highest = 0.2 * 16  # of an image of this contrast: its filter itself
    assert len(batch) == 4
    assert batch.scores.max() <= highest * 1.02
    codes = np.random.default_rng(0).standard_normal((400, latent.size))
    drawn = (
        encoder(quantise(project(latent.decode(codes), exact), exact).permute(0, 3, 1, 2) / 255)[:, :2].max(0).values
    )
    margin = batch.scores.reshape(2, 2) - drawn.numpy()[:, None]
    assert (margin > 0).all()
    assert batch.scores.min() > 0.55 * highest


def test_every_prediction_is_the_encoders_answer_to_the_stored_pixels_which_the_display_can_show(latent, exact):
    encoder = Filters().eval()
    batch = evolve(encoder, one_hot(["a", "c"]), latent, how=BRIEF, constraints=exact, seeds=(0, 1))
    pixels = torch.from_numpy(batch.images)
    answers = evaluating(encoder, one_hot(["a", "c"]).repeat(2).bind(encoder.site_ids), pixels)
    assert np.allclose(answers.mean, batch.predicted, atol=1e-6)
    assert np.allclose(answers.scores, batch.scores, atol=1e-6)
    assert np.allclose(batch.trace.max(1), batch.scores)
    values = exact[0].statistics(pixels.permute(0, 3, 1, 2).float() / 255)
    assert np.allclose(values["rms"], 0.2, atol=1 / 255)
    assert np.allclose(values["mean"], 0.5, atol=1 / 255)
    assert batch.settings["evaluations"] == 48


def test_an_image_is_the_same_alone_in_any_batch_and_in_any_micro_batch(latent, exact):
    encoder, rows = Filters().eval(), stretch(["a", "b", "c"])
    every = evolve(encoder, rows, latent, how=BRIEF, constraints=exact, seeds=(0, 1, 2))
    alone = evolve(encoder, stretch(["b"]), latent, how=BRIEF, constraints=exact, seeds=(1,), batch_size=3)
    assert np.array_equal(every.images[4], alone.images[0])
    assert len({image.tobytes() for image in every.images}) == 9


def test_the_images_of_a_set_are_scored_together(latent):
    encoder = Filters().eval()
    rows = diverse(["a"], count=3)
    batch = evolve(encoder, rows, latent, how=BRIEF, seeds=(0, 1), batch_size=4)
    assert len(batch) == 6
    alone = evolve(encoder, rows, latent, how=BRIEF, seeds=(1,))
    assert np.array_equal(batch.images[1::2], alone.images)
    assert not np.array_equal(batch.images[1], batch.images[3])
    pixels, bound = torch.from_numpy(alone.images), rows.bind(encoder.site_ids)
    assert np.allclose(evaluating(encoder, bound, pixels).scores, alone.scores, atol=1e-6)
    same = torch.stack([pixels[0]] * 3)
    assert evaluating(encoder, bound, same).scores[0] < alone.scores[0] - 1e-3  # the others of the set count


def test_a_hybrid_starts_from_its_images_and_keeps_them_in_reach(latent, exact):
    encoder = Filters().eval()
    start = project(
        (0.5 + 0.3 * encoder.filters / encoder.filters.abs().amax(1, keepdim=True)).reshape(3, *SHAPE), exact
    )
    gentle = Evolution("cma", 8, 1, sigma=0.02)
    near = evolve(
        encoder,
        stretch(["a", "b", "c"]),
        latent,
        how=gentle,
        constraints=exact,
        start=start,
        start_ids=[["x"], ["y"], ["z"]],
    )
    assert near.start_ids == ("x", "y", "z")
    begun = (encoder(start) * torch.eye(3)).sum(0).numpy()
    assert (near.scores > 0.97 * begun).all()
    pairs = torch.stack([start[1], start[0]])[None]  # one row, an image for each of two seeds
    both = evolve(encoder, stretch(["a"]), latent, how=gentle, constraints=exact, seeds=(0, 1), start=pairs)
    assert both.scores[1] > 0.97 * begun[0] > both.scores[0] + 0.5
    with pytest.raises(ValueError, match="cannot be found"):
        evolve(encoder, stretch(["a"]), PriorNoise(spectral(SHAPE), SHAPE, steps=2), how=BRIEF, start=start[:1])


def test_a_code_whose_image_cannot_be_shown_has_no_score(latent):
    class Fussy:
        """Refuses images that are dark in one corner: about half of them."""

        def __call__(self, images):
            from synth import ConstraintError

            dark = images[:, 0, :4, :4].mean((1, 2)) < 0.5
            if bool(dark.any()):
                raise ConstraintError("dark", index=int(dark.nonzero()[0]))
            return images.clamp(0, 1)

    encoder = Filters().eval()
    batch = evolve(encoder, stretch(["a"]), latent, how=Evolution("cma", 12, 8), constraints=[Fussy()])
    assert float(batch.images[0, :4, :4].mean()) >= 127
    assert np.isfinite(batch.scores).all()

    def never(images):
        from synth import ConstraintError

        raise ConstraintError("nothing can be shown")

    with pytest.raises(ValueError, match="no image of this generation"):
        evolve(encoder, stretch(["a"]), latent, how=BRIEF, constraints=[never])


def test_a_prior_is_evolved_too_and_progress_counts_all_generations():
    told = []
    batch = evolve(
        Filters().eval(), stretch(["a", "b"]), PriorNoise(spectral(SHAPE), SHAPE, steps=3),
        how=Evolution("cma", 12, 15), progress=lambda label, done, total: told.append((label, done, total)),
    )  # fmt: skip
    assert told == [("evolve", i + 1, 30) for i in range(30)]
    assert batch.settings["latent"]["name"] == "prior"
    assert batch.trace.shape == (2, 15)
    assert (batch.trace[:, -5:].mean(1) > batch.trace[:, :5].mean(1)).all()
    assert (batch.scores > 1.2 * batch.trace[:, 0]).all()


def test_no_seed_is_shared_between_rows_or_seeds():
    seeds = {seed_of(row, seed) for row in ("stretch:a", "stretch:b", "one_hot:a") for seed in range(20)}
    assert len(seeds) == 60


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"how": Evolution(generations=0)}, "at least 1 of each"),
        ({"seeds": ()}, "at least 1 of each"),
        ({"batch_size": 0}, "at least 1 of each"),
        ({"how": Evolution("simplex")}, "expected cma or genetic"),
        ({"start": torch.zeros(1, 1, 9, 9)}, r"images of shape \(1, 9, 9\)"),
        ({"start": torch.full((1, *SHAPE), 2.0)}, r"\[0, 1\]"),
    ],
)
def test_arguments_that_cannot_serve_are_refused(latent, changes, words):
    arguments = {"how": BRIEF} | changes
    with pytest.raises(ValueError, match=words):
        evolve(Filters().eval(), stretch(["a"]), latent, **arguments)


def test_an_encoder_that_gives_nan_or_depends_on_the_batch_is_refused(latent):
    with pytest.raises(ValueError, match=r"finite|NaN"):
        evolve(lambda x: x.mean((1, 2, 3))[:, None] * torch.nan, stretch([0]), latent, how=BRIEF)
    with pytest.raises(ValueError, match="batch"):
        evolve(lambda x: (x - x.mean(0)).abs().mean((1, 2, 3))[:, None], stretch([0]), latent, how=BRIEF)
