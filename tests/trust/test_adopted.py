"""Recordings made elsewhere: photographs and responses that a user brings become the project's baseline, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from protocols.project.folder import Project
from protocols.recordings.adopt import adopt_recording
from tests.trust.helpers.answers import MUTATIONS, Setting
from tests.trust.helpers.outcome import Case, Family, Place, contents
from tests.trust.helpers.rounds import DISPLAY, Planned
from tests.trust.helpers.sheet import Sheet, difference, draw, plain_id, read_table, write

KNOWN: dict[str, str] = {}
# What a recording made elsewhere cannot get wrong: there is no plan to contradict.
OF_A_PLAN = {
    "an_image_never_shown",
    "another_round",
    "block_and_rep_from_one",
    "block_and_rep_partly_unknown",
    "blocks_of_other_rows",
    "told_by_the_clock",
    "told_by_the_order",
    "averages",
    "foreign_site_names",
    "another_window",
    "more_rows_than_planned",
}
SILENT = {"rows_missing", "rows_marked_invalid", "rows_without_a_value", "a_dead_site"}  # no plan to compare with


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Ids of 50 small photographs in the folder ``pictures``."""
    return make_pictures(tmp_path / "pictures", [f"img_{n:03d}.png" for n in range(50)])


def make_pictures(folder: Path, names: list[str]) -> list[str]:
    """Write one small picture per name; the ids that they get."""
    folder.mkdir()
    for n, name in enumerate(names):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return [plain_id(name.rsplit(".", 1)[0], "img") for name in names]


def plan_of(images: list[str], unit: str, seed: int) -> Planned:
    """A recording of every image twice, in random order."""
    rng = np.random.default_rng(seed)
    trials = [(images[i], block, block) for block in (0, 1) for i in rng.permutation(len(images))]
    return Planned(Nowhere(), trials, images, [], unit)  # type: ignore[arg-type]


