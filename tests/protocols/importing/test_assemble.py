"""The layouts that laboratories use become the same table; what a map decides is told."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.importing.assemble import assemble
from protocols.importing.contract import ImportedTable, write_table
from protocols.importing.map import checked_map
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.layouts import IMAGES, NAMES, REPEATS, SITE_NAMES, SITES, WINDOW, cube, recording, write

COUNTS, SHOWN = recording()
PLAIN: dict[str, Any] = {"unit": "spikes", "window_ms": WINDOW}


def taken(files: list[Path], told: dict[str, Any], **more: Any) -> ImportedTable:
    return assemble(checked_map({**PLAIN, **told}, "map.toml"), files, names=NAMES, **more)


def read_back(tmp_path: Path, table: ImportedTable):
    write_table(tmp_path / "out.h5", table)
    return read_responses(tmp_path / "out.h5", names=NAMES)


def test_presentations_with_names_in_hdf5(tmp_path):
    file = write(tmp_path / "a.h5", {"r": COUNTS.T, "img": np.array(NAMES)[SHOWN], "s": np.array(SITE_NAMES)})
    table = taken(
        [file], {"responses": {"array": "r", "axes": ["site", "trial"]}, "image": {"id": "img"}, "site": {"id": "s"}}
    )
    assert table.values.dtype == np.uint16
    assert np.array_equal(table.values, COUNTS)
    assert table.image.tolist() == [NAMES[i] for i in SHOWN]
    assert table.site_id.tolist() == SITE_NAMES
    assert np.array_equal(read_back(tmp_path, table).values, COUNTS)


@pytest.mark.parametrize("kind", ["a.mat", "b73.mat"])
def test_images_x_repeats_x_sites_with_padding(tmp_path, kind):
    filled = cube(COUNTS, SHOWN, spare=2)
    filled[3, 3] = np.nan  # one image was shown less often
    file = write(tmp_path / kind, {"resp": filled.transpose(2, 0, 1), "other": np.ones(3)})
    told = {"responses": {"array": "resp", "axes": ["site", "image", "repeat"]}, "image": {"order": "sorted"}}
    table = taken([file], told)
    assert table.values.shape == (IMAGES * REPEATS - 1, SITES)
    assert np.array_equal(table.values, filled.reshape(-1, SITES)[~np.isnan(filled).all(2).reshape(-1)])
    assert table.image.tolist() == [i for i in range(IMAGES) for _ in range(REPEATS - (i == 3))]
    assert any("left out as padding: 3 to 4 presentations per image" in note for note in table.notes)
    assert len(read_back(tmp_path, table).values) == IMAGES * REPEATS - 1


def test_repeats_missing_at_some_sites_are_kept(tmp_path):
    filled = cube(COUNTS, SHOWN)
    filled[0, 0, 1] = np.nan
    np.save(tmp_path / "a.npy", filled)
    told = {"responses": {"axes": ["image", "repeat", "site"]}, "image": {"order": "sorted"}}
    table = taken([tmp_path / "a.npy"], told)
    assert len(table.values) == IMAGES * REPEATS
    assert np.isnan(table.values[0, 1])


def test_averages_say_over_how_many(tmp_path):
    file = write(tmp_path / "a.h5", {"m": cube(COUNTS, SHOWN).mean(1).T, "n": np.full(IMAGES, REPEATS)})
    told = {"responses": {"array": "m", "axes": ["site", "image"], "averaged_over": "n"}, "image": {"order": "sorted"}}
    read = read_back(tmp_path, taken([file], told))
    assert read.averaged_over is not None
    assert set(read.averaged_over.tolist()) == {REPEATS}


@pytest.mark.parametrize("base", [0, 1])
def test_positions_in_a_list_of_names(tmp_path, base):
    (tmp_path / "list.csv").write_text("n,path\n" + "".join(f"{i},set/{n}\n" for i, n in enumerate(NAMES[::-1])))
    file = write(tmp_path / "a.npz", {"r": COUNTS, "i": (IMAGES - 1 - SHOWN + base).astype(float)})
    names = {"file": "list.csv", "array": "path"}
    told = {
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": base, "names": names, "basename": True},
    }
    assert taken([file], told, folder=tmp_path).image.tolist() == [NAMES[i] for i in SHOWN]


def test_numbers_that_the_pictures_are_called_by(tmp_path):
    file = write(tmp_path / "a.npz", {"r": COUNTS, "i": SHOWN})
    told = {"responses": {"array": "r", "axes": ["trial", "site"]}, "image": {"id": "i", "format": "scene_{:02d}.png"}}
    assert taken([file], told).image.tolist() == [NAMES[i] for i in SHOWN]


def test_two_lists_of_images_as_train_and_test(tmp_path):
    test = SHOWN < 4
    mat = np.stack([np.arange(len(SHOWN)), np.where(test, 0, SHOWN - 3), np.where(test, SHOWN + 1, 0)], axis=1)
    file = write(tmp_path / "a.mat", {"ALLMUA": COUNTS.T, "ALLMAT": mat.astype(float)})
    lists = write(tmp_path / "imgs73.mat", {"train": np.array(NAMES[4:]), "test": np.array(NAMES[:4])})
    sets = [
        {"id": {"array": "ALLMAT", "column": c}, "counted_from": 1, "names": {"file": lists.name, "array": name}}
        for c, name in ((2, "train"), (3, "test"))
    ]
    told = {"responses": {"array": "ALLMUA", "axes": ["site", "trial"]}, "image": {"sets": sets}}
    assert taken([file, lists], told).image.tolist() == [NAMES[i] for i in SHOWN]


def test_a_long_table_is_turned(tmp_path):
    lines = ["trial,unit,area,stim,count"]
    for t in np.random.default_rng(0).permutation(len(SHOWN) * SITES):
        row, site = divmod(int(t), SITES)
        lines.append(f"{row},{SITE_NAMES[site]},V4,{NAMES[SHOWN[row]]},{COUNTS[row, site]}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    told = {
        "responses": {"array": "count", "axes": ["entry"]},
        "entries": {"trial": "trial", "site": "unit"},
        "image": {"id": "stim"},
        "site": {"area": "area"},
    }
    table = taken([tmp_path / "a.csv"], told)
    means = {(i, s): table.values[table.image == i][:, table.site_id == s].mean() for i in NAMES for s in SITE_NAMES}
    assert all(
        means[NAMES[i], SITE_NAMES[s]] == COUNTS[i == SHOWN][:, s].mean() for i in range(IMAGES) for s in range(SITES)
    )
    assert set(table.site["area"].tolist()) == {"V4"}


def test_a_table_with_one_column_per_site(tmp_path):
    head = ";".join(["bild", *SITE_NAMES, "onset"])
    rows = [";".join([NAMES[i], *map(str, c), f"{t},5"]) for t, (i, c) in enumerate(zip(SHOWN, COUNTS, strict=True))]
    (tmp_path / "a.csv").write_text("\n".join([head, *rows]), encoding="utf-8-sig")
    told = {
        "responses": {"arrays": ["v4_*"], "axes": ["trial"]},
        "image": {"id": "bild"},
        "trial": {"onset": "onset", "onset_unit": "ms"},
    }
    table = taken([tmp_path / "a.csv"], told)
    assert table.site_id.tolist() == SITE_NAMES
    assert np.array_equal(table.values, COUNTS)
    assert table.trial["onset_s"][:2].tolist() == pytest.approx([0.0005, 0.0015])


def test_days_are_put_one_after_another_by_the_names_of_sites(tmp_path):
    files = []
    for day, order in ((0, range(SITES)), (1, range(SITES - 1, -1, -1))):
        half = slice(day * 24, day * 24 + 24)
        arrays = {"r": COUNTS[half][:, list(order)], "i": SHOWN[half], "s": np.array(SITE_NAMES)[list(order)]}
        files.append(write(tmp_path / f"day{day}.npz", arrays))
    told = {
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 0},
        "site": {"id": "s"},
    }
    table = taken(files, told)
    assert np.array_equal(table.values, COUNTS)
    assert np.array_equal(table.image, SHOWN)
    assert any("2 files" in note for note in table.notes)


def test_arrays_of_two_probes_are_put_beside_each_other(tmp_path):
    files = [
        write(tmp_path / f"{n}.npz", {"r": COUNTS[:, part], "i": SHOWN, "s": np.array(SITE_NAMES)[part]})
        for n, part in (("a", slice(0, 2)), ("b", slice(2, None)))
    ]
    told = {
        "responses": {"array": "r", "axes": ["trial", "site"], "join": "site"},
        "image": {"id": "i", "counted_from": 0},
        "site": {"id": "s"},
    }
    assert np.array_equal(taken(files, told).values, COUNTS)


def test_time_bins_of_the_window_and_the_psth_of_all(tmp_path):
    rng = np.random.default_rng(0)
    bins = rng.multinomial(1, [0.05] * 20, (len(SHOWN), SITES))[..., :20] * 0 + rng.poisson(
        1.0, (len(SHOWN), SITES, 20)
    )
    file = write(tmp_path / "a.h5", {"r": bins.transpose(2, 1, 0), "t": np.linspace(-0.1, 0.3, 21), "i": SHOWN})
    told = {
        "responses": {"array": "r", "axes": ["time", "site", "trial"]},
        "image": {"id": "i", "counted_from": 0},
        "time": {"edges": "t", "unit": "s"},
        "window_ms": [60, 180],
    }
    table = taken([file], told)
    assert table.values.shape == (len(SHOWN), SITES, 6)
    assert table.psth is not None
    assert table.psth.values == pytest.approx(bins.mean(0) / 0.02)
    assert np.array_equal(read_back(tmp_path, table).values, bins[:, :, 8:14].sum(2))


@pytest.mark.parametrize("stated", [{"start": -100, "step": 20}, {"centres": list(np.arange(-90.0, 300, 20))}])
def test_time_bins_by_start_or_middle(tmp_path, stated):
    np.savez(tmp_path / "a.npz", r=np.ones((len(SHOWN), SITES, 20)), i=SHOWN)
    told = {
        "responses": {"array": "r", "axes": ["trial", "site", "time"]},
        "image": {"id": "i", "counted_from": 0},
        "time": {**stated, "keep_all": True},
    }
    assert taken([tmp_path / "a.npz"], told).time_bin_edges_ms == pytest.approx(np.linspace(-100, 300, 21))


def test_rows_and_sites_are_chosen_and_counted(tmp_path):
    arrays = {"r": COUNTS, "i": SHOWN + 1, "ok": np.arange(len(SHOWN)) % 8 > 0, "rel": np.linspace(0, 1, SITES)}
    arrays["i"][5] = 0
    file = write(tmp_path / "a.npz", arrays)
    told = {
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 1, "none": [0]},
        "trial": {"rows": [{"from": "ok", "is": [True]}], "valid": "ok"},
        "site": {"rows": [{"from": "rel", "at_least": 0.4}], "columns": {"reliability": "rel"}, "prefix": "u"},
    }
    table = taken([file], told)
    kept = arrays["ok"] & (np.arange(len(SHOWN)) != 5)
    assert np.array_equal(table.values, COUNTS[kept][:, 2:])
    assert table.site_id.tolist() == ["u003", "u004", "u005"]
    assert table.site["reliability"].tolist() == [0.5, 0.75, 1.0]
    assert any("1 presentations show no image" in note for note in table.notes)


def test_what_hdf5_never_wrote_is_missing(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("r", (len(SHOWN), SITES), "u2", chunks=(8, SITES))
        made[:40] = COUNTS[:40]
        file["i"] = SHOWN
    told = {"responses": {"array": "r", "axes": ["trial", "site"]}, "image": {"id": "i", "counted_from": 0}}
    table = taken([tmp_path / "a.h5"], told)
    assert np.isnan(table.values[40:]).all()
    assert np.array_equal(table.values[:40], COUNTS[:40])


def test_areas_in_ranges_and_a_baseline(tmp_path):
    file = write(tmp_path / "a.npz", {"r": COUNTS, "i": SHOWN, "b": np.arange(SITES)[:, None] + np.zeros(len(SHOWN))})
    told = {
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 0},
        "site": {"area": {"ranges": [["V1", 2], ["V4", 3]]}},
        "baseline": {"array": "b", "axes": ["site", "trial"]},
    }
    table = taken([file], told)
    assert table.site["area"].tolist() == ["V1", "V1", "V4", "V4", "V4"]
    assert np.array_equal(table.baseline, np.tile(np.arange(SITES), (len(SHOWN), 1)))


@pytest.mark.parametrize("kind", ["a.h5", "a73.mat", "a.mat"])
def test_large_arrays_are_read_in_parts_to_the_same_table(tmp_path, monkeypatch, kind):
    from protocols.importing.mapping import slabs

    rng = np.random.default_rng(0)
    bins = rng.poisson(1.0, (len(SHOWN), SITES, 20)).astype(np.float32)
    bins[3, 2] = np.nan
    file = write(tmp_path / kind, {"r": bins.transpose(1, 2, 0), "i": SHOWN + 1, "m": np.array([3, 1, 2, 5, 4])})
    told = {
        "unit": "au",
        "responses": {"array": "r", "axes": ["site", "time", "trial"]},
        "image": {"id": "i", "counted_from": 1},
        "time": {"start": -100, "step": 20},
        "window_ms": [60, 180],
        "site": {"order": "m", "order_counted_from": 1, "rows": [{"from": {"ranges": [[1, 2], [2, 3]]}, "is": [2]}]},
        "trial": {"rows": [{"from": "i", "at_most": 9}]},
    }
    whole = taken([file], told)
    monkeypatch.setattr(slabs, "LARGE", 10)
    monkeypatch.setattr(slabs, "SLAB", 1000)
    parts = taken([file], told)
    kept = bins[SHOWN < 9][:, [1, 4, 3]]
    assert any("read in parts" in note for note in parts.notes)
    for table in (whole, parts):
        assert np.array_equal(table.values, kept[:, :, 8:14], equal_nan=True)
        assert table.psth is not None
        assert table.psth.values == pytest.approx(np.nanmean(kept, axis=0), rel=1e-6)


@pytest.mark.parametrize("axes", [["image", "y", "x", "colour"], ["x", "y", "colour", "image"], ["y", "image", "x"]])
def test_pictures_in_the_files_become_a_folder_of_pictures(tmp_path, axes):
    from PIL import Image

    from protocols.importing.recording import import_recording

    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 20, 24, 3), dtype=np.uint8)
    names = ["image", "y", "x", "colour"][: len(axes)]
    held = pixels if len(axes) == 4 else pixels[..., 0]
    file = write(tmp_path / "a.h5", {"r": COUNTS, "i": SHOWN + 1, "p": held.transpose([names.index(a) for a in axes])})
    told = {
        **PLAIN,
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 1},
        "pictures": {"array": "p", "axes": axes, "format": "p_{:03d}.png", "counted_from": 1},
    }
    out, into = tmp_path / "out.h5", tmp_path / "shown"
    seen = import_recording(checked_map(told, "m"), [file], out=None, pictures_into=into)
    assert not into.exists()
    made = import_recording(checked_map(told, "m"), [file], out=out, pictures_into=into, unpaired="random pixels")
    assert seen.table.image.tolist() == made.table.image.tolist() == [f"p_{n + 1:03d}.png" for n in SHOWN]
    assert np.array_equal(np.asarray(Image.open(into / "p_003.png")), held[2])
    assert len(list(into.iterdir())) == IMAGES


def test_pictures_of_other_numbers_are_refused(tmp_path):
    from protocols.importing.recording import import_recording

    file = write(tmp_path / "a.h5", {"r": COUNTS, "i": SHOWN, "p": np.random.default_rng(0).random((IMAGES, 8, 8))})
    told = {
        **PLAIN,
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 0},
        "pictures": {"array": "p", "axes": ["image", "y", "x"]},
    }
    with pytest.raises(DataError) as refused:
        import_recording(checked_map(told, "m"), [file], out=tmp_path / "out.h5", pictures_into=tmp_path / "shown")
    assert refused.value.code == "A26"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5"]


@pytest.mark.parametrize("name", ["v4[{}]", "s.u{}", "a*{}", "q?{}"])
def test_arrays_of_any_name_are_found_by_it(tmp_path, name):
    names = [name.format(n) for n in range(SITES)]
    file = write(tmp_path / "a.h5", dict(zip(names, COUNTS.T, strict=True)) | {"i": SHOWN})
    image = {"id": "i", "counted_from": 0}
    table = taken([file], {"responses": {"arrays": names, "axes": ["trial"]}, "image": image})
    assert table.site_id.tolist() == names
    assert np.array_equal(table.values, COUNTS)


def test_files_of_any_name_are_found_by_it(tmp_path):
    file = write(tmp_path / "day[1].h5", {"r": COUNTS})
    write(tmp_path / "list[1].h5", {"n": np.array(NAMES)[SHOWN]})
    responses = {"array": "r", "axes": ["trial", "site"], "files": ["day[1].h5"]}
    table = taken([file], {"responses": responses, "image": {"id": {"file": "list[1].h5", "array": "n"}}})
    assert table.image.tolist() == [NAMES[i] for i in SHOWN]


def test_averages_of_counts_agree_with_their_number(tmp_path):
    means = np.stack([COUNTS[n == SHOWN][:2].mean(axis=0) for n in range(IMAGES)])
    file = write(tmp_path / "a.npz", {"r": means})

    def over(number: int) -> ImportedTable:
        responses = {"array": "r", "axes": ["image", "site"], "averaged_over": number}
        return taken([file], {"responses": responses, "image": {"order": "sorted"}})

    assert not any("whole numbers" in note for note in over(2).notes)
    assert any("no whole numbers of spikes" in note for note in over(3).notes)
    with pytest.raises(DataError) as caught:
        over(1)
    assert caught.value.code == "A26"


def test_a_file_that_is_given_twice_is_refused_and_nameless_sites_are_told(tmp_path):
    told = {"responses": {"array": "r", "axes": ["trial", "site"]}, "image": {"id": "i", "counted_from": 0}}
    half = len(SHOWN) // 2
    one = write(tmp_path / "1.npz", {"r": COUNTS[:half], "i": SHOWN[:half]})
    two = write(tmp_path / "2.npz", {"r": COUNTS[half:], "i": SHOWN[half:]})
    same = write(tmp_path / "3.npz", {"r": COUNTS[:half], "i": SHOWN[:half]})
    other = write(tmp_path / "4.npz", {"r": COUNTS[:half] + 1, "i": SHOWN[:half]})
    assert any("do not name their sites" in note for note in taken([one, two], told).notes)
    assert any("the same images in the same order" in note for note in taken([one, other], told).notes)
    for files in ([one, one], [one, two, same]):
        with pytest.raises(DataError) as caught:
            taken(files, told)
        assert caught.value.code == "A23"


def test_dates_are_no_ids(tmp_path):
    file = write(tmp_path / "a.npz", {"r": COUNTS, "d": np.full(len(COUNTS), "2024-02-01", dtype="M8[D]")})
    with pytest.raises(DataError) as caught:
        taken([file], {"responses": {"array": "r", "axes": ["trial", "site"]}, "image": {"id": "d"}})
    assert caught.value.code == "A26"


@settings(max_examples=20, deadline=None)
@given(
    written=st.lists(st.booleans(), min_size=8, max_size=8),
    fill=st.sampled_from([None, 0, -5, 3]),
    dtype=st.sampled_from(["i2", "f4"]),
    matlab=st.booleans(),
)
def test_what_was_never_written_is_missing_in_parts_as_in_whole(written, fill, dtype, matlab):
    from protocols.importing.mapping import slabs

    values = np.random.default_rng(0).poisson(3.0, (20, 6, 8)).astype(dtype)
    shown = {"r": values, "q": values.transpose()}["q" if matlab else "r"]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / ("a.mat" if matlab else "a.h5")
        with h5py.File(file, "w") as made:
            chunks = (8, 3, 5) if matlab else (5, 3, 8)
            data = made.create_dataset("r", shown.shape, dtype, chunks=chunks, fillvalue=fill)
            if matlab:
                data.attrs["MATLAB_class"] = np.bytes_({"i2": "int16", "f4": "single"}[dtype])
            for number, there in enumerate(written):
                begin, site = 5 * (number // 2), 3 * (number % 2)
                part = (slice(begin, begin + 5), slice(site, site + 3), slice(None))
                if there:
                    data[part[::-1] if matlab else part] = shown[part[::-1] if matlab else part]
        told = {
            "unit": "au",
            "window_ms": [10, 50],
            "responses": {"array": "r", "axes": ["trial", "site", "time"]},
            "image": {"id": {"values": list(range(20))}, "format": "{:02d}.png"},
            "time": {"start": 0, "step": 10},
        }
        whole = taken([file], told)
        patch.setattr(slabs, "LARGE", 10)
        patch.setattr(slabs, "SLAB", 500)
        parts = taken([file], told)
    never = ~np.repeat(np.repeat(np.reshape(written, (4, 2)), 5, axis=0), 3, axis=1)
    for table in (whole, parts):
        assert np.isnan(table.values[never].astype(float)).all()
        assert np.array_equal(np.isnan(table.values.astype(float)), np.isnan(whole.values.astype(float)))
    assert np.array_equal(parts.values, whole.values, equal_nan=True)
    assert parts.psth.values == pytest.approx(whole.psth.values, nan_ok=True)
