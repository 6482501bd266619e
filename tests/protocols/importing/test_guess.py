"""A guessed map is right where it says something, asks where it does not know, and with the answers imports."""

from __future__ import annotations

import tempfile
import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.assemble import assemble
from protocols.importing.guess import guess, toml_of, write_guess
from protocols.importing.map import TODO, checked_map, read_map
from tests.protocols.helpers.layouts import NAMES, SITE_NAMES, SITES, WINDOW, cube, pictures, recording, write

COUNTS, SHOWN = recording()
ANSWERS = {"unit": "spikes", "window_ms": WINDOW}


def guessed(path: Path, *, photographs: int = 12) -> dict[str, Any]:
    """The tables of the guessed map, as a file would hold them."""
    return tomllib.loads(toml_of(guess([path], photographs), [path]))


def asks(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(TODO)


@given(
    kind=st.sampled_from(("a.h5", "a.npz", "a.mat", "a73.mat", "a.nc")),
    name=st.sampled_from(("resp", "spike_counts", "rates", "X")),
    ids=st.sampled_from(("names", "0", "1", "none")),
    layout=st.sampled_from(("trial", "image", "average")),
    order=st.integers(0, 5),
    named=st.booleans(),
    known=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_nothing_that_is_said_is_wrong(kind, name, ids, layout, order, named, known):
    arrays: dict[str, Any] = {}
    if layout == "trial":
        axes, values, index = ["trial", "site"], COUNTS, SHOWN
    elif layout == "image":
        values = cube(COUNTS, SHOWN, spare=1)
        axes, index = ["image", "repeat", "site"], np.arange(12)
    else:
        axes, values, index = ["image", "site"], cube(COUNTS, SHOWN).mean(1), np.arange(12)
    turned = list(permutations(range(len(axes))))[order % (2 if len(axes) == 2 else 6)]
    arrays[name] = np.ascontiguousarray(values.transpose(turned))
    truth = [axes[i] for i in turned]
    if ids == "names":
        arrays["stimulus"] = np.array(NAMES)[index]
    elif ids in "01":
        arrays["stim_idx"] = index + int(ids)
    if named:
        arrays["unit_id"] = np.array(SITE_NAMES)
    with tempfile.TemporaryDirectory() as made:
        said = guessed(write(Path(made) / kind, arrays), photographs=12 if known else 0)
    for told, true in zip(said["responses"]["axes"], truth, strict=True):
        assert told == true or asks(told), (said, truth)
    assert said.get("site", {}).get("id", "unit_id") == "unit_id"
    base = said["image"].get("counted_from")
    assert base is None or asks(base) or base == int(ids)


def test_with_the_answers_it_imports(tmp_path):
    arrays = {"resp": COUNTS.T, "stim_id": SHOWN + 1, "unit_id": np.array(SITE_NAMES), "block": np.arange(48) // 12}
    file = write(tmp_path / "a73.mat", arrays)
    made = write_guess([file], tmp_path / "map.toml", images=pictures(tmp_path / "images"))
    assert set(made.open) == {"unit", "window_ms"}
    with pytest.raises(DataError) as refused:
        read_map(tmp_path / "map.toml")
    assert refused.value.code == "A13"
    told = read_map(tmp_path / "map.toml", ["unit=spikes", "window_ms=[70, 170]"])
    table = assemble(told, [file])
    assert np.array_equal(table.values, COUNTS)
    assert table.site_id.tolist() == SITE_NAMES
    assert table.trial["block"].tolist() == (np.arange(48) // 12).tolist()
    assert told.image is not None
    assert told.image.counted_from == 1
    with pytest.raises(DataError) as refused:
        write_guess([file], tmp_path / "map.toml")
    assert refused.value.code == "A28"


def test_missing_values_tell_repeats_from_sites(tmp_path):
    np.save(tmp_path / "a.npy", cube(COUNTS, SHOWN, spare=3).transpose(2, 0, 1))
    said = guessed(tmp_path / "a.npy")
    assert said["responses"]["axes"] == ["site", "image", "repeat"]
    assert said["image"] == {"order": "sorted"}


def test_axes_that_the_file_names_are_sure(tmp_path):
    xarray = pytest.importorskip("xarray")
    data = xarray.DataArray(COUNTS[:, :, None], dims=("presentation", "neuroid", "time_bin"), name="x.y")
    data = data.assign_coords(stimulus_id=("presentation", np.array(NAMES)[SHOWN]), neuroid_id=("neuroid", SITE_NAMES))
    data.attrs["units"] = "Hz"
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    text = toml_of(guess([tmp_path / "a.nc"]), [tmp_path / "a.nc"])
    assert 'axes = ["trial", "site", "time"]  # sure' in text
    assert 'unit = "spikes/s"  # guess' in text
    said = tomllib.loads(text)
    assert (said["image"]["id"], said["site"]["id"]) == ("stimulus_id", "neuroid_id")


@pytest.mark.parametrize("long", [False, True])
def test_tables(tmp_path, long):
    if long:
        lines = ["trial,unit,image,count"]
        lines += [f"{t},{SITE_NAMES[s]},{NAMES[SHOWN[t]]},{COUNTS[t, s]}" for t in range(48) for s in range(SITES)]
    else:
        lines = ["image,onset_ms," + ",".join(SITE_NAMES)]
        lines += [
            f"{NAMES[i]},{t * 200}," + ",".join(map(str, c)) for t, (i, c) in enumerate(zip(SHOWN, COUNTS, strict=True))
        ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    said = guessed(tmp_path / "a.csv") | ANSWERS
    if not long:
        assert asks(said["trial"]["onset_unit"])
        said["trial"]["onset_unit"] = "ms"
    table = assemble(checked_map(said, "map.toml"), [tmp_path / "a.csv"])
    assert np.array_equal(table.values, COUNTS)
    assert table.image.tolist() == [NAMES[i] for i in SHOWN]
    assert table.site_id.tolist() == SITE_NAMES


def test_a_square_table_is_asked_about(tmp_path):
    write(tmp_path / "a.npz", {"resp": np.ones((12, 12)), "image": np.array(NAMES)})
    assert all(asks(axis) for axis in guessed(tmp_path / "a.npz")["responses"]["axes"])


def test_a_file_without_responses_is_asked_about(tmp_path):
    (tmp_path / "a.txt").write_text("x.png\ny.png\n")
    said = guessed(tmp_path / "a.txt")
    assert asks(said["responses"]["array"])
    with pytest.raises(DataError) as refused:
        checked_map(said, "map.toml")
    assert refused.value.code == "A13"


@pytest.mark.parametrize(("name", "first"), [("", 0), ("Unnamed: 0", 0), ("nr", 1)])
def test_the_number_of_the_row_is_no_site(tmp_path, name, first):
    lines = [f"{name},image,u1,u2"]
    lines += [f"{first + n},{NAMES[i]},{a},{b}" for n, (i, a, b) in enumerate(zip(SHOWN, *COUNTS.T[:2], strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    assert guessed(tmp_path / "a.csv")["responses"]["arrays"] == ["u*"]
