"""NIMH MonkeyLogic: the conditions file parses back to the order; Octave runs userloop and timing script with stand-ins."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from protocols.errors import DataError
from tests.protocols.helpers.rig_software import logged, needs_octave, octave, outbox, planned, rows

HEADER = ["Condition", "Info", "Frequency", "Block", "Timing File", "TaskObject#1", "TaskObject#2"]
OBJECT = re.compile(r"(fix|pic)\(([^()\[\]]*)\)")


def conditions(path: Path) -> list[SimpleNamespace]:
    """A conditions file by its manual: tabs, one header, conditions numbered from 1, Info as names and values, objects
    as ``fix(Xdeg,Ydeg)`` and ``pic(filename,Xdeg,Ydeg,Wpx,Hpx)``.
    """
    text = path.read_bytes().decode("ascii")
    assert text.count("\r\n") == text.count("\n")
    head, *lines = text.splitlines()
    assert head.split("\t") == HEADER
    found = []
    for number, line in enumerate(lines, start=1):
        condition, info, frequency, block, timing, *objects = line.split("\t")
        assert (condition, frequency) == (str(number), "1")
        words = re.findall(r"'([^']*)'|(-?[\d.]+)", info)
        assert ",".join(f"'{text}'" if text else value for text, value in words) == info
        values = [text or float(value) for text, value in words]
        kinds = [OBJECT.fullmatch(item) for item in objects]
        assert all(kinds)
        (_, fixation), (_, picture) = [kind.groups() for kind in kinds if kind]
        name, x, y, width, height = picture.split(",")
        found.append(
            SimpleNamespace(
                block=int(block),
                timing=timing,
                info=dict(zip(values[::2], values[1::2], strict=True)),
                fixation=fixation,
                name=name,
                x=float(x),
                y=float(y),
                size=(int(width), int(height)),
            )
        )
    return found


@pytest.fixture
def box(tmp_path: Path) -> SimpleNamespace:
    return outbox(tmp_path / "outbox", rigs=["monkeylogic"], rig={"position_deg": [-3.5, 2.0]})


def test_the_conditions_file_parses_back_to_the_order(box):
    found = conditions(box.folder / "monkeylogic_conditions.txt")
    assert [(c.info["trial"], c.info["block"], c.info["rep"], c.info["image_id"]) for c in found] == [
        (t.trial, t.block, t.rep, t.image_id) for t in box.order
    ]
    assert [c.name for c in found] == [box.images[t.image_id].filename for t in box.order]
    assert [c.block for c in found] == [t.block + 1 for t in box.order]
    assert {(c.x, c.y, c.size, c.fixation, c.timing) for c in found} == {
        (-3.5, 2.0, (24, 20), "0,0", "monkeylogic_timing")
    }


STUBS = {
    "TrialRecordStub.m": """
classdef TrialRecordStub < handle
    properties
        User = struct();
        CurrentTrialNumber = 0;
        NextBlock = 1;
        NextCondition = 1;
    end
end
""",
    "hotkey.m": "function hotkey(varargin)\nend\n",
    "bhv_variable.m": "function bhv_variable(varargin)\nend\n",
    "trialerror.m": "function trialerror(code)\nglobal record\nfprintf(record, 'error %d\\n', code);\nend\n",
    "toggleobject.m": """
function t = toggleobject(objects, varargin)
% Objects change together at a refresh, which comes after the call: to their status, or to the other one.
global now_ms record on
frame = 1000 / 60;
now_ms = ceil(now_ms / frame + 1e-9) * frame;
t = now_ms;
for object = objects
    if strcmp(varargin{1}, 'status'), state = varargin{2}; else, state = {'on', 'off'}{1 + on(object)}; end
    on(object) = strcmp(state, 'on');
    fprintf(record, 'toggle %d %s %.3f\\n', object, state, t);
end
end
""",
    "eyejoytrack.m": """
function ok = eyejoytrack(what, object, window, duration)
global now_ms calls broken
calls = calls + 1;
ok = ~any(calls == broken);
if ok, now_ms = now_ms + duration; else, now_ms = now_ms + duration / 2; end
end
""",
    "one_trial.m": """
function one_trial(TrialRecord, Info)
monkeylogic_timing
end
""",
}
LOOP = """
global now_ms calls broken record on
now_ms = 0; calls = 0; on = false(1, 99); broken = [{broken}]; record = fopen('record.txt', 'w');
addpath('{folder}');
tr = TrialRecordStub();
C = monkeylogic_userloop([], tr);
assert(isempty(C));
for n = 1:1000
    C = monkeylogic_userloop([], tr);
    if tr.NextBlock < 0, break; end
    tr.CurrentTrialNumber = n;
    fprintf(record, 'trial %d %s\\n', tr.NextBlock, strjoin(C, ' '));
    one_trial(tr, struct());
