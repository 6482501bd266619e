"""Psychtoolbox: Octave runs the script with stand-ins for Screen and the keyboard, and the log has the planned order."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.protocols.helpers.rig_software import logged, needs_octave, octave, outbox, planned, rows

pytestmark = needs_octave

SCREEN = """
function varargout = Screen(what, varargin)
% A stand-in: one flip takes one frame; what is drawn and flipped goes to record.txt.
persistent clock drawn names flips
if isempty(clock), clock = 0; drawn = 0; names = {}; flips = 0; end
settings = fake();
out = fopen('record.txt', 'a');
switch what
    case 'Screens', varargout{1} = [0 1];
    case 'OpenWindow'
        fprintf(out, 'window %d %d\\n', varargin{1}, varargin{2});
        varargout = {10, [0 0 settings.width settings.height]};
    case 'GetFlipInterval', varargout{1} = 1 / settings.hz;
    case 'MakeTexture'
        names{end + 1} = sprintf('%dx%d sum %d', size(varargin{2}, 2), size(varargin{2}, 1), sum(double(varargin{2}(:))));
        varargout{1} = numel(names);
    case 'DrawTexture'
        drawn = varargin{2};
        fprintf(out, 'place %s filter %d\\n', mat2str(varargin{4}), varargin{6});
    case 'Flip'
        flips = flips + 1;
        clock = clock + (1 + any(flips == settings.drop)) / settings.hz;
        if drawn, text = names{drawn}; else, text = 'background'; end
        fprintf(out, 'flip %s\\n', text);
        drawn = 0;
        varargout = {clock, clock, clock, 0, 0};
    case 'CloseAll', fprintf(out, 'closed\\n');
end
fclose(out);
end
"""
KEYS = {
    "AssertOpenGL.m": "function AssertOpenGL\nend\n",
    "KbName.m": "function code = KbName(varargin)\ncode = 27;\nend\n",
    "KbCheck.m": """
