"""Photographs at graded levels in a round: what is made, shown, counted and sealed; and what their responses say."""

from __future__ import annotations

import json
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from protocols.disk.png import read_png
from protocols.loop import export, generate
from protocols.models.pair import load_pair
from protocols.plan import plan_round
from protocols.project.config.load import config_from_dict
from protocols.project.folder import Project, Round
from protocols.project.key import Key, KeyRow, SiteRow, read_key, write_key
from protocols.recordings.dataset import synthesised
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import trial_table
from protocols.report.levels import levels_sections
from protocols.reproduce import reproduce
from protocols.rounds.planning.division import NONE, Division, Share
from protocols.rounds.planning.levels import level_stimuli
from protocols.rounds.predictions import predictor
from protocols.rounds.stimulus import Stimulus
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from protocols.verdict.levels.shown import level_lines, levels_of
from synth import StimulusBatch
from tests.protocols.helpers.looped_project import copy
from tests.protocols.helpers.simulated_rounds import make_truth, record

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]

TARGETS = ("sim_000", "sim_001")
LEVELS, PHOTOGRAPHS, REPEATS = 4, 2, 3
KEYS = {"accentuate_levels": LEVELS, "accentuate_photographs": PHOTOGRAPHS, "graded_repeats": REPEATS}


def project_with(source: Path, folder: Path, **keys: Any) -> Project:
    """A copy of the fitted project `source` before its round 1, with short ascents for two targets and the `keys`."""
    copy(source, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    shutil.rmtree(Project.open(folder).round(1).folder)
    path = folder / "project.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in ({"steps": 6, "targets": list(TARGETS), "objectives": ["stretch"]} | keys).items():
        start = text.index("[synthesis]")
        head, tail = text[:start], text[start:]
        text = head + re.sub(rf"^{name} = .*$", f"{name} = {json.dumps(value)}", tail, count=1, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    return Project.open(folder)


@pytest.fixture(scope="module")
def shown(looped: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Round]:
    """A project whose round 1 is exported with photographs at graded levels."""
    project = project_with(looped / "project", tmp_path_factory.mktemp("levels") / "project", **KEYS)
    generate(project, 1)
    read, load = list[Path](), StimulusBatch.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StimulusBatch, "load", lambda path, *rest: (read.append(path), load(path, *rest))[1])
        export(project, 1)
    assert read.count(project.round(1).accentuated_path) == 1
    return project, project.round(1)


def at_levels(key: Key) -> list[KeyRow]:
    return [row for row in key.rows if row.level]


def test_what_is_shown_and_how_often(shown: tuple[Project, Round]) -> None:
    _, round_ = shown
    rows = at_levels(read_key(round_.key_path))
    assert len(rows) == LEVELS * PHOTOGRAPHS * len(TARGETS)
    assert {(row.role, row.generator, row.confirmatory) for row in rows} == {("graded", "accentuate", False)}
    for site in TARGETS:
        own = sorted({row.level[site] for row in rows if row.target == site})
        assert np.diff(own) == pytest.approx([np.ptp(own) / (LEVELS - 1)] * (LEVELS - 1))
    order = [line.split(",") for line in (round_.outbox / "order.csv").read_text(encoding="utf-8").splitlines()]
    column = order[0].index("image_id")
    counts = [sum(cells[column] == row.image_id for cells in order[1:]) for row in rows]
    assert counts == [REPEATS] * len(rows)
    present = {row.source_id for row in read_key(round_.key_path).rows}
    assert {row.started_from for row in rows} <= present  # their photographs are shown as well


def test_the_plan_counts_them_before_and_after_they_are_made(
    shown: tuple[Project, Round], looped: Path, tmp_path: Path
) -> None:
    project, _ = shown
    after = plan_round(project, 1)
    before = plan_round(project_with(looped / "project", tmp_path / "a", **KEYS), 1)
    off = plan_round(project_with(looped / "project", tmp_path / "b", graded_repeats=REPEATS), 1)
    images = LEVELS * PHOTOGRAPHS * len(TARGETS)
    for plan in (before, after):
        assert plan.images["graded"] - off.images["graded"] == images
        assert plan.presentations["graded"] - off.presentations["graded"] == images * REPEATS
        assert 0 < plan.images["reference"] - off.images["reference"] <= PHOTOGRAPHS * len(TARGETS)


def test_every_png_meets_the_display_and_has_its_own_prediction(shown: tuple[Project, Round]) -> None:
    project, round_ = shown
    rows = at_levels(read_key(round_.key_path))
    pixels = np.stack([read_png(round_.image_path(row.image_id)) for row in rows])
    batch = StimulusBatch.load(round_.accentuated_path)
    stored = {image.tobytes() for image in batch.images}
    assert all(image.tobytes() in stored for image in pixels)
    constraint = next(
        c for c in StimulusBatch.load(round_.controllers_path).settings["constraints"] if c.get("rms") is not None
    )
    exact = project.display.constraints(mean=constraint["mean"], rms=constraint["rms"])[-1]
    assert exact.violations(torch.from_numpy(pixels)) == [""] * len(rows)
    encoder, validator = load_pair(project, 1)
    answers = predictor(encoder, validator, "cpu")(pixels)
    for i, row in enumerate(rows):
        k = list(encoder.site_ids).index(row.target)
        assert row.predicted[row.target] == pytest.approx(answers["predicted"][i, k], rel=1e-4)
        assert row.validator_predicted[row.target] == pytest.approx(answers["validator_predicted"][i, k], rel=1e-4)


def test_a_refit_takes_them_in_the_group_of_their_photograph(shown: tuple[Project, Round]) -> None:
    _, round_ = shown
    groups = {row.started_from: f"group of {row.started_from}" for row in at_levels(read_key(round_.key_path))}
    found = {source: group for source, _, group in synthesised(round_, groups)}
    for row in at_levels(read_key(round_.key_path)):
        assert found[row.source_id] == f"group of {row.started_from}"


def test_the_round_is_reproduced(shown: tuple[Project, Round], tmp_path: Path) -> None:
    _, round_ = shown
    report = reproduce(round_.outbox / "manifest.json", tmp_path / "again")
    assert not [problem for problem in report.problems if "lvl_" in problem]
    assert report.identical == report.images


def test_without_the_keys_nothing_is_made_and_nothing_of_it_is_in_the_key(looped: Path, tmp_path: Path) -> None:
    project = project_with(looped / "project", tmp_path / "project")
    path = project.folder / "project.toml"
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if "accentuate_" not in line)
    path.write_text(text, encoding="utf-8")  # a file of before
    project = Project.open(project.folder)
    round_ = project.new_round(1, "ses_a")
    round_.sealed.mkdir(exist_ok=True)
    round_.accentuated_path.write_bytes(b"of a try with the key")
    generate(project, 1)
    assert not round_.accentuated_path.exists()
    export(project, 1)
    assert not at_levels(read_key(round_.key_path))
    header = round_.key_path.read_text(encoding="utf-8").splitlines()[0]
    assert "level_" not in header


