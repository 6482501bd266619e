"""PsychoPy: its importer keeps every id, and the script shows the planned order with the planned frames and logs it."""

from __future__ import annotations

import csv
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.files import is_id
from tests.protocols.helpers.rig_software import logged, outbox, planned, psychopy, rows

MISSING = {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
           "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}  # fmt: skip
"""Cells that pandas reads as missing (pandas.read_csv, na_values)."""


def imported(path: Path) -> list[dict[str, Any]]:
    """A conditions file as ``psychopy.data.importConditions`` reads it, written anew from its rules.

    Headers must be variable names. Of the cells, pandas makes missing values and, in columns of numbers alone, numbers;
    PsychoPy then turns text that ``float`` takes, also with a decimal comma, into a number, and evaluates what stands
    in square brackets.
    """
    with open(path, newline="", encoding="utf-8-sig") as handle:
        head, *table = csv.reader(handle)
    assert len(set(head)) == len(head)
    assert all(name.isidentifier() and name[0].isalpha() and name.isascii() for name in head)

    def cast(cell: str) -> Any:
        if cell in MISSING:
            return None
        if cell.startswith("[") and cell.endswith("]"):
            raise AssertionError(f"the importer would evaluate {cell}")
        for text in (cell, cell.replace(",", ".")):
            try:
                return float(text)
            except ValueError:
                pass
        return cell.replace("\\n", "\n")

    return [dict(zip(head, map(cast, line), strict=True)) for line in table]


@pytest.fixture
def box(tmp_path: Path) -> SimpleNamespace:
    return outbox(tmp_path / "outbox", rigs=["psychopy"])


def test_the_importer_keeps_ids_numbers_and_order(box):
    table = imported(box.folder / "psychopy_conditions.csv")
    assert [(r["trial"], r["block"], r["rep"], r["image_id"]) for r in table] == [
        (t.trial, t.block, t.rep, t.image_id) for t in box.order
    ]
    assert {r["filename"] for r in table} == {image.filename for image in box.images.values()}
    assert {(r["on_ms"], r["width_deg"], r["height_deg"], r["x_deg"]) for r in table} == {(100, 4, 3.333333333, 0)}


@settings(max_examples=10, deadline=None)
@given(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True), min_size=20, max_size=40))
def test_no_id_that_the_toolkit_gives_is_read_as_something_else(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "conditions_of_ids.csv"
    ids = [name for name in names if is_id(name)]
    path.write_text("image_id,other\n" + "".join(f"{i},x\n" for i in ids), encoding="utf-8")
    assert imported(path) == [{"image_id": i, "other": "x"} for i in ids]


def shown(told: list[dict[str, Any]]) -> list[tuple[str | None, int]]:
    """Runs of flips with the same picture: (file or None for the background, frames)."""
    return [(image, len(list(run))) for image, run in groupby(f["image"] for f in told if f["what"] == "flip")]


def test_every_image_is_shown_in_the_planned_order_with_the_planned_frames(box):
    done = psychopy(box.folder)
    assert done.code == 0, done.text
    expected: list[tuple[str | None, int]] = [(None, 1)]
    for trial in box.order:
        expected += [(f"{trial.image_id}.png", 6), (None, 6)]
    expected[-1] = (None, 7)  # the last flip clears the screen
    assert shown(done.told) == expected
    assert logged(done.log) == planned(box.order)
    assert {(r["frames"], r["dropped"], r["aborted"]) for r in done.log} == {("6", "0", "0")}
    onsets = [float(r["onset_s"]) for r in done.log]
    assert onsets == pytest.approx([2 / 60 + 0.2 * n for n in range(len(onsets))])
    assert [t["what"] for t in done.told][-2:] == ["closed", "quit"]
    assert "all presentations shown" in done.text


def test_size_place_and_colour_are_those_of_the_display(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], background=37, rig={"position_deg": [2.0, -1.5]})
    done = psychopy(box.folder, "--screen", "1")
    (window,) = [t for t in done.told if t["what"] == "window"]
    assert (window["color"], window["colorSpace"], window["screen"]) == ([37, 37, 37], "rgb255", 1)
    assert window["gamma"] is None
    assert "must be linearised" in done.text
    for image in (t for t in done.told if t["what"] == "image"):
        assert (image["units"], image["size"], image["pos"]) == ("pix", [24, 20], [12, -9])
        assert not image["interpolate"]


def test_pixels_of_an_image_fall_on_pixels_of_the_screen(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], height_px=21, rig={"position_deg": [0.3, 0.0]})
    done = psychopy(box.folder)
    assert {tuple(t["pos"]) for t in done.told if t["what"] == "image"} == {
        (2, 0.5)
    }  # 1.8 pixels, and 1080 - 21 is odd


