"""Every number of a control report recomputed from the trials, step by step, and the parts of an evaluation by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols import control_tests as parts
from protocols.control_report import ControlRow
from protocols.control_summary import consistency, summarise
from protocols.control_tests import Exclusion, NaturalScale, Setting
from protocols.evaluation import evaluate
from protocols.key import Key, KeyRow, SiteRow
from protocols.permutation import Pool, joint_permutation_p, mean_difference, permutation_test, repeats_needed
from protocols.statistics import fieller_interval, reliability, wilson_interval
from protocols.trial_table import TrialTable, trial_table

from .simulated_rounds import make_truth, record, subset

ALPHA, PERMUTATIONS, SEED, TEMPERATURE = 0.05, 299, 4, 0.7


@pytest.fixture(scope="module")
def round_():
    """Responses and key of a round with lost trials and values, controllers at 1.6 times their references, and its report."""
    rng = np.random.default_rng(21)
    truth = make_truth(rng, sites=4, natural=9, equal=False, exploratory=1).scaled("controller", 1.6)
    responses = record(rng, truth, missing=0.05)
    lost = np.random.default_rng(0).random(responses.values.shape) < 0.02
    responses = replace(responses, values=np.where(lost, np.nan, responses.values))
    sites = tuple(SiteRow(s.site_id, 3.0 + i, 2.0 - 0.1 * i) for i, s in enumerate(truth.key.sites))
    key = Key(truth.key.rows, sites)
    report = evaluate(responses, key, alpha=ALPHA, permutations=PERMUTATIONS, seed=SEED, temperature=TEMPERATURE)
    return key, trial_table(responses, [r.image_id for r in key.rows], seed=SEED), report, responses


def log_share(mean, target):
    scaled = np.asarray(mean) / TEMPERATURE
    return float(scaled[target] - np.log(np.exp(scaled).sum()))


class Recomputed:
    """One controller's test by plain loops over the trials of the table."""

    def __init__(self, key, table, row):
        self.table, self.row, self.site = table, row, table.site_ids.index(row.site)
        self.hot = row.objective == "one_hot"
        z = (table.values - [s.natural_mean for s in key.sites]) / [s.natural_sd for s in key.sites]
        self.values = z if self.hot else table.values[:, [self.site]]
        self.usable = np.isfinite(self.values).all(1)
        named = [r.image_id for r in key.of_role("reference") if (row.objective, row.site) in r.reference_for]
        levels = [{c: self.score(self.trials(c, half)) for c in sorted(named)} for half in (0, 1)]
        picks = [max(level, key=level.__getitem__) for level in levels]
        self.reference, self.candidates = picks[0], sorted(named)
        self.both = (levels[1][picks[0]] + levels[0][picks[1]]) / 2
        self.pool = self.pairs(row.image_id, self.reference, 1)

    def trials(self, image, half=None):
        rows = [r for r in self.table.image_rows[image] if self.usable[r]]
        return np.array([r for r in rows if half is None or self.table.halves[r] == half], dtype=int)

    def score(self, rows):
        mean = self.values[rows].mean(0)
        return log_share(mean, self.site) if self.hot else float(mean[0])

    def pairs(self, treated, other, half):
        """Rows block by block, the reference's before the controller's, and their counts."""
        chosen, strata = [], []
        for block in range(4):
            two = [
                [r for r in self.trials(i, h) if self.table.blocks[r] == block]
                for i, h in ((other, half), (treated, None))
            ]
            if self.hot:
                two = [side[: min(map(len, two))] for side in two]
            chosen.append(two)
            strata.append((len(two[0]), len(two[1])))
        return chosen, tuple(strata)

    def p(self, chosen, strata, permutations=PERMUTATIONS):
        rows = np.array([r for two in chosen for side in two for r in side])
        statistic = (
            parts.partial(parts.log_softmax_difference, target=self.site, temperature=TEMPERATURE)
            if self.hot
            else mean_difference
        )
        return (
            permutation_test(self.values[rows], strata, statistic=statistic, permutations=permutations, seed=SEED),
            rows,
            statistic,
        )

    @property
    def sides(self):
        return [np.array([r for two in self.pool[0] for r in two[k]]) for k in (1, 0)]


