"""All seeds run for a few steps, then only the best; an image that is kept is the same as without dropping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synth import StimulusBatch, ascend, exact_statistics, fourier, jitter, stretch
from synth.objectives import diverse

SHAPE = (3, 28, 28)
DISPLAY = exact_statistics(SHAPE, mean=0.45, rms=0.15)
SEEDS = (5, 2, 9, 4)


def climb(encoder, objective=None, **settings) -> StimulusBatch:
    known = {
        "constraints": [DISPLAY],
        "transforms": [jitter(0.1)],
        "seeds": SEEDS,
        "steps": 7,
        "check_every": 3,
    } | settings
    return ascend(encoder, stretch(encoder.site_ids[:3]) if objective is None else objective, fourier(SHAPE), **known)


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_best_seeds_of_every_row_stay_and_are_what_they_are_without_the_others(keep: int, encoder) -> None:
    names = [[f"row {row} seed {seed}" for seed in SEEDS] for row in range(3)]
    start = 0.5 + 0.1 * torch.randn(3, 4, *SHAPE, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    how = {"start": start, "start_ids": names, "batch_size": 1, "snapshots": (2, 7)}
    every = climb(encoder, **how)
    early = every.trace[:, 1].reshape(3, 4)  # at step 3
    best = np.sort(np.argsort(-early, 1)[:, :keep], 1)
    wanted = (np.arange(3)[:, None] * 4 + best).ravel()
    found = climb(encoder, **how, keep_seeds=keep, drop_after=3)
    for name in ("images", "scores", "trace", "predicted", "unrounded_predicted", "seeds"):
        assert np.array_equal(getattr(found, name), getattr(every, name)[wanted]), name
    assert found.start_ids == tuple(every.start_ids[i] for i in wanted)
    assert found.row_names == tuple(every.row_names[i] for i in wanted)
    assert found.settings["dropping"] == {"after": 3, "kept": keep}
    assert found.settings["seeds"] == list(SEEDS)
    assert len(found.graded) == 2 * 3 * keep
    assert "dropping" not in every.settings


@pytest.mark.parametrize("batch_size", [None, 5])
def test_batches_do_not_matter(batch_size, encoder) -> None:
    alone, together = (climb(encoder, keep_seeds=2, drop_after=4, batch_size=n) for n in (1, batch_size))
    assert np.array_equal(alone.seeds, together.seeds)
    np.testing.assert_allclose(alone.scores, together.scores, rtol=1e-3)


def test_all_seeds_kept_is_a_plain_run(encoder) -> None:
    assert np.array_equal(climb(encoder, keep_seeds=4, drop_after=1).images, climb(encoder).images)


def test_a_set_keeps_its_seeds_together(encoder) -> None:
    sets = diverse(encoder.site_ids[:2], 3)
    every = climb(encoder, sets, check_every=2)
    found = climb(encoder, sets, keep_seeds=1, drop_after=2)
    assert len(found) == len(sets)
    early = every.trace[:, 1].reshape(len(sets), 4)
    for rows in (slice(0, 3), slice(3, 6)):
        assert set(found.seeds[rows]) == {SEEDS[int(early[rows].mean(0).argmax())]}


def test_the_progress_counts_the_steps_of_all_seeds_and_of_those_kept(encoder) -> None:
    told: list[tuple[int, int]] = []
    climb(
        encoder,
        keep_seeds=1,
        drop_after=2,
        batch_size=2,
        progress=lambda label, done, total: told.append((done, total)),
    )
    done = [d for d, _ in told]
    assert done == sorted(done)
    assert {t for _, t in told} == {done[-1]} == {3 * 4 * 2 + 3 * 7}


def test_dropping_saves_gradients(encoder) -> None:
    def gradients(**settings) -> int:
        count = 0

        class Counting(torch.nn.Module):
            site_ids, natural_mean, natural_sd = encoder.site_ids, encoder.natural_mean, encoder.natural_sd

            def forward(self, images):
                nonlocal count
                count += len(images) if images.requires_grad else 0
                return encoder(images)

        climb(Counting(), **settings)
        return count

    assert gradients() == 3 * 4 * 7
    assert gradients(keep_seeds=1, drop_after=2) == 3 * 4 * 2 + 3 * 7


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"keep_seeds": 0}, "keep_seeds 0 of 4 seeds"),
        ({"keep_seeds": 5}, "expected 1 to 4 seeds"),
        ({"keep_seeds": 2, "drop_after": 8}, "after 8 of 7 steps"),
        ({"keep_seeds": 2, "drop_after": 0}, "after 0 of 7 steps"),
        ({"keep_seeds": 2, "drop_after": 2, "budget_s": 5.0}, "budget_s 5 with keep_seeds 2"),
    ],
)
def test_what_cannot_be_is_refused(wrong, what: str, encoder) -> None:
    with pytest.raises(ValueError, match=what):
        climb(encoder, **wrong)
