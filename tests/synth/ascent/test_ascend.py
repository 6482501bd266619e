"""Gradient ascent: its laws, its records, its refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synth import (  # fmt: skip
    ConstraintError,
    StimulusBatch,
    affine,
    ascend,
    cautious,
    exact_statistics,
    fourier,
    jitter,
    one_hot,
    parameterisations,
    pixels,
    stretch,
)
from synth.ascent.checks import starts_of
from synth.batches import generator_for
from synth.objectives import CATALOGUE
from synth.rules import Rule, sgd
from tests.synth.helpers.checks import Cramped, rescore, to_float

SHAPE = (3, 28, 28)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)
FACTORIES = {name: make(SHAPE) for name, make in parameterisations.CATALOGUE.items()}


def test_a_step_climbs_the_mean_over_draws(encoder, make_photo) -> None:
    """One step of plain gradient ascent on pixels is the rate times the mean of the gradients of both draws."""
    shifts: list[int] = []

    def rolled(images: Tensor, generators) -> Tensor:
        shifts.append(int(torch.randint(1, 9, (), generator=generators[0])))
        return images.roll(shifts[-1], 3)

    start = 0.1 + 0.8 * make_photo((1, *SHAPE))
    rule = Rule(optimiser=sgd())
    batch = ascend(encoder, stretch(encoder.site_ids[:1]), pixels(SHAPE), transforms=[rolled], draws=3, rule=rule, steps=1,
                   learning_rate=0.3, check_every=1, start=start)  # fmt: skip
    assert len(shifts) == 3
    gradients = []
    for shift in shifts:
        image = start.clone().requires_grad_()
        z = (encoder(image.roll(shift, 3))[:, 0] - encoder.natural_mean[0]) / encoder.natural_sd[0]
        gradients.append(torch.autograd.grad(z.sum(), image)[0])
    moved = (start + 0.3 * torch.stack(gradients).mean(0)).clamp(0, 1)
    with torch.no_grad():
        expected = encoder(moved)[0].numpy()
    assert batch.trace[0, 1] > batch.trace[0, 0]
    np.testing.assert_allclose(batch.unrounded_predicted[0], expected, atol=1e-5)
    assert batch.settings["draws"] == 3


def test_draws_do_not_mix_images_and_are_at_least_one(encoder) -> None:
    settings = {"constraints": [DISPLAY], "transforms": [jitter(0.1)], "draws": 2, "steps": 4, "check_every": 4}
    objective = stretch(encoder.site_ids[:3])
    together = ascend(encoder, objective, fourier(SHAPE), **settings)
    alone = ascend(encoder, objective[1:2], fourier(SHAPE), **settings)
    np.testing.assert_allclose(alone.scores, together.scores[1:2], atol=1e-4)
    with pytest.raises(ValueError, match="draws is 0"):
        ascend(encoder, objective, fourier(SHAPE), **{**settings, "draws": 0})


@pytest.mark.parametrize("members", [1, 3])
def test_the_prediction_before_rounding_is_that_of_the_projected_image(members: int, make_encoder, tmp_path) -> None:
    encoder = make_encoder(members=members)
    seen: list[Tensor] = []

    def watched(images: Tensor) -> Tensor:
        seen.append(DISPLAY(images))
        return seen[-1]

    objective = stretch(encoder.site_ids[:3])
    batch = ascend(encoder, objective, fourier(SHAPE), constraints=[watched], steps=12, check_every=12, snapshots=(4,))
    assert (
        batch.trace[:, 1] > batch.trace[:, 0]
    ).all()  # so the last iterate, the last that was projected, is the one kept
    with torch.no_grad():
        exact = encoder(seen[-1]).reshape(members, 3, -1).mean(0).numpy()
    np.testing.assert_allclose(batch.unrounded_predicted, exact, atol=1e-6)
    cost = np.abs(batch.predicted - batch.unrounded_predicted)
    assert 0 < cost.max() < 0.1 * np.abs(batch.predicted).max()  # rounding costs something, and little
    loaded = StimulusBatch.load(batch.save(tmp_path / "batch.h5"))
    np.testing.assert_array_equal(loaded.unrounded_predicted, batch.unrounded_predicted)
    assert batch.graded is not None
    assert batch.graded.unrounded_predicted is None


@pytest.mark.parametrize("kind", CATALOGUE)
@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("begin", ["noise", "photo"])
def test_every_objective_rises_in_five_steps(kind: str, name: str, begin: str, encoder, make_photo) -> None:
    sites = encoder.site_ids[:3]
    objective = CATALOGUE[kind](sites[:2], sites[2]) if kind == "groups" else CATALOGUE[kind](sites)
    if kind == "within":  # a condition, met by most images: it rises together with what it limits
        objective = 0.1 * stretch(encoder.site_ids[:3]) + objective
    start = make_photo((len(objective), *SHAPE)) if begin == "photo" else None
    batch = ascend(encoder, objective, FACTORIES[name], constraints=[DISPLAY], transforms=(), steps=5, check_every=1, start=start)  # fmt: skip
    # a step may leave the limits again; the image that is kept has not
    reached = batch.scores if kind == "within" else batch.trace[:, 5]
    assert (reached > batch.trace[:, 0]).all(), batch.trace


@pytest.mark.parametrize("members", [1, 3])
def test_score_and_prediction_belong_to_the_pixels(members: int, make_encoder) -> None:
    encoder = make_encoder(members=members)
    objective = cautious(stretch(encoder.site_ids[:2]) | one_hot(encoder.site_ids[2]), 0.5)
    batch = ascend(encoder, objective, fourier(SHAPE), constraints=[DISPLAY], seeds=(0, 3), steps=23, check_every=5)
    assert np.allclose(rescore(batch, encoder), batch.scores, atol=1e-5)
    answers = encoder(to_float(batch.images)).reshape(members, 6, -1)
    assert np.allclose(answers.mean(0), batch.predicted, atol=1e-6)
    assert (
        np.isnan(batch.predicted_sd).all()
        if members == 1
        else np.allclose(answers.std(0), batch.predicted_sd, atol=1e-6)
    )
    assert np.allclose(batch.trace.max(1), batch.scores)
    assert batch.settings["check_steps"] == [0, 5, 10, 15, 20, 23]
    assert not any(DISPLAY.violations(torch.from_numpy(batch.images)))


def test_best_iterate_is_kept_though_later_ones_are_worse(encoder) -> None:
    batch = ascend(encoder, stretch(encoder.site_ids), pixels(SHAPE), constraints=[DISPLAY], transforms=[jitter(0.2)], steps=60, learning_rate=2.0, check_every=3)  # fmt: skip
    assert (batch.trace[:, -1] < batch.scores).any()
    assert np.allclose(rescore(batch, encoder), batch.scores, atol=1e-5)


def test_order_is_row_major(encoder) -> None:
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), pixels(SHAPE), seeds=(4, 7), steps=1)
    assert batch.row_names == ("stretch:v4_000",) * 2 + ("stretch:v4_001",) * 2
    assert batch.seeds.tolist() == [4, 7, 4, 7]
    assert not np.array_equal(batch.images[0], batch.images[1])


def test_images_do_not_depend_on_their_batch(encoder, make_photo) -> None:
    """Alone, in a batch, in other micro-batches: the same noise and the same draws; scores agree after one step."""
    objective = stretch(encoder.site_ids[:3]) | one_hot(encoder.site_ids[:2])
    moves = [jitter(0.1), affine(0.05, 5, 0.02)]
    for start in (None, make_photo((5, *SHAPE))):
        run = lambda rows, begin, **more: ascend(encoder, rows, fourier(SHAPE), constraints=[DISPLAY], transforms=moves, steps=1, check_every=1, start=begin, **more)  # noqa: E731  # fmt: skip
        together = run(objective, start, seeds=(0, 1))
        shards = run(objective, start, seeds=(0, 1), batch_size=3)
        assert shards.settings["plan"] == [[0, 3], [3, 6], [6, 9], [9, 10]]
        assert np.abs(together.trace - shards.trace).max() < 1e-5
        for i in range(len(objective)):
            alone = run(objective[i], None if start is None else start[i : i + 1], seeds=(1,))
            assert np.abs(alone.trace - together.trace[2 * i + 1]).max() < 1e-5


def test_draws_are_bit_identical_in_any_batch(encoder) -> None:
    drawn: dict[str, list[int]] = {}

    def spy(images: Tensor, generators: list[torch.Generator]) -> Tensor:
        for g in generators:
            drawn[label].append(int(torch.randint(0, 2**40, (), generator=g)))
        return images

    for label, rows in (("whole", stretch(encoder.site_ids[:3])), ("alone", stretch(encoder.site_ids[1]))):
        drawn[label] = []
        ascend(encoder, rows, fourier(SHAPE), transforms=[spy], steps=2)
    assert drawn["alone"] == drawn["whole"][1::3]
    assert len(set(drawn["whole"])) == 6


def test_generators_are_fixed_for_ever() -> None:
    assert generator_for("stretch:v4_012", 0).initial_seed() == 9021793004626195994
    assert len({generator_for(name, seed).initial_seed() for name in ("a", "b") for seed in (0, 1)}) == 4


def test_the_same_run_twice_is_the_same(encoder) -> None:
    run = lambda: ascend(encoder, stretch(encoder.site_ids[:2]), fourier(SHAPE), constraints=[DISPLAY], steps=12)  # noqa: E731
    a, b = run(), run()
    assert np.array_equal(a.images, b.images)
    assert np.array_equal(a.scores, b.scores)


class Linear(nn.Module):
    """One weight image a site."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weights.flatten(1).T