def test_every_number_of_every_row(round_):
    key, table, report, _ = round_
    blanks = [r for row in key.of_role("blank") for r in table.image_rows[row.image_id]]
    seen = set()
    for row in report.rows:
        mine = next(r for r in key.rows if r.image_id == row.image_id)
        by = Recomputed(key, table, row)
        result, _, _ = by.p(*by.pool)
        treated, other = by.sides
        share = math.exp if by.hot else float
        column = table.values[:, by.site]
        blank = column[[r for r in blanks if np.isfinite(column[r])]]
        assert row.reference_image == by.reference
        assert row.reference_kind == "re-shown"
        assert (row.n, row.n_reference, row.n_blank) == (len(treated), len(other), len(blank))
        assert row.measured == pytest.approx(column[treated].mean())
        assert row.reference == pytest.approx(column[other].mean())
        assert row.blank == pytest.approx(blank.mean())
        assert row.score == pytest.approx(share(by.score(treated)))
        assert row.reference_score == pytest.approx(share(by.score(other)))
        assert row.reference_both == pytest.approx(share(by.both))
        assert row.difference == pytest.approx(by.score(treated) - by.score(other))
        assert (row.t, row.p, row.smallest_p, row.exact) == pytest.approx(
            (result.t, result.p, result.smallest_p, result.exact)
        )
        whole = [by.score(by.trials(row.image_id, h)) for h in (0, 1)] if by.hot else [by.score(treated)]
        assert row.difference_both == pytest.approx(np.mean(whole) - by.both)
        assert row.incomplete_trials == len(table.image_rows[row.image_id]) - len(by.trials(row.image_id))
        assert (row.generator, row.seed, row.confirmatory) == (mine.generator, mine.seed, mine.confirmatory)
        assert row.predicted == mine.predicted[row.site]
        assert row.predicted_sd is row.validator_predicted is None
        verdict = ("control" if row.p <= ALPHA else "no control") if row.confirmatory else "exploratory"
        assert row.verdict == verdict
        assert row.reason == "" or row.strict is None
        seen.add(verdict)
        if by.hot:
            self_check_one_hot(by, row, treated)
        else:
            expected = fieller_interval(column[treated], column[other], blank)
            assert (row.gain, row.gain_low, row.gain_high) == pytest.approx([x - 1 for x in expected[:3]])
            assert row.gain_unit == "fraction"
            few = min(len(treated), len(other))
            assert row.gain_note == (f"fewer than 10 repeats ({few})" if few < 10 else "")
        if row.confirmatory:
            confirmatory_numbers(key, by, row)
        else:
            assert (row.p_each, row.strict, row.pseudo_image, row.pseudo_p, row.suppression) == ({}, None, "", None, "")
    assert seen == {"control", "exploratory"} or seen == {"control", "no control", "exploratory"}


def self_check_one_hot(by, row, treated):
    mean = by.values[treated].mean(0)
    others = sorted(m for u, m in enumerate(mean) if u != by.site)
    assert row.margin == pytest.approx(mean[by.site] - others[-1])
    kept = np.exp(np.array([*others[:-1], mean[by.site]]) / TEMPERATURE)
    assert row.score_without_worst == pytest.approx(kept[-1] / kept.sum())
    few = min(map(len, by.sides))
    note = f"fewer than 10 repeats ({few})" if few < 10 else ""
    assert (row.gain, row.gain_unit, row.gain_note) == (pytest.approx(row.difference), "log S", note)
    sides = []
    for rows in by.sides:
        shares = np.exp(by.values[rows].mean(0) / TEMPERATURE)
        sides.append((by.values[rows][:, by.site] - by.values[rows] @ shares / shares.sum()) / TEMPERATURE)
    error = math.sqrt(sum(x.var(ddof=1) / len(x) for x in sides))
    half = stats.t.ppf(0.975, parts_df(*sides)) * error
    assert (row.gain_low, row.gain_high) == pytest.approx((row.gain - half, row.gain + half))
    assert row.t == pytest.approx(row.difference / error)
    assert row.reference_shortfall is None


