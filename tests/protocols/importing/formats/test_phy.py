"""Folders as Kilosort 4 and phy write them are counted right; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import (
    RATE,
    WINDOW,
    a_day,
    assert_the_day,
    read_back,
    write_rows,
)

CLUSTERS = (4, 0, 17)  # of units 0, 1, 2
EVENTS = {"onset_unit": "s"}
DAY = a_day()
PARAMS = """n_channels_dat = 385
offset = 0
sample_rate = 30000.0
dtype = 'int16'
hp_filtered = False
dat_path = 'C:\\Users\\someone\\recording.bin'
"""


def kilosort4(folder: Path, day=DAY) -> Path:
    """As `save_to_phy` of Kilosort 4 writes it: names, types and text."""
    folder.mkdir(parents=True)
    samples, units = day.flat()
    clusters = np.array(CLUSTERS, dtype=np.int32)[units]
    np.save(folder / "spike_times.npy", samples.astype(np.int64))
    np.save(folder / "spike_clusters.npy", clusters)
    np.save(folder / "spike_templates.npy", clusters)
    templates = np.zeros((18, 61, 8), dtype=np.float32)
    for cluster, channel in zip(CLUSTERS, (2, 5, 7), strict=True):
        templates[cluster, 20, channel] = -3
        templates[cluster, 20, 0] = -1
    np.save(folder / "templates.npy", templates)
    np.save(folder / "templates_ind.npy", np.tile(np.arange(8), (18, 1)))
    np.save(folder / "channel_map.npy", np.arange(8, dtype=np.int32) * 10)
    np.save(folder / "channel_positions.npy", np.stack([np.zeros(8), np.arange(8) * 20.0], 1).astype(np.float32))
    labels = "cluster_id\tKSLabel\n" + "".join(f"{c}\t{'mua' if c == 0 else 'good'}\n" for c in range(18))
    (folder / "cluster_KSLabel.tsv").write_text(labels)
    (folder / "cluster_group.tsv").write_text(labels)  # Kilosort 4 copies the file with its heading
    (folder / "params.py").write_text(PARAMS)
    return folder


def read(folder: Path, table: Path, **options):
    told = {"window_ms": WINDOW, "events": EVENTS} | options
    return FORMATS["phy"].read([folder, table], FORMATS["phy"].options(**told))


@pytest.fixture
def files(tmp_path):
    return kilosort4(tmp_path / "kilosort4"), write_rows(tmp_path / "events.csv", DAY.columns())


@pytest.mark.parametrize("unit", ["s", "ms", "samples"])
def test_counts_are_those_of_the_samples(files, tmp_path, unit):
    events = write_rows(tmp_path / "e.csv", DAY.columns(unit))
    table = read(files[0], events, keep=[], events={"onset_unit": unit})
    back = read_back(table, tmp_path)
    assert back.source_site_ids == ("cluster_0000", "cluster_0004", "cluster_0017")
    assert_the_day(back, DAY, units=(1, 0, 2))
    assert back.attributes["sites"]["cluster_0004"] == {"electrode": 20, "label": "good", "x_um": 0.0, "y_um": 40.0}


def test_good_clusters_are_kept_and_told(files, tmp_path):
    table = read(*files)
    assert list(table.site_id) == ["cluster_0004", "cluster_0017"]
    assert_the_day(read_back(table, tmp_path), DAY, units=(0, 2))
    assert any("2 of 3 clusters are good, by cluster_group.tsv (2 good, 1 mua)" in note for note in table.notes)


def test_labels_of_a_person_come_before_those_of_kilosort(files):
    (files[0] / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n4\tnoise\n")
    assert list(read(*files).site_id) == ["cluster_0000"]
    assert list(read(*files, labels="KSLabel").site_id) == ["cluster_0004", "cluster_0017"]
    (files[0] / "cluster_group.tsv").write_text("cluster_id\tgroup\n")
    assert list(read(*files).site_id) == ["cluster_0004", "cluster_0017"]
    (files[0] / "cluster_group.tsv").unlink()
    for separator in "\t,":
        (files[0] / "cluster_groups.csv").write_text("cluster_id\tgroup\n0\tgood\n".replace("\t", separator))
        assert list(read(*files).site_id) == ["cluster_0000"]
    (files[0] / "cluster_groups.csv").unlink()
    (files[0] / "cluster_KSLabel.tsv").unlink()
    (files[0] / "cluster_info.tsv").write_text("cluster_id\tAmplitude\tch\tgroup\n0\t1.5\t3\t\n17\t2\t5\tgood\n")
    assert list(read(*files).site_id) == ["cluster_0017"]


def test_columns_of_matlab_and_templates_without_clusters(files, tmp_path):
    folder = files[0]
    times = np.load(folder / "spike_times.npy")
    np.save(folder / "spike_times.npy", times.astype(np.uint64).reshape(-1, 1))
    (folder / "spike_clusters.npy").unlink()
    table = read(*files, keep=[])
    assert_the_day(read_back(table, tmp_path), DAY, units=(1, 0, 2))
    assert any("each template was taken as a cluster" in note for note in table.notes)


def test_samples_that_count_from_one(files, tmp_path):
    np.save(files[0] / "spike_times.npy", np.load(files[0] / "spike_times.npy") + 1)
    table = read(*files, keep=[], first_spike_sample=1)
    assert_the_day(read_back(table, tmp_path), DAY, units=(1, 0, 2))


def test_another_clock_is_brought_to_that_of_the_recording(files, tmp_path):
    columns = DAY.columns()
    columns["onset"] = [repr((t - 12.5) / 1.00002) for t in DAY.onsets_s.tolist()]
    events = write_rows(tmp_path / "e.csv", columns)
    table = read(files[0], events, keep=[], events={**EVENTS, "clock_scale": 1.00002, "clock_offset_s": 12.5})
    assert_the_day(read_back(table, tmp_path), DAY, units=(1, 0, 2))


def test_merged_clusters_take_the_template_of_most_spikes(files):
    clusters = np.load(files[0] / "spike_clusters.npy")
    np.save(files[0] / "spike_clusters.npy", np.where(clusters == 0, 40, np.where(clusters == 17, 40, clusters)))
    table = read(*files, keep=[])
    assert list(table.site_id) == ["cluster_0004", "cluster_0040"]
    most = 50 if (clusters == 0).sum() > (clusters == 17).sum() else 70
    assert table.site["electrode"].tolist() == [20, most]


def test_params_are_never_run(files, tmp_path):
    ran = tmp_path / "ran"
    (files[0] / "params.py").write_text(f"open({str(ran)!r}, 'w')\n{PARAMS}import os\n")
    read(*files)
    assert not ran.exists()
    (files[0] / "params.py").write_text(f"sample_rate = [open({str(ran)!r}, 'w'), 30000.][1]\n")
    with pytest.raises(DataError) as refused:
        read(*files)
    assert refused.value.code == "H15"
    assert not ran.exists()
    assert list(read(*files, sample_rate_hz=RATE).site_id)


def _save(name, change):
    def fault(folder, events):
        array = np.load(folder / name)
        (folder / name).unlink()
        np.save(folder / name, change(array))

    return fault


def _rows(**columns):
    def fault(folder, events):
        write_rows(events, {n: c for n, c in (DAY.columns() | columns).items() if c is not None})

    return fault


def _remove(name):
    return lambda folder, events: (folder / name).unlink()


def _write(name, text):
    return lambda folder, events: (folder / name).write_text(text)


def _objects(folder, events):
    np.save(folder / "spike_times.npy", np.array([{}], dtype=object), allow_pickle=True)


FAULTS = [
    ("no spike_times", _remove("spike_times.npy"), {}, "H14"),
    (
        "cut short",
        lambda f, e: (f / "spike_times.npy").write_bytes((f / "spike_times.npy").read_bytes()[:3000]),
        {},
        "H14",
    ),
    ("not numpy", _write("spike_clusters.npy", "1,2,3"), {}, "H14"),
    ("pickled", _objects, {}, "H14"),
    ("seconds for samples", _save("spike_times.npy", lambda a: a / RATE), {}, "H16"),
    ("spikes missing", _save("spike_clusters.npy", lambda a: a[:-1]), {}, "H16"),
    ("no spikes", _save("spike_times.npy", lambda a: a[:0]), {}, "H16"),
    ("wrapped", _save("spike_times.npy", lambda a: a.astype(np.uint64) - np.uint64(10**6)), {}, "H16"),
    ("before the first sample", _save("spike_times.npy", lambda a: a - 10**6), {}, "H16"),
    ("no params", _remove("params.py"), {}, "H15"),
    ("two rates", _write("params.py", "sample_rate = 30000.\nsample_rate = 25000."), {}, "H15"),
    ("rate in kHz", _write("params.py", "sample_rate = 30"), {}, "H15"),
    ("rate computed", _write("params.py", "sample_rate = 3 * 10000"), {}, "H15"),
    ("no label kept", lambda f, e: None, {"keep": ["excellent"]}, "H17"),
    ("no labels", lambda f, e: [p.unlink() for p in f.glob("cluster_*.tsv")], {}, "H17"),
    ("broken labels", _write("cluster_group.tsv", "cluster_id\tgroup\nx\tgood\n"), {}, "H16"),
    ("no unit of onsets", lambda f, e: None, {"events": {}}, "H11"),
    ("seconds called ms", lambda f, e: None, {"events": {"onset_unit": "ms"}}, "H12"),
    ("seconds called samples", lambda f, e: None, {"events": {"onset_unit": "samples"}}, "H12"),
    ("ms called seconds", _rows(onset=DAY.columns("ms")["onset"]), {}, "H02"),
    ("samples called seconds", _rows(onset=DAY.columns("samples")["onset"]), {}, "H02"),
    (
        "ms called samples",
        _rows(onset=[int(1000 * t) for t in DAY.onsets_s]),
        {"events": {"onset_unit": "samples"}},
        "H12",
    ),
    ("onsets within trials", _rows(onset=["0.5"] * 72), {}, "H12"),
    ("no onset column", _rows(onset=None), {}, "H11"),
    ("no image column", _rows(image=None), {}, "H11"),
    ("onset missing", _rows(onset=["", *DAY.columns()["onset"][1:]]), {}, "H11"),
    ("decimal comma", _rows(onset=[t.replace(".", ",") for t in DAY.columns()["onset"]]), {}, "H11"),
    ("floats for images", _rows(image=[float(i) for i in DAY.image]), {}, "H11"),
    ("names for numbers", lambda f, e: None, {"events": {**EVENTS, "index_base": 0}}, "H13"),
    ("counted from 0, said from 1", _rows(image=DAY.image.tolist()), {"events": {**EVENTS, "index_base": 1}}, "H13"),
    ("another session", lambda f, e: None, {"events": {**EVENTS, "clock_offset_s": 4000.0}}, "H01"),
    ("window in seconds", lambda f, e: None, {"window_ms": (0.07, 0.17)}, "H05"),
    ("an image missing", _rows(image=["", *DAY.images[1:]]), {}, "R08"),
    ("block broken", _rows(block=["1.5", *DAY.columns()["block"][1:]]), {}, "R13"),
    ("empty table", _rows(onset=[], image=[], block=[], rep=[]), {}, "H10"),
]


@pytest.mark.parametrize(("fault", "options", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_are_refused(files, tmp_path, fault, options, code):
    fault(*files)
    with pytest.raises(DataError) as refused:
        read_back(read(*files, **options), tmp_path)
    assert refused.value.code == code, str(refused.value)


@pytest.mark.parametrize("wrong", [{"sampel_rate": 1}, {"window_ms": (1,)}, {"events": {"onset_unit": "us"}}])
def test_unknown_options_are_refused(wrong):
    with pytest.raises(ValidationError):
        FORMATS["phy"].options(**({"window_ms": WINDOW} | wrong))


def test_one_folder_is_read(files, tmp_path):
    for given in ([files[1]], [files[0], files[0], files[1]], [tmp_path, files[1]]):
        with pytest.raises(DataError) as refused:
            FORMATS["phy"].read(given, FORMATS["phy"].options(window_ms=WINDOW, events=EVENTS))
        assert refused.value.code == "H14"
    with pytest.raises(DataError) as refused:
        FORMATS["phy"].read([files[0]], FORMATS["phy"].options(window_ms=WINDOW, events=EVENTS))
    assert refused.value.code == "H10"


def test_a_folder_that_phy_reads_from_spikeinterface(tmp_path):
    """Written by SpikeInterface's exporter, which writes no curated label."""
    core = pytest.importorskip("spikeinterface.core")
    exporters = pytest.importorskip("spikeinterface.exporters")
    import warnings

    with warnings.catch_warnings():  # of the library: provenance and progress
        warnings.simplefilter("ignore")
        recording, _ = core.generate_ground_truth_recording(durations=[35.0], num_channels=4, num_units=2, seed=0)
        day = a_day()
        sorting = core.NumpySorting.from_unit_dict(
            {f"u{u}": (s * 25 // 30)[s < 900_000] for u, s in enumerate(day.samples)}, sampling_frequency=25_000.0
        )
        analyzer = core.create_sorting_analyzer(sorting, recording, sparse=False)
        analyzer.compute(["random_spikes", "templates"], progress_bar=False)
        exporters.export_to_phy(
            analyzer,
            tmp_path / "phy",
            copy_binary=False,
            compute_pc_features=False,
            compute_amplitudes=False,
            verbose=False,
        )
    events = write_rows(tmp_path / "events.csv", day.columns())
    table = read(tmp_path / "phy", events, keep=["unsorted"])
    begin, end = np.array([round(t * 25) for t in WINDOW])[:, None] + np.rint(day.onset_samples * 25 / 30)
    for unit, samples in enumerate(day.samples):
        mine = (samples * 25 // 30)[samples < 900_000]
        by_hand = np.array([np.sum((mine >= b) & (mine < e)) for b, e in zip(begin, end, strict=True)])
        assert np.abs(table.values[:, unit] - by_hand).max() <= 1
        assert np.mean(table.values[:, unit] == by_hand) > 0.95
    assert set(table.site) == {"label", "electrode", "x_um", "y_um"}
