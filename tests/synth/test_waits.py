"""What a step asks of a device: no number comes back to the CPU, and no tensor is copied to another device."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from synth import Objective, against, ascend, cautious, jitter, pixels, within
from synth.answers import evaluating
from synth.ascent import climb
from synth.objectives import CATALOGUE
from synth.objectives.bound import BoundObjective

SITES = tuple(f"v4_{i:03d}" for i in range(6))
WAITS = ("aten._local_scalar_dense", "aten.item", "aten.nonzero", "aten.masked_select", "aten.is_nonzero")
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Counts(TorchDispatchMode):
    """Operations that wait for the device, and copies to a named device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).rsplit(".", 1)[0]
        copies = name == "aten._to_copy" and (kwargs or {}).get("device") is not None
        boolean = name == "aten.index" and any(isinstance(i, Tensor) and i.dtype == torch.bool for i in args[1])
        if name in WAITS or copies or boolean:
            self.found[name] += 1
        return function(*args, **(kwargs or {}))


def test_the_counter_sees_waits_and_copies() -> None:
    with Counts() as counts:
        x = torch.arange(3.0)
        _ = bool((x > 1).any()), x.tolist(), float(x[0]), x[x > 1], x.to("meta")
    assert sum(counts.found.values()) >= 4


def of_kind(kind: str) -> Objective:
    """Any objective of the catalogue."""
    more = [list(SITES[3:4])] if kind == "groups" else []
    return CATALOGUE[kind](list(SITES[:3]), *more)


@QUIET
@given(kinds=st.lists(st.sampled_from(sorted(CATALOGUE)), min_size=1, max_size=3), members=st.sampled_from([None, 1, 2, 3]), kappa=st.sampled_from([0.0, 0.5]), double=st.booleans())  # fmt: skip
def test_a_call_of_a_bound_objective_waits_for_nothing(kinds: list[str], members: int | None, kappa: float, double: bool) -> None:  # fmt: skip
    """Of any objectives, one after the other, with and without an ensemble, forward and backward."""
    objective = Objective(())
    for kind in kinds:
        objective = objective | of_kind(kind)
    objective = cautious(objective, kappa)
    if double and members == 2:
        objective = against(objective)
    mean, sd = torch.linspace(0, 1, 6), torch.linspace(1, 2, 6)
    bound = objective.bind(SITES, mean, sd).to("cpu")
    shape = (len(objective), 6) if members is None else (members, len(objective), 6)
    responses = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    images = torch.rand(len(objective), 1, 4, 4, generator=torch.Generator().manual_seed(1))
    with Counts() as counts:
        scores = bound(images, responses)
        torch.autograd.grad(scores.sum(), responses)
    assert not counts.found


@pytest.mark.parametrize("kind", CATALOGUE)
def test_a_bound_objective_lives_on_one_device(kind: str) -> None:
    """`meta` stands for another device: no tensor stays behind, and a call gives scores there."""
    objective = of_kind(kind)
    bound = objective.bind(SITES, torch.zeros(6), torch.ones(6)).to("meta")
    held = [bound.kappa, bound.versus, bound.mean, bound.sd]
    for group in bound.groups:
        held += [
            group.rows,
            group.columns,
            group.weights,
            *(v for v in group.settings.values() if isinstance(v, Tensor)),
        ]
    assert {t.device.type for t in held if t is not None} == {"meta"}
    scores = bound(torch.empty(len(objective), 1, 4, 4, device="meta"), torch.empty(len(objective), 6, device="meta"))
    assert (scores.device.type, len(scores)) == ("meta", len(objective))


def test_steps_between_two_checks_wait_for_nothing(encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the scores of one step to those of the next, but for the checks of the 8-bit images and the first step."""
    counted: list[Counter[str]] = []
    original = climb.mean_over_draws
    mode: list[Counts] = []

    def stop() -> None:
        if mode:
            counted.append(mode[0].found)
            mode.pop().__exit__(None, None, None)

    def watched(run: Any, objective: BoundObjective, shown: Tensor, **more: Any) -> Tensor:
        stop()
        scores = original(run, objective, shown, **more)
        mode.append(Counts())
        mode[0].__enter__()
        return scores

    monkeypatch.setattr(climb, "mean_over_draws", watched)
    monkeypatch.setattr(climb, "evaluating", lambda *args: (stop(), evaluating(*args))[1])
    objective = cautious(CATALOGUE["margin"](encoder.site_ids[:2]) + within(encoder.site_ids[:2]), 0.5)
    ascend(encoder, objective, pixels((3, 28, 28)), transforms=[jitter(0.1)], steps=9, check_every=9)
    stop()
    assert len(counted) == 9
    assert not any(counted[1:-1])  # the last holds the check
