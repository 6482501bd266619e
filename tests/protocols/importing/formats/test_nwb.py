"""NWB files that pynwb wrote come back with the counts and means of brute force; what is not clear is refused or told."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from protocols.errors import DataError
from protocols.importing.contract import write_table
from protocols.importing.formats import FORMATS
from protocols.importing.formats.nwb import NwbOptions, read_nwb
from protocols.importing.pictures import write_pictures
from protocols.recordings.readers import read_responses
from tests.protocols.helpers.nwb_files import (
    PICTURES,
    TRIALS,
    add_images,
    add_series,
    add_table,
    add_trials,
    add_units,
    empty,
    names,
    nwb_file,
    session,
    write,
)

pytest.importorskip("pynwb")
WINDOW = (50.0, 170.0)


def read(path, **options):
    return read_nwb([path], NwbOptions(window_ms=WINDOW, **options))


def test_units_and_trials_come_back_as_they_were_made(tmp_path):
    path, s = nwb_file(tmp_path)
    table = read(path)
    assert np.array_equal(table.values, s.counts(WINDOW))
    assert table.values.dtype == np.int64
    assert table.image.tolist() == [names()[p] for p in s.picture]
    assert table.site_id.tolist() == ["unit_10", "unit_11", "unit_12", "unit_13"]
    assert table.site["area"].tolist() == ["V4", "V4", "IT", "IT"]
    assert table.site["electrode"].tolist() == ["0", "1", "2", "3"]
    assert table.site["x_um"].tolist() == [0, 10, 0, 10]
    assert table.site["y_um"].tolist() == [0, 0, 50, 50]
    assert table.unit == "spikes"
    assert table.attributes == {"subject": "m1", "session_id": "day3"}
    assert np.allclose(table.trial["onset_s"], s.onsets)
    assert np.allclose(table.trial["on_ms"], 200)
    assert not [n for n in table.notes if "mean response" in n]


def test_the_one_reader_takes_the_table(tmp_path):
    path, s = nwb_file(tmp_path)
    write_table(tmp_path / "r.h5", read(path))
    taken = read_responses(tmp_path / "r.h5", names=[f"{n}.png" for n in names()])
    assert np.array_equal(taken.values, s.counts(WINDOW))
    assert taken.site_ids == ("unit_10", "unit_11", "unit_12", "unit_13")
    assert taken.image_ids.tolist() == [names()[p] for p in s.picture]


def test_the_catalogue_has_the_format():
    row = FORMATS["nwb"]
    assert (row.options, row.read, row.needs, row.extra) == (NwbOptions, read_nwb, ("pynwb",), "nwb")


def test_units_are_chosen_by_their_columns(tmp_path):
    def build(file, s):
        add_units(file, s, quality=["good", "mua", "good", "noise"], snr=[3.0, 4.0, 1.0, np.nan])
        add_trials(file, s)

    path, s = nwb_file(tmp_path, build)
    told = read(path)
    assert any("quality says (good: 2, mua: 1, noise: 1)" in n for n in told.notes)
    good = read(path, keep_sites={"quality": "good"})
    assert np.array_equal(good.values, s.counts(WINDOW, [0, 2]))
    assert good.site["area"].tolist() == ["V4", "IT"]
    assert read(path, keep_sites={"snr": ">= 3"}).site_id.tolist() == ["unit_10", "unit_11"]
    both = read(path, keep_sites={"quality": ["good", "mua"], "snr": "> 1"}, site_id_column="snr")
    assert both.site_id.tolist() == ["3.0", "4.0"]
    assert any("2 of 4 rows of units were kept" in n for n in both.notes)


def test_a_table_of_presentations_counts_the_pictures_of_a_template(tmp_path):
    from pynwb.image import ImageSeries

    def build(file, s):
        add_units(file, s)
        pixels = s.pixels
        file.add_stimulus_template(
            ImageSeries(name="natural_scenes", data=pixels, unit="NA", format="raw", timestamps=np.arange(6.0))
        )
        frame = s.picture.astype(float)
        frame[::7] = -1.0
        add_table(file, s, "natural_scenes_presentations", values=frame)
        add_table(file, s, "spontaneous_presentations", values=s.onsets, image="contrast")

    path, s = nwb_file(tmp_path, build)
    table = read(path)
    blank = np.arange(TRIALS) % 7 == 0
    expected = [f"natural_scenes_{p:04d}" for p in s.picture]
    assert table.image[~blank].tolist() == [e for e, b in zip(expected, blank, strict=True) if not b]
    assert table.trial["valid"].tolist() == (~blank).astype(int).tolist()
    assert any("have no image" in n for n in table.notes)
    assert any("natural_scenes_presentations (the only one" in n for n in table.notes)
    assert table.images is not None
    for p in range(PICTURES):
        assert np.array_equal(table.images[f"natural_scenes_{p:04d}"][..., 0], s.pixels[p])


@pytest.mark.parametrize("rate", [False, True])
def test_an_index_series_counts_pictures_in_their_order(tmp_path, rate):
    def build(file, s):
        if rate:
            s.onsets = 1.0 + np.arange(TRIALS) / 2.5
        add_units(file, s)
        add_series(file, s, add_images(file, s), **({"rate": 2.5, "starting_time": 1.0} if rate else {}))

    path, s = nwb_file(tmp_path, build)
    table = read(path)
    assert table.image.tolist() == [names()[p] for p in s.picture]
    assert np.array_equal(table.values, s.counts(WINDOW))
    folder = tmp_path / "pictures"
    assert [p.name for p in write_pictures(table, folder)] == [f"{n}.png" for n in names()]
    from PIL import Image

    for p, name in enumerate(names()):
        with Image.open(folder / f"{name}.png") as picture:
            assert np.array_equal(np.asarray(picture), s.pixels[p])


def test_an_index_series_of_a_time_series_counts_its_frames(tmp_path):
    """Older files link an ImageSeries, which pynwb reads and writes no more."""
    from pynwb.image import ImageSeries

    def build(file, s):
        add_units(file, s)
        add_series(file, s, add_images(file, s))
        file.add_stimulus_template(ImageSeries(name="scenes", data=s.pixels, unit="NA", format="raw", rate=1.0))

    path, s = nwb_file(tmp_path, build)
    with h5py.File(path, "r+") as file:
        del file["stimulus/presentation/shown/indexed_images"]
        file["stimulus/presentation/shown/indexed_timeseries"] = h5py.SoftLink("/stimulus/templates/scenes")
    assert read(path).image.tolist() == [f"scenes_{p:04d}" for p in s.picture]


def test_numbers_without_pictures_name_the_images(tmp_path):
    def build(file, s):
        add_units(file, s)
        add_trials(file, s, image="stimulus_id", values=s.picture)

    path, s = nwb_file(tmp_path, build)
    table = read(path)
    assert table.image.tolist() == [str(p) for p in s.picture]
    assert any("named by their numbers" in n for n in table.notes)


def test_what_was_not_observed_has_no_response(tmp_path):
    def build(file, s):
        end = s.onsets[-1] + 1
        halves = [[[0.0, end]], [[0.0, s.onsets[30]]], [[0.0, 5.0], [5.0, end]], [[0.0, end]]]
        add_units(file, s, obs_intervals=halves)
        add_trials(file, s)

    path, s = nwb_file(tmp_path, build)
    table = read(path)
    seen = ~np.isnan(table.values)
    assert seen[:, [0, 2, 3]].all()
    assert seen[:, 1].tolist() == (s.onsets + 0.17 <= s.onsets[30]).tolist()
    assert np.array_equal(table.values[seen], s.counts(WINDOW)[seen])
    assert any("observed intervals" in n for n in table.notes)


def test_invalid_times_and_a_column_of_validity_mark_rows(tmp_path):
    def build(file, s):
        add_units(file, s)
        add_trials(file, s, correct=[t != 5 for t in range(TRIALS)], block_number=[t // 12 for t in range(TRIALS)])
        file.add_invalid_time_interval(start_time=s.onsets[10] + 0.1, stop_time=s.onsets[12] + 0.01)

    path, _ = nwb_file(tmp_path, build)
    table = read(path, valid_column="correct", block_column="block_number")
    assert np.nonzero(table.trial["valid"] == 0)[0].tolist() == [5, 10, 11, 12]
    assert table.trial["block"].tolist() == [t // 12 for t in range(TRIALS)]
    assert any("invalid_times" in n for n in table.notes)


def test_rows_of_other_stimuli_are_left_out(tmp_path):
    def build(file, s):
        add_units(file, s)
        kind = ["grating" if t % 3 else "natural" for t in range(TRIALS)]
        add_trials(file, s, stimulus_name=kind)

    path, s = nwb_file(tmp_path, build)
    table = read(path, keep_presentations={"stimulus_name": "natural"})
    assert np.array_equal(table.values, s.counts(WINDOW)[::3])
    assert any("40 of 60 rows" in n for n in table.notes)


def test_several_images_per_trial(tmp_path):
    def build(file, s):
        add_units(file, s)
        file.add_trial_column(name="image_id", description="d", index=True)
        file.add_trial_column(name="image_onset", description="d", index=True)
        for t in range(0, TRIALS, 3):
            rows = [t, t + 1, t + 2]
            file.add_trial(
                start_time=s.onsets[t] - 0.3,
                stop_time=s.onsets[t + 2] + 0.2,
                image_id=[names()[s.picture[r]] for r in rows],
                image_onset=[s.onsets[r] for r in rows],
            )

    path, s = nwb_file(tmp_path, build)
    table = read(path, onset_column="image_onset")
    assert np.array_equal(table.values, s.counts(WINDOW))
    assert table.image.tolist() == [names()[p] for p in s.picture]
    with pytest.raises(DataError) as refused:
        read(path, onset_column="start_time")
    assert refused.value.code == "H07"


def test_times_in_other_units_are_scaled_where_the_user_says_so(tmp_path):
    def build(file, s):
        spikes = s.spikes
        s.spikes = [np.rint(t * 1e6) for t in spikes]
        add_units(file, s)
        s.spikes = spikes
        add_trials(file, s)

    path, s = nwb_file(tmp_path, build)
    with pytest.raises(DataError) as refused:
        read(path)
    assert refused.value.code == "H02"
    assert np.array_equal(read(path, spike_seconds=1e-6).values, s.counts(WINDOW))


def test_a_baseline_stands_beside_or_is_subtracted(tmp_path):
    path, s = nwb_file(tmp_path)
    before = s.counts((-100.0, 0.0))
    assert np.allclose(read(path, baseline_ms=(-100, 0)).baseline, 1.2 * before)
    less = read(path, baseline_ms=(-100, 0), subtract_baseline=True)
    assert less.unit == "au"
    assert np.allclose(less.values, s.counts(WINDOW) / 0.12 - before / 0.1)


def test_a_wrong_window_is_told(tmp_path):
    path, _ = nwb_file(tmp_path)
    table = read_nwb([path], NwbOptions(window_ms=(250, 350)))
    assert any("the mean response is largest from" in n for n in table.notes)
    assert table.psth is not None


def computed_file(tmp_path, *, region=True, sites=True, drop=0):
    """Counts in a table of a processing module, its rows in another order than those of the trials."""
    from hdmf.common import DynamicTable, DynamicTableRegion, VectorData

    s, file = session(), empty()
    add_trials(file, s)
    order = np.random.default_rng(1).permutation(TRIALS)[drop:] if region else np.arange(TRIALS)[drop:]
    module = file.create_processing_module(name="ecephys", description="d")
    columns = [VectorData(name="response", data=s.counts(WINDOW)[order].astype(np.int32), description="d")]
    if region:
        columns.append(DynamicTableRegion(name="trial", data=order.tolist(), description="d", table=file.trials))
    if sites:
        about = {"site_id": list("abcd"), "unit": ["spikes"] * 4, "area": ["V4", "V4", "IT", "IT"]}
        about |= {"window_start_ms": [WINDOW[0]] * 4, "window_stop_ms": [WINDOW[1]] * 4}
        made = [VectorData(name=n, data=c, description="d") for n, c in about.items()]
        module.add(DynamicTable(name="sites", description="d", columns=made))
    module.add(DynamicTable(name="responses", description="d", columns=columns))
    return write(tmp_path / "s.nwb", file), s


def test_responses_that_were_computed_before_are_taken_by_their_trial(tmp_path):
    path, s = computed_file(tmp_path)
    table = read(path)
    assert np.array_equal(table.values, s.counts(WINDOW))
    assert (table.unit, table.site_id.tolist()) == ("spikes", list("abcd"))
    assert table.site["area"].tolist() == ["V4", "V4", "IT", "IT"]
    assert table.psth is None
    kept = read(path, keep_sites={"area": "IT"}, keep_presentations={"image_id": "scene_002"})
    assert np.array_equal(kept.values, s.counts(WINDOW)[s.picture == 2][:, 2:])
    for options in ({"baseline_ms": (-100, 0)}, {"window_ms": (50, 180)}):
        with pytest.raises(DataError) as refused:
            read_nwb([path], NwbOptions(**({"window_ms": WINDOW} | options)))
        assert refused.value.code == "H07"


def test_responses_without_a_word_on_trials_sites_or_unit(tmp_path):
    path, s = computed_file(tmp_path, region=False, sites=False)
    with pytest.raises(DataError) as refused:
        read(path)
    assert "unit" in refused.value.expected
    assert np.array_equal(read(path, unit="spikes").values, s.counts(WINDOW))
    short, _ = computed_file(tmp_path, region=False, drop=3)
    with pytest.raises(DataError) as refused:
        read(short)
    assert refused.value.code == "H07"
    some, _ = computed_file(tmp_path, drop=3)
    assert np.isnan(read(some).values).all(axis=1).sum() == 3


def roi_file(tmp_path, *, transposed=False, name="dff", container="DfOverF", rate=None, drop=(), conversion=1.0):
    from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries

    rng = np.random.default_rng(0)
    s, file = session(), empty()
    times = np.delete(np.arange(0, 26, 0.05), list(drop))
    traces = rng.normal(size=(len(times), 3))
    device = file.create_device(name="scope")
    channel = OpticalChannel(name="c", description="d", emission_lambda=500.0)
    plane = file.create_imaging_plane(
        name="plane",
        optical_channel=channel,
        description="d",
        device=device,
        excitation_lambda=900.0,
        indicator="GCaMP6s",
        location="V1",
        imaging_rate=20.0,
    )
    segmented = ImageSegmentation()
    table = segmented.create_plane_segmentation(name="rois", imaging_plane=plane, description="d")
    table.add_column(name="Accepted", description="d")
    for roi in range(3):
        table.add_roi(pixel_mask=[(roi, 1, 1.0)], id=roi + 5, Accepted=int(roi != 1))
    module = file.create_processing_module(name="ophys", description="d")
    module.add(segmented)
    held = {"DfOverF": DfOverF, "Fluorescence": Fluorescence}[container]()
    module.add(held)
    region = table.create_roi_table_region(region=[0, 1, 2], description="d")
    clock = {"timestamps": times} if rate is None else {"rate": rate, "starting_time": 0.0}
    series = RoiResponseSeries(
        name=name, data=traces.T if transposed else traces, rois=region, unit="n.a.", conversion=conversion, **clock
    )
    held.add_roi_response_series(series)
    add_trials(file, s)
    return write(tmp_path / "rois.nwb", file), s, times, traces


def mean_of_milliseconds(times, trace, onset, window):
    """Mean over 10000 moments of the window of the frame that each lies in."""
    at = onset + window[0] / 1000 + (np.arange(10_000) + 0.5) / 10_000 * (window[1] - window[0]) / 1000
    return trace[np.searchsorted(times, at, "right") - 1].mean()


@pytest.mark.parametrize("kind", ["timestamps", "rate", "transposed"])
@pytest.mark.filterwarnings("ignore:.*second dimension.*")
def test_traces_of_rois_are_averaged(tmp_path, kind):
    path, s, times, traces = roi_file(
        tmp_path, transposed=kind == "transposed", rate=None if kind == "timestamps" else 20.0
    )
    table = read_nwb([path], NwbOptions(window_ms=(100, 320)))
    assert table.unit == "dff"
    assert table.site_id.tolist() == ["roi_5", "roi_6", "roi_7"]
    assert table.site["area"].tolist() == ["V1"] * 3
    for t in (0, 17, 59):
        for u in range(3):
            expected = mean_of_milliseconds(times, traces[:, u], s.onsets[t], (100, 320))
            assert abs(table.values[t, u] - expected) < 2e-3
    assert any("transposed" in n for n in table.notes) == (kind == "transposed")
    kept = read_nwb([path], NwbOptions(window_ms=(100, 320), keep_sites={"Accepted": 1}))
    assert kept.site_id.tolist() == ["roi_5", "roi_7"]
    assert np.array_equal(kept.values, table.values[:, [0, 2]])


def test_missing_frames_and_units_of_traces(tmp_path):
    path, s, _, _ = roi_file(tmp_path, name="Deconvolved", container="Fluorescence", drop=range(200, 206))
    table = read_nwb([path], NwbOptions(window_ms=(0, 200)))
    assert table.unit == "deconvolved"
    lost = np.isnan(table.values).all(axis=1)
    assert 1 <= lost.sum() <= 3
    assert np.all(np.abs(s.onsets[lost] - 10.1) < 0.5)
    assert read_nwb([path], NwbOptions(window_ms=(0, 200), unit="au")).unit == "au"


def test_conversion_is_applied_and_told(tmp_path):
    path, *_ = roi_file(tmp_path, name="Fluorescence", container="Fluorescence", conversion=0.5)
    (tmp_path / "b").mkdir()
    plain, *_ = roi_file(tmp_path / "b", name="Fluorescence", container="Fluorescence")
    table, whole = (read_nwb([p], NwbOptions(window_ms=(0, 200))) for p in (path, plain))
    assert np.allclose(table.values, whole.values / 2)
    assert table.unit == "au"
    assert any("conversion" in n for n in table.notes)
