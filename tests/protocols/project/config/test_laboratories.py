"""`init --template`: each file is a project that `check` takes, its questions are found, and its first day works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.check import check_project
from protocols.check.settings import configuration
from protocols.cli.arguments import LABORATORY_NAMES
from protocols.disk.files import sha256_file
from protocols.disk.png import read_png
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.keys import SECTIONS
from protocols.project.config.laboratories import LABORATORIES, OTHER_NAMES, laboratory, open_questions
from protocols.project.config.load import load_config
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project
from protocols.project.outbox import read_order
from protocols.project.photograph_import import demo_photographs
from protocols.recordings.readers.hdf5 import write_responses
from protocols.recordings.responses import Responses
from tests.protocols.helpers.commands import stimsynth

ROOT = Path(__file__).parents[4]
UNIT = {"electrophysiology": "spikes", "two-photon": "dff", "fmri": "beta", "human": "zscore"}
"""What such a laboratory records."""


def test_the_command_line_names_them_all() -> None:
    assert LABORATORY_NAMES == tuple(LABORATORIES) == tuple(UNIT)
    assert set(OTHER_NAMES.values()) == set(LABORATORIES)


@pytest.mark.parametrize("lab", LABORATORIES.values(), ids=LABORATORIES)
def test_every_key_exists_and_every_page_that_is_named(lab) -> None:
    keys = {(section, key) for section, keys in Config(display=Display(64, 64, 4.0)).to_dict().items() for key in keys}
    changed = {(section, key) for section, keys in lab.changes.items() for key in keys}
    assert changed | set(lab.reasons) | set(lab.questions) <= keys
    species = get_args(ProjectConfig.model_fields["species"].annotation)
    assert lab.changes.get("project", {}).get("species", "macaque") in species
    for page in re.findall(r"docs/[\w./]+\.md", " ".join([*lab.about, *lab.reasons.values(), *lab.questions.values()])):
        assert (ROOT / page).is_file(), page


@given(
    name=st.sampled_from(list(LABORATORIES)),
    width=st.integers(16, 4096),
    height=st.integers(16, 4096),
    degrees=st.floats(0.1, 360),
    background=st.integers(0, 255),
    colour=st.sampled_from(["grey", "rgb"]),
    aperture=st.sampled_from(["none", "circle"]),
    given_options=st.sets(st.sampled_from(["degrees", "colour"])),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_template_is_a_project_that_check_takes(
    tmp_path_factory, name, width, height, degrees, background, colour, aperture, given_options
) -> None:
    display = Display(width, height, degrees, background=background, colour=colour, aperture=aperture)
    answered = {{"degrees": ("display", "size_deg"), "colour": ("display", "colour")}[o] for o in given_options}
    lab = LABORATORIES[name].without(answered)
    project = Project.create(tmp_path_factory.mktemp("lab") / "p", template(name="p", display=display, laboratory=lab))
    config = load_config(project.folder / "project.toml")
    assert config.display == display
    values = config.to_dict()
    default = Config(display=display).to_dict()
    default["project"]["name"] = "p"
    for section, keys in values.items():
        for key, value in keys.items():
            wanted = lab.changes.get(section, {}).get(key, default[section][key])
            assert json.loads(json.dumps(value)) == json.loads(json.dumps(wanted)), (section, key)
    text = (project.folder / "project.toml").read_text(encoding="utf-8")
    assert sorted(open_questions(text)) == sorted(lab.questions)
    assert not {place for place in answered if place in open_questions(text)}
    assert max(map(len, text.splitlines())) <= 113
    findings = check_project(project)
    assert not [f for f in findings if f.status == "fail"], findings
    (asked,) = [f for f in findings if f.what == "questions"]
    assert asked.text.startswith(f"{len(lab.questions)} open")


def test_a_question_is_open_until_its_line_is_deleted(tmp_path: Path, capsys) -> None:
    project = Project.create(tmp_path / "p", template(laboratory=LABORATORIES["human"]))
    path = project.folder / "project.toml"
    for left in range(len(LABORATORIES["human"].questions), -1, -1):
        asked = [item.text for item in configuration(project) if item.what == "questions"]
        assert [text.split()[0] for text in asked] == ([str(left)] if left else [])
        lines = path.read_text(encoding="utf-8").splitlines()
        first = next((i for i, line in enumerate(lines) if line.startswith("# TODO")), None)
        if first is not None:
            section, key = open_questions("\n".join(lines))[0]
            assert f"[{section}] {key}" in asked[0]
            del lines[first]
        path.write_text("\n".join(lines), encoding="utf-8")


def test_an_option_that_is_given_is_no_question(tmp_path: Path, capsys) -> None:
    code, out, _ = stimsynth(capsys, "--json", "init", tmp_path / "a", "--template", "fmri", "--degrees", "8")
    assert code == 0
    asked = json.loads(out)["questions"]
    assert "[display] colour" in asked
    assert "[display] size_deg" not in asked
    _, out, _ = stimsynth(capsys, "--json", "init", tmp_path / "b")
    assert json.loads(out)["questions"] == []
    assert "TODO" not in (tmp_path / "b" / "project.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("ephys", "electrophysiology"),
        ("Electrophysiology", "electrophysiology"),
        ("elektrophysiologie", "electrophysiology"),
        ("2p", "two-photon"),
        ("two_photon", "two-photon"),
        ("twophoton", "two-photon"),
        ("fMRI", "fmri"),
        ("psychophysics", "human"),
        ("humans", "human"),
    ],
)
def test_an_unknown_name_tells_the_nearest(tmp_path: Path, capsys, word: str, near: str) -> None:
    code, _, err = stimsynth(capsys, "init", tmp_path / "p", "--template", word)
    assert code == 2
    assert repr(word) in err
    assert f"did you mean {near}?" in err
    assert all(name in err for name in LABORATORIES)
    assert not (tmp_path / "p").exists()


def test_a_name_near_none_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        laboratory("qqqq")


def answered(project: Project, unit: str) -> None:
    """A simulated answer to round 0: four sites that follow the brightness of four parts of the image."""
    round_ = project.round(0)
    order, rng = read_order(round_.outbox), np.random.default_rng(0)
    shown = {t.image_id for t in order}
    parts = {i: read_png(round_.image_path(i)).mean(2).reshape(2, 24, 2, 24).mean((1, 3)).ravel() for i in shown}
    table = np.stack([parts[t.image_id] for t in order])
    means = (table - table.mean(0)) / table.std(0)
    values = rng.poisson(np.exp(2 + 0.5 * means)) if unit == "spikes" else means + rng.normal(0, 0.7, means.shape)
    window = None if unit == "beta" else tuple(map(float, project.config.protocol.response_window_ms))
    responses = Responses(
        values=values.astype(float),
        image_ids=np.array([t.image_id for t in order]),
        site_ids=tuple(f"site_{i}" for i in range(4)),
        unit=unit,
        window_ms=window,
        block=np.array([t.block for t in order]),
        rep=np.array([t.rep for t in order]),
        attributes={"manifest_sha256": sha256_file(round_.outbox / "manifest.json")},
    )
    round_.inbox.mkdir(exist_ok=True)
    write_responses(round_.inbox / "responses.h5", responses)
    (round_.inbox / "responses.h5.done").touch()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("electrophysiology", marks=pytest.mark.thorough),
        pytest.param("two-photon", marks=pytest.mark.thorough),
        "fmri",
        pytest.param("human", marks=pytest.mark.thorough),
    ],
)
def test_the_first_day_works(tmp_path: Path, capsys, name: str) -> None:
    folder, photographs = tmp_path / "lab", tmp_path / "photographs"
    photographs.mkdir()
    for photograph in demo_photographs()[::10]:
        (photographs / photograph.filename).write_bytes(photograph.data)
    options = ["--template", name, "--width", "48", "--degrees", "8", "--colour", "grey"]
    assert stimsynth(capsys, "init", folder, *options)[0] == 0
    path = folder / "project.toml"
    text = path.read_text(encoding="utf-8").replace('effort = "full"', 'effort = "quick"')
    text = text.replace("\nlayers = []", '\nlayers = ["blocks.1.1"]').replace("# readout =", 'readout = "ridge"')
    text = text.replace('validator_backbone = ""', 'validator_backbone = "offline:efficientnet_lite0"')
    text = text.replace("validator_layers = []", 'validator_layers = ["blocks.2.1"]')
    path.write_text(text, encoding="utf-8")
    for words in (["export", folder, "--baseline", photographs], ["check", folder]):
        code, out, err = stimsynth(capsys, *words)
        assert code == 0, out + err
    assert "ok    safety: round 0" in out or name not in ("human", "fmri")
    project = Project.open(folder)
    answered(project, UNIT[name])
    code, out, err = stimsynth(capsys, "ingest", folder, "--round", "0")
    assert code == 0, out + err
    code, out, err = stimsynth(capsys, "fit", folder)
    assert code == 0, out + err
    assert "site_3" in out
    assert project.newest_fit() is not None
    assert set(SECTIONS) == set(project.config.to_dict())