class Nowhere:
    """No round: the recording was made elsewhere."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"there is no round, hence no {name}")


class Elsewhere(Setting):
    """Recordings without a round: nothing names a manifest."""

    def sheet(self) -> Sheet:
        from tests.trust.helpers.rounds import SITES, responses

        images = [i for i, _, _ in self.planned.trials]
        return Sheet(
            images,
            block=np.array([b for _, b, _ in self.planned.trials]),
            rep=np.array([r for _, _, r in self.planned.trials]),
            onset=3.0 + np.arange(len(images)) * 0.5,
            values=responses(images, self.rng, self.planned.unit, len(SITES)),
            sites=list(SITES),
            unit=self.planned.unit,
        )

    def plain(self, sheet: Sheet | None = None) -> Sheet:
        return super().plain(self.sheet() if sheet is None else sheet)


def notes_of(project: Project, table: Any) -> list[str]:
    """What was told: the record of the adoption, and the notes of the table."""
    record = project.data / "recording.json"
    told = [json.dumps(json.loads(record.read_text(encoding="utf-8")), ensure_ascii=False)] if record.is_file() else []
    return [*told, *map(str, table.attributes.get("notes", ()))]


def by_site(table: dict[str, Any]) -> dict[str, Any]:
    """The table with its sites sorted by name."""
    order = sorted(range(len(table["sites"])), key=table["sites"].__getitem__)
    rows = [(*row[:3], tuple(row[3][u] for u in order)) for row in table["rows"]]
    rows.sort(key=lambda row: (*row[:3], tuple((v != v, 0.0 if v != v else v) for v in row[3])))
    return table | {"sites": [table["sites"][u] for u in order], "rows": rows}


def adopt_once(family: Family, project: Project, place: Place, case: Case, folder: Path, *, known: bool = True) -> None:
    """Adopt ``answer.h5`` of the parent folder, judge, forget."""
    before = contents(place.folder)

    def run() -> tuple[dict[str, Any], list[str]]:
        table = adopt_recording(project, folder, project.folder.parent / "answer.h5")
        return read_table(project.data / "responses.h5", known=known), notes_of(project, table)

    taken = family.judge(case, run, lambda found, right: difference(by_site(found), by_site(right), tolerance=1e-12))
    if not taken and (stray := place.changed(contents(place.folder))):
        family.fail(case, f"a refused recording changed {', '.join(stray[:5])}")
    assert before == place.files
    place.restore()


@pytest.mark.thorough
@pytest.mark.parametrize("unit", ["spikes", "zscore"])
def test_recordings_made_elsewhere(tmp_path: Path, pictures: list[str], unit: str) -> None:
    project = Project.create(tmp_path / "project", name="trial", display=DISPLAY)
    family = Family(f"tests/trust/test_adopted.py::test_recordings_made_elsewhere[{unit}]", known=KNOWN)
    place = Place(project.folder)
    for name, (times, mutate) in MUTATIONS.items():
        if name in OF_A_PLAN:
            continue
        for n in range(min(times // 4 + 2, 24)):
            rng = np.random.default_rng([n, len(unit), *name.encode()])
            unordered = name.startswith(("clock", "appended"))
            setting = Elsewhere(plan_of(pictures, unit, n), tmp_path / "answer.h5", rng, known=not unordered)
            case = mutate(setting)
            if "9000" in case.label:  # long presentations are known elsewhere: a late window may be meant
                continue
            if name in SILENT:
                case = Case(case.kind, case.right, case.result, label=case.label)
            adopt_once(family, project, place, case, tmp_path / "pictures", known=not unordered)
    family.close(share=0.3)


NAMES = {
    "spaces and capitals": [f"Scene {n:02d} Left.png" for n in range(50)],
    "numbers": [f"{n:04d}.png" for n in range(50)],
    "plain numbers": [f"{n}.png" for n in range(1, 51)],
    "dots": [f"scene.{n:03d}.png" for n in range(50)],
    "degrees": [f"im_{n / 10:.1f}deg.png" for n in range(50)],
    "endings": [f"s{n}.{'png' if n % 2 else 'bmp'}" for n in range(50)],
    "Umlauts": [f"Häuser_{n}_é.png" for n in range(50)],
    "dashes": [f"n0{n:02d}-{n * 7}.png" for n in range(50)],
    "as floats": [f"{n}.5.png" for n in range(50)],
}
SPELLINGS = ("file name", "stem", "path", "capitals")


@pytest.mark.parametrize("batch", [0, 1])
def test_ids_that_are_file_names(tmp_path: Path, batch: int) -> None:
    """With or without ending, however the pictures are called: each row stays with its picture."""
    family = Family(f"tests/trust/test_adopted.py::test_ids_that_are_file_names[{batch}]", known=KNOWN)
    project = Project.create(tmp_path / "project", name="trial", display=DISPLAY)
    place = Place(project.folder)
    for kind, names in list(NAMES.items())[batch::2]:
        folder = tmp_path / kind.replace(" ", "_")
        ids = make_pictures(folder, names)
        for n in range(8):
            rng = np.random.default_rng([n, *kind.encode()])
            setting = Elsewhere(plan_of(names, "spikes", n), tmp_path / "answer.h5", rng)
            sheet = setting.shuffled(setting.sheet())
            spelling = SPELLINGS[n % 4] if kind != "as floats" or n % 4 != 3 else "file name"
            spell = {
                "file name": lambda i: i,
                "stem": lambda i: i.rsplit(".", 1)[0],
                "path": lambda i: f"D:\\stimuli\\{i}",
                "capitals": lambda i: i.rsplit(".", 1)[0].upper(),
            }[spelling]
            form = draw(rng, sheet)
            form.image_names, form.bins, form.packed, form.declared = "plain", 0, False, ""
            form.dtype, form.names = "f8", "vlen" if not "".join(names).isascii() else form.names
            write(setting.path, Sheet(**{**vars(sheet), "images": [spell(i) for i in sheet.images]}), form)
            of = dict(zip(names, ids, strict=True))
            table = setting.table(Sheet(**{**vars(sheet), "images": [of[i] for i in sheet.images]}))
            adopt_once(family, project, place, Case(f"{kind}: {spelling}", "taken", table, label=str(form)), folder)
        for edge in ("index 0", "index 1"):
            rng = np.random.default_rng([3, *kind.encode()])
            setting = Elsewhere(plan_of(names, "spikes", 3), tmp_path / "answer.h5", rng)
            sheet = setting.shuffled(setting.sheet())
            form = draw(rng, sheet)
            form.bins, form.packed, form.declared, form.dtype = 0, False, "", "f8"
            form.image_names = f"index{edge[-1]}"
            write(setting.path, sheet, form, images=sorted(names))
            table = setting.table(Sheet(**{**vars(sheet), "images": [of[i] for i in sheet.images]}))
            adopt_once(family, project, place, Case(f"{kind}: {edge}", "either", table, label=str(form)), folder)
    family.close(share=0.7)
