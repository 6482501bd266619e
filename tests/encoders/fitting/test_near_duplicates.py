"""Copies of photographs under other names never lie on both sides of a split, or the report says so."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders import Recording
from encoders.fitting.candidates import Candidate
from encoders.fitting.compare import compare
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.splits import photographs
from tests.encoders.helpers.simulated import TINY, Simulated, simulate, smooth_images


def copied(kind: str, images: np.ndarray) -> np.ndarray:
    if kind == "mirrored":
        return np.ascontiguousarray(images[:, :, ::-1])
    if kind == "paler":
        return (0.8 * images + 20).astype(np.uint8)
    files = [io.BytesIO() for _ in images]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.stack([np.asarray(Image.open(file)) for file in files])


def unpredictable(kind: str, seed: int) -> Simulated:
    """60 pictures and their copies; the responses have nothing to do with the pictures, but are those of the copy."""
    rng = np.random.default_rng(seed)
    images = smooth_images(60, 32, seed)
    images = np.concatenate([images, copied(kind, images)])
    truth = rng.normal(size=(60, 5))
    index = np.repeat(np.arange(120), 4)
    values = np.concatenate([truth, truth])[index] + 0.3 * rng.normal(size=(480, 5))
    options = simulate(n=60, repeats=2).options
    return Simulated(images=images, values=values, index=index, truth=truth, options=options)


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["compressed", "paler", "mirrored"]), st.integers(0, 2**31 - 1))
def test_nothing_is_predicted_from_a_copy_where_nothing_can_be_predicted(kind, seed):
    made = unpredictable(kind, seed)
    report = made.fit().report
    assert report.settings["near_duplicates"] == {"images": 120, "across_split": 0}
    held = set(report.held_out_images)
    assert held == {(i + 60) % 120 for i in held}  # each picture with its copy
    assert np.mean([site.held_out_r for site in report.fitted]) < 0.4
    assert "120 images look like another one" in report.summary()


def test_copies_on_both_sides_are_counted_and_told_where_they_are_not_joined():
    made = unpredictable("compressed", 1)
    report = made.fit(join_near_duplicates=False).report
    across = report.settings["near_duplicates"]["across_split"]
    assert across > 5
    assert f"{across} held-out images look like fitted ones" in report.summary()
    assert np.mean([site.held_out_r for site in report.fitted]) > 0.5  # what the joining prevents
    held = np.zeros(120, dtype=bool)
    held[:15] = True  # a split that is given stays as it is
    found = made.fit(held_out=held).report
    assert found.held_out_images == list(range(15))
    assert found.settings["near_duplicates"]["across_split"] == 15


def test_a_comparison_keeps_copies_in_one_fold():
    made = unpredictable("compressed", 2)
    how = {"image_index": made.index, "site_ids": made.options["site_ids"], "folds": 3}
    spec = ReadoutSpec("ridge", pool=4)
    ridge = Candidate(name="ridge", readout=spec, layers=("blocks.1.0",), backbone=TINY, weights="random")
    found = compare([ridge], made.images, made.values, **how)
    assert np.mean(found.scores[0].r) < 0.3


def test_pictures_without_copies_are_left_as_they_are(recording):
    named = ("site_ids", "unit", "field_of_view_deg", "background", "colour")
    data = Recording(
        **{name: recording.options[name] for name in named},
        pixels=recording.images,
        values=recording.values,
        image_index=recording.index,
    )
    found = data.photographs(join=True)
    assert not found.alike.any()
    assert len(set(found.names)) == len(recording.images)


def test_where_all_pictures_are_alike_the_refusal_names_the_way_out():
    rng = np.random.default_rng(0)
    images = np.repeat(smooth_images(2, 32), 40, axis=0)
    images = np.clip(images + rng.normal(0, 2, images.shape), 0, 255).astype(np.uint8)
    assert photographs(images).alike.all()
    made = simulate(n=80, repeats=2)
    made.images = images
    with pytest.raises(ValueError, match=r"near duplicates.*join_near_duplicates=False"):
        made.fit()


def test_one_row_per_image_is_told_apart_from_a_wrong_join():
    made = simulate(n=80, repeats=1)
    with pytest.raises(ValueError, match=r"one row per image.*averages=True.*trial/averaged_over"):
        made.fit()
    made.values[:] = 4.2
    with pytest.raises(ValueError, match=r"the response never varies.*empty export"):
        made.fit()


def test_columns_named_twice_or_not_at_all_are_refused_at_once(recording):
    ids = recording.options["site_ids"]
    with pytest.raises(ValueError, match=rf"5 site ids for 5 sites \(columns of values\), {ids[0]} more than once"):
        recording.fit(site_ids=[ids[0], *ids[:4]])
    with pytest.raises(ValueError, match="4 site ids for 5 sites"):
        recording.fit(site_ids=ids[:4])
