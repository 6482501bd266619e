"""How often each photograph of the baseline round is shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.project.config.protocol import ANCHOR_REPEATS, ProtocolConfig


def baseline_counts(config: ProtocolConfig, source_ids: Sequence[str], groups: Sequence[str]) -> dict[str, int]:
    """Presentations of every photograph: ``baseline_repeats``, or `ANCHOR_REPEATS` of ``baseline_anchors`` drawn ones.

    Every group gives one anchor before any gives a second, so that reliability is that of different pictures.
    """
    generator = np.random.default_rng([config.seed, 0, 17])
    given: dict[str, int] = {}
    turn: list[tuple[int, int, str]] = []
    for i in generator.permutation(len(source_ids)).tolist():
        turn.append((given.get(groups[i], 0), len(turn), source_ids[i]))
        given[groups[i]] = given.get(groups[i], 0) + 1
    anchors = {source for _, _, source in sorted(turn)[: config.baseline_anchors]}
    often = max(ANCHOR_REPEATS, config.baseline_repeats)
    return {s: often if s in anchors else config.baseline_repeats for s in source_ids}
