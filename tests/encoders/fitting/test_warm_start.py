"""A fit that goes on from an earlier one: nothing lost, stable folds, and reasons where it cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from encoders.fitting.options import NoWarmStart
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.solvers.gradient import train

READOUT = ReadoutSpec("factorised", epochs=6, pool=4)


@pytest.fixture(scope="module")
def older(recording):
    """A fit on the first 120 of 160 images."""
    rows = recording.index < 120
    return recording.fit(
        images=recording.images[:120],
        values=recording.values[rows],
        image_index=recording.index[rows],
        readout=READOUT,
        folds=3,
    )


def warm(recording, older, **changes):
    added = np.where(np.arange(160) < 120, 0, 1)
    how = {"readout": READOUT, "folds": 3, "initial": (older.encoder, older.validator), "added": added}
    return recording.fit(**how | changes)


def test_it_goes_on_from_the_old_weights_and_scores_no_worse(recording, older):
    new = warm(recording, older)
    cold = recording.fit(readout=READOUT, folds=3)
    assert new.report.settings["warm_start"] == [older.encoder.fingerprint, older.validator.fingerprint]

    def distance(a, b):
        pairs = [(x, y) for x, y in zip(a.encoder.readouts, b.encoder.readouts, strict=True)]
        return sum(float((x.weights[0] - y.weights[0]).norm()) for x, y in pairs)

    assert 0 < distance(new, older) < 0.5 * distance(cold, older)
    assert new.report.median("held_out_r") > older.report.median("held_out_r") - 0.03
    assert len(new.encoder.readouts) == len(older.encoder.readouts)
    assert new.encoder.fingerprint != older.encoder.fingerprint


def test_the_start_is_kept_where_every_pass_is_worse(recording, older):
    """Weights of 0 for all but misleading images: the left-out error grows, hence the members are the old ones, bit for bit."""
    readouts = list(older.encoder.readouts)[:3]
    maps = {
        "blocks.0.0": torch.randn(60, *readouts[0].shapes["blocks.0.0"], generator=torch.Generator().manual_seed(0))
    }
    with torch.no_grad():
        targets = torch.stack([r(maps) for r in readouts]).mean(0)  # what the members say already
    folds = torch.arange(60) % 3
    kind = type(readouts[0])

    def make(n_sites, seed):
        return kind(readouts[0].shapes, n_sites, pool=4, seed=seed)

    deciding = folds >= 0
    fit = train(make, maps, targets, folds=folds, initial=readouts, deciding=deciding, learning_rate=3.0, epochs=3)
    assert (fit.epochs == 0).any()
    for site in torch.nonzero(fit.epochs == 0)[:, 0].tolist():
        for old, new in zip(readouts, fit.members, strict=True):
            assert torch.equal(old.weights[0][site], new.weights[0][site])
            assert torch.equal(old.response_scale[site], new.response_scale[site])


def test_a_site_that_the_newest_images_do_not_show_has_no_score_and_keeps_its_readout(recording, older):
    values = recording.values.copy()
    values[recording.index >= 120, 2] = np.nan  # recorded before, lost since
    new = warm(recording, older, values=values)
    lost, others = new.report.sites[2], [site for site in new.report.sites if site.site_id != "v4_002"]
    assert lost.eligible_fit
    assert np.isnan(list(lost.cv_r2.values())).all()
    assert lost.best_layer == ""
    assert all(np.isfinite(list(site.cv_r2.values())).all() and site.best_layer for site in others)
    assert all(value < 1 for site in others for value in site.cv_r2.values())
    json.dumps(new.report.to_dict(), allow_nan=False)
    for old, now in zip(older.encoder.readouts, new.encoder.readouts, strict=True):
        assert torch.equal(old.weights[0][2], now.weights[0][2])


def test_what_forbids_a_warm_start_is_said(recording, older):
    with pytest.raises(NoWarmStart, match="folds changed"):
        warm(recording, older, folds=4)
    with pytest.raises(NoWarmStart, match="closed form"):
        warm(recording, older, readout="ridge")
    with pytest.raises(NoWarmStart, match="several strengths"):
        warm(recording, older, readout=ReadoutSpec("factorised", epochs=6, pool=4, strengths=(1.0, 3.0)))
    values = recording.values.copy()
    values[:, 0] = np.nan
    with pytest.raises(NoWarmStart, match="sites"):
        warm(recording, older, values=values)
