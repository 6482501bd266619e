"""Guided batches: what the laws of synthesis ask of every generator, and what is diffusion's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synth import ConstraintError, exact_statistics, jitter, one_hot, pattern, stretch
from synth.diffusion import STRENGTHS, coarse_to_fine, ddim, guide, methods, scheduler
from synth.diffusion.run import fitted, streams
from synth.diffusion.schedulers import CLASSES
from synth.priors import blind, spectral
from synth.recipes.bashivan2019 import QuadraticVariation
from tests.synth.helpers.checks import Cramped, rescore, to_float
from tests.synth.helpers.gaussian_prior import Linear

SHAPE = (3, 28, 28)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)
DISC = ((torch.arange(28) - 13.5) ** 2 + (torch.arange(28)[:, None] - 13.5) ** 2 < 12**2).double()
PRIOR = spectral((3, 16, 16))
METHODS = {n: getattr(methods, n)() for n in methods.__all__} | {
    "initial_noise": methods.initial_noise(3),
    "universal": methods.universal(2),
}
# In the unit of each method and of the objective at hand
STRONG = {"guided": 0.3, "guided_fast": 0.3, "initial_noise": 0.1, "egg": 2.0, "braindive": 1.0, "classifier_guidance": 1.0, "dps": 0.3, "universal": 1.0}  # fmt: skip


def objective_for(name: str, encoder: nn.Module):
    return pattern({encoder.site_ids[0]: 3.0}) if name == "dps" else stretch(encoder.site_ids[0])


@pytest.mark.parametrize("name", METHODS)
def test_the_score_rises_and_strength_0_is_the_unguided_sample(name: str, encoder) -> None:
    objective = objective_for(name, encoder)
    run = lambda strength, **more: guide(encoder, objective, PRIOR, method=METHODS[name], strength=strength, constraints=[DISPLAY], seeds=(0, 1), steps=8, **more)  # noqa: E731  # fmt: skip
    unguided = run(0, transforms=(), repeats=3)
    reference = guide(encoder, objective, PRIOR, strength=0.0, constraints=[DISPLAY], seeds=(0, 1), steps=8)
    assert np.array_equal(unguided.images, reference.images)
    guided = run(STRONG[name])
    assert (guided.scores > unguided.scores).all(), (guided.scores, unguided.scores)
    assert not any(DISPLAY.violations(torch.from_numpy(guided.images)))
    assert np.allclose(rescore(guided, encoder), guided.scores, atol=1e-5)
    assert guided.settings["strength"] == STRONG[name]
    assert guided.settings["method"]["name"] == name


@pytest.mark.parametrize("name", ["own", "ancestral", *CLASSES])
def test_scores_rise_with_strength_by_every_solver(name: str) -> None:
    encoder = Linear((3, 16, 16))
    solver = {"own": ddim(), "ancestral": ddim(1.0)}.get(name) or scheduler(name)
    run = lambda strength: guide(encoder, stretch(encoder.site_ids[:2]), PRIOR, strength=strength, solver=solver, steps=8).scores  # noqa: E731  # fmt: skip
    scores = np.stack([run(s) for s in (0, 0.1, 0.4)])
    assert (np.diff(scores, axis=0) > 0).all(), scores


def test_images_do_not_depend_on_their_batch(encoder) -> None:
    objective = stretch(encoder.site_ids[:3]) | one_hot(encoder.site_ids[:2])
    for more in ({}, {"solver": ddim(1.0), "repeats": 2}, {"method": methods.initial_noise(1)}):
        run = lambda rows, more=more, **other: guide(encoder, rows, PRIOR, constraints=[DISPLAY], steps=4, **more, **other)  # noqa: E731  # fmt: skip
        together = run(objective, seeds=(0, 1))
        shards = run(objective, seeds=(0, 1), batch_size=3)
        assert shards.settings["plan"] == [[0, 3], [3, 6], [6, 9], [9, 10]]
        np.testing.assert_allclose(together.scores, shards.scores, rtol=1e-3, atol=1e-4)
        alone = run(objective[4], seeds=(1,))
        np.testing.assert_allclose(alone.scores[0], together.scores[9], rtol=1e-3, atol=1e-4)
        assert np.abs(alone.images[0].astype(int) - together.images[9]).max() <= 1


def test_draws_are_bit_identical_in_any_batch(encoder) -> None:
    drawn: dict[str, list[int]] = {}

    def spy(images: Tensor, generators: list[torch.Generator]) -> Tensor:
        drawn[label].extend(int(torch.randint(0, 2**40, (), generator=g)) for g in generators)
        return images

    for label, rows in (("whole", stretch(encoder.site_ids[:3])), ("alone", stretch(encoder.site_ids[1]))):
        drawn[label] = []
        guide(encoder, rows, PRIOR, transforms=[spy], steps=3, solver=ddim(1.0))
    assert drawn["alone"] == drawn["whole"][1::3]
    assert len(set(drawn["whole"])) == 9


def test_each_use_has_its_own_stream() -> None:
    """What the transforms draw never shifts the noise of the sample."""
    origins = [("stretch:v4_000", 0), ("stretch:v4_000", 1)]
    seeds = {g.initial_seed() for use in ("", "transforms", "time travel") for g in streams(origins, use)}
    assert len(seeds) == 6


def test_the_same_run_twice_is_the_same(encoder) -> None:
    a, b = (guide(encoder, stretch(encoder.site_ids[:2]), PRIOR, constraints=[DISPLAY], steps=5) for _ in range(2))
    assert np.array_equal(a.images, b.images)


@pytest.mark.parametrize("members", [1, 3])
def test_score_and_prediction_belong_to_the_pixels(members: int, make_encoder) -> None:
    encoder = make_encoder(members=members)
    display = exact_statistics(SHAPE, mean=0.45, rms=0.12, aperture=DISC)
    batch = guide(encoder, stretch(encoder.site_ids[:2]), PRIOR, constraints=[display], seeds=(0, 3), steps=5)
    assert np.allclose(rescore(batch, encoder), batch.scores, atol=1e-5)
    answers = encoder(to_float(batch.images)).reshape(members, 4, -1)
    assert np.allclose(answers.mean(0), batch.predicted, atol=1e-6)
    assert not any(display.violations(torch.from_numpy(batch.images)))
    assert (batch.images[:, DISC.numpy() == 0] == 128).all()


def test_the_objective_sees_what_the_display_will_show(make_encoder) -> None:
    """Grey, resized, with the display's mean and contrast within the aperture, in every step."""
    encoder = make_encoder(channels=1)
    grey = exact_statistics((1, 40, 28), mean=0.45, rms=0.12, aperture=torch.ones(40, 28).double().triu(-9))
    seen: list[Tensor] = []

    def spy(images: Tensor, generators: list[torch.Generator]) -> Tensor:
        seen.append(images.detach())
        return images

    batch = guide(encoder, stretch(encoder.site_ids[0]), PRIOR, constraints=[grey], transforms=[spy], steps=6)
    assert batch.images.shape == (1, 40, 28, 1)
    assert len(seen) == 6
    for images in seen:
        found = grey.statistics(images)
        assert float(found["mean"]) == pytest.approx(0.45, abs=1e-4)
        assert float(found["rms"]) == pytest.approx(0.12, abs=1e-4)
    assert (seen[-1][0, 0][grey.aperture == 0] == grey.background).all()


