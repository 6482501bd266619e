"""The photographs that ``[arms] found`` names: each once, none of the project's own, predicted by the round's encoder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from protocols.errors import DataError
from protocols.libraries.found import found_photographs
from protocols.project.display import Display
from synth import stretch
from synth.search import found_batch

DISPLAY = Display(width_px=24, height_px=20, size_deg=4.0, background=128)


class Means(nn.Module):
    """Two members that answer the mean of an image at two sites."""

    site_ids = ("a", "b")
    fingerprint = "enc_00000000"

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        self.register_buffer("natural_mean", torch.zeros(2))
        self.register_buffer("natural_sd", torch.ones(2))

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return self.gain * torch.stack([torch.stack([mean, -mean], 1), torch.stack([3 * mean, mean], 1)])


def project(folder: Path, **arms: Any) -> Any:
    config = SimpleNamespace(arms=SimpleNamespace(**{"found": "found", "kinds": ("predicted_natural",), **arms}))
    return SimpleNamespace(folder=folder, display=DISPLAY, config=config)


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    """Two rows of three photographs in ``found/best``; the second row begins with the first row's best."""
    made = np.random.default_rng(0).integers(0, 256, (2, 3, 20, 24, 1), dtype=np.uint8)
    made[1, 0] = made[0, 0]
    names = [["lib_z", "lib_y", "lib_x"], ["lib_z", "lib_v", "lib_u"]]
    batch = found_batch(Means(1.0), stretch(["a", "b"]), made, names=names, settings={"shown": "as imported"})
    batch.save(tmp_path / "found" / "best" / "batch.h5")
    return made


def test_each_is_taken_once_without_the_projects_own_and_predicted_anew(tmp_path: Path, pixels: np.ndarray) -> None:
    encoder: Any = Means(2.0)
    found = found_photographs(project(tmp_path), encoder, pixels[0, 1:2])
    assert found.source_ids == ("lib_u", "lib_v", "lib_x", "lib_z")
    np.testing.assert_array_equal(found.pixels, np.stack([pixels[1, 2], pixels[1, 1], pixels[0, 2], pixels[0, 0]]))
    mean = found.pixels.reshape(4, -1).mean(1) / 255
    np.testing.assert_allclose(found.predicted, np.stack([4 * mean, 0 * mean], 1), atol=1e-5)


@pytest.mark.parametrize("arms", [{"found": ""}, {"kinds": ("natural_raised",)}])
def test_without_the_key_or_the_arm_there_are_none(tmp_path: Path, pixels: np.ndarray, arms: dict[str, Any]) -> None:
    encoder: Any = Means(1.0)
    found = found_photographs(project(tmp_path, **arms), encoder, pixels[0])
    assert (found.pixels.shape, found.source_ids, found.predicted.shape) == ((0, 20, 24, 1), (), (0, 2))


@pytest.mark.parametrize("wrong", ["elsewhere", "damaged", "display", "contrast"])
def test_a_folder_that_cannot_serve_is_refused(tmp_path: Path, pixels: np.ndarray, wrong: str) -> None:
    lab, encoder = project(tmp_path), Means(1.0)
    if wrong == "elsewhere":
        lab.config.arms.found = "elsewhere"
    elif wrong == "damaged":
        (tmp_path / "found" / "best" / "batch.h5").write_bytes(b"no batch")
    elif wrong == "contrast":
        shown: dict[str, Any] = {"shown": [{"name": "exact_statistics"}]}
        batch = found_batch(Means(1.0), stretch(["a"]), pixels[:1], names=[["lib_z", "lib_y", "lib_x"]], settings=shown)
        batch.save(tmp_path / "found" / "best" / "batch.h5")
    else:
        lab.display = Display(width_px=32, height_px=20, size_deg=4.0, background=128)
    with pytest.raises(DataError) as error:
        found_photographs(lab, encoder, pixels[0])  # type: ignore[arg-type]
    assert error.value.code == "V07"
