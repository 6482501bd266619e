"""Which stage of a network a layer belongs to."""

from __future__ import annotations

import pytest

from encoders.tuning.tunable import stage


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("blocks.4.0", "blocks.4"),
        ("layer2.0.conv1", "layer2"),
        ("stages.1.blocks.0", "stages.1"),
        ("conv_stem", "conv_stem"),
    ],
)
def test_stages(layer, expected):
    assert stage(layer) == expected
