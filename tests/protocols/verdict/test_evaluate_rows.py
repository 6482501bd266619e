"""Every number of a control report recomputed from the trials, step by step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import Key, KeyRow, SiteRow
from protocols.recordings.trial_table import trial_table
from protocols.stats.choice import choice_test
from protocols.stats.intervals import fieller_interval, wilson_interval
from protocols.stats.joint import joint_permutation_p
from protocols.stats.permutation import Pool, permutation_test
from protocols.stats.reach import repeats_needed
from protocols.stats.trials import reliability
from protocols.verdict.evaluate import evaluate
from protocols.verdict.records import ControlRow
from protocols.verdict.summary import consistency, summarise
from tests.protocols.helpers.simulated_rounds import make_truth, one_reference, record, subset
from tests.protocols.helpers.small_tables import setting_of

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
        self.mean, self.sd = (np.array([getattr(s, n) for s in key.sites]) for n in ("natural_mean", "natural_sd"))
        z = (table.values - self.mean) / self.sd
        self.values = z if self.hot else table.values[:, [self.site]]
        self.usable = np.isfinite(self.values).all(1)
        named = [r for r in key.of_role("reference") if (row.objective, row.site) in r.reference_for]
        self.candidates = sorted(r.image_id for r in named)
        mine = next(r for r in key.rows if r.image_id == row.image_id)
        self.weights = self.frozen_weights([mine, *named], key.site_ids)
        self.tested = z[:, self.site] - z @ self.weights if self.hot else table.values[:, self.site]
        self.treated = self.trials(row.image_id)
        levels = [[self.tested[self.trials(c, half)].mean() for c in self.candidates] for half in (0, 1)]
        self.picked = [self.candidates[int(np.argmax(level))] for level in levels]
        self.parts = [self.trials(image, 1 - half) for half, image in enumerate(self.picked)]

    def frozen_weights(self, images, sites):
        """The mean softmax of the other sites at the predicted responses, in natural SDs."""
        weights = np.zeros(len(sites))
        for image in images:
            z = (np.array([image.predicted[s] for s in sites]) - self.mean) / self.sd / TEMPERATURE
            shares = np.exp(np.delete(z, self.site))
            weights += np.insert(shares / shares.sum(), self.site, 0.0) / len(images)
        return weights

    def trials(self, image, half=None):
        rows = [r for r in self.table.image_rows[image] if self.usable[r]]
        return np.array([r for r in rows if half is None or self.table.halves[r] == half], dtype=int)

    def score(self, mean):
        return log_share(mean, self.site) if self.hot else float(mean[0])

    def result(self):
        """The test over all slots: each candidate by halves, then the controller, block by block."""
        rows, slots = [], []
        for block in range(4):
            here = [self.trials(c, half) for c in self.candidates for half in (0, 1)] + [self.treated]
            here = [[r for r in slot if self.table.blocks[r] == block] for slot in here]
            rows += [r for slot in here for r in slot]
            slots.append(tuple(map(len, here)))
        return choice_test(self.tested[rows], tuple(slots), permutations=PERMUTATIONS, seed=SEED)

    def against(self, image):
        """The plain test against all trials of one image."""
        rows, strata = [], []
        for block in range(4):
            two = [[r for r in side if self.table.blocks[r] == block] for side in (self.trials(image), self.treated)]
            rows += two[0] + two[1]
            strata.append((len(two[0]), len(two[1])))
        return permutation_test(self.tested[rows], tuple(strata), permutations=PERMUTATIONS, seed=SEED)

    def reference_mean(self, values):
        return np.mean([values[rows].mean(0) for rows in self.parts], axis=0)

    def reference_level(self):
        """Score at the mean of the tested halves of one image; of two images the mean of their scores."""
        means = [self.values[rows].mean(0) for rows in self.parts]
        if self.picked[0] == self.picked[1]:
            return self.score(np.mean(means, axis=0))
        return np.mean([self.score(m) for m in means])


def interval(samples):
    """Mean and 95 % limits of the weighted means of independent samples."""
    variances = [w**2 * np.var(x, ddof=1) / len(x) for w, x in samples]
    df = sum(variances) ** 2 / sum(v**2 / (len(x) - 1) for v, (_, x) in zip(variances, samples, strict=True))
    half = stats.t.ppf(0.975, df) * math.sqrt(sum(variances))
    middle = sum(w * np.mean(x) for w, x in samples)
    return middle, middle - half, middle + half, math.sqrt(sum(variances))


def test_every_number_of_every_row(round_):
    key, table, report, _ = round_
    blanks = [r for row in key.of_role("blank") for r in table.image_rows[row.image_id]]
    seen = set()
    for row in report.rows:
        mine = next(r for r in key.rows if r.image_id == row.image_id)
        by = Recomputed(key, table, row)
        result, treated = by.result(), by.treated
        share = math.exp if by.hot else float
        column = table.values[:, by.site]
        blank = column[[r for r in blanks if np.isfinite(column[r])]]
        others = sum(map(len, by.parts))
        assert row.reference_image == by.picked[0]
        assert row.reference_other == ("" if by.picked[0] == by.picked[1] else by.picked[1])
        assert (row.reference_kind, row.references) == ("re-shown", 5)
        assert (row.n, row.n_reference, row.n_blank) == (len(treated), others, len(blank))
        assert row.measured == pytest.approx(column[treated].mean())
        assert row.reference == pytest.approx(by.reference_mean(column))
        assert row.blank == pytest.approx(blank.mean())
        assert row.score == pytest.approx(share(by.score(by.values[treated].mean(0))))
        assert row.reference_score == pytest.approx(share(by.reference_level()))
        halves = [(1.0, by.tested[treated]), *((-0.5, by.tested[rows]) for rows in by.parts)]
        difference, low, high, error = interval(halves)
        assert (row.difference, row.difference_low, row.difference_high) == pytest.approx((difference, low, high))
        assert row.t == pytest.approx(difference / error)
        assert row.reference_shortfall >= 0
        assert (row.t, row.p, row.smallest_p, row.exact) == pytest.approx(
            (result.t, result.p, result.smallest_p, result.exact)
        )
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
            expected = fieller_interval(column[treated], [column[rows] for rows in by.parts], blank)
            assert (row.gain, row.gain_low, row.gain_high) == pytest.approx([x - 1 for x in expected[:3]])
            assert row.gain_unit == "fraction"
            few = min(len(treated), others)
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
    few = min(len(treated), sum(map(len, by.parts)))
    note = f"fewer than 10 repeats ({few})" if few < 10 else ""
    difference = by.score(mean) - by.reference_level()
    assert (row.gain, row.gain_unit, row.gain_note) == (pytest.approx(difference), "log S", note)
    same = by.picked[0] == by.picked[1]
    samples = []
    for weight, rows, whole in [(1.0, treated, [treated]), *((-0.5, r, by.parts if same else [r]) for r in by.parts)]:
        shares = np.exp(np.mean([by.values[r].mean(0) for r in whole], axis=0) / TEMPERATURE)
        samples.append((weight, (by.values[rows][:, by.site] - by.values[rows] @ shares / shares.sum()) / TEMPERATURE))
    middle, low, high, _ = interval(samples)
    assert (row.gain_low, row.gain_high) == pytest.approx((low + difference - middle, high + difference - middle))
    assert row.selectivity == pytest.approx(by.tested[treated].mean())
    assert row.selectivity_reference == pytest.approx(by.reference_mean(by.tested))
    assert row.selectivity_sites == pytest.approx(1 / (by.weights**2).sum())


def confirmatory_numbers(key, by, row):
    if row.verdict == "control":
        results = {c: by.against(c) for c in by.candidates}
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
    assert rows[-1].reason == "objective 'zz' has no control score; known: stretch, one_hot, suppress"


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
    few = one_reference(key)
    row = evaluate(responses.select(keep), few, alpha=0.01, permutations=9999).confirmatory("stretch")[0]
    needed = repeats_needed(0.01, 4)
    assert row.verdict == "not testable"
    assert row.reason == (
        f"smallest reachable p {row.smallest_p:.3g} with 2 against {row.n_reference} trials: "
        f"at least {needed} repeats of every image in 4 blocks, none lost, are needed"
    )
    assert row.strict is False


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
    pool = Pool(np.arange(8), np.array([1.0, 2, 1, 2, 5, 6, 5, 7]), ((4, 4),))
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
