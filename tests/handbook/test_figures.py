"""Every picture and every measured table of README and docs has its command, and what is committed is what the records give."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.figures import __main__ as program
from scripts.figures import benchmarks, places, readers
from scripts.figures.pictures import DOCS, FROM, PICTURES, elsewhere, gallery_page, present, shown_on
from scripts.figures.plots import PLOTS
from scripts.figures.quoted import Sentence, requoted, sentences
from scripts.figures.readers import Outcome, differences
from scripts.figures.records import ROOT, load, records
from scripts.figures.studies import STUDIES, arguments
from scripts.figures.tables import Printed, Table, estimate, numbers, tables_in
from scripts.figures.workshop import Workshop, reduced, unlike

pytestmark = pytest.mark.xdist_group("handbook")
PAGES = {path: path.read_text(encoding="utf-8") for path in places.pages()}


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name


def test_every_picture_is_registered_and_shown() -> None:
    made = {name for name in present() if not elsewhere(name)}
    assert made == set(PICTURES), "register it in scripts/figures/pictures.py, or make it"
    assert made <= {name for name, _, _ in shown_on()}, "no page shows it"
    assert {picture.source for picture in PICTURES.values()} == set(FROM)
    assert all(text for _, _, text in shown_on()), "a picture without words for those who cannot see it"


def test_every_record_is_shown_and_every_marker_names_one() -> None:
    marked = {name for text in PAGES.values() for name in places.marked(text)}
    assert marked == {f"{name}/{table}" for name, record in records().items() for table in record.tables}
    begun = sum(text.count("<!-- measured:") for text in PAGES.values())
    assert begun == sum(len(places.marked(text)) for text in PAGES.values()), "a marker without its end"


def test_pages_are_as_the_records_have_them() -> None:
    for page, text in program.texts():
        assert PAGES[page] == text, f"{name_of(page)}: run `python -m scripts.figures`"


def test_no_measured_table_stands_outside_the_records() -> None:
    assert [line for page, text in PAGES.items() for line in places.loose(name_of(page), text)] == []
    heads = {(name_of(page), table.columns[0]) for page, text in PAGES.items() for _, table in tables_in(text)}
    assert set(places.DEFINITIONS) <= heads, "a table that is no longer there"


def test_a_measured_table_without_markers_is_seen() -> None:
    table = "| site | r |\n|---|---|\n| v4_001 | 0.62 [0.5, 0.7] |\n"
    printed = "```text\nrow   r\na  0.1  0.2\nb  0.3  0.4\nc  0.5  0.6\n```\n"
    words = "| key | meaning |\n|---|---|\n| steps | how many |\n"
    assert list(places.loose("new.md", table)) == ["new.md: | site | r |"]
    assert list(places.loose("new.md", printed)) == ["new.md: row   r"]
    assert list(places.loose("new.md", words)) == []
    assert list(places.loose("new.md", f"<!-- measured: a/b -->\n\n{table}\n<!-- end -->\n")) == []
    assert list(places.loose("trust.md", f"<!-- property tests: x -->\n{table}<!-- end of property tests -->\n")) == []


def test_an_altered_number_of_a_page_is_put_right_and_an_unknown_table_is_refused() -> None:
    page = DOCS / "rounds.md"
    altered = PAGES[page].replace("1.31 (1.26-1.37)", "1.41 (1.26-1.37)")
    assert altered != PAGES[page]
    assert places.rendered(altered, records()) == PAGES[page]
    with pytest.raises(KeyError, match="no such table"):
        places.rendered("<!-- measured: rounds/nothing -->\n<!-- end -->", records())


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    for record in records().values():
        assert load(record.save(tmp_path)) == record
        assert record.text() == (ROOT / "docs/measured" / f"{record.name}.json").read_text(encoding="utf-8")
    broken = (tmp_path / "rounds.json").read_text(encoding="utf-8").replace("measured/1", "measured/0")
    (tmp_path / "rounds.json").write_text(broken, encoding="utf-8")
    with pytest.raises(ValueError, match="schema"):
        load(tmp_path / "rounds.json")


def test_commands_name_programs_that_are_there() -> None:
    every = [command for record in records().values() for command in record.commands]
    every += [command for picture in PICTURES.values() for command in picture.commands]
    every += [step for study in STUDIES.values() for step in study.steps]
    for command in every:
        for path in re.findall(r"\b((?:scripts|tests)/[\w/]+\.py)", command):
            assert (ROOT / path).is_file(), command
    assert set(STUDIES) <= set(records())
    assert all(records()[name].inputs == "none" for name, study in STUDIES.items() if study.when != "all")
    assert arguments('python a.py --only "one look" {data}/x', {"data": Path("d")})[1:] == [
        "a.py",
        "--only",
        "one look",
        "d/x",
    ]


def test_a_study_prints_the_heads_that_its_record_has() -> None:
    power = "| evoked | references | repeats | simulated | normal |\n|---|---|---|---|---|\n"
    cells = [
        (level, n, r) for level in ("5", "7", "9") for n, r in (("1", "72"), ("2", "48"), ("3", "36"), ("5", "24"))
    ]
    power += "".join(f"| {level} | {n} | {r} | 85 % | 83 % |\n" for level, n, r in cells)
    lost = "| known by | objective | references | shortfall | told |\n|---|---|---|---|---|\n"
    for known in ("trials", "trials and encoder"):
        for objective in ("stretch", "one_hot"):
            lost += "".join(f"| {known} | {objective} | {n} | 0.{n}1 | 0.{n}2 |\n" for n in (1, 2, 3))
    found = readers.planner(Outcome([f"{lost}\n{power}"], Path()))
    for name, table in found.items():
        old = records()["planner"].tables[name]
        assert isinstance(old, Table)
        assert isinstance(table, Table)
        assert (table.columns, table.column(0)) == (old.columns, old.column(0))
    row = found["references"].rows[1]  # type: ignore[union-attr]
    assert row == ("trials", "2", "0.21", "0.22", "0.21", "0.22")
    looks = "| Design | Question | Found | Interval | Promised | Holds |\n|---|---|---|---|---|---|\n"
    looks += "| one look | stretch: false verdict at a site | 1 % of 9 | 0 - 2 | at most 1 % | yes |\n| one look | difference | +5 % of 9 | +2 - +8 |  |  |\n"
    both = readers.interim(Outcome([looks], Path()))
    for name, table in both.items():
        assert table.columns == records()["interim"].tables[name].columns  # type: ignore[union-attr]
        assert len(table.rows) == 1  # type: ignore[union-attr]


def test_pooled_arms_become_the_rows_of_the_page() -> None:
    entries = [
        {"arm": arm, "objective": objective, "medians": [1.31, 1.26], "mean": [1.7, 1.32, 2.09], "change": [0.3, 0.2, 0.4],
         "share": [0.71, 0.58, 0.83], "shares": [0.78, 0.66]}
        for arm in benchmarks.DRAWN
        for objective in ("stretch", "one_hot")
    ]  # fmt: skip
    table = benchmarks.control_draws(Outcome([json.dumps({"210225": entries})], Path()))["210225"]
    old = records()["control_draws"].tables["210225"]
    assert isinstance(table, Table)
    assert isinstance(old, Table)
    assert (table.columns, table.column(0)) == (old.columns, old.column(0))
    assert table.rows[4] == (
        "**default**",
        "1.31, 1.26",
        "",
        "71 %",
        "1.70 [1.32, 2.09]",
        "",
        "71 % [58, 83]",
        "78, 66",
    )
    assert table.rows[5][2] == "+0.30 [+0.20, +0.40]"


def test_differences_beyond_the_tolerance_and_in_words_are_told() -> None:
    old = records()["selectivity"].tables["weights"]
    assert isinstance(old, Table)
    rows = [list(row) for row in old.rows]
    assert differences(old, old, relative=0, absolute=0) == []
    rows[0][2] = "53.9%"
    near = replace(old, rows=tuple(map(tuple, rows)))
    assert differences(old, near, relative=0, absolute=0.3) == []
    assert differences(old, near, relative=0, absolute=0.1) == ["8: '53.7%' became '53.9%'"]
    rows[0][1] = "another"
    assert differences(old, replace(old, rows=tuple(map(tuple, rows))), relative=1, absolute=9)
    assert differences(old, replace(old, rows=old.rows[1:]), relative=1, absolute=9) == ["18 rows became 17"]
    assert differences(Printed(("r 0.50",)), Printed(("r 0.51",)), relative=0, absolute=0.001)


def test_numbers_of_cells() -> None:
    assert estimate("1.24 (1.20-1.29)") == (1.24, 1.20, 1.29)
    assert estimate("+0.071 [+0.052, +0.090]") == (0.071, 0.052, 0.090)
    assert estimate("0.78 (0.76 - 0.79)") == (0.78, 0.76, 0.79)
    assert estimate("46 of 48") == (46.0, 46.0, 46.0)
    assert numbers("114 of 115, 99 % of 3,200 in 1/f^1.75 of v4_001") == [114, 115, 99, 3200, 1, 1.75]
    with pytest.raises(ValueError, match="no number"):
        estimate("not run")


def test_sentences_are_filled_and_lost_ones_are_told() -> None:
    assert len(sentences()) > 20
    one = Sentence(
        "docs/x.md", "It rose by {rounds/changes[refit, round 1 to 3][#1]!0} M, to {rounds/stretch[refit / 3][#2]!0}."
    )
    assert requoted("Then: It rose by\n9 M, to 8.77.\n", [one], records()) == "Then: It rose by\n+0.071 M, to 1.31.\n"
    with pytest.raises(ValueError, match="0 times"):
        requoted("It fell.", [one], records())
    with pytest.raises(ValueError, match="begin with words"):
        requoted("9 M", [Sentence("x", "{rounds/stretch[refit / 3][#2]} M")], records())
    with pytest.raises(KeyError, match="0 rows begin"):
        requoted(
            "It rose by 9 M, to 8.", [Sentence("x", "It rose by {rounds/stretch[refit / 7][#2]} M, to 8.")], records()
        )


def test_a_plot_is_drawn_again_as_it_is_committed_and_another_number_is_seen(tmp_path: Path) -> None:
    name = "measured_rounds.png"
    draw, (record,) = PLOTS[name]
    picture = PICTURES[name]
    draw(records(), tmp_path / name)
    assert unlike(DOCS / name, tmp_path / name, mean=picture.mean, worst=picture.worst) == ""
    old = records()[record]
    table = old.tables["stretch"]
    assert isinstance(table, Table)
    other = replace(table, rows=(("refit", "1", "1.30 (1.25-1.33)", "98 %", "75 % (67-82)"), *table.rows[1:]))
    draw({record: replace(old, tables=old.tables | {"stretch": other})}, tmp_path / name)
    assert unlike(DOCS / name, tmp_path / name, mean=picture.mean, worst=picture.worst)


def test_pictures_of_another_size_or_of_something_else_are_told(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    for path, shown in (
        (tmp_path / "a.png", pixels),
        (tmp_path / "b.png", pixels[:, ::-1] // 2),
        (tmp_path / "c.png", pixels[:32]),
    ):
        Image.fromarray(shown).save(path)
    assert unlike(tmp_path / "a.png", tmp_path / "a.png") == ""
    assert "grey levels differ" in unlike(tmp_path / "a.png", tmp_path / "b.png")
    assert "became 96 x 32" in unlike(tmp_path / "a.png", tmp_path / "c.png")


def test_the_list_names_every_record_and_picture_with_its_command() -> None:
    told = program.listed()
    for name in (*records(), *PICTURES):
        assert re.search(rf"^(record|picture) +{re.escape(name)} ", told, re.MULTILINE), name
    assert "by hand" in told


def test_what_is_lost_is_told_and_what_a_command_cannot_make_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.parse(["--only", "earlier_networks"])
    assert "taken from its page" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.parse(["--only", "nothing"])
    assert "no such record or picture" in capsys.readouterr().err
    studies, pictures = program.chosen(program.parse(["--check"]))
    assert studies == ["selectivity"]
    assert set(pictures) == set(PLOTS)
    studies, pictures = program.chosen(program.parse(["--all"]))
    assert set(studies) == set(STUDIES)
    assert set(pictures) == set(PICTURES)


def test_the_gallery_shows_every_picture_with_its_command() -> None:
    text = gallery_page()
    for name, picture in PICTURES.items():
        assert f"]({name})" in text
        assert picture.commands[-1] in text


def test_printed_lines_become_the_rows_of_their_pages() -> None:
    heads = ["2 after 5: 0.33", "1 after 10: 0.29", "2 after 10: 0.42", "2 after 15: 0.50", "2 after 20: 0.58"]
    heads += ["2 plain: 0.25", "3 plain: 0.38", "4 plain: 0.50"]
    lines = ["share of the gain", " " * 18 + "".join(f"{head:>17}" for head in heads)]
    for start in ("stretch, photographs", "stretch, noise", "one_hot, photographs", "one_hot, noise"):
        lines.append(f"{start:<18}" + "".join(f"{i / 10:>17.2f}" for i in range(8)))
    table = readers.dropped(Outcome(["\n".join(lines)], Path()))["shares"]
    old = records()["seed_dropping"].tables["shares"]
    assert isinstance(table, Table)
    assert isinstance(old, Table)
    assert (table.columns, table.column(0)) == (old.columns, old.column(0))
    assert table.rows[0][1:] == ("0.00", "0.10", "0.20", "0.30", "0.40", "0.60", "0.70")


def test_scores_beside_published_ones_become_the_rows_of_their_page() -> None:
    methods = ("genetic", "cma", "sphere")
    first = "\n".join(
        f"noise {n}: {m:<8} 0.500 +- 0.010   published {p}" for n, p in ((0.0, None), (0.2, 0.4)) for m in methods
    )
    second = "\n".join(f"noise 0.5: {m:<8} 0.900 +- 0.020   published 0.5" for m in methods)
    table = readers.published(Outcome([first, second], Path()))["scores"]
    old = records()["evolution_published"].tables["scores"]
    assert isinstance(table, Table)
    assert isinstance(old, Table)
    assert [row[:2] for row in table.rows] == [row[:2] for row in old.rows]
    assert table.columns == old.columns
    assert table.rows[3] == ("0.5, earlier layer", "genetic", "0.900 +- 0.020", "0.5")
    assert table.rows[6] == ("0", "genetic", "0.500 +- 0.010", "")


@pytest.mark.parametrize("record", ["speed", "fits", "guided_step"])
def test_rows_of_the_bench_take_the_place_of_those_of_the_page(record: str) -> None:
    (table,) = records()[record].tables
    study, (step,) = STUDIES[record], STUDIES[record].steps
    rows = [word for word in step.partition("--rows ")[2].partition(" --")[0].split() if word != "loop"]
    lines = [f"{'row':<12}{'ratio':>7}{'range':>16}{'limit':>8}  what"]
    lines += [f"{row:<12}{1.5:>7.2f}{'1.40 - 1.60':>16}{'-':>8}  words" for row in [*rows, "loop"]]
    new = study.read(Outcome(["\n".join(lines)], Path()))[table]
    old = records()[record].tables[table]
    assert isinstance(new, Table)
    assert isinstance(old, Table)
    assert (new.columns, new.column(0), new.column(len(old.columns) - 1)) == (
        old.columns,
        old.column(0),
        old.column(len(old.columns) - 1),
    )
    assert all("1.50" in " ".join(row) and "1.40 - 1.60" in " ".join(row) for row in new.rows)


def test_reports_of_default_projects_become_the_rows_of_the_page(tmp_path: Path) -> None:
    for number, folder in enumerate(benchmarks.RUNS.values()):
        rows = []
        for i in range(4):
            for objective in ("stretch", "one_hot"):
                row = {"round": 1, "objective": objective, "verdict": "control" if i < 2 else "no control", "listed": i < 3, "relative_to_m": 1.0 + i / 10,
                       "margin": float(i), "above_m": i > 0, "above_natural_maximum": i > 1, "beats_natural_margin": i > 2, "beats_reference": i != number}  # fmt: skip
                rows += [row, row | {"round": 2, "verdict": "control"}]
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "v4_benchmark.json").write_text(
            json.dumps({"sessions": {"s": {"rows": rows}}}), encoding="utf-8"
        )
    for name, table in benchmarks.defaults(Outcome([], tmp_path)).items():
        old = records()["verdicts_v4"].tables[name]
        assert isinstance(table, Table)
        assert isinstance(old, Table)
        assert (table.columns, table.column(0)) == (old.columns, old.column(0))
        assert table.cell("verdict *control* (p <= 0.01)", "together").startswith("6 of 12, 50 % [")
        assert table.cell(benchmarks.ON_LIST, "201025, seed 0") == "3 of 4"
        assert table.rows[-1][1:] == ("1", "1", "1", "3 of 9")
    assert table.cell("median true margin, natural SD", "210225, seed 0") == "1.50"


def test_what_needs_recordings_says_so(tmp_path: Path) -> None:
    faults: list[str] = []
    shop = Workshop(tmp_path)
    program.attempt("levels.jpg", lambda: PICTURES["levels.jpg"].make(shop, tmp_path / "levels.jpg"), faults)
    program.attempt(
        "search.png", lambda: PICTURES["search.png"].make(Workshop(tmp_path, tmp_path), tmp_path / "search.png"), faults
    )
    assert [fault.partition(": ")[0] for fault in faults] == ["levels.jpg", "search.png"]
    assert all("pass --data" in fault for fault in faults)


def test_a_command_runs_once_and_its_failure_is_told(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    kept = shop.kept(tmp_path, "plan", "--reference", "9")
    kept.parent.mkdir()
    kept.write_text("kept", encoding="utf-8")
    assert shop.stimsynth(tmp_path, "plan", "--reference", "9") == "kept"
    with pytest.raises(RuntimeError, match=r"stimsynth status nowhere ended with [23]"):
        shop.stimsynth(tmp_path, "status", "nowhere")
    assert not shop.kept(tmp_path, "status", "nowhere").exists()


def test_a_reduced_picture_has_the_width_and_the_kind_of_its_name(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png")
    for name in ("b.jpg", "b.png"):
        reduced(tmp_path / "a.png", tmp_path / name, 100)
        with Image.open(tmp_path / name) as opened:
            assert (opened.size, opened.format) == ((100, 50), {"b.jpg": "JPEG", "b.png": "PNG"}[name])
    reduced(tmp_path / "a.png", tmp_path / "c.png", 1000, box=(0, 0, 10, 20))
    with Image.open(tmp_path / "c.png") as opened:
        assert opened.size == (10, 20)
