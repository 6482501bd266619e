from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from synth import ascend, exact_statistics, fourier, pixels, stretch
from synth.ascent import generator_for
from synth.rules import Rule

SHAPE = (3, 24, 24)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)


def climb(encoder, parameterisation, **more):
    kwargs = {"constraints": [DISPLAY], "transforms": (), "steps": 6, "check_every": 1} | more
    return ascend(encoder, stretch(encoder.site_ids[:2]), parameterisation, **kwargs)


@pytest.mark.parametrize("factory", [pixels, fourier])
def test_the_default_rule_is_adam_bit_for_bit(factory, encoder) -> None:
    """The loop written out with torch's Adam gives the same iterates to the last bit."""
    objective = stretch(encoder.site_ids[:2])
    bound = objective.bind(encoder.site_ids, encoder.natural_mean, encoder.natural_sd)
    variables = factory(SHAPE)([generator_for(name, 0) for name in objective.row_names], None, "cpu")
    optimiser = torch.optim.Adam(variables.parameters(), lr=0.05)
    shown = [DISPLAY(variables())]
    for _ in range(6):
        optimiser.zero_grad()
        (-bound(shown[-1], encoder(shown[-1])).sum()).backward()
        optimiser.step()
        shown.append(DISPLAY(variables()))
    expected = torch.stack([DISPLAY.quantise(s) for s in shown]).numpy()
    seen: list[Tensor] = []
    spied = ascend(encoder, objective, factory(SHAPE), constraints=[lambda x: seen.append(DISPLAY(x)) or seen[-1]], transforms=(), steps=6)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(seen, shown, strict=True))
    batch = climb(encoder, factory(SHAPE))
    best = np.nanargmax(batch.trace, axis=1)
    assert np.array_equal(batch.images, expected[best, np.arange(2)])
    assert spied.settings["rule"] == {"optimiser": {"name": "adam"}, "schedule": None, "precondition": [], "after": []}


def test_preconditioning_by_the_identity_changes_nothing(encoder) -> None:
    for factory in (pixels, fourier):
        plain = climb(encoder, factory(SHAPE))
        through = climb(encoder, factory(SHAPE), rule=Rule(precondition=(lambda g, t: g,)))
        assert np.array_equal(plain.images, through.images)
        assert np.array_equal(plain.trace, through.trace)


def test_changes_after_a_step_need_the_image_as_variables(encoder) -> None:
    rule = Rule(after=(lambda x, t: x,))
    climb(encoder, pixels(SHAPE), rule=rule)
    with pytest.raises(ValueError, match="variables of this parameterisation are not the image"):
        climb(encoder, fourier(SHAPE), rule=rule)


def test_progress_runs_from_0_to_the_last_step(encoder) -> None:
    told: dict[str, list[float]] = {"gradient": [], "rate": [], "image": []}

    def note(name: str):
        return lambda x, t: told[name].append(t) or x

    rule = Rule(
        schedule=lambda t: told["rate"].append(t) or 1.0, precondition=(note("gradient"),), after=(note("image"),)
    )
    batch = climb(encoder, pixels(SHAPE), rule=rule, steps=4)
    assert told == {name: [0, 0.25, 0.5, 0.75] for name in told}
    json.dumps(batch.settings)