def test_images_are_fitted_by_luminance_and_size() -> None:
    colour = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)
    torch.testing.assert_close(fitted(colour, (1, 8, 8)), (weights * colour).sum(1, keepdim=True))
    assert torch.equal(fitted(colour, (3, 8, 8)), colour)
    grey = fitted(colour[:, :1], (3, 16, 4))
    assert grey.shape == (2, 3, 16, 4)
    assert torch.equal(grey[:, 0], grey[:, 2])
    flat = torch.full((1, 1, 9, 7), 0.3)
    torch.testing.assert_close(fitted(flat, (1, 20, 20)), torch.full((1, 1, 20, 20), 0.3))


def test_time_travel_is_kept_to_its_window(encoder) -> None:
    seen: list[int] = []
    count = lambda images, generators: seen.append(1) or images  # noqa: E731
    for repeats, window, expected in ((1, (0.2, 5.0), 10), (3, (0.2, 5.0), 0), (2, (0.0, 1e9), 19)):
        seen.clear()
        guide(
            encoder, stretch(encoder.site_ids[0]), PRIOR, transforms=[count], steps=10, repeats=repeats, window=window
        )
        levels = [s for s in ddim().begin(PRIOR, 10, torch.device("cpu"), travels=False).sigmas[:-2] if 0.2 <= s <= 5]
        assert len(seen) == (expected or 10 + 2 * len(levels))