def confirmatory_numbers(key, by, row):
    if row.verdict == "control":
        results = {c: by.p(*by.pairs(row.image_id, c, None))[0] for c in by.candidates}
        p = {c: found.p for c, found in results.items() if found.smallest_p <= ALPHA}
        assert row.p_each == pytest.approx(p)
        lacking = len(results) - len(p)
        assert row.strict is (None if lacking else max(p.values()) <= ALPHA)
        assert row.reason == (f"strict not told: {lacking} of 5 references lack trials" if lacking else "")
    else:
        assert (row.p_each, row.strict) == ({}, False)
    if not by.hot:
        assert row.suppression == ""
        assert row.off_target is None
        return
    off = np.delete(by.values, by.site, axis=1).mean(1)
    blanks = [r for blank in key.of_role("blank") for r in by.trials(blank.image_id)]
    naturals = sorted(r.image_id for r in key.of_role("natural"))
    assert row.off_target == pytest.approx(off[by.trials(row.image_id)].mean())
    assert row.off_target_blank == pytest.approx(off[blanks].mean())
    rows, strata = [], []
    for block in range(4):
        two = [
            [r for i in images for r in by.trials(i) if by.table.blocks[r] == block]
            for images in (naturals, [row.image_id])
        ]
        rows += two[0] + two[1]
        strata.append((len(two[0]), len(two[1])))
    expected = permutation_test(-off[rows], tuple(strata), permutations=PERMUTATIONS, seed=SEED)
    assert row.off_target_natural == pytest.approx(np.mean([off[r] for i in naturals for r in by.trials(i)]))
    assert (row.suppression_t, row.suppression_p) == pytest.approx((expected.t, expected.p))
    assert row.suppression == ("suppression" if expected.p <= ALPHA else "no suppression")


def test_rows_come_by_objective_site_confirmatory_first(round_):
    key, _, report, responses = round_
    order = [(["stretch", "one_hot"].index(r.objective), r.site, not r.confirmatory, r.image_id) for r in report.rows]
    assert order == sorted(order)
    odd = [replace(r, objective=o) for r, o in zip(key.of_role("controller"), ("aa", "zz"), strict=False)]
    changed = Key(tuple(next((o for o in odd if o.image_id == r.image_id), r) for r in key.rows), key.sites)
    rows = evaluate(responses, changed, alpha=ALPHA, permutations=PERMUTATIONS).rows
    assert [r.objective for r in rows[-2:]] == ["aa", "zz"]
    assert rows[-1].reason == "objective 'zz' has no control score; known: stretch, one_hot"


def test_the_head_of_a_report(round_):
    key, table, report, responses = round_
    assert (report.unit, report.alpha, report.permutations, report.seed, report.temperature) == (
        "spikes",
        ALPHA,
        PERMUTATIONS,
        SEED,
        TEMPERATURE,
    )
    assert (report.trials, report.trials_used) == (len(responses.values), len(table.values))
    assert report.one_hot_sites == key.site_ids
    assert report.notes == ()


def test_defaults_of_an_evaluation(round_):
    key, _, _, responses = round_
    few = subset(key, lambda r: r.role != "controller" or r.target == "v4_000")
    report = evaluate(responses, few)
    assert (report.alpha, report.permutations, report.seed, report.temperature) == (0.01, 9999, 0, 1.0)
    assert evaluate(responses, few, alpha=0.01, permutations=9999, seed=0, temperature=1.0, excluded={}) == report


@pytest.mark.parametrize(
    ("change", "row", "reason"),
    [
        (lambda r: r.sites(r.site_ids[1:]), 0, "the site was not recorded"),
        (lambda r: replace(r, values=r.values * [np.nan, 1, 1, 1]), 0, "the site has no finite response"),
    ],
)
def test_a_lost_site_gives_its_reason(round_, change, row, reason):
    key, _, _, responses = round_
    report = evaluate(change(responses), key, alpha=ALPHA, permutations=PERMUTATIONS)
    lost = [r for r in report.rows if r.site == "v4_000"]
    assert {(r.verdict, r.reason) for r in lost} == {("excluded", reason)}
    assert {r.p for r in lost} == {None}
    assert all(r.verdict != "excluded" for r in report.rows if r.site != "v4_000")


def test_lost_trials_give_their_reason(round_):
    key, _, report, responses = round_
    first, second = (r.image_id for r in report.confirmatory("stretch")[:2])
    keep = responses.image_ids != first
    values = responses.values.copy()
    values[responses.image_ids == second, 1] = np.nan
    few = np.flatnonzero(responses.image_ids == report.confirmatory("stretch")[2].image_id)[1:]
    keep[few] = False
    found = evaluate(replace(responses, values=values).select(keep), key, alpha=ALPHA, permutations=PERMUTATIONS)
    reasons = [r.reason for r in found.confirmatory("stretch")]
    assert reasons[0] == "the controller has no usable trial"
    assert reasons[1] == "the controller has no trial with the responses that the score needs"
    assert reasons[2] == "too few usable trials of the controller or its reference in the same blocks"


def test_too_few_permutations_are_told(round_):
    key, _, _, responses = round_
    found = evaluate(responses, key, alpha=1 / 300, permutations=299)  # 1 / 300 can just be reached
    assert all(r.verdict != "not testable" for r in found.confirmatory("stretch"))
    with pytest.raises(ValueError, match=r"E06.*at least 334 permutations are needed"):
        evaluate(responses, key, alpha=0.003, permutations=299)


