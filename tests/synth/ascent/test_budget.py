"""A time budget becomes a number of steps that can be repeated without a clock."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth import StimulusBatch, ascend, exact_statistics, fourier, pixels, rules, stretch
from synth.ascent import climb as climbing
from synth.ascent import micro_batches
from synth.recipes.few_steps import quick
from synth.rules import Rule, clip, fix_norm, linear, normalise, smooth, spectral

SHAPE = (3, 28, 28)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)


class Clock:
    """A clock that advances by one second whenever it is read."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def climb(encoder, **settings) -> StimulusBatch:
    known = {"constraints": [DISPLAY], "seeds": (0, 1), "check_every": 3, "snapshots": (0, 2, 6, 90)} | settings
    return ascend(encoder, stretch(encoder.site_ids[:3]), fourier(SHAPE), **known)


@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_recorded_steps_give_the_same_images(batch_size, encoder, monkeypatch) -> None:
    clock = Clock()
    for module in (micro_batches, climbing):
        monkeypatch.setattr(module, "time", clock)
    share = 6 if batch_size is None else 2  # of 6 images: the first micro-batch has 7 s
    cut = climb(encoder, budget_s=7.0 * 6 / share, steps=100, batch_size=batch_size)
    made = cut.settings["steps"]
    assert 3 <= made < 100
    assert made % 3 == 0
    assert cut.settings["budget_s"] == 7.0 * 6 / share
    assert cut.settings["check_steps"] == list(range(0, made + 1, 3))
    assert cut.settings["snapshots"] == [s for s in (0, 2, 6, 90) if s <= made]
    monkeypatch.undo()
    again = climb(encoder, steps=made, batch_size=batch_size, snapshots=cut.settings["snapshots"])
    assert np.array_equal(cut.images, again.images)
    assert np.array_equal(cut.trace, again.trace)
    assert np.array_equal(cut.scores, again.scores)
    assert np.array_equal(cut.graded.images, again.graded.images)
    assert {**again.settings, "budget_s": cut.settings["budget_s"]} == cut.settings


def test_a_budget_of_next_to_nothing_still_climbs_to_the_first_check(encoder) -> None:
    batch = climb(encoder, budget_s=1e-9, snapshots=())
    assert batch.settings["steps"] == 3
    assert (batch.scores >= batch.trace[:, 0]).all()


def test_a_budget_that_is_not_used_up_makes_all_steps(encoder) -> None:
    batch = climb(encoder, budget_s=1e6, steps=7, snapshots=())
    assert batch.settings["steps"] == 7
    assert np.array_equal(batch.images, climb(encoder, steps=7, snapshots=()).images)


def test_no_budget_is_recorded_as_none(encoder) -> None:
    assert climb(encoder, steps=2, snapshots=()).settings["budget_s"] is None


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf")])
def test_a_budget_must_be_a_time(budget: float, encoder) -> None:
    with pytest.raises(ValueError, match="budget_s is"):
        climb(encoder, budget_s=budget)


def test_two_ends_are_one_too_many(encoder) -> None:
    with pytest.raises(ValueError, match="with patience 2"):
        climb(encoder, budget_s=1.0, patience=2)


@pytest.mark.parametrize(
    "rule",
    [
        Rule(schedule=linear()),
        Rule(precondition=(smooth(linear(2.0, 0.1)),)),
        Rule(after=(normalise(), smooth(linear()))),
        Rule(precondition=(lambda gradient, progress: gradient * progress,)),
    ],
)
def test_a_rule_that_may_need_the_end_is_refused(rule: Rule, encoder) -> None:
    with pytest.raises(ValueError, match="follows the progress of the run, or may do so"):
        ascend(encoder, stretch(encoder.site_ids[0]), pixels(SHAPE), rule=rule, budget_s=1.0)


def test_the_quick_recipe_takes_a_budget(encoder, monkeypatch) -> None:
    recipe = {**quick(SHAPE), "steps": 90, "check_every": 4}
    clock = Clock()
    for module in (micro_batches, climbing):
        monkeypatch.setattr(module, "time", clock)
    cut = ascend(encoder, stretch(encoder.site_ids[:2]), constraints=[DISPLAY], budget_s=8.0, **recipe)
    made = cut.settings["steps"]
    assert 4 <= made < 90
    monkeypatch.undo()
    again = ascend(encoder, stretch(encoder.site_ids[:2]), constraints=[DISPLAY], **{**recipe, "steps": made})
    assert np.array_equal(cut.images, again.images)


STEADY = [smooth(1.0), spectral(1.5), normalise(), clip(), fix_norm()]


def test_every_change_of_fixed_settings_is_tried() -> None:
    made = {c.name for c in STEADY}
    others = {"Rule", "adam", "adamw", "nadam", "sgd", "cosine", "linear"}
    assert made == set(rules.__all__) - others


@pytest.mark.parametrize("change", STEADY, ids=lambda c: c.name)
def test_a_steady_change_takes_no_notice_of_the_progress(change) -> None:
    images = torch.rand(2, 3, 12, 14, generator=torch.Generator().manual_seed(1))
    assert Rule(precondition=(change,)).steady
    assert torch.equal(change(images, 0.0), change(images, 0.9))
