"""The figures of the report page: what the axes hold, on small reports made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from protocols.disk.drawing import as_data_uri
from protocols.recordings.drift import RoundDrift, SiteDrift
from protocols.report.figures.rounds import (
    AFTER,
    LISTED,
    NOT_LISTED,
    drift_figure,
    learning_figure,
    success_over_rounds,
)
from protocols.report.figures.sites import (
    OTHER_IMAGES,
    OWN_REFERENCE,
    Mark,
    SiteTuning,
    gain_histogram,
    place_of,
    tuning_bars,
)
from protocols.report.figures.verdicts import COLOURS, CONTROLLER, controller_sheet
from protocols.verdict.records import ControlRow


def row(i: int, gain: float | None, verdict: str = "control", unit: str = "fraction", **more) -> ControlRow:
    fields = {"confirmatory": True} | more
    return ControlRow("stretch", f"v4_{i:03d}", f"r01_{i:04d}", verdict=verdict, gain=gain, gain_unit=unit, **fields)


def bars_by_colour(axes) -> dict[str, float]:
    """Total height of the bars of each colour."""
    heights: dict[str, float] = {}
    for patch in axes.patches:
        colour = to_hex(patch.get_facecolor())
        heights[colour] = heights.get(colour, 0.0) + patch.get_height()
    return heights


def drawn_bars(axes) -> list[tuple[float, str]]:
    """Height and colour of every bar of the collection, from left to right."""
    (bars,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    corners = [path.vertices for path in bars.get_paths()]
    lefts = [float(c[:, 0].min()) for c in corners]
    assert lefts == sorted(lefts)
    return [(float(c[1, 1]), to_hex(colour)) for c, colour in zip(corners, bars.get_facecolor(), strict=True)]


# --- gain ----------------------------------------------------------------------------------------------------------------


def test_the_gain_histogram_counts_every_confirmatory_gain_once_by_verdict() -> None:
    gains = [0.5, 0.6, 1.4, 0.1, -0.2]
    verdicts = ["control", "control", "control", "no control", "not testable"]
    rows = [row(i, g, v) for i, (g, v) in enumerate(zip(gains, verdicts, strict=True))]
    rows += [row(8, 5.0, "exploratory", confirmatory=False), row(9, None, "excluded", unit="")]
    (axes,) = gain_histogram(rows).axes
    counts = bars_by_colour(axes)
    assert counts == {COLOURS["control"]: 3, COLOURS["no control"]: 1, COLOURS["not testable"]: 1}
    assert "(%)" in axes.get_xlabel()
    left = min(p.get_x() for p in axes.patches)
    right = max(p.get_x() + p.get_width() for p in axes.patches)
    assert (left, right) == pytest.approx((-20, 140))
    assert [t.get_text() for t in axes.get_legend().get_texts()] == [
        "control (3)",
        "no control (1)",
        "not testable (1)",
    ]
    assert "5 of 6 sites" in axes.figure.get_suptitle()


def test_units_of_gain_never_share_a_panel() -> None:
    rows = [row(0, 0.5), row(1, 0.7), row(2, 1.5, unit="natural SD"), row(3, -0.3, "no control", unit="log S")]
    panels = {axes.get_xlabel(): sum(bars_by_colour(axes).values()) for axes in gain_histogram(rows).axes}
    assert panels == {"gain of the evoked response (%)": 2, "gain (natural SD)": 1, "gain (log S)": 1}


def test_without_gains_there_is_no_histogram_and_many_equal_or_distant_gains_make_few_bins() -> None:
    assert gain_histogram([]) is None
    assert gain_histogram([row(0, None, "excluded", unit="")]) is None
    (axes,) = gain_histogram([row(i, 0.4) for i in range(5)]).axes
    assert bars_by_colour(axes) == {COLOURS["control"]: 5}
    (axes,) = gain_histogram([row(i, g) for i, g in enumerate([0.0, 0.001] * 40 + [50.0])]).axes
    assert bars_by_colour(axes) == {COLOURS["control"]: 81}
    assert len(axes.patches) <= 20


# --- tuning --------------------------------------------------------------------------------------------------------------

TUNING = SiteTuning(
    site="v4_000",
    means=np.array([9.0, 6.0, 3.0, 1.0]),
    errors=np.array([0.5, 0.4, np.nan, 0.1]),
    own=np.array([True, False, True, False]),
    marks=(Mark("controller", 12.0, 1.0), Mark("graded", 7.0, np.nan), Mark("phase_scrambled", 0.5, 0.2)),
)


def test_tuning_bars_hold_the_means_and_the_marks_at_their_place() -> None:
    figure = tuning_bars([TUNING, replace(TUNING, site="v4_001", marks=())], "spikes")
    first, second = (axes for axes in figure.axes if axes.get_title())
    assert (first.get_title(), second.get_title()) == ("v4_000", "v4_001")
    expected = [OWN_REFERENCE, OTHER_IMAGES, OWN_REFERENCE, OTHER_IMAGES]
    assert drawn_bars(first) == list(zip([9.0, 6.0, 3.0, 1.0], expected, strict=True))
    marks = {c.get_label(): c for c in first.containers if c.get_label() in ("controller", "graded", "phase_scrambled")}
    places = {k: (float(c[0].get_xdata()[0]), float(c[0].get_ydata()[0])) for k, c in marks.items()}
    assert places == {"controller": (-0.5, 12.0), "graded": (0.5, 7.0), "phase_scrambled": (3.5, 0.5)}
    assert to_hex(marks["controller"][0].get_color()) == CONTROLLER
    assert marks["controller"].has_yerr
    assert not marks["graded"].has_yerr  # one trial, or an average: no standard error is known
    assert not second.lines
    named = [t.get_text() for t in figure.legends[0].get_texts()]
    assert named[2:] == ["controller", "graded", "phase scrambled"]
    assert first.get_ylabel() == "response (spikes)"


def test_the_place_among_falling_bars() -> None:
    means = np.array([9.0, 6.0, 6.0, 1.0])
    assert [place_of(m, means) for m in (10.0, 9.0, 7.0, 6.0, 0.0)] == [-0.5, -0.5, 0.5, 0.5, 3.5]


@pytest.mark.parametrize("count", [1, 5, 24])
def test_small_multiples_fill_their_grid(count: int) -> None:
    figure = tuning_bars([replace(TUNING, site=f"v4_{i:03d}") for i in range(count)], "zscore")
    assert sum(bool(axes.get_title()) for axes in figure.axes) == count
    assert all(not axes.axison for axes in figure.axes if not axes.get_title())


# --- rounds --------------------------------------------------------------------------------------------------------------


def drift(*sites: SiteDrift, percent: bool = True) -> RoundDrift:
    return RoundDrift("spikes" if percent else "zscore", percent, sites)


def test_the_drift_figure_shows_gains_of_all_rounds_and_marks_only_listed_sites() -> None:
    first = drift(SiteDrift("a", gain=0.8, gain_low=0.7, gain_high=0.95, told=True, within_change=-4.0))
    second = drift(
        SiteDrift("a", gain=1.2, gain_low=1.0, gain_high=1.5, told=True, within_change=12.0, within_listed=True),
        SiteDrift("b", gain=0.5, gain_low=0.0, gain_high=None, within_change=-3.0),
        SiteDrift("c", gain=0.2, gain_low=0.15, gain_high=0.25, told=True, outcome="lost", within_change=None),
        SiteDrift("d"),
    )
    above, below = drift_figure([(1, first), (2, second)]).axes
    assert [t.get_text() for t in above.get_legend().get_texts()] == ["round 1", "round 2"]
    known = [c[0].get_ydata().tolist() for c in above.containers]
    assert known == [[0.8], [1.2, 0.2]]
    ends = above.containers[1][2][0].get_segments()
    assert [seg[:, 1].tolist() for seg in ends] == [pytest.approx([1.0, 1.5]), pytest.approx([0.15, 0.25])]
    hollow = [line for line in above.lines if str(line.get_markerfacecolor()) == "none" and len(line.get_ydata())]
    assert [line.get_ydata().tolist() for line in hollow] == [[0.5]]
    crossed = [line.get_ydata().tolist() for line in above.lines if line.get_marker() == "x" and len(line.get_ydata())]
    assert crossed == [[0.2]]
    assert drawn_bars(below) == [(12.0, LISTED), (-3.0, NOT_LISTED)]
    assert [t.get_text() for t in below.texts] == ["*"]
    assert [t.get_text() for t in below.get_xticklabels()] == ["a", "b", "c", "d"]
    assert below.get_ylabel() == "% of the mean response"


def test_a_drift_record_without_numbers_still_draws() -> None:
    figure = drift_figure([(1, drift(SiteDrift("a"), SiteDrift("b"), percent=False))])
    above, below = figure.axes
    assert not below.collections
    assert below.get_ylabel() == "SD of the image means"
    assert above.get_yscale() == "log"
    assert as_data_uri(figure).startswith("data:image/png;base64,")


def entry(number: int, **known: float | None) -> dict:
    names = ("natural_r", "prequential_r2", "after_r2")
    ends = [f"{name}_{end}" for name in ("natural_r", "prequential", "after") for end in ("low", "high")]
    return {"round": number, "natural_score": "noise-corrected r", **dict.fromkeys((*names, *ends)), **known}


COUNTS = {"objective": "stretch", "low": 0.2, "high": 0.8}
HISTORY = [{"round": 1, "successes": 3, "tested": 6, **COUNTS}, {"round": 2, "successes": 4, "tested": 6, **COUNTS}]


def test_the_learning_figure_keeps_what_is_after_the_refit_apart() -> None:
    entries = [
        entry(1, natural_r=0.7, natural_r_low=0.6, natural_r_high=0.8, prequential_r2=0.4, after_r2=0.9,
              prequential_low=0.3, prequential_high=0.5),
        entry(2, natural_r=0.75, natural_r_low=0.7, natural_r_high=0.8, prequential_r2=0.5),
    ]  # fmt: skip
    held_out, controllers, success = learning_figure(entries, HISTORY).axes
    assert "noise-corrected r" in held_out.get_ylabel()
    assert held_out.containers[0][0].get_ydata().tolist() == [0.7, 0.75]
    assert held_out.containers[0][2][0].get_segments()[0][:, 1].tolist() == pytest.approx([0.6, 0.8])
    before, after = controllers.containers
    assert (before.get_label(), after.get_label()) == ("prequential", "after the refit, not prequential")
    assert (before[0].get_linestyle(), after[0].get_linestyle()) == ("-", "--")
    assert after[0].get_ydata().tolist() == [0.9]
    assert to_hex(after[0].get_color()) == AFTER != to_hex(before[0].get_color())
    assert before[2][0].get_segments()[1][:, 1].tolist() == [0.5, 0.5]  # no interval known: none drawn
    assert success.containers[0][0].get_ydata().tolist() == pytest.approx([0.5, 4 / 6])
    assert held_out.get_xticks().tolist() == [1, 2]


def test_a_learning_curve_of_which_nothing_is_known_is_empty_not_wrong() -> None:
    held_out, controllers, _ = learning_figure([entry(1), entry(2)], HISTORY).axes
    assert not held_out.containers
    assert not controllers.containers
    assert controllers.get_legend() is None


def test_success_over_rounds_leaves_out_rounds_without_a_test() -> None:
    (axes,) = success_over_rounds([*HISTORY, {"round": 3, "successes": 0, "tested": 0, **COUNTS}]).axes
    assert axes.containers[0][0].get_xdata().tolist() == [1, 2]


@pytest.mark.parametrize("count", [1, 6, 7])
def test_the_sheet_of_controllers_says_where_it_shows_some_sites_only(count: int) -> None:
    rows = [row(i, 0.5, reference_image=f"n_{i}") for i in range(count)]
    picture = np.zeros((8, 8, 1), np.uint8)
    images = {name: picture for r in rows for name in (r.image_id, r.reference_image)}
    said = controller_sheet(rows, images).get_supxlabel()
    assert said == ("6 of 7 sites; all of them are in the report" if count > 6 else "")


def test_the_sheet_has_a_line_for_the_reference_of_controllers_that_drive_low() -> None:
    made = [row(0, 0.5, reference_image="n_0", reference=2.0), row(1, 0.5, reference_image="n_1", reference=9.0)]
    rows = [replace(made[0], objective="suppress", site="a"), replace(made[1], objective="stretch", site="a")]
    picture = np.zeros((8, 8, 1), np.uint8)
    images = {name: picture for r in rows for name in (r.image_id, r.reference_image)}
    sheet = controller_sheet(rows, images)
    titles = [axes.get_ylabel() for axes in sheet.axes]
    assert titles == ["best natural image", "stretch", "least activating natural image", "suppress"]
    recorded = [axes.get_xlabel().split("\n")[0] for axes in sheet.axes]
    assert (recorded[0], recorded[2]) == ("recorded 9.0", "recorded 2.0")


def test_the_sheet_of_a_round_without_a_test_says_so() -> None:
    excluded = [replace(row(0, None), verdict="excluded", reference_image="")]
    assert "no controller" in controller_sheet(excluded, {}).get_supxlabel()


def test_the_sheet_shows_the_reference_of_a_site_that_lacks_the_first_objective() -> None:
    made = [row(0, 0.5, reference_image="n_0", reference=2.0), row(1, 0.5, reference_image="n_1", reference=9.0)]
    rows = [replace(made[0], objective="stretch", site="a"), replace(made[1], objective="one_hot", site="b")]
    picture = np.zeros((8, 8, 1), np.uint8)
    images = {name: picture for r in rows for name in (r.image_id, r.reference_image)}
    sheet = controller_sheet(rows, images)
    assert [axes.get_xlabel().split("\n")[0] for axes in sheet.axes[:2]] == ["recorded 2.0", "recorded 9.0"]
