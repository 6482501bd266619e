from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from synth import StimulusBatch, ascend, cautious, fourier, one_hot, stretch, within

SHAPE = (3, 28, 28)


@pytest.fixture
def batch(encoder) -> StimulusBatch:
    objective = stretch(encoder.site_ids[:2]) | cautious(
        0.5 * one_hot(encoder.site_ids[2], 2.0) - stretch(encoder.site_ids[0]), 0.3
    )
    return ascend(encoder, objective, fourier(SHAPE), seeds=(0, 1), steps=4, check_every=2)


def same(a: StimulusBatch, b: StimulusBatch) -> None:
    for f in fields(StimulusBatch):
        x, y = getattr(a, f.name), getattr(b, f.name)
        if isinstance(x, np.ndarray):
            np.testing.assert_array_equal(x, y, err_msg=f.name)
            assert x.dtype == y.dtype, f.name
        elif isinstance(x, StimulusBatch) and isinstance(y, StimulusBatch):
            same(x, y)
        else:
            assert x == y, f.name


@pytest.mark.parametrize("validated", [False, True])
def test_file_round_trip(validated: bool, batch, make_encoder, tmp_path: Path) -> None:
    if validated:
        batch = batch.validate(make_encoder(seed=9))
    path = batch.save(tmp_path / "new" / "tomorrow.h5")
    same(StimulusBatch.load(path), batch)
    assert [p.name for p in path.parent.iterdir()] == ["tomorrow.h5"]
    assert StimulusBatch.load(path).objective == batch.objective


@pytest.mark.parametrize("what", ["huge", "zeros", "link", "soft", "external"])
def test_a_batch_that_states_more_than_it_holds(batch, tmp_path: Path, what: str) -> None:
    path = batch.save(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["trace"]
        if what == "huge":
            file.create_dataset("trace", shape=(10**7, 1000), chunks=(100, 100), dtype="f4")
        elif what == "zeros":
            file.create_dataset("trace", data=np.zeros((20_000, 1000), "f4"), chunks=(20_000, 1000), compression="gzip")
        elif what == "external":
            file.create_dataset("trace", shape=(3,), dtype="u1", external=[("/etc/hostname", 0, 3)])
        else:
            file["trace"] = h5py.ExternalLink("b.h5", "/x") if what == "link" else h5py.SoftLink("/scores")
    with pytest.raises(ValueError, match="trace"):
        StimulusBatch.load(path)


def test_saving_again_replaces_whole(batch, tmp_path: Path) -> None:
    path = batch.save(tmp_path / "a.h5")
    batch[:2].save(path)
    assert len(StimulusBatch.load(path)) == 2


def test_a_failed_save_leaves_the_old_file(batch, tmp_path: Path) -> None:
    path = batch.save(tmp_path / "a.h5")
    with pytest.raises(TypeError, match="JSON"):
        replace(batch, settings={"x": object()}).save(path)
    same(StimulusBatch.load(path), batch)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_objective_scores_the_stored_images(batch, encoder) -> None:
    images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float() / 255
    bound = batch.objective.bind(batch.site_ids, encoder.natural_mean, encoder.natural_sd)
    assert np.allclose(bound(images, torch.from_numpy(batch.predicted)), batch.scores, atol=1e-5)


def test_take_and_slice_keep_what_belongs_together(batch) -> None:
    part = batch[2:5]
    same(part, batch.take([2, 3, 4]))
    same(part.take([2, 0]), batch.take([4, 2]))
    assert part.objective == batch.objective[2:5]
    assert part.row_names == batch.row_names[2:5]
    assert len(batch[:0]) == 0
    with pytest.raises(TypeError, match="take"):
        batch[0]  # type: ignore[index]


def test_validate_matches_sites_by_name(batch, encoder, make_encoder) -> None:
    itself = batch.validate(encoder)
    assert np.allclose(itself.validator_predicted, batch.predicted, atol=1e-6)
    assert np.allclose(itself.validator_scores, batch.scores, atol=1e-5)

    class Reversed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = encoder
            self.site_ids = encoder.site_ids[::-1]
            self.natural_mean, self.natural_sd = encoder.natural_mean.flip(0), encoder.natural_sd.flip(0)
            self.fingerprint = "enc_backward"

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images).flip(1)

    backward = batch.validate(Reversed())
    assert np.allclose(backward.validator_predicted, batch.predicted, atol=1e-6)
    assert np.allclose(backward.validator_scores, batch.scores, atol=1e-5)
    assert backward.validator_fingerprint == "enc_backward"
    assert batch.validator_scores is None
    ensemble = batch.validate(make_encoder(seed=3, members=3))
    assert ensemble.validator_predicted.shape == batch.predicted.shape


