"""Files without a project get the checks that every recording gets."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.loose import read_loose

IMAGES = [f"im_{i}" for i in range(12)]


def write(path, values, images, **items):
    with h5py.File(path, "w") as file:
        file["responses"], file["image_id"] = values, [str(i) for i in images]
        file["site_id"] = [f"s{i}" for i in range(values.shape[1])]
        for name, column in items.items():
            file[name.replace("__", "/")] = column
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
    return path


def recording(seed, repeats=8, sites=4):
    rng = np.random.default_rng(seed)
    shown = np.concatenate([rng.permutation(IMAGES) for _ in range(repeats)])
    rate = dict(zip(IMAGES, rng.uniform(4, 12, (12, sites)), strict=True))
    return rng.poisson([rate[i] for i in shown]).astype(float), shown.tolist(), np.repeat(np.arange(repeats), 12)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("loose") / "day.h5"


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fault=st.sampled_from(["", "twice", "negative", "averages", "inverted", "before the image", "nothing"]),
    shuffled=st.booleans(),
)
def test_a_wrong_file_is_refused_as_everywhere(path, seed, fault, shuffled):
    values, shown, block = recording(seed)
    items = {"trial__block": block}
    if fault == "twice":
        values, shown, items = np.vstack([values, values]), shown * 2, {"trial__block": np.tile(block, 2)}
    if fault == "negative":
        values = values - 9
    if fault == "nothing":
        values = values * 0
    if fault == "inverted":
        items["trial__valid"] = (np.random.default_rng(seed).random(len(shown)) < 0.1).astype(int)
    if fault == "averages":
        values, items = np.array([values[[s == i for s in shown]].mean(0) for i in IMAGES]), {}
        shown = IMAGES
    order = np.random.default_rng(seed).permutation(len(shown)) if shuffled else np.arange(len(shown))
    items = {name: column[order] for name, column in items.items()}
    write(path, values[order], np.array(shown)[order], **items)
    if fault == "before the image":
        with h5py.File(path, "r+") as file:
            file.attrs["window_ms"] = [-200.0, -100.0]
    code = {"": "", "twice": "I10", "negative": "I14", "averages": "B07", "inverted": "I13"}.get(fault, "I16")
    code = "I17" if fault == "before the image" else code
    if code:
        with pytest.raises(DataError, match=rf"\[{code}\]"):
            read_loose(path)
    else:
        table = read_loose(path)
        np.testing.assert_array_equal(table.values, values[order])


def test_rows_without_an_image_may_be_marked_and_are_counted(path):
    values, shown, block = recording(0)
    names, valid = list(shown), np.ones(len(shown), dtype=int)
    for row, name in ((3, ""), (20, "aborted"), (40, "NaN")):
        names[row], valid[row] = name, 0
    with pytest.raises(DataError, match="R08"):
        read_loose(write(path, values, names, trial__block=block))
    table = read_loose(write(path, values, names, trial__block=block, trial__valid=valid))
    np.testing.assert_array_equal(table.values, values[valid == 1])
    assert table.image_ids.tolist() == [n for n, ok in zip(names, valid, strict=True) if ok]
    assert any("3 rows are marked invalid" in note for note in table.attributes["notes"])


def test_many_invalid_rows_are_taken_where_the_user_says_so(path):
    values, shown, block = recording(1)
    valid = np.arange(len(shown)) % 2
    write(path, values, shown, trial__block=block, trial__valid=valid)
    with pytest.raises(DataError, match=r"evaluate --max-dropped 0\.5"):
        read_loose(path)
    assert len(read_loose(path, max_dropped=0.5).values) == valid.sum()


def test_several_averages_of_an_image_are_refused_with_the_way_to_pool_them(path):
    values, shown, _ = recording(2, repeats=2)
    with pytest.raises(DataError, match=r"I10.*weighted by trial/averaged_over"):
        read_loose(write(path, values, shown, trial__averaged_over=np.full(len(shown), 4)))