def test_noise_keeps_its_shell_its_best_iterate_and_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Linear(SHAPE)
    norms, seen = [], []

    prior = spectral((3, 16, 16))
    plain = prior.decode

    def start(module: nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
        if float(arguments[1][0]) > 30:
            norms.append(arguments[0].detach().norm())

    def decode(clean: Tensor) -> Tensor:
        seen.append(((clean.detach() + 1) / 2 - 0.5).abs().amax())
        return plain(clean)

    prior.register_forward_pre_hook(start)
    monkeypatch.setattr(prior, "decode", decode)
    batch = guide(encoder, stretch(encoder.site_ids[0]), prior, method=methods.initial_noise(12, range_penalty=1.0), strength=0.2, constraints=[DISPLAY], steps=5)  # fmt: skip
    assert len(batch.trace[0]) == len(batch.settings["check_steps"]) == 13
    assert batch.scores[0] == batch.trace[0].max() > batch.trace[0, 0]
    assert max(norms) == pytest.approx(float(min(norms)), rel=1e-4)
    loose = max(seen[1:])
    seen.clear()
    guide(encoder, stretch(encoder.site_ids[0]), prior, method=methods.initial_noise(12, range_penalty=1000.0), strength=0.2, constraints=[DISPLAY], steps=5)  # fmt: skip
    assert seen[-1] < loose


def test_noise_draws_the_same_fresh_noise_in_every_iteration() -> None:
    """At a learning rate near 0, an ancestral sampler repeats itself."""
    encoder = Linear(SHAPE)
    batch = guide(encoder, stretch(encoder.site_ids[0]), PRIOR, method=methods.initial_noise(3), strength=1e-9, solver=ddim(1.0), constraints=[DISPLAY], steps=5)  # fmt: skip
    assert np.ptp(batch.trace) < 1e-3 * abs(batch.trace[0, 0])


def test_a_blind_denoiser_is_guided_too(encoder) -> None:
    prior = blind(lambda images: torch.nn.functional.avg_pool2d(torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect"), 3, 1), (1, 16, 16))  # fmt: skip
    run = lambda strength: guide(encoder, stretch(encoder.site_ids[0]), prior, strength=strength, solver=coarse_to_fine(), constraints=[DISPLAY], steps=20).scores  # noqa: E731  # fmt: skip
    assert run(0.2) > run(0.0)
    with pytest.raises(ValueError, match="coarse_to_fine measures its own"):
        guide(
            encoder,
            stretch(encoder.site_ids[0]),
            prior,
            method="egg",
            solver=coarse_to_fine(),
            constraints=[DISPLAY],
            steps=20,
        )


def test_out_of_memory_runs_the_rest_in_halves_and_records_it(encoder) -> None:
    objective = stretch(encoder.site_ids[:5])
    roomy = guide(encoder, objective, PRIOR, steps=3, transforms=())
    cramped = guide(Cramped(encoder, 2).eval(), objective, PRIOR, steps=3, transforms=())
    assert cramped.settings["plan"] == [[0, 2], [2, 4], [4, 5]]
    np.testing.assert_allclose(cramped.scores, roomy.scores, rtol=1e-3)
    with pytest.raises(torch.OutOfMemoryError):
        guide(Cramped(encoder, 0).eval(), objective, PRIOR, steps=3)


def test_record_is_json_and_complete(encoder, tmp_path) -> None:
    batch = guide(encoder, stretch(encoder.site_ids[0]), PRIOR, strength="natural", solver=scheduler("dpm", use_karras_sigmas=True), constraints=[DISPLAY], transforms=[jitter(0.1)], repeats=2, steps=4, seeds=range(2))  # fmt: skip
    record = json.loads(json.dumps(batch.settings))
    assert record["generator"] == "guide"
    assert record["strength"] == STRENGTHS["natural"]
    assert record["prior"]["exponent"] == 1.3
    assert "no objects" in record["prior"]["knows"]
    assert record["solver"]["config"] == {"use_karras_sigmas": True}
    assert record["solver"]["class"] == "DPMSolverMultistepScheduler"
    assert record["transforms"] == [{"name": "jitter", "fraction": 0.1, "max_px": None, "background": None}]
    assert (record["repeats"], record["window"], record["steps"]) == (2, [0.2, 5.0], 4)
    assert record["shape"] == [3, 28, 28]
    assert record["plan"] == [[0, 2]]
    loaded = type(batch).load(batch.save(tmp_path / "batch.h5"))
    assert np.array_equal(loaded.images, batch.images)
    assert loaded.settings == record


def test_progress_counts_all_micro_batches(encoder) -> None:
    for method in ("guided", methods.initial_noise(3)):
        told: list[tuple[str, int, int]] = []
        guide(encoder, stretch(encoder.site_ids[:3]), PRIOR, method=method, steps=4, batch_size=2, progress=lambda *x, told=told: told.append(x))  # fmt: skip
        assert told[0] == ("guide", 2, 12)
        assert told[-1] == ("guide", 12, 12)
        assert [t[1] for t in told] == sorted(t[1] for t in told)


def test_a_gradient_that_never_arrives_is_told() -> None:
    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images[:, 0, 0, 0].detach() + 0 * images.sum((1, 2, 3)))[:, None]

    for method in ("guided", methods.initial_noise(2)):
        with pytest.raises(ValueError, match="gradient that reaches image 0"):
            guide(Detached(), stretch(0), PRIOR, method=method, steps=3)
    with pytest.raises(ValueError, match="its gradient is cut"):
        guide(lambda images: images.detach().flatten(1)[:, :1], stretch(0), PRIOR, steps=3)


def test_nan_names_the_image() -> None:
    def broken(images: Tensor) -> Tensor:
        answers = images.flatten(1)[:, :2].clone()
        if len(images) == 3:  # not one of the questions before the first step
            answers[1] = torch.nan
        return answers

    with pytest.raises(ValueError, match=r"image 1 \(stretch:column_0, seed 5\) is nan at step 0"):
        guide(broken, stretch(0), PRIOR, seeds=(4, 5, 6), steps=3)


def test_a_constraint_that_cannot_hold_names_the_image(encoder) -> None:
    prior = spectral((3, 16, 16))
    # of three images alone: before the first step the prior is asked of two and of one
    kept = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1, 1)
    prior.register_forward_hook(lambda module, arguments, clean: clean * kept if len(clean) == 3 else clean)
    with pytest.raises(ConstraintError, match=r"step 0, stretch:v4_001, seed 0: .*constant"):
        guide(encoder, stretch(encoder.site_ids[:3]), prior, constraints=[DISPLAY], steps=3)


def test_training_mode_is_refused() -> None:
    net = nn.Sequential(nn.AvgPool2d(3), nn.BatchNorm2d(3), nn.Flatten()).train()
    with pytest.raises(ValueError, match="BatchNorm2d '1' is in training mode"):
        guide(net, stretch(0), PRIOR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seeds": ()}, "no seeds"),
        ({"strength": -0.1}, "strength is -0.1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": "huge"}, "one of weak, natural, strong, optimum"),
        ({"strength": "strong", "method": "egg"}, "strength 'strong' with egg"),
        ({"method": "magic"}, "expected one of braindive, classifier_guidance"),
        ({"window": (5.0, 0.2)}, "expected \\(lowest, highest\\)"),
        ({"shape": (3, 9, 9), "constraints": [DISPLAY]}, "expected one shape"),
        ({"shape": (2, 9, 9)}, "shape \\(2, 9, 9\\)"),
        ({"repeats": 2, "solver": scheduler("heun")}, "goes on from an x that it kept"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str, encoder) -> None:
    with pytest.raises(ValueError, match=message):
        guide(encoder, stretch(encoder.site_ids[0]), PRIOR, **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_guided_sampling_on_a_gpu_agrees_with_the_cpu(encoder) -> None:
    for solver in (ddim(1.0), scheduler("dpm")):
        cpu, gpu = (guide(encoder, stretch(encoder.site_ids[:2]), PRIOR, constraints=[DISPLAY], steps=4, solver=solver, device=d).scores for d in ("cpu", "cuda"))  # fmt: skip
        np.testing.assert_allclose(gpu, cpu, atol=1e-2)


class _Broken(nn.Module):
    """A denoiser or encoder that overflows from its `good`-th call on."""

    def __init__(self, inner, good: int) -> None:
        super().__init__()
        self.inner, self.good = inner, good

    def forward(self, x: Tensor) -> Tensor:
        self.good -= 1
        return self.inner(x) if self.good >= 0 else self.inner(x) * torch.nan


def test_what_is_not_finite_is_refused_and_not_shown_black(encoder) -> None:
    objective = stretch(encoder.site_ids[0])
    broken = _Broken(encoder, 5)  # what it is asked before the first step
    broken.site_ids, broken.natural_mean, broken.natural_sd = encoder.site_ids, encoder.natural_mean, encoder.natural_sd
    with pytest.raises(ValueError, match="not finite"):
        guide(broken, objective, PRIOR, strength=0, steps=3)
    overflowing = blind(_Broken(nn.Identity(), 5 + 2), (3, 16, 16))
    with pytest.raises(ValueError, match="not finite"):
        guide(encoder, objective, overflowing, strength=0, steps=3)


def test_a_prior_in_training_mode_is_refused(encoder) -> None:
    with torch.random.fork_rng():
        denoiser = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)).train()
    prior = blind(denoiser, (3, 16, 16))
    prior.train()
    with pytest.raises(ValueError, match="prior's BatchNorm2d"):
        guide(encoder, stretch(encoder.site_ids[0]), prior, strength=0, steps=2)


