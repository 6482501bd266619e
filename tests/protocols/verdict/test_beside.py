"""Control arms, specificity, contrast, monotonicity and empirical chance, on simulated rounds whose truth is known."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocols.project.key import Key, KeyRow
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.verdict.beside import empirical_chance, pseudo_controller
from protocols.verdict.checks import natural_scale
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from protocols.verdict.objectives import JUDGEMENTS
from protocols.verdict.reference import match_references
from protocols.verdict.scores import Setting
from tests.protocols.helpers.simulated_rounds import Truth, make_truth, one_reference, record, subset

ARMS = {
    "phase_scrambled": 0.5,
    "natural_raised": 1.0,
}  # expected response at the target, as a share of the controller's


def with_arms_and_graded(truth: Truth, *, levels=(0.55, 0.7, 0.85)) -> Truth:
    """Two arms and three graded images for every confirmatory controller; `levels`: their response as shares of the controller's."""
    rows, means = list(truth.key.rows), list(truth.means)
    for row, mean in zip(truth.key.rows, truth.means, strict=True):
        if row.role != "controller" or not row.confirmatory:
            continue
        column = truth.key.site_ids.index(row.target)
        shares = [("arm", kind, share, 1.0) for kind, share in ARMS.items()]
        shares += [("graded", "", share, 0.5 + 0.1 * i) for i, share in enumerate(levels)]
        for role, kind, share, predicted in shares:
            image = f"r01_{len(rows):04d}x"
            expected = mean.copy()
            expected[column] *= share
            prediction = {s: v * (predicted if s == row.target else 1) for s, v in row.predicted.items()}
            rows.append(
                KeyRow(
                    image_id=image,
                    source_id=f"source_{image}",
                    role=role,
                    objective=row.objective,
                    target=row.target,
                    arm=kind,
                    parent=row.source_id,
                    predicted=prediction,
                )
            )
            means.append(expected)
    return replace(truth, key=Key(tuple(rows), truth.key.sites), means=np.array(means))


def planted(factor: float = 2.0, seed: int = 3, **changed: object) -> tuple[Truth, Responses]:
    rng = np.random.default_rng(seed)
    truth = make_truth(rng, sites=5, natural=10, equal=False).scaled("controller", factor)
    rows = [
        replace(r, predicted=dict(zip(r.predicted, map(float, m), strict=True)))
        for r, m in zip(truth.key.rows, truth.means, strict=True)
    ]
    truth = with_arms_and_graded(replace(truth, key=Key(tuple(rows), truth.key.sites)), **changed)
    return truth, record(rng, truth, missing=0.02)


@pytest.fixture(scope="module")
def shown() -> tuple[Truth, Responses, ControlReport]:
    truth, responses = planted()
    return truth, responses, evaluate(responses, truth.key, permutations=999)


def test_a_controller_beats_the_arm_that_lost_its_effect_and_not_the_one_that_kept_it(shown) -> None:
    truth, _, report = shown
    for summary in report.objectives:
        assert summary.arms["phase_scrambled"][0] == summary.arms["natural_raised"][0] == 5
        assert summary.arms["phase_scrambled"][1] == 5
        assert summary.arms["natural_raised"][1] <= 1
    for row in report.confirmatory("stretch"):
        arm = next(
            r for r in truth.key.of_role("arm") if r.arm == "phase_scrambled" and r.image_id == row.arm_images[r.arm]
        )
        assert (arm.objective, arm.target) == ("stretch", row.site)
        assert row.arm_differences[arm.arm] == pytest.approx(row.measured - row.arm_scores[arm.arm])
        assert 0 < row.arm_p[arm.arm] <= 0.01
    for row in report.confirmatory("one_hot"):
        scores = row.arm_scores["phase_scrambled"]
        assert 0 < scores < row.score < 1