def test_too_few_repeats_are_told_with_the_counts(round_):
    key, _, report, responses = round_
    image = report.confirmatory("stretch")[0].image_id
    of_image = np.flatnonzero(responses.image_ids == image)
    last = np.array([rows[0] for b in range(4) if len(rows := of_image[responses.block[of_image] == b])])[:2]
    keep = np.ones(len(responses.values), bool)
    keep[np.setdiff1d(of_image, last)] = False
    row = evaluate(responses.select(keep), key, alpha=0.01, permutations=9999).confirmatory("stretch")[0]
    needed = repeats_needed(0.01, 4, equal=False)
    assert row.verdict == "not testable"
    assert row.reason == (
        f"smallest reachable p {row.smallest_p:.3g} with 2 against {row.n_reference} trials: "
        f"at least {needed} repeats of every image in 4 blocks, none lost, are needed"
    )
    assert row.strict is False


# --- a small table by hand ---------------------------------------------------------------------------------------------


def setting_of(
    values, images, *, key_rows=(), blocks=None, halves=None, unit="spikes", scale=None, baseline=None, **changes
):
    """A setting on a table of these trials; each image's rows in the order given."""
    values, images = np.asarray(values, float), np.asarray(images)
    sites = tuple(f"s{u}" for u in range(values.shape[1]))
    table = TrialTable(
        values,
        np.zeros(len(values), int) if blocks is None else np.asarray(blocks),
        np.arange(len(values)) % 2 if halves is None else np.asarray(halves),
        {str(i): np.flatnonzero(images == i) for i in np.unique(images)},
        sites,
        baseline,
    )
    scale = scale or NaturalScale(sites, np.zeros(len(sites)), np.ones(len(sites)))
    defaults = {"alpha": 0.05, "permutations": 199, "seed": 0, "temperature": 1.0}
    return Setting(table, Key(tuple(key_rows)), scale, unit, **(defaults | changes))


def reference_row(image, *pairs):
    return KeyRow(image, image, "reference", reference_for=pairs)


def test_secondary_tests_stop_early():
    pool = Pool(np.arange(40), np.random.default_rng(0).normal(size=40), ((20, 20),), mean_difference)
    for alpha, permutations, secondary in (
        (0.05, 9999, 999),
        (0.01, 9999, 2000),
        (0.003, 9999, 6667),
        (0.01, 500, 500),
    ):
        setting = setting_of(np.zeros((1, 1)), ["i"], alpha=alpha, permutations=permutations, seed=3)
        assert setting.test(pool).smallest_p == 1 / (permutations + 1)
        assert setting.test(pool, secondary=True).smallest_p == 1 / (secondary + 1)
        assert setting.test(pool) == permutation_test(pool.values, pool.strata, permutations=permutations, seed=3)


def test_scores_and_their_refusals():
    setting = setting_of([[1.0, np.nan], [3.0, 2.0], [np.nan, 4.0]], ["i", "i", "i"])
    score = parts.stretch_score(setting, "s0")
    assert score.usable.tolist() == [True, True, False]
    assert score.of(np.array([0, 1])) == 2.0
    assert math.isnan(score.of(np.array([], int)))
    assert not score.equal_counts
    hot = parts.one_hot_score(setting, "s1")
    assert hot.usable.tolist() == [False, True, False]
    assert hot.of(np.array([1])) == pytest.approx(2 - math.log(math.exp(3) + math.exp(2)))
    assert hot.equal_counts
    with pytest.raises(Exclusion, match=r"^the site is not in the standardised site set$"):
        parts.one_hot_score(setting, "s9")
    alone = NaturalScale(("s0",), np.zeros(1), np.ones(1))
    with pytest.raises(Exclusion, match=r"^one_hot needs at least two recorded sites with natural statistics$"):
        parts.one_hot_score(setting_of([[1.0, 2.0]], ["i"], scale=alone), "s0")


