"""Images that were evolved on the rig are looked at before each export, vetoed by name, and the evolution goes on without them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols import loop
from protocols.arrays import Pixels
from protocols.disk.png import read_png, write_png
from protocols.errors import DataError
from protocols.evolution.images import Pictures
from protocols.project.config.protocol import LoopConfig
from protocols.project.decisions.honoured import Honoured, read_honoured
from protocols.project.folder import Project
from protocols.project.generations.files import Evolution, Generation, evolved_images, evolved_name, evolved_target
from protocols.project.key import read_key
from protocols.project.outbox import broken_seals, read_manifest
from protocols.report.decided import decision_sections
from protocols.rounds.decisions.decide import Asked, decide
from protocols.rounds.decisions.evolved import entering, with_evolved
from protocols.rounds.evolved import evolved_alone
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.evolved_project import SITES, Subject, answer, make, rewrite, settings
from tests.protocols.helpers.served_project import application, request

TARGETS = SITES[:2]


def reviewed(**evolution: object) -> object:
    return settings(generations=2, **evolution).model_copy(update={"loop": LoopConfig(rounds=1, review=True)})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The images of the first generation wait to be looked at."""
    project = make(tmp_path_factory.mktemp("vetoes") / "p", reviewed())
    state = loop.run(project)
    assert (state.stage, state.waiting_for) == ("evolve", "review")
    assert "generation 1 are made and wait" in state.summary()
    return project


@pytest.fixture
def waiting(made: Project, tmp_path: Path) -> Project:
    return Project(shutil.copytree(made.folder, tmp_path / "p"))


def pending(project: Project) -> Generation:
    found = Evolution(project.round(1)).proposed()
    assert found is not None
    return found


