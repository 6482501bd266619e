"""Batches in parts: rows stay whole, and the parts joined are the batch made at once."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synth import StimulusBatch, ascend, diverse, jitter, pixels, stretch
from synth.parts import join_batches, part_size, row_parts

SHAPE = (3, 28, 28)


@given(rows=st.integers(1, 300), seeds=st.integers(1, 50), size=st.integers(1, 64), group=st.integers(2, 5))
def test_parts_hold_every_row_once_and_no_more_images_than_asked(rows: int, seeds: int, size: int, group: int) -> None:
    objective = stretch([f"s{i}" for i in range(rows)]) | diverse(["a"], count=group)
    parts = row_parts(objective, seeds, size)
    assert [i for part in parts for i in part] == list(range(len(objective)))
    spans = [set(range(*span)) for span in objective.spans]
    for part in parts:
        assert all(span <= set(part) or not span & set(part) for span in spans), "sets stay together"
        assert len(part) * seeds <= size or len([s for s in spans if s <= set(part)]) == 1


@given(images=st.integers(1, 100_000))
def test_the_size_of_a_part_depends_on_the_images_alone(images: int) -> None:
    assert 8 <= part_size(images) <= 32
    assert -(-images // part_size(images)) <= max(4, -(-images // 32))


def test_joined_parts_are_the_batch_at_once(encoder) -> None:
    objective, seeds, steps = stretch(encoder.site_ids[:3]), (0, 1), 4
    start = torch.rand((3, 2, *SHAPE), generator=torch.Generator().manual_seed(0))
    names = [[f"photo_{r}_{s}" for s in seeds] for r in range(3)]

    def made(rows: list[int]) -> StimulusBatch:
        return ascend(
            encoder,
            objective.take(rows),
            pixels(SHAPE),
            transforms=[jitter(0.05)],
            seeds=seeds,
            steps=steps,
            check_every=2,
            snapshots=(1, 3),
            start=start[rows],
            start_ids=[names[r] for r in rows],
        )

    whole, joined = made([0, 1, 2]), join_batches([made([0, 1]), made([2])])
    assert joined.settings["plan"] == [[0, 4], [4, 6]]
    assert joined.settings["objective"] == whole.settings["objective"]
    for one, other in ((whole, joined), (whole.graded, joined.graded)):
        assert one.objective_description == other.objective_description
        for field in fields(StimulusBatch):
            before, after = getattr(one, field.name), getattr(other, field.name)
            if field.name == "images":
                assert np.abs(before.astype(int) - after.astype(int)).max() <= 1
            elif isinstance(before, np.ndarray) and before.dtype.kind == "f":
                np.testing.assert_allclose(before, after, atol=2e-3)
            elif isinstance(before, np.ndarray):
                np.testing.assert_array_equal(before, after)
            elif field.name not in ("settings", "graded"):
                assert before == after, field.name


def test_parts_of_several_batches_are_refused(encoder) -> None:
    batch = ascend(encoder, stretch(encoder.site_ids[:1]), pixels(SHAPE), transforms=(), steps=1)
    for other in (
        replace(batch, encoder_fingerprint="another"),
        replace(batch, settings={**batch.settings, "steps": 7}),
        replace(batch, versions={"torch": "0"}),
    ):
        with pytest.raises(ValueError, match="expected"):
            join_batches([batch, other])
    with pytest.raises(ValueError, match="at least one"):
        join_batches([])