@pytest.mark.parametrize("name", [name for name, factory in FACTORIES.items() if factory.exact_start])
def test_optimum_of_a_linear_encoder_is_its_weights(name: str) -> None:
    """Under fixed mean and contrast, with range to spare, the best image is the centred weight image itself."""
    shape = (1, 24, 24)
    weights = torch.nn.functional.avg_pool2d(
        torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)), 9, 1
    )
    weights = weights - weights.mean((2, 3), keepdim=True)
    display = exact_statistics(shape, mean=0.5, rms=0.08)
    batch = ascend(Linear(weights), stretch([0, 1]), parameterisations.CATALOGUE[name](shape), constraints=[display], transforms=(), steps=300)  # fmt: skip
    found = to_float(batch.images).flatten(1)
    cosine = torch.nn.functional.cosine_similarity(found - found.mean(1, keepdim=True), weights.flatten(1))
    assert (cosine > 0.99).all(), cosine


def test_patience_stops_each_image_by_itself(encoder) -> None:
    class Fading(nn.Module):
        """Site 0 rises for ever, site 1 is best at the start."""

        def forward(self, images: Tensor) -> Tensor:
            level = images.mean((1, 2, 3))
            return torch.stack([level, -(level - 0.5).abs() + 1e-3 * images[:, 0, 0, 0]], 1)

    batch = ascend(Fading(), stretch([0, 1]), pixels(SHAPE, noise=0.0), steps=40, check_every=2, learning_rate=0.002, patience=3)  # fmt: skip
    stopped = np.isnan(batch.trace)
    assert not stopped[0].any()
    assert stopped[1].any()
    first = int(stopped[1].argmax())
    assert batch.trace[1, :first].argmax() == first - 4  # three checks in vain after the best
    assert batch.scores[1] == np.nanmax(batch.trace[1])


