"""The table beside the verdicts: only what was shown has a column, and what exceeds is named."""

from __future__ import annotations

from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.report.beside import arms_notes, arms_sentences, beside
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow, ObjectiveSummary

CONTRAST = {"luminance": 0.25, "luminance_natural": 0.3, "local": 0.4, "local_natural": 0.31}


def summary(**changed) -> ObjectiveSummary:
    counts = dict.fromkeys(
        ("tested", "successes", "low", "high", "chance", "empirical_tested", "empirical_successes", "empirical_low",
         "empirical_high", "group_p", "listed", "strict", "strict_tested", "suppressed", "suppression_tested", "not_testable", "excluded"), 0
    )  # fmt: skip
    return ObjectiveSummary("stretch", **{**counts, **changed})


def report(*summaries: ObjectiveSummary) -> ControlReport:
    return ControlReport(
        unit="spikes",
        alpha=0.01,
        permutations=999,
        seed=0,
        temperature=1.0,
        trials=10,
        trials_used=10,
        one_hot_sites=(),
        rows=(),
        objectives=summaries,
        consistency=(),
    )


def test_only_what_was_shown_has_a_column() -> None:
    bare = beside(summary(), [ControlRow("stretch", "v4_001", "a", True)])
    assert bare == {"sentence": "", "header": [], "lines": []}
    rows = [
        ControlRow(
            "stretch", "v4_001", "a", True, contrast=CONTRAST, contrast_exceeded="local",
            arm_differences={"phase_scrambled": 2.5}, arm_p={"phase_scrambled": 0.004}, other_site_images=4, other_site_share=0.75,
            monotonic_images=9, monotonic_rho=0.9, monotonic_p=0.001,
        ),
        ControlRow("stretch", "v4_002", "b", True, arm_differences={"phase_scrambled": -1.0}),
    ]  # fmt: skip
    made = beside(
        summary(arms={"phase_scrambled": (1, 1)}, contrast_measured=1, exceeded={"luminance": 0, "local": 1}, monotonic=1, monotonic_tested=1, other_site_share=0.75), rows
    )  # fmt: skip
    assert made["header"] == [
        "above the arm\nphase scrambled (p)",
        "luminance contrast\n(photographs' 95 %)",
        "local contrast\n(photographs' 95 %)",
        "other sites' controllers\nbelow it",
        "graded images: rank\ncorrelation with prediction (p)",
    ]
    assert made["lines"] == [
        ["v4_001", "+2.50 (0.004)", "0.250 (0.300)", "0.400 (0.310), above", "75% of 4", "0.90 (0.001)"],
        ["v4_002", "-1.00", "-", "-", "-", "-"],
    ]
    assert made["sentence"].startswith("Against the arm phase scrambled: 1 of 1 controllers above it. ")
    assert "local 1 of 1 controllers" in made["sentence"]


def test_the_methods_paragraph_names_what_was_shown_and_nothing_else() -> None:
    config = Config(display=Display(width_px=64, height_px=64, size_deg=4.0))
    assert arms_sentences(config, report(summary())) == ""
    text = arms_sentences(config, report(summary(arms={"natural_raised": (3, 2)}, monotonic_tested=3)))
    assert "scaled to the controller's contrast there" in text
    assert "random phases" not in text
    assert "Spearman" in text
    assert "chroma" not in text
    assert "at most 8 presentations each" in text  # the planner may show fewer
    by_hand = config.model_copy(update={"protocol": ProtocolConfig(repeats=24)})
    text = arms_sentences(by_hand, report(summary(arms={"natural_raised": (3, 2)}, monotonic_tested=3)))
    assert "As control arms, 8 presentations each" in text
    assert "were shown 8 times each" in text


def test_what_was_cut_or_skipped_is_told_once_a_reason() -> None:
    assert arms_notes([{"event": "export"}]) == []
    skipped = [
        [
            "contrast_matched",
            "stretch",
            "v4_001",
            "the controller's local contrast 0.123 is not above the photographs' median 0.200",
        ],
        [
            "contrast_matched",
            "one_hot",
            "v4_002",
            "the controller's local contrast 0.100 is not above the photographs' median 0.210",
        ],
    ]
    old = {"event": "arms", "cut": {}, "reasons": []}
    told = arms_notes([old, {"event": "arms", "cut": {"phase_scrambled": 3}, "reasons": skipped}])
    assert told == [
        "control arms cut by the budget: phase_scrambled 3",
        "control arm contrast matched not shown for v4_001 (stretch), v4_002 (one_hot): the controller's local contrast is not above "
        "the photographs' median",
    ]
    assert arms_notes([{"event": "arms", "cut": {}, "reasons": []}]) == []


def test_an_arm_that_this_version_does_not_know_is_shown_by_its_name() -> None:
    rows = [
        ControlRow("stretch", "v4_001", "a", True, arm_differences={"of_another_version": 1.0, "phase_scrambled": 2.0})
    ]
    made = beside(summary(arms={"of_another_version": (1, 0)}), rows)
    assert made["header"] == ["above the arm\nphase scrambled (p)", "above the arm\nof another version (p)"]
    assert made["lines"] == [["v4_001", "+2.00", "+1.00"]]
    config = Config(display=Display(width_px=64, height_px=64, size_deg=4.0))
    assert "of another version (an arm of another version)" in arms_sentences(
        config, report(summary(arms={"of_another_version": (1, 0)}))
    )
