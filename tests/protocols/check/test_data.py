"""Damaged, edited and lost files of a project: `check` names each, and never raises."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.check import check_project
from protocols.check import look as looks
from protocols.check.data import display, near_duplicates, photographs, recordings, split
from protocols.check.findings import Finding, collected
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png, write_png
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages, read_photographs, write_photographs
from tests.protocols.helpers.checked_project import make, set_keys


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project, not to be changed."""
    return make(tmp_path_factory.mktemp("data") / "lab")


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    """A copy that a test may damage."""
    return copied(made, tmp_path / "lab")


def copied(made: Project, place: Path) -> Project:
    shutil.copytree(made.folder, place, dirs_exist_ok=True)
    return Project.open(place)


def lines(project: Project, change: Callable[[list[str]], list[str]]) -> None:
    table = project.data / "natural.csv"
    table.write_text("".join(change(table.read_text().splitlines(keepends=True))))


def redrawn(project: Project, name: str, pixels: np.ndarray) -> None:
    """Another picture in the place of one, with its checksum."""
    path = project.data / "natural" / name
    write_png(path, pixels)
    table = read_photographs(project.data / "natural.csv")
    new = [replace(r, sha256=sha256_file(path)) if r.filename == name else r for r in table]
    write_photographs(project.data / "natural.csv", new)


DAMAGES: dict[str, tuple[Callable[[Project, int], None], str]] = {
    "a table without a line": (lambda p, i: lines(p, lambda x: x[:1]), "P03"),
    "an empty table": (lambda p, i: lines(p, lambda x: []), "P03"),
    "a line twice": (lambda p, i: lines(p, lambda x: [*x, x[1 + i]]), "P03"),
    "a picture gone": (lambda p, i: (p.data / "natural" / f"img_{i:03d}.png").unlink(), "P04"),
    "a picture altered": (lambda p, i: (p.data / "natural" / f"img_{i:03d}.png").write_bytes(b"\x89PNG"), "P04"),
    "a picture of another size": (
        lambda p, i: redrawn(p, f"img_{i:03d}.png", np.zeros((32, 31, 3), np.uint8)), "C07",
    ),
    "a grey picture": (lambda p, i: redrawn(p, f"img_{i:03d}.png", np.zeros((32, 32, 1), np.uint8)), "C07"),
    "the table gone": (lambda p, i: (p.data / "natural.csv").unlink(), "C12"),
    "a response file cut": (lambda p, i: (p.data / "responses.h5").write_bytes((p.data / "responses.h5").read_bytes()[: 900 + i]), "R03"),
    "a manifest edited": (lambda p, i: (p.rounds()[0].outbox / "manifest.json").write_text("{}"), "X07"),
}  # fmt: skip


@settings(max_examples=14, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(DAMAGES)), st.integers(0, 47))
def test_damage_is_told_with_its_code(made: Project, tmp_path: Path, damage: str, which: int) -> None:
    """One damage at any of the 48 photographs: a finding with that code, whatever else follows from it."""
    shutil.rmtree(tmp_path / "lab", ignore_errors=True)
    project = copied(made, tmp_path / "lab")
    for path in project.folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    act, code = DAMAGES[damage]
    act(project, which)
    with pytest.MonkeyPatch.context() as patch:
        for slow in ("backbone", "safety"):
            patch.delitem(looks.LOOKS, slow)
        findings = check_project(project)
    assert code in [f.code for f in findings if f.status == "fail"], (damage, findings)
    texts = [f.text for f in findings if f.status == "fail"]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("edge", [0.0, 0.1, 0.3, 1.0])
@pytest.mark.parametrize("encoding", ["linear", "srgb"])
def test_photographs_are_held_to_the_aperture_outside_it_alone(project: Project, edge: float, encoding: str) -> None:
    """A soft edge that was drawn once is not drawn again; what was drawn without an aperture, or on another background, is told."""

    def told(**keys: object) -> list[str]:
        set_keys(project, {("display", key): value for key, value in keys.items()}, project.config)
        return [f.code for f in collected("display", display, Project.open(project.folder)) if f.status == "fail"]

    drawn = {"aperture": "circle", "aperture_edge": edge, "encoding": encoding}
    assert told(**drawn) == ["C07"]
    shown = Project.open(project.folder).display
    for row in NaturalImages.load(project.data).rows:
        redrawn(project, row.filename, shown.apply_aperture(read_png(project.data / "natural" / row.filename)))
    assert told(**drawn) == []
    assert told(**drawn, background=127) == ["C07"]