def test_everybody_stopping_ends_the_run() -> None:
    calls: list[int] = []

    def flat(images: Tensor) -> Tensor:
        calls.append(1)
        return 1e-9 * images.flatten(1)[:, :1]

    ascend(flat, stretch(0), pixels(SHAPE), steps=100, check_every=1, learning_rate=1e-9, patience=2)
    assert len(calls) < 20


def test_start_image_is_the_first_check(encoder, make_photo) -> None:
    start = (make_photo((2, *SHAPE)) * 255).round() / 255
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), fourier(SHAPE), steps=1, start=start, seeds=(0, 1), learning_rate=1e-9)  # fmt: skip
    assert np.array_equal(batch.images, (start.permute(0, 2, 3, 1) * 255).round().byte().numpy().repeat(2, 0))
    assert "sha256" in batch.settings["start"]


def test_plain_callable_uses_columns() -> None:
    def encoder(images: Tensor) -> Tensor:
        return torch.stack([images[:, 0].mean((1, 2)), images[:, 0, 0, 0]], 1)

    batch = ascend(encoder, stretch([1]), pixels((1, 8, 8)), steps=5, transforms=())
    assert batch.site_ids == ("column_0", "column_1")
    assert batch.targets == ("column_1",)
    assert batch.scores[0] == pytest.approx(batch.images[0, 0, 0, 0] / 255)
    assert batch.encoder_fingerprint == ""