def test_arms_and_graded_images_leave_every_verdict_as_it_is(shown) -> None:
    truth, responses, report = shown
    plain = Key(tuple(r for r in truth.key.rows if r.role not in ("arm", "graded")), truth.key.sites)
    kept = {r.image_id for r in plain.rows}
    alone = evaluate(responses.select(np.isin(responses.image_ids, list(kept))), plain, permutations=999)
    assert [r.verdict for r in alone.rows] == [r.verdict for r in report.rows]
    assert [r.image_id for r in alone.rows] == [
        r.image_id for r in report.rows
    ]  # neither an arm nor a graded image is a controller
    assert all(not r.arm_p and r.monotonic_p is None for r in alone.rows)
    assert all(s.arms == {} and s.monotonic_tested == 0 for s in alone.objectives)


def test_a_photograph_shown_as_a_reference_may_be_an_arm_of_several_controllers() -> None:
    truth, responses = planted()
    stretch = [r for r in truth.key.of_role("controller") if r.objective == "stretch"]
    photo = truth.key.of_role("natural")[0]
    both = " ".join(r.source_id for r in stretch[:2])
    rows = tuple(replace(r, arm="predicted_natural", parent=both) if r is photo else r for r in truth.key.rows)
    report = evaluate(responses, Key(rows, truth.key.sites), permutations=199)
    having = {r.image_id for r in report.rows if "predicted_natural" in r.arm_images}
    assert having == {r.image_id for r in stretch[:2]}
    assert {r.arm_images["predicted_natural"] for r in report.rows if r.image_id in having} == {photo.image_id}


def test_an_arm_that_was_never_shown_is_left_out(shown) -> None:
    truth, responses, _ = shown
    lost = next(r for r in truth.key.of_role("arm") if r.arm == "phase_scrambled" and r.objective == "stretch")
    report = evaluate(responses.select(responses.image_ids != lost.image_id), truth.key, permutations=199)
    row = next(r for r in report.confirmatory("stretch") if r.site == lost.target)
    assert set(row.arm_images) == set(row.arm_p) == set(row.arm_scores) == {"natural_raised"}
    assert next(s for s in report.objectives if s.objective == "stretch").arms["phase_scrambled"][0] == 4


# --- specificity -------------------------------------------------------------------------------------------------------


def test_specificity_counts_the_controllers_of_other_sites_that_score_lower_here(shown) -> None:
    _, responses, report = shown
    means = {i: responses.mean([i])[0] for i in {r.image_id for r in report.confirmatory()}}
    for row in report.confirmatory("stretch"):
        others = [r for r in report.confirmatory("stretch") if r.site != row.site]
        column = responses.site_ids.index(row.site)
        assert row.other_site_images == 4
        by_hand = np.mean([means[o.image_id][column] < means[row.image_id][column] for o in others])
        assert row.other_site_share == pytest.approx(by_hand)
        assert row.other_site_share == 1.0
        assert row.other_site_score == pytest.approx(max(means[o.image_id][column] for o in others), rel=0.1)


def test_a_controller_that_drives_every_site_is_not_specific() -> None:
    rng = np.random.default_rng(5)
    truth = make_truth(rng, sites=5, natural=6, objectives=("stretch",))
    means = truth.means.copy()
    means[[r.role == "controller" for r in truth.key.rows]] = 18.0
    report = evaluate(record(rng, replace(truth, means=means)), truth.key, permutations=199)
    assert sum(r.verdict == "control" for r in report.rows) >= 4
    assert np.mean([r.other_site_share for r in report.rows]) == pytest.approx(0.5, abs=0.3)


# --- contrast ----------------------------------------------------------------------------------------------------------


