"""The report page and its blocks, on a small project written by hand: what stands on the page, what is escaped, what is missing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from protocols.cli.app import app
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.project.key import Key, KeyRow
from protocols.recordings.drift import RoundDrift, SiteDrift
from protocols.recordings.responses import Responses
from protocols.report.drift import drift_sentences, drift_text
from protocols.report.page import LIMIT_BYTES, write_report
from protocols.report.rounds import drift_so_far, learning_lines, learning_so_far
from protocols.report.sites import ImageTrials, field_circle, grids, tunings
from protocols.verdict.control_report import ControlReport
from protocols.verdict.records import ControlRow
from tests.protocols.helpers.reported_project import DISPLAY, make


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make(tmp_path_factory.mktemp("page") / "p", {"synthesis": {"temperature": 1.0}})


@pytest.fixture(scope="module")
def told(project: Project) -> str:
    """What `stimsynth evaluate` prints."""
    return CliRunner().invoke(app, ["evaluate", str(project.folder)], catch_exceptions=False).output


@pytest.fixture(scope="module")
def page(project: Project, told: str) -> str:
    return write_report(project, project.round(1)).read_text(encoding="utf-8")


# --- the page ------------------------------------------------------------------------------------------------------------


def test_the_command_line_tells_the_drift_after_the_verdicts(project: Project, told: str) -> None:
    drift = RoundDrift.from_json(project.round(1).drift_path)
    assert drift is not None
    assert told.index("stretch:") < told.index("Drift against the baseline:")
    for note in drift.notes:
        assert f"{note[0].upper()}{note[1:]}." in told
    printed = CliRunner().invoke(app, ["--json", "evaluate", str(project.folder)], catch_exceptions=False).output
    assert json.loads(printed)["drift"] == json.loads(project.round(1).drift_path.read_text())


def test_every_controller_stands_once_in_its_grid_and_every_image_once_in_the_page(project: Project, page: str) -> None:
    report = ControlReport.from_json(project.round(1).evaluation_path)
    assert len(report.rows) == 12
    cells = re.findall(r'aria-label="controller of (v4_\d+), seed (\d)"', page)
    assert sorted(cells) == sorted((r.site, str(r.seed)) for r in report.rows)
    assert page.count("<b>confirmatory</b>") == 6
    shown = {r.image_id for r in report.rows} | {r.reference_image for r in report.rows if r.reference_image}
    assert sorted(re.findall(r'<image id="i-(\w+)"', page)) == sorted(shown)
    assert set(re.findall(r'<use href="#i-(\w+)"', page)) == shown
    assert page.count("data:image/webp") == len(shown)
    assert len(page.encode()) < LIMIT_BYTES


def test_the_field_is_drawn_where_it_is_known_and_nowhere_else(page: str) -> None:
    circles = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', page)
    assert set(circles) == {("18.0", "13.0", "3.0")}  # 6 px a degree, centre (12, 10), y upwards
    assert len(circles) == 2 * 2 * 3  # two strokes; reference and two seeds, for either objective
    assert "1 SD around its centre" in page


def test_blocks_stand_in_the_page_with_their_figures(page: str) -> None:
    for alt in ("stretch: histogram of the gain", "one_hot: histogram of the gain", "sorted tuning of each site",
                "drift against the baseline", "responses of all sites to the one-hot controllers"):  # fmt: skip
        assert page.count(f'alt="{alt}"') == 1
    assert "Over the rounds" not in page  # a first round
    assert "Identity of 3 sites" in page


def test_what_others_wrote_is_escaped(project: Project, page: str, tmp_path: Path) -> None:
    round_ = project.round(1)
    kept = round_.evaluation_path.read_bytes(), round_.drift_path.read_bytes()
    bad = "<script>alert(1)</script>"
    try:
        report = ControlReport.from_json(round_.evaluation_path)
        rows = tuple(replace(r, reason=bad) for r in report.rows)
        replace(report, notes=(bad,), rows=rows).to_json(round_.evaluation_path)
        drift = RoundDrift.from_json(round_.drift_path)
        assert drift is not None
        sites = (replace(drift.sites[0], outcome="lost", reason=bad), *drift.sites[1:])
        replace(drift, notes=(f"x {bad}",), sites=sites).to_json(round_.drift_path)
        text = write_report(project, round_).read_text(encoding="utf-8")
    finally:
        round_.evaluation_path.write_bytes(kept[0])
        round_.drift_path.write_bytes(kept[1])
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 1 + 6 + 2
    assert "lost: &lt;script&gt;" in text


@pytest.mark.usefixtures("undrawn")
def test_without_a_fit_record_and_a_drift_record_the_page_says_less_and_stands(project: Project, page: str) -> None:
    round_ = project.round(1)
    moved = {path: path.read_bytes() for path in (round_.drift_path, project.fitted / "for_round_01.json")}
    try:
        for path in moved:
            path.unlink()
        text = write_report(project, round_).read_text(encoding="utf-8")
    finally:
        for path, content in moved.items():
            path.write_bytes(content)
    assert "Drift against the baseline" not in text
    assert "<circle" not in text
    assert "No record of the fit." in text


# --- image grids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "site", [None, {}, {"rf_x_deg": 1.0, "rf_y_deg": None, "rf_sd_deg": 1.0}, {"rf_x_deg": 0.0, "rf_y_deg": 0.0, "rf_sd_deg": 0.0},
             {"rf_x_deg": math.nan, "rf_y_deg": 0.0, "rf_sd_deg": 1.0}]
)  # fmt: skip
def test_an_unknown_field_has_no_circle(site: dict | None) -> None:
    assert field_circle(site, DISPLAY) is None


def test_the_circle_is_the_mask_of_the_contrast(project: Project) -> None:
    """Its centre is the pixel on which the receptive-field weight of the local contrast peaks."""
    from protocols.rounds.contrast import field_masks

    x, y, sd = 0.75, 1.1, 0.4
    circle = field_circle({"rf_x_deg": x, "rf_y_deg": y, "rf_sd_deg": sd}, DISPLAY)
    assert circle is not None
    mask = field_masks(DISPLAY, [(x, y, sd)])[0].numpy()
    line, column = np.unravel_index(mask.argmax(), mask.shape)
    assert (int(circle[0]), int(circle[1])) == (column, line)
    assert circle[2] == pytest.approx(0.4 * 24 / 4)


def test_the_confirmatory_controller_comes_first_then_the_seeds() -> None:
    rows = (
        ControlRow("one_hot", "b", "i1", False, seed=0, predicted=2.0),
        ControlRow("one_hot", "b", "i2", True, seed=2, reference_image="ref", reference=4.0, measured=7.0, score=0.9),
        ControlRow("one_hot", "b", "i3", False, seed=None),
        ControlRow("stretch", "a", "i4", True, verdict="excluded"),
    )
    report = ControlReport(
        unit="spikes",
        alpha=0.01,
        permutations=99,
        seed=0,
        temperature=1.0,
        trials=1,
        trials_used=1,
        one_hot_sites=(),
        rows=rows,
        objectives=(),
        consistency=(),
    )
    made = grids(report, {}, DISPLAY)
    (b,) = made["one_hot"]
    assert [c["image"] for c in b["controllers"]] == ["i2", "i3", "i1"]
    assert (b["reference"], b["reference_text"]) == ("ref", ["recorded 4.00"])
    assert b["controllers"][0]["text"] == ["recorded 7.00", "S 0.90"]
    assert [c["seed"] for c in b["controllers"]] == ["seed 2", "seed unknown", "seed 0"]
    (a,) = made["stretch"]
    assert (a["reference"], a["circle"]) == ("", None)


# --- tuning --------------------------------------------------------------------------------------------------------------


def test_tunings_sort_naturals_and_gather_graded_images_and_all_arms_of_the_site() -> None:
    rows = (
        KeyRow("n1", "s1", "natural"), KeyRow("n2", "s2", "natural"), KeyRow("n3", "s3", "natural"),
        KeyRow("r1", "s4", "reference", reference_for=(("stretch", "a"),)),
        KeyRow(image_id="c1", source_id="c_a", role="controller", objective="stretch", target="a", confirmatory=True), KeyRow(image_id="c2", source_id="c_b", role="controller", objective="stretch", target="b", confirmatory=True),
        KeyRow(image_id="g1", source_id="g", role="graded", objective="stretch", target="a", parent="c_a"), KeyRow(image_id="g2", source_id="h", role="graded", objective="stretch", target="b", parent="c_b"),
        KeyRow(image_id="p1", source_id="p", role="arm", objective="stretch", target="a", arm="phase_scrambled", parent="c_a"),
    )  # fmt: skip
    responses = {"n1": [1, 3], "n2": [6, 6], "r1": [9, 11], "c1": [20, 22], "g1": [15], "g2": [1, 1], "p1": [2, 2]}
    ids = [image for image, values in responses.items() for _ in values]
    values = np.array([[float(v), 1.0] for trials in responses.values() for v in trials])
    recorded = Responses(
        values=values, image_ids=np.array(ids), site_ids=("a", "b"), unit="spikes", window_ms=(70.0, 170.0)
    )
    report_rows = (
        ControlRow("stretch", "a", "c1", True, arm_images={"phase_scrambled": "p1", "unheard_of": "n1"}),
        ControlRow("stretch", "b", "c2", True),
        ControlRow("stretch", "gone", "c3", True),
        ControlRow("stretch", "a", "c9", False),
    )
    report = ControlReport(
        unit="spikes",
        alpha=0.01,
        permutations=99,
        seed=0,
        temperature=1.0,
        trials=1,
        trials_used=1,
        one_hot_sites=(),
        rows=report_rows,
        objectives=(),
        consistency=(),
    )
    a, b = tunings(report, Key(rows), recorded, objective="stretch")
    assert a.means.tolist() == [10.0, 6.0, 2.0]  # n3 was never shown
    assert a.own.tolist() == [True, False, False]
    assert a.errors.tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert [(m.kind, m.mean) for m in a.marks] == [
        ("controller", 21.0),
        ("graded", 15.0),
        ("phase_scrambled", 2.0),
        ("unheard_of", 2.0),
    ]
    assert math.isnan(a.marks[1].error)  # one trial
    assert [m.kind for m in b.marks] == ["graded"]  # its controller has no trial
    assert [t.site for t in tunings(report, Key(rows), recorded, objective="stretch", most=1)] == ["a"]
    averages = replace(recorded, averaged_over=np.full(len(ids), 4))
    assert np.isnan(ImageTrials.of(averages).means_and_errors("a", ["n1", "c1"])[1]).all()


# --- drift ---------------------------------------------------------------------------------------------------------------

TOLD = SiteDrift(
    "a", gain=1.2, gain_low=1.1, gain_high=1.3, told=True, centre=4.0, aligned_gain=1.15, within_change=8.0, within_p=0.001, within_listed=True
)  # fmt: skip
LOST = SiteDrift("b", outcome="lost", reason="r 0.1 below 0.6", within_change=-2.0, within_p=0.5)


def test_drift_sentences_name_who_left_what_was_aligned_and_who_drifts() -> None:
    drift = RoundDrift("spikes", True, (TOLD, LOST), gain_sd=0.1, shift_sd=0.02, notes=("2 sites: told",))
    first, gains, aligned, within, note = drift_sentences(drift)
    assert first == "Left out of this round's verdicts and of later fits: b, lost: r 0.1 below 0.6."
    assert "median 1.20 (1.20 to 1.20) over the 1 of 2 sites" in gains
    assert gains.endswith("leaves out 1 at 1.")
    assert "1 of 2 sites, by gains of 1.15 to 1.15" in aligned
    assert "median size 5 % of the mean response" in within
    assert "1 of 2 sites on the Benjamini-Hochberg list (q 0.05): a." in within
    assert note == "2 sites: told."
    kept = drift_sentences(drift, align=False, exclude=False)
    assert kept[0].startswith("Kept all the same")
    assert kept[2] == "Responses are pooled as they are ([drift] align is false)."
    assert drift_text(drift).splitlines()[1] == f"  {first}"


def test_drift_of_which_nothing_is_known_says_so() -> None:
    assert drift_sentences(None) == []
    assert drift_text(None) == ""
    lines = drift_sentences(RoundDrift("zscore", False, (SiteDrift("a"),)))
    assert lines == [
        "No site's gain against the baseline is known (of 1).",
        "No site is aligned: responses are pooled as they are.",
    ]
    same = RoundDrift("zscore", False, (replace(TOLD, aligned_gain=1.0),))
    assert "nothing is changed" in drift_sentences(same)[1]
    assert "8.00 SD of the image means" in drift_sentences(same)[2]


def test_drift_records_are_read_up_to_the_round(project: Project, told: str) -> None:
    assert [n for n, _ in drift_so_far(project, 5)] == [1]
    assert drift_so_far(project, 0) == []


# --- learning curve ------------------------------------------------------------------------------------------------------


def test_a_curve_that_cannot_be_made_costs_a_note_not_the_page(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learning_so_far(project, 1) == ([], "")  # too early, nothing is read

    def fails(_: Project) -> list:
        raise DataError("fitted", found="no enc_1", expected="an encoder", cause="x", fix="y", code="D06")

    monkeypatch.setattr("protocols.report.learning.learning_curve", fails)
    entries, why = learning_so_far(project, 2)
    assert entries == []
    assert why == "no learning curve: found no enc_1, expected an encoder (D06)"


def test_the_lines_of_the_curve_have_a_dash_for_what_is_not_known() -> None:
    names = [f"{a}_{b}" for a in ("natural_r", "prequential", "after") for b in ("low", "high")]
    empty = dict.fromkeys(("natural_r", "prequential_r2", "after_r2", *names))
    common = {"encoder": "enc_1", "mode": "full", "natural_images": 37, **empty}
    first = {**common, "round": 1, "check": None, "controllers": 12, "prequential_r2": 0.5, "prequential_low": 0.4,
             "prequential_high": 0.6, "success_stretch": 2, "tested_stretch": 6}  # fmt: skip
    second = {**common, "round": 2, "check": "accepted", "controllers": None, "natural_r": 0.25}
    header, lines = learning_lines([first, second])
    assert header[-1] == "stretch controlled"
    assert header[-2] == "r2 after the refit, not prequential [95 %]"
    assert lines == [
        ["1", "enc_1", "full", "-", "37", "-", "12", "0.50 [0.40, 0.60]", "-", "2 of 6"],
        ["2", "enc_1", "full", "accepted", "37", "0.25", "-", "-", "-", "-"],
    ]