def test_no_constraint_still_keeps_the_range(encoder) -> None:
    seen: list[tuple[float, float]] = []

    def spy(images: Tensor, generators: list[torch.Generator]) -> Tensor:
        seen.append((images.min().item(), images.max().item()))
        return images

    batch = ascend(encoder, stretch(encoder.site_ids[0]), pixels(SHAPE), transforms=[spy], steps=30, learning_rate=0.5)
    assert min(low for low, _ in seen) >= 0
    assert max(high for _, high in seen) <= 1
    assert batch.settings["constraints"] == [{"name": "clip"}]


def test_the_encoder_is_left_alone(encoder) -> None:
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.requires_grad_(True)
    ascend(encoder, stretch(encoder.site_ids[0]), fourier(SHAPE), steps=2)
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_dtype_follows_the_start(make_photo) -> None:
    seen = set()

    def encoder(images: Tensor) -> Tensor:
        seen.add(images.dtype)
        return images.mean((2, 3)).square()

    ascend(encoder, stretch(0), fourier(SHAPE), constraints=[DISPLAY], steps=2, start=make_photo((1, *SHAPE)).double())
    assert torch.float64 in seen  # the steps; checks score 8-bit pixels in float32


def test_a_start_for_each_row_and_seed(encoder, make_photo) -> None:
    start = (make_photo((4, *SHAPE)) * 255).round() / 255
    names = [["nat_a", "nat_b"], ["nat_c", "nat_d"]]
    batch = ascend(encoder, stretch(encoder.site_ids[:2]), fourier(SHAPE), steps=1, start=start.unflatten(0, (2, 2)), start_ids=names, seeds=(0, 1), learning_rate=1e-9)  # fmt: skip
    assert np.array_equal(batch.images, (start.permute(0, 2, 3, 1) * 255).round().byte().numpy())
    assert batch.start_ids == ("nat_a", "nat_b", "nat_c", "nat_d")
    with pytest.raises(ValueError, match="expected 2 rows of 2 names"):
        ascend(encoder, stretch(encoder.site_ids[:2]), fourier(SHAPE), start_ids=[["nat_a"], ["nat_b"]], seeds=(0, 1))


def test_progress_counts_all_micro_batches(encoder) -> None:
    told: list[tuple[str, int, int]] = []
    ascend(
        encoder, stretch(encoder.site_ids[:3]), pixels(SHAPE), steps=4, batch_size=2, progress=lambda *x: told.append(x)
    )
    assert told[0] == ("ascend", 2, 12)
    assert told[-1] == ("ascend", 12, 12)
    assert [t[1] for t in told] == sorted(t[1] for t in told)


def test_out_of_memory_runs_the_rest_in_halves_and_records_it(encoder) -> None:
    objective = stretch(encoder.site_ids[:5])
    settings = {"parameterisation": pixels(SHAPE), "steps": 3, "transforms": []}
    roomy = ascend(encoder, objective, **settings)
    cramped = ascend(Cramped(encoder, 2).eval(), objective, **settings)
    assert roomy.settings["plan"] == [[0, 5]]
    assert cramped.settings["plan"] == [[0, 2], [2, 4], [4, 5]]
    np.testing.assert_allclose(cramped.scores, roomy.scores, rtol=1e-4)
    with pytest.raises(torch.OutOfMemoryError):
        ascend(Cramped(encoder, 0).eval(), objective, **settings)


def test_record_is_json_and_complete(encoder) -> None:
    batch = ascend(
        encoder, stretch(encoder.site_ids[0]), fourier(SHAPE), constraints=[DISPLAY], steps=2, seeds=range(2)
    )
    record = json.loads(json.dumps(batch.settings))
    assert record["parameterisation"]["decay"] == 1.75
    assert record["transforms"][0] == {"name": "jitter", "fraction": 0.07, "max_px": None, "background": None}
    assert record["constraints"][0]["rms"] == 0.15
    assert record["seeds"] == [0, 1]
    assert batch.encoder_fingerprint == encoder.fingerprint
    assert batch.versions["torch"] == torch.__version__


