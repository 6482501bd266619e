"""What a round asks of its generator."""

from __future__ import annotations

import pytest

from protocols.project.config.synthesis import SynthesisConfig, graded_steps
from protocols.project.objectives import OBJECTIVES
from protocols.synthesis.request import IMAGE_OBJECTIVES


@pytest.mark.parametrize(
    ("steps", "given", "expected"),
    [
        (60, None, (4, 10, 22)),
        (30, None, (2, 5, 11)),
        (12, None, (1, 2, 4)),
        (1, None, ()),
        (60, (3, 50), (3, 50)),
        (60, (), ()),
    ],
)
def test_the_default_steps_scale_with_the_ascent(steps, given, expected):
    assert graded_steps(SynthesisConfig(steps=steps, graded_steps=given)) == expected


def test_every_objective_of_a_round_has_its_image_objective() -> None:
    assert set(IMAGE_OBJECTIVES) == set(OBJECTIVES)
    for name, make in IMAGE_OBJECTIVES.items():
        objective = make(["a", "b"], SynthesisConfig())
        assert objective.kinds == (name, name)