def test_the_baseline_gone_after_a_round_was_made(project: Project) -> None:
    (project.data / "responses.h5").unlink()
    assert "C12" not in [f.code for f in collected("recordings", recordings, project)]  # it may not be recorded yet
    round_ = project.new_round(1, "ses_20261121")
    round_.controllers_path.parent.mkdir(parents=True, exist_ok=True)
    round_.controllers_path.write_bytes(b"made")
    assert "C12" in [f.code for f in collected("recordings", recordings, project)]


def test_grey_photographs_in_a_colour_project_are_noted(project: Project) -> None:
    for row in NaturalImages.load(project.data).rows:
        grey = read_png(project.data / "natural" / row.filename)[..., :1].repeat(3, -1)
        redrawn(project, row.filename, grey)
    (note,) = [f for f in collected("photographs", photographs, project) if f.status == "note"]
    assert "all 48 photographs are grey" in note.text


def test_near_duplicates_are_counted_and_noted_where_the_fit_does_not_join_them(
    made: Project, project: Project
) -> None:
    held = read_png(project.data / "natural" / "img_000.png").astype(int)
    for i in range(1, 9):  # near copies of one picture, on whatever side they lie
        noise = np.random.default_rng(i).integers(-3, 4, held.shape)
        redrawn(project, f"img_{i:03d}.png", (held + noise).clip(0, 255).astype(np.uint8))
    (found,) = collected("near duplicates", near_duplicates, project)
    assert found.status == "ok"
    assert "9 photographs look like another one" in found.text
    set_keys(project, {("encoder", "join_near_duplicates"): False}, made.config)
    (found,) = collected("near duplicates", near_duplicates, project)
    assert found.status == "note"
    assert "join_near_duplicates = true" in found.text


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(2, 12), st.integers(0, 10_000), st.sampled_from([0.1, 0.2, 0.4]))
def test_the_share_of_groups_held_out_is_the_one_of_their_hashes(
    made: Project, tmp_path: Path, groups: int, seed: int, fraction: float
) -> None:
    """2 to 12 groups of any sizes: refused where nothing can be fitted, noted where the share is far from the wanted."""
    project = copied(made, tmp_path / "lab")
    table = read_photographs(made.data / "natural.csv")
    named = [f"g{i % groups if i % 3 else 0}" for i in range(len(table))]
    write_photographs(project.data / "natural.csv", [replace(r, group=g) for r, g in zip(table, named, strict=True)])
    set_keys(
        project,
        {("encoder", "seed"): seed, ("encoder", "holdout_fraction"): fraction, ("encoder", "folds"): 2},
        made.config,
    )
    side = {g: int(hashlib.sha256(f"{seed}:{g}".encode()).hexdigest(), 16) / 2**256 < fraction for g in named}
    held = [side[g] for g in named]
    found = collected("split", split, project)
    share = sum(held) / len(held)
    if sum(held) < 3 or len(held) - sum(held) < 20 or list(side.values()).count(False) < 2:
        assert [f.code for f in found] == ["C14"]
    else:
        unusual = share > max(0.4, 1.5 * fraction) or share < fraction / 3
        assert [f.status for f in found] == ["note" if unusual else "ok"]
        assert f"{sum(held)} of {len(held)} photographs held out" in found[0].text


@pytest.mark.parametrize(
    "error", [ValueError("x"), OSError(5, "x"), ImportError("x"), RuntimeError("x"), KeyError("x"), IndexError("x"), TypeError("x"), AttributeError("x"), UnicodeDecodeError("utf-8", b"x", 0, 1, "x")]
)  # fmt: skip
def test_whatever_a_look_raises_over_a_damaged_file_is_a_finding(project: Project, error: Exception) -> None:
    def broken(_: Project):
        yield Finding("ok", "file", "its first half")
        raise error

    assert [(f.status, f.what) for f in collected("file", broken, project)] == [("ok", "file"), ("fail", "file")]
