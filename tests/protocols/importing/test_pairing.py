"""Do responses belong to their pictures: figures against brute force, verdicts on simulated sites of another kind.

The sites of these tests are rectified random linear fields of single pixels, not the pooled energies of the check.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoders.reliability import reliability_of_means
from protocols.errors import DataError
from protocols.importing.pairing import check_pairing, chosen_pictures, refuse_unpaired
from protocols.importing.pairing_scores import (
    RIDGE,
    Predictor,
    means_of,
    reliability,
    reliability_scale,
    without_drift,
)
from protocols.importing.pairing_verdict import ALARMS, CANNOT_TELL, Recorded, judge
from protocols.importing.picture_features import SIDE, kernel, read_small
from protocols.recordings.responses import Responses

N, SITES, REPEATS = 160, 20, 4


def smooth(seed: int, n: int = N) -> np.ndarray:
    """Pictures (n, SIDE, SIDE, 3) with more power at low frequencies, as photographs have."""
    generator = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]) + 0.5 / SIDE
    noise = np.fft.fft2(generator.standard_normal((n, SIDE, SIDE))) / f**1.5
    grey = np.fft.ifft2(noise).real
    grey = 128 + 50 * grey / grey.std((1, 2), keepdims=True)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


PIXELS = smooth(1)


def rates(pixels: np.ndarray, sites: int = SITES) -> np.ndarray:
    """Expected counts (N, sites): rectified linear fields, each of one small place."""
    generator = np.random.default_rng(5)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    drive = []
    for _ in range(sites):
        y, x = generator.uniform(12, SIDE - 12, 2)
        field = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 6.0**2))
        field = field * np.cos(generator.uniform(0.15, 0.4) * (rows * np.sin(x) + columns * np.cos(x)) + y)
        d = (pixels[..., 0].astype(float) / 255 - 0.5).reshape(len(pixels), -1) @ field.ravel()
        drive.append(np.maximum((d - d.mean()) / d.std(), 0))
    return 1 + 6 * np.stack(drive, 1)


def recording(seed: int = 0, repeats: int = REPEATS, factor: float = 1.0, sites: int = SITES) -> Recorded:
    generator = np.random.default_rng(seed)
    position = np.concatenate([generator.permutation(N) for _ in range(repeats)])
    return Recorded(generator.poisson(factor * rates(PIXELS, sites)[position]).astype(float), position)


@pytest.fixture(scope="module")
def likeness() -> np.ndarray:
    return kernel(PIXELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pictures")
    for n, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(place / f"im{n:03d}.png")
    return place


def verdict(recorded: Recorded, likeness: np.ndarray, **options) -> str:
    return judge(recorded, likeness, listed=np.arange(len(likeness)), **options).verdict


def spoilt(recorded: Recorded, how: str) -> Recorded:
    p = recorded.position
    return recorded._replace(
        position={
            "shifted by +1": (p - 1) % N,
            "shifted by -1": (p + 1) % N,
            "not paired": np.random.default_rng(3).permutation(N)[p],
            "one trial late": np.roll(p, -1),
            "one trial early": np.roll(p, 1),
            "shifted by +1 in part": np.where(p >= 80, p - 1, p),
            "shifted by -1 in part": np.where((p >= 80) & (p < N - 1), p + 1, p),
            "paired": p,
        }[how]
    )


@pytest.mark.parametrize(
    "how", ["paired", "shifted by +1", "shifted by -1", "not paired", "one trial late", "one trial early"]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_ids_are_found_and_named(likeness, how, seed):
    assert verdict(spoilt(recording(seed), how), likeness) == how


@pytest.mark.parametrize("how", ["shifted by +1 in part", "shifted by -1 in part"])
def test_a_shift_that_begins_within_the_list_is_found_with_its_place(likeness, how):
    found = judge(spoilt(recording(repeats=10), how), likeness, listed=np.arange(N))
    assert found.verdict == how
    assert abs(found.since - 80) <= 16


def test_pictures_of_another_session_are_not_paired():
    assert verdict(recording(), kernel(smooth(2))) == "not paired"


@pytest.mark.parametrize(("repeats", "factor", "sites"), [(2, 0.02, 3), (2, 0.05, 2), (1, 0.3, 1)])
def test_a_weak_recording_gives_no_alarm(likeness, repeats, factor, sites):
    found = [verdict(recording(s, repeats, factor, sites), likeness) for s in range(6)]
    assert not set(found) & set(ALARMS)


def test_without_any_response_nothing_can_be_told(likeness):
    right = recording()
    silent = right._replace(values=np.random.default_rng(0).poisson(3.0, right.values.shape).astype(float))
    assert verdict(silent, likeness) == CANNOT_TELL
    assert verdict(right._replace(values=np.ones_like(right.values)), likeness) == CANNOT_TELL
    few = right._replace(position=np.where(right.position < 30, right.position, -1))
    assert verdict(few, likeness) == CANNOT_TELL


def test_drift_over_repeats_on_end_is_no_response(likeness):
    generator = np.random.default_rng(8)
    position = np.repeat(generator.permutation(N), REPEATS)
    drift = np.exp(np.cumsum(generator.standard_normal((len(position), SITES)), axis=0) * 0.03)
    assert verdict(Recorded(generator.poisson(4 * drift).astype(float), position), likeness) == CANNOT_TELL


def test_averages_without_known_noise_are_never_not_paired(likeness):
    means = rates(PIXELS)
    order = np.random.default_rng(0).permutation(N)
    repeats = np.full(N, 8)
    assert verdict(Recorded(means, np.arange(N), repeats), likeness) == "paired"
    assert verdict(Recorded(means, order, repeats), likeness) == CANNOT_TELL
    assert verdict(Recorded(means, order, repeats, 2 * means.mean(0)), likeness) == "not paired"
    assert verdict(Recorded(means, (np.arange(N) + 1) % N, repeats), likeness) == "shifted by -1"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), repeats=st.integers(2, 5), missing=st.floats(0, 0.2))
def test_reliability_is_that_of_the_encoders_where_all_pictures_have_equal_trials(seed, repeats, missing):
    generator = np.random.default_rng(seed)
    position = np.repeat(np.arange(30), repeats)
    values = generator.normal(generator.normal(size=(30, 3))[position], 1.0)
    assert np.allclose(reliability(values, position), reliability_of_means(values, position))
    values[generator.random(values.shape) < missing] = np.nan
    assert np.all(reliability(values, position)[np.isfinite(reliability(values, position))] <= 1)


def test_the_scale_of_reliability_is_that_of_dealt_rows():
    right = recording()
    generator = np.random.default_rng(0)
    drawn = [np.mean(reliability(right.values, generator.permutation(right.position))) for _ in range(150)]
    assert 0.75 < np.std(drawn) / reliability_scale(right.values, right.position).sd < 1.35


def test_predictions_are_those_of_fits_without_the_picture(likeness):
    some = likeness[:30, :30]
    values = means_of(recording().values, recording().position).values[:30]
    values = values - values.mean(0)
    centred = some - some.mean(0) - some.mean(1)[:, None] + some.mean()
    expected = np.empty_like(values)
    for n in range(30):
        rest = np.delete(np.arange(30), n)
        weights = np.linalg.solve(centred[np.ix_(rest, rest)] + RIDGE * np.eye(29), values[rest])
        expected[n] = centred[n, rest] @ weights
    expected = expected - expected.mean(0)
    weight = np.full(SITES, 1 / SITES)
    parts = Predictor(some).parts(values, weight)
    assert np.allclose(parts, ((values * expected / expected.std(0)) @ weight), atol=1e-3)


def test_removing_drift_keeps_what_changes_from_row_to_row():
    slow = np.linspace(0, 100, 400)[:, None]
    fast = np.where(np.arange(400) % 2, 1.0, -1.0)[:, None]
    left = without_drift(slow + fast, np.arange(400) % 7)[20:-20]
    assert np.abs(left - fast[20:-20]).max() < 0.2


@given(count=st.integers(0, 3000))
def test_of_many_pictures_whole_runs_are_chosen_over_the_list(count):
    chosen = chosen_pictures(np.arange(count) * 2)
    assert len(chosen) <= 500
    assert len(np.unique(chosen)) == len(chosen)
    assert len(chosen) == count if count <= 500 else (chosen[0] == 0 and chosen[-1] >= 2 * (count - 25))


# --- the door: a trial table and files ------------------------------------------------------------------------------------


def as_table(recorded: Recorded, names: list[str], **columns) -> Responses:
    ids = np.array([names[p] for p in recorded.position])
    sites = tuple(f"s{n}" for n in range(recorded.values.shape[1]))
    return Responses(recorded.values, ids, sites, "spikes", (50.0, 150.0), **columns)


IDS = [f"im{n:03d}" for n in range(N)]


@pytest.mark.parametrize("how", ["paired", "shifted by +1", "not paired", "one trial late"])
def test_the_door_says_it_in_sentences_and_refuses(folder, how):
    found = check_pairing(as_table(spoilt(recording(), how), IDS), folder)
    assert (found.verdict, found.alarm) == (how, how != "paired")
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == how
    assert "nan" not in found.text()
    if how == "paired":
        refuse_unpaired("recording.h5", found)
    else:
        with pytest.raises(DataError, match="--unpaired REASON") as caught:
            refuse_unpaired("recording.h5", found)
        assert caught.value.code == "Q01"


def test_the_clock_gives_the_order_and_invalid_rows_do_not_count(folder):
    late = spoilt(recording(), "one trial late")
    generator = np.random.default_rng(0)
    mixed = generator.permutation(len(late.position))
    onset = np.arange(len(late.position), dtype=float)
    table = as_table(late._replace(values=late.values[mixed], position=late.position[mixed]), IDS, onset_s=onset[mixed])
    assert check_pairing(table, folder).verdict == "one trial late"
    right = as_table(recording(), IDS, valid=np.zeros(N * REPEATS, dtype=bool))
    assert check_pairing(right, folder).verdict == CANNOT_TELL


def test_numbers_in_names_that_were_sorted_as_letters_are_found(tmp_path):
    for n, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / f"im{n}.png")
    letters = sorted(f"im{n}" for n in range(N))
    found = check_pairing(as_table(recording(), letters), tmp_path)
    assert found.alarm
    assert found.verdict == "sorted otherwise"
    assert check_pairing(as_table(recording(), [f"im{n}" for n in range(N)]), tmp_path).verdict == "paired"


def test_no_pictures_foreign_ids_or_unreadable_files_give_no_alarm(tmp_path, folder):
    table = as_table(recording(), IDS)
    assert check_pairing(table, tmp_path).verdict == CANNOT_TELL
    assert check_pairing(table, tmp_path / "nowhere").verdict == CANNOT_TELL
    foreign = replace(table, image_ids=np.array(["other"] * len(table.image_ids)))
    assert "fewer than" in check_pairing(foreign, folder).text()
    (tmp_path / "im000.png").write_bytes(b"no picture")
    assert not read_small([tmp_path / "im000.png"])[1].any()
    assert check_pairing(table, tmp_path).verdict == CANNOT_TELL


def test_pictures_are_cut_as_shown_before_they_are_looked_at(tmp_path):
    around = smooth(7)
    for n, picture in enumerate(PIXELS):
        wide = np.tile(around[n], (2, 2, 1))
        wide[10 : 10 + SIDE, 30 : 30 + SIDE] = picture
        Image.fromarray(wide).save(tmp_path / f"im{n:03d}.png")
    table = as_table(recording(), IDS)
    whole = check_pairing(table, tmp_path).finding.score
    shown = f"filename,crop_x,crop_y,crop_width,crop_height,width_deg\n*,30,10,{SIDE},{SIDE},4\n"
    (tmp_path / "shown.csv").write_text(shown, encoding="utf-8")
    cut = check_pairing(table, tmp_path)
    assert cut.verdict == "paired"
    assert cut.finding.score > whole + 0.1
    (tmp_path / "shown.csv").write_text(shown.replace(",10,", ",100,"), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        check_pairing(table, tmp_path)
    assert caught.value.code == "P16"


def test_equal_seeds_give_equal_figures(folder):
    table = as_table(recording(), IDS)
    assert check_pairing(table, folder).to_dict() == check_pairing(table, folder).to_dict()


def test_the_likeness_does_not_depend_on_the_order_of_the_pictures(likeness):
    order = np.random.default_rng(0).permutation(N)
    assert np.allclose(kernel(PIXELS[order]), likeness[np.ix_(order, order)], atol=1e-4)
    assert np.allclose(np.diag(likeness), 1.0)