def test_contrasts_come_from_the_key_and_what_exceeds_is_counted() -> None:
    truth, responses = planted()
    limits = {"luminance": 0.2, "luminance_natural": 0.3, "local": 0.2, "local_natural": 0.3}
    sites = itertools.count()

    def measured(row: KeyRow) -> KeyRow:
        if row.role != "controller" or row.objective != "stretch":
            return row
        return replace(row, contrast={**limits, "local": 0.2 + 0.06 * next(sites)})

    key = Key(tuple(map(measured, truth.key.rows)), truth.key.sites)
    report = evaluate(responses, key, permutations=199)
    by = {s.objective: s for s in report.objectives}
    assert by["stretch"].exceeded == {"luminance": 0, "local": 3}
    assert by["stretch"].contrast_measured == 5
    assert by["one_hot"].contrast_measured == 0
    for row in report.confirmatory("stretch"):
        assert row.contrast_exceeded == ("local" if row.contrast["local"] > 0.3 else "")
    assert all(r.contrast_exceeded is None for r in report.confirmatory("one_hot"))
    assert "local 3 of 5 controllers" in report.summary()


def test_responses_that_rise_with_prediction_are_monotonic_and_scattered_ones_are_not() -> None:
    rising = evaluate(planted()[1], planted()[0].key, permutations=999)
    truth, responses = planted(levels=(1.6, 0.1, 0.2))
    rows = [replace(r, predicted={s: v * (0.1 if r.role == "controller" and s == r.target else 1) for s, v in r.predicted.items()}) for r in truth.key.rows]  # fmt: skip
    scattered = evaluate(responses, Key(tuple(rows), truth.key.sites), permutations=999)
    for objective in ("stretch", "one_hot"):
        up, down = (next(s for s in r.objectives if s.objective == objective) for r in (rising, scattered))
        assert up.monotonic_tested == down.monotonic_tested == 5
        assert up.monotonic >= 4
        assert down.monotonic <= 1
    for row in rising.confirmatory("stretch"):
        assert row.monotonic_images == 9  # five references, three graded images, the controller
        assert row.monotonic_rho > 0.5
    assert "sites (0% left out)" in rising.summary() or "sites (20% left out)" in rising.summary()


# --- empirical chance --------------------------------------------------------------------------------------------------


def setting_of(truth: Truth, responses: Responses) -> Setting:
    table = trial_table(responses, [r.image_id for r in truth.key.rows])
    scale, _ = natural_scale(table, truth.key, {})
    return Setting(
        table=table,
        key=truth.key,
        scale=scale,
        unit="spikes",
        alpha=0.01,
        permutations=999,
        seed=0,
        temperature=1.0,
        excluded={},
    )


@pytest.mark.parametrize("objective", ["stretch", "one_hot"])
def test_the_pseudo_controller_is_the_validators_choice_and_the_encoders_without_one(objective: str) -> None:
    truth, responses = planted()
    naturals = truth.key.of_role("natural")
    site = truth.key.site_ids[0]

    def with_validator(row: KeyRow) -> KeyRow:
        if row.role != "natural":
            return row
        favourite = row is naturals[3]
        return replace(row, validator_predicted={s: 20.0 if favourite and s == site else 2.0 for s in row.predicted})

    validated = replace(truth, key=Key(tuple(map(with_validator, truth.key.rows)), truth.key.sites))
    row = next(r for r in truth.key.of_role("controller") if (r.objective, r.target) == (objective, site))
    setting, by_encoder = setting_of(validated, responses), setting_of(truth, responses)
    chosen = pseudo_controller(setting, JUDGEMENTS[objective].score(setting, site), row)
    assert chosen == naturals[3].image_id
    other = pseudo_controller(by_encoder, JUDGEMENTS[objective].score(by_encoder, site), row)
    photographs = sorted([*naturals, *truth.key.of_role("reference")], key=lambda r: r.image_id)
    z = np.array([[(r.predicted[s] - 4.5) / 2.0 for s in truth.key.site_ids] for r in photographs])
    scores = z[:, 0] if objective == "stretch" else z[:, 0] - np.logaddexp.reduce(z, axis=1)
    assert other == photographs[int(scores.argmax())].image_id


