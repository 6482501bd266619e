"""Whatever the axes, ids and kind of file, the same recording comes back."""

from __future__ import annotations

import tempfile
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.importing.assemble import assemble
from protocols.importing.contract import write_table
from protocols.importing.map import checked_map
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.layouts import IMAGES, NAMES, REPEATS, SITE_NAMES, WINDOW, cube, recording, write

KINDS = ("a.h5", "a.npz", "a.mat", "a73.mat", "a.nc")
IDS = ("names", "sorted", "position 0", "position 1", "list 0", "list 1", "number")


def image_of(kind: str, index: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and the section [image] for the images `index`."""
    word, _, base = kind.partition(" ")
    if word == "names":
        return {"img": np.array(NAMES)[index]}, {"id": "img"}
    if word == "number":
        return {"img": index}, {"id": "img", "format": "scene_{:02d}.png"}
    if word == "position":
        return {"img": index + int(base)}, {"id": "img", "counted_from": int(base)}
    listed = NAMES[::-1]
    arrays = {"img": (IMAGES - 1 - index + int(base)).astype(float), "list": np.array(listed)}
    return arrays, {"id": "img", "counted_from": int(base), "names": "list"}


@given(
    seed=st.integers(0, 3),
    kind=st.sampled_from(KINDS),
    ids=st.sampled_from(IDS),
    layout=st.sampled_from(("trial", "image")),
    order=st.integers(0, 5),
    spare=st.integers(0, 2),
    lost=st.booleans(),
    named=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_recording_survives_every_layout(seed, kind, ids, layout, order, spare, lost, named):
    counts, shown = recording(seed)
    if layout == "trial":
        ids = "names" if ids == "sorted" else ids
        axes, values, index = ["trial", "site"], counts, shown
        expected, images = counts.astype(float), shown
    else:
        values = cube(counts, shown, spare=spare)
        if lost:
            values[5, 1] = np.nan
        axes, index = ["image", "repeat", "site"], np.arange(IMAGES)
        kept = ~np.isnan(values).all(2)
        expected, images = values[kept], np.repeat(index, REPEATS + spare)[kept.reshape(-1)]
    turned = list(permutations(range(len(axes))))[order % (2 if len(axes) == 2 else 6)]
    arrays: dict[str, Any] = {"resp": np.ascontiguousarray(values.transpose(turned))}
    told: dict[str, Any] = {"unit": "spikes", "window_ms": WINDOW, "image": {"order": "sorted"}}
    told["responses"] = {"array": "resp", "axes": [axes[i] for i in turned]}
    if ids != "sorted":
        more, told["image"] = image_of(ids, index)
        arrays |= more
    if named:
        arrays["unit_id"] = np.array(SITE_NAMES)
        told["site"] = {"id": "unit_id"}
    with tempfile.TemporaryDirectory() as made:
        file = write(Path(made) / kind, arrays)
        table = assemble(checked_map(told, "map.toml"), [file], names=NAMES)
        write_table(Path(made) / "out.h5", table)
        read = read_responses(Path(made) / "out.h5", names=NAMES)
    assert np.array_equal(read.values, expected)
    assert read.image_ids.tolist() == [NAMES[i].removesuffix(".png") for i in images]
    assert not named or list(read.site_ids) == SITE_NAMES