def test_a_vetoed_image_is_not_shown_has_no_score_and_stands_in_the_report(
    waiting: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    generation = pending(waiting)
    names = list(generation.proposed())
    assert len(names) == 2 * 10
    code, out, _ = stimsynth(capsys, "decide", waiting.folder, "veto", names[3], "--reason", "a face", "--who", "ann")
    assert code == 0, out
    vetoed = read_png(generation.proposed()[names[3]])
    code, out, _ = stimsynth(capsys, "evolve", waiting.folder)
    assert code == 4
    assert "generation 1 of 2 is exported" in out
    assert not generation.proposed_path.exists()
    rows = read_key(generation.key_path).of_role("controller")
    assert {r.source_id for r in rows} == set(names) - {names[3]}
    assert not any((read_png(generation.image_path(r.image_id)) == vetoed).all() for r in rows)
    manifest = read_manifest(generation.outbox)
    assert manifest["decisions"]["left_out"] == 1
    assert "v4_" not in str(manifest["decisions"])
    assert not broken_seals(generation.sealed, manifest)
    with pytest.raises(DataError, match="S14"):
        decide(waiting, Asked(action="approve", who="ann", reason="too late", image=names[3]))
    answer(generation, Subject())
    state = loop.run(waiting)
    assert (state.stage, state.waiting_for, pending(waiting).generation) == ("evolve", "review", 2)
    (left,) = read_honoured(generation).left_out
    view = SimpleNamespace(honoured=Honoured(sequence=0), generations=((1, left),))
    (section,) = decision_sections(view)  # type: ignore[arg-type]
    assert section.tables[0].lines == [[names[3], TARGETS[0], "1", "a face", f"ann, {left.utc}"]]
    assert "1 images were vetoed in generations" in section.points[0]


def test_what_is_not_vetoed_is_shown_as_without_a_review(waiting: Project, tmp_path: Path) -> None:
    generation, pixels = pending(waiting), {}
    for name, path in generation.proposed().items():
        pixels[name] = read_png(path)
    plain = make(tmp_path / "plain", settings(generations=2))
    loop.evolve(plain, 1)
    loop.evolve(waiting, 1)
    other = Evolution(plain.round(1)).generation(1)
    assert (generation.outbox / "order.csv").read_bytes() == (other.outbox / "order.csv").read_bytes()
    for row in read_key(generation.key_path).of_role("controller"):
        assert (read_png(generation.image_path(row.image_id)) == pixels[row.source_id]).all()


def nudged(change: int) -> Callable[[Pictures, Any], Pixels | None]:
    """`Pictures.pixels` on another device: a row of every image is `change` grey levels away."""
    plain = Pictures.pixels

    def pixels(pictures: Pictures, code: Any) -> Pixels | None:
        found = plain(pictures, code)
        if found is None:
            return None
        other = found.astype(int)
        other[0] += np.where(other[0] > 127, -change, change)
        return other.astype(np.uint8)

    return pixels


def test_what_was_looked_at_is_shown_and_its_veto_holds_on_another_device(
    waiting: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = pending(waiting)
    seen = {name: read_png(path) for name, path in generation.proposed().items()}
    vetoed = list(seen)[3]
    decide(waiting, Asked(action="veto", who="ann", reason="a face", image=vetoed))
    monkeypatch.setattr(Pictures, "pixels", nudged(1))
    loop.evolve(waiting, 1)
    rows = read_key(generation.key_path).of_role("controller")
    assert {r.source_id for r in rows} == set(seen) - {vetoed}
    assert all((read_png(generation.image_path(r.image_id)) == seen[r.source_id]).all() for r in rows)


@pytest.mark.parametrize("damage", [lambda p: write_png(p, 255 - read_png(p)), Path.unlink])
def test_other_images_than_were_looked_at_wait_again(waiting: Project, damage: Callable[[Path], object]) -> None:
    generation = pending(waiting)
    damage(list(generation.proposed().values())[-1])
    loop.evolve(waiting, 1)
    assert not generation.outbox.is_dir()
    assert (loop.look(waiting).waiting_for, len(generation.proposed())) == ("review", 20)
    loop.evolve(waiting, 1)
    assert generation.outbox.is_dir()


def test_the_name_of_an_evolved_image_holds_its_target() -> None:
    for target in ("v4_001", "a", "x_i003", "evo_r01_g001_b"):
        assert evolved_target(evolved_name(1, 12, target, place="i003")) == target


def test_a_target_keeps_an_image_or_is_stopped(waiting: Project) -> None:
    for name in [n for n in pending(waiting).proposed() if TARGETS[1] in n]:
        decide(waiting, Asked(action="veto", who="ann", reason="dull", image=name))
    with pytest.raises(DataError, match=f"all images of {TARGETS[1]}") as caught:
        loop.evolve(waiting, 1)
    assert caught.value.code == "S12"
    decide(waiting, Asked(action="approve", who="ann", reason="well", image=name))
    loop.evolve(waiting, 1)
    rows = read_key(Evolution(waiting.round(1)).generation(1).key_path).of_role("controller")
    assert [r.source_id for r in rows if r.target == TARGETS[1]] == [name]


def test_served_pages_show_the_waiting_images_and_take_a_veto(waiting: Project) -> None:
    name = next(iter(pending(waiting).proposed()))
    app, _ = application(waiting, decisions=True)
    gallery = request(app, "/api/view/gallery").json
    images = {i["name"]: i for i in gallery["data"]["images"]}
    assert set(images) == set(pending(waiting).proposed())
    assert "not for whoever shows them" in gallery["data"]["rounds"][0]["text"]
    assert (images[name]["at"][0]["site"], images[name]["decision"]) == (TARGETS[0], None)
    assert request(app, f"/image/{images[name]['id']}").data[:4] == b"\x89PNG"
    for wrong in ("evolved/1/..", "evolved/01/" + name, "evolved/2/" + name, "evolved/1/plan"):
        assert request(app, f"/image/{wrong}").status == 404, wrong
    asked = {"action": "veto", "image": name, "reason": "a face", "who": "ann", "expected": 0, "round": 1}
    body = str(asked).replace("'", '"').encode()
    told = request(app, "/api/decide", method="POST", body=body)
    assert told.status == 200, told.data
    again = request(app, "/api/view/gallery").json["data"]["images"]
    assert {i["name"]: i["decision"] for i in again}[name] == {"action": "veto", "who": "ann", "reason": "a face"}


def test_the_image_that_enters_a_round_is_vetoed_before_its_export(waiting: Project) -> None:
    rewrite(waiting, settings(generations=1))
    for _ in range(2):
        loop.evolve(waiting, 1)
        generation = Evolution(waiting.round(1)).open_generation()
        assert generation is not None
        answer(generation, Subject())
    assert loop.evolve(waiting, 1).finished
    project = waiting.for_stage()
    chosen = evolved_images(project, 1)
    assert set(entering(project, 1)) == set(TARGETS)
    image = chosen[TARGETS[0]].source_id
    app, _ = application(waiting)
    gallery = {i["name"]: i["id"] for i in request(app, "/api/view/gallery").json["data"]["images"]}
    assert set(gallery) == {found.source_id for found in chosen.values()}
    assert request(app, f"/image/{gallery[image]}").data[:4] == b"\x89PNG"
    decide(waiting, Asked(action="veto", who="ann", reason="a face", image=image))
    assert set(entering(project, 1)) == {TARGETS[1]}
    assert set(evolved_alone(project, 1, (), site_ids=SITES)) == {TARGETS[1]}
    batch = SimpleNamespace(kinds=("stretch",), targets=(TARGETS[1],))
    honoured = with_evolved(project, 1, Honoured(sequence=0), batch=batch, site_ids=SITES)  # type: ignore[arg-type]
    assert honoured.untested == [("stretch", TARGETS[0])]
    beside = SimpleNamespace(kinds=("stretch",), targets=(TARGETS[0],))
    assert with_evolved(project, 1, Honoured(sequence=0), batch=beside, site_ids=SITES).untested == []  # type: ignore[arg-type]
    round_ = waiting.round(1)
    round_.outbox.mkdir()
    assert request(app, f"/image/{gallery[image]}").status == 403  # which it is, is closed now
    with pytest.raises(DataError, match="S14"):
        decide(waiting, Asked(action="approve", who="ann", reason="after all", image=image))