def test_a_screen_that_is_not_linearised_gets_no_correction(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], encoding="srgb")
    done = psychopy(box.folder)
    (window,) = [t for t in done.told if t["what"] == "window"]
    assert window["gamma"] == 1.0
    assert "linearised" not in done.text


def test_degrees_are_asked_of_a_monitor_whose_size_is_known(box):
    assert "needs --monitor" in psychopy(box.folder, "--units", "deg").text
    wrong = psychopy(box.folder, "--monitor", "lab_12")
    assert "12.0 pixels per degree, the round was planned for 6.0" in wrong.text
    assert not [t for t in wrong.told if t["what"] == "window"]
    scaled = psychopy(box.folder, "--monitor", "lab_12", "--units", "deg")
    assert [t["size"] for t in scaled.told if t["what"] == "image"] == [[4, 3.333333333]] * 5
    assert psychopy(box.folder, "--monitor", "lab_6.1").code == 0


def test_dropped_frames_are_counted_where_they_fell(box):
    done = psychopy(box.folder, drop=[4, 17])
    assert [r["dropped"] for r in done.log][:3] == ["1", "1", "0"]
    assert {r["frames"] for r in done.log} == {"6"}


def test_escape_stops_and_the_running_presentation_is_marked(box):
    done = psychopy(box.folder, escape=16)
    assert [(r["frames"], r["aborted"]) for r in done.log] == [("6", "0"), ("3", "1")]
    assert "stopped" in done.text
    early = psychopy(box.folder, escape=0)
    assert [(r["onset_s"], r["frames"], r["aborted"]) for r in early.log] == [("", "0", "1")]


HOOKS = """
calls = {"frames": 0}
def before(row):
    print("before", row["trial"])
def onset(row, time_s):
    print("onset", row["trial"], round(time_s, 3))
def fixating():
    calls["frames"] += 1
    return calls["frames"] != 9
"""


@pytest.mark.parametrize("again", [False, True])
def test_hooks_end_a_presentation_and_only_requeue_shows_it_again(box, again):
    (box.folder / "rig_hooks.py").write_text(HOOKS, encoding="utf-8")
    done = psychopy(box.folder, *(["--requeue"] if again else []))
    second = planned(box.order)[1]
    aborted = [row for row in done.log if row["aborted"] == "1"]
    assert logged(aborted) == [second]
    assert aborted[0]["frames"] == "2"
    expected = planned(box.order)
    if again:
        expected.insert(5, second)  # at the end of its block
    assert logged(done.log) == expected
    assert f"before {second[0]}" in done.text
    assert f"onset {second[0]}" in done.text


def test_no_image_begins_before_the_subject_looks(box):
    hooks = "calls = [0]\ndef fixating():\n    calls[0] += 1\n    return not (calls[0] < 5 or 13 < calls[0] < 20)\n"
    (box.folder / "rig_hooks.py").write_text(hooks, encoding="utf-8")
    done = psychopy(box.folder)
    first, second = (f"{t.image_id}.png" for t in box.order[:2])
    assert shown(done.told)[:5] == [(None, 5), (first, 6), (None, 6), (second, 3), (None, 6 + 5)]
    assert logged(done.log) == planned(box.order)
    assert [r["aborted"] for r in done.log] == ["0", "1"] + ["0"] * 8
    (box.folder / "rig_hooks.py").write_text("def fixating():\n    return False\n", encoding="utf-8")
    never = psychopy(box.folder, escape=30)
    assert [(r["frames"], r["aborted"]) for r in never.log] == [("0", "1")]


@pytest.mark.parametrize("x", [-12.0, -11.9, 0.0, 12.0])
@pytest.mark.parametrize("units", ["pix", "deg"])
def test_an_image_that_leaves_the_screen_at_its_place_is_refused(tmp_path, x, units):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], rig={"position_deg": [x, 1.0]})
    scale = {"pix": 6, "deg": 9}[units]  # the image ends 2 degrees beside its place, the screen at 14
    done = psychopy(box.folder, "--units", units, "--monitor", f"lab_{scale}", size=[28 * scale - 2, 900])
    assert (done.code != 0) == (abs(x) == 12)
    assert ("do not fit on the screen" in done.text) == (abs(x) == 12)