def series_of(*, sites: int = 2, photographs: int = 3, levels: int = 2) -> StimulusBatch:
    """What `level_stimuli` reads of a batch: three photographs of every site, the first shared by both."""
    names = [f"s{i}" for i in range(sites)]
    series = [(site, f"p{k}" if k == 0 else f"{site}_p{k}") for site in names for k in range(photographs)]

    class Batch:
        targets: ClassVar = [site for site, _ in series for _ in range(levels)]
        start_ids: ClassVar = [photograph for _, photograph in series for _ in range(levels)]
        settings: ClassVar = {
            "levels": [0.0] * levels,
            "wanted": [1.0] * (len(series) * levels),
            "generator": "accentuate",
        }
        images = np.arange(len(series) * levels, dtype=np.uint8).reshape(-1, 1, 1, 1)

        def __len__(self) -> int:
            return len(self.targets)

    return Batch()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("images", "sources", "kept"),
    [
        (12, 6, 6), (11, 6, 5), (4, 6, 2), (3, 6, 1), (1, 6, 0), (12, 0, 0), (12, 2, 2), (0, 0, 0),
    ],
)  # fmt: skip
def test_where_room_is_short_whole_series_stay_the_middle_ones_first(images: int, sources: int, kept: int) -> None:
    batch = series_of()
    controllers = [
        Stimulus(
            pixels=np.zeros((1, 1, 1), np.uint8), role="controller", source_id=f"c_{s}_{o}", objective=o, target=s,
            confirmatory=True,
        )
        for s in ("s0", "s1") for o in ("stretch", "one_hot")
    ]  # fmt: skip
    photographs = tuple(dict.fromkeys(batch.start_ids))

    class Photographs:
        source_ids = photographs
        pixels = np.zeros((len(photographs), 1, 1, 1), np.uint8)

    beside = {"levels": Share(images, 8), "sources": Share(sources, 8), "chosen": Share(0, 5)}
    division = Division(controller={}, reference={}, references={}, beside=beside, blocks=1, blanks=0)
    sites = Key((), tuple(SiteRow(s, 3.0, 2.0) for s in ("s0", "s1")))
    found = level_stimuli(batch, 1, division, shown=controllers, data=Photographs(), sites=sites)  # type: ignore[arg-type]
    graded = [s for s in found if s.role == "graded"]
    assert len(graded) == 2 * kept
    middle = {s.started_from for s in graded[: 2 * min(kept, 2)]}
    assert kept < 2 or middle == {"s0_p1", "s1_p1"}
    assert {s.source_id for s in found if s.role == "reference"} == {s.started_from for s in graded}
    assert all(s.level[s.target] == 5.0 and len(s.parent.split()) == 2 for s in graded)
    assert all(division.shown(s) == (8 if s.level else 5) for s in found)
    assert len({s.source_id for s in graded}) == len(graded)
    assert NONE.presentations == 0


