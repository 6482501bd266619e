"""The views' numbers are those of the project's own tables, in every stage; nothing of a closed round is told."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import loop
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.evolution.scores import read_scores
from protocols.pages import population
from protocols.pages.images import image_pixels, image_png
from protocols.pages.measured import means_of
from protocols.pages.view import clean
from protocols.pages.views import SCRIPTS, STYLE, VIEWS
from protocols.project.folder import Project
from protocols.project.generations.files import Evolution, Generation
from protocols.project.key import read_key
from protocols.recordings.dataset import baseline, drift_of
from protocols.recordings.readers.hdf5 import read_kept, write_responses
from protocols.recordings.responses import Responses
from protocols.report.fit import fit_lines, number
from protocols.report.rounds import rounds_so_far
from protocols.report.sites import ImageTrials, tunings
from protocols.state import look
from protocols.verdict.control_report import ControlReport
from synth import StimulusBatch
from tests.protocols.helpers import evolved_project, viewed_project

STAGES = ("baseline", "fitted", "exported", "half delivered", "ingested", "evaluated")
pytestmark = pytest.mark.xdist_group("views")
LIGHT = [name for name in VIEWS if name != "planner"]


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, float):
        yield value


def same(shown: float | None, told: float | None) -> bool:
    if shown is None or told is None or math.isnan(told):
        return shown is None and (told is None or math.isnan(told))
    return shown == pytest.approx(told, rel=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_every_view_has_data_or_a_command_in_every_stage(evaluated: Project, tmp_path: Path, stage: str) -> None:
    project = viewed_project.copied(evaluated, tmp_path / "p", stage)
    for name in LIGHT:
        data = VIEWS[name].build(project, site="no such site", round="x", odd="1")
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert all(math.isfinite(v) for v in numbers(data))
        for image in data.get("pictures", ()):
            assert image_pixels(project, [image])[image].dtype == np.uint8
        if (empty := data.get("nothing")) is not None:
            assert empty["text"].endswith(".")
            assert empty["command"].startswith("stimsynth ")
    nothing = {name for name in LIGHT if "nothing" in VIEWS[name].build(project)}
    assert nothing == {"baseline": {"gallery", "learning"}, "fitted": {"gallery"}}.get(stage, set())


def test_a_project_without_anything_says_what_to_do(project: Project, tmp_path: Path) -> None:
    for view in VIEWS.values():
        assert view.build(project)["nothing"]["command"].startswith("stimsynth ")


def test_a_baseline_that_was_recorded_elsewhere_is_shown(tmp_path: Path) -> None:
    project = evolved_project.make(tmp_path / "p")
    data = VIEWS["site"].build(project, site="v4_001")
    first = baseline(project)
    assert first is not None
    index = ImageTrials.of(first[0])
    (curve,) = data["tunings"]
    names = [image.removeprefix("photo/") for image in curve["images"]]
    means, errors = index.means_and_errors("v4_001", names)
    assert data["site"] == "v4_001"
    assert all(map(same, curve["mean"], means.tolist()))
    assert all(map(same, curve["error"], errors.tolist()))
    assert curve["mean"] == sorted(curve["mean"], reverse=True)
    assert VIEWS["array"].build(project)["placed"] is False
    assert "grid" in VIEWS["array"].build(project)["note"]


def test_the_site_table_says_what_the_report_says(evaluated: Project) -> None:
    header, lines = fit_lines(evaluated.fitted_for(1) or {})
    rows = {row["site"]: row for row in VIEWS["site"].build(evaluated)["table"]["rows"]}
    names = {"reliability": "reliability", "held_out_r": "held-out r", "ceiling": "ceiling",
             "held_out_r_nc": "noise-corrected r", "held_out_feve": "FEVE", "validator_r": "validator r"}  # fmt: skip
    assert len(lines) == len(rows) == 3
    for line in lines:
        told = dict(zip(header, line, strict=True))
        assert {key: number(rows[told["site"]][key]) for key in names} == {k: told[v] for k, v in names.items()}
        assert rows[told["site"]]["best_layer"] == told["best layer"]
    report = ControlReport.from_json(evaluated.round(1).evaluation_path)
    for row in report.confirmatory():
        assert rows[row.site][f"verdict_{row.objective}"] == row.verdict
        assert same(rows[row.site][f"gain_{row.objective}"], row.gain)


def test_tuning_curves_are_those_of_the_report(evaluated: Project) -> None:
    round_ = evaluated.round(1)
    report = ControlReport.from_json(round_.evaluation_path)
    told = tunings(report, read_key(round_.key_path), read_kept(round_.responses_path), objective="stretch")
    assert len(told) == 3
    for tuning in told:
        page = VIEWS["site"].build(evaluated, site=tuning.site)
        curve = next(t for t in page["tunings"] if t["round"] == 1)
        assert all(map(same, curve["mean"], tuning.means.tolist()))
        assert all(map(same, curve["error"], tuning.errors.tolist()))
        assert curve["own"] == np.flatnonzero(tuning.own).tolist()
        marks = [(m["kind"], m["mean"]) for m in curve["marks"]]
        assert [kind for kind, _ in marks] == [m.kind for m in tuning.marks]
        assert all(same(mean, m.mean) for (_, mean), m in zip(marks, tuning.marks, strict=True))
        gains = [(g["verdict"], g["gain"]) for g in page["gains"]]
        rows = [r for r in report.confirmatory() if r.site == tuning.site]
        assert all(v == r.verdict and same(g, r.gain) for (v, g), r in zip(gains, rows, strict=True))


def test_drift_is_that_of_the_record(evaluated: Project) -> None:
    drift = drift_of(evaluated, evaluated.round(1))
    assert drift is not None
    for told in drift.sites:
        (day,) = VIEWS["site"].build(evaluated, site=told.site)["days"]
        assert (day["outcome"], day["within_listed"]) == (told.outcome, told.within_listed)
        assert same(day["gain"], told.gain if told.told else None)
        assert same(day["within"], told.within_change)


def test_the_gallery_has_predictions_of_the_key_and_verdicts_of_the_report(evaluated: Project) -> None:
    key = {r.image_id: r for r in read_key(evaluated.round(1).key_path).rows}
    rows = {r.image_id: r for r in ControlReport.from_json(evaluated.round(1).evaluation_path).rows}
    trials = ImageTrials.of(read_kept(evaluated.round(1).responses_path))
    images = VIEWS["gallery"].build(evaluated)["images"]
    assert {i["name"] for i in images} == {i for i, r in key.items() if r.role != "blank"}
    assert sum(bool(i["at"]) for i in images) == 12
    for image in images:
        row = key[image["name"]]
        assert (image["role"], image["confirmatory"]) == (row.role, row.confirmatory)
        assert same(image["distance"], row.distance)
        for at in image["at"]:
            assert same(at["predicted"], row.predicted.get(at["site"]))
            assert same(at["validator"], row.validator_predicted.get(at["site"]))
            (mean,), (error,) = trials.means_and_errors(at["site"], [image["name"]])
            assert same(at["measured"], mean)
            half = (at["high"] - at["low"]) / 2
            assert half == pytest.approx(error * _t975(at["trials"] - 1), rel=1e-3)
        if row.role == "controller":
            told = rows[row.image_id]
            shown = image["at"][0]["verdict"]
            assert (shown["verdict"], shown["reference"]) == (told.verdict, f"shown/1/{told.reference_image}")
            assert same(shown["gain"], told.gain)
            assert same(shown["p"], told.p)


def _t975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t by bisection on the integral of its density."""
    grid = np.linspace(0, 60, 600_001)
    density = (1 + grid**2 / freedom) ** (-(freedom + 1) / 2)
    area = np.cumsum(density) - density / 2
    scale = math.gamma((freedom + 1) / 2) / math.sqrt(freedom * math.pi) / math.gamma(freedom / 2)
    return float(grid[np.searchsorted(area * (grid[1] - grid[0]) * scale, 0.475)])


