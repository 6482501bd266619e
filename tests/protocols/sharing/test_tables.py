"""What the tables say is read back to the same bits, whatever the numbers are; paths are found wherever they stand."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocols.recordings.responses import Responses
from protocols.sharing.archives.portable import machine_path
from protocols.sharing.archives.tables import sites_table, trials_table
from protocols.sharing.exports.bids import write_tsv

QUICK = settings(deadline=None, max_examples=30)
HOME = "/" + "home/ada"
numbers = st.floats(allow_nan=True, allow_infinity=False)


@QUICK
@given(
    arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=numbers),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_trials_are_read_back_to_the_same_bits(
    values: np.ndarray, with_block: bool, with_valid: bool, data: st.DataObject
) -> None:
    trials, sites = values.shape
    block = np.arange(trials) - 1 if with_block else None
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=trials, max_size=trials))) if with_valid else None
    names = np.array(["one, two", 'quoted "x"', "Größe", "a\nb", "=1+1", "r01"][:trials])
    table = Responses(
        values=values, image_ids=names, site_ids=tuple(f"s{i}" for i in range(sites)), unit="au", window_ms=(0.0, 1.0),
        block=block, valid=valid,
    )  # fmt: skip
    columns, rows = trials_table(table)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([[c.name for c in columns], *rows])
    read = list(csv.DictReader(io.StringIO(buffer.getvalue(), newline="")))
    back = np.array([[float(r[f"response_s{i}"] or "nan") for i in range(sites)] for r in read])
    np.testing.assert_array_equal(back, values)
    assert [r["image_id"] for r in read] == list(names)
    assert ("block" in read[0], "valid" in read[0]) == (with_block, with_valid)
    if block is not None:
        assert [int(r["block"]) for r in read] == block.tolist()
    if valid is not None:
        assert [r["valid"] == "1" for r in read] == valid.tolist()


@settings(QUICK, max_examples=15)
@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=5, max_size=15))
def test_a_bids_table_never_breaks_a_row(rows: list[list[str]]) -> None:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tsv"
        write_tsv(path, ("a", "b"), rows)
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == 1 + len(rows)
    assert all(line.count("\t") == 1 and all(line.split("\t")) for line in lines)


@QUICK
@given(
    st.sampled_from(
        [HOME, HOME.replace("home", "Users"), "~/data", "C:\\data", "\\\\server\\share\\x", "file://" + HOME]
    ),
    st.text(alphabet="abc .,;", max_size=20),
    st.sampled_from([" ", '"', "'", "(", "=", "\n"]),
)
def test_a_path_is_found_wherever_it_stands(path: str, before: str, mark: str) -> None:
    assert machine_path(f"{before}{mark}{path} end") == path


@QUICK
@given(st.text(alphabet="abcXYZ/.:-_ 0123<>\n", max_size=60))
def test_units_fractions_and_relative_names_are_no_paths(text: str) -> None:
    assert machine_path(f"spikes/s cd/m2 {text.replace(' /', ' x/').replace(':/', ': ')}".replace("\n/", "\nx/")) == ""


def test_what_the_rig_said_of_sites_is_kept() -> None:
    table = Responses(
        values=np.zeros((1, 2)), image_ids=np.array(["a"]), site_ids=("s0", "s1"), unit="au", window_ms=(0.0, 1.0),
        attributes={"sites": {"s0": {"area": "V4", "x_um": 1.5}, "s1": {"x_um": math.nan}}},
    )  # fmt: skip
    columns, rows = sites_table([(0, table), (1, table)])
    assert [(c.name, c.kind) for c in columns[3:]] == [("area", "string"), ("x_um", "number")]
    assert rows == [
        [0, "s0", "s0", "V4", "1.5"],
        [0, "s1", "s1", "", ""],
        [1, "s0", "s0", "V4", "1.5"],
        [1, "s1", "s1", "", ""],
    ]
