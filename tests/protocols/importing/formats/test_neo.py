"""Files that neo reads: blocks that its own NeoMatlabIO wrote, and a NeuroExplorer file written byte by byte."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import RATE, WINDOW, a_day, assert_the_day, read_back, write_rows

neo = pytest.importorskip("neo")
quantities = pytest.importorskip("quantities")
DAY = a_day()
END = float(DAY.onsets_s[-1]) + 1
UNITS = ("v4_a", "v4_b", "v4_c")


def block(segments: int = 1, *, unit: str = "ms", names=UNITS, labels=None, events=True):
    made = neo.Block()
    scale = {"s": 1, "ms": 1000}[unit]
    for _ in range(segments):
        segment = neo.Segment()
        made.segments.append(segment)
        for name, train in zip(names, DAY.trains(), strict=True):
            segment.spiketrains.append(
                neo.SpikeTrain(train * scale, units=unit, t_start=0 * scale, t_stop=END * scale, name=name)
            )
        if events:
            shown = np.array(DAY.images if labels is None else labels)
            segment.events.append(neo.Event(DAY.onsets_s * quantities.s, labels=shown, name="images"))
            ends = neo.Event(DAY.onsets_s * quantities.s, labels=np.array(["fixation"] * 72), name="fixation")
            segment.events.append(ends)
    return made


def matlab(path: Path, **options) -> Path:
    neo.io.NeoMatlabIO(str(path)).write_block(block(**options))
    return path


def neuroexplorer(path: Path, markers: bool = True) -> Path:
    """The layout of .nex files: header, one header of 208 bytes per variable, then their data (ticks of 30 kHz)."""
    from neo.rawio.neuroexplorerrawio import EntityHeader, GlobalHeader

    variables = [
        (0, name, samples.astype("<i4").tobytes(), len(samples))
        for name, samples in zip(UNITS, DAY.samples, strict=True)
    ]
    onsets = DAY.onset_samples.astype("<i4").tobytes()
    if markers:
        text = np.array(DAY.images, dtype="S16").tobytes()
        variables.append((6, "strobed", onsets + b"name".ljust(64, b"\0") + text, 72))
    else:
        variables.append((1, "strobed", onsets, 72))
    header = np.zeros(1, dtype=GlobalHeader)
    header["signature"], header["version"], header["freq"], header["nvar"] = b"NEX1", 105, RATE, len(variables)
    header["tend"] = round(END * RATE)
    parts, data, offset = [header.tobytes().ljust(544, b"\0")], [], 544 + 208 * len(variables)
    for kind, name, content, number in variables:
        entity = np.zeros(1, dtype=EntityHeader)
        entity["type"], entity["name"], entity["offset"], entity["n"] = kind, name.encode(), offset, number
        entity["NMarkers"], entity["MarkerLength"] = (1, 16) if kind == 6 else (0, 0)
        parts.append(entity.tobytes())
        data.append(content)
        offset += len(content)
    path.write_bytes(b"".join(parts + data))
    return path


def blackrock(path: Path) -> Path:
    """The layout of .nev files (2.3): a header, one header of 32 bytes per electrode, then packets of 104 bytes.

    Two units of electrode 1, one of electrode 2; the digital port holds the number of the image, counted from 1.
    """
    names = [(1, 1), (1, 2), (2, 1)]
    basic = struct.pack(
        "<8sBBHIIII8H32s256sI",
        b"NEURALEV",
        2,
        3,
        1,
        336 + 64,
        104,
        30_000,
        30_000,
        *[2026, 1, 1, 1, 0, 0, 0, 0],
        b"",
        b"",
        2,
    )
    electrodes = [struct.pack("<8sHBBHHhhBBH8s", b"NEUEVWAV", e, 1, e, 250, 0, 0, 0, 2, 2, 48, b"") for e in (1, 2)]
    packets = [
        (int(t), struct.pack("<IHBB96s", int(t), electrode, unit, 0, b"\1" * 96))
        for (electrode, unit), samples in zip(names, DAY.samples, strict=True)
        for t in samples
    ]
    packets += [
        (int(t), struct.pack("<IHBBH94s", int(t), 0, 1, 0, int(i) + 1, b""))
        for t, i in zip(DAY.onset_samples, DAY.image, strict=True)
    ]
    path.write_bytes(basic + b"".join(electrodes) + b"".join(p for _, p in sorted(packets, key=lambda p: p[0])))
    return path


def read(files, **options):
    return FORMATS["neo"].read(files, FORMATS["neo"].options(**({"window_ms": WINDOW} | options)))


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_block_that_neo_wrote(tmp_path, unit):
    table = read([matlab(tmp_path / "block.mat", unit=unit)], event_channel="images")
    back = read_back(table, tmp_path)
    assert list(table.site_id) == list(UNITS)
    assert np.array_equal(back.values, DAY.counts())
    assert [Path(i).stem for i in back.image_ids] == [Path(i).stem for i in DAY.images]


def test_a_neuroexplorer_file_with_its_markers(tmp_path):
    table = read([neuroexplorer(tmp_path / "day.nex")])
    assert np.array_equal(read_back(table, tmp_path).values, DAY.counts())
    assert table.image.tolist() == DAY.images


def test_a_blackrock_file_with_its_digital_port(tmp_path):
    table = read([blackrock(tmp_path / "day.nev")], event_channel="digital_input_port", events={"index_base": 1})
    back = read_back(table, tmp_path)
    assert list(table.site_id) == ["ch1#1", "ch1#2", "ch2#1"]
    assert [Path(i).stem for i in back.image_ids] == [Path(i).stem for i in DAY.images]
    assert np.array_equal(back.values, DAY.counts())


def test_what_was_left_unsorted_is_told(tmp_path):
    names = ("ch1#0", "ch1#1", "ch2#255")
    table = read([matlab(tmp_path / "block.mat", names=names)], event_channel="images")
    assert any("2 of them hold what was left unsorted or marked as noise (ch1#0, ch2#255)" in n for n in table.notes)
    table = read([matlab(tmp_path / "block.mat", names=names)], event_channel="images", units=["ch1#1"])
    assert not any("unsorted" in n for n in table.notes)


def test_an_event_table_beside_a_file(tmp_path):
    events = write_rows(tmp_path / "events.csv", DAY.columns("ms"))
    table = read([neuroexplorer(tmp_path / "day.nex", markers=False), events], events={"onset_unit": "ms"})
    assert_the_day(read_back(table, tmp_path), DAY)


def test_one_segment_and_some_units(tmp_path):
    path = matlab(tmp_path / "block.mat", segments=2)
    table = read([path], event_channel="images", segment=1, units=["v4_c"])
    assert np.array_equal(table.values[:, 0], DAY.counts()[:, 2])


def test_one_segment_per_trial(tmp_path):
    """Each trial a segment with a clock of its own, which begins 200 ms before the image."""
    made = neo.Block()
    for onset, image in zip(DAY.onsets_s, DAY.images, strict=True):
        segment = neo.Segment()
        made.segments.append(segment)
        for name, train in zip(UNITS, DAY.trains(), strict=True):
            mine = train[(train >= onset - 0.2) & (train < onset + 0.3)] - onset
            segment.spiketrains.append(neo.SpikeTrain(mine, units="s", t_start=-0.2, t_stop=0.3, name=name))
        segment.events.append(neo.Event(np.array([0.0]) * quantities.s, labels=np.array([image]), name="images"))
    neo.io.NeoMatlabIO(str(tmp_path / "trials.mat")).write_block(made)
    table = read([tmp_path / "trials.mat"], segment="all")
    assert np.array_equal(table.values, DAY.counts())
    assert table.image.tolist() == DAY.images
    assert "onset_s" not in table.trial
    late = read([tmp_path / "trials.mat"], segment="all", window_ms=(250, 350))  # beyond the end of each trial
    assert np.isnan(late.values).all()
    read_back(table, tmp_path)


def test_a_table_for_all_segments_is_refused(tmp_path):
    """Each segment has a clock of its own: a table of onsets would be passed over."""
    path = matlab(tmp_path / "block.mat", segments=2)
    events = write_rows(tmp_path / "events.csv", DAY.columns())
    with pytest.raises(DataError) as refused:
        read([path, events], segment="all", events={"onset_unit": "s"})
    assert refused.value.code == "H19"
    assert "leave the table out" in refused.value.fix


def test_labels_with_a_prefix_are_images(tmp_path):
    labels = [f"img {n}" if n % 2 else "reward" for n in range(72)]
    table = read([matlab(tmp_path / "block.mat", labels=labels)], event_channel="images", label_prefix="img")
    assert len(table.values) == 36
    assert any("36 of 72 events 'images' were taken" in note for note in table.notes)
    numbers = [str(i) for i in DAY.image + 1]
    table = read(
        [matlab(tmp_path / "numbers.mat", labels=numbers)],
        event_channel="images",
        events={"index_base": 1},
    )
    assert table.image.tolist() == (DAY.image + 1).tolist()
    assert [Path(i).stem for i in read_back(table, tmp_path).image_ids] == [Path(i).stem for i in DAY.images]


def test_units_of_measurement_cannot_run_code(tmp_path):
    path = matlab(tmp_path / "block.mat")
    ran = tmp_path / "ran"
    held = scipy.io.loadmat(path, struct_as_record=False, squeeze_me=True, mat_dtype=True)["block"]
    for code in (f"open('{ran}', 'w')", "__import__('os')", "9**9**9**9", "s.__class__"):
        held.segments.spiketrains[0].times_units = code
        scipy.io.savemat(tmp_path / "trap.mat", {"block": held})
        with pytest.raises(DataError) as refused:
            read([tmp_path / "trap.mat"], event_channel="images")
        assert refused.value.code == "H18"
        assert "no unit of measurement" in str(refused.value)
    assert not ran.exists()


def test_a_pickle_is_not_a_format(tmp_path):
    neo.io.PickleIO(str(tmp_path / "block.pkl")).write_block(block())
    with pytest.raises(DataError) as refused:
        read([tmp_path / "block.pkl"])
    assert refused.value.code == "H19"
    with pytest.raises(ValueError, match="io"):
        FORMATS["neo"].options(window_ms=WINDOW, io="Pickle")


def _nex(change):
    def fault(folder):
        path = neuroexplorer(folder / "day.nex")
        path.write_bytes(change(path.read_bytes()))
        return path

    return fault


def _mat(**options):
    return lambda folder: matlab(folder / "block.mat", **options)


def _other_mat(folder):
    scipy.io.savemat(folder / "block.mat", {"responses": np.ones((3, 3))})
    return folder / "block.mat"


IMAGES = {"event_channel": "images"}
FAULTS = [
    ("no such file", lambda folder: folder / "block.mat", IMAGES, "H18"),
    ("no such nex", lambda folder: folder / "day.nex", {}, "H18"),
    ("another MAT-file", _other_mat, IMAGES, "H18"),
    (
        "v7.3",
        lambda folder: (folder / "block.mat").write_bytes(b"MATLAB 7.3" * 99) and folder / "block.mat",
        IMAGES,
        "H18",
    ),
    ("nex cut short", _nex(lambda b: b[:-200]), {}, "H18"),
    ("nex cut in the spikes", _nex(lambda b: b[:3000]), {}, "H18"),
    ("nex of nothing", _nex(lambda b: b""), {}, "H18"),
    ("another reader", _nex(lambda b: b), {"io": "Plexon"}, "H18"),
    ("unknown ending", lambda folder: _nex(lambda b: b)(folder).rename(folder / "day.xyz"), {}, "H19"),
    ("two channels of events", _mat(), {}, "H19"),
    ("no such channel", _mat(), {"event_channel": "image"}, "H19"),
    ("no events", _mat(events=False), {}, "H19"),
    ("no labels", lambda folder: neuroexplorer(folder / "day.nex", markers=False), {}, "H19"),
    ("no such prefix", _mat(), {**IMAGES, "label_prefix": "q"}, "H19"),
    ("two segments", _mat(segments=2), IMAGES, "H19"),
    ("no such segment", _mat(), {**IMAGES, "segment": 3}, "H19"),
    ("a table for all segments", _mat(segments=2, events=False), {"segment": "all"}, "H19"),
    ("no such unit", _mat(), {**IMAGES, "units": ["v4_z"]}, "H19"),
    ("two units with one name", _mat(names=("a", "a", "b")), IMAGES, "H19"),
    ("names for numbers", _mat(), {**IMAGES, "events": {"index_base": 0}}, "H13"),
    ("floats for images", _mat(labels=[f"{i}.0" for i in DAY.image]), IMAGES, "H11"),
    ("another clock", _mat(), {**IMAGES, "events": {"clock_offset_s": 900.0}}, "H01"),
    ("clock in ms", _mat(), {**IMAGES, "events": {"clock_scale": 0.001}}, "H12"),
    ("window in seconds", _mat(), {**IMAGES, "window_ms": (0.05, 0.2)}, "H05"),
]


@pytest.mark.parametrize(("fault", "options", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_are_refused(tmp_path, fault, options, code):
    path = fault(tmp_path)
    with pytest.raises(DataError) as refused:
        read_back(read([path], **options), tmp_path)
    assert refused.value.code == code, str(refused.value)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = matlab(tmp_path / "block.mat")
    monkeypatch.setitem(sys.modules, "neo", None)
    with pytest.raises(DataError, match=r"pip install 'stimsynth\[neo\]'"):
        read([path])
