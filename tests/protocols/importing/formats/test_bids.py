"""Betas that nibabel wrote become presentations x voxels; masks, scales and rows that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.formats import FORMATS
from tests.protocols.helpers.sorted_spikes import read_back, write_rows

nibabel = pytest.importorskip("nibabel")
SHAPE = (4, 3, 2)
AFFINE = np.array([[-2.0, 0, 0, 90], [0, 2, 0, -126], [0, 0, 1.8, -72], [0, 0, 0, 1]])
NAMES = [f"nsd{n:05d}.png" for n in range(40)]
RNG = np.random.default_rng(0)
BETAS = RNG.normal(0.5, 1.5, (*SHAPE, 30))
MASK = np.zeros(SHAPE, dtype=np.uint8)
MASK[1:3, 1, :] = 1
MASK[3, 2, 0] = 2
SHOWN = np.concatenate([RNG.permutation(10) + 5 for _ in range(3)])  # from 0


def write(path: Path, array: np.ndarray, affine=AFFINE, slope=None) -> Path:
    image = nibabel.Nifti1Image(array, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    nibabel.save(image, path)
    return path


def columns(**changed):
    rows = {
        "onset": [repr(4.0 * n) for n in range(30)],
        "duration": ["3"] * 30,
        "trial_type": ["image"] * 30,
        "stim_file": [f"images/{NAMES[n]}" for n in SHOWN],
    } | changed
    return {name: cells for name, cells in rows.items() if cells is not None}


@pytest.fixture
def files(tmp_path):
    return [
        write(tmp_path / "sub-01_ses-nsd01_betas.nii.gz", BETAS.astype(np.float32)),
        write(tmp_path / "mask.nii.gz", MASK),
        write_rows(tmp_path / "sub-01_events.tsv", columns(), "\t"),
    ]


def read(files, **options):
    return FORMATS["bids"].read(files, FORMATS["bids"].options(**({"mask": "mask.nii.gz"} | options)))


def test_voxels_of_the_mask_become_sites(files, tmp_path):
    back = read_back(read(files), tmp_path, NAMES)
    expected = BETAS.astype(np.float32)[MASK > 0].T
    assert np.array_equal(back.values, expected)
    assert back.unit == "beta"
    assert back.window_ms is None
    assert [Path(i).stem for i in back.image_ids] == [f"nsd{n:05d}" for n in SHOWN]
    assert (back.attributes["subject"], back.attributes["session_id"]) == ("01", "nsd01")
    site = back.attributes["sites"]["voxel_003_002_000"]
    assert {n: site[n] for n in ("i", "j", "k", "x_mm", "y_mm", "z_mm", "x_um")} == pytest.approx(
        {"i": 3, "j": 2, "k": 0, "x_mm": 84, "y_mm": -122, "z_mm": -72, "x_um": 84_000}
    )


def test_labels_of_the_mask(files):
    assert list(read(files, mask_values=[2]).site_id) == ["voxel_003_002_000"]


@pytest.mark.parametrize("slope", [None, 1 / 300])
def test_whole_numbers_are_scaled_by_the_header_or_as_stated(files, tmp_path, slope):
    stored = np.rint(BETAS * 300).astype(np.int16)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_data_dtype(np.int16)
    if slope is None:
        nibabel.save(image, files[0])
        table = read(files, divide_by=300)
    else:
        scaled = nibabel.Nifti1Image(stored * slope, AFFINE)
        scaled.header.set_data_dtype(np.int16)
        nibabel.save(scaled, files[0])  # nibabel chooses a slope that fits the numbers
        table = read(files)
    assert table.values.dtype == np.int16
    back = read_back(table, tmp_path, NAMES)
    assert np.abs(back.values - BETAS[MASK > 0].T).max() < (0.51 / 300 if slope is None else 0.002)


def test_runs_are_joined_each_with_its_scale(files, tmp_path):
    halves = [
        write(tmp_path / f"run-{n}_betas.nii", part.astype(np.float32)) for n, part in enumerate(np.split(BETAS, 2, -1))
    ]
    tables = [
        write_rows(tmp_path / f"run-{n}_events.tsv", {c: v[15 * n : 15 * n + 15] for c, v in columns().items()}, "\t")
        for n in range(2)
    ]
    once = read([*halves, files[1], files[2]])
    each = read([*halves, files[1], *tables])
    assert np.array_equal(once.values, each.values)
    assert once.image.tolist() == each.image.tolist() == columns()["stim_file"]
    write(halves[1], np.rint(BETAS[..., 15:] * 300).astype(np.int16))
    with pytest.raises(DataError) as refused:
        read([*halves, files[1], files[2]])
    assert refused.value.code == "H28"


@pytest.mark.parametrize("wrong", ["betas", "tables"])
def test_runs_in_the_order_of_a_shell_are_refused(files, tmp_path, wrong):
    """A listing has run-10_betas.nii, run-1_betas.nii, but run-1.tsv, run-10.tsv: the rows of another run."""
    runs, third = (1, 2, 10), 10
    betas = [
        write(tmp_path / f"run-{n}_betas.nii", part.astype(np.float32))
        for n, part in zip(runs, np.split(BETAS, 3, -1), strict=True)
    ]
    tables = [
        write_rows(tmp_path / f"run-{n}.tsv", {c: v[third * k : third * k + third] for c, v in columns().items()}, "\t")
        for k, n in enumerate(runs)
    ]
    right = read([*betas, files[1], files[2]])
    assert np.array_equal(right.values, BETAS.astype(np.float32)[MASK > 0].T)
    assert np.array_equal(read([*betas, files[1], *tables]).values, right.values)
    turned = read([betas[2], *betas[:2], files[1], tables[2], *tables[:2]])  # each file with its own rows
    assert sorted(zip(turned.image, turned.values[:, 0], strict=True)) == sorted(
        zip(right.image, right.values[:, 0], strict=True)
    )
    given = [*sorted(betas), files[1], files[2]] if wrong == "betas" else [*betas, files[1], *sorted(tables)]
    with pytest.raises(DataError) as refused:
        read(given)
    assert refused.value.code == "H29"
    assert "run-10 before run-2" in refused.value.fix


def test_a_mask_says_what_its_numbers_mean_in_its_header(files, tmp_path):
    """As bytes, 255 may stand for 1, and 0 to 255 for probabilities from 0 to 1."""
    once = read(files).values

    def scaled(array):
        image = nibabel.Nifti1Image(array.astype(np.float64), AFFINE)
        image.header.set_data_dtype(np.uint8)
        nibabel.save(image, files[1])
        assert nibabel.load(files[1]).dataobj.slope != 1
        return files

    assert np.array_equal(read(scaled(MASK > 0)).values, once)
    labels = read(scaled(MASK * 1.0), mask_values=[2])
    assert list(labels.site_id) == ["voxel_003_002_000"]
    with pytest.raises(DataError) as refused:
        read(scaled(np.where(MASK > 0, 0.7, np.linspace(0, 0.2, MASK.size).reshape(SHAPE))))
    assert refused.value.code == "H27"


@pytest.mark.parametrize("slope", [-0.5, 0.25])
def test_a_slope_below_0_turns_the_betas(files, tmp_path, slope):
    stored = np.rint(BETAS * 300).astype(np.int16)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(slope, 3.0)
    image.header.set_data_dtype(np.int16)
    path = files[0]
    nibabel.save(image, path)
    import gzip

    content = bytearray(gzip.decompress(path.read_bytes()))
    content[112:120] = np.array([slope, 3.0], dtype="<f4").tobytes()  # scl_slope, scl_inter of NIfTI-1
    path.write_bytes(gzip.compress(bytes(content)))
    raw = np.asarray(nibabel.load(path).dataobj.get_unscaled())
    back = read_back(read(files), tmp_path, NAMES)
    assert np.allclose(back.values, (raw * slope + 3.0)[MASK > 0].T)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_along_a_turned_axis_is_refused(files, axis):
    """The same voxels of the brain, stored from the other end: the numbers of the array are those of others."""
    turned = AFFINE.copy()
    turned[:3, 3] += AFFINE[:3, axis] * (SHAPE[axis] - 1)
    turned[:3, axis] *= -1
    write(files[1], np.flip(MASK, axis).copy(), affine=turned)
    with pytest.raises(DataError) as refused:
        read(files)
    assert refused.value.code == "H27"


def test_one_file_per_condition_is_matched_by_name(files, tmp_path):
    names = [f"beta_{n}.nii" for n in range(30)]
    volumes = [write(tmp_path / name, BETAS[..., n].astype(np.float32)) for n, name in enumerate(names)]
    table = write_rows(tmp_path / "conditions.tsv", columns(file=names), "\t")
    read_in = read([*sorted(volumes), files[1], table], volume_file="file", averaged_over=3)  # beta_10 before beta_2
    assert np.array_equal(read_in.values, BETAS.astype(np.float32)[MASK > 0].T)
    assert read_in.trial["averaged_over"].tolist() == [3] * 30
    with pytest.raises(DataError) as refused:
        read([*sorted(volumes), files[1], table])
    assert refused.value.code == "H29"


def test_numbers_of_the_73k_images_say_where_they_count_from(files, tmp_path):
    """NSD: ids of the 73k images count from 1 in the design, and from 0 in the file names."""
    write_rows(files[2], columns(stim_file=None, id=(SHOWN + 1).tolist()), "\t")
    told = {"image": "id", "image_name": "nsd{:05d}.png", "names_from": 0}
    right = read(files, events=told | {"ids_from": 1})
    assert right.image.tolist() == [NAMES[n] for n in SHOWN]
    assert read(files, events=told | {"ids_from": 0}).image.tolist() == [NAMES[n + 1] for n in SHOWN]
    assert any("1 in the column 'id' is the first, the file nsd00000.png" in note for note in right.notes)
    with pytest.raises(ValidationError, match="ids_from and names_from"):
        FORMATS["bids"].options(mask="mask.nii.gz", events={"image": "id", "image_name": "nsd{:05d}.png"})
    with pytest.raises(ValidationError, match="once"):
        FORMATS["bids"].options(mask="m", events={"image_name": "{x.__class__}", "ids_from": 0, "names_from": 0})


def test_other_events_are_left_out(files):
    cells = columns()
    rows = {n: [*c[:10], "rest" if n == "trial_type" else "n/a", *c[10:]] for n, c in cells.items()}
    write_rows(files[2], rows, "\t")
    table = read(files, events={"image": "stim_file", "only": {"trial_type": ["image"]}})
    assert table.image.tolist() == cells["stim_file"]


def _betas(array, **more):
    return lambda files: write(files[0], array, **more)


def _mask(array, **more):
    return lambda files: write(files[1], array, **more)


def _rows(**changed):
    return lambda files: write_rows(files[2], columns(**changed), "\t")


def _drop(n):
    return lambda files: files.pop(n)


def _bytes(n, change):
    return lambda files: files[n].write_bytes(change(files[n].read_bytes()))


INTEGERS = np.rint(BETAS * 300).astype(np.int16)
TURNED = AFFINE @ np.diag([-1, 1, 1, 1])
FAULTS = [
    ("no mask", _drop(1), {}, "H29"),
    ("no betas", _drop(0), {}, "H29"),
    ("no table", _drop(2), {}, "H29"),
    ("mask of another name", lambda f: None, {"mask": "roi.nii.gz"}, "H29"),
    ("cut short", _bytes(0, lambda b: b[: len(b) // 2]), {}, "H26"),
    ("no NIfTI", _bytes(0, lambda b: b"betas" * 100), {}, "H26"),
    ("no such file", lambda f: f[0].unlink(), {}, "H26"),
    ("mask of another size", _mask(np.ones((5, 3, 2), np.uint8)), {}, "H27"),
    ("mask of another space", _mask(MASK, affine=TURNED), {}, "H27"),
    (
        "mask moved",
        _mask(MASK, affine=AFFINE + np.eye(4)[:, [3]] @ np.eye(4)[[3]] * 0 + np.pad([[0.5]], ((0, 3), (3, 0)))),
        {},
        "H27",
    ),
    ("empty mask", _mask(MASK * 0), {}, "H27"),
    ("no such label", lambda f: None, {"mask_values": [7]}, "H27"),
    ("probabilities", _mask(np.where(MASK, 0.3, 0).astype(np.float32)), {}, "H27"),
    ("whole numbers without scale", _betas(INTEGERS), {}, "H28"),
    ("a row too few", _rows(**{n: c[:-1] for n, c in columns().items()}), {}, "H29"),
    ("a volume too few", _betas(BETAS[..., :-1].astype(np.float32)), {}, "H29"),
    ("no column of images", _rows(stim_file=None), {}, "H11"),
    ("floats for images", _rows(stim_file=[float(n) for n in SHOWN]), {}, "H11"),
    ("an image missing", _rows(stim_file=["n/a", *columns()["stim_file"][1:]]), {}, "R08"),
    (
        "numbers counted wrongly",
        _rows(stim_file=(SHOWN - 5).tolist()),
        {"events": {"image": "stim_file", "index_base": 1}},
        "H13",
    ),
    ("infinite betas", _betas(np.where(BETAS > 3, np.inf, BETAS).astype(np.float32)), {}, "R15"),
    ("-999 for missing", _betas(np.where(BETAS > 2, -999, BETAS).astype(np.float32)), {}, "R26"),
    ("two dimensions", _betas(BETAS[:, :, 0, 0].astype(np.float32)), {}, "H26"),
    ("no word of only", lambda f: None, {"events": {"image": "stim_file", "only": {"trial_type": ["face"]}}}, "H11"),
]


@pytest.mark.parametrize(("fault", "options", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_faults_are_refused(files, tmp_path, fault, options, code):
    fault(files)
    with pytest.raises(DataError) as refused:
        read_back(read(files, **options), tmp_path, NAMES)
    assert refused.value.code == code, str(refused.value)


def test_two_scales_are_refused(files):
    scaled = nibabel.Nifti1Image(BETAS, AFFINE)
    scaled.header.set_data_dtype(np.int16)
    nibabel.save(scaled, files[0])
    with pytest.raises(DataError, match="divided twice"):
        read(files, divide_by=300)
    read(files, divide_by=1)


def test_nifti_2_and_plain_files_are_read_alike(files, tmp_path):
    expected = read(files).values
    array = BETAS.astype(np.float32)
    for path, kind in ((tmp_path / "a.nii", nibabel.Nifti1Image), (tmp_path / "b.nii.gz", nibabel.Nifti2Image)):
        nibabel.save(kind(array, AFFINE), path)
        assert np.array_equal(read([path, *files[1:]]).values, expected)


def test_a_changed_byte_of_a_compressed_file_is_found(files):
    """Numbers that are wrong by a damaged byte are refused: the sum at the end of the file tells."""
    content = bytearray(files[0].read_bytes())
    content[-8] ^= 1  # of the sum itself: the numbers are whole, and nibabel alone would not look
    files[0].write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(files)
    assert refused.value.code == "H26"


def test_a_missing_library_is_named(files, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(DataError, match=r"pip install 'stimsynth\[bids\]'"):
        read(files)
