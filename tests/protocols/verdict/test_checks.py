"""What an evaluation refuses and notes, word for word, and the natural scale by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from protocols.errors import DataError
from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.verdict.checks import (
    check_excluded,
    check_inputs,
    check_reachable,
    input_notes,
    natural_scale,
    one_row_an_image,
)
from protocols.verdict.records import ControlRow

SITES = ("a", "b", "c")


def controller(image="c1", objective="stretch", target="a", confirmatory=True):
    return KeyRow(image, f"s_{image}", "controller", objective=objective, target=target, confirmatory=confirmatory)


def natural(image):
    return KeyRow(image, f"s_{image}", "natural")


def frozen(mean=1.0, sd=2.0, sites=SITES):
    return tuple(SiteRow(s, mean, sd) for s in sites)


KEY = Key((controller(), *(natural(f"n{i}") for i in range(4))), frozen())


def responses_to(*images, values=None, **columns):
    values = np.arange(3.0 * len(images)).reshape(-1, 3) if values is None else values
    return Responses(
        values=values,
        image_ids=np.array(images, dtype=str),
        site_ids=SITES,
        unit="spikes",
        window_ms=(0.0, 100.0),
        **columns,
    )


def refusal(check, *arguments):
    with pytest.raises(DataError) as caught:
        check(*arguments)
    error = caught.value
    assert error.where == "evaluate"
    return error.code, error.found, error.expected, error.cause, error.fix


def test_no_common_image():
    key = Key(tuple(replace(r, image_id=f"k{4 - i}") for i, r in enumerate(KEY.rows)), KEY.sites)
    assert refusal(check_inputs, responses_to("x9", "x1", "x2", "x3", "x1"), key, None) == (
        "E01",
        "the images x1, x2, x3 ... in the responses and k0, k1, k2 ... in the key",
        "responses to images of this key",
        "wrong round: the responses and the key belong to different rounds",
        "give the sealed/key.csv of the round whose images were shown",
    )
    assert refusal(check_inputs, responses_to(values=np.zeros((0, 3))), Key((), ()), None)[1] == (
        "the images none ... in the responses and none ... in the key"
    )
    check_inputs(responses_to("x1", "c1"), KEY, None)  # one image in common is enough


def test_another_unit():
    assert refusal(check_inputs, responses_to("c1"), KEY, "spikes/s") == (
        "E03",
        "responses in spikes",
        "spikes/s, the unit of the key's predictions",
        "the recording was exported in another unit than the baseline",
        "write the responses in the unit of the baseline",
    )
    check_inputs(responses_to("c1"), KEY, "spikes")


def test_no_common_site():
    texts = ("sites were renamed or numbered anew after the baseline", "give every site the id it had in the baseline")
    for sites in (frozen(sites=("z", "y", "x", "w")), ()):
        rows = tuple(replace(r, target="y") if r.target else r for r in KEY.rows)
        assert refusal(check_inputs, responses_to("c1"), Key(rows, sites), None) == (
            "E07",
            "the sites a, b, c ... in the responses",
            "some of w, x, y ..." if sites else "some of y ...",
            *texts,
        )
    check_inputs(responses_to("c1"), Key(KEY.rows, ()), None)
    check_inputs(responses_to("c1"), Key(KEY.rows, frozen(sites=("z", "c"))), None)


def test_no_controllers():
    assert refusal(check_inputs, responses_to("n0"), Key(KEY.rows[1:], KEY.sites), None) == (
        "E02",
        "4 images and no controller among them",
        "at least one row of role controller",
        "the key belongs to a baseline round",
        "evaluate a round that shows controllers",
    )


def test_not_one_confirmatory_controller():
    texts = (
        "one confirmatory controller per site and objective, marked before the responses were seen",
        "the key was written by hand, or the choice among seeds was not made at export",
        "mark one controller per site and objective with confirmatory = 1, chosen by prediction alone",
    )
    none = Key((controller(confirmatory=False), controller("c2", confirmatory=False)), KEY.sites)
    assert refusal(check_inputs, responses_to("c1"), none, None) == ("E05", "no confirmatory controller", *texts)
    rows = [controller(f"c{i}", target=t) for i, t in enumerate("bbabbb")]
    assert refusal(check_inputs, responses_to("c1"), Key(tuple(rows), KEY.sites), None) == (
        "E05",
        "5 confirmatory controllers for stretch:b",
        *texts,
    )
    several = (
        controller(),
        controller("c2", "one_hot"),
        controller("c3", target="b"),
        controller("c4", confirmatory=False),
    )
    check_inputs(responses_to("c1"), Key((*several, KeyRow("n1", "n1", "natural")), KEY.sites), None)


def test_exclusions_of_unknown_sites():
    key = Key((controller(target="t"),), frozen(sites=("s",)))
    assert refusal(
        check_excluded, responses_to("c1"), key, {"z": "lost", "y": "lost", "a": "lost", "x": "l", "w": "l"}
    ) == (
        "E09",
        "the sites w, x, y to exclude",
        "some of a, b, c ...",
        "exclusions of another round or subject, or a misspelt id",
        "give the ids as they stand in the responses",
    )
    check_excluded(responses_to("c1"), key, {"a": "lost", "s": "lost", "t": "lost"})
    with pytest.raises(ValueError, match=r"^an excluded site needs a reason$"):
        check_excluded(responses_to("c1"), key, {"a": "lost", "s": ""})


def out_of_reach(site, smallest, verdict="not testable", confirmatory=True):
    return ControlRow("stretch", site, "i", confirmatory, verdict=verdict, reason=f"why {site}", smallest_p=smallest)


def test_alpha_out_of_reach():
    rows = [out_of_reach("a", 0.2), out_of_reach("c", 0.05), out_of_reach("b", 0.05), out_of_reach("d", None)]
    assert refusal(check_reachable, 0.01, rows) == (
        "E06",
        "alpha 0.01 below the smallest reachable p 0.05 at every site",
        "enough repeats and permutations for a p below alpha",
        "too few repeats of controllers and references were shown, or too few permutations asked for",
        "why b",
    )
    check_reachable(0.01, [*rows, out_of_reach("e", 0.001, "no control")])
    check_reachable(0.01, [])
    check_reachable(0.01, [out_of_reach("a", None)])
    with pytest.raises(DataError):  # exploratory controllers are no way out
        check_reachable(0.01, [*rows, out_of_reach("e", 0.001, "exploratory", confirmatory=False)])


def test_notes_in_full():
    values = np.array([[1.0, 2, 3], [np.nan] * 3, [1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 1, 1]])
    given = responses_to("c1", "c1", "u4", "u1", "u2", "u1", values=values, valid=np.array([1, 1, 0, 1, 1, 1], bool))
    assert input_notes(given, KEY, {"b": "lost", "a": "another unit"}) == [
        "site b is excluded from every count: lost",
        "site a is excluded from every count: another unit",
        "4 trials of 3 images that are not in the key are left out (u1, u2, u4)",
        "2 trials are marked invalid or have no finite value and are left out",
    ]
    many = responses_to("c1", *(f"u{i}" for i in range(5)))
    assert input_notes(many, KEY, {})[0] == "5 trials of 5 images that are not in the key are left out (u0, u1, u2)"
    assert input_notes(responses_to("c1"), KEY, {}) == []
    assert input_notes(responses_to("c1", averaged_over=np.array([4])), KEY, {}) == [
        "averages over repeats, no single trials: nothing is tested, the best natural average is inflated by noise"
    ]


def test_averages_of_one_image_are_pooled_by_their_repeats():
    values = np.array([[1.0, 2, 3], [4, np.nan, 6], [9, 9, 9], [7, 7, 7]])
    pooled = one_row_an_image(
        responses_to("n1", "n1", "u", "c1", values=values, averaged_over=np.array([2, 1, 5, 3])), KEY
    )
    assert pooled.image_ids.tolist() == ["c1", "n1"]
    np.testing.assert_allclose(pooled.values, [[7, 7, 7], [2, 2, 4]])
    assert (pooled.site_ids, pooled.unit, pooled.window_ms) == (SITES, "spikes", (0.0, 100.0))


# --- the scale of one_hot ----------------------------------------------------------------------------------------------


def scale_of(values, images, key, excluded=None):
    given = Responses(
        values=np.asarray(values, float),
        image_ids=np.array(images),
        site_ids=SITES,
        unit="spikes",
        window_ms=(0.0, 100.0),
        block=np.zeros(len(images), int),
    )
    return natural_scale(trial_table(given, [r.image_id for r in key.rows]), key, excluded or {})


def test_frozen_scale_is_taken_as_it_stands_and_losses_are_named():
    key = Key(
        KEY.rows, (SiteRow("c", 3.0, 0.5), SiteRow("gone", 1.0, 1.0), SiteRow("a", 1.0, 2.0), SiteRow("b", 2.0, 0.0))
    )
    scale, notes = scale_of(np.ones((2, 3)), ["c1", "n0"], key)
    assert scale.site_ids == ("a", "c")
    assert (scale.mean.tolist(), scale.sd.tolist()) == ([1.0, 3.0], [2.0, 0.5])
    assert notes == ["one_hot leaves out site b: no natural SD", "one_hot leaves out site gone: not recorded"]


def test_a_site_recorded_in_half_of_the_trials_stays():
    nan = math.nan
    values = [[1, nan, 1], [1, nan, 1], [1, nan, nan], [nan, 1, nan]]
    scale, notes = scale_of(values, ["c1", "n0", "n1", "n2"], KEY)
    assert scale.site_ids == ("a", "c")
    assert notes == ["one_hot leaves out site b: recorded in less than half of the trials"]


def test_an_excluded_site_and_an_infinite_mean_leave_the_scale():
    key = Key(KEY.rows, (SiteRow("a", 1.0, 1.0), SiteRow("b", math.nan, 1.0), SiteRow("c", 1.0, 1.0)))
    scale, notes = scale_of(np.ones((2, 3)), ["c1", "n0"], key, {"c": "lost"})
    assert scale.site_ids == ("a",)
    assert notes == ["one_hot leaves out site b: no natural SD", "one_hot leaves out site c: excluded"]


def test_scale_of_this_rounds_natural_images():
    nan = math.nan
    values = [[2, 1, nan], [4, 1, nan], [6, 1, 5], [9, 9, 9], [8, 1, 6]]  # n0 twice (mean 3), n1, c1, n2
    scale, notes = scale_of(values, ["n0", "n0", "n1", "c1", "n2"], Key(KEY.rows))
    assert scale.site_ids == ("a",)
    assert scale.mean.tolist() == pytest.approx([17 / 3])
    noise = (2 / 2 + 2 + 2) / 3  # that of n0's two trials in its mean, and of a single trial in the two others
    assert scale.sd.tolist() == pytest.approx([math.sqrt(np.var([3, 6, 8], ddof=1) - noise)])
    assert notes == [
        "no sites.csv beside the key: natural mean and SD come from this round's 4 natural images",
        "one_hot leaves out site b: no natural SD",
        "one_hot leaves out site c: no natural SD",
    ]
    empty, _ = scale_of(np.zeros((0, 3)), np.zeros(0, str), Key(KEY.rows))
    assert empty.site_ids == ()


def spread_round(ratios, naturals=8, sd=2.0):
    """Natural images whose responses vary `ratios` times as much as the frozen SD."""
    rows = (controller(), *(natural(f"n{i}") for i in range(naturals)))
    shape = np.arange(naturals) - (naturals - 1) / 2
    values = np.outer(shape / shape.std(ddof=1), np.asarray(ratios) * sd)
    return values, [f"n{i}" for i in range(naturals)], Key(rows, frozen(sd=sd))


@pytest.mark.parametrize(
    ("ratios", "off"),
    [
        ((1, 1, 1), ""),
        ((2.9, 2.9, 2.9), ""),
        ((3.1, 3.1, 3.1), "3.1"),
        ((0.32, 0.32, 0.32), "0.32"),
        ((0.34, 0.34, 0.34), ""),
        ((7.9, 7.9, 7.9), "7.9"),
        ((0.126, 0.126, 0.126), "0.13"),
        ((1, 5, 100), "5"),
    ],
)
def test_an_odd_spread_of_natural_responses_is_noted(ratios, off):
    text = f"natural responses vary {off} times as much as frozen in the key: check unit, window and gain"
    assert scale_of(*spread_round(ratios))[1] == ([text] if off else [])


@pytest.mark.parametrize(("ratio", "shown"), [(8.1, "8.1"), (60, "60"), (0.124, "0.124"), (0.001, "0.001")])
def test_a_spread_of_another_unit_is_refused(ratio, shown):
    assert refusal(scale_of, *spread_round((1, ratio, ratio))) == (
        "E04",
        f"natural responses that vary {shown} times as much as frozen in the key (median of 3 sites)",
        "about the same spread",
        "another unit or response window than in the baseline, such as spikes against spikes/s, or another subject",
        "write the responses in the baseline's unit, or evaluate without the sites.csv beside the key",
    )


def test_the_spread_is_judged_on_three_sites_of_eight_images_at_least():
    assert scale_of(*spread_round((60, 60, 60), naturals=7))[1] == []
    values, images, key = spread_round((60, 60, 60))
    two = Key(key.rows, (*key.sites[:2], SiteRow("c", 1.0, 0.0)))
    assert scale_of(values, images, two)[1] == ["one_hot leaves out site c: no natural SD"]
    assert scale_of(values, images, key, {"b": "lost"})[1] == ["one_hot leaves out site b: excluded"]
