"""The commands of docs/import.md run as they stand there."""

from __future__ import annotations

import re

import h5py
import numpy as np
from PIL import Image

from tests.protocols.helpers.matlab73 import savemat73
from tests.protocols.helpers.pages import ROOT, run_page


def test_the_page(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.uniform(20, 235, (60, 4, 4))
    (tmp_path / "images").mkdir()
    for n, image in enumerate(coarse):
        Image.fromarray(image.repeat(16, 0).repeat(16, 1).astype(np.uint8)).save(tmp_path / f"images/scene_{n:03d}.png")
    drive = coarse.reshape(60, 16) @ rng.normal(size=(16, 6)) / 100
    shown = np.concatenate([rng.permutation(60) for _ in range(6)])
    counts = rng.poisson(np.exp(np.clip(1.5 + 0.5 * (drive - drive.mean(0)), -1, 4))[shown])
    variables = {"resp": counts.T.astype(float), "stim_id": shown + 1.0, "area": ["V4"] * 6}
    savemat73(tmp_path / "session.mat", variables | {"unit_id": [f"u{n}" for n in range(6)]})
    page = (ROOT / "docs/import.md").read_text(encoding="utf-8")
    (tmp_path / "map.toml").write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])
    printed = run_page("docs/import.md", tmp_path)
    assert "6 x 360" in printed[0]
    assert "answer before importing (TODO): unit, window_ms" in printed[1]
    assert "60: 60 images 6 times" in printed[2]
    assert "360 presentations of 60 images at 6 sites, spikes" in printed[3]
    assert (tmp_path / "recording.preview.png").is_file()
    with h5py.File(tmp_path / "recording.h5") as one, h5py.File(tmp_path / "again.h5") as two:
        assert np.array_equal(one["responses"], two["responses"])
        assert one["image_id"][0].decode() == f"scene_{shown[0]:03d}.png"
        assert one.attrs["subject"] == "m1"
