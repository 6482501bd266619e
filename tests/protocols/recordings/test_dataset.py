"""Which images of a round are gathered for fitting, and with which photographs they are kept together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocols.recordings.dataset import synthesised


def test_synthesised_images_join_the_group_of_the_photograph_they_came_from(round_, lab):
    first, _, natural, _, second, *_ = lab.stimuli(8)
    parent = first.source_id
    started = replace(first, started_from="photo_1")
    shown = [
        started,
        replace(natural, role="graded", source_id="step_4", parent=parent, started_from="photo_1"),
        replace(natural, role="arm", source_id="scrambled", arm="phase_scrambled", parent="src_004 src_000"),
        replace(natural, role="arm", source_id="photo_2", arm="predicted_natural", parent=parent),
        second,
        natural,
    ]
    lab.export(round_, stimuli=shown)
    found = {
        source: (pixels, group) for source, pixels, group in synthesised(round_, {"photo_1": "g1", "photo_2": "g2"})
    }
    assert {source: group for source, (_, group) in found.items()} == {
        "src_000": "g1",
        "step_4": "g1",
        "scrambled": "src_004",  # its controller started from noise: the two stay together
        "src_004": "src_004",
    }
    np.testing.assert_array_equal(found["src_000"][0], first.pixels)
