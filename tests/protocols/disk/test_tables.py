"""Tables as spreadsheets of any country write them, against Python's own csv module."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.tables import read_table, write_table
from protocols.errors import DataError

NAMES = st.lists(
    st.sampled_from(["image_id", "role", "filename", "group", "pred_v4_001", "größe", "a b"]),
    min_size=2,
    max_size=5,
    unique=True,
)
CELLS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=8).filter(lambda t: t == t.strip()),
    st.sampled_from(['say "this"', "a,b", "a;b", "a\tb", "two\nlines", "1.5", "-3", "", "stretch:v4_1 one_hot:v4_2"]),
)
ENCODINGS = {"utf-8": b"", "utf-8-sig": b"", "utf-16": b"", "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


@settings(max_examples=150, deadline=None)
@given(
    header=NAMES, data=st.data(), separator=st.sampled_from(",;\t"), end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(sorted(ENCODINGS)), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    empty_columns=st.integers(0, 3), empty_lines=st.integers(0, 3), hint=st.booleans(),
)  # fmt: skip
def test_every_dialect_is_read_as_it_was_written(
    tmp_path_factory, header, data, separator, end, encoding, quoting, empty_columns, empty_lines, hint
):
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)).filter(any), max_size=5))
    if end == "\r":
        quoting = csv.QUOTE_ALL  # Python's writer leaves a cell with "\n" bare here
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
    lines = [header, *rows, *([[""] * len(header)] * empty_lines)]
    writer.writerows([*line, *([""] * empty_columns)] for line in lines)
    path = tmp_path_factory.mktemp("t") / "table.csv"
    text = (f"sep={separator}{end}" if hint and encoding != "utf-8-sig" else "") + buffer.getvalue()
    path.write_bytes(ENCODINGS[encoding] + text.encode(encoding))
    found, read = read_table(path)
    assert found == header
    assert [[row[name] for name in header] for row in read] == rows


@settings(max_examples=60, deadline=None)
@given(
    value=st.decimals(min_value=-1000, max_value=1000, places=3), other=st.decimals(min_value=-9, max_value=9, places=1)
)
def test_decimal_commas_of_tables_with_semicolons(tmp_path_factory, value, other):
    path = tmp_path_factory.mktemp("t") / "table.csv"
    path.write_text(f"image_id;pred_a;pred_b\r\nim_1;{str(value).replace('.', ',')};{other}\r\n".replace(".", ","))
    row = read_table(path)[1][0]
    assert [float(row["pred_a"]), float(row["pred_b"])] == [float(value), float(other)]


def test_a_comma_within_a_cell_of_a_comma_table_is_left_alone(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('image_id,pred_a\nim_1,"1,234"\n')
    assert read_table(path)[1] == [{"image_id": "im_1", "pred_a": "1,234"}]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("filename,group\nGröße.png,a\n".encode("cp1252"), "not UTF-8"),
        ("filename,group\na,b\n".encode("utf-16-le"), "zero bytes"),
        (b"\xff\xfef\0i\0l", "UTF-16"),
        (b"a,b,a\n1,2,3\n", "column 'a' twice"),
        (b'"a,b"\n"1,2"\n', "one column named 'a,b'"),
        (b'"a,b";;\n"1,2";;\n', "one column|more cells"),
        (b"a,b\n1,2\n1,2,3\n", "line 3 with more cells"),
        (b"a,b,,\n1,2,,3\n", "line 2 with more cells"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path, data, words):
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    with pytest.raises(DataError, match=rf"\[F11\].*({words}).*CSV UTF-8"):
        read_table(path)


def test_what_we_write_we_read(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, ["a", "b"], [["x;y", "1,5"], ["", "é"]])
    assert read_table(path) == (["a", "b"], [{"a": "x;y", "b": "1,5"}, {"a": "", "b": "é"}])
    path.write_bytes(b"")
    assert read_table(path) == ([], [])
