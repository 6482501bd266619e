"""MATLAB files up to version 7 are checked tag by tag: what scipy writes passes, what would end its process does not."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import io, sparse

from protocols.disk import foreign
from protocols.errors import DataError
from protocols.importing.containers import open_container
from protocols.importing.containers.mat5_scan import DEEPEST, check_mat5

KEPT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
LEAVES = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**31), 2**31 - 1),
    st.text("abc äß", min_size=1, max_size=5),
    st.booleans(),
    st.builds(
        lambda n, k: np.arange(n).astype(k), st.integers(0, 40), st.sampled_from(["i1", "u2", "f4", "f8", "c16", "i8"])
    ),
    st.builds(lambda n: sparse.csc_matrix(np.eye(n)), st.integers(1, 4)),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(lambda v: _cell(v)),
    ),
    max_leaves=6,
)


def _cell(values: list[object]) -> np.ndarray:
    made = np.empty(len(values), dtype=object)
    for n, value in enumerate(values):
        made[n] = value
    return made


@KEPT
@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), st.booleans())
def test_what_scipy_writes_passes(tmp_path, held, packed):
    io.savemat(tmp_path / "a.mat", held, do_compression=packed)
    check_mat5(tmp_path / "a.mat")


def written(folder: Path, **held: object) -> bytearray:
    io.savemat(folder / "a.mat", held)
    return bytearray((folder / "a.mat").read_bytes())


def refused(folder: Path, data: bytes) -> str:
    (folder / "b.mat").write_bytes(data)
    with pytest.raises(ValueError, match=r"of|more|where|a ") as error:
        check_mat5(folder / "b.mat")
    with pytest.raises(DataError), open_container(folder / "b.mat") as found:
        found.item("x").read()
    return str(error.value)


def test_types_and_classes_that_do_not_exist(tmp_path):
    """scipy looks them up in a table without a look at its end."""
    data = written(tmp_path, x=np.arange(3.0))
    for at, value, words in (
        (128, 99, "of type 99"),
        (136, 77, "flags of type 77"),
        (144, 50, "class 50"),
        (152, 88, "dimensions"),
    ):
        changed = data.copy()
        changed[at : at + 4] = struct.pack("<I", value)
        assert words in refused(tmp_path, bytes(changed))
    at = bytes(data).index(struct.pack("<d", 2.0)) - 16 - 8
    changed = data.copy()
    changed[at : at + 4] = struct.pack("<I", 200)
    assert "numbers of type 200" in refused(tmp_path, bytes(changed))


def test_dimensions_without_their_cells(tmp_path):
    data = written(tmp_path, x=_cell([1.0, 2.0]))
    at = bytes(data).index(struct.pack("<II", 1, 2), 144)
    data[at : at + 8] = struct.pack("<II", 1, 2**30)
    assert "1073741824 cells" in refused(tmp_path, bytes(data))


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_cut_short(tmp_path, keep, packed):
    io.savemat(tmp_path / "a.mat", {"x": np.random.default_rng(0).normal(size=500)}, do_compression=packed)
    data = (tmp_path / "a.mat").read_bytes()
    refused(tmp_path, data[: int(keep * len(data))])


def matrix(inner: bytes) -> bytes:
    """A cell that holds one matrix."""
    body = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0) + inner
    return struct.pack("<II", 14, len(body)) + body


@pytest.mark.parametrize("depth", [10, DEEPEST - 2, DEEPEST + 2, 20_000])
def test_cells_within_cells(tmp_path, depth):
    """scipy follows them by recursion in C."""
    made = struct.pack("<II", 14, 0)
    for _ in range(min(depth, 200)):
        made = matrix(made)
    if depth > 200:  # each around the last is slow to build: sizes that fit are written from the outside
        sizes = [48 + 48 * n for n in range(depth)][::-1]
        made = b"".join(struct.pack("<II", 14, 8 + size - 8) + matrix(b"")[8:] for size in sizes) + struct.pack(
            "<II", 14, 0
        )
    head = bytes(written(tmp_path, x=1.0)[:128])
    (tmp_path / "b.mat").write_bytes(head + made)
    if depth < DEEPEST:
        check_mat5(tmp_path / "b.mat")
    else:
        assert "deep" in refused(tmp_path, head + made)


def test_a_packed_variable_of_zeros(tmp_path, monkeypatch):
    monkeypatch.setattr(foreign, "FREE", 1 << 20)
    io.savemat(tmp_path / "a.mat", {"x": np.zeros(1 << 20)}, do_compression=True)
    with pytest.raises(DataError) as error:
        check_mat5(tmp_path / "a.mat")
    assert error.value.code == "F14"