def test_a_reference_that_takes_the_controllers_part_is_not_compared_with_itself() -> None:
    truth, responses = planted()
    site = truth.key.site_ids[0]
    row = next(r for r in truth.key.of_role("controller") if (r.objective, r.target) == ("stretch", site))
    own = sorted(r.image_id for r in truth.key.of_role("reference") if ("stretch", site) in r.reference_for)

    def predicted(r: KeyRow) -> KeyRow:
        return replace(r, validator_predicted=dict.fromkeys(truth.key.site_ids, 50.0 if r.image_id == own[2] else 1.0))

    favoured = replace(truth, key=Key(tuple(map(predicted, truth.key.rows)), truth.key.sites))
    setting = setting_of(favoured, responses)
    score = JUDGEMENTS["stretch"].score(setting, site)
    assert pseudo_controller(setting, score, row) == own[2]
    assert match_references(setting, score, row, without=own[2]).candidates == tuple(i for i in own if i != own[2])
    found = empirical_chance(setting, score, row)
    assert found["pseudo_image"] == own[2]
    assert 0 < found["pseudo_p"] <= 1


def test_a_single_reference_is_never_its_own_pseudo_controller() -> None:
    truth, responses = planted()
    key = one_reference(truth.key)
    site = key.site_ids[0]
    row = next(r for r in key.of_role("controller") if (r.objective, r.target) == ("stretch", site))
    own = next(r.image_id for r in key.of_role("reference") if ("stretch", site) in r.reference_for)
    high = tuple(replace(r, predicted=dict.fromkeys(r.predicted, 50.0)) if r.image_id == own else r for r in key.rows)
    setting = setting_of(replace(truth, key=Key(high, key.sites)), responses)
    score = JUDGEMENTS["stretch"].score(setting, site, row)
    chosen = pseudo_controller(setting, score, row)
    assert chosen not in (None, own)
    assert empirical_chance(setting, score, row)["pseudo_image"] == chosen
    alone = subset(Key(high, key.sites), lambda r: r.role != "natural" and (r.role != "reference" or r.image_id == own))
    lonely = setting_of(replace(truth, key=alone), responses)
    assert empirical_chance(lonely, JUDGEMENTS["stretch"].score(lonely, site, row), row) == {}


def test_a_pseudo_controller_that_equals_the_best_image_succeeds_as_often_as_the_level_says() -> None:
    rng, hits = np.random.default_rng(8), []
    for _ in range(30):
        truth = make_truth(rng, sites=6, natural=2, objectives=("stretch",))
        low = replace(
            truth, means=np.where([[r.role == "natural"] for r in truth.key.rows], 1.0, np.minimum(truth.means, 9))
        )
        rows = [
            replace(r, predicted=dict(zip(r.predicted, m, strict=True)))
            for r, m in zip(truth.key.rows, low.means, strict=True)
        ]
        key = Key(tuple(rows), truth.key.sites)
        report = evaluate(record(rng, replace(low, key=key), repeats=12), key, permutations=199, alpha=0.1)
        hits += [r.pseudo_p <= 0.1 for r in report.rows if r.pseudo_p is not None]
    assert len(hits) == 180
    assert stats.binomtest(sum(hits), len(hits), 0.1).pvalue > 0.01


def test_the_pseudo_controllers_test_has_as_many_permutations_as_the_verdict() -> None:
    """Its p may be smaller than a test of 20 / alpha permutations can give."""
    rng = np.random.default_rng(6)
    truth = make_truth(rng, sites=3, natural=1, objectives=("stretch",)).scaled("natural", 1.0, site=0)
    means = np.where([[r.role == "natural"] for r in truth.key.rows], 40.0, truth.means)
    rows = [
        replace(r, predicted=dict.fromkeys(r.predicted, 40.0)) if r.role == "natural" else r for r in truth.key.rows
    ]
    key = Key(tuple(rows), truth.key.sites)
    report = evaluate(record(rng, replace(truth, means=means)), key, permutations=4999, alpha=0.05)
    assert max(r.pseudo_p for r in report.rows) < 1 / 1000


