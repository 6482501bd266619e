"""An event table means the same in every container, and nothing in it is guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from protocols.errors import DataError
from protocols.importing.events import EventColumns, EventTable, joined, onset_seconds, read_columns, read_events
from protocols.importing.events.image_numbers import Numbered
from tests.protocols.helpers.sorted_spikes import a_day, write_rows

SECONDS = EventColumns(onset_unit="s")
ROWS = {"onset": [1.5, 2.25, 3.0], "image": ["007", "b.png", "é.png"], "block": [0, 0, 1], "valid": [1, 0, 1]}


def parquet(path: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    files.write_table(arrow.table(ROWS), path)
    return path


def structured(path: Path) -> Path:
    made = np.zeros(3, dtype=[("onset", "f8"), ("image", "U9"), ("block", "i4"), ("valid", "u1")])
    for name in ROWS:
        made[name] = ROWS[name]
    np.save(path, made)
    return path


MAKERS = {
    "csv": lambda p: write_rows(p, ROWS),
    "tsv": lambda p: write_rows(p, ROWS, "\t"),
    "txt": lambda p: write_rows(p, ROWS, "\t"),
    "semicolons.csv": lambda p: write_rows(p, ROWS, ";"),
    "parquet": parquet,
    "npy": structured,
}


@pytest.mark.parametrize("ending", MAKERS)
def test_every_container_gives_the_same_table(tmp_path, ending):
    table = read_events([MAKERS[ending](tmp_path / f"events.{ending}")], SECONDS)
    assert table.onset.tolist() == ROWS["onset"]
    assert table.image.tolist() == ROWS["image"]
    assert table.trial["block"].tolist() == [0, 0, 1]
    assert table.trial["valid"].tolist() == [1, 0, 1]
    assert table.used().tolist() == [True, False, True]


def test_a_byte_order_mark_and_blank_lines_do_not_matter(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(b"\xef\xbb\xbfonset,image\r\n1.0,a\r\n\r\n2.0,b\r\n")
    assert read_columns(path) == {"onset": ["1.0", "2.0"], "image": ["a", "b"]}


@settings(max_examples=25, deadline=None)
@given(
    onsets=st.lists(st.integers(0, 10**7), min_size=2, max_size=30, unique=True),
    unit=st.sampled_from(["s", "ms", "samples"]),
    first=st.sampled_from([0, 1]),
)
def test_the_same_moments_in_every_unit(tmp_path_factory, onsets, unit, first):
    """Onsets at 1 kHz, at least 10 ms apart: the seconds are the same whatever the table counts."""
    ticks = sorted(10 * o for o in onsets)
    cells = {
        "s": [repr(t / 1000) for t in ticks],
        "ms": [str(t) for t in ticks],
        "samples": [str(t + first) for t in ticks],
    }
    path = write_rows(tmp_path_factory.mktemp("e") / "events.csv", {"onset": cells[unit], "image": ["a"] * len(ticks)})
    columns = EventColumns(onset_unit=unit, first_sample=first)
    seconds = onset_seconds(read_events([path], columns), columns, [], samples_per_s=1000.0, span_s=None)
    assert np.allclose(seconds, np.array(ticks) / 1000, rtol=0, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 99_999),
    ids_from=st.sampled_from([0, 1]),
    names_from=st.sampled_from([0, 1]),
    width=st.integers(1, 6),
)
def test_the_first_image_is_the_first_whatever_counts_from_where(number, ids_from, names_from, width):
    rule = Numbered(f"a{{:0{width}d}}.png", ids_from, names_from)
    assert rule.name(number + ids_from) == f"a{number + names_from:0{width}d}.png"


def test_a_day_in_seconds_said_to_be_something_else_is_refused(tmp_path):
    day = a_day()
    span = (0.0, float(day.onsets_s[-1]) + 1)
    for stored, told in (("s", "ms"), ("ms", "samples"), ("s", "samples")):
        columns = day.columns(stored)
        columns["onset"] = (
            [round(float(t)) for t in columns["onset"]] if told == "samples" and stored == "ms" else columns["onset"]
        )
        path = write_rows(tmp_path / "e.csv", columns)
        said = EventColumns(onset_unit=told)
        with pytest.raises(DataError) as refused:
            onset_seconds(read_events([path], said), said, [], samples_per_s=30_000.0, span_s=span)
        assert refused.value.code == "H12"


def test_a_short_part_of_a_recording_must_be_stated(tmp_path):
    path = write_rows(tmp_path / "e.csv", {"onset": np.arange(20) * 0.5, "image": ["a"] * 20})
    read = read_events([path], SECONDS)
    with pytest.raises(DataError, match="part_of_recording"):
        onset_seconds(read, SECONDS, [], samples_per_s=None, span_s=(0.0, 3600.0))
    stated = SECONDS.model_copy(update={"part_of_recording": True})
    assert len(onset_seconds(read, stated, [], samples_per_s=None, span_s=(0.0, 3600.0))) == 20


def test_rows_that_are_not_used_need_no_onset(tmp_path):
    path = write_rows(tmp_path / "e.csv", {"onset": ["1", "n/a", "3"], "image": ["a", "", "b"], "valid": [1, 0, 1]})
    read = read_events([path], SECONDS)
    assert np.isnan(read.onset[1])
    assert read.image.tolist() == ["a", "", "b"]


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("good", "aborted"), ("1.0", "0.0")])
def test_words_for_valid(tmp_path, yes, no):
    path = write_rows(tmp_path / "e.csv", {"onset": [1, "", 3], "image": ["a", "b", "c"], "valid": [yes, no, yes]})
    read = read_events([path], SECONDS)
    assert read.trial["valid"].tolist() == [1, 0, 1]
    assert read.used().tolist() == [True, False, True]
    odd = write_rows(tmp_path / "odd.csv", {"onset": [1, 2], "image": ["a", "b"], "valid": [yes, "perhaps"]})
    assert read_events([odd], SECONDS).trial["valid"].tolist() == [yes, "perhaps"]  # the reader of responses refuses it


def test_samples_without_a_rate_are_refused(tmp_path):
    path = write_rows(tmp_path / "e.csv", {"onset": [10, 20], "image": ["a", "b"]})
    columns = EventColumns(onset_unit="samples")
    with pytest.raises(DataError, match="samples_per_s"):
        onset_seconds(read_events([path], columns), columns, [], samples_per_s=None, span_s=None)


def test_tables_of_runs_are_joined_and_a_lost_column_is_told(tmp_path):
    one = read_events([write_rows(tmp_path / "1.csv", ROWS)], SECONDS)
    two = read_events([write_rows(tmp_path / "2.csv", {n: c for n, c in ROWS.items() if n != "block"})], SECONDS)
    both: EventTable = joined([one, two])
    assert both.image.tolist() == ROWS["image"] * 2
    assert "block" not in both.trial
    assert "the column block is not in every event table and was left out" in both.notes


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "H10"),
        ("onset,image\n", "H10"),
        ("onset,image\n1,a\n2\n", "H10"),
        ("onset,onset\n1,2\n", "H10"),
        ("onset,\n1,2\n", "H10"),
        ("onset,image\n1,a\0\n", "H10"),
        ('onset,image\n1,"a\n2,b\n', "H10"),
        ("onset,image\nsoon,a\n", "H11"),
        ("onset,image\ninf,a\n", "H11"),
        ("onset,image\n1_0,a\n", "H11"),
        ("onset,image\n1,5\n2,6.\n", None),
        ("onset,image\n1,5.0\n2,6.0\n", "H11"),
        ("onset,image\n1,1e3\n2,2e3\n", "H11"),
    ],
)
def test_tables_that_say_too_little(tmp_path, content, code):
    path = tmp_path / "e.csv"
    path.write_text(content)
    if code is None:
        assert read_events([path], SECONDS).image.tolist() == ["5", "6."]
        return
    with pytest.raises(DataError) as refused:
        read_events([path], SECONDS)
    assert refused.value.code == code


def test_files_that_are_no_tables(tmp_path):
    np.save(tmp_path / "plain.npy", np.arange(3))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "latin.csv").write_bytes(b"onset,image\n1,\xe9\n")
    for path in (*sorted(tmp_path.iterdir()), tmp_path / "missing.csv"):
        with pytest.raises(DataError) as refused:
            read_events([path], SECONDS)
        assert refused.value.code == "H10", path


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    import sys

    path = parquet(tmp_path / "e.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'stimsynth\[tables\]'"):
        read_events([path], SECONDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"onset_unit": "minutes"},
        {"clock_scale": 0},
        {"clock_offset_s": float("nan")},
        {"ids_from": 1},
        {"image_name": "a{}{}.png", "ids_from": 0, "names_from": 0},
        {"image_name": "a{}.png", "ids_from": 0, "names_from": 0, "index_base": 0},
        {"onsets": "t"},
    ],
)
def test_columns_that_contradict_themselves(wrong):
    with pytest.raises(ValidationError):
        EventColumns(**wrong)


@pytest.mark.parametrize(
    "data",
    [
        b"onset,image\n0.5,a 1.png\n1.25,b.png\n",
        b"\xef\xbb\xbfonset;image\r\n0,5;a 1.png\r\n1,25;b.png\r\n",
        "onset\timage\n0.5\ta 1.png\n1.25\tb.png\n".encode("utf-16"),
        b"sep=;\nonset;image\n0,5;a 1.png\n1,25;b.png\n",
        b'# written by hand\n"onset";"image"\n"0,5";"a 1.png"\n\n"1,25";"b.png"\n',
    ],
    ids=["commas", "decimal commas", "utf-16", "sep=", "quotes, a comment and an empty line"],
)
def test_a_table_is_read_as_spreadsheets_save_it(tmp_path, data):
    """By the reader of all text tables: the same cells, whatever separator, decimal sign and encoding."""
    (tmp_path / "events.csv").write_bytes(data)
    assert read_columns(tmp_path / "events.csv") == {"onset": ["0.5", "1.25"], "image": ["a 1.png", "b.png"]}
