"""Planes as suite2p writes them: the arrays by name and shape, with ops.npy and stat.npy that are pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import NAMES, a_day, read_back, write_rows

FRAME_RATE = 30.0
WINDOW = (0.0, 200.0)
DAY = a_day()
FRAMES = int((DAY.onsets_s[-1] + 2) * FRAME_RATE)
RNG = np.random.default_rng(1)
NEUROPIL = RNG.gamma(20, 5, (5, FRAMES)).astype(np.float32)
SIGNAL = (RNG.gamma(30, 10, (5, FRAMES)) + 0.7 * NEUROPIL).astype(np.float32)
SPKS = RNG.gamma(0.3, 20, (5, FRAMES)).astype(np.float32)
CELLS = np.array([[1, 0.9], [0, 0.2], [1, 0.6], [1, 0.99], [0, 0.4]])
KEPT = [0, 2, 3]


class Trap:
    """What a pickle may be: loading it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def plane(folder: Path, shift: float = 0.0) -> Path:
    folder.mkdir(parents=True)
    np.save(folder / "F.npy", SIGNAL + np.float32(shift))
    np.save(folder / "Fneu.npy", NEUROPIL)
    np.save(folder / "spks.npy", SPKS)
    np.save(folder / "iscell.npy", CELLS)
    for name in ("ops.npy", "stat.npy"):
        np.save(folder / name, np.array([Trap(folder / "ran")], dtype=object), allow_pickle=True)
    return folder


@pytest.fixture
def files(tmp_path):
    return [plane(tmp_path / "suite2p" / "plane0"), write_rows(tmp_path / "events.csv", DAY.columns())]


def read(files, **options):
    told = {"signal": "spks", "window_ms": WINDOW, "frame_rate_hz": FRAME_RATE, "events": {"onset_unit": "s"}} | options
    told = {name: value for name, value in told.items() if value is not None}
    return FORMATS["suite2p"].read(files, FORMATS["suite2p"].options(**told))


