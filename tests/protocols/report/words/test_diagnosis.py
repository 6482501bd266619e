"""The three sentences on a round: right in every state, and never against the tables of the same page."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.project.objectives import OBJECTIVES, objective_named
from protocols.report.words.diagnosis import Diagnosis, diagnose, not_evaluated
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow, ObjectiveSummary

ALPHA = 0.01
PAIR = re.compile(r"(\d+) of (\d+)")


def row(objective: str, i: int, verdict: str, **more) -> ControlRow:
    return ControlRow(objective, f"v4_{i:03d}", f"{objective}_{i}", True, verdict=verdict, **more)


def summary(objective: str, rows: list[ControlRow], **more) -> ObjectiveSummary:
    """The counts of `rows`, and no more than `more` says."""
    counts = {v: sum(r.verdict == v for r in rows) for v in ("control", "no control", "not testable", "excluded")}
    zero = dict.fromkeys(
        ("low", "high", "empirical_tested", "empirical_successes", "empirical_low", "empirical_high", "listed", "strict",
         "strict_tested", "suppressed", "suppression_tested"), 0
    )  # fmt: skip
    known = {
        "tested": counts["control"] + counts["no control"],
        "successes": counts["control"],
        "not_testable": counts["not testable"],
        "excluded": counts["excluded"],
        "chance": ALPHA,
        "group_p": 0.001 if counts["control"] else None,
    }
    return ObjectiveSummary(objective=objective, **{**zero, **known, **more})


def report(*parts: tuple[ObjectiveSummary, list[ControlRow]]) -> ControlReport:
    return ControlReport(
        unit="spikes", alpha=ALPHA, permutations=99, seed=0, temperature=1.0, trials=10, trials_used=10, one_hot_sites=(),
        rows=tuple(r for _, rows in parts for r in rows), objectives=tuple(s for s, _ in parts), consistency=(),
    )  # fmt: skip


def of(*verdicts: str, objective: str = "stretch", reason: str = "", **more) -> Diagnosis:
    rows = [row(objective, i, v, reason=reason) for i, v in enumerate(verdicts)]
    return diagnose(report((summary(objective, rows, **more), rows)))


SEEN = {
    "median_size": 0.3,
    "size_unit": "fraction",
    "expected_successes": 2.5,
    "expected_listed": 2.5,
    "size_at_half": 0.2,
}


# --- states -----------------------------------------------------------------------------------------------------------


def test_all_found_asks_to_find_it_again() -> None:
    told = of("control", "control", "control", **SEEN)
    assert told.found == "Stretch: control at 3 of 3 tested sites."
    assert (
        told.possible == "An effect of the median measured size (+30%) at every site would be found at about 2.5 of 3."
    )
    assert told.following.startswith("Refit the encoder with this round")


def test_none_found_where_it_would_have_been_found_is_said_to_be_none() -> None:
    told = of("no control", "no control", "no control", **SEEN)
    assert told.found == "Stretch: no control at any of 3 tested sites."
    assert told.following.startswith("Do not repeat the round as it is")


def test_noise_that_hides_the_effect_is_named_and_asks_for_more_trials() -> None:
    told = of("no control", "no control", "no control", **SEEN | {"expected_successes": 0.4})
    assert told.possible.endswith('at about 0.4 of 3, so that "no control" says little here.')
    assert told.following == "Show fewer sites more often: the trials are too few for the noise."


def test_an_effect_on_the_wrong_side_is_no_question_of_trials() -> None:
    told = of("no control", "no control", **SEEN | {"median_size": -0.1, "expected_successes": 0.0})
    assert told.possible.startswith("The median effect (-10%) is not above the references, and half of the sites")
    assert told.following.startswith("Look whether the responses follow the predictions")
    low = of(
        "no control",
        "no control",
        objective="suppress",
        median_size=-0.1,
        size_unit="natural SD",
        expected_successes=0.0,
    )
    assert "(-0.10 natural SD) is not below the references, and no size would be found" in low.possible


def test_nothing_could_have_been_found_with_so_few_trials_or_with_averages() -> None:
    reason = "smallest reachable p 0.0286 with 4 against 4 trials: at least 8 repeats of every image are needed"
    told = of("not testable", "not testable", reason=reason)
    assert told.found == "Stretch: no site could be tested (2 not testable)."
    assert told.possible == "Nothing could have been found, since none of 2 sites could be tested."
    assert told.following == (
        "Show controllers and references more often, or fewer sites: smallest reachable p 0.0286 with 4 against 4 trials "
        "(2 controllers)."
    )
    assert of("not testable", reason="averages only").following == "Deliver single trials: averages cannot be tested."


def test_many_excluded_sites_come_first() -> None:
    told = of("control", "excluded", "excluded", reason="lost: tuning changed. r 0.1", **SEEN)
    assert told.found == "Stretch: control at 1 of 1 tested site (2 left out)."
    assert told.following == "Find out first why sites are left out: lost: tuning changed (2 controllers)."
    assert of("excluded", reason="x").following == "Find out first why every site is left out: x."


def test_arms_that_do_as_well_as_their_controller_are_told_and_come_before_claims() -> None:
    rows = [
        row("stretch", 0, "control", arm_differences={"contrast_matched": -0.5, "phase_scrambled": 3.0}),
        row("stretch", 1, "control", arm_differences={"contrast_matched": 0.0}),
        row("stretch", 2, "control", arm_differences={"contrast_matched": 1.0}),
        row("stretch", 3, "no control", arm_differences={"phase_scrambled": -9.0}),
    ]
    told = diagnose(report((summary("stretch", rows, **SEEN), rows)))
    assert (
        "at 2 of 3 controlled sites with a control arm it did at least as well (most often contrast matched)"
        in told.found
    )
    assert told.following.startswith("Look at the control arms before anything is claimed")


def test_chosen_photographs_and_chance_are_told() -> None:
    told = of("control", "no control", empirical_tested=2, empirical_successes=1, group_p=0.3, **SEEN)
    assert "photographs that prediction chose do as well (1 of 2)" in told.found
    assert "all sites together show no control (group p 0.3), so this may be chance" in told.found


def test_interim_looks_evolution_and_foreign_objectives_have_their_words() -> None:
    rows = [row("stretch", 0, "control", stage_p={"1": 0.001}, generator="evolution"), row("stretch", 1, "no control")]
    told = diagnose(report((summary("stretch", rows), rows)))
    assert told.possible == "What a true effect would have given is not told of a round with interim looks."
    strange = [row("new_aim", 0, "excluded", reason="objective 'new_aim' has no control score; known: stretch")]
    told = diagnose(report((summary("new_aim", strange), strange)))
    assert told.found == "New_aim: no site could be tested (1 left out)."
    assert diagnose(report()).possible == "Nothing could have been found."
    assert not_evaluated("show the round").following == "Show the round."


# --- never against the tables -------------------------------------------------------------------------------------------

VERDICT = st.sampled_from(["control", "no control", "not testable", "excluded"])
SMALL = st.integers(0, 40)


@st.composite
def parts(draw: st.DrawFn) -> tuple[ObjectiveSummary, list[ControlRow]]:
    """Rows of one objective and counts that go with them; the rest is anything that an evaluation can write."""
    objective = draw(st.sampled_from([*OBJECTIVES, "new_aim"]))
    number, looks = st.floats(-3, 3), draw(st.booleans())
    rows = [
        row(
            objective, i, verdict,
            reason=draw(st.sampled_from(["", "lost", "averages only", "<b>&. Then", "smallest reachable p 0.1: more"])),
            arm_differences=draw(st.dictionaries(st.sampled_from(["contrast_matched", "of_tomorrow"]), number, max_size=2)),
            generator=draw(st.sampled_from(["gradient", "evolution"])),
            stage_p={"1": 0.5} if looks else {},
        )
        for i, verdict in enumerate(draw(st.lists(VERDICT, max_size=9)))
    ]  # fmt: skip
    tested = sum(r.verdict in ("control", "no control") for r in rows)
    won = draw(st.integers(0, tested))
    sizes = {}
    if tested >= 2 and not looks and draw(st.booleans()):
        sizes = {
            "median_size": draw(number), "size_unit": draw(st.sampled_from(["fraction", "natural SD"])),
            "expected_successes": draw(st.floats(0, tested)), "expected_listed": draw(st.floats(0, tested)),
            "size_at_half": draw(st.none() | st.floats(0, 9)),
        }  # fmt: skip
    more = {"listed": draw(st.integers(0, tested)), "group_p": draw(st.none() | st.floats(0.0001, 1))}
    return summary(objective, rows, empirical_tested=tested, empirical_successes=won, **more, **sizes), rows


def test_nothing_found_is_not_to_be_found_again() -> None:
    """Neither in a round with interim looks nor with one site, where what could have been found is not known."""
    looked_at = [row("stretch", i, "no control", stage_p=(0.4, 0.6)) for i in range(4)]
    for told in (of("no control"), diagnose(report((summary("stretch", looked_at), looked_at)))):
        assert told.found.startswith("Stretch: no control at any of")
        assert told.following.startswith(
            "Refit the encoder with this round and show new controllers: whether an effect"
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(parts(), max_size=3, unique_by=lambda part: part[0].objective))
def test_the_sentences_never_contradict_the_tables(listed: list[tuple[ObjectiveSummary, list[ControlRow]]]) -> None:
    told = diagnose(report(*listed))
    for _, sentence in told.lines:
        assert sentence.endswith(".")
        assert not re.search(r"\.\s", sentence)  # one sentence
        assert "\n" not in sentence
    for counts, rows in listed:
        label = objective_named(counts.objective).label
        (clause,) = (c for c in told.found.split("; ") if c.lower().startswith(f"{label.lower()}: ") and "site" in c
                     and ("no control at any" in c or "control at" in c or "could be tested" in c) and "with a control arm" not in c)  # fmt: skip
        if counts.successes:
            assert PAIR.findall(clause)[0] == (str(counts.successes), str(counts.tested))
            assert "no control" not in clause
        elif counts.tested:
            assert f"no control at any of {counts.tested} tested site" in clause
        else:
            assert "no site could be tested" in clause
        assert (f"{counts.not_testable} not testable" in clause) == bool(counts.not_testable)
        assert (f"{counts.excluded} left out" in clause) == bool(counts.excluded)
        lost = sum(
            bool(r.arm_differences) and min(r.arm_differences.values()) <= 0 for r in rows if r.verdict == "control"
        )
        shown = sum(bool(r.arm_differences) for r in rows if r.verdict == "control")
        if lost:
            assert f"at {lost} of {shown} controlled sites with a control arm it did at least as well" in told.found
    if not any(s.successes for s, _ in listed):
        assert not re.search(r"control at \d", told.found)
        assert "with a control arm" not in told.found
        assert "found again" not in told.following, "nothing was found before"
    if all(not s.tested for s, _ in listed):
        assert "othing could have been found" in told.possible
    for counts, _ in listed:
        if counts.expected_successes is not None and (counts.median_size or 0) > 0:
            assert f"at about {counts.expected_successes:.1f} of {counts.tested}" in told.possible


def test_a_hostile_reason_stays_one_short_sentence() -> None:
    told = of("excluded", reason="<script>alert(1)</script>. " + "x" * 500 + "\nnext")
    assert told.following == "Find out first why every site is left out: <script>alert(1)</script>."
    assert len(of("excluded", reason="word " * 400).following) < 160


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_is_named_by_its_label(objective: str) -> None:
    rows = [row(objective, 0, "control"), row(objective, 1, "no control")]
    told = diagnose(report((replace(summary(objective, rows), **SEEN), rows)))
    label = objective_named(objective).label
    assert told.found == f"{label[0].upper()}{label[1:]}: control at 1 of 2 tested sites."