@pytest.mark.parametrize("linear", ["lab_6", "lab_6_raw", ""])
def test_a_screen_that_nothing_linearises_is_told(box, linear):
    done = psychopy(box.folder, *(["--monitor", linear] if linear else []))
    assert ("must be linearised" in done.text) == (linear != "lab_6")


@pytest.mark.parametrize("units", ["pix", "deg"])
def test_a_monitor_that_the_monitor_center_does_not_know_is_refused(box, units):
    done = psychopy(box.folder, "--monitor", "typo", "--units", units)
    assert "--monitor typo: Monitor typo has no known size in pixels" in done.text
    assert "Traceback" not in done.text
    assert not [t for t in done.told if t["what"] == "window"]


def test_a_hook_file_with_a_mistake_is_not_passed_over(box):
    (box.folder / "rig_hooks.py").write_text("import no_such_module_of_the_lab\n", encoding="utf-8")
    done = psychopy(box.folder)
    assert done.code != 0
    assert "no_such_module_of_the_lab" in done.text


def test_an_order_of_an_interim_look_and_single_blocks_can_be_shown(box):
    later = [t for t in box.order if t.block == 1][::-1]
    lines = [f"{t.trial},{t.block},{t.rep},{t.image_id},{box.images[t.image_id].filename},100,100" for t in later]
    text = "trial,block,rep,image_id,filename,on_ms,off_ms\n" + "\n".join(lines) + "\n"
    (box.folder / "order_from_block_01.csv").write_text(text, encoding="utf-8")
    assert logged(psychopy(box.folder, "--order", "order_from_block_01.csv").log) == planned(later)
    for words in ([], ["--from-block", "1"]):  # the exported order, where a look wrote another
        done = psychopy(box.folder, *words)
        assert "show it with --order order_from_block_01.csv, or end before it with --to-block 0" in done.text
        assert not [t for t in done.told if t["what"] == "flip"]
    assert logged(psychopy(box.folder, "--to-block", "0").log) == planned([t for t in box.order if t.block == 0])
    (box.folder / "order_from_block_01.csv").rename(box.folder / "ours.csv")
    assert logged(psychopy(box.folder, "--from-block", "1").log) == planned([t for t in box.order if t.block == 1])


def test_no_background_between_images(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], off_ms=0.0)
    done = psychopy(box.folder)
    assert shown(done.told) == [(None, 1), *((f"{t.image_id}.png", 6) for t in box.order), (None, 1)]


@pytest.mark.parametrize(
    ("words", "fake", "told"),
    [
        (["--from-block", "7"], {}, "no presentation in these blocks"),
        (["--order", "images.csv"], {}, "no column trial"),
        (["--refresh", "70"], {}, "7.00 frames"),
        ([], {"hz": 75}, "runs at 75.00 Hz, the round was planned for 60 Hz"),
        ([], {"measured": "none"}, "cannot be measured"),
        ([], {"size": [20, 10]}, "do not fit on the screen of 20 x 10 pixels"),
    ],
    ids=["block", "table", "frames", "other-rate", "no-rate", "small-screen"],
)
def test_what_cannot_be_shown_as_planned_stops_before_the_first_image(box, words, fake, told):
    if words[:1] == ["--refresh"]:
        table = (box.folder / "order.csv").read_text(encoding="utf-8").replace(",100,100", ",90,100")
        (box.folder / "changed.csv").write_text(table, encoding="utf-8")
        words, told = [*words, "--order", "changed.csv"], "6.30 frames at 70.00 Hz"
    done = psychopy(box.folder, *words, **fake)
    assert done.code != 0
    assert told in done.text
    assert not [t for t in done.told if t["what"] == "flip"]
    assert done.log == []


def test_a_missing_image_and_an_earlier_log_stop_it(box):
    first = box.folder / box.images[box.order[0].image_id].filename
    kept = first.read_bytes()
    first.unlink()
    assert "1 images are missing" in psychopy(box.folder).text
    first.write_bytes(kept)
    (box.folder.parent / "kept.csv").write_text("x", encoding="utf-8")
    done = psychopy(box.folder, "--log", str(box.folder.parent / "kept.csv"))
    assert "kept.csv exists" in done.text
    assert (box.folder.parent / "kept.csv").read_text(encoding="utf-8") == "x"


def test_a_refresh_rate_that_nobody_stated_is_measured(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["psychopy"], refresh_hz=None)
    done = psychopy(box.folder, hz=120)
    assert {r["frames"] for r in done.log} == {"12"}
    wrong = psychopy(box.folder, hz=75)
    assert "7.50 frames at 75.00 Hz" in wrong.text
    assert len(rows(box.folder / "psychopy_conditions.csv")) == len(box.order)
