"""What a laboratory gets wrong is refused in words with a way out, or told; nothing is written then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.errors import CODES, DataError
from protocols.importing.map import checked_map
from protocols.importing.recording import chosen_map, import_recording, pictures_in
from tests.protocols.helpers.layouts import IMAGES, NAMES, SITE_NAMES, SITES, WINDOW, cube, pictures, recording, write

COUNTS, SHOWN = recording()
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def arrays() -> dict[str, Any]:
    return {"r": COUNTS.copy(), "i": SHOWN + 1, "s": np.array(SITE_NAMES)}


def told() -> dict[str, Any]:
    return {
        "unit": "spikes",
        "window_ms": WINDOW,
        "responses": {"array": "r", "axes": ["trial", "site"]},
        "image": {"id": "i", "counted_from": 1},
        "site": {"id": "s"},
    }


def of(section: str, **keys: Any) -> Change:
    return lambda a, t: t.setdefault(section, {}).update(keys) if section else t.update(keys)


def put(name: str, value: Any) -> Change:
    return lambda a, t: a.__setitem__(name, value)


def both(*changes: Change) -> Change:
    def change(a: dict[str, Any], t: dict[str, Any]) -> None:
        for each in changes:
            each(a, t)

    return change


WRAPPED = COUNTS.copy()
WRAPPED[7, 2] = 65535
SQUARE = np.tile(COUNTS[:SITES], (1, 1))
FAULTS: dict[str, tuple[Change, str | tuple[str, ...]]] = {
    "axes in the wrong order": (of("responses", axes=["site", "trial"]), "A21"),
    "three axes for a matrix": (of("responses", axes=["trial", "site", "time"]), "A12"),
    "one axis for a matrix": (of("responses", axes=["trial"]), "A20"),
    "an axis that is not known": (of("responses", axes=["trials", "site"]), "A12"),
    "an axis named twice": (of("responses", axes=["site", "site"]), "A12"),
    "images without repeats and no word about averages": (of("responses", axes=["image", "site"]), "A12"),
    "an array that is not there": (of("responses", array="resp"), "A04"),
    "an unknown key": (of("responses", aray="r"), "A11"),
    "an unknown section": (of("", sites={"id": "s"}), "A11"),
    "a unit that is not known": (of("", unit="counts"), "A12"),
    "no window": (lambda a, t: t.pop("window_ms"), "A12"),
    "a window of one number": (of("", window_ms=[70]), "A12"),
    "a window in seconds": (of("", window_ms=[0.07, 0.17]), "R10"),
    "a question that is left open": (of("", unit="TODO: spikes or spikes/s"), "A13"),
    "numbers without a base": (lambda a, t: t["image"].pop("counted_from"), "A22"),
    "ids off by one": (of("image", counted_from=0), "A22"),
    "words with a format for numbers": (
        both(put("i", np.array(NAMES)[SHOWN]), of("", image={"id": "i", "format": "{:03d}.png"})),
        "A26",
    ),
    "ids off by one in a list": (both(of("image", counted_from=0, names="n"), put("n", np.array(NAMES))), "A22"),
    "fractions for ids": (put("i", SHOWN + 0.5), "A26"),
    "ids of other presentations": (put("i", SHOWN[:-1]), "A21"),
    "names that are no pictures": (both(put("i", np.array(["a", "b"])[SHOWN % 2]), of("image", counted_from=1)), "A22"),
    "a matrix for ids": (put("i", np.stack([SHOWN, SHOWN], axis=1)), "A20"),
    "a column that is not there": (
        both(put("i", np.stack([SHOWN, SHOWN], axis=1)), of("image", id={"array": "i", "column": 3})),
        "A20",
    ),
    "a site twice": (put("s", np.array([*SITE_NAMES[:-1], SITE_NAMES[0]])), "R11"),
    "names of other sites": (put("s", np.array(SITE_NAMES[:-1])), "A21"),
    "text for responses": (put("r", COUNTS.astype(str)), "A20"),
    "a mark for missing": (put("r", np.where(np.arange(48)[:, None] % 7 == 0, -999, COUNTS.astype(int))), "R26"),
    "differences below 0 in unsigned numbers": (put("r", WRAPPED), "R21"),
    "differences below 0 for spikes": (put("r", COUNTS - COUNTS.mean(axis=0)), "I14"),
    "repeats that are padded with -1": (
        both(
            put("r", np.nan_to_num(cube(COUNTS, SHOWN, spare=1), nan=-1).astype(np.int16)),
            of("responses", axes=["image", "repeat", "site"]),
            of("", image={"order": "sorted"}),
        ),
        ("I14", "R26"),
    ),
    "a column of sites with the name of another": (of("site", columns={"area": "s"}), "A12"),
    "infinite values": (put("r", np.where(COUNTS.max() == COUNTS, np.inf, COUNTS)), "R15"),
    "rows that were never filled": (put("r", np.where(np.arange(48)[:, None] > 30, 0, COUNTS)), "R25"),
    "as many pictures as other images": (
        both(
            put("r", cube(COUNTS, SHOWN)[:-1]),
            of("responses", axes=["image", "repeat", "site"]),
            of("", image={"order": "sorted"}),
        ),
        "A22",
    ),
    "no presentation is taken": (of("trial", rows=[{"from": "i", "is": [99]}]), "A25"),
    "a filter without a test": (of("trial", rows=[{"from": "i"}]), "A12"),
    "edges that fall": (
        both(
            put("r", np.ones((48, SITES, 3))),
            of("responses", axes=["trial", "site", "time"]),
            of("", time={"edges": [70, 60, 100, 170]}),
        ),
        "A26",
    ),
    "edges of other bins": (
        both(
            put("r", np.ones((48, SITES, 3))),
            of("responses", axes=["trial", "site", "time"]),
            of("", time={"edges": [70, 100, 170]}),
        ),
        "A21",
    ),
    "a list in a file that is not there": (of("image", names={"file": "names.csv", "array": "n"}), "A23"),
    "a list in a file elsewhere": (of("image", names={"file": "../names.csv", "array": "n"}), "F02"),
    "marks of valid trials that are not known": (both(put("v", np.full(48, 7)), of("trial", valid="v")), "A26"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_and_nothing_is_written(tmp_path: Path, fault: str) -> None:
    change, code = FAULTS[fault]
    values, words = arrays(), told()
    change(values, words)
    file, out = write(tmp_path / "a.npz", values), tmp_path / "recording.h5"
    shown = pictures_in(pictures(tmp_path / "images"))

    def run() -> None:
        import_recording(checked_map(words, "map.toml"), [file], out=out, folder=tmp_path, pictures=shown)

    with pytest.raises(DataError) as refused:
        run()
    assert refused.value.code in code, str(refused.value)
    assert refused.value.code in CODES
    assert refused.value.fix
    assert not out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "images"]


def test_without_a_fault_it_is_written_with_its_record(tmp_path: Path) -> None:
    from protocols.disk.files import read_json, sha256_file

    file, out = write(tmp_path / "a.npz", arrays()), tmp_path / "recording.h5"
    shown = pictures_in(pictures(tmp_path / "images"))
    made = import_recording(checked_map(told(), "map.toml"), [file], out=out, pictures=shown, unpaired="random pixels")
    record = read_json(tmp_path / "recording.import.json")
    assert record["files"] == [{"name": "a.npz", "sha256": sha256_file(file)}]
    assert record["sha256"] == sha256_file(out)
    assert len(record["files"]) == 1
    assert record["map"]["responses"]["axes"] == ["trial", "site"]
    assert record["unpaired"] == "random pixels"
    assert made.table.image.tolist() == [NAMES[i] for i in SHOWN]
    assert any("positions of images (counted from 1)" in note for note in record["notes"])
    with pytest.raises(DataError) as refused:
        import_recording(checked_map(told(), "map.toml"), [file], out=out, pictures=shown)
    assert refused.value.code == "A28"


def test_the_record_names_the_files_beside_the_map(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = told()
    words["image"]["names"] = {"file": "names.txt"}
    made = import_recording(
        checked_map(words, "map.toml"), [write(tmp_path / "a.npz", arrays())], out=None, folder=tmp_path
    )
    assert [file["name"] for file in made.record["files"]] == ["a.npz", "names.txt"]


def test_positions_need_the_pictures(tmp_path: Path) -> None:
    file = write(tmp_path / "a.npz", arrays())
    with pytest.raises(DataError) as refused:
        import_recording(checked_map(told(), "map.toml"), [file], out=None)
    assert refused.value.code == "A16"


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('unit = "spikes"\nunit = 3\n')
    for options, code in (
        ({}, "A16"),
        ({"preset": "x", "format": "y"}, "A16"),
        ({"preset": "no_such_preset"}, "A14"),
        ({"format": "no_such_format"}, "A14"),
        ({"path": tmp_path / "map.toml"}, "A10"),
        ({"path": tmp_path / "missing.toml"}, "A10"),
    ):
        with pytest.raises(DataError) as refused:
            chosen_map(**options)
        assert refused.value.code == code


def test_a_change_from_the_command_line(tmp_path: Path) -> None:
    words = told() | {"unit": "TODO: the unit"}
    taken = checked_map(words, "map.toml", ["unit=spikes/s", "image.counted_from=0", "site.columns.snr=r"])
    assert taken.unit == "spikes/s"
    assert taken.image is not None
    assert taken.image.counted_from == 0
    assert taken.site.columns["snr"].array == "r"
    with pytest.raises(DataError) as refused:
        checked_map(words, "map.toml", ["unit"])
    assert refused.value.code == "A15"


def test_files_that_differ(tmp_path: Path) -> None:
    files = [
        write(tmp_path / f"{n}.npz", arrays() | more)
        for n, more in (("a", {}), ("b", {"s": np.array(SITE_NAMES) + np.array(["", "", "", "", "x"])}))
    ]
    for join, expected in (("trial", "the same sites"), ("site", "a name of its own")):
        words = told()
        words["responses"]["join"] = join
        if join == "site":
            words.pop("site")
        with pytest.raises(DataError) as refused:
            import_recording(checked_map(words, "map.toml"), files, out=None)
        assert refused.value.code == "A23"
        assert expected in refused.value.expected


def test_a_long_table_with_double_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,u,i,n\n1,a,x.png,3\n1,b,x.png,4\n1,a,x.png,5\n")
    words = {
        "unit": "spikes",
        "window_ms": WINDOW,
        "responses": {"array": "n", "axes": ["entry"]},
        "entries": {"trial": "t", "site": "u"},
        "image": {"id": "i"},
    }
    with pytest.raises(DataError) as refused:
        import_recording(checked_map(words, "map.toml"), [tmp_path / "a.csv"], out=None)
    assert refused.value.code == "A24"
    (tmp_path / "a.csv").write_text("t,u,i,n\n1,a,x.png,3\n1,b,y.png,4\n")
    with pytest.raises(DataError) as refused:
        import_recording(checked_map(words, "map.toml"), [tmp_path / "a.csv"], out=None)
    assert (refused.value.code, refused.value.expected) == ("A24", "one image.id per presentation")
    assert IMAGES


def test_a_format_is_asked_by_its_own_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import BaseModel, ConfigDict

    from protocols.importing.contract import ImportedTable
    from protocols.importing.formats import FORMATS, Format

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        unit: str

    def read(files: Any, options: Any) -> ImportedTable:
        image = np.array(NAMES, dtype=np.str_)[SHOWN]
        return ImportedTable(COUNTS, image, np.array(SITE_NAMES), unit=options.unit, window_ms=(70.0, 170.0))

    monkeypatch.setitem(FORMATS, "lab", Format(about="A format of a laboratory.", options=Options, read=read))
    (tmp_path / "a.lab").write_text("x")
    made = import_recording(
        chosen_map(format="lab", changes=["lab.unit=spikes", "subject=m1"]), [tmp_path / "a.lab"], out=None
    )
    assert (made.responses.unit, made.responses.attributes["subject"]) == ("spikes", "m1")
    for changes, code in (
        (["unit=spikes"], "A12"),
        (["lab.unt=spikes"], "C01"),
        ([], "C02"),
        (["site.prefix=u"], "A12"),
    ):
        with pytest.raises(DataError) as refused:
            import_recording(chosen_map(format="lab", changes=changes), [tmp_path / "a.lab"], out=None)
        assert refused.value.code == code


def test_the_command_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    import h5py

    from tests.protocols.helpers.commands import stimsynth

    file = write(tmp_path / "a.h5", arrays())
    with h5py.File(file, "r+") as held:
        held["r"].attrs["_FillValue"] = np.nan
    (tmp_path / "map.toml").write_text(
        'unit = "spikes"\nwindow_ms = [70, 170]\n[responses]\narray = "r"\naxes = ["trial", "site"]\n'
        '[image]\nid = "i"\ncounted_from = 1\n'
    )
    images = pictures(tmp_path / "images")
    out = tmp_path / "recording.h5"
    code, text, _ = stimsynth(capsys, "--json", "import", file, "--preview")
    assert (code, json.loads(text)["files"][0]["arrays"][0]["name"]) == (0, "i")
    words = ["--json", "import", file, "--map", tmp_path / "map.toml", "--images", images, "--out", out]
    code, text, _ = stimsynth(capsys, *words, "--preview")
    assert (code, json.loads(text)["understood"]["presentations"], out.exists()) == (0, "48", False)
    first = json.loads(text)["understood"]["first images"]
    assert first.endswith(".png, ...")  # cut between names
    assert len(first) <= 100
    code, text, _ = stimsynth(capsys, *words, "--unpaired", "random pixels")
    assert (code, json.loads(text)["presentations"], out.exists()) == (0, 48, True)
    code, text, _ = stimsynth(capsys, *words)
    assert (code, json.loads(text)["code"]) == (3, "A28")
    code, text, _ = stimsynth(capsys, "--json", "import", "--list")
    assert (code, "presets" in json.loads(text)) == (0, True)


@pytest.mark.parametrize("name", ["a.nex", "a.nii.gz", "a.zip", "folder"])
def test_the_preview_names_files_that_a_format_reads_by_its_own_library(tmp_path: Path, name: str) -> None:
    from protocols.importing.preview import preview_files

    content = {"a.nex": b"NEX1" + bytes(600), "a.nii.gz": b"\x1f\x8b" + bytes(99), "a.zip": b"PK\x03\x04" + bytes(99)}
    if name in content:
        (tmp_path / name).write_bytes(content[name])
    else:
        (tmp_path / name).mkdir()
    text, record = preview_files([tmp_path / name], by_format="neo")
    assert text.startswith(f"{name} (")
    assert "read as neo" in text
    assert record["files"][0]["arrays"] == []
    with pytest.raises(DataError) as refused:
        preview_files([tmp_path / name])
    assert refused.value.code in ("A01", "A03", "A07")
    if refused.value.code != "A03":
        assert "--format NAME" in refused.value.fix