def test_standardised_values_follow_the_order_of_the_scale():
    scale = NaturalScale(("s2", "s0"), np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    np.testing.assert_allclose(parts.standardised(setting_of([[10.0, 7.0, 5.0]], ["i"], scale=scale)), [[2.0, 2.0]])


STRETCH = KeyRow("c", "c", "controller", objective="stretch", target="s0")


def test_candidates_are_the_named_references_else_the_natural_images():
    naturals = [KeyRow(f"n{i}", "", "natural") for i in (2, 1)]
    rows = [
        reference_row("r3", ("stretch", "s0")),
        reference_row("r1", ("one_hot", "s0"), ("stretch", "s0")),
        reference_row("r2", ("stretch", "s1")),
    ]
    assert parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=rows + naturals), STRETCH) == (
        ("r1", "r3"),
        "re-shown",
    )
    assert parts.candidates_of(setting_of([[0.0]], ["i"], key_rows=naturals), STRETCH) == (
        ("n1", "n2"),
        "split halves of the same recording",
    )


def test_the_reference_is_chosen_on_one_half_and_measured_on_the_other():
    # half 0 prefers r1 (5 against 4), half 1 prefers r2 (9 against 1)
    values = [[5.0], [1.0], [5.0], [1.0], [4.0], [9.0], [4.0], [9.0], [99.0], [99.0]]
    images = ["r1"] * 4 + ["r2"] * 4 + ["r3"] * 2  # r3 has one trial a half: too few to be tested
    rows = [reference_row(r, ("stretch", "s0")) for r in ("r1", "r2", "r3")]
    setting = setting_of(values, images, key_rows=rows)
    found = parts.choose_reference(setting, parts.stretch_score(setting, "s0"), STRETCH)
    assert found == ("r1", ("r1", "r2"), "re-shown", (1 + 4) / 2)
    with pytest.raises(Exclusion, match=r"^no natural reference image is listed for this site and objective$"):
        parts.choose_reference(setting, parts.stretch_score(setting, "s0"), replace(STRETCH, target="s1"))
    alone = setting_of(values, images, key_rows=rows[2:])
    with pytest.raises(Exclusion, match=r"^too few usable trials of the 1 natural reference images$"):
        parts.choose_reference(alone, parts.stretch_score(alone, "s0"), STRETCH)
    just = setting_of([[1.0], [2.0], [3.0]], ["r3"] * 3, halves=[0, 1, 1], key_rows=rows[2:])
    assert parts.choose_reference(just, parts.stretch_score(just, "s0"), STRETCH).both == pytest.approx((2.5 + 1) / 2)