@pytest.mark.parametrize("stage", ["exported", "half delivered", "ingested"])
def test_a_round_that_is_not_evaluated_stays_closed(evaluated: Project, tmp_path: Path, stage: str) -> None:
    project = viewed_project.copied(evaluated, tmp_path / "p", stage)
    for name in LIGHT:
        text = json.dumps(VIEWS[name].build(project, show="predicted"))
        assert "shown/1/" not in text, name
        assert "made/1/" not in text, name
    gallery = VIEWS["gallery"].build(project)
    assert (gallery["images"], gallery["rounds"][0]["hidden"]) == ([], True)
    assert "not shown here" in gallery["rounds"][0]["text"]
    asked = VIEWS["gallery"].build(project, unblind="1")
    assert {i["role"] for i in asked["images"]} == {"controller"}
    assert all("measured" not in at and "verdict" not in at for i in asked["images"] for at in i["at"])
    assert "should not see this page" in asked["rounds"][0]["text"]
    assert VIEWS["gallery"].build(project, unblind="2")["images"] == []


def test_a_round_before_its_export_is_shown_with_what_its_file_says(evaluated: Project, tmp_path: Path) -> None:
    project = viewed_project.generated(evaluated, tmp_path / "p")
    batch = StimulusBatch.load(project.round(1).controllers_path)
    data = VIEWS["gallery"].build(project)
    assert "not exported yet" in data["rounds"][0]["text"]
    assert {i for i, image in enumerate(data["images"]) if image["confirmatory"]} == set(batch.best_indices())
    for i, image in enumerate(data["images"]):
        (at,) = image["at"]
        column = batch.site_ids.index(batch.targets[i])
        assert (at["site"], at["objective"], image["seed"]) == (batch.targets[i], batch.kinds[i], int(batch.seeds[i]))
        assert same(at["predicted"], float(batch.predicted[i, column]))
        assert batch.validator_predicted is not None
        assert same(at["validator"], float(batch.validator_predicted[i, column]))
        assert same(image["clipped"], float(batch.black_or_white[i]))
        light = batch.images[i].astype(float) / 255
        assert same(image["contrast"]["luminance"], float(light.std()))
        assert (image_pixels(project, [image["id"]])[image["id"]] == batch.images[i]).all()