def test_nan_names_the_image(encoder) -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            answers = images.flatten(1)[:, :2].clone()
            if len(images) == 3:  # not one of the questions before the first step
                answers[1] = torch.nan
            return answers

    with pytest.raises(ValueError, match=r"image 1 \(stretch:column_0, seed 5\) is nan at step 0"):
        ascend(Broken(), stretch(0), pixels(SHAPE), seeds=(4, 5, 6), steps=3)


@pytest.mark.parametrize("constraints", [(), (DISPLAY,)])
def test_nan_between_two_checks_names_its_step(constraints: tuple, encoder) -> None:
    """Scores are looked at when a check waits for the device anyway; the step of the first NaN is told."""
    calls: list[int] = []

    def broken(images: Tensor) -> Tensor:
        calls.append(len(images))
        answers = encoder(images)
        return answers * torch.nan if calls.count(3) == 4 else answers  # the first check, then the steps 0, 1 and 2

    broken.site_ids = encoder.site_ids
    with pytest.raises(ValueError, match=r"image 0 \(stretch:v4_000, seed 4\) is nan at step 2"):
        ascend(broken, stretch(encoder.site_ids[0]), pixels(SHAPE), constraints=constraints, seeds=(4, 5, 6), steps=9)


def test_a_gradient_that_does_not_arrive_is_told(encoder) -> None:
    class Detached(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images[:, 0, 0, 0].detach() + 0 * images.sum((1, 2, 3)))[:, None]

    with pytest.raises(ValueError, match="gradient that reaches image 0"):
        ascend(Detached(), stretch(0), pixels(SHAPE), steps=3)
    with pytest.raises(ValueError, match="its gradient is cut"):
        ascend(lambda images: images.detach().flatten(1)[:, :1], stretch(0), pixels(SHAPE), steps=3)


def test_a_constraint_that_cannot_hold_names_the_image(encoder) -> None:
    start = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    start[1] = 0.4
    with pytest.raises(ConstraintError, match=r"step 0, stretch:v4_001, seed 0: .*constant") as caught:
        ascend(encoder, stretch(encoder.site_ids[:2]), pixels(SHAPE), constraints=[DISPLAY], start=start)
    assert caught.value.reachable == 0.0


def test_training_mode_is_refused() -> None:
    net = nn.Sequential(nn.AvgPool2d(3), nn.BatchNorm2d(3), nn.Flatten()).train()
    with pytest.raises(ValueError, match="BatchNorm2d '1' is in training mode"):
        ascend(net, stretch(0), pixels(SHAPE))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"check_every": 0}, "check_every is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"seeds": ()}, "no seeds"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"start": torch.zeros(2, *SHAPE)}, "expected one image per row"),
        ({"start": torch.full((1, *SHAPE), 200.0)}, "divide 8-bit pixels by 255"),
        ({"start": torch.zeros(1, *SHAPE, dtype=torch.uint8)}, "floating point"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, message: str, encoder) -> None:
    with pytest.raises(ValueError, match=message):
        ascend(encoder, stretch(encoder.site_ids[0]), pixels(SHAPE), **arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu(encoder) -> None:
    run = lambda device: ascend(encoder, stretch(encoder.site_ids[:2]), fourier(SHAPE), constraints=[DISPLAY], steps=1, check_every=1, device=device)  # noqa: E731  # fmt: skip
    cpu = run("cpu").trace
    assert np.abs(cpu - run("cuda").trace).max() < 1e-3


@pytest.mark.parametrize("seeds", [1, 2])
def test_how_a_start_lies_in_memory_does_not_matter(make_photo, seeds: int) -> None:
    """Sums are added in the order of memory: images of the rig, whose channels come last, are put in one order."""
    start = make_photo((3, *SHAPE))
    turned = start.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for given in (turned, turned[:, None].expand(-1, seeds, -1, -1, -1)):
        found = starts_of(given, 3, seeds)
        assert found.is_contiguous()
        torch.testing.assert_close(found, start.repeat_interleave(seeds, 0), rtol=0, atol=0)