def test_progress_ends_at_its_total(encoder) -> None:
    told: list[tuple[int, int]] = []
    guide(encoder, stretch(encoder.site_ids[0]), PRIOR, solver=scheduler("heun"), steps=4, progress=lambda _, done, total: told.append((done, total)))  # fmt: skip
    assert max(done for done, _ in told) == told[-1][0] == told[-1][1]


@pytest.mark.parametrize("method", ["guided", "initial_noise"])
def test_a_penalty_among_the_transforms_guides_too(method: str, encoder) -> None:
    variation = QuadraticVariation(100.0)
    run = lambda transforms: guide(encoder, stretch(encoder.site_ids[0]), PRIOR, method=METHODS[method], transforms=transforms, steps=6, shape=SHAPE)  # noqa: E731  # fmt: skip
    smooth, plain = run([variation]), run(())
    assert variation.of(to_float(smooth.images)) < variation.of(to_float(plain.images))
    assert smooth.scores == pytest.approx(rescore(smooth, encoder), abs=1e-4)


def test_a_method_is_found_by_the_name_of_an_older_record(encoder) -> None:
    run = lambda name: guide(encoder, stretch(encoder.site_ids[0]), PRIOR, method=name, steps=2, shape=SHAPE)  # noqa: E731
    assert np.array_equal(run("noise").images, run("initial_noise").images)
    assert set(methods.CATALOGUE) == set(methods.__all__)
