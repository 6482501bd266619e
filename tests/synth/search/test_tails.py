"""Both tails are those of a full sort, however the images were cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.search import TailKeeper


@given(
    scores=st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    count=st.integers(1, 8),
    seed=st.integers(0, 5),
)
def test_any_chunks_in_any_order_give_the_sorted_ends_with_the_lower_position_first(
    scores: list[list[int]], cuts: list[int], count: int, seed: int
) -> None:
    table = np.array(scores, dtype=np.float32).T  # many ties
    order = np.random.default_rng(seed).permutation(table.shape[1])
    keeper = TailKeeper(2, count)
    for chunk in np.split(order, sorted(min(c, len(order)) for c in cuts)):
        keeper.add(chunk, table[:, chunk])
    found = keeper.tails()
    for r, row in enumerate(table):
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:count]
        worst = sorted(range(len(row)), key=lambda i: (row[i], i))[:count]
        assert found.best[r].tolist() == best
        assert found.worst[r].tolist() == worst
        assert found.best_scores[r].tolist() == row[best].tolist()
        assert found.worst_scores[r].tolist() == row[worst].tolist()
    assert found.seen == table.shape[1]


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="count = 0"):
        TailKeeper(1, 0)
