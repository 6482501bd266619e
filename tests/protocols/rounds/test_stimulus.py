"""Which iterates are shown as graded images."""

from __future__ import annotations

import numpy as np

from protocols.rounds.stimulus import controller_stimuli, graded_stimuli
from synth import StimulusBatch, ascend, one_hot, pixels, stretch


def batch(steps: int, snapshots: tuple[int, ...]) -> StimulusBatch:
    def encoder(images):
        halves = images.unflatten(3, (2, 8)).mean((1, 2, 4))  # two sites, one for the left and one for the right half
        return 10 * halves

    return ascend(encoder, stretch([0, 1]) | one_hot([1]), pixels((1, 16, 16)), transforms=(), seeds=(0, 1), steps=steps, snapshots=snapshots, check_every=steps)  # fmt: skip


def test_graded_images_are_those_of_the_confirmatory_controllers():
    made = batch(6, (1, 3))
    shown = graded_stimuli(made, 2)
    controllers = {s.source_id: s for s in controller_stimuli(made, 2)}
    confirmatory = {i for i, s in controllers.items() if s.confirmatory}
    assert len(confirmatory) == 3
    assert [s.source_id for s in shown] == [
        f"{i}_step{n:03d}" for i in controllers if i in confirmatory for n in (1, 3)
    ]
    for stimulus in shown:
        parent = controllers[stimulus.parent]
        assert (stimulus.role, stimulus.confirmatory) == ("graded", False)
        assert (stimulus.objective, stimulus.target, stimulus.seed) == (parent.objective, parent.target, parent.seed)
        assert stimulus.score < parent.score
        assert any(np.array_equal(stimulus.pixels, image) for image in made.graded.images)


def test_an_iterate_that_became_the_controller_is_not_shown_twice():
    made = batch(4, (2, 4))
    assert {s.source_id[-3:] for s in graded_stimuli(made, 1)} == {"002"}
    assert graded_stimuli(batch(4, ()), 1) == []