function [down, seconds, keys] = KbCheck
persistent calls
if isempty(calls), calls = 0; end
calls = calls + 1; seconds = 0; settings = fake();
down = calls >= settings.escape;
keys = zeros(1, 256); keys(27) = down;
end
""",
}


def run(box: SimpleNamespace, call: str = "", **fake: object) -> SimpleNamespace:
    """Run the script in Octave with the stand-ins; its log, the record, what it printed."""
    settings = {"hz": 60, "width": 1920, "height": 1080, "drop": "[]", "escape": "Inf"} | fake
    work = box.folder.parent / "work"
    work.mkdir(exist_ok=True)
    for path in work.iterdir():
        path.unlink()
    for name, text in {"Screen.m": SCREEN, **KEYS}.items():
        (work / name).write_text(text, encoding="utf-8")
    fields = ", ".join(f"'{key}', {value}" for key, value in settings.items())
    (work / "fake.m").write_text(f"function s = fake\ns = struct({fields});\nend\n", encoding="utf-8")
    options = f"'log', 'shown.csv'{', ' + call if call else ''}"
    program = f"try, psychtoolbox_present({options}); catch e, disp(e.message); end"
    text = octave(work, f"addpath('{box.folder.as_posix()}'); {program}")
    log, record = work / "shown.csv", work / "record.txt"
    return SimpleNamespace(
        text=text,
        log=rows(log) if log.is_file() else [],
        record=record.read_text(encoding="utf-8").splitlines() if record.is_file() else [],
    )


@pytest.fixture
def box(tmp_path: Path) -> SimpleNamespace:
    return outbox(tmp_path / "outbox", rigs=["psychtoolbox"])


def test_octave_shows_the_planned_order_with_the_planned_frames(box):
    from protocols.disk.png import read_png

    done = run(box)
    assert "all presentations shown" in done.text, done.text
    assert logged(done.log) == planned(box.order)
    assert {(r["frames"], r["dropped"], r["aborted"]) for r in done.log} == {("6", "0", "0")}
    assert [float(r["onset_s"]) for r in done.log] == pytest.approx([2 / 60 + 0.2 * n for n in range(10)], abs=1e-6)
    flips = [line.removeprefix("flip ") for line in done.record if line.startswith("flip")]
    runs = [(name, len(list(run_))) for name, run_ in groupby(flips)]
    sums = {i: int(read_png(box.folder / image.filename).astype(int).sum()) for i, image in box.images.items()}
    expected = [("background", 1)]
    for trial in box.order:
        expected += [(f"24x20 sum {sums[trial.image_id]}", 6), ("background", 6)]
    expected[-1] = ("background", 7)
    assert runs == expected
    assert done.record[0] == "window 1 128"
    assert done.record[-1] == "closed"
    assert {line for line in done.record if line.startswith("place")} == {"place [948 530 972 550] filter 0"}


def test_place_background_and_colour(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychtoolbox"], background=9, rig={"position_deg": [2.0, -1.5]})
    done = run(box, "'screen', 0")
    assert "do not fit on the screen" in run(box, width=47).text
    assert done.record[0] == "window 0 9"
    assert "place [960 539 984 559] filter 0" in done.record  # 12 pixels right, 9 down
    assert "must be linearised" in done.text


@pytest.mark.parametrize("again", [False, True])
def test_a_fixation_that_breaks_is_logged_and_shown_again_only_where_asked(box, again):
    (box.folder / "broken.m").write_text(
        "function ok = broken\npersistent n\nif isempty(n), n = 0; end\nn = n + 1; ok = n ~= 9;\nend\n",
        encoding="utf-8",
    )
    call = "'fixating', @broken, 'onset', @(trial, t) printf('onset %d\\n', trial)"
    done = run(box, call + (", 'requeue', true" if again else ""))
    second = planned(box.order)[1]
    aborted = [r for r in done.log if r["aborted"] == "1"]
    assert logged(aborted) == [second]
    assert aborted[0]["frames"] == "2"
    expected = planned(box.order)
    if again:
        expected.insert(5, second)
    assert logged(done.log) == expected
    assert f"onset {second[0]}\n" in done.text


def test_no_image_begins_before_the_subject_looks(box):
    (box.folder / "looks.m").write_text(
        "function ok = looks\npersistent n\nif isempty(n), n = 0; end\nn = n + 1; ok = ~(n < 5 || (n > 13 && n < 20));\nend\n",
        encoding="utf-8",
    )
    done = run(box, "'fixating', @looks")
    flips = [line != "flip background" for line in done.record if line.startswith("flip")]
    runs = [(image, len(list(run_))) for image, run_ in groupby(flips)]
    assert runs[:5] == [(False, 5), (True, 6), (False, 6), (True, 3), (False, 6 + 5)]
    assert logged(done.log) == planned(box.order)
    assert [r["aborted"] for r in done.log] == ["0", "1"] + ["0"] * 8
    never = run(box, "'fixating', @() false", escape=30)
    assert [(r["frames"], r["aborted"]) for r in never.log] == [("0", "1")]


def test_escape_stops_and_dropped_frames_are_counted(box):
    done = run(box, drop="[4 17]", escape=16)
    assert [(r["frames"], r["dropped"], r["aborted"]) for r in done.log][:2] == [("6", "1", "0"), ("6", "1", "0")]
    assert (done.log[-1]["frames"], done.log[-1]["aborted"], len(done.log)) == ("3", "1", 3)
    assert "stopped" in done.text


def test_a_later_order_and_single_blocks(box):
    later = [t for t in box.order if t.block == 1][::-1]
    lines = [f"{t.trial},{t.block},{t.rep},{t.image_id},{box.images[t.image_id].filename},100,100" for t in later]
    head = "trial,block,rep,image_id,filename,on_ms,off_ms\n"
    (box.folder / "order_from_block_01.csv").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    assert logged(run(box, "'order', 'order_from_block_01.csv'").log) == planned(later)
    for call in ("", "'from_block', 1"):  # the exported order, where a look wrote another
        done = run(box, call)
        assert "show it with 'order', 'order_from_block_01.csv', or end before it with 'to_block', 0" in done.text
        assert done.record == []
    assert logged(run(box, "'to_block', 0").log) == planned(box.order[:5])


@pytest.mark.parametrize(
    ("call", "fake", "told"),
    [
        ("'from_block', 9", {}, "no presentation in these blocks"),
        ("'order', 'images.csv'", {}, "is not a table of presentations"),
        ("'odrer', 'order.csv'", {}, "unknown name odrer"),
        ("", {"hz": 75}, "runs at 75.00 Hz, the round was planned for 60 Hz"),
        ("", {"width": 20}, "do not fit on the screen of 20 x 1080 pixels"),
        ("'order', 'changed.csv'", {}, "90 ms are 5.40 frames"),
    ],
    ids=["block", "table", "name", "rate", "screen", "frames"],
)
def test_what_cannot_be_shown_as_planned_stops_before_the_first_image(box, call, fake, told):
    table = (box.folder / "order.csv").read_text(encoding="utf-8").replace(",100,100", ",90,100")
    (box.folder / "changed.csv").write_text(table, encoding="utf-8")
    done = run(box, call, **fake)
    assert told in done.text
    assert not [line for line in done.record if line.startswith("flip")]
    assert done.log == []


def test_a_missing_image_stops_it(box):
    (box.folder / box.images[box.order[0].image_id].filename).unlink()
    assert re.search(r"images/\S+ is missing", run(box).text)


def test_a_refresh_rate_that_nobody_stated_is_measured(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychtoolbox"], refresh_hz=None)
    assert {r["frames"] for r in run(box, hz=120).log} == {"12"}
