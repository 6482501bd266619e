"""Each objective of the catalogue against arithmetic written out, and against what it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax

from synth import (
    Objective,
    against,
    discriminate,
    diverse,
    fractions,
    groups,
    level,
    margin,
    one_hot,
    pattern,
    rate_softmax,
    stretch,
    suppress,
    within,
)

SITES = tuple(f"v4_{i:03d}" for i in range(6))
MEAN, SD = torch.linspace(2, 7, 6), torch.linspace(0.5, 3, 6)


def responses(n: int, seed: int = 0) -> torch.Tensor:
    return MEAN + SD * torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))


def score(objective: Objective, values: torch.Tensor, images: torch.Tensor | None = None) -> np.ndarray:
    images = torch.zeros(len(objective), 1, 2, 2) if images is None else images
    return objective.bind(SITES, MEAN, SD)(images, values).double().numpy()


def z_of(values: torch.Tensor) -> np.ndarray:
    return ((values - MEAN) / SD).double().numpy()


def test_suppress_is_minus_stretch() -> None:
    values = responses(2)
    assert np.allclose(score(suppress(SITES[:2]), values), -score(stretch(SITES[:2]), values))


def test_one_hot_among_named_sites() -> None:
    values, among = responses(2), [SITES[4], SITES[1], SITES[2]]
    got = score(one_hot([SITES[2], SITES[4]], 2.0, among), values)
    z = z_of(values)[:, [4, 1, 2]] / 2.0
    assert np.allclose(got, [log_softmax(z[0])[2], log_softmax(z[1])[0]], atol=1e-6)
    everything = score(one_hot(SITES[:2], 2.0, SITES), values)
    assert np.allclose(everything, score(one_hot(SITES[:2], 2.0), values), atol=1e-6)


def test_rate_softmax_reads_the_encoders_unit() -> None:
    values = responses(2)
    expected = softmax(values.double().numpy(), 1)[[0, 1], [3, 0]]
    assert np.allclose(score(rate_softmax([SITES[3], SITES[0]]), values), expected, atol=1e-6)
    # unlike every standardised objective it changes with the unit
    assert not np.allclose(score(rate_softmax(SITES[:2]), 2 * values), score(rate_softmax(SITES[:2]), values))


@pytest.mark.parametrize("top", [1, 2, 5])
def test_margin_over_the_most_active_others(top: int) -> None:
    values = responses(3)
    z = z_of(values)
    expected = [z[i, t] - np.sort(np.delete(z[i], t))[-top:].mean() for i, t in enumerate([5, 0, 2])]
    assert np.allclose(score(margin([SITES[5], SITES[0], SITES[2]], top), values), expected, atol=1e-5)


def test_margin_among_named_sites() -> None:
    values = responses(1)
    z = z_of(values)[0]
    got = score(margin(SITES[0], among=[SITES[0], SITES[3]]), values)
    assert got == pytest.approx(z[0] - z[3], abs=1e-5)


def test_discriminate_is_burgs_contrast_of_cluster_means() -> None:
    values = responses(3)
    clusters = [[SITES[0], SITES[4]], SITES[1], [SITES[5], SITES[2], SITES[3]]]
    z = z_of(values)
    means = np.stack([z[:, [0, 4]].mean(1), z[:, 1], z[:, [5, 2, 3]].mean(1)], 1) / 1.6
    expected = means[[0, 1, 2], [0, 1, 2]] - np.log(np.mean(np.exp(means), 1))
    got = score(discriminate(clusters), values)
    assert np.allclose(got, expected, atol=1e-5)
    assert (got <= math.log(3)).all()
    alone = score(discriminate(SITES), responses(6))
    assert np.allclose(alone, score(one_hot(SITES, 1.6), responses(6)) + math.log(6), atol=1e-5)


def test_groups_are_the_soft_minimum_of_what_is_asked_of_each() -> None:
    values = responses(4)
    z = z_of(values)
    a, b = z[:, [0, 4]].mean(1), z[:, [5, 2, 3]].mean(1)  # a group counts as one whatever its size
    first, second = [SITES[0], SITES[4]], [SITES[5], SITES[2], SITES[3]]
    wanted = np.stack([[a[0], b[0]], [a[1], -b[1]], [-a[2], b[2]], [-a[3], -b[3]]])
    expected = -2.0 * (logsumexp(-wanted / 2.0, axis=1) - math.log(2))
    got = score(groups(first, second, temperature=2.0), values)
    assert np.allclose(got, expected, atol=1e-5)
    assert np.allclose(score(groups(first, second, temperature=1e3), values), wanted.mean(1), atol=2e-3), "half the sum"
    assert groups(first, second).row_names == tuple(
        f"groups:v4_000+1|v4_005+2:{mode}" for mode in ("both_high", "high_low", "low_high", "both_low")
    )
    assert groups(first, second, "low_high") == groups(first, second)[2]
    assert groups(first, second, ["both_low", "both_high"]).row_names[0].endswith("both_low")


def test_one_strong_group_cannot_stand_for_both() -> None:
    """The sum of 6 and -1 beats that of 2 and 2; asked for both high, the second image is the better one."""
    z = torch.zeros(2, 6)
    z[0, 0], z[0, 1] = 6.0, -1.0
    z[1, :2] = 2.0
    both = groups(SITES[0], SITES[1], "both_high")
    lopsided, even = score(both.repeat(2), MEAN + SD * z)
    assert even > lopsided


def test_level_is_best_at_the_level() -> None:
    series = level(SITES[1], [-1.0, 0.5, 3.0])
    values = MEAN + torch.tensor([-1.0, 0.0, 2.0])[:, None] * SD
    assert np.allclose(score(series, values), [0.0, -0.25, -1.0], atol=1e-6)
    assert series.row_names == ("level:v4_001@-1", "level:v4_001@0.5", "level:v4_001@3")
    assert series.targets == ("v4_001",) * 3


def test_pattern_is_the_mean_squared_distance_of_named_sites() -> None:
    wanted = {SITES[2]: 2.0, SITES[0]: -1.0}
    values = responses(1)
    z = z_of(values)[0]
    assert score(pattern(wanted), values) == pytest.approx(-((z[2] - 2) ** 2 + (z[0] + 1) ** 2) / 2, abs=1e-5)
    assert pattern(wanted) == pattern([SITES[2], SITES[0]], [2.0, -1.0])
    assert pattern(wanted).targets == (SITES[2],)
    assert pattern(wanted).row_names == ("pattern:v4_002[v4_002=2,v4_000=-1]",)


def test_fractions_of_the_natural_range() -> None:
    ranges = {SITES[0]: (-1.0, 3.0), SITES[1]: (-2.0, 2.0)}
    assert fractions({SITES[0]: 0.5, SITES[1]: 1.25}, ranges) == {SITES[0]: 1.0, SITES[1]: 3.0}
    with pytest.raises(ValueError, match="no natural range for v4_003"):
        fractions({SITES[3]: 0.5}, ranges)
    with pytest.raises(ValueError, match="expected low below high"):
        fractions({SITES[0]: 0.5}, {SITES[0]: (1.0, 1.0)})


def test_within_charges_only_what_is_outside() -> None:
    values = MEAN + torch.tensor([-4.0, 0.0, 2.5])[:, None] * SD
    assert np.allclose(score(within([SITES[0]] * 3, -3.0, 2.0), values), [-1.0, 0.0, -0.25], atol=1e-5)


def test_diverse_measures_the_nearest_other_image_and_charges_what_is_too_weak() -> None:
    images = torch.zeros(3, 1, 2, 2)
    images[1] += 0.5
    images[2, 0, 0, 0] = 1.0  # root mean square distances: 0.5 to the first, 0.5 to the second
    values = MEAN + torch.tensor([2.0, 1.0, 3.0])[:, None] * SD
    got = score(diverse(SITES[1], 3, floor=2.0, penalty=0.1), values, images)
    assert np.allclose(got, [0.5, 0.5 - 0.1, 0.5], atol=1e-6)


def test_sets_of_two_sites_and_two_seeds_do_not_mix() -> None:
    objective = diverse(SITES[:2], 2).repeat(2)  # site 0: images a0 a1 b0 b1, a and b of the set, 0 and 1 the seed
    images = torch.zeros(8, 1, 2, 2)
    shift = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.0, 0.0, 0.9, 0.2])
    got = score(objective, MEAN.repeat(8, 1), images + shift[:, None, None, None])
    assert np.allclose(got, [0.3, 0.4, 0.3, 0.4, 0.9, 0.2, 0.9, 0.2], atol=1e-5)
    assert objective.spans == ((0, 4), (4, 8))
    with pytest.raises(ValueError, match="a part of the group 'diverse:v4_000/1'"):
        objective[:3]
    with pytest.raises(ValueError, match="a part of the group"):
        objective.take([4, 5])
    assert len(objective.take([4, 6])) == 2  # seed 0 of the second site, whole


def test_against_is_the_difference_of_two_encoders() -> None:
    values = torch.stack([responses(2, 1), responses(2, 2)])
    objective = against(stretch(SITES[:2]))
    z = (values - MEAN) / SD
    assert np.allclose(score(objective, values), (z[0] - z[1])[[0, 1], [0, 1]].numpy(), atol=1e-5)
    both = against(stretch(SITES[0])) | against(-stretch(SITES[0]))
    got = score(both, values[:, :1].repeat(1, 2, 1))
    assert got[0] == pytest.approx(-got[1])
    for wrong in (values[0], values[:1], torch.cat([values, values])):
        with pytest.raises(ValueError, match="expected two members"):
            score(objective, wrong)
    with pytest.raises(ValueError, match="apply cautious"):
        objective + stretch(SITES[:2])


def test_mixed_rows_keep_their_own_reduction() -> None:
    values = torch.stack([responses(2, 1), responses(2, 2)])
    mixed = against(stretch(SITES[0])) | stretch(SITES[1])
    z = z_of(values.mean(0))
    assert score(mixed, values)[1] == pytest.approx(z[1, 1], abs=1e-5)


def test_logsumexp_reference() -> None:
    z = z_of(responses(1))
    got = score(one_hot(SITES[3], temperature=0.7), responses(1))
    assert got == pytest.approx(z[0, 3] / 0.7 - logsumexp(z[0] / 0.7), abs=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: one_hot(SITES[0], among=[SITES[1], SITES[2]]), "without v4_000"),
        (lambda: one_hot(SITES[0], among=[SITES[0]]), "at least two"),
        (lambda: margin(SITES[0], top=0), "at least 1"),
        (lambda: margin(SITES[0], top=3, among=SITES[:3]), "1 to 2"),
        (lambda: discriminate([SITES[:2]]), "at least two"),
        (lambda: discriminate([SITES[:2], SITES[1]]), "every site in one of them"),
        (lambda: discriminate(SITES, temperature=0), "temperature 0"),
        (lambda: groups(SITES[:2], SITES[1:3]), "v4_001 twice"),
        (lambda: groups([], SITES[1]), "no sites"),
        (lambda: groups(SITES[0], SITES[1], "high"), "both_high"),
        (lambda: groups(SITES[0], SITES[1], []), "both_high"),
        (lambda: groups(SITES[0], SITES[1], temperature=0), "temperature 0"),
        (lambda: level(SITES[0], []), "levels are empty"),
        (lambda: level(SITES[0], math.nan), "finite"),
        (lambda: pattern({}), "every site once"),
        (lambda: pattern([SITES[0], SITES[0]], 1.0), "every site once"),
        (lambda: pattern(SITES[:2], [1.0]), "every site once"),
        (lambda: pattern({SITES[0]: math.inf}), "finite"),
        (lambda: within(SITES[0], 1, 1), "low below high"),
        (lambda: diverse(SITES[0], 1), "at least 2"),
        (lambda: diverse(SITES[0], penalty=-1.0), "penalty -1"),
        (lambda: diverse(SITES[0], 2) + diverse(SITES[1], 2), "groups"),
    ],
)
def test_what_cannot_be_asked_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
