"""What a recorded baseline tells the plan of a round, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from protocols.cli.app import app
from protocols.plan import expected_sites
from protocols.recordings.dataset import Dataset

# --- from a recording --------------------------------------------------------------------------------------------------


def recording(rng, unit="spikes", images=30, repeats=8, blanks=20):
    means = np.stack([rng.gamma(4.0, 1.0, images) + 1, rng.gamma(3.0, 1.0, images) + 1, np.full(images, 2.0)], axis=1)
    index = np.concatenate([np.repeat(np.arange(images), repeats), np.full(blanks, -1)])
    expected = np.where(index[:, None] >= 0, means[index], 0.5)
    values = rng.poisson(rng.gamma(expected / 0.5, 0.5)).astype(float)  # Fano factor 1.5
    ids = tuple(f"i{n}" for n in range(images))
    data = Dataset(
        pixels=np.zeros((images, 2, 2, 1), np.uint8),
        source_ids=ids,
        groups=ids,
        values=values,
        image_index=index,
        site_ids=("a", "b", "c"),
        unit=unit,
        natural=images,
        trial_rounds=index * 0,
    )
    return means, data


PROJECT = SimpleNamespace(config=SimpleNamespace(synthesis=SimpleNamespace(temperature=1.0)))


def encoder():
    return SimpleNamespace(
        site_ids=("c", "a"), natural_mean=torch.tensor([2.0, 5.0]), natural_sd=torch.tensor([1.0, 2.0])
    )


def test_the_baseline_tells_references_noise_and_blank():
    means, data = recording(np.random.default_rng(0), images=400)
    best = {("stretch", "a"): [int(i) for i in np.argsort(-means[:, 0])[:5]]}
    sites, unit, notes = expected_sites(PROJECT, data, encoder(), best=best)
    site = sites["stretch", "a"]
    assert (unit, notes, site.target) == ("fraction", [], 1)
    np.testing.assert_allclose(site.fano, 1.5, atol=0.15)
    assert site.blank == pytest.approx(0.5, abs=0.35)
    assert site.means[:, 1] == pytest.approx(means[best["stretch", "a"], 0], rel=0.3)
    assert site.only().means.shape == (5, 1)
    assert site.only().natural_sd == 2.0


def test_units_without_a_zero_missing_blanks_and_averages():
    rng = np.random.default_rng(1)
    _, data = recording(rng, unit="zscore", blanks=0)
    sites, unit, notes = expected_sites(PROJECT, data, encoder(), best={("stretch", "a"): [0, 1]})
    assert (unit, notes) == ("natural SD", [])
    site = sites["stretch", "a"]
    assert site.controller(1.5, "stretch")[1] == pytest.approx(site.means[:, 1].max() + 3.0)
    _, data = recording(rng, blanks=0)
    sites, unit, notes = expected_sites(PROJECT, data, encoder(), best={("stretch", "a"): [0, 1]})
    assert unit == "fraction"
    assert "no blanks" in notes[0]
    averages = replace(data, averaged_over=np.ones(len(data.values), dtype=np.int64))
    assert expected_sites(PROJECT, averages, encoder(), best={("stretch", "a"): [0]})[0] == {}


def test_the_command_needs_no_project(capsys):
    app(["--json", "plan", "--reference", "9", "--blank", "0.5", "--repeats", "32"], standalone_mode=False)
    plan = json.loads(capsys.readouterr().out)
    assert 0.3 < plan["power"] < 0.75
    assert 0.3 < plan["detectable_gain"] < 0.7
    assert plan["repeats_needed"] > 32
    app(["plan", "--reference", "9"], standalone_mode=False)
    assert "repeats for +30 % with power 0.8" in capsys.readouterr().out
