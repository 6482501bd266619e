from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from encoders import EncoderInfo, Ensemble, backbone
from encoders.fields.sites import readout_masks, site_fields, site_maps
from encoders.readouts import FactorisedReadout, LinearReadout

TINY, LAYER = "timm:test_efficientnet", "blocks.0.0"


def ensemble(readouts, network):
    info = EncoderInfo(
        site_ids=("a", "b"),
        target_ids=("a",),
        response_unit="spikes",
        image_shape=(3, 32, 32),
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
    )
    return Ensemble(network, readouts, info, natural_mean=torch.zeros(2), natural_sd=torch.ones(2))


@pytest.fixture(scope="module")
def network():
    return backbone(TINY, [LAYER], weights="random")


@pytest.fixture(scope="module")
def looking(network):
    """Site a looks at the upper left, site b at the lower right, two members."""
    shape = tuple(network(torch.rand(1, 3, 32, 32))[LAYER].shape[1:])
    side = shape[1]
    grid = torch.arange(side).float()
    masks = []
    for x, y in ((0.3, 0.3), (0.7, 0.75)):
        d = (grid[None] + 0.5 - x * side) ** 2 + (grid[:, None] + 0.5 - y * side) ** 2
        masks.append(torch.exp(-d / (2 * (0.1 * side) ** 2)))
    readouts = [FactorisedReadout({LAYER: shape}, 2, pool=None, seed=m) for m in range(2)]
    for readout in readouts:
        with torch.no_grad():
            readout.masks[0].copy_(torch.stack(masks))
    return ensemble(readouts, network)


def test_masks_tell_place_in_degrees(looking):
    a, b = site_fields(looking, np.zeros((2, 32, 32, 3), np.uint8))
    assert (a.reason, b.reason) == ("", "")
    assert a.x_deg == pytest.approx(-1.6, abs=0.35)  # x right, y up, 8 degrees wide
    assert a.y_deg == pytest.approx(1.6, abs=0.35)
    assert b.x_deg == pytest.approx(1.6, abs=0.35)
    assert b.y_deg == pytest.approx(-2.0, abs=0.35)
    assert 0.5 < a.sd_major_deg < 2.5


def test_without_masks_the_image_gradient_tells(looking, network):
    masks = readout_masks(list(looking.readouts))[LAYER]
    weights = looking.readouts[0].weights[0].detach()
    coef = (weights[:, :, None] * masks.flatten(1)[:, None]).flatten(1)
    linear = LinearReadout(
        LAYER,
        coef,
        torch.zeros(2),
        mean=torch.zeros(coef.shape[1]),
        scale=torch.tensor(1.0),
        alpha=torch.zeros(2),
        pool=None,
    )
    assert readout_masks([linear]) is None
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    by_gradient = site_fields(ensemble([linear], network), images)
    by_mask = site_fields(looking, images)
    for one, other in zip(by_gradient, by_mask, strict=True):
        assert math.hypot(one.x_deg - other.x_deg, one.y_deg - other.y_deg) < 0.7


def test_maps_average_members_and_layers(looking):
    maps = site_maps(looking, np.zeros((1, 32, 32, 3), np.uint8))
    assert maps.shape == (2, 32, 32)
    assert (maps >= 0).all()


def test_a_fit_reports_where_its_sites_look(pair):
    for site in pair.report.fitted:
        assert site.best_layer in ("blocks.0.0", "blocks.1.0")
        assert site.ceiling == pytest.approx(math.sqrt(site.held_out_reliability))
        assert site.rf_reason or (abs(site.rf_x_deg) < 4 and site.rf_sd_deg > 0)


@pytest.mark.parametrize("readout", ["ridge", "factorised"])
def test_sites_that_read_tokens_are_described_by_gradients(recording, readout):
    changes = {"backbone": "timm:test_vit", "layers": ("blocks.0",), "validator_layers": ("blocks.1",)}
    fitted = recording.fit(readout=readout, folds=2, input_size=160, **changes)
    assert all(site.rf_reason or site.rf_sd_deg > 0 for site in fitted.report.fitted)
    assert fitted.encoder.judge(torch.rand(1, 3, 32, 32)).mean.shape == (1, 5)