def planted(slope: float, *, shuffled: bool, lost: int = 0, sites: int = 6) -> tuple[Key, Responses]:
    """Three photographs at eight levels per site; sites answer `slope` times the prediction, which is at the level.

    `shuffled`: the images of a site change places; of the first `lost` images of every site no trial came.
    """
    rng, names = np.random.default_rng(4), [f"v4_{i:03d}" for i in range(sites)]
    wanted = np.tile(np.linspace(2.0, 30.0, 8), 3)
    rows, values, shown = [], [], []
    for k, site in enumerate(names):
        evoked = 1.0 + slope * (rng.permutation(wanted) if shuffled else wanted)
        for i, level in enumerate(wanted.tolist()):
            far = 3.0 if i == 0 else 0.1  # the first image missed its level by more than 5 % of 28
            row = KeyRow(
                f"r01_{site}_{i:02d}", f"lvl_{site}_{i}", "graded", objective="stretch", target=site,
                generator="accentuate", level={site: level}, predicted={site: level + far},
                validator_predicted={site: level + 10.0},
            )  # fmt: skip
            rows.append(row)
            trials = np.full((16, sites), 5.0)
            trials[:, k] = evoked[i] + rng.normal(0, 1.0, 16)
            if i >= lost:
                values.append(trials)
                shown += [row.image_id] * 16
    key = Key(tuple(rows), tuple(SiteRow(s, 10.0, 4.0) for s in names))
    table = Responses(
        values=np.concatenate(values), image_ids=np.array(shown), site_ids=tuple(names), unit="spikes",
        window_ms=(70.0, 170.0),
    )  # fmt: skip
    return key, table


def test_a_site_that_follows_its_levels_has_their_slope_and_a_shuffled_one_none() -> None:
    for slope, shuffled in ((1.0, False), (0.5, False), (1.0, True)):
        key, table = planted(slope, shuffled=shuffled)
        found = levels_of(key, trial_table(table, [row.image_id for row in key.rows]))
        assert found is not None
        assert found.images == 6 * 24
        assert (found.reached, found.validator_reached) == (pytest.approx(23 / 24), 0.0)
        pooled = found.pooled
        assert pooled.slope_low < pooled.slope < pooled.slope_high
        if shuffled:
            assert abs(pooled.slope) < 0.2
            assert pooled.slope_low < 0 < pooled.slope_high
            assert abs(pooled.correlation) < 0.2
        else:
            assert pooled.slope == pytest.approx(slope, abs=0.02)
            assert pooled.slope_low > slope - 0.05
            assert all(site.recorded.correlation > 0.98 for site in found.sites)


