"""What a recorded baseline tells the plan of a round, and the command."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from protocols.cli.app import app
from protocols.plan import ExpectedFound, _shortfall
from protocols.project.key import Key, SiteRow
from protocols.recordings.dataset import Dataset
from protocols.recordings.natural import choose_references, posterior_of
from protocols.rounds.planning.contrasts import contrasts_of
from protocols.rounds.planning.expected import expected_sites, likely_pairs
from protocols.rounds.planning.noise import trial_noise

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


CONFIG = SimpleNamespace(synthesis=SimpleNamespace(temperature=1.0))
SITES = Key(
    (),
    (
        SiteRow(site_id="c", natural_mean=2.0, natural_sd=1.0, reliability=0.8, is_target=True),
        SiteRow(site_id="a", natural_mean=5.0, natural_sd=2.0, reliability=0.8, is_target=True),
    ),
)


def planned(data, best):
    """The expectation of every pair, the trial noise and its notes, as `plan_round` takes them."""
    noise, notes = trial_noise(data, SITES)
    means = posterior_of(data, SITES.site_ids).mean
    return expected_sites(CONFIG, SITES, means, noise=noise, references=best), noise, notes


def test_the_baseline_tells_references_noise_and_blank():
    means, data = recording(np.random.default_rng(0), images=400)
    best = {("stretch", "a"): [int(i) for i in np.argsort(-means[:, 0])[:5]]}
    sites, noise, notes = planned(data, best)
    site = sites["stretch", "a"]
    assert (noise.fano is not None, notes, site.target) == (True, [], 1)
    np.testing.assert_allclose(site.fano, 1.5, atol=0.15)
    assert site.blank == pytest.approx(0.5, abs=0.35)
    assert site.means[:, 1] == pytest.approx(means[best["stretch", "a"], 0], rel=0.3)
    assert site.only().means.shape == (5, 1)
    assert site.only().natural_sd == 2.0


def test_units_without_a_zero_missing_blanks_and_averages():
    rng = np.random.default_rng(1)
    _, data = recording(rng, unit="zscore", blanks=0)
    sites, noise, notes = planned(data, {("stretch", "a"): [0, 1]})
    assert (noise.fano, notes) == (None, [])
    site = sites["stretch", "a"]
    assert site.controller(1.5, "stretch")[1] == pytest.approx(site.means[:, 1].max() + 3.0)
    _, data = recording(rng, blanks=0)
    sites, noise, notes = planned(data, {("stretch", "a"): [0, 1]})
    assert noise.fano is not None
    assert "no blanks" in notes[0]
    averages = replace(data, averaged_over=np.ones(len(data.values), dtype=np.int64))
    sites, noise, notes = planned(averages, {("stretch", "a"): [0]})
    assert (sites, noise.known) == ({}, False)
    assert "averages" in notes[0]


def test_what_may_be_true_of_a_pair_has_the_noise_and_the_gain_that_are_expected():
    """The trial variance of the one_hot contrast holds what sites share from trial to trial."""
    rng = np.random.default_rng(2)
    means, data = recording(rng, images=300)
    together = rng.normal(0, 1.0, (len(data.values), 1)) * [1.0, 0.0, 1.0]
    data = replace(data, values=data.values + together)
    noise, _ = trial_noise(data, SITES)
    posterior = posterior_of(data, SITES.site_ids)
    references = choose_references(posterior, SITES, ["a"], objectives=("stretch", "one_hot"), count=2, temperature=1.0)
    contrasts = contrasts_of(data, SITES, posterior, best=references.images, temperature=1.0)
    gains = {("stretch", "a"): (0.3, 0.0), ("one_hot", "a"): (1.0, 0.0)}
    pairs = likely_pairs(data, SITES, posterior, noise=noise, references=references, contrasts=contrasts, gains=gains)
    assert pairs.names == (("stretch", "a"), ("one_hot", "a"))
    stretch, one_hot = 0, 1
    first = pairs.images[stretch, 0]
    evoked = posterior.mean[first, 1] - noise.blank[1]
    np.testing.assert_allclose(pairs.controllers[:, stretch], posterior.mean[first, 1] + 0.3 * evoked)
    assert pairs.variance(np.array([[8.0, 0.0]]))[0, stretch] == pytest.approx(8 * noise.fano[1])
    assert pairs.references[:, stretch, 0].std() == pytest.approx(posterior.sd[first, 1], rel=0.3)
    # the other site weighs 1: z_a - z_c in natural SDs of 2 and 1
    level = pairs.references[:, one_hot, 0].mean()
    np.testing.assert_allclose(pairs.controllers[:, one_hot], level + 1.0, atol=0.3)
    best = means[pairs.images[one_hot, 0]]
    apart = (best[0] * 1.5 + 1.0) / 2**2 + 2.0 * 1.5 / 1**2 + 1.0
    shared = apart - 2 * 1.0 / 2  # the covariance of the two sites' trials is 1
    variance = pairs.variance(np.full((1, 2), level))[0, one_hot]
    assert variance == pytest.approx(shared, rel=0.25)


def test_the_command_needs_no_project(capsys):
    asked = ["--reference", "9", "--blank", "0.5"]
    app(["--json", "plan", *asked, "--presentations", "48"], standalone_mode=False)
    plan = json.loads(capsys.readouterr().out)
    assert 0.3 < plan["power"] < 0.75  # 24 repeats of the controller and of one reference
    assert 0.3 < plan["detectable_gain"] < 0.7
    assert plan["repeats_needed"] > 24
    app(["plan", *asked, "--references", "2", "--presentations", "48"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "repeats for +30 % with power 0.8" in text
    assert (
        float(text.split("power for +30 %: ")[1].split()[0]) < plan["power"]
    )  # a second reference takes presentations
    with pytest.raises(typer.BadParameter, match="5 presentations of 2 images in 4 blocks"):
        app(["plan", *asked, "--presentations", "5"], standalone_mode=False)


@given(evoked=st.lists(st.floats(-5, 20, allow_nan=False), min_size=1, max_size=6))
def test_a_reference_at_or_below_the_blank_leaves_the_plan_printable(evoked):
    """Its shortfall is no fraction of a response: the median is that of the others, or there is none."""
    pairs = [("stretch", f"s{i}") for i in range(len(evoked))]
    plan = SimpleNamespace(
        references=SimpleNamespace(shortfall={p: [0.4] for p in pairs}),
        division=SimpleNamespace(references={p: [0] for p in pairs}),
        noise=SimpleNamespace(fano=np.ones(len(pairs))),
        evoked=lambda p: evoked[pairs.index(p)],
    )
    short, unit = _shortfall(plan, pairs)
    fractions = [0.4 / e for e in evoked if e > 0 and np.isfinite(0.4 / e)]
    assert (short, unit) == (pytest.approx(np.median(fractions)) if fractions else None, "fraction")
    found = ExpectedFound(sites=1, true=1.0, found=0.5, without={}, shortfall=short, shortfall_unit=unit)
    assert "nan" not in " ".join(found.sentences())
    json.dumps(asdict(found), allow_nan=False)
