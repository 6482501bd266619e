"""What is fitted and scored on stored features is what the encoder computes from the image, for every readout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from encoders import Encoder, Ensemble, ReadoutSpec, to_images
from encoders.fitting.predict import predict_stored
from encoders.fitting.readout_spec import READOUTS
from encoders.solvers.catalogue import NEEDS_EARLIER, TRAINED
from tests.encoders.helpers.simulated import Simulated, simulate

ALONE = [kind for kind in READOUTS if kind not in NEEDS_EARLIER]
BOTH = "ridge+factorised"
SIDE = 40  # pixels: maps of 20 x 20, pooled to 14 x 14 for maps and to 7 x 7 for rows


@pytest.fixture(scope="module")
def small() -> Simulated:
    return simulate(n=60, sites=2, repeats=3)


def images_of(small: Simulated) -> np.ndarray:
    wide = np.repeat(np.repeat(small.images, 2, 1), 2, 2)[:, :SIDE, :SIDE]
    return np.ascontiguousarray(wide)


def fit(small: Simulated, kind: str, **changes: Any) -> Any:
    trained = any(part in TRAINED for part in kind.split("+"))
    spec = ReadoutSpec(kind, epochs=1) if trained else ReadoutSpec(kind)
    how: dict[str, Any] = {"folds": 2, "pool": None, "layers": ("blocks.0.0",), "readout": spec}
    if "topographic" in kind:
        how["coordinates"] = np.array([[0.0, 0.0], [1.0, 0.0]])
    return small.fit(**how | {"images": images_of(small)} | changes)


def check(pair: Any, small: Simulated, pixels: np.ndarray) -> None:
    """Both encoders answer as from stored features, and the reported scores are those of what the encoder answers."""
    for encoder in (pair.encoder, pair.validator):
        assert_served_as_stored(encoder, pixels)
    rows = pair.report.held_out_images
    answers = pair.encoder(to_images(pixels[rows])).detach().reshape(-1, len(rows), 2).mean(0)
    means = np.stack([small.values[small.index == i].mean(0) for i in rows])
    r = [np.corrcoef(a, b)[0, 1] for a, b in zip(answers.T.numpy(), means.T, strict=True)]
    np.testing.assert_allclose([site.held_out_r for site in pair.report.fitted], r, atol=1e-4)


def assert_served_as_stored(encoder: Encoder | Ensemble, pixels: np.ndarray) -> None:
    with torch.no_grad():
        served = torch.stack([encoder.adjust(r(encoder.backbone(to_images(pixels)))) for r in encoder.readouts])
    torch.testing.assert_close(predict_stored(encoder, pixels, None), served, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [*ALONE, BOTH])
def test_every_readout_is_served_as_it_was_stored(small: Simulated, kind: str) -> None:
    check(fit(small, kind), small, images_of(small))


@pytest.mark.parametrize("known", ["factorised", "ridge", BOTH])
def test_sites_read_through_known_ones_are_served_as_they_were_stored(small: Simulated, known: str) -> None:
    earlier = fit(small, known).encoder
    new = fit(small, "population", site_ids=["new_0", "new_1"], networks_from=earlier)
    check(new, small, images_of(small))
