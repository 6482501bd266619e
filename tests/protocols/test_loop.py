"""The loop end to end on a simulated subject whose truth is hidden from the toolkit: laws, kills, layouts, swaps and permutations."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from encoders import Encoder
from protocols import DataError, Project, Round
from protocols.loop import generate, look, run, step
from protocols.project.key import Key, KeyRow, read_key, write_key
from protocols.project.outbox import read_manifest, read_order
from protocols.recordings.dataset import drift_of, gather, on_baseline_scale
from protocols.recordings.drift import RoundDrift
from protocols.recordings.readers.hdf5 import read_responses, write_responses
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import remove_block_means
from protocols.verdict.control_report import ControlReport
from protocols.verdict.evaluate import evaluate
from synth import StimulusBatch
from tests.protocols.helpers.looped_project import copy, first_round
from tests.protocols.helpers.simulated_rig import answer, simulate

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]


def digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(
        b"".join(p.relative_to(folder).as_posix().encode() + p.read_bytes() for p in files)
    ).hexdigest()


def test_a_finished_loop_has_verdicts_for_both_objectives_and_a_small_page(finished: Path) -> None:
    round_ = first_round(finished)
    report = ControlReport.from_json(round_.evaluation_path)
    assert {s.objective for s in report.objectives} == {"stretch", "one_hot"}
    tested = [r for r in report.confirmatory() if r.verdict in ("control", "no control")]
    assert len(tested) >= 8
    assert all(r.p is not None and r.measured is not None and r.reference_image for r in tested)
    page = round_.report_path.read_text(encoding="utf-8")
    assert len(page) < 5_000_000
    assert all(r.site in page for r in tested)
    assert "http://" not in page
    assert "https://" not in page


def test_the_encoder_learned_the_subject_and_left_out_the_sites_that_ignore_the_image(finished: Path) -> None:
    project = Project.open(finished / "project")
    record = project.fitted_for(1)
    assert record is not None
    sites = {s["site_id"]: s for s in record["report"]["sites"]}
    excluded = [s for s in sites.values() if not s["eligible_fit"]]
    assert len(excluded) == 2
    assert all(s["reason"] for s in excluded)
    kept = [s["held_out_r_nc"] for s in sites.values() if s["eligible_fit"]]
    assert np.median(kept) > 0.3


def test_stored_predictions_are_the_encoders_answer_to_the_png_on_disk(finished: Path) -> None:
    from protocols.disk.png import read_png

    project, round_ = Project.open(finished / "project"), first_round(finished)
    record = project.fitted_for(1)
    assert record is not None
    encoder, validator = (
        Encoder.load(project.fitted / record["encoder"]),
        Encoder.load(project.fitted / record["validator"]),
    )
    for row in [r for r in read_key(round_.key_path).rows if r.role != "blank"][:8]:
        image = (
            torch.from_numpy(read_png(round_.outbox / "images" / f"{row.image_id}.png")).permute(2, 0, 1)[None].float()
            / 255
        )
        with torch.no_grad():
            mean, judged = encoder(image).mean(0)[0], validator(image).reshape(-1, len(validator.site_ids)).mean(0)
        np.testing.assert_allclose([row.predicted[s] for s in encoder.site_ids], mean.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            [row.validator_predicted[s] for s in validator.site_ids], judged.numpy(), rtol=1e-4, atol=1e-4
        )


def test_every_exported_controller_meets_the_display_exactly(finished: Path) -> None:
    from protocols.disk.png import read_png
    from protocols.rounds.stimulus import batch_statistics

    project, round_ = Project.open(finished / "project"), first_round(finished)
    wanted = batch_statistics(StimulusBatch.load(round_.controllers_path))
    constraint = project.display.constraints(**wanted)[-1]
    rows = read_key(round_.key_path).of_role("controller")
    assert rows
    pixels = torch.from_numpy(np.stack([read_png(round_.outbox / "images" / f"{r.image_id}.png") for r in rows]))
    statistics = constraint.statistics(pixels.permute(0, 3, 1, 2).double() / 255)
    assert wanted["mean"] is not None
    assert wanted["rms"] is not None
    assert float((statistics["mean"] - wanted["mean"]).abs().max()) <= 0.5 / 255
    assert float((statistics["rms"] - wanted["rms"]).abs().max()) <= 0.5 / 255


def test_arms_and_graded_images_are_shown_beside_the_confirmatory_controllers(finished: Path) -> None:
    project, round_ = Project.open(finished / "project"), first_round(finished)
    key, config = read_key(round_.key_path), project.config
    controllers = {r.source_id: r for r in key.of_role("controller") if r.confirmatory}
    graded, arms = key.of_role("graded"), key.of_role("arm")
    assert {p for r in graded for p in r.parents} == set(controllers)
    assert len(graded) >= 2 * len(controllers)
    assert {r.arm for r in arms} | {r.arm for r in key.of_role("reference")} >= {"phase_scrambled", "predicted_natural"}
    counts = {s: np.sum([s in r.parents for r in key.rows if r.arm == "phase_scrambled"]) for s in controllers}
    assert set(counts.values()) == {1}
    shown = Counter(t.image_id for t in read_order(round_.outbox))
    beside = [*arms, *graded, *key.of_role("natural")]
    assert len({shown[r.image_id] for r in beside}) == 1
    assert sum(shown[r.image_id] for r in beside) <= config.protocol.beside * config.protocol.presentations
    references = [r for r in key.of_role("reference") if r.reference_for]
    assert len({shown[r.image_id] for r in [*controllers.values(), *references]}) == 1  # nobody tells them by counting
    assert 1200 < sum(shown.values()) <= config.protocol.presentations
    division = read_manifest(round_.outbox)["division"]
    roles = {r.image_id: r.role for r in key.rows}
    assert Counter(division["presentations"]) == Counter(roles[i] for i in shown.elements())  # of the order
    assert 0 < division["minutes"] < 60
    assert all(0 < division["found"][o] <= division["true"][o] <= 6 for o in config.synthesis.objectives)
    for row in [*graded, *arms]:
        assert set(row.predicted) == set(key.site_ids)  # predictions are stored as for any image
        for parent in row.parents if row.target else ():
            assert (row.objective, row.target) == (controllers[parent].objective, controllers[parent].target)
            if row.arm != "natural_raised":
                assert row.started_from == controllers[parent].started_from
    assert all({"luminance", "luminance_natural", "chroma"} <= set(r.contrast) for r in controllers.values())
    report = ControlReport.from_json(round_.evaluation_path)
    for row in (r for r in report.confirmatory() if r.p is not None):
        assert set(row.arm_p) >= {"phase_scrambled", "predicted_natural"}
        assert (row.monotonic_p is not None) == (
            row.monotonic_images >= 5
        )  # one reference, three steps, the controller
        assert row.contrast == key_row(key, row.image_id).contrast
    event = next(e for e in round_.events() if e["event"] == "arms")
    assert event["shown"]["phase_scrambled"] == len(controllers)
    data = gather(project, [1])
    made = data.source_ids[data.natural :]
    assert {r.source_id for r in [*graded, *arms]} <= {*made, *data.source_ids[: data.natural]}
    assert len(set(data.source_ids)) == len(data.source_ids)


def key_row(key: Key, image_id: str) -> KeyRow:
    return next(r for r in key.rows if r.image_id == image_id)


@pytest.mark.usefixtures("undrawn")
def test_deleting_the_truth_changes_no_byte_of_the_results(base: Path, finished: Path, tmp_path: Path) -> None:
    folder = copy(finished, tmp_path / "copy")
    shutil.rmtree(folder / "subject")
    round_ = first_round(folder)
    before = round_.evaluation_path.read_bytes()
    for path in (round_.evaluation_path, round_.report_path, round_.folder / "control.csv"):
        path.unlink()
    assert run(Project.open(folder / "project")).stage == "finished"
    assert round_.evaluation_path.read_bytes() == before


@pytest.mark.thorough
@pytest.mark.usefixtures("undrawn")
def test_killed_between_and_within_stages_ends_in_the_same_state(base: Path, finished: Path, tmp_path: Path) -> None:
    folder = copy(base, tmp_path / "killed")
    shutil.rmtree(folder / "project" / "fitted")
    shutil.rmtree(first_round(folder).folder)
    project = Project.open(folder / "project")
    kills = {
        "fit": "protocols.models.refit:write_fitted",
        "generate": "synth.batch:StimulusBatch.save",
        "export": "protocols.rounds.export:write_checksums",
    }
    for stage, where in kills.items():
        assert look(project).stage == stage
        cut_within(project, where)
        assert look(project).stage == stage
        step(project, look(project))
    assert look(project).waiting_for == "responses"
    answer(folder / "subject", project.round(1), seed=1)
    for stage, where in {
        "ingest": "protocols.recordings.ingest:write_json",
        "evaluate": "protocols.verdict.control_report:write_json",
    }.items():
        assert look(project).stage == stage
        kill_within(project, where)
        step(project, look(project))
    assert run(project).stage == "finished"
    ours, theirs = first_round(folder), first_round(finished)
    assert ours.evaluation_path.read_bytes() == theirs.evaluation_path.read_bytes()
    assert ours.key_path.read_bytes() == theirs.key_path.read_bytes()
    assert digest(ours.outbox / "images") == digest(theirs.outbox / "images")
    assert not list((folder / "project").rglob("*tmp-*"))


class PowerCut(BaseException):
    """Ends a stage; no ``except Exception`` holds it up."""


def cut_within(project: Project, where: str) -> None:
    """Run the next stage up to the call `where` ("module:Name.method") and leave the files as they were at that moment.

    They are what a power cut would leave: copied while the stage stands still, before anything is tidied up.
    """
    module, _, name = where.partition(":")
    owner, kept = importlib.import_module(module), project.folder.with_name("as_cut")
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)

    def cut(*_: object, **__: object) -> None:
        copy(project.folder, kept)
        raise PowerCut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, last, cut)
        patch.setattr(os, "getpid", lambda: 4_194_305)  # of a process that is gone when the stage is repeated
        with pytest.raises(PowerCut):
            step(project, look(project))
    shutil.rmtree(project.folder)
    kept.rename(project.folder)


def kill_within(project: Project, where: str) -> None:
    """As `cut_within` for a function, in a process that dies at that call: for stages that load no network."""
    module, _, name = where.partition(":")
    code = (
        "import importlib, os, sys\nfrom protocols import Project\nfrom protocols.loop import look, step\n"
        f"setattr(importlib.import_module({module!r}), {name!r}, lambda *a, **k: os._exit(9))\n"
        "project = Project.open(sys.argv[1])\nstep(project, look(project))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(project.folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr


def answered_and_evaluated(folder: Path, *options: object) -> Round:
    """Round 1, answered by the simulated rig with `options`, ingested and evaluated."""
    round_ = first_round(folder)
    places = ("--subject", folder / "subject", "--outbox", round_.outbox, "--inbox", round_.inbox)
    simulate("rig", *places, *options, "--seed", 1)
    project = Project.open(folder / "project")
    for stage in ("ingest", "evaluate"):
        assert look(project).stage == stage
        step(project, look(project))
    return round_


def test_row_order_layout_and_site_order_of_the_answer_do_not_matter(
    base: Path, finished: Path, tmp_path: Path
) -> None:
    expected = first_round(finished).evaluation_path.read_bytes()
    for number, arguments in enumerate(
        (["--layout", "python", "--no-shuffle", "--no-permute-sites"], ["--layout", "matlab"])
    ):
        round_ = answered_and_evaluated(copy(base, tmp_path / str(number)), *arguments)
        assert round_.evaluation_path.read_bytes() == expected


def test_missing_trials_change_only_what_they_must(base: Path, finished: Path, tmp_path: Path) -> None:
    round_ = answered_and_evaluated(copy(base, tmp_path / "full"), "--missing", 0)
    whole, dropped = (ControlReport.from_json(r.evaluation_path) for r in (round_, first_round(finished)))
    assert dropped.trials < whole.trials
    assert dropped.trials / whole.trials == pytest.approx(0.95, abs=0.02)
    kept = read_responses(first_round(finished).responses_path)
    full = read_responses(round_.responses_path)
    where = {
        (int(b), int(r), str(i)): n
        for n, (b, r, i) in enumerate(zip(full.block, full.rep, full.image_ids, strict=True))
    }
    rows = [where[int(b), int(r), str(i)] for b, r, i in zip(kept.block, kept.rep, kept.image_ids, strict=True)]
    np.testing.assert_array_equal(full.values[rows], kept.values)


def test_swapped_keys_swap_the_verdicts(finished: Path, tmp_path: Path) -> None:
    round_ = first_round(finished)
    key, responses = read_key(round_.key_path), read_responses(round_.responses_path)
    report = evaluate(responses, key, permutations=999)
    stretch = [r for r in report.confirmatory("stretch") if r.p is not None]
    first, second = stretch[0], stretch[1]
    swap = {first.image_id: second.image_id, second.image_id: first.image_id}
    rows = [type(r)(**{**r.__dict__, "image_id": swap.get(r.image_id, r.image_id)}) for r in key.rows]
    write_key(tmp_path / "key.csv", Key(tuple(rows), key.sites))
    swapped = evaluate(responses, read_key(tmp_path / "key.csv"), permutations=999)
    by_site = {r.site: r for r in swapped.confirmatory("stretch")}
    columns = {s: responses.site_ids.index(s) for s in (first.site, second.site)}
    for row in (first, second):
        other = by_site[row.site]
        assert other.image_id == swap[row.image_id]
        shown = responses.usable()
        assert shown.block is not None
        level = remove_block_means(shown.values, shown.block)
        mean = np.nanmean(level[shown.image_ids == other.image_id, columns[row.site]])
        assert other.measured == pytest.approx(mean)
        assert other.measured != row.measured


def permuted(responses: Responses, key: Key, generator: np.random.Generator) -> Responses:
    """The recorded round with its image labels permuted within block, jointly over the sites; blanks keep theirs."""
    blanks = {r.image_id for r in key.of_role("blank")}
    labels = responses.image_ids.copy()
    assert responses.block is not None
    for block in np.unique(responses.block):
        rows = np.flatnonzero((responses.block == block) & ~np.isin(labels, list(blanks)))
        labels[rows] = labels[generator.permutation(rows)]
    return Responses(**{**responses.__dict__, "image_ids": labels, "rep": None})


BESIDE = ("graded", "arm")  # shown beside the controllers; they decide no verdict


def decided_by(responses: Responses, key: Key) -> tuple[Responses, Key]:
    """The round without the images that stand beside the verdicts, whose comparisons take most of an evaluation."""
    rows = tuple(r for r in key.rows if r.role not in BESIDE)
    shown = np.isin(responses.image_ids, [r.image_id for r in rows])
    return responses.select(shown), Key(rows, key.sites)


def confirmed(responses: Responses, key: Key) -> dict[tuple[str, str], str]:
    """The verdict of every tested confirmatory controller, by objective and site."""
    rows = [r for r in evaluate(responses, key, permutations=299).confirmatory() if r.p is not None]
    return {(r.objective, r.site): r.verdict for r in rows if r.verdict in ("control", "no control")}


@pytest.mark.thorough
def test_permuted_labels_of_a_recorded_round_give_no_more_control_than_chance(finished: Path) -> None:
    """500 rounds: 50 with all that was shown, 450 with the images that the verdicts depend on."""
    round_ = first_round(finished)
    key, responses = read_key(round_.key_path), read_responses(round_.responses_path)
    assert {r.role for r in key.rows} > set(BESIDE)
    generator = np.random.default_rng(0)
    verdicts = []
    for number in range(500):
        shown = permuted(responses, key, generator)
        verdicts.append(confirmed(shown, key) if number < 50 else confirmed(*decided_by(shown, key)))
    assert confirmed(*decided_by(responses, key)).keys() == confirmed(responses, key).keys()
    false, tested = sum(list(v.values()).count("control") for v in verdicts), sum(map(len, verdicts))
    per_round = [np.mean([verdict == "control" for verdict in v.values()]) for v in verdicts]
    rate, error = np.mean(per_round), np.std(per_round, ddof=1) / np.sqrt(len(per_round))
    assert tested > 3000
    assert rate + 2.326 * error <= 0.02, (rate, error)
    assert binom.sf(false - 1, tested, 0.02) > 0.01


def test_labels_permuted_before_fitting_leave_no_reliable_site(base: Path, tmp_path: Path) -> None:
    folder = copy(base, tmp_path / "permuted")
    project = Project.open(folder / "project")
    shutil.rmtree(project.fitted)
    shutil.rmtree(first_round(folder).folder)
    baseline = project.round(0)
    responses = read_responses(baseline.responses_path)
    labels = np.random.default_rng(1).permutation(responses.image_ids)
    write_responses(baseline.responses_path, Responses(**{**responses.__dict__, "image_ids": labels}))
    with pytest.raises(DataError, match="D05"):
        run(project)
    excluded = json.loads((project.fitted / "excluded_sites.json").read_text())
    assert all(s["reason"] for s in excluded["sites"])
    assert not any(s["eligible_fit"] for s in excluded["sites"])


@pytest.mark.parametrize("fault", ["truncated", "foreign", "duplicated", "other round", "altered outbox"])
def test_a_faulty_answer_is_refused_and_the_round_is_untouched(
    base: Path, finished: Path, tmp_path: Path, fault: str
) -> None:
    folder = copy(base, tmp_path / "faulty")
    round_ = first_round(folder)
    good = next(first_round(finished).inbox.glob("responses.h5"))
    target = round_.inbox / "responses.h5"
    round_.inbox.mkdir(exist_ok=True)
    if fault == "truncated":
        target.write_bytes(good.read_bytes()[:-3000])
    elif fault == "foreign":
        target.write_bytes(b"not an HDF5 file")
    elif fault == "other round":
        shutil.copy(next(Project.open(folder / "project").round(0).inbox.glob("responses.h5")), target)
    else:
        answered = read_responses(good)
        rows = np.arange(len(answered.values))
        rows = np.concatenate([rows, rows[:5]]) if fault == "duplicated" else rows
        write_responses(target, answered.select(rows))
    (round_.inbox / "responses.h5.done").touch()
    if fault == "altered outbox":
        image = next((round_.outbox / "images").glob("*.png"))
        image.chmod(0o644)
        image.write_bytes(image.read_bytes()[:-1] + b"x")
    before = digest(round_.folder)
    with pytest.raises(DataError, match=r"error\[[A-Z]\d\d\].*found .*expected .*Likely cause: .*Fix: "):
        run(Project.open(folder / "project"))
    assert digest(round_.folder) == before


def test_a_project_may_be_moved(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "project", tmp_path / "elsewhere")
    project = Project.open(tmp_path / "elsewhere")
    assert look(project).stage == "finished"
    for path in [*project.folder.rglob("*.json"), *project.folder.rglob("*.csv"), *project.folder.rglob("*.jsonl")]:
        assert str(finished) not in path.read_text(encoding="utf-8"), path


def test_a_refit_uses_the_controllers_and_keeps_the_held_out_photographs(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "project", tmp_path / "next")
    project = Project.open(tmp_path / "next")
    toml = (project.folder / "project.toml").read_text().replace("rounds = 1", "rounds = 2")
    (project.folder / "project.toml").write_text(toml)
    assert (look(project).stage, look(project).number) == ("fit", 2)
    step(project, look(project))
    first, second = project.fitted_for(1), project.fitted_for(2)
    assert first is not None
    assert second is not None
    assert second["rounds"] == [0, 1]
    assert second["n_images"] > first["n_images"]
    assert second["n_trials"] > first["n_trials"]
    assert set(first["report"]["held_out_images"]) <= set(second["report"]["held_out_images"])
    data = gather(project, [1])
    assert data.pixels.shape[0] > data.natural
    batch = generate(project, 2)
    assert len(batch) == len(StimulusBatch.load(first_round(finished).controllers_path))


def test_a_rounds_responses_are_pooled_on_the_baselines_scale(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "project", tmp_path / "next")
    project = Project.open(tmp_path / "next")
    data = gather(project, [1])
    drift = RoundDrift.from_json(first_round(finished).drift_path)
    assert drift is not None
    assert drift == drift_of(project, project.round(1))
    assert {s.method for s in drift.sites} == {"regression"}
    applied = data.aligned["round_01"]
    assert applied["sites"] == drift.applied()
    assert applied.get("excluded", {}) == drift.excluded
    toml = (project.folder / "project.toml").read_text().replace("align = true", "align = false")
    (project.folder / "project.toml").write_text(toml.replace("exclude = true", "exclude = false"))
    raw = gather(project, [1])
    assert raw.aligned == {}
    now = read_responses(project.round(1).responses_path).usable().sites(data.site_ids)
    last = slice(-len(now.values), None)
    assert np.array_equal(raw.values[last], now.values, equal_nan=True)
    expected = on_baseline_scale(now, drift)[0].values
    expected[:, [s in drift.excluded for s in data.site_ids]] = np.nan
    assert np.array_equal(data.values[last], expected, equal_nan=True)
    report = ControlReport.from_json(first_round(finished).evaluation_path)
    assert {r.site for r in report.rows if r.reason.startswith(("lost", "moved", "split"))} <= set(drift.excluded)


def test_every_controller_says_whether_it_is_outside_the_training_distribution(finished: Path) -> None:
    round_ = first_round(finished)
    rows = read_key(round_.key_path).rows
    shown = [r for r in rows if r.role != "blank"]
    assert all(r.outside is not None and r.distance > 0 for r in shown if r.role == "controller")
    natural = [r.distance for r in shown if r.role in ("reference", "natural")]
    assert np.median([r.distance for r in shown if r.role == "controller"]) > np.median(natural)
    report = ControlReport.from_json(round_.evaluation_path)
    assert all(row.outside is not None for row in report.rows)