def shortfall(means, noise, trials=4, seed=0):
    """Of images with these means and four trials, two of which are `noise` above and two below."""
    steps = np.tile([-1.0, 1.0], trials // 2)
    values = np.concatenate([m + noise * steps for m in means])[:, None]
    images = np.repeat([f"r{i}" for i in range(len(means))], trials)
    setting = setting_of(values, images, seed=seed)
    reference = parts.Reference("r0", tuple(f"r{i}" for i in range(len(means))), "re-shown", 0.0)
    return parts.reference_shortfall(setting, parts.stretch_score(setting, "s0"), reference)


def test_expected_shortfall_by_hand():
    means, noise = np.array([3.0, 5.0, 8.0]), 3.0
    square = noise**2 * 4 / 3 / 4  # variance of a mean of four trials
    shrunken = means.mean() + (means - means.mean()) * math.sqrt(1 - square / means.var(ddof=1))
    draws = np.random.default_rng(7).normal(size=(2000, 3)) * math.sqrt(2 * square)
    lost = shrunken.max() - shrunken[(shrunken + draws).argmax(1)]
    assert shortfall(means, noise, seed=7) == pytest.approx(lost.mean())
    assert 0.1 < lost.mean() < 2
    assert shortfall(means, 0.0) == 0.0
    assert shortfall([3.0, 3.0, 3.0], 1.0) == pytest.approx(0, abs=1e-12)
    assert shortfall([3.0, 3.1, 3.0], 5.0) == pytest.approx(0, abs=1e-12)  # all spread is noise: shrunk to one value
    assert shortfall(means, noise, trials=2) is None
    assert shortfall(means[:2], noise) is None


def test_a_pool_takes_blocks_in_turn_reference_first():
    images = ["r", "c", "r", "c", "c", "r", "c", "r", "c"]
    blocks = [0, 0, 0, 0, 0, 1, 1, 1, 2]
    values = np.arange(18.0).reshape(9, 2)
    setting = setting_of(values, images, blocks=blocks, halves=[0, 0, 1, 0, 1, 1, 1, 0, 0])
    score = parts.stretch_score(setting, "s0")
    pool = parts.comparison_pool(setting, score, ["c"], ["r"], half=None)
    assert pool.rows.tolist() == [0, 2, 1, 3, 4, 5, 7, 6, 8]
    assert pool.strata == ((2, 3), (2, 1), (0, 1))
    assert pool.values[:, 0].tolist() == values[pool.rows, 0].tolist()
    assert [s.tolist() for s in parts.sides(pool)] == [[1, 3, 4, 6, 8], [0, 2, 5, 7]]
    half = parts.comparison_pool(setting, score, ["c"], ["r"], half=1)
    assert (half.rows.tolist(), half.strata) == ([2, 1, 3, 4, 5, 6, 8], ((1, 3), (1, 1), (0, 1)))
    hot = parts.comparison_pool(setting, parts.one_hot_score(setting, "s0"), ["c"], ["r"], half=1)
    assert (hot.rows.tolist(), hot.strata) == ([2, 1, 5, 6], ((1, 1), (1, 1), (0, 0)))
    assert parts.enough(hot)
    assert not parts.enough(Pool(hot.rows, hot.values, ((1, 5),), score.statistic))
    assert not parts.enough(Pool(hot.rows, hot.values, ((5, 1),), score.statistic))
    assert parts.enough(Pool(hot.rows, hot.values, ((2, 1), (0, 1)), score.statistic))


def test_every_candidate_with_enough_trials_is_compared():
    rng = np.random.default_rng(0)
    images = ["c"] * 6 + ["r1"] * 6 + ["r2"]
    setting = setting_of(rng.normal(size=(13, 1)), images)
    score = parts.stretch_score(setting, "s0")
    found = parts.beats_each(setting, score, "c", ("r1", "r2"))
    expected = permutation_test(
        setting.table.values[[*range(6, 12), *range(6)], 0], ((6, 6),), permutations=199, seed=0
    )
    assert found == {"r1": expected.p}


def test_blanks_else_the_baseline_else_nothing():
    values = [[1.0, 2], [3, np.nan], [5, 6], [7, 8]]
    images, rows = ["b1", "b2", "b2", "i"], [KeyRow(f"b{i}", "", "blank") for i in (2, 1)]
    baseline = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6], [0.7, 0.8]])
    with_blanks = setting_of(values, images, key_rows=rows, baseline=baseline)
    assert parts.blank_trials(with_blanks, "s0").tolist() == [1, 3, 5]
    assert parts.blank_trials(with_blanks, "s1").tolist() == [2, 6]
    assert parts.blank_trials(setting_of(values, images, baseline=baseline), "s1").tolist() == [0.2, 0.6, 0.8]
    assert parts.blank_trials(setting_of(values, images), "s1").tolist() == []


def gains(treated, other, blank, **changes):
    values = np.array([*other, *treated], float)[:, None]
    setting = setting_of(values, ["r"] * len(other) + ["c"] * len(treated), **changes)
    pool = parts.comparison_pool(setting, parts.stretch_score(setting, "s0"), ["c"], ["r"], half=None)
    return parts.stretch_gain(setting, pool, "s0", np.asarray(blank, float))


TREATED, OTHER, BLANK = [10.0, 12.0, 14.0] * 4, [6.0, 7.0, 8.0] * 4, [0.5, 1.0, 1.5]


def test_gain_as_a_fraction_and_its_notes():
    found = gains(TREATED, OTHER, BLANK)
    expected = fieller_interval(np.array(TREATED), np.array(OTHER), np.array(BLANK))
    assert found == {
        "gain": expected.ratio - 1,
        "gain_low": expected.low - 1,
        "gain_high": expected.high - 1,
        "gain_unit": "fraction",
        "gain_note": "",
    }
    assert gains(TREATED[:10], OTHER[:10], BLANK)["gain_note"] == ""
    assert gains(TREATED[:9], OTHER, BLANK)["gain_note"] == "fewer than 10 repeats (9)"
    assert gains(TREATED, OTHER[:3], BLANK)["gain_note"] == "fewer than 10 repeats (3)"
    # a reference above the blank at p = 0.04, one-sided: its ratio has no limits at 95 %, two-sided
    weak = [0.53, 1.53, 2.53] * 4
    assert gains(TREATED, weak, BLANK * 4)["gain_note"] == "interval unbounded"
    assert gains(TREATED[:9], weak, BLANK * 4)["gain_note"] == "fewer than 10 repeats (9), interval unbounded"


