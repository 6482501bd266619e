"""Reports of programs in another layout than their pages become the rows of the pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.figures import readers, recorded
from scripts.figures.readers import Outcome
from scripts.figures.records import records
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
