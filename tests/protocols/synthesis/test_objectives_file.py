"""Objectives from a file: what they become, and what a wrong file is told."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from protocols.errors import DataError
from protocols.synthesis.objectives_file import read_asked, read_wanted
from protocols.synthesis.objectives_table import KINDS
from synth import cautious, groups, level, one_hot, pattern, stretch, within
from synth.objectives import CATALOGUE

SITES = ("v4_000", "v4_001", "v4_002")
RANGES = {"v4_000": (-1.0, 3.0), "v4_001": (0.0, 2.0), "v4_002": (-2.0, 2.0)}


def read(folder: Path, text: str):
    path = folder / "wanted.toml"
    path.write_text(text, encoding="utf-8")
    return read_wanted(path, SITES, RANGES)


def test_entries_become_rows_in_their_order(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        kappa = 0
        [[objective]]
        kind = "stretch"
        sites = ["v4_002", "v4_000"]
        [[objective]]
        kind = "one_hot"
        sites = ["v4_001"]
        temperature = 3.0
        among = ["v4_001", "v4_002"]
        [[objective]]
        kind = "pattern"
        wanted = { v4_000 = 2.0, v4_001 = -1 }
        """,
    )
    expected = stretch(["v4_002", "v4_000"]) | one_hot(["v4_001"], 3.0, ["v4_001", "v4_002"])
    assert found.describe() == (expected | pattern({"v4_000": 2.0, "v4_001": -1.0})).describe()


def test_caution_is_half_a_standard_deviation_unless_said_otherwise(tmp_path: Path) -> None:
    entry = '[[objective]]\nkind = "stretch"\nsites = ["v4_000"]\n'
    assert read(tmp_path, entry).describe() == cautious(stretch(["v4_000"]), 0.5).describe()
    assert read(tmp_path, "kappa = 2\n" + entry).describe() == cautious(stretch(["v4_000"]), 2.0).describe()