def test_validator_without_the_sites_is_refused(batch, make_encoder) -> None:
    few = make_encoder(sites=2)
    with pytest.raises(ValueError, match=r"unknown site|lacks the sites"):
        batch.validate(few)
    with pytest.raises(ValueError, match=r"without site_ids|columns"):
        batch.validate(lambda images: images.mean((2, 3)))


def test_best_per_target_is_the_validators_choice(batch) -> None:
    best = batch.best_per_target()
    assert best.row_names == (batch.row_names[0], batch.row_names[2], batch.row_names[4])
    assert best.scores.tolist() == [batch.scores[i : i + 2].max() for i in (0, 2, 4)]
    turned = replace(batch, validator_scores=-batch.scores).best_per_target()
    assert turned.scores.tolist() == [batch.scores[i : i + 2].min() for i in (0, 2, 4)]
    broken = batch.scores.copy()
    broken[3] = np.nan
    with pytest.raises(ValueError, match=r"image 3 .* is NaN"):
        replace(batch, scores=broken).best_per_target()


def test_rows_that_differ_in_a_setting_alone_keep_a_best_image_each(encoder) -> None:
    site = encoder.site_ids[0]
    objective = within([site], -1.0, 0.0) | within([site], 2.0, 3.0)
    assert len(set(objective.row_names)) == 1
    made = ascend(encoder, objective, fourier((3, 28, 28)), seeds=(0, 1), steps=2)
    best = made.best_indices()
    assert [i // 2 for i in best] == [0, 1]


def test_disagreeing_parts_are_refused(batch) -> None:
    with pytest.raises(ValueError, match=r"scores of shape \(5,\); expected \(S=6\)"):
        replace(batch, scores=batch.scores[:5])
    with pytest.raises(ValueError, match="U=4"):
        replace(batch, site_ids=batch.site_ids[:4])
    with pytest.raises(ValueError, match="expected uint8"):
        replace(batch, images=batch.images.astype(np.float32))
    with pytest.raises(ValueError, match="objective of 2 rows for 6 images"):
        replace(batch, objective_description=batch[:2].objective_description)


def test_broken_files_say_what_is_wrong(batch, tmp_path: Path) -> None:
    path = batch.save(tmp_path / "a.h5")
    whole = path.read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("not a batch")
    for name in ("half.h5", "text.h5"):
        with pytest.raises(ValueError, match=f"{name} is not a readable stimulus batch"):
            StimulusBatch.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        StimulusBatch.load(tmp_path / "none.h5")
    with h5py.File(path, "r+") as file:
        del file["scores"]
    with pytest.raises(ValueError, match="dataset 'scores' is missing"):
        StimulusBatch.load(path)
    with h5py.File(path, "r+") as file:
        file["scores"] = np.zeros(3, dtype=np.float32)
    with pytest.raises(ValueError, match=r"scores of shape \(3,\)"):
        StimulusBatch.load(path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema"] = "responses/1"
    with pytest.raises(ValueError, match="schema 'responses/1' instead of 'stimulus_batch/1'"):
        StimulusBatch.load(path)


def test_the_share_of_black_or_white_is_counted_value_by_value(batch) -> None:
    images = np.full_like(batch.images, 128)
    for i, image in enumerate(images):
        image.reshape(-1)[: 10 * i] = np.resize([0, 255], 10 * i)
        image.reshape(-1)[10 * i : 10 * i + 4] = (1, 254, 2, 253)
    shares = replace(batch, images=images).black_or_white
    assert shares.tolist() == pytest.approx([10 * i / images[0].size for i in range(len(batch))])
