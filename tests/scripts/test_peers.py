"""The comparison beside peers: every row at a tiny size, peers that are missing, and a page that says what was measured."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def peers() -> Iterator[Any]:
    """The modules of scripts/peers, as `python scripts/bench.py` finds them."""
    kept = list(sys.path)
    sys.path.insert(0, str(ROOT / "scripts"))
    names = (
        "records",
        "ascent",
        "control",
        "speed",
        "verdicts",
        "regression",
        "evolution",
        "memory",
        "page",
        "recipes",
        "run",
        "world",
    )
    modules = argparse.Namespace(**{name: importlib.import_module(f"peers.{name}") for name in names})
    draws, modules.control.DRAWS = modules.control.DRAWS, 50
    try:
        yield modules
    finally:
        modules.control.DRAWS = draws
        sys.path[:] = kept


@pytest.fixture(scope="module")
def bench(peers: Any) -> Any:
    """A comparison of the smallest size, on the package's own simulated subject."""
    sizes = peers.world.Sizes(size=64, photographs=40, population=4, targets=2, repeats=2, readout="ridge")
    return peers.run.Bench(
        None, sizes, peers.speed.Load(size=48, batch=2, steps=3), repeats=1, shares=0.02, experiments=2, evolved_sites=1,
        presentations=40, epochs=1, processes=1,
    )  # fmt: skip


def rows(peers: Any, bench: Any, group: str) -> tuple[list[Any], list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        found = list(bench.rows(group))
    return [r for r in found if isinstance(r, peers.records.Row)], [
        r for r in found if isinstance(r, peers.records.NotRun)
    ]


PEERS = {
    "speed": {"lucent", "plenoptic", "mei's loop"},
    "control": {"lucent", "plenoptic", "mei's loop"},
    "verdicts": {"by hand: largest mean", "by hand: t-test on the best", "by hand: t-test across days"},
    "ridge": {"himalaya", "scikit-learn"},
    "readout": {"neuralpredictors"},
    "evolution": {"XDream's genetic algorithm"},
}


@pytest.mark.parametrize("group", PEERS)
def test_every_row_runs_and_every_peer_is_there_or_said_to_be_missing(peers: Any, bench: Any, group: str) -> None:
    made, absent = rows(peers, bench, group)
    assert {r.peer for r in made} | {n.peer for n in absent} == PEERS[group]
    assert not {r.peer for r in made} & {n.peer for n in absent}
    assert all("not installed" in n.why and "pip install" in n.why for n in absent)
    for row in made:
        assert np.isfinite([row.value, row.ours, row.theirs]).all(), row
        if row.group == "quality":
            assert row.bound in ("", "at least", "at most")
        if row.kind == "ratio" and row.theirs:
            assert row.value == pytest.approx(row.ours / row.theirs), row
        elif row.kind == "difference":
            assert row.value == pytest.approx(row.ours - row.theirs), row


def test_a_missing_peer_is_named_and_the_others_still_run(
    peers: Any, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = peers.records.Peer("himalaya", "himalaya", "no_such_module", "pip install himalaya")
    monkeypatch.setattr(peers.regression, "HIMALAYA", gone)
    made, absent = rows(peers, bench, "ridge")
    assert [n.peer for n in absent] == ["himalaya"]
    assert {r.peer for r in made} == {"scikit-learn"}
    record = peers.run.told(absent[0])
    assert "NOT RUN" in record
    assert "himalaya" in record


def row(peers: Any, **changes: Any) -> Any:
    given = {
        "group": "speed", "peer": "p", "version": "1.0", "what": "w", "value": 0.5, "low": 0.4, "high": 0.6, "interval": "i",
        "ours": 1.0, "theirs": 2.0, "unit": "s", "better": "less",
    }  # fmt: skip
    return peers.records.Row(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "ahead"),
        ({"better": "more"}, "behind"),
        ({"high": 1.1}, "even"),
        ({"low": None, "high": 0.9}, "ahead"),
        ({"low": 1.2, "high": None}, "behind"),
        ({"bound": "at least"}, "behind"),
        ({"bound": "at most", "value": 2.0, "low": 1.5, "high": 2.5}, "ahead"),
        ({"kind": "difference", "low": -0.1, "high": 0.2, "better": "more"}, "even"),
        ({"kind": "difference", "low": 0.1, "high": 0.2, "better": "more"}, "ahead"),
    ],
)
def test_the_outcome_is_that_of_the_interval_and_of_who_never_gets_there(
    peers: Any, changes: dict[str, Any], outcome: str
) -> None:
    assert row(peers, **changes).outcome == outcome