@pytest.mark.parametrize("unit", ["zscore", "beta", "dff"])
def test_no_percentage_for_units_without_a_zero(unit):
    scale = NaturalScale(("s0",), np.zeros(1), np.array([2.5]))
    found = gains(TREATED, OTHER, BLANK, unit=unit, scale=scale)
    half = stats.t.ppf(0.975, parts_df(TREATED, OTHER)) * math.sqrt(
        np.var(TREATED, ddof=1) / 12 + np.var(OTHER, ddof=1) / 12
    )
    assert found["gain"] == pytest.approx(5 / 2.5)
    assert (found["gain_low"], found["gain_high"]) == pytest.approx(((5 - half) / 2.5, (5 + half) / 2.5))
    assert (found["gain_unit"], found["gain_note"]) == ("natural SD", f"no percentage for unit {unit}")
    few = gains(TREATED, OTHER[:9], BLANK, unit=unit, scale=scale)["gain_note"]
    assert few == f"no percentage for unit {unit}, fewer than 10 repeats (9)"


def parts_df(a, b):
    v = np.var(a, ddof=1) / len(a), np.var(b, ddof=1) / len(b)
    return sum(v) ** 2 / (v[0] ** 2 / (len(a) - 1) + v[1] ** 2 / (len(b) - 1))


def test_no_percentage_without_usable_blanks():
    assert gains(TREATED, OTHER, [1.0])["gain_note"] == "no percentage: no blanks"
    assert gains(TREATED[:9], OTHER, [1.0])["gain_note"] == "no percentage: no blanks, fewer than 10 repeats (9)"
    assert gains(TREATED, OTHER, [])["gain_unit"] == "natural SD"
    assert (
        gains(TREATED, OTHER, [6.5, 7.0, 7.5])["gain_note"]
        == "no percentage: blank not significantly below the reference"
    )
    other_scale = NaturalScale(("s9",), np.zeros(1), np.ones(1))
    assert gains(TREATED, OTHER, [], scale=other_scale) == {"gain_unit": "", "gain_note": "no percentage: no blanks"}


def test_suppression_needs_natural_images_and_reachable_alpha():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(24, 3))
    values[:6, 1:] -= 6
    images = ["c"] * 6 + ["n1"] * 6 + ["n2"] * 6 + ["b"] * 6
    rows = [KeyRow(i, "", "natural") for i in ("n1", "n2", "n3")] + [KeyRow("b", "", "blank")]
    setting = setting_of(values, images, key_rows=rows)
    score = parts.one_hot_score(setting, "s0")
    found = parts.suppression(setting, score, "s0", "c")
    off = values[:, 1:].mean(1)
    expected = permutation_test(-off[[*range(6, 18), *range(6)]], ((12, 6),), permutations=199, seed=0)
    assert found == pytest.approx(
        {
            "off_target": off[:6].mean(),
            "off_target_blank": off[18:].mean(),
            "off_target_natural": off[6:18].mean(),
            "suppression": "suppression",
            "suppression_t": expected.t,
            "suppression_p": expected.p,
        }
    )
    upside_down = parts.suppression(
        setting_of(-values, images, key_rows=rows), parts.one_hot_score(setting_of(-values, images), "s0"), "s0", "c"
    )
    assert upside_down["suppression"] == "no suppression"
    few = parts.suppression(replace(setting, alpha=0.004), score, "s0", "c")
    assert few["suppression"] == "not testable"
    none = setting_of(values, images, key_rows=rows[2:3])
    assert parts.suppression(none, score, "s0", "c") == {
        "off_target": pytest.approx(off[:6].mean()),
        "off_target_blank": None,
        "suppression": "not testable",
    }


# --- counts ------------------------------------------------------------------------------------------------------------


def row(verdict, *, objective="stretch", confirmatory=True, **fields):
    return ControlRow(objective, "s0", "i", confirmatory, verdict=verdict, **fields)


