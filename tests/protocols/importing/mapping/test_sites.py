"""Order, axes and scale of sites, and what tells that sites and repeats were exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.assemble import assemble
from protocols.importing.contract import write_table
from protocols.importing.map import checked_map
from protocols.recordings.readers import read_responses

IMAGES = [f"p{i}" for i in range(6)]


def told(**sections: Any) -> Any:
    tables = {
        "unit": "au",
        "window_ms": [70, 170],
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "ids"},
    }
    for name, section in sections.items():
        tables[name] = {**tables[name], **section} if isinstance(tables.get(name), dict) else section
    return checked_map(tables, "test")


def file_of(folder: Path, values: np.ndarray, trials: int | None = None, **more: np.ndarray) -> Path:
    path = folder / "f.h5"
    ids = [IMAGES[t % 6] for t in range(trials or len(values))]
    with h5py.File(path, "w") as file:
        file["r"] = values
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype())
        for name, array in more.items():
            file[name] = array
    return path


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(7)), base=st.sampled_from([0, 1]))
def test_sites_come_in_the_order_that_is_asked_for_and_all_else_of_sites_in_that_order(
    order: list[int], base: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values, mapping = random(12, 7), np.array(order) + base
    path = file_of(tmp_path_factory.mktemp("order"), values, mapping=mapping)
    site = {"order": "mapping", "order_counted_from": base, "area": {"ranges": [["V1", 3], ["V4", 4]]}, "prefix": "e"}
    table = assemble(told(site=site), [path])
    np.testing.assert_array_equal(table.values, values[:, order])
    assert table.site["area"].tolist() == ["V1"] * 3 + ["V4"] * 4
    assert table.site_id.tolist() == [f"e{n:03d}" for n in range(1, 8)]
    assert any("order of 'mapping'" in note for note in table.notes)


@pytest.mark.parametrize(
    ("mapping", "base", "code"),
    [
        ([0, 1, 2, 3, 4, 5, 6], 1, "A26"),  # counts from 0
        ([1, 2, 3, 4, 5, 6, 7], 0, "A26"),  # counts from 1
        ([1, 2, 3, 4, 5, 6, 6], 1, "A26"),  # a site twice
        ([1, 2, 3, 4, 5, 6], 1, "A21"),  # a site too few
        ([1, 2, 3, 4, 5, 6, 7.5], 1, "A26"),
    ],
)
def test_an_order_that_is_none_is_refused(mapping: list[float], base: int, code: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, random(12, 7), mapping=np.array(mapping))
    with pytest.raises(DataError) as refused:
        assemble(told(site={"order": "mapping", "order_counted_from": base}), [path])
    assert refused.value.code == code


def test_numbers_are_scaled_when_they_are_read_and_keep_their_type(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-3000, 3000, (12, 4)).astype(np.int16)
    table = assemble(told(responses={"scale": 0.5}), [file_of(tmp_path, stored)])
    assert table.values.dtype == np.int16
    write_table(tmp_path / "out.h5", table)
    np.testing.assert_allclose(read_responses(tmp_path / "out.h5").values, stored * 0.5)


def test_two_scales_are_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, random(12, 4))
    with h5py.File(path, "r+") as file:
        file["r"].attrs["scale_factor"] = 0.1
    with pytest.raises(DataError, match="one of both"):
        assemble(told(responses={"scale": 0.5}), [path])


def test_voxels_along_three_axes_are_sites_and_a_volume_masks_them(tmp_path: Path) -> None:
    values, mask = random(12, 2, 3, 4), np.arange(24).reshape(2, 3, 4) % 5
    path = file_of(tmp_path, values, mask=mask)
    rows = [{"from": "mask", "is": [2]}]
    table = assemble(told(responses={"axes": ["trial", "site", "site", "site"]}, site={"rows": rows}), [path])
    np.testing.assert_array_equal(table.values, values.reshape(12, 24)[:, mask.ravel() == 2])


@pytest.mark.parametrize("axes", [["site", "trial", "site"], ["trial", "trial", "site"]])
def test_axes_named_twice_apart_are_refused(axes: list[str]) -> None:
    with pytest.raises(DataError) as refused:
        told(responses={"axes": axes})
    assert refused.value.code == "A12"


def test_rows_of_a_table_are_chosen_by_another_column(tmp_path: Path) -> None:
    values = random(3, 4)
    (tmp_path / "responses.tsv").write_text("SESSION\tID\n1\ta\n2\tb\n2\tc\n2\ta\n3\td\n")
    source = {"file": "responses.tsv", "array": "ID", "where": {"array": "SESSION", "is": [2]}}
    table = assemble(told(image={"id": source}), [file_of(tmp_path, values)])
    assert table.image.tolist() == ["b", "c", "a"]


def test_bins_that_end_at_the_times_of_a_file(tmp_path: Path) -> None:
    """`tb > 50 & tb <= 150` of a laboratory's code: the bins behind 60, 70, ... 150."""
    values, tb = random(12, 3, 30), np.arange(-100.0, 200.0, 10.0)
    path = file_of(tmp_path, values, tb=tb)
    table = assemble(
        told(window_ms=[50, 150], responses={"axes": ["trial", "site", "time"]}, time={"ends": "tb"}), [path]
    )
    write_table(tmp_path / "out.h5", table)
    chosen = (tb > 50) & (tb <= 150)
    np.testing.assert_allclose(read_responses(tmp_path / "out.h5").values, values[:, :, chosen].mean(2))


def padded(images: int, repeats: int, sites: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(images, repeats, sites))
    counts = np.r_[repeats, 1, rng.integers(1, repeats + 1, images - 2)]
    for image, count in enumerate(counts):
        values[image, count:] = np.nan
    return values


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), repeats=st.integers(2, 5), sites=st.integers(2, 5))
def test_exchanged_sites_and_repeats_are_refused_and_right_ones_are_not(
    seed: int, repeats: int, sites: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = padded(6, repeats, sites, seed)
    path = file_of(tmp_path_factory.mktemp("padded"), values)
    shown = {"values": IMAGES}
    right = told(responses={"axes": ["image", "repeat", "site"]}, image={"id": shown})
    kept = ~np.isnan(values.reshape(-1, sites)).all(1)
    np.testing.assert_array_equal(assemble(right, [path]).values, values.reshape(-1, sites)[kept])
    wrong = told(responses={"axes": ["image", "site", "repeat"]}, image={"id": shown})
    with pytest.raises(DataError, match="exchange"):
        assemble(wrong, [path])


def test_a_site_that_was_lost_for_some_images_is_no_exchange(tmp_path: Path) -> None:
    values = random(6, 3, 4)
    values[4:, :, 1] = np.nan
    table = assemble(
        told(responses={"axes": ["image", "repeat", "site"]}, image={"id": {"values": IMAGES}}),
        [file_of(tmp_path, values)],
    )
    assert table.values.shape == (18, 4)
