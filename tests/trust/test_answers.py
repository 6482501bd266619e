"""Hundreds of answers to a round, as rigs really write them and as they must not be: the right table or a refusal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.recordings.ingest import ingest
from tests.trust.helpers.answers import MUTATIONS, Setting
from tests.trust.helpers.outcome import Case, Family, Place, contents
from tests.trust.helpers.rounds import Planned, make_round
from tests.trust.helpers.sheet import Form, difference, read_table, write

KNOWN: dict[str, str] = {}


@pytest.mark.thorough
@pytest.mark.parametrize(("unit", "number"), [("spikes", 1), ("dff", 1), ("spikes", 0), ("spikes/s", 1)])
def test_answers_to_a_round(tmp_path: Path, unit: str, number: int) -> None:
    planned = make_round(tmp_path / "project", unit=unit, number=number)
    family = Family(f"tests/trust/test_answers.py::test_answers_to_a_round[{unit}-{number}]", known=KNOWN)
    place, outside = Place(tmp_path / "project"), Place(tmp_path)
    for name, (times, mutate) in MUTATIONS.items():
        for n in range(times if (unit, number) == ("spikes", 1) else times // 2 + 1):
            rng = np.random.default_rng([n, number, len(unit), *name.encode()])
            answer_once(
                family, planned, place, lambda path, rng=rng, mutate=mutate: mutate(Setting(planned, path, rng))
            )
    assert outside.changed() == [], "something outside was changed"
    family.close(share=0.35)


def answer_once(family: Family, planned: Planned, place: Place, mutate: Any) -> None:
    """Hand one file in, ingest it, judge; then forget it."""
    inbox = planned.round.inbox
    path = inbox / "responses.h5"
    case = mutate(path)
    (inbox / "responses.h5.done").touch()
    before = contents(place.folder)

    def run() -> tuple[dict[str, Any], list[str]]:
        report = ingest(planned.round)
        return read_table(planned.round.responses_path), [report.summary(), *report.notes]

    taken = family.judge(case, run, lambda found, right: difference(found, right, tolerance=1e-12))
    now = contents(place.folder)
    changed = sorted(n for n in now.keys() | before.keys() if now.get(n) != before.get(n))
    record = {"responses.h5", "ingest.json", "log.jsonl"} if taken else set()
    stray = [n for n in changed if Path(n).name not in record or "inbox" in n]
    if stray:
        family.fail(case, f"files were changed: {', '.join(stray)}")
    place.restore()


def test_every_way_of_writing_gives_the_same_bytes(tmp_path: Path) -> None:
    family = Family("tests/trust/test_answers.py::test_every_way_of_writing_gives_the_same_bytes")
    for number, unit in ((1, "spikes"), (1, "dff"), (0, "spikes")):
        planned = make_round(tmp_path / f"{unit}_{number}", unit=unit, number=number)
        place = Place(tmp_path / f"{unit}_{number}")
        for seed in range(3):
            setting = Setting(planned, planned.round.inbox / "responses.h5", np.random.default_rng(seed))
            sheet = setting.sheet()
            wanted = None
            for variant in range(12):
                if variant == 0:
                    write(setting.path, sheet, Form())
                    case = Case("plain", "taken", setting.table(sheet))
                else:
                    case = setting.case("faithful", "taken", setting.shuffled(sheet))
                (planned.round.inbox / "responses.h5.done").touch()

                def run(planned: Planned = planned) -> tuple[Any, list[str]]:
                    report = ingest(planned.round)
                    return planned.round.responses_path.read_bytes(), report.notes

                def differs(found: bytes, _: Any, wanted: bytes | None = wanted) -> str:
                    return "" if wanted in (None, found) else "other bytes than the plain file gives"

                if family.judge(case, run, differs) and variant == 0:
                    wanted = planned.round.responses_path.read_bytes()
                place.restore()
        shutil.rmtree(planned.round.inbox)
    family.close(share=1.0)
