"""The picture of a preview: which images and sites it shows, and the mean response against time."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from protocols.cli import app
from protocols.importing.preview_figure import extremes, telling_sites
from protocols.recordings.responses import Responses

MAP = """unit = "spikes"
window_ms = [50, 150]
[responses]
array = "counts"
axes = [{axes}]
[image]
id = "shown"
format = "p{{:02d}}"
{time}"""
TIME = "[time]\nstart = 0\nstep = 50\n"


@pytest.mark.parametrize("bins", [0, 4])
def test_time_bins_add_the_mean_response_against_time(tmp_path, bins):
    rng = np.random.default_rng(0)
    shown = np.tile(np.arange(1, 9), 6)
    shape = (len(shown), 3, bins) if bins else (len(shown), 3)
    np.savez(tmp_path / "day.npz", counts=rng.poisson(4.0, shape), shown=shown)
    axes = '"trial", "site", "time"' if bins else '"trial", "site"'
    (tmp_path / "map.toml").write_text(MAP.format(axes=axes, time=TIME if bins else ""), encoding="utf-8")
    out = tmp_path / "recording.h5"
    given = ["import", str(tmp_path / "day.npz"), "--map", str(tmp_path / "map.toml"), "--out", str(out), "--preview"]
    told = CliRunner().invoke(app, given)
    assert told.exit_code == 0, told.output
    assert not out.exists()
    with Image.open(tmp_path / "recording.preview.png") as picture:
        assert picture.size == (1170, 720 if bins else 450)


def test_the_images_shown_are_the_highest_and_the_lowest():
    means = np.array([3.0, np.nan, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 0.0, 4.0, 6.0, 10.0])
    assert extremes(means) == [11, 2, 7, 4, 10, 9, 0, 6, 3, 8]
    assert extremes(np.array([1.0, np.nan, 2.0])) == [2, 0]


def test_the_sites_shown_tell_images_apart():
    """A site that answers to images stands before one of the same variance that does not."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(20), 8)
    tuned = rng.normal(0, 3, 20)[image] + rng.normal(0, 1, 160)
    values = np.stack([rng.normal(0, 3, 160), tuned, np.zeros(160)], axis=1)
    ids = [f"i{n}" for n in range(20)]
    table = Responses(values, np.array([ids[n] for n in image]), ("noise", "tuned", "silent"), "au", (0.0, 100.0))
    assert telling_sites(table, table.mean(ids))[:2] == [1, 0]