def test_fractions_are_of_the_natural_range(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        kappa = 0
        [[objective]]
        kind = "pattern"
        fractions = { v4_000 = 0.5, v4_001 = 1.5 }
        [[objective]]
        kind = "level"
        sites = ["v4_002"]
        fractions = [0.0, 0.25]
        """,
    )
    expected = pattern({"v4_000": 1.0, "v4_001": 3.0}) | level(["v4_002"], [-2.0, -1.0])
    assert found.describe() == expected.describe()


def test_rows_are_named_in_the_words_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "wanted.toml"
    text = """
        [[objective]]
        kind = "level"
        sites = ["v4_001"]
        fractions = [0.0, 0.25]
        [[objective]]
        kind = "pattern"
        fractions = { v4_000 = 0.9, v4_002 = 0.1 }
        [[objective]]
        kind = "stretch"
        sites = ["v4_002"]
        """
    found = read(tmp_path, text)
    told = read_asked(path, SITES, RANGES)[1]
    assert [told[name] for name in found.row_names] == [
        "level v4_001 at 0 of its range",
        "level v4_001 at 0.25 of its range",
        "pattern v4_000 at 0.9, v4_002 at 0.1 of their ranges",
        "stretch v4_002",
    ]


def test_what_is_added_is_added_to_every_row_with_its_weight(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """
        kappa = 0
        [[objective]]
        kind = "stretch"
        sites = ["v4_000", "v4_001"]
        weight = 0.5
        plus = [{ kind = "within", sites = ["v4_002"], low = -1.0, high = 1.0, weight = 2.0 }]
        """,
    )
    bound = within(["v4_002"], -1.0, 1.0)
    assert found.describe() == (0.5 * stretch(["v4_000", "v4_001"]) + 2.0 * (bound | bound)).describe()


def test_the_beginning_of_names_stands_for_sites_of_a_group(tmp_path: Path) -> None:
    def wanted(first: str, second: str, more: str = "") -> str:
        return f"[[objective]]\nkind = 'groups'\nfirst = {first}\nsecond = {second}\nmode = 'high_low'\n{more}"

    sites = ("v4_000", "v4_001", "it_0", "it_*", "pit_0")
    path = tmp_path / "wanted.toml"
    path.write_text("kappa = 0\n" + wanted('["v4_*"]', '["it_*"]'))
    assert read_wanted(path, sites) == groups(["v4_000", "v4_001"], ["it_*"], "high_low"), "a name stands for itself"
    path.write_text("kappa = 0\n" + wanted('["v4_*"]', '["it_*"]'))
    assert read_wanted(path, sites[:3]) == groups(["v4_000", "v4_001"], ["it_0"], "high_low")
    for bad, code in (
        (wanted('["v1_*"]', '["it_0"]'), "W03"),
        (wanted('["v4_*"]', '["v4_001"]'), "W04"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_*"]', "W03"),
        (wanted('["v4_*"]', '["it_0"]', "plus = 3"), "W04"),
    ):
        path.write_text(bad)
        with pytest.raises(DataError) as caught:
            read_wanted(path, sites[:3])
        assert caught.value.code == code


def test_every_kind_of_the_catalogue_can_be_written(tmp_path: Path) -> None:
    arguments = {
        "pattern": "wanted = { v4_000 = 1.0 }",
        "groups": 'first = ["v4_000", "v4_001"]\nsecond = ["v4_002"]',
        "discriminate": 'clusters = [["v4_000", "v4_001"], ["v4_002"]]',
    }
    for kind, keys in KINDS.items():
        text = (
            f'[[objective]]\nkind = "{kind}"\n{arguments.get(kind, "sites = [" + chr(34) + "v4_001" + chr(34) + "]")}\n'
        )
        assert len(read(tmp_path, text)) >= 1
        assert keys
    assert {kind: tuple(inspect.signature(make).parameters) for kind, make in CATALOGUE.items()} == KINDS


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("objective = 3", "W01", "[[objective]]"),
        ("[[objective]", "W01", "TOML"),
        ("", "W01", "at least one"),
        ('[[objectives]]\nkind = "stretch"', "W02", "nearest: objective"),
        ('[[objective]]\nkind = "strech"\nsites = ["v4_000"]', "W02", "nearest: stretch"),
        ('[[objective]]\nsites = ["v4_000"]', "W02", "stretch"),
        ('[[objective]]\nkind = "one_hot"\nsites = ["v4_000"]\ntemprature = 2', "W02", "nearest: temperature"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_00"]', "W03", "nearest: v4_00"),
        ('[[objective]]\nkind = "pattern"\nwanted = { v5_000 = 1 }', "W03", "v5_000"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_000"]\nplus = [{ kind = "within", sites = ["x"] }]', "W03", "plus 1"),
        ('[[objective]]\nkind = "stretch"\nsites = []', "W04", "no sites"),
        ('[[objective]]\nkind = "stretch"', "W04", "sites"),
        ('[[objective]]\nkind = "one_hot"\nsites = ["v4_000"]\ntemperature = -1', "W04", "above 0"),
        ('[[objective]]\nkind = "one_hot"\nsites = ["v4_000"]\ntemperature = "hot"', "W04", "temperature"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_000"]\nweight = "much"', "W04", "much"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_000"]\nfractions = { v4_000 = 1.0 }', "W04", "pattern or a level"),
        ('[[objective]]\nkind = "stretch"\nsites = [1]', "W03", "1"),
        ('[[objective]]\nkind = "stretch"\nsites = ["v4_000"]\nweight = nan', "W04", "finite"),
        ('[[objective]]\nkind = "pattern"\nwanted = { v4_001 = 1 }\nfractions = { v4_002 = 0.5 }', "W04", "together"),
        ('kappa = -1\n[[objective]]\nkind = "stretch"\nsites = ["v4_000"]', "W04", "kappa"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, text: str, code: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert caught.value.code == code
    assert told in str(caught.value)


def test_a_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="W01"):
        read_wanted(tmp_path / "none.toml", SITES)


def test_fractions_without_a_range_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wanted.toml"
    path.write_text('[[objective]]\nkind = "pattern"\nfractions = { v4_000 = 1.0 }\n')
    with pytest.raises(DataError, match="natural range"):
        read_wanted(path, SITES)
