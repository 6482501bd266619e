"""The round after an evolution: the evolved images are shown, judged by trials of their own, and not replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocols import loop
from protocols.disk.files import write_text
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.config.template import template
from protocols.project.folder import Project
from protocols.project.generations.files import Evolution, evolved_images
from protocols.project.key import read_key
from protocols.project.photographs import NaturalImages
from protocols.recordings.readers.hdf5 import read_kept, write_responses
from protocols.recordings.responses import Responses
from protocols.report.methods import methods_paragraph
from protocols.reproduce import reproduce
from protocols.state import look
from tests.protocols.helpers.refit_project import SITES, Subject, deliver, recorded, settings

CONTROLLED, ALONE = SITES[0], SITES[4]


def made(folder: Path) -> tuple[Project, Subject]:
    """The small project of the refits, with a recorded baseline; an image is evolved for two sites, one of which no
    controller is made for.
    """
    base = settings()
    config = base.model_copy(
        update={
            "synthesis": base.synthesis.model_copy(update={"targets": (CONTROLLED, SITES[1])}),
            "arms": base.arms.model_copy(update={"kinds": ("evolved",)}),
            "loop": base.loop.model_copy(update={"rounds": 1}),
            "evolution": EvolutionConfig(
                generations=1,
                targets=(CONTROLLED, ALONE),
                start="photographs",
                population=4,
                references=2,
                reference_repeats=2,
                candidates=2,
                candidate_repeats=2,
            ),
        }
    )
    return recorded(folder, config)


@pytest.mark.slow
def test_the_round_shows_and_judges_what_was_evolved(tmp_path: Path) -> None:
    project, subject = made(tmp_path)
    order = []
    for _ in range(20):
        state = look(project)
        if state.stage == "report":
            break
        if state.waiting_for:
            assert state.round is not None
            deliver(state.round, subject, seed=len(order))
        else:
            order.append(state.stage)
            loop.step(project, state)
    assert order == ["evolve", "evolve", "evolve", "fit", "generate", "export", "ingest", "evaluate"]
    round_ = project.round(1)
    key, evolved = read_key(round_.key_path), evolved_images(project, 1)
    assert set(evolved) == {CONTROLLED, ALONE}
    (arm,) = key.of_role("arm")
    parent = next(r for r in key.rows if r.source_id == arm.parent)
    assert (arm.arm, arm.source_id) == ("evolved", evolved[CONTROLLED].source_id)
    assert (parent.target, parent.generator, parent.confirmatory) == (CONTROLLED, "gradient", True)
    assert arm.started_from == evolved[CONTROLLED].started_from
    assert arm.started_from in NaturalImages.load(project.data).source_ids
    (alone,) = (r for r in key.of_role("controller") if r.generator == "evolution")
    assert (alone.target, alone.objective, alone.confirmatory) == (ALONE, "stretch", True)
    assert any(("stretch", ALONE) in r.reference_for for r in key.rows)
    for row, image in ((arm, evolved[CONTROLLED]), (alone, evolved[ALONE])):
        assert np.array_equal(read_png(round_.image_path(row.image_id)), image.pixels)
        assert set(row.predicted) == set(SITES)
    report = loop.evaluate_round(project, round_)
    assert {r.site for r in report.rows} == {CONTROLLED, SITES[1], ALONE}
    answered = read_kept(round_.responses_path)  # the trials of the round alone judge, not those that chose the image
    own = next(r for r in report.rows if r.site == ALONE)
    assert own.n == int(answered.repeats([alone.image_id])[0, SITES.index(ALONE)]) == 8
    assert set(answered.image_ids.tolist()) <= {r.image_id for r in key.rows}
    assert f"the sites ({ALONE}) were evolved" in methods_paragraph(project.config, report)
    assert reproduce(round_.outbox / "manifest.json").verified


def test_the_evolution_stands_where_it_needs_to(tmp_path: Path) -> None:
    """Before the fit where sites are named; after it where the encoder names them; after the controllers of a hybrid."""
    project = Project.create(tmp_path / "p")
    for evolution, stage in (
        ({"targets": ("v4_000",)}, "fit"),
        ({}, "generate"),
        ({"start": "controllers"}, "export"),
        ({"start": "controllers", "targets": ("v4_000",)}, "export"),
    ):
        assert EvolutionConfig(generations=1, **evolution).comes_before == stage
    base = settings()
    config = base.model_copy(
        update={
            "arms": base.arms.model_copy(update={"kinds": ("evolved",)}),
            "evolution": EvolutionConfig(generations=1, start="controllers"),
        }
    )
    write_text(project.folder / "project.toml", template(config))
    (project.data / "natural.csv").touch()
    write_responses(
        project.data / "responses.h5",
        Responses(np.ones((1, 1)), np.array(["a"]), ("s",), "au", window_ms=(0.0, 1.0)),
    )
    assert look(project).stage == "fit"
    round_ = project.new_round(1, "ses_20260101")
    (project.fitted / "for_round_01.json").write_text('{"encoder": "e", "validator": "v", "rounds": [], "report": {}}')
    assert look(project).stage == "generate"
    round_.sealed.mkdir()
    round_.controllers_path.touch()
    assert look(project).stage == "evolve"
    with pytest.raises(DataError) as caught:  # by hand: nothing would be shown of what was evolved
        loop.export(project, 1)
    assert caught.value.code == "O10"
    Evolution(round_).folder.mkdir()
    Evolution(round_).record_path.touch()
    assert look(project).stage == "export"