end
fclose(record);
"""


def run(box: SimpleNamespace, broken: str = "", *, requeue: bool = False) -> SimpleNamespace:
    """The round in Octave; calls of eyejoytrack numbered `broken` fail."""
    work = box.folder.parent / "work"
    work.mkdir(exist_ok=True)
    for path in work.iterdir():
        path.unlink()
    for name, text in STUBS.items():
        (work / name).write_text(text, encoding="utf-8")
    if requeue:
        script = box.folder / "monkeylogic_userloop.m"
        text = script.read_text(encoding="utf-8")
        assert "requeue = false;" in text
        script.write_text(text.replace("requeue = false;", "requeue = true;"), encoding="utf-8")
    octave(work, LOOP.format(broken=broken, folder=box.folder.as_posix()))
    log = work / "monkeylogic_shown.csv"
    record = (work / "record.txt").read_text(encoding="utf-8").splitlines()
    return SimpleNamespace(log=rows(log) if log.is_file() else [], record=record)


def durations(record: list[str]) -> list[float]:
    """How long each image was on, in ms."""
    on: dict[str, float] = {}
    found = []
    for line in record:
        if line.startswith("toggle"):
            _, number, state, time = line.split()
            if number != "1" and state == "on":
                on[number] = float(time)
            elif number != "1":
                found.append(float(time) - on.pop(number))
    return found


@needs_octave
@pytest.mark.parametrize("together", [1, 3, 50])
def test_octave_shows_the_planned_order_block_by_block(tmp_path, together):
    box = outbox(tmp_path / "outbox", rigs=["monkeylogic"], rig={"images_per_fixation": together})
    done = run(box)
    assert logged(done.log) == planned(box.order)
    assert {r["aborted"] for r in done.log} == {"0"}
    trials = [line for line in done.record if line.startswith("trial")]
    assert len(trials) == {1: 10, 3: 4, 50: 2}[together]
    assert trials[0].split()[1:3] == ["1", "fix(0,0)"]
    assert trials[-1].split()[1] == "2"
    first = box.images[box.order[0].image_id].filename
    assert trials[0].split()[3] == f"pic({first},0,0,24,20)"
    assert durations(done.record) == pytest.approx([100.0] * 10, abs=0.01)  # six frames each, not seven


@needs_octave
def test_without_background_the_next_image_comes_at_the_refresh_at_which_the_last_one_goes(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["monkeylogic"], off_ms=0.0, rig={"images_per_fixation": 5})
    done = run(box, "11")  # in the second trial: acquired, held, image 1, image 2 breaks
    assert logged(done.log) == planned(box.order)
    assert [r["aborted"] for r in done.log] == ["0"] * 6 + ["1"] + ["0"] * 3
    seconds = durations(done.record)
    assert seconds[:6] + seconds[7:] == pytest.approx([100.0] * 9, abs=0.01)
    times = [float(r["onset_ms"]) for r in done.log]
    assert [b - a for a, b in pairwise(times[:5])] == pytest.approx([100.0] * 4, abs=0.01)
    assert not [line for line in done.record if line.endswith("NaN")]


AGAIN = """
tr = TrialRecordStub();
for n = 0:3, C = monkeylogic_userloop([], tr); tr.CurrentTrialNumber = n; if n, tr.User.stimsynth.started = 1; end, end
tr = TrialRecordStub();
C = monkeylogic_userloop([], tr);
disp(tr.User.stimsynth.trial)
"""


@needs_octave
def test_a_task_that_is_started_again_begins_with_the_first_image(box):
    (box.folder / "TrialRecordStub.m").write_text(STUBS["TrialRecordStub.m"], encoding="utf-8")
    assert octave(box.folder, AGAIN).split() == ["0"]


@needs_octave
def test_an_order_that_a_look_replaced_is_not_shown(box):
    (box.folder / "order_from_block_01.csv").write_bytes((box.folder / "order.csv").read_bytes())
    script = box.folder / "monkeylogic_userloop.m"
    text = script.read_text(encoding="utf-8")
    call = "try, monkeylogic_userloop([], []); disp('taken'); catch e, disp(e.message); end"
    assert "set order_file to it, or last_block to 0" in octave(box.folder, call)
    for old, new in (("last_block = Inf", "last_block = 0"), ("'order.csv';  ", "'order_from_block_01.csv';  ")):
        assert old in text
        script.write_text(text.replace(old, new), encoding="utf-8")
        assert octave(box.folder, call).strip() == "taken"


@needs_octave
@pytest.mark.parametrize("requeue", [False, True])
def test_a_broken_fixation_ends_its_image_and_the_ones_not_reached_come_next(tmp_path, requeue):
    box = outbox(tmp_path / "outbox", rigs=["monkeylogic"], rig={"images_per_fixation": 3})
    done = run(box, "5", requeue=requeue)  # acquired, held, image 1, gap 1, image 2 breaks
    second = planned(box.order)[1]
    assert logged([r for r in done.log if r["aborted"] == "1"]) == [second]
    expected = planned(box.order)
    if requeue:
        expected.insert(5, second)
    assert logged(done.log) == expected
    assert next(line for line in done.record if line.startswith("error")) == "error 3"


@needs_octave
def test_no_fixation_shows_no_image_and_loses_none(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["monkeylogic"], rig={"images_per_fixation": 3})
    done = run(box, "1 2")
    assert [line for line in done.record if line.startswith("error")][:3] == ["error 4", "error 4", "error 0"]
    assert logged(done.log) == planned(box.order)


@needs_octave
def test_an_image_seen_whole_is_not_aborted_by_a_break_after_it(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["monkeylogic"], rig={"images_per_fixation": 3})
    done = run(box, "4")
    assert {r["aborted"] for r in done.log} == {"0"}
    assert logged(done.log) == planned(box.order)


def test_without_a_refresh_rate_it_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"J02.*monkeylogic.*add refresh_hz"):
        outbox(tmp_path / "outbox", rigs=["monkeylogic"], refresh_hz=None)