def test_seconds_to_a_score_lie_on_the_line_between_points_and_say_when_it_is_not_reached(peers: Any) -> None:
    curve = peers.control.Curve([1, 2, 4], [1.0, 2.0, 4.0], [], np.array([[0.0, 0.0], [1.0, 3.0], [3.0, 5.0]]))
    assert curve.seconds_to(1.0) == (1.5, True)
    assert curve.seconds_to(3.0) == (3.0, True)
    assert curve.seconds_to(9.0) == (4.0, False)
    assert curve.seconds_to(2.0, np.array([0, 0])) == (3.0, True)


def test_the_interval_of_a_ratio_holds_it_and_pairs_the_units(peers: Any) -> None:
    theirs = np.linspace(1, 9, 40)
    found = peers.records.paired_ratio(1.5 * theirs, theirs)
    assert (found["low"], found["value"], found["high"]) == pytest.approx((1.5, 1.5, 1.5))
    apart = peers.records.paired_ratio(1.5 * theirs[::-1], theirs)
    assert apart["low"] < 1.4 < 1.6 < apart["high"]


def test_by_hand_the_best_of_five_is_taken_for_control_where_nothing_is(peers: Any) -> None:
    ours, by_hand = peers.verdicts.shares(12, gain=0.0, drift=False)
    assert by_hand["largest mean"].mean() > 0.6  # 5 / 6 of equal images
    assert by_hand["t-test on the best"].mean() > 0.02
    assert ours.mean() < 0.02


def test_the_memory_of_a_side_is_that_of_a_process_of_its_own(peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"ours": 20.0, "theirs": 40.0}
    monkeypatch.setattr(peers.memory, "peak", lambda name, side: told[side])
    found = [r for r in peers.memory.rows(repeats=1) if isinstance(r, peers.records.Row)]
    assert {r.peer for r in found} >= {"mei's loop", "himalaya", "scikit-learn"}
    assert {r.value for r in found} == {0.5}
    assert peers.memory.status("VmRSS") > 10


@pytest.mark.thorough
def test_peak_memory_grows_with_what_is_held(peers: Any) -> None:
    assert peers.memory.peak("himalaya", "theirs") > 20  # a kernel of 1000 images and its products


def test_rows_that_were_not_run_again_are_kept_in_the_file(peers: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "peers.json"
    peers.run.save({"ridge": {"rows": [1]}}, path)
    peers.run.save({"speed": {"rows": [2]}}, path)
    assert list(json.loads(path.read_text())) == ["speed", "ridge"]


def test_a_row_that_does_not_exist_is_refused(peers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bench = importlib.import_module("bench")
    with pytest.raises(SystemExit):
        bench.check_rows(["speeds"], list(peers.run.GROUPS), argparse.ArgumentParser())
    assert "no row speeds; there are speed, control" in capsys.readouterr().err


def test_the_pages_say_what_was_measured(peers: Any) -> None:
    page, measured = peers.page, json.loads(peers.page.MEASURED.read_text(encoding="utf-8"))
    for path, part in page.parts().items():
        text = path.read_text(encoding="utf-8")
        assert page.page_with(text, part) == text, "run `python scripts/peers/page.py --write`"
    assert list(measured) == list(peers.run.GROUPS)
    found = [r for g in measured.values() for r in g["rows"]]
    again = [peers.records.Row(**{k: v for k, v in r.items() if k != "outcome"}).outcome for r in found]
    assert again == [r["outcome"] for r in found]


def test_the_page_holds_every_recipe_of_the_papers(peers: Any, bench: Any) -> None:
    record = json.loads(peers.page.RECIPES.read_text(encoding="utf-8"))
    assert set(record["recipes"]) == {*peers.recipes.arms(bench.world), peers.recipes.PHOTOGRAPH}


@pytest.mark.thorough
def test_the_recipes_of_the_papers_run_and_are_judged_alike(peers: Any, bench: Any) -> None:
    record = peers.recipes.measure(bench.world, share=0.02)
    for row in record["recipes"].values():
        scores = row["means"]
        assert row["kept_by_validator"]["value"] == pytest.approx(scores["validator"] / scores["encoder"])


def test_the_picture_is_of_the_measured_numbers(peers: Any) -> None:
    from PIL import Image

    with Image.open(peers.page.PICTURE) as picture:
        assert picture.info["Measured"] == peers.page.digest(), "run `python scripts/peers/page.py --write`"


def test_a_change_of_a_number_changes_the_page(peers: Any) -> None:
    measured = json.loads(peers.page.MEASURED.read_text(encoding="utf-8"))
    before = peers.page.made(measured)
    measured["ridge"]["rows"][0]["value"] *= 2
    assert peers.page.made(measured) != before
    with pytest.raises(ValueError, match="no line"):
        peers.page.page_with("a page without marks", before)