def test_images_without_trials_and_excluded_sites_are_left_out() -> None:
    key, table = planted(1.0, shuffled=False, lost=22)
    ids = [row.image_id for row in key.rows]
    found = levels_of(key, trial_table(table, ids), excluded=("v4_000",))
    assert found is not None
    assert [s.site for s in found.sites] == [f"v4_{i:03d}" for i in range(1, 6)]
    assert {(s.images, s.recorded.images) for s in found.sites} == {(24, 2)}
    assert found.sites[0].recorded.slope_low is None
    assert found.sites[0].recorded.correlation_low is None
    assert "  110 of 120 images have no response" in level_lines(found)
    assert levels_of(key, trial_table(table, ids), excluded=key.site_ids) is None
    assert levels_of(Key((), key.sites), trial_table(table, ids)) is None


def test_an_evaluation_tells_them_keeps_them_and_counts_them_nowhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = make_truth(rng, sites=3)
    site = truth.key.site_ids[0]
    parent = next(r for r in truth.key.of_role("controller") if r.confirmatory and r.target == site)
    rows = [
        KeyRow(
            f"r01_9{i:03d}", f"lvl_{i}", "graded", objective="stretch", target=site, generator="accentuate",
            parent=parent.source_id, level={site: level}, predicted=dict.fromkeys(truth.key.site_ids, level),
        )
        for i, level in enumerate((2.0, 4.0, 6.0, 8.0, 10.0))
    ]  # fmt: skip
    means = np.array([[r.level[site]] * 3 for r in rows])
    with_levels = replace(
        truth, key=replace(truth.key, rows=(*truth.key.rows, *rows)), means=np.concatenate([truth.means, means])
    )
    write_key(tmp_path / "key.csv", with_levels.key)
    key = read_key(tmp_path / "key.csv")
    assert [row.level for row in key.rows[-5:]] == [row.level for row in rows]
    responses = record(rng, with_levels)
    options = {"permutations": 199, "alpha": 0.05}
    report = evaluate(responses, key, **options)
    assert report.levels is not None
    assert report.levels.sites[0].recorded.images == 5
    assert report.levels.pooled.slope == pytest.approx(1.0, abs=0.3)
    assert not any(row.monotonic_images for row in report.rows)  # no earlier iterates of the ascent
    report.to_json(tmp_path / "evaluation.json")
    assert ControlReport.from_json(tmp_path / "evaluation.json").levels == report.levels
    assert "Photographs at graded levels: 5 images of 1 sites" in report.summary()
    without = evaluate(responses, truth.key, **options)
    assert without.levels is None
    assert not level_lines(None)
    without.to_json(tmp_path / "without.json")
    assert "levels" not in json.loads((tmp_path / "without.json").read_text(encoding="utf-8"))

    def sections(told: ControlReport, shown: Key, made: int) -> Any:
        events = [{"event": "generate", "accentuated": made}] if made else [{"event": "generate"}]
        return levels_sections(SimpleNamespace(report=told, key=shown, events=events))  # type: ignore[arg-type]

    (section,) = sections(report, key, 5)
    assert [line[0] for line in (*section.tables[0].lines, *section.tables[0].last)] == [site, "all sites"]
    assert len(section.sentences) == 1
    (section,) = sections(report, key, 8)
    assert section.sentences[1].startswith("5 of the 8 images that were made for the round were shown")
    (section,) = sections(without, truth.key, 8)
    assert section.sentences[0].startswith("0 of the 8 images")
    assert not section.tables
    assert sections(without, truth.key, 0) == []


def test_one_level_is_refused() -> None:
    from protocols.errors import DataError

    display = {"width_px": 64, "height_px": 64, "size_deg": 4.0}
    with pytest.raises(DataError) as caught:
        config_from_dict({"display": display, "synthesis": {"accentuate_levels": 1}}, "project.toml")
    assert caught.value.code == "C04"
