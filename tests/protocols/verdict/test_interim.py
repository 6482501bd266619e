"""Interim looks on stages whose p values are given: what is decided, when, and what the whole round's report says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.project.key import Key, KeyRow
from protocols.project.looks import Looks, look_blocks, looks_of
from protocols.recordings.responses import Responses
from protocols.stats.stages import boundaries, repeated_p
from protocols.verdict.control_report import ControlReport
from protocols.verdict.looks.interim import Decision, combine, decide, evaluate_stages, stage_report, stage_reports
from protocols.verdict.records import ControlRow
from protocols.verdict.summary import _count
from tests.protocols.helpers.simulated_rounds import make_truth, one_reference, record

ONE, TWO = Looks(after=(2,), blocks=4), Looks(after=(2, 3), blocks=4)


def stage(
    ps: dict[str, float | None], group: float | None = None, *, smallest: float = 1e-4, listed=()
) -> ControlReport:
    """A report of confirmatory controllers with these p values, by site; None: excluded."""
    rows = tuple(
        ControlRow(
            "stretch", site, f"c_{site}", confirmatory=True, p=p, smallest_p=None if p is None else smallest,
            verdict="excluded" if p is None else "no control", reason="lost" if p is None else "", bh=site in listed,
        )
        for site, p in ps.items()
    )  # fmt: skip
    setting = type("Setting", (), {"alpha": 0.01})()
    summary = _count(setting, "stretch", rows, group_p=group)
    return ControlReport(
        unit="spikes", alpha=0.01, permutations=9999, seed=0, temperature=1.0, trials=1, trials_used=1,
        one_hot_sites=(), rows=rows, objectives=(summary,), consistency=(),
    )  # fmt: skip


def made(reports, looks) -> list[Decision]:
    """The decisions where a look was made after every stage."""
    found: list[Decision] = []
    for number in range(1, len(reports) + 1):
        found = decide(reports[:number], looks, found)
    return found


def decided(reports, looks) -> dict[str, tuple[str, int]]:
    return {d.site: (d.decision, d.look) for d in made(reports, looks)}


def test_a_look_stops_for_success_and_for_futility():
    first = stage({"a": 1e-4, "b": 0.9, "c": 0.02, "d": None})
    found = {d.site: d for d in decide([first], ONE)}
    assert {s: d.decision for s, d in found.items()} == {
        "a": "success", "b": "futile", "c": "undecided", "d": "undecided"
    }  # fmt: skip
    assert found["b"].power < 0.05 < found["c"].power
    assert found["d"].power is None
    assert found["a"].p <= 0.01 < found["c"].p


def test_what_one_look_decided_stays_and_the_end_gives_nobody_up():
    first, second = stage({"a": 1e-4, "b": 0.9, "c": 0.02}), stage({"b": 1e-4, "c": 0.9})
    assert decided([first, second], TWO) == {"a": ("success", 1), "b": ("futile", 1), "c": ("futile", 2)}
    assert decided([first, second], ONE)["c"] == ("undecided", 2)
    assert decided([None, stage({"c": 1e-6})], ONE)["c"] == ("success", 2)


def test_futility_does_not_bind_and_zero_gives_nobody_up():
    first, second = stage({"b": 0.8}), stage({"b": 1e-4})
    whole = combine(stage({"b": 0.01}), [first, second], ONE, decisions=made([first], ONE))
    z = (-0.8416 + 3.7190) / np.sqrt(2)  # normal quantiles of the two
    assert z < boundaries(0.01, ONE.shares, "obrien_fleming")[1]
    assert (whole.rows[0].verdict, whole.rows[0].stopped) == ("no control", "look 1: futile")
    assert combine(stage({"b": 0.01}), [first, stage({"b": 1e-6})], ONE).rows[0].verdict == "control"
    never = Looks(after=(2,), blocks=4, futility=0.0)
    assert decided([first], never)["b"] == ("undecided", 1)


@pytest.mark.parametrize("seed", range(8))
def test_a_look_that_was_not_made_decides_nothing(seed):
    """Any p values, any of two looks made: decisions stand at looks that were made, of the power that there was then."""
    rng = np.random.default_rng(seed)
    sites, looks = [f"s{i}" for i in range(12)], Looks(after=(4, 6), blocks=8)
    reports = [stage({s: float(p) for s, p in zip(sites, rng.random(12) ** 3, strict=True)}) for _ in range(3)]
    for these in ((), (1,), (2,), (1, 2)):
        found: list[Decision] = []
        for look in these:
            before, found = {d.pair: d for d in found}, decide(reports[:look], looks, found)
            for d in found:
                if d.look < look:
                    assert d == before[d.pair]
                else:
                    fresh = next(each for each in decide(reports[:look], looks) if each.pair == d.pair)
                    assert d == fresh
                    assert len(d.stage_p) == look
        rows = combine(stage(dict.fromkeys(sites, 0.5)), reports, looks, decisions=found).rows
        expected = {d.site: f"look {d.look}: {d.decision}" for d in found if d.decision != "undecided"}
        assert {r.site: r.stopped for r in rows if r.stopped} == expected
        assert {d.look for d in found} <= set(these)
    assert decide([stage({"a": 0.4}), stage({"a": 0.0005})], looks)[0].decision == "undecided"  # futile at look 1


def test_the_report_of_the_round_is_made_of_the_stages():
    first = stage({"a": 1e-4, "b": 0.9, "c": 0.02, "d": None}, group=0.001)
    second = stage({"c": 0.003, "d": None}, group=0.003)
    whole = stage({"a": 0.5, "b": 0.5, "c": 0.5, "d": None}, group=0.5, listed=("b",))
    found = combine(whole, [first, second], ONE, decisions=made([first], ONE))
    rows = {r.site: r for r in found.rows}
    assert {s: r.verdict for s, r in rows.items()} == {
        "a": "control", "b": "no control", "c": "control", "d": "excluded"
    }  # fmt: skip
    assert {s: r.stopped for s, r in rows.items()} == {"a": "look 1: success", "b": "look 1: futile", "c": "", "d": ""}
    assert rows["c"].stage_p == {"1": 0.02, "2": 0.003}
    assert rows["c"].p == pytest.approx(repeated_p([0.02, 0.003], (0.5, 1.0), "obrien_fleming"))
    assert {s: r.bh for s, r in rows.items()} == {"a": True, "b": False, "c": True, "d": False}
    summary = found.objectives[0]
    assert (summary.tested, summary.successes, summary.listed, summary.excluded) == (3, 2, 2, 1)
    assert summary.group_p == pytest.approx(repeated_p([0.001, 0.003], (0.5, 1.0), "obrien_fleming"))
    assert found.objectives[0].group_p < 0.01


def test_stages_that_cannot_reach_alpha_are_not_testable():
    first, second = (stage({"a": 0.1}, smallest=0.1) for _ in range(2))
    row = combine(stage({"a": 0.02}, smallest=0.02), [first, second], ONE).rows[0]
    assert (row.verdict, row.smallest_p) == (
        "not testable", pytest.approx(repeated_p([0.1, 0.1], ONE.shares, "obrien_fleming"))
    )  # fmt: skip


@pytest.mark.parametrize(
    ("p", "smallest", "tied", "silent_p", "verdict", "reason"),
    [
        (1e-6, 1e-6, 0.0, 0.2, "control", ""),
        (0.5, 1e-6, 0.0, 1e-3, "no control", ""),
        (0.5, 1e-6, 0.0, 0.2, "no control", "no room below the reference: it evokes 0.3 spikes, and silence would"),
        (
            0.5,
            1e-6,
            0.3,
            0.2,
            "not testable",
            "no room below the reference: it evokes 0.3 spikes, and p could not fall",
        ),
        (0.5, 0.4, 0.4, 0.2, "not testable", "smallest reachable p"),
    ],
)
@pytest.mark.parametrize("before", ["control", "no control", "not testable"])
def test_a_verdict_of_stages_has_its_own_reason(before, p, smallest, tied, silent_p, verdict, reason):
    """Whatever the round as a whole said, and why."""
    whole = stage({"a": 0.02})
    old = replace(whole.rows[0], verdict=before, reason="an old reason", room=0.3, silent_p=silent_p)
    stages = [stage({"a": p}, smallest=smallest) for _ in range(2)]
    stages = [replace(s, rows=(replace(s.rows[0], tied_p=tied),)) for s in stages]
    row = combine(replace(whole, rows=(old,)), stages, ONE).rows[0]
    assert (row.verdict, row.reason[: len(reason)]) == (verdict, reason)
    assert bool(row.reason) == bool(reason)


def test_a_stage_without_a_chance_says_nothing():
    empty = stage({"a": 1.0, "b": 0.001}, smallest=1.0)
    empty = replace(empty, rows=(replace(empty.rows[0], verdict="not testable"), empty.rows[1]))
    found = {d.site: d for d in decide([stage({"a": 0.001, "b": 0.001}), empty], ONE)}
    assert (found["a"].stage_p, found["b"].stage_p) == ((0.001, None), (0.001, 0.001))
    rows = combine(stage({"a": 0.01, "b": 0.01}), [stage({"a": 1e-5, "b": 0.001}), empty], ONE).rows
    assert (rows[0].stage_p, rows[0].verdict) == ({"1": 1e-5}, "control")


@pytest.mark.parametrize(("lost", "tested"), [("one", ["1"]), ("all", ["1"]), ("none", ["1", "2"])])
def test_a_stage_that_lost_its_comparison_leaves_the_others(lost, tested):
    """In stage 2 a controller is seen in one block and its reference in the other: no relabelling, smallest p 1."""
    rng = np.random.default_rng(2)
    known = make_truth(rng, sites=2, natural=2, objectives=("stretch",)).scaled("controller", 4.0)
    responses, key = record(rng, known, repeats=32), one_reference(known.key)
    first = key.of_role("controller")[0]
    pairs = {
        (r.objective, r.target) for r in key.of_role("controller") if lost == "all" or (lost == "one" and r == first)
    }
    cut = [r.image_id for r in key.of_role("controller") if (r.objective, r.target) in pairs]
    late = [r.image_id for r in key.of_role("reference") if pairs & set(r.reference_for)]
    gone = np.isin(responses.image_ids, cut) & (responses.block == 2)
    gone |= np.isin(responses.image_ids, late) & (responses.block == 3)
    used = responses.select(np.flatnonzero(~gone))
    rows = evaluate_stages(used, key, ONE, alpha=0.01, permutations=4999).rows
    assert {r.site: r.stage_p.keys() for r in rows}[first.target] == dict.fromkeys(tested).keys()
    assert all(list(r.stage_p) == ["1", "2"] for r in rows if r.site != first.target and lost != "all")
    assert {r.verdict for r in rows} == {"control"}
    assert {r.stopped for r in rows} == {""}


def test_the_notes_say_which_p_ignore_the_looks():
    notes = combine(stage({"a": 0.5}), [stage({"a": 0.5})], ONE).notes
    assert any("suppression" in n and "arms" in n and "as if nobody had looked" in n for n in notes)


def test_a_stage_sees_its_own_trials_alone():
    rng = np.random.default_rng(0)
    known = make_truth(rng, sites=2, natural=2, objectives=("stretch",)).scaled("controller", 2.0)
    responses = record(rng, known)
    tests = {"permutations": 199, "seed": 3}
    reports = stage_reports(responses, known.key, ONE, **tests)
    mine = responses.select(responses.block >= 2)
    alone = stage_report(mine, known.key, permutations=199, seed=4)
    assert [r.p for r in reports[1].rows] == [r.p for r in alone.rows]
    changed = replace(responses, values=np.where((responses.block < 2)[:, None], 0.0, responses.values))
    assert [r.p for r in stage_reports(changed, known.key, ONE, **tests)[1].rows] == [r.p for r in alone.rows]
    whole = evaluate_stages(responses, known.key, ONE, alpha=0.01, permutations=199, seed=3)
    assert [r.stage_p["2"] for r in whole.rows if r.p is not None] == [r.p for r in alone.rows]
    with pytest.raises(ValueError, match="with their blocks"):
        stage_reports(
            Responses(values=np.ones((1, 1)), image_ids=np.array(["a"]), site_ids=("s",), unit="spikes"), known.key, ONE
        )


def test_when_looks_come():
    assert [look_blocks(1, (), n) for n in (2, 3, 4, 6)] == [(1,), (1,), (2,), (3,)]
    assert [look_blocks(2, (), n) for n in (3, 4, 8)] == [(1, 2), (2, 3), (4, 6)]
    assert look_blocks(1, (3,), 4) == (3,)
    assert TWO.shares == (0.5, 0.75, 1.0)
    assert TWO.stage_of(np.arange(4)).tolist() == [0, 0, 1, 2]
    settings = {"looks": 2, "look_after": [1, 3], "alpha": 0.02, "spending": "pocock", "futility": 0.1}
    manifest = {"config": {"evaluation": settings}, "design": {"blocks": 5}, "counts": {"controller": 3}}
    assert looks_of(manifest) == Looks(after=(1, 3), blocks=5, alpha=0.02, spending="pocock", futility=0.1)
    assert looks_of(manifest | {"counts": {"controller": 0}}) is None  # a baseline round
    assert looks_of({}) is None
    for after in ((), (0,), (4,), (2, 2)):
        with pytest.raises(ValueError, match="looks after"):
            Looks(after=after, blocks=4)


def test_no_row_of_a_key_without_its_controller():
    key = Key((KeyRow("n", "n", "natural"),))
    responses = Responses(values=np.ones((1, 1)), image_ids=np.array(["n"]), site_ids=("s",), unit="spikes")
    assert stage_report(responses, key) is None