def test_beating_some_references_is_not_called_beating_all() -> None:
    rng = np.random.default_rng(9)
    truth = make_truth(rng, sites=3, objectives=("stretch",)).scaled("controller", 3.0)
    responses = record(rng, truth, missing=0.0)
    site = truth.key.site_ids[0]
    own = sorted(r.image_id for r in truth.key.of_role("reference") if ("stretch", site) in r.reference_for)
    whole = next(r for r in evaluate(responses, truth.key, permutations=999).rows if r.site == site)
    assert (whole.verdict, whole.strict, len(whole.p_each), whole.reason) == ("control", True, 5, "")
    fewer = responses.select(~np.isin(responses.image_ids, own[:3]))
    row = next(r for r in evaluate(fewer, truth.key, permutations=999).rows if r.site == site)
    assert (row.verdict, row.strict, len(row.p_each)) == ("control", None, 2)
    assert row.reason == "strict not told: 3 of 5 references lack trials"


def test_an_arm_with_too_few_trials_has_a_difference_and_no_p() -> None:
    truth, responses = planted()
    arms = {r.image_id for r in truth.key.rows if r.arm}
    assert arms
    shown = dict.fromkeys(arms, 0)
    keep = np.ones(len(responses.values), dtype=bool)
    for i, image in enumerate(responses.image_ids):
        if image in arms:
            shown[image] += 1
            keep[i] = shown[image] <= 2
    report = evaluate(responses.select(keep), truth.key, permutations=999, alpha=0.0011)
    rows = [r for r in report.rows if r.arm_differences]
    assert rows
    assert all(not r.arm_p or min(r.arm_p.values()) <= 1 for r in rows)
    few = [r for r in rows if len(r.arm_p) < len(r.arm_differences)]
    assert few
    assert all(n <= len(rows) for s in report.objectives for n, _ in s.arms.values())


# --- what is written ---------------------------------------------------------------------------------------------------


def test_averages_have_arms_specificity_and_levels_without_tests(shown) -> None:
    truth, responses, _ = shown
    images = [r.image_id for r in truth.key.rows]
    averaged = Responses(
        values=responses.mean(images), image_ids=np.array(images), site_ids=responses.site_ids, unit="spikes", window_ms=(70.0, 170.0),
        averaged_over=responses.repeats(images)[:, 0],
    )  # fmt: skip
    report = evaluate(averaged, truth.key)
    for row in report.confirmatory("stretch"):
        assert row.verdict == "not testable"
        assert row.arm_p == {}
        assert row.arm_differences["phase_scrambled"] == pytest.approx(row.measured - row.arm_scores["phase_scrambled"])
        assert row.other_site_images == 4
        assert row.monotonic_images == 9


def test_json_and_csv_keep_what_is_beside_the_verdicts(shown, tmp_path) -> None:
    _, _, report = shown
    report.to_json(tmp_path / "evaluation.json")
    assert ControlReport.from_json(tmp_path / "evaluation.json") == report
    report.to_csv(tmp_path / "control.csv")
    header, first, *_ = (tmp_path / "control.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells["arm_p"].startswith("natural_raised:")
    assert float(cells["other_site_share"]) == report.rows[0].other_site_share
    text = report.summary()
    assert "against the arm phase scrambled: 5 of 5 controllers above it" in text
    assert "controllers of other sites that drive a site less than its own: 100%" in text


def test_evaluations_written_before_arms_existed_are_still_read(shown, tmp_path) -> None:
    _, _, report = shown
    data = report.to_dict()
    new = ("arm_", "contrast", "other_site_", "monotonic", "exceeded", "arms")
    for part in ("rows", "objectives"):
        data[part] = [{k: v for k, v in row.items() if not k.startswith(new)} for row in data[part]]
    (tmp_path / "old.json").write_text(json.dumps(data))
    old = ControlReport.from_json(tmp_path / "old.json")
    assert [r.verdict for r in old.rows] == [r.verdict for r in report.rows]
    assert old.objectives[0].arms == {}
