"""Every rule on keys that go together finds its own contradiction, and no other rule does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.config import checks
from protocols.project.config.config import Config
from protocols.project.display import Display
from protocols.rounds.order import trial_list
from protocols.rounds.planning.baseline import baseline_counts

BROKEN: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "a_round_is_sized_once": (
        {"protocol": {"presentations": 6000, "minutes": 30.0}},
        "presentations = 6000 and minutes = 30",
    ),
    "every_block_shows_every_image": (
        {"protocol": {"repeats": 3, "blocks": 4}, "evaluation": {"alpha": 0.49}},
        "repeats = 3",
    ),
    "alpha_is_reachable": ({"protocol": {"repeats": 4, "blocks": 4}}, "cannot go below"),
    "anchors_stand_apart": ({"protocol": {"baseline_anchors": 1, "baseline_repeats": 2}}, "baseline_anchors = 1"),
    "window_ends_after_it_starts": ({"protocol": {"response_window_ms": (170.0, 70.0)}}, "response_window_ms"),
    "times_are_in_milliseconds": ({"protocol": {"response_window_ms": (0.07, 0.17)}}, "[0.07, 0.17]"),
    "targets_are_fitted": ({"encoder": {"reliability_target": 0.1}}, "reliability_target = 0.1"),
    "families_weigh_alike": ({"encoder": {"readout": "ridge+banded_ridge"}}, 'readout = "ridge+banded_ridge"'),
    "graded_steps_come_before_the_last": ({"synthesis": {"graded_steps": (70,)}}, "graded_steps = [70]"),
    "levels_make_a_line": ({"synthesis": {"accentuate_levels": 1}}, "accentuate_levels = 1"),
    "arms_are_named_once": ({"arms": {"kinds": ("phase_scrambled", "phase_scrambled")}}, "phase_scrambled twice"),
    "contrast_fits_the_mean": ({"synthesis": {"mean_luminance": 0.01, "rms_contrast": 0.4}}, "rms_contrast = 0.4"),
    "permutations_suffice_for_alpha": ({"evaluation": {"permutations": 99, "alpha": 0.005}}, "permutations = 99"),
    "looks_lie_between_blocks": ({"evaluation": {"looks": 1, "look_after": (4,)}}, "look_after = [4]"),
    "durations_are_whole_frames": ({"display": {"refresh_hz": 85.0}}, "frames at 85 Hz"),
    "rigs_know_the_refresh_rate": ({"rig": {"software": ("psychopy", "monkeylogic")}}, "monkeylogic without"),
    "stripe_frequencies_rise": ({"safety": {"stripe_frequencies": (8.0, 1.0)}}, "stripe_frequencies"),
    "luminance_limit_has_a_scale": ({"safety": {"max_mean_luminance_cd_m2": 50.0}}, "max_mean_luminance_cd_m2"),
    "known_sites_are_named": ({"encoder": {"readout": "population"}}, "population"),
    "evolution_fits": ({"evolution": {"generations": 5}}, "generations = 5 without the arm"),
}


def config(**sections: dict[str, Any]) -> Config:
    """The default configuration with other values, none of them checked."""
    display = {"width_px": 64, "height_px": 64, "size_deg": 4.0} | sections.pop("display", {})
    whole = Config(display=Display(**display))
    return whole.model_copy(update={s: getattr(whole, s).model_copy(update=keys) for s, keys in sections.items()})


def test_every_rule_has_an_example() -> None:
    assert [rule.__name__ for rule in checks.RULES] == list(BROKEN)


@pytest.mark.parametrize("rule", checks.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_finds_its_contradiction_alone(rule: checks.Rule) -> None:
    sections, part = BROKEN[rule.__name__]
    broken = config(**sections)
    errors = {other.__name__: other(broken, "project.toml") for other in checks.RULES}
    assert [name for name, error in errors.items() if error is not None and name != "alpha_is_reachable"] == [
        name for name in (rule.__name__,) if name != "alpha_is_reachable"
    ]
    error = errors[rule.__name__]
    assert error is not None
    assert (error.code, part in str(error)) == ("C04", True)
    assert error.where.startswith("project.toml [")


def test_readouts_are_joined_as_the_catalogue_allows() -> None:
    from encoders.solvers.catalogue import JOIN_LAYERS, NEEDS_EARLIER

    assert set(checks.STAND_ALONE) == set(NEEDS_EARLIER)
    assert set(checks.READ_TOGETHER) == set(JOIN_LAYERS) - set(NEEDS_EARLIER) & set(JOIN_LAYERS)
    for readout in ("population+topographic", "ridge+population"):
        error = checks.families_weigh_alike(config(encoder={"readout": readout}), "project.toml")
        assert error is not None
        assert "population alone" in str(error)


def test_the_defaults_break_no_rule() -> None:
    checks.cross_check(config(), "project.toml")


@pytest.mark.parametrize("other", [{"presentations": 6000}, {"minutes": 30.0}])
def test_repeats_by_hand_and_a_size_contradict_each_other(other: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="and repeats = 24"):
        checks.cross_check(config(protocol={"repeats": 24, **other}), "project.toml")


def test_the_first_broken_rule_is_raised() -> None:
    sections = BROKEN["targets_are_fitted"][0] | BROKEN["stripe_frequencies_rise"][0]
    with pytest.raises(DataError, match="reliability_target"):
        checks.cross_check(config(**sections), "project.toml")


@pytest.mark.parametrize(
    ("looks", "after", "blocks", "fits"),
    [
        (0, (), 1, True),
        (1, (), 2, True),
        (1, (), 1, False),
        (2, (), 3, True),
        (2, (), 2, False),
        (2, (1, 3), 4, True),
        (2, (3, 1), 4, False),
        (1, (1, 2), 4, False),
        (0, (1,), 4, False),
    ],
)
def test_looks_lie_between_blocks(looks: int, after: tuple[int, ...], blocks: int, fits: bool) -> None:
    tried = config(evaluation={"looks": looks, "look_after": after}, protocol={"blocks": blocks})
    assert (checks.looks_lie_between_blocks(tried, "project.toml") is None) == fits


@settings(max_examples=40, deadline=None)
@given(anchors=st.integers(0, 8), repeats=st.integers(1, 12), blanks=st.integers(0, 20), blocks=st.integers(1, 12))
def test_anchors_are_refused_where_a_baseline_has_no_order(
    anchors: int, repeats: int, blanks: int, blocks: int
) -> None:
    keys = {"baseline_anchors": anchors, "baseline_repeats": repeats, "blanks_per_block": blanks, "blocks": blocks}
    tried, names = config(protocol=keys), [f"p{i}" for i in range(20)]
    counts = baseline_counts(tried.protocol, names, names)
    most = max(counts.values())
    blank = {"blank_id": "blank", "blanks_per_block": blanks} if blanks else {}
    try:
        fewer = {i: n for i, n in counts.items() if n < most}
        trial_list(names, repeats=most, blocks=min(blocks, most), fewer=fewer, seed=0, **blank)
    except ValueError:
        ordered = False
    else:
        ordered = True
    if anchors and repeats < 10:
        assert (checks.anchors_stand_apart(tried, "project.toml") is None) == ordered
    else:
        assert checks.anchors_stand_apart(tried, "project.toml") is None