def test_counts_of_hand_made_rows():
    rows = [
        row(
            "control",
            p=0.001,
            strict=True,
            pseudo_p=0.05,
            arm_p={"a": 0.05, "b": 0.2},
            contrast={"luminance": 1.0, "local": 2.0},
            contrast_exceeded="local",
            monotonic_rho=0.9,
            monotonic_p=0.05,
            other_site_share=0.2,
            suppression="suppression",
        ),
        row(
            "control",
            p=0.02,
            strict=False,
            pseudo_p=0.06,
            arm_p={"a": 0.06},
            contrast={"local": 2.0},
            contrast_exceeded="luminance local",
            monotonic_rho=-0.9,
            monotonic_p=0.01,
            other_site_share=0.9,
        ),
        row(
            "no control",
            p=0.5,
            strict=False,
            contrast_exceeded="",
            monotonic_rho=0.3,
            monotonic_p=0.06,
            other_site_share=0.4,
            suppression="no suppression",
        ),
        row("not testable", suppression="not testable", monotonic_rho=None, monotonic_p=0.01),
        row("excluded", arm_p={"z": 0.0}, suppression="suppression", other_site_share=0.0),
        row("exploratory", confirmatory=False, p=0.0001, arm_p={"y": 0.1}, suppression="suppression"),
        row("no control", objective="one_hot", p=0.04),
        row("excluded", objective="two"),
    ]
    pool = Pool(np.arange(8), np.array([1.0, 2, 1, 2, 5, 6, 5, 7]), ((4, 4),), mean_difference)
    setting = setting_of([[0.0]], ["i"], permutations=99, seed=2)
    marked, summaries = summarise(setting, [(r, pool if r.p is not None else None) for r in rows])
    assert [r.bh for r in marked] == [True, True, False, None, None, None, True, None]
    assert [replace(r, bh=None) for r in marked] == rows
    first = summaries[0]
    low, high = wilson_interval(2, 3)
    pseudo_low, pseudo_high = wilson_interval(1, 2)
    expected = {
        "objective": "stretch",
        "tested": 3,
        "successes": 2,
        "low": low,
        "high": high,
        "chance": 0.05,
        "empirical_tested": 2,
        "empirical_successes": 1,
        "empirical_low": pseudo_low,
        "empirical_high": pseudo_high,
        "group_p": joint_permutation_p([pool] * 3, permutations=99, seed=2),
        "listed": 2,
        "strict": 1,
        "strict_tested": 3,
        "suppressed": 2,
        "suppression_tested": 3,
        "not_testable": 1,
        "excluded": 1,
        "arms": {"a": (2, 1), "b": (1, 0)},
        "contrast_measured": 3,
        "exceeded": {"luminance": 1, "local": 2},
        "monotonic": 1,
        "monotonic_tested": 4,
        "other_site_share": 0.4,
    }
    assert {name: getattr(first, name) for name in expected} == expected
    assert [s.objective for s in summaries] == ["stretch", "one_hot", "two"]
    assert (summaries[1].tested, summaries[1].listed, summaries[1].other_site_share) == (1, 1, None)
    assert (summaries[2].tested, summaries[2].group_p, summaries[2].excluded) == (0, None, 1)


def test_consistency_written_out(round_):
    key, table, _, _ = round_
    predicted_key = Key(
        tuple(
            replace(r, predicted={s: v + 0.3 * (i % 5) for s, v in r.predicted.items() if (i, s) != (3, "v4_001")})
            for i, r in enumerate(key.rows)
        ),
        key.sites,
    )
    found = consistency(table, predicted_key)
    assert [c.site for c in found] == list(table.site_ids)
    for u, c in enumerate(found):
        pairs = {role: [] for role in ("controller", "natural", "reference")}
        trials, index = [], []
        for k, r in enumerate(predicted_key.rows):
            if r.role not in pairs:
                continue
            x = table.values[table.image_rows[r.image_id], u]
            x = x[np.isfinite(x)]
            if c.site in r.predicted:
                pairs[r.role].append((r.predicted[c.site], x.mean()))
            if r.role != "controller":
                trials += x.tolist()
                index += [k] * len(x)
        ceiling = reliability(np.array(trials), np.array(index))
        everything = [p for group in pairs.values() for p in group]
        assert (c.controllers, c.images) == (len(pairs["controller"]), len(everything))
        assert c.reliability == pytest.approx(ceiling)
        for r, r2, group in (
            (c.controllers_r, c.controllers_r2, pairs["controller"]),
            (c.images_r, c.images_r2, everything),
        ):
            expected = np.corrcoef(*np.array(group).T)[0, 1]
            assert r == pytest.approx(expected)
            assert r2 == pytest.approx(expected**2 / ceiling)


def test_consistency_of_an_unreliable_site_has_no_ceiling():
    values = np.array([1.0, 3, 1, 3, 1, 3, 1, 3, 2, 2, 4, 4, 6, 6, 8, 8])[:, None]  # four natural images alike
    images = np.repeat(["n1", "n2", "n3", "n4", "c1", "c2", "c3", "c4"], 2)
    rows = [
        KeyRow(i, "", "natural" if i[0] == "n" else "controller", predicted={"s0": float(k)})
        for k, i in enumerate(np.unique(images))
    ]
    setting = setting_of(values, images)
    found = consistency(setting.table, Key(tuple(rows)))[0]
    assert found.controllers_r == pytest.approx(1)
    assert (found.reliability, found.controllers_r2, found.images_r2) == (None, None, None)
