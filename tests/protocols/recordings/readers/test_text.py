"""Text items: every way to write the same names gives the same names, and what is taken off is told."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.recordings.readers import read_responses

SITES = ["s0", "s1", "s2"]
WORDS = st.lists(
    st.from_regex(r"[a-zA-Zäß][a-zA-Z0-9_.ü 猫🐒-]{0,9}[a-z0-9]", fullmatch=True),
    min_size=6,
    max_size=6,
    unique_by=str.lower,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("text") / "day.h5"


def write(path, put, *, values=None, **attrs):
    with h5py.File(path, "w") as file:
        file["responses"] = np.arange(18.0).reshape(6, 3) if values is None else values
        file["site_id"] = SITES
        put(file)
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0], **attrs)
    return path


def outcome(path, **options):
    try:
        return read_responses(path, **options)
    except DataError as error:
        return error


def cells(file, words):
    """A MATLAB cell array of char: UTF-16 code units."""
    references = []
    for n, word in enumerate(words):
        codes = np.frombuffer(word.encode("utf-16-le"), "<u2").reshape(-1, 1)
        references.append(file.create_dataset(f"#refs#/c{n}", data=codes).ref)
    file.create_dataset("image_id", data=np.array([references], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def matrix(file, words, *, kind, transpose):
    units = [np.frombuffer(w.encode("utf-8" if kind == "u1" else "utf-16-le"), kind) for w in words]
    width = max(max(map(len, units)), 20)
    codes = np.stack([np.concatenate([u, np.full(width - len(u), 32, kind)]) for u in units])
    file["image_id"] = codes.T if transpose else codes


WAYS = {
    "strings": lambda f, w: f.create_dataset("image_id", data=w, dtype=h5py.string_dtype()),
    "matlab strings": lambda f, w: f.create_dataset("image_id", data=[w], dtype=h5py.string_dtype()),
    "fixed utf-8": lambda f, w: f.create_dataset(
        "image_id", data=np.array([x.encode() for x in w], dtype=h5py.string_dtype("utf-8", 64))
    ),
    "fixed bytes": lambda f, w: f.create_dataset("image_id", data=np.array([x.encode() for x in w], dtype="S64")),
    "cells": cells,
    "bytes of a matrix": lambda f, w: matrix(f, w, kind="u1", transpose=False),
    "chars of a matrix": lambda f, w: matrix(f, w, kind="u2", transpose=True),
    "single characters": lambda f, w: f.create_dataset(
        "image_id", data=np.array([list(x.ljust(20)) for x in w], dtype="S1")
    ),
    "enumeration": lambda f, w: f.create_dataset(
        "image_id", data=np.arange(6)[::-1], dtype=h5py.enum_dtype({x: 5 - n for n, x in enumerate(w)}, basetype="i2")
    ),
}


@settings(max_examples=80, deadline=None)
@given(words=WORDS, way=st.sampled_from(sorted(WAYS)))
def test_the_same_names_written_in_any_way(path, words, way):
    if way == "single characters":
        words = [f"im{n}" for n in range(6)]
    files = [f"{w}.png" for w in words]
    found = outcome(write(path, lambda file: WAYS[way](file, words)), names=files)
    plain = outcome(write(path, lambda file: WAYS["strings"](file, words)), names=files)
    if isinstance(plain, DataError):  # two names become one id
        assert found.code == plain.code == "R08"
        return
    assert list(found.image_ids) == list(plain.image_ids)
    assert not any("taken off" in n for n in found.attributes["notes"])


@settings(max_examples=60, deadline=None)
@given(
    around=st.sampled_from(["\n", "\r\n", " ", "\t", "\ufeff"]),
    before=st.booleans(),
    way=st.sampled_from(["strings", "fixed bytes", "cells"]),
)
def test_what_is_taken_off_a_name_is_told(path, around, before, way):
    words = ["im_a", "im_b", "im_c", "im_d", "im_e", "im_f"]
    written = [around + w if before else w + around for w in words]
    read = read_responses(write(path, lambda file: WAYS[way](file, written)))
    assert list(read.image_ids) == words
    padding = way == "fixed bytes" and around == " " and not before
    assert any("6 entries of image_id had blanks" in n for n in read.attributes["notes"]) != padding


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16"])
def test_text_in_utf_16_is_refused_and_not_cut(path, codec):
    words = np.array([f"im_{n}".encode(codec) for n in range(6)], dtype="S20")
    error = outcome(write(path, lambda file: file.create_dataset("image_id", data=words)))
    assert error.code == "R05"
    assert "UTF-8" in str(error)


def test_flags_of_the_cf_conventions(path):
    def put(file):
        file["image_id"] = np.array([3, 1, 2, 1, 2, 3], dtype="i1")
        file["image_id"].attrs.update(flag_values=np.array([1, 2, 3], "i1"), flag_meanings="cat dog scene.007")

    read = read_responses(write(path, put), names=["cat.png", "dog.png", "scene.007.png"])
    assert list(read.image_ids) == ["scene_007", "cat", "dog", "cat", "dog", "scene_007"]


def test_sites_of_an_enumeration_and_numbers_in_a_row(path):
    def put(file):
        file["image_id"] = [f"im_{n}" for n in range(6)]
        del file["site_id"]
        file.create_dataset(
            "site_id", data=[2, 0, 1], dtype=h5py.enum_dtype({"V4-a": 0, "V4-b": 1, "IT-c": 2}, basetype="u1")
        )

    assert read_responses(write(path, put)).source_site_ids == ("IT-c", "V4-a", "V4-b")

    def numbers(file):
        file["image_id"] = [f"im_{n}" for n in range(6)]
        del file["site_id"]
        file["site_id"] = np.array([[101, 102, 103]], dtype=np.uint16)

    assert read_responses(write(path, numbers)).source_site_ids == ("101", "102", "103")


@pytest.mark.parametrize("way", ["numbers", "responses"])
def test_an_enumeration_is_no_number(path, way):
    kind = h5py.enum_dtype({"low": 0, "high": 1}, basetype="u1")
    values = np.zeros((6, 3)).astype(kind) if way == "responses" else None

    def put(file):
        file["image_id"] = [f"im_{n}" for n in range(6)]
        if way == "numbers":
            file["trial/onset_s"] = np.zeros(6).astype(kind)

    assert outcome(write(path, put, values=values)).code == "R05"


def test_a_number_declared_missing_is_no_id(path):
    def put(file):
        file["image_id"] = np.array([5, 6, 7, 8, -1, 9])
        file["image_id"].attrs["_FillValue"] = -1

    error = outcome(write(path, put), names=[f"{n}.png" for n in range(5, 10)])
    assert error.code == "R08"
