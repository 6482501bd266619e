"""Reports of programs in another layout than their pages become the rows of the pages."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts import bench_quality
from scripts.figures import benchmarks, readers, recorded, studies
from scripts.figures.readers import Outcome
from scripts.figures.records import ROOT, records
from scripts.figures.tables import Shown, Table

pytestmark = pytest.mark.xdist_group("handbook")


def compared(record: str, table: str, found: dict[str, Shown]) -> tuple[Table, Table]:
    """The table of the record and the one that was read, whose heads and first cells must be the same."""
    old, new = records()[record].tables[table], found[table]
    assert isinstance(old, Table)
    assert isinstance(new, Table)
    assert (new.columns, new.column(0)) == (old.columns, old.column(0))
    assert all(len(row) == len(new.columns) for row in new.rows)
    return old, new


def test_tables_of_memory_keep_what_was_seen_before() -> None:
    old = records()["memory"].tables["tables"]
    assert isinstance(old, Table)
    lines = ["| step | tables, at most | seen | at 200,000 x 10,000 |", "|---|---|---|---|"]
    lines += [f"| {row[0]} | 2.5 | 1.23 | 40 GB |" for row in old.rows]
    _, new = compared("memory", "tables", readers.memory(Outcome(["\n".join(lines)], Path())))
    assert new.rows[0][1:] == ("2.5", "1.23", old.rows[0][3], "40 GB")


def test_clusters_of_two_recordings_become_two_blocks(tmp_path: Path) -> None:
    methods = {
        name: {"adjusted_rand": 0.1 * i, "mean_rank": 1.5, "chance_rank": 3.0, "first": 0.7, "chance_first": 0.2, "margin": 0.25}
        for i, name in enumerate(("discriminative", "by photographs", "k-means"))
    }  # fmt: skip
    curve = {"5": 0.11, "10": 0.2, "20": 0.3, "40": 0.4, "80": 0.5}
    typing = {
        "discriminative": curve | {"no noise": 0.6},
        "same clusters from random photographs": curve,
        "k-means": curve,
    }
    sessions = {
        "210225": {"sites": 55, "methods": methods, "typing": typing},
        "201025": {"sites": 89, "methods": methods, "typing": typing},
    }
    (tmp_path / "discriminative.json").write_text(json.dumps({"sessions": sessions}), encoding="utf-8")
    found = recorded.discriminative(Outcome([], tmp_path))
    _, clusters = compared("discriminative", "clusters", found)
    assert clusters.rows[2][1:] == ("0.20", "1.50", "0.70", "0.25")
    _, presentations = compared("discriminative", "presentations", found)
    assert presentations.rows[0][1:] == ("0.11", "0.20", "0.30", "0.40", "0.50", "0.60")
    assert presentations.rows[1][-1] == ""


def test_scores_of_layers_become_one_row_per_way_of_folding(tmp_path: Path) -> None:
    layers = ("blocks.2.0", "blocks.3.0", "blocks.4.0")
    rows = [
        {"weights": "pretrained", "layers": name, "folds_by": split, "r_nc": 0.6 + 0.01 * i}
        for split in ("image", "near-duplicate", "object")
        for i, name in enumerate((f"mean of {', '.join(layers)}", *layers))
    ]
    rows.append(
        {"weights": "random", "layers": "best of 8 layers and their mean: mean", "folds_by": "image", "r_nc": 0.4}
    )
    (tmp_path / "predictivity.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    _, table = compared("predictivity", "layers", recorded.predictivity(Outcome([], tmp_path)))
    assert table.rows[0][1:] == ("0.600", "0.600", "0.600")
    assert table.rows[1][3] == "0.610 / 0.620 / 0.630"
    assert table.rows[2][1:] == ("0.400", "", "")


def test_what_invariance_says_of_metamers_becomes_its_table() -> None:
    said = "8 of 8 images are metamers\n  median                                     metamers  two photographs\n"
    for i, text in enumerate(("response distance, encoder [natural SDs]", "response distance, validator", "pixel distance, RMS", "structural similarity")):  # fmt: skip
        said += f"  {text:<42} {0.1 * i:>9.3f} {0.2 * i:>16.3f}\n"
    _, table = compared("metamers", "distances", recorded.metamers(Outcome([f"{said}in metamers: batch.h5\n"], Path())))
    assert table.rows[3][1:] == ("0.300", "0.600")


def test_a_search_of_a_library_becomes_one_row_per_site(tmp_path: Path) -> None:
    (tmp_path / "strongest").mkdir()
    rows = [
        {"objective": f"stretch:{site}", "own_best": 1.0, "best": {"score": 2.0, "validator": 3.0}, "worst": {"score": -1.5}}
        for site in ("v4_023", "v4_036", "v4_041", "v4_049")
    ]  # fmt: skip
    (tmp_path / "strongest" / "search.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    _, table = compared("library", "sites", recorded.library(Outcome([], tmp_path)))
    assert table.rows[0][1:] == ("1.00", "2.00", "3.00", "-1.50")


def test_half_widths_of_stretch_controllers_become_medians_over_sites(tmp_path: Path) -> None:
    (tmp_path / "all_series").mkdir()
    lines = ["controller,site,series,below,above,validator_below,validator_above"]
    for series in recorded.WIDTHS:
        for i in range(50):
            lines.append(f"{i},v4_{i:03d},{series},{i % 3 + 0.5},,{'' if i else 12.4},31.2")
        lines.append(f"50,v4_000,{series},99,99,99,99")
    (tmp_path / "all_series" / "tuning.csv").write_text("\n".join(lines), encoding="utf-8")
    names = [f"stretch:v4_{i:03d}" for i in range(50)] + ["one_hot:v4_000"]
    (tmp_path / "all_series" / "tuning.json").write_text(json.dumps({"controllers": names}), encoding="utf-8")
    _, table = compared("tuning", "widths", recorded.tuning(Outcome([], tmp_path)))
    assert table.rows[0][1:] == ("1.50 (beyond)", "beyond (31)", "50 / 0 (1 / 50)")


def test_runs_of_evolution_become_one_row_per_site_that_has_every_arm(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for site in ("v4_073", "v4_014", "v4_099"):
        for arm in ("cma", "genetic", "random", "shuffled", "hybrid")[: 2 if site == "v4_099" else 5]:
            run = {"site": site, "arm": arm, "truth": [0.5, 9.0, 0.75]}
            (tmp_path / "runs" / f"{site}_{arm}.json").write_text(json.dumps(run), encoding="utf-8")
    _, table = compared("evolution_benchmark", "sites", recorded.evolved(Outcome([], tmp_path)))
    assert table.rows[0][1:] == ("0.50 to 0.75",) * 4


def test_level_sets_without_smoothing_become_counts(tmp_path: Path) -> None:
    level = {"points": 48, "encoder": 1.0, "validator": 0.125, "truth": 0.125, "mixture_truth": 0.104}
    levels = [level | {"smooth": 0.0}, level | {"smooth": 1.5, "truth": 0.5}]
    (tmp_path / "invariance_v4.json").write_text(json.dumps({"levels": levels}), encoding="utf-8")
    old, table = compared("invariance_truth", "levels", recorded.invariant(Outcome([], tmp_path)))
    assert table.rows == old.rows


def test_encoders_of_synthesised_images_keep_the_rows_that_are_not_printed() -> None:
    summary = {"median": 0.5, "mean": 0.4}
    words = f"{summary['median']:.3f} / {summary['mean']:.3f}"
    said = f"{'encoder':<24} {'images':<12} {'all':<32} {'choosing':<14} {'reporting':<14}\n"
    for name in recorded.ENCODERS:
        for kind in ("synthesised", "photographs")[: 1 if name == "full" else 2]:
            said += (
                f"{name:<24} {kind:<12} {words + ' [0.300, 0.600]':<32} {words:<14} {words:<14}         0.400   0.90\n"
            )
    old, table = compared("synthesised", "encoders", recorded.synthesised(Outcome(["", said], Path())))
    assert table.rows[0][1:] == (f"{words} [0.300, 0.600]", words, words, f"{words} [0.300, 0.600]")
    assert table.rows[2][4] == "not run"
    assert table.rows[4] == old.rows[4]
    assert table.rows[8][1].startswith(f"**{words}**")


def arm(name: str, objective: str, values: list[float]) -> dict[str, Any]:
    """A row of v4_control."""
    share = {"successes": 3, "of": 4, "low": 0.3, "high": 0.95}
    bars = ("M", "natural maximum") if objective == "stretch" else ("best natural margin",)
    return {"arm": name, "objective": objective, "median": [1.2, 1.1, 1.3], "change": [-0.1, -0.2, 0.05], "median_equal": [1.0, 0.9, 1.1],
            "above": dict.fromkeys(bars, share), "chroma": 1.5, "local": 1.25, "values": values}  # fmt: skip


def test_arms_of_one_draw_become_the_rows_of_their_tables(tmp_path: Path) -> None:
    rows = [arm(name, o, [1.0]) for name in benchmarks.PARTS for o in ("stretch", "one_hot")]
    (tmp_path / "control").mkdir()
    report = {"sessions": {session: {"rows": rows[::-1]} for session in ("210225", "201025")}}
    (tmp_path / "control" / "v4_control.json").write_text(json.dumps(report), encoding="utf-8")
    found = benchmarks.control_parts(Outcome([], tmp_path))
    for name in ("stretch", "one_hot", "201025"):
        old, new = records()["control_parts"].tables[name], found[name]
        assert isinstance(old, Table)
        assert isinstance(new, Table)
        assert new.columns == old.columns
        assert new.column(0) == [label.replace("`fine_tune = 4`", "`fine_tune = 8`") for label in old.column(0)]
        assert all(len(row) == len(new.columns) for row in new.rows)
    part = ("1.20 [1.10, 1.30]", "-0.10 [-0.20, +0.05]", "75 % [30, 95]", "75 % [30, 95]")
    assert found["stretch"].rows[0][1:] == (*part, "1.50", "1.25", "1.00")  # type: ignore[union-attr]
    assert found["201025"].rows[0][1:] == (*part, "1.20 [1.10, 1.30]", "-0.10 [-0.20, +0.05]", "75 % [30, 95]")  # type: ignore[union-attr]
    assert found["201025"].cell("**default**", 2) == ""  # type: ignore[union-attr]


def test_families_are_compared_with_the_factorised_readouts(tmp_path: Path) -> None:
    values = {
        "default": [1.0, 2.0],
        "by a project final": [2.0, 3.0],
        "ridge on tuned final": [1.5, 2.5],
        "families final": [2.0, 3.0],
    }
    rows = [arm(name, o, values[name]) for name in values for o in ("stretch", "one_hot")]
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "v4_control.json").write_text(
        json.dumps({"sessions": {"210225": {"rows": rows}}}), encoding="utf-8"
    )
    _, table = compared("families", "arms", benchmarks.families(Outcome([], tmp_path)))
    assert table.rows[0][2] == "-1.00 [-1.00, -1.00]"
    assert table.rows[1][1:4] == ("1.20", "", "3 of 4")
    assert table.rows[2][5] == "-0.50 [-0.50, -0.50]"


def test_truth_and_verdicts_keep_what_ridge_gave(tmp_path: Path) -> None:
    rows = []
    for i in range(24):
        for objective in ("stretch", "one_hot"):
            row = {"round": 1, "objective": objective, "verdict": "control" if i < 6 else "no control", "relative_to_m": 1.5, "margin": 0.5, "best_natural_margin": 0.25,
                   "above_m": i > 0, "above_natural_maximum": i > 5, "beats_natural_margin": i > 11, "beats_reference": 0 < i < 23}  # fmt: skip
            rows += [row, row | {"round": 2, "above_m": False}]
    (tmp_path / "V4").mkdir()
    report = {"sessions": {session: {"rows": rows} for session in ("201025", "210225")}}
    (tmp_path / "V4" / "v4_benchmark.json").write_text(json.dumps(report), encoding="utf-8")
    found = benchmarks.truth(Outcome([], tmp_path))
    old, table = compared("benchmark", "truth", found)
    assert table.rows[0][1:4] == ("23 of 24", "23 of 24", "46 of 48 (96 %)")
    assert table.rows[0][4:] == old.rows[0][4:]
    assert table.rows[4][1:5] == ("0.50 (0.25)",) * 3 + ("",)
    before, verdicts = compared("benchmark", "verdicts", found)
    assert verdicts.rows[1][3:] == ("44 of 48", "12 of 48", "10 of 44 (23 %)", "2 of 4")
    assert verdicts.rows[2:] == before.rows[2:]


def test_mutants_of_an_area_take_the_place_of_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "metrics: 19 of 20 noticed, 95.0 %, 95 % interval 76.4-99.1 %, of 709 mutants in all"
    old, table = compared("mutation", "areas", readers.mutation(Outcome([f"| metrics | 20 |\n{told}\n"], Path())))
    assert table.rows[0][1:6] == ("709", "20", "19", "95.0 %", "76.4-99.1 %")
    assert table.rows[1:] == old.rows[1:]
    pytest.importorskip("mutmut", reason="the program that makes mutants needs mutmut")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    mutation = importlib.import_module("mutation")
    rows = [
        {"area": "metrics", "module": "encoders.metrics", "outcome": "killed" if i else "survived"} for i in range(20)
    ]
    assert re.sub(r"of \d+ mutants", "of 709 mutants", mutation.estimates(rows)) == told


def test_times_to_quality_become_medians_over_draws() -> None:
    printed = []
    for draw in range(3):
        curves = [bench_quality.Curve(who, 0, [1, 2], [10.0, seconds + draw], [0.0, 10.0]) for who, seconds in
                  (("lucent", 200.0), ("mei's loop, rewritten", 20.0), ("ours, best photograph", 18.0), ("quick", 12.0), ("quick, shifted", 14.0))]  # fmt: skip
        printed.append(f"lucent 0 [0.0, 10.0] 200 s\n{bench_quality.table(curves)}\n")
    _, table = compared("quality", "times", readers.quality(Outcome(printed, Path())))
    assert table.rows[0][1:] == ("191.4", "1", "")
    assert table.rows[1][1:] == ("20.4", "0.107 (0.102, 0.107, 0.111)", "1")
    assert table.rows[2][1:] == ("18.5", "0.097 (0.092, 0.097, 0.101)", "0.91 (0.90, 0.91, 0.91)")


def test_a_record_says_where_its_command_filled_only_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, how in (("solvers", "rerun"), ("memory", "in part")):
        record = records()[name]
        (table,) = record.tables.values()
        assert isinstance(table, Table)
        columns = [i for i, head in enumerate(table.columns) if head != "before"]
        rows = tuple(tuple(row[i] for i in columns) for row in table.rows)
        said = Table(tuple(table.columns[i] for i in columns), rows).text()
        monkeypatch.setattr(studies, "run", lambda *_, said=said, **__: Outcome([said], Path(), "today"))
        new = studies.filled(record, {})
        assert (new.how, new.measured, new.tables) == (how, "today", record.tables)
    both = {"stretch": table, "one_hot": table}
    study = studies.Study(("python -V",), lambda _: {"stretch": table})
    monkeypatch.setitem(studies.STUDIES, "memory", study)
    assert studies.filled(replace(record, tables=both), {}).how == "in part"
    assert studies.filled(replace(record, tables={"stretch": table}), {}).how == "rerun"