def by_hand(traces: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """Mean over the window, each frame weighted by the time that it shares with it, at 0.1 ms."""
    times = np.arange(FRAMES) / FRAME_RATE if times is None else times
    means = []
    for onset in DAY.onsets_s:
        moments = onset + (np.arange(2000) + 0.5) / 10_000
        means.append(traces[:, np.searchsorted(times, moments, "right") - 1].mean(axis=1))
    return np.array(means)


def test_deconvolved_activity_of_the_cells(files, tmp_path):
    table = read(files)
    back = read_back(table, tmp_path)
    assert back.unit == "deconvolved"
    assert list(table.site_id) == ["plane0_roi0000", "plane0_roi0002", "plane0_roi0003"]
    assert np.allclose(back.values, by_hand(SPKS[KEPT].astype(float)), rtol=0.01, atol=0.2)
    assert [Path(i).stem for i in back.image_ids] == [Path(i).stem for i in DAY.images]
    assert table.site["cell_probability"].tolist() == [0.9, 0.6, 0.99]
    assert not (files[0] / "ran").exists()


@pytest.mark.parametrize("given", ["suite2p", "session", "plane0"])
def test_the_folder_and_those_above_it(files, tmp_path, given):
    folder = {"suite2p": tmp_path / "suite2p", "session": tmp_path, "plane0": files[0]}[given]
    assert np.array_equal(read([folder, files[1]]).values, read(files).values)


def test_fluorescence_less_neuropil_and_its_change(files):
    corrected = SIGNAL.astype(float) - 0.7 * NEUROPIL
    table = read(files, signal="F_minus_neuropil", neuropil_coefficient=0.7)
    assert (table.unit, read(files, signal="F").unit) == ("au", "au")
    assert np.allclose(table.values, by_hand(corrected[KEPT]), rtol=0.005)
    table = read(files, signal="dff", neuropil_coefficient=0.7, baseline_percentile=10)
    base = np.percentile(corrected, 10, axis=1, keepdims=True)
    assert table.unit == "dff"
    assert np.allclose(table.values, by_hand(((corrected - base) / base)[KEPT]), rtol=0.02, atol=0.01)
    assert any("F0 the percentile 10" in note for note in table.notes)


@pytest.mark.parametrize("signal", ["spks", "dff"])
def test_each_plane_has_its_own_time(files, tmp_path, signal):
    """Planes beside one another are what each of them is alone, its frames moved by its offset."""
    offsets = {0: 0.0, 2: 0.02, 10: 0.031}
    told = {"signal": signal} | ({"neuropil_coefficient": 0.7, "baseline_percentile": 10} if signal == "dff" else {})
    told |= {"baseline_ms": (-150, 0)}
    for number in (10, 2):
        plane(tmp_path / "suite2p" / f"plane{number}", shift=number)
    table = read([tmp_path / "suite2p", files[1]], plane_offsets_s=list(offsets.values()), **told)
    alone = [
        read([tmp_path / "suite2p" / f"plane{n}", files[1]], first_frame_s=offset, **told)
        for n, offset in offsets.items()
    ]
    np.testing.assert_allclose(table.values, np.concatenate([a.values for a in alone], axis=1), rtol=1e-9)
    np.testing.assert_allclose(table.baseline, np.concatenate([a.baseline for a in alone], axis=1), rtol=1e-9)
    assert list(table.site_id) == [site for a in alone for site in a.site_id]
    assert table.site["plane"].tolist() == [0] * 3 + [2] * 3 + [10] * 3
    assert not np.allclose(table.values[:, 6:], read([files[0], files[1]], **told).values)
    assert table.psth.values.shape == (9, len(table.psth.edges_ms) - 1)
    np.testing.assert_allclose(table.psth.values[3:6], alone[1].psth.values, rtol=1e-9)
    assert any("plane 10: 0.031 s" in note for note in table.notes)


@pytest.mark.parametrize("offsets", [[], [0.0], [0.0, 0.01], [0.0, 0.01, 0.034], [0.0, -0.01, 0.01]], ids=str)
def test_planes_without_the_time_of_each_are_refused(files, tmp_path, offsets):
    for number in (1, 2):
        plane(tmp_path / "suite2p" / f"plane{number}")
    with pytest.raises(DataError) as refused:
        read([tmp_path / "suite2p", files[1]], plane_offsets_s=offsets)
    assert refused.value.code == "H24"
    assert "[0, 0.01111, 0.02222]" in refused.value.fix


def test_the_folder_of_all_planes_is_refused(files, tmp_path):
    with pytest.raises(DataError) as refused:
        read([plane(tmp_path / "suite2p" / "combined"), files[1]])
    assert refused.value.code == "H23"
    assert read([tmp_path / "suite2p", files[1]]).site["plane"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_frame_times_of_a_file(files, tmp_path, ending):
    times = np.cumsum(np.r_[0.3, RNG.uniform(0.032, 0.0345, FRAMES - 1)])
    path = tmp_path / f"frames.{ending}"
    np.save(path, times) if ending == "npy" else write_rows(path, {"time": [repr(t) for t in times.tolist()]})
    table = read([*files, path], frame_rate_hz=None, frame_times=path.name)
    assert np.allclose(table.values, by_hand(SPKS[KEPT].astype(float), times), rtol=0.01, atol=0.2)


def test_onsets_in_frames(files, tmp_path):
    columns = DAY.columns()
    frames = np.floor(DAY.onsets_s * FRAME_RATE).astype(int)
    columns["onset"] = (frames + 1).tolist()
    events = write_rows(tmp_path / "e.csv", columns)
    table = read(
        [files[0], events], first_frame_s=2.0, events={"onset_unit": "samples", "first_sample": 1}, window_ms=(0, 100)
    )
    expected = np.array([SPKS[KEPT, f : f + 3].mean(axis=1) for f in frames])
    assert np.allclose(table.values, expected, rtol=1e-5)
    assert table.trial["onset_s"] == pytest.approx(frames / FRAME_RATE + 2.0)


def test_rois_without_a_baseline_are_left_out_and_told(files):
    low = SIGNAL.copy()
    low[2] = 0.5 * NEUROPIL[2]
    np.save(files[0] / "F.npy", low)
    table = read(files, signal="dff", neuropil_coefficient=0.7, baseline_percentile=10)
    assert list(table.site_id) == ["plane0_roi0000", "plane0_roi0003"]
    assert any("1 ROIs with F0 of 0 or less were left out" in note for note in table.notes)
    np.save(files[0] / "F.npy", 0.5 * NEUROPIL)
    with pytest.raises(DataError) as refused:
        read(files, signal="dff", neuropil_coefficient=0.7, baseline_percentile=10)
    assert refused.value.code == "H25"


def _save(name, change):
    def fault(files):
        array = np.load(files[0] / name)
        (files[0] / name).unlink()
        np.save(files[0] / name, change(array))

    return fault


def _objects(files):
    np.save(files[0] / "F.npy", np.array([Trap(files[0] / "ran")], dtype=object), allow_pickle=True)


def _rows(**columns):
    return lambda files: write_rows(files[1], {n: c for n, c in (DAY.columns() | columns).items() if c is not None})


def _with_times(array, name="frames.npy"):
    def fault(files):
        np.save(files[0].parent / name, array)
        files.append(files[0].parent / name)

    return fault


def _with_table(files):
    files.append(write_rows(files[0].parent / "frames.csv", {"t": TIMES.tolist()}))


def nothing(files):
    """The options alone are at fault."""


TIMED = {"frame_rate_hz": None, "frame_times": "frames.npy"}
TIMES = np.arange(FRAMES) / FRAME_RATE
FAULTS = [
    ("no planes", lambda files: files.__setitem__(0, files[0] / "x"), {}, "H23"),
    ("no signal", lambda files: (files[0] / "spks.npy").unlink(), {}, "H23"),
    ("no iscell", lambda files: (files[0] / "iscell.npy").unlink(), {}, "H23"),
    ("transposed", _save("F.npy", np.transpose), {}, "H23"),
    ("transposed spks", _save("spks.npy", np.transpose), {}, "H23"),
    ("frames missing", _save("spks.npy", lambda a: a[:, :-1]), {}, "H23"),
    ("ROIs missing", _save("spks.npy", lambda a: a[:3]), {}, "H23"),
    ("iscell of another run", _save("iscell.npy", lambda a: a[:4]), {}, "H23"),
    ("probability first", _save("iscell.npy", lambda a: a[:, ::-1]), {}, "H23"),
    ("no cell", _save("iscell.npy", lambda a: a * 0), {}, "H23"),
    ("no sure cell", nothing, {"least_probability": 0.999}, "H23"),
    ("cut short", lambda f: (f[0] / "spks.npy").write_bytes((f[0] / "spks.npy").read_bytes()[:5000]), {}, "H23"),
    ("pickled", _objects, {}, "H23"),
    ("no frame rate", nothing, {"frame_rate_hz": None}, "H24"),
    ("no such file of times", nothing, TIMED, "H24"),
    ("a trigger missed", _with_times(TIMES[:-1]), TIMED, "H24"),
    ("times of another column", _with_table, {"frame_rate_hz": None, "frame_times": "frames.csv"}, "H24"),
    ("frame numbers", _with_times(np.arange(FRAMES)), TIMED, "H24"),
    ("times that stand still", _with_times(np.r_[TIMES[0], TIMES[:-1]]), TIMED, "H04"),
    ("no table", lambda files: files.pop(1), {}, "H10"),
    ("no unit of onsets", nothing, {"events": {}}, "H11"),
    ("seconds called ms", nothing, {"events": {"onset_unit": "ms"}}, "H12"),
    ("ms called seconds", _rows(onset=DAY.columns("ms")["onset"]), {}, "H02"),
    ("seconds called frames", nothing, {"events": {"onset_unit": "samples"}}, "H12"),
    ("another session", nothing, {"events": {"onset_unit": "s", "clock_offset_s": 999.0}}, "H01"),
    ("an image missing", _rows(image=["", *DAY.images[1:]]), {}, "R08"),
    ("infinite", _save("spks.npy", lambda a: np.where(a > 60, np.inf, a)), {}, "R15"),
]


@pytest.mark.parametrize(("fault", "options", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_are_refused(files, tmp_path, fault, options, code):
    fault(files)
    with pytest.raises(DataError) as refused:
        read_back(read(files, **options), tmp_path, NAMES)
    assert refused.value.code == code, str(refused.value)
    assert not (files[0] / "ran").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"signal": "dff", "neuropil_coefficient": 0.7},
        {"signal": "dff", "baseline_percentile": 10},
        {"signal": "F_minus_neuropil"},
        {"signal": "spks", "baseline_percentile": 10},
        {"signal": "F", "frame_rate": 30},
        {"signal": "F", "frame_times": "t.npy"},
    ],
)
def test_options_that_say_too_little_or_too_much(files, wrong):
    with pytest.raises(ValidationError):
        read(files, **wrong)