def test_the_matrix_is_in_natural_sds(evaluated: Project) -> None:
    data = VIEWS["population"].build(evaluated)
    first = baseline(evaluated)
    assert first is not None
    table = first[0].usable()
    photos = {name for name, source in first[1].items() if source}
    for u, site in enumerate(data["sites"]):
        values = table.values[:, table.site_ids.index(site)]
        means = {i: np.nanmean(values[table.image_ids == i]) for i in photos}
        middle, spread = np.mean(list(means.values())), np.std(list(means.values()), ddof=1)
        for image, row in zip(data["images"], data["values"], strict=True):
            if image["round"] == 0:
                name = next(i for i, source in first[1].items() if f"photo/{source}" == image["image"])
                assert row[u] == pytest.approx((means[name] - middle) / spread, abs=0.0051)
    predicted = VIEWS["population"].build(evaluated, show="predicted")
    assert {image["round"] for image in predicted["images"]} == {1}
    assert len(predicted["values"]) == len(predicted["images"]) > 0


@pytest.mark.parametrize("cells", [3, 9, 20, 60, 200])
def test_a_frozen_matrix_of_very_many_images_keeps_the_synthesised_ones(
    evaluated: Project, monkeypatch: pytest.MonkeyPatch, cells: int
) -> None:
    whole = population.population(evaluated)
    monkeypatch.setattr(population, "MOST_CELLS", cells)
    kept = population.frozen_population(evaluated)
    assert len(kept["images"]) == len(kept["values"]) == min(cells // 3, len(whole["images"]))
    own = [i["name"] for i in whole["images"] if i["kind"] == "controller"]
    assert sum(i["kind"] == "controller" for i in kept["images"]) == min(len(own), cells // 3)
    of = {image["image"]: row for image, row in zip(whole["images"], whole["values"], strict=True)}
    assert all(of[i["image"]] == row for i, row in zip(kept["images"], kept["values"], strict=True))
    assert kept["pictures"] == [i["image"] for i in kept["images"]]
    assert ("an even choice" in kept["note"]) == (len(kept["images"]) < len(whole["images"]))


def test_the_rounds_are_those_of_the_report(evaluated: Project, tmp_path: Path) -> None:
    project = viewed_project.with_second_round(evaluated, tmp_path / "p")
    data = VIEWS["learning"].build(project)
    history = rounds_so_far(project, 2)
    assert [(h["round"], h["successes"], h["tested"]) for h in data["success"]] == [
        (h["round"], h["successes"], h["tested"]) for h in history
    ]
    assert [e["round"] for e in data["entries"]] == [1, 2]
    assert data["entries"][0]["natural"] == pytest.approx(0.6)  # median of 0.7, 0.6, 0.5
    report = ControlReport.from_json(project.round(1).evaluation_path)
    known = [c.controllers_r2 for c in report.consistency if c.controllers_r2 is not None]
    assert same(data["entries"][0]["prequential"], float(np.median(known)) if known else None)
    assert [t["round"] for t in VIEWS["site"].build(project)["tunings"]] == [0, 1, 2]


def test_positions_of_the_electrodes_are_those_of_the_recording(evaluated: Project, tmp_path: Path) -> None:
    assert VIEWS["array"].build(evaluated)["placed"] is False  # it says x alone
    project = viewed_project.copied(evaluated, tmp_path / "p", "evaluated")
    for round_ in project.rounds():
        table = read_kept(round_.responses_path)
        places = {site: {"x_um": 400.0 * i, "y_um": -250.0 * i} for i, site in enumerate(table.site_ids)}
        write_responses(round_.responses_path, replace(table, attributes={**table.attributes, "sites": places}))
    data = VIEWS["array"].build(project)
    assert data["placed"] is True
    told = {s["site"]: (s["x"], s["y"]) for s in data["sites"]}
    assert told == {site: (400.0 * i, -250.0 * i) for i, site in enumerate(table.site_ids)}


def test_an_evolution_is_told_generation_by_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    project = evolved_project.make(tmp_path / "p", evolved_project.settings(generations=1, population=6))
    subject = evolved_project.Subject()
    assert "nothing" in VIEWS["learning"].build(project)
    while (state := look(project)).stage == "evolve":
        if isinstance(state.round, Generation) and state.waiting_for:
            evolved_project.answer(state.round, subject)
        loop.evolve(project, 1)
        for name in LIGHT:
            assert "shown/" not in json.dumps(VIEWS[name].build(project))
    data = VIEWS["learning"].build(project)
    told = [scores for record in read_scores(Evolution(project.round(1))) for scores in record["targets"].values()]
    assert len(data["evolved"]) == len(told) == 4
    assert all(
        same(e["mean"], t["mean"]) and same(e["best"], t["best"]) for e, t in zip(data["evolved"], told, strict=True)
    )
    assert [e["again"] for e in data["evolved"]] == [False] * 2 + [True] * 2
    assert (data["entries"][0]["generations"], data["entries"][0]["ended"]) == (2, True)


@pytest.mark.parametrize(
    "image",
    ["photo/../../project.toml", "photo/nobody", "shown/1/../../sealed/key", "shown/1/", "shown/9/x", "shown/x/y",
     "made/1/0", "made/1/-1", "made/1/99999999999999999999", "", "sealed/1/key", "photo/\0", "shown/1/a\0b"],
)  # fmt: skip
def test_no_file_is_read_but_the_images(evaluated: Project, image: str) -> None:
    with pytest.raises(DataError, match=r"P21|F02"):
        image_png(evaluated, image)


def test_images_have_the_pixels_that_are_shown(evaluated: Project) -> None:
    data = VIEWS["gallery"].build(evaluated)
    for image in data["pictures"][:5]:
        name = image.rsplit("/", 1)[1]
        told = read_png(evaluated.round(1).outbox / "images" / f"{name}.png")
        assert (image_pixels(evaluated, [image])[image] == told).all()


def test_the_views_need_no_torch(evaluated: Project) -> None:
    code = (
        "import sys; from protocols.project.folder import Project; from protocols.pages.views import VIEWS\n"
        f"p = Project.open({str(evaluated.folder)!r})\n"
        f"for name in {LIGHT!r}: VIEWS[name].build(p)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scripts_and_style_are_shipped() -> None:
    folder = Path(__file__).parents[3] / "protocols" / "pages" / "static"
    assert {p.name for p in folder.iterdir()} == {*SCRIPTS, STYLE, "frozen.js"}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(json_like)
@settings(max_examples=40, deadline=None)
def test_numbers_of_a_view_are_finite_and_near(value: Any) -> None:
    shown = clean({"value": value, "array": np.array([1.0, np.nan])})
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert shown["array"] == [1.0, None]

    def near(told: Any, shown: Any) -> None:
        if isinstance(told, dict):
            assert set(map(str, told)) == set(shown)
            [near(told[k], shown[str(k)]) for k in told]
        elif isinstance(told, list):
            [near(a, b) for a, b in zip(told, shown, strict=True)]
        elif isinstance(told, float):
            assert shown is None if not math.isfinite(told) else shown == pytest.approx(told, rel=1e-4)
        else:
            assert shown == told

    near({"value": value}, {"value": shown["value"]})


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_means_are_those_of_the_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    trials, sites, images = int(rng.integers(1, 40)), int(rng.integers(1, 4)), int(rng.integers(1, 6))
    values = np.where(rng.random((trials, sites)) < 0.2, np.nan, rng.normal(5, 2, (trials, sites)))
    names = np.array([f"i{n}" for n in rng.integers(0, images, trials)])
    averaged = rng.integers(1, 5, trials) if rng.random() < 0.3 else None
    table = Responses(
        values=values, image_ids=names, site_ids=tuple(f"s{u}" for u in range(sites)), unit="spikes",
        window_ms=(0.0, 1.0), averaged_over=averaged,
    )  # fmt: skip
    means = means_of(table)
    index = ImageTrials.of(table)
    for u, site in enumerate(means.site_ids):
        told, errors = index.means_and_errors(site, list(means.images))
        np.testing.assert_allclose(means.mean[:, u], told)
        np.testing.assert_allclose(means.error[:, u], errors)
