"""Every rig of the catalogue: blind, portable, refused where it could not show the round as planned; chosen by a key or by a
command, also for a round that is exported already.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from protocols.disk.files import WINDOWS_DEVICES
from protocols.disk.png import write_png
from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.load import load_config
from protocols.project.config.rig import NEED_REFRESH, RigConfig, RigName
from protocols.project.config.template import template
from protocols.project.folder import Project
from protocols.project.key import read_key
from protocols.project.outbox import planned_trials, read_order, verify_outbox
from protocols.recordings.adopt import import_baseline
from protocols.rounds.looks.look import make_look
from protocols.rounds.rigs import RIGS
from protocols.rounds.rigs.beside import write_beside
from protocols.rounds.rigs.facts import facts_of, filled, number
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.looked_round import answer, make
from tests.protocols.helpers.rig_software import logged, outbox, planned, psychopy, rows

SOFTWARE = [name for name in RIGS if name != "plain"]
ROLES = re.compile(
    r"(?i)(?<![a-z])(controller|reference|natural|blank|graded|arm|src|stretch|one_hot|confirmatory)s?(?![a-z])"
)
PLAIN = ("images.csv", "order.csv", "README.txt")
TEMPLATES = Path(__file__).parents[4] / "protocols" / "rounds" / "rigs" / "templates"


def test_the_key_takes_exactly_the_names_of_the_catalogue():
    assert sorted(get_args(RigName)) == sorted(SOFTWARE)
    assert set(NEED_REFRESH) < set(SOFTWARE)
    assert {name for name in SOFTWARE if name in RigConfig.model_fields["software"].description} == set(SOFTWARE)


@pytest.mark.parametrize("name", SOFTWARE)
def test_nothing_in_the_files_of_a_rig_tells_a_role(round_, lab, name):
    lab.export(round_, n=24, rigs=(name,), display=replace(lab.display, refresh_hz=60.0))
    written = [p for p in round_.outbox.iterdir() if p.name.startswith(name)]
    assert written
    key = read_key(round_.key_path)
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert not ROLES.search(text), ROLES.findall(text)
        assert not any(row.source_id in text for row in key.rows)
        assert not any(site.site_id in text for site in key.sites)
        seen = list(dict.fromkeys(re.findall(r"r01_\d{4}_\w{4}", text)))
        shown = list(dict.fromkeys(t.image_id for t in read_order(round_.outbox)))
        assert seen in (sorted(seen), shown)  # by shuffled number, or by time


@pytest.mark.parametrize("name", SOFTWARE)
def test_files_are_portable_and_the_same_each_time(tmp_path, name):
    first, second = (outbox(tmp_path / part, rigs=[name]) for part in ("a", "b"))
    assert {p.name for p in first.written} == {p.name for p in second.written}
    for path in first.written:
        data = path.read_bytes()
        assert data == (second.folder / path.name).read_bytes()
        assert path.stem not in WINDOWS_DEVICES
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*\.[a-z]+", path.name)
        assert not re.search(rb"@[A-Z_]+@|[\x80-\xff]|\\\\Users|/home/", data)
        assert path.name.startswith(name) == (path.name not in PLAIN)
        if path.name not in PLAIN:
            assert not re.search(rb"(?:'|\"|\()(?:/|[A-Za-z]:\\)", data)  # no path but relative ones


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize(
    "image_id",
    ["12e45678", "0012", "nan", "inf", "R01_x", "bild_ä", "two words", "a,b", "con", "r01-1", "[1]", "x.y", "", "true"],
)
def test_an_id_that_software_reads_differently_is_refused(tmp_path, name, image_id):
    with pytest.raises(DataError, match="J03"):
        outbox(tmp_path / "box", rigs=[name], ids=["r01_0001_aaaa", image_id], filename="images/{}.png".format)


@pytest.mark.parametrize("place", ["images/bild {}.png", "{}.png", "images/sub/{}.png", "images/{}.PNG"])
def test_a_file_of_another_name_than_its_id_is_refused(tmp_path, place):
    with pytest.raises(DataError, match="J03"):
        outbox(tmp_path / "box", rigs=["psychopy"], filename=place.format)


@pytest.mark.parametrize("name", SOFTWARE)
@pytest.mark.parametrize(
    ("times", "told"),
    [
        ({"on_ms": 90.0}, r"on_ms = 90, which is 5\.40 frames at 60 Hz"),
        ({"off_ms": 75.0}, r"off_ms = 75, which is 4\.50 frames"),
        ({"refresh_hz": 75.0, "on_ms": 90.0}, r"6\.75 frames at 75 Hz"),
        ({"on_ms": 0.5}, r"0\.03 frames"),
        ({"refresh_hz": float("nan")}, r"nan frames"),
    ],
    ids=["on", "off", "rate", "short", "nan"],
)
def test_a_time_between_two_frames_is_refused(tmp_path, name, times, told):
    with pytest.raises(DataError, match=rf"J05.*{told}"):
        outbox(tmp_path / "box", rigs=[name], **times)


@pytest.mark.parametrize("name", SOFTWARE)
def test_a_missing_refresh_rate_is_refused_where_it_cannot_be_measured(tmp_path, name):
    if name in NEED_REFRESH:
        with pytest.raises(DataError, match="J02"):
            outbox(tmp_path / "box", rigs=[name], refresh_hz=None)
    else:
        assert outbox(tmp_path / "box", rigs=[name], refresh_hz=None, on_ms=90.0).written


def test_sizes_in_degrees_follow_from_square_pixels(tmp_path):
    box = outbox(tmp_path / "box", rigs=["generic"], height_px=60, size_deg=3.0, encoding="gamma", gamma=2.2)
    facts = facts_of(box.manifest, box.timing)
    assert (facts.width_deg, facts.height_deg, facts.px_per_deg) == (3.0, 7.5, 8.0)
    table = rows(box.folder / "generic_trials.csv")
    assert logged(table) == planned(box.order)
    assert {(r["width_deg"], r["height_deg"], r["background"], r["encoding"]) for r in table} == {
        ("3", "7.5", "128", "gamma")
    }
    assert [float(r["planned_onset_ms"]) for r in table] == [200 * n for n in range(len(table))]


def test_numbers_are_written_without_exponent():
    assert [number(x) for x in (0.0, -0.0, 1e-12, 100.0, 1 / 3, -2.5, 60000.0)] == [
        "0", "0", "0", "100", "0.333333333", "-2.5", "60000",
    ]  # fmt: skip


def test_a_template_keeps_no_place_empty_and_takes_no_value_without_place():
    with pytest.raises(ValueError, match="no place for 'NOTHING'"):
        filled("monkeylogic_log.txt", {"NOTHING": 1})
    assert len(list(TEMPLATES.glob("*.txt"))) == 8


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('software = "psychopi"', "'psychopy', 'psychtoolbox', 'monkeylogic', 'mworks', 'presentation' or 'generic'"),
        ('software = ["psychopy", "matlab"]', "'psychopy', 'psychtoolbox'"),
        ("software = 3", "software = 3"),
        ('softwear = "psychopy"', "did you mean software"),
        ("position_deg = [1.0]", "position_deg"),
        ("images_per_fixation = 0", "images_per_fixation"),
        ('software = ["psychopy", "monkeylogic"]', "monkeylogic without [display] refresh_hz"),
    ],
)
def test_what_the_section_cannot_mean_is_refused(tmp_path, line, told):
    path = tmp_path / "project.toml"
    key = line.split(" ")[0].replace("softwear", "software")
    text = re.sub(rf"^{key} = .*$", line, template(), flags=re.MULTILINE)
    assert line in text
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"C0[124].*" + re.escape(told)):
        load_config(path)


def test_one_name_or_several_and_whole_degrees_are_taken(tmp_path):
    path = tmp_path / "project.toml"
    for line, names in (
        ('software = "mworks"', ("mworks",)),
        ('software = ["psychopy", "generic"]', ("psychopy", "generic")),
    ):
        path.write_text(template().replace("software = []", line).replace("[0.0, 0.0]", "[3, -2]"), encoding="utf-8")
        config = load_config(path)
        assert (config.rig.software, config.rig.position_deg) == (names, (3.0, -2.0))
    assert load_config_of(template(), path).rig.software == ()


def load_config_of(text: str, path: Path) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def small_project(folder: Path, lab, **rig) -> Project:
    """A project with imported photographs, whose round 0 can be exported in a second."""
    pictures = folder.parent / "pictures"
    pictures.mkdir()
    for stimulus in lab.photographs(50):
        write_png(pictures / f"{stimulus.source_id}.png", stimulus.pixels)
    config = Config(display=replace(lab.display, refresh_hz=60.0), rig=RigConfig(**rig))
    project = Project.create(folder, template(config))
    import_baseline(project, pictures)
    return project


def test_a_project_exports_the_software_of_its_file_unless_the_call_names_other(tmp_path, lab):
    from protocols.loop import export

    project = small_project(tmp_path / "lab", lab, software=("psychopy", "mworks"), position_deg=(1.0, 2.0))
    box = export(project, 0)
    verify_outbox(box)
    assert {"psychopy_present.py", "psychopy_conditions.csv", "mworks_round.mwel"} <= {p.name for p in box.iterdir()}
    assert not (box / "presentation_round.sce").exists()
    assert "POSITION_DEG = (1, 2)" in (box / "psychopy_present.py").read_text(encoding="utf-8")
    done = psychopy(box)
    assert logged(done.log) == planned(read_order(box))


def test_the_command_export_takes_software_by_name(tmp_path, lab, capsys):
    project = small_project(tmp_path / "lab", lab, software=("psychopy",))
    code, _, told = stimsynth(capsys, "export", project.folder, "--rig", "psychopi")
    assert code == 3
    assert "J01" in told
    assert "did you mean psychopy" in told
    assert not list(project.folder.glob("sessions/*/round_00/outbox"))
    assert stimsynth(capsys, "-q", "export", project.folder, "--rig", "presentation", "--rig", "generic")[0] == 0
    names = {p.name for p in project.round(0).outbox.iterdir()}
    assert {"presentation_round.sce", "generic_trials.csv"} <= names
    assert not {"psychopy_present.py", "mworks_round.mwel"} & names


def test_an_exported_round_gets_other_software_beside_it_and_stays_as_it_is(tmp_path, round_, lab, project, capsys):
    lab.export(round_, display=replace(lab.display, refresh_hz=60.0))
    before = {p: p.read_bytes() for p in round_.outbox.rglob("*") if p.is_file()}
    out = tmp_path / "to_the_rig"
    words = ["rig", project.folder, "--round", 1, "--software", "psychopy", "--software", "monkeylogic", "--out", out]
    code, text, _ = stimsynth(capsys, *words)
    assert code == 0
    assert "36 presentations from block 0 on" in text
    assert {p: p.read_bytes() for p in round_.outbox.rglob("*") if p.is_file()} == before
    verify_outbox(out)  # the copy has checksums of its own
    assert (out / "order.csv").read_bytes() == (round_.outbox / "order.csv").read_bytes()
    assert logged(psychopy(out).log) == planned(read_order(round_.outbox))
    code, _, told = stimsynth(capsys, *words)
    assert (code, "W05" in told) == (3, True)
    code, text, _ = stimsynth(capsys, "--json", *words[:-1], tmp_path / "b1", "--from-block", 1)
    assert json.loads(text)["trials"] == 18
    assert {r["block"] for r in rows(tmp_path / "b1" / "psychopy_conditions.csv")} == {"1"}


@pytest.fixture(scope="module")
def looked(tmp_path_factory, lab):
    """A round that was looked at after two of four blocks."""
    project, round_ = make(tmp_path_factory.mktemp("looked") / "mylab", lab)
    answer(round_, "responses_before_block_02", blocks=2)
    make_look(project, round_)
    return round_


@pytest.mark.parametrize("name", SOFTWARE)
def test_after_an_interim_look_the_files_show_its_order(tmp_path, looked, name):
    later = [t for t in planned_trials(looked.outbox) if t.block >= 2]
    assert [t.image_id for t in later] != [t.image_id for t in read_order(looked.outbox) if t.block >= 2]
    _, trials = write_beside(looked, tmp_path / "out", [name], from_block=2, refresh_hz=60.0)
    assert trials == len(later)
    assert logged(rows(tmp_path / "out" / "order.csv")) == planned(later)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"software": ["matlab"]}, "J01"),
        ({"from_block": 2}, "J04"),
        ({"from_block": -1}, "J04"),
        ({"software": ["presentation"]}, "J02"),
        ({"refresh_hz": 70.0}, None),
        ({"refresh_hz": 33.0}, "J05"),
    ],
    ids=["software", "block", "negative", "refresh", "rate", "frames"],
)
def test_what_cannot_be_written_beside_a_round_leaves_nothing(tmp_path, round_, lab, asked, code):
    lab.export(round_)
    call = {"software": ["psychopy"]} | asked
    if code is None:
        assert write_beside(round_, tmp_path / "out", **call)[1] == 36
        return
    with pytest.raises(DataError, match=code):
        write_beside(round_, tmp_path / "out", **call)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_round_that_is_not_exported_or_was_altered_is_refused(tmp_path, round_, lab):
    with pytest.raises(DataError, match="X06"):
        write_beside(round_, tmp_path / "out", ["psychopy"])
    lab.export(round_)
    image = next(round_.outbox.glob("images/*.png"))
    image.chmod(0o644)
    image.write_bytes(b"other")
    with pytest.raises(DataError, match="X07"):
        write_beside(round_, tmp_path / "out", ["psychopy"])
