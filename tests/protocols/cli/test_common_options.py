"""The options of every command stand before its name or after it, and no command has one of the same name."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from protocols.cli.app import COMMON, app, common_first, workers_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("generate lab --workers 2 --out x", "--workers 2 generate lab --out x"),
        ("generate --workers=2 lab -q", "--workers=2 -q generate lab"),
        ("--json status lab", "--json status lab"),
        ("status lab -- --json", "status lab -- --json"),
        ("status lab --workers", "--workers status lab"),
        ("status lab --json=1", "status lab --json=1"),
    ],
)
def test_common_options_come_first(words: str, expected: str) -> None:
    assert common_first(words.split()) == expected.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fit lab --workers 2", "2"),
        ("-q --device cpu fit lab --workers=3", "3"),
        ("fit lab", None),
        ("fit lab -- --workers 2", None),
        ("fit lab --workers", None),
        ("fit lab --workers 0", None),
        ("fit lab --workers two", None),
    ],
)
def test_the_number_of_workers_is_known_before_a_command_is_read(words: str, expected: str | None) -> None:
    assert workers_of(common_first(words.split())) == expected


@given(st.lists(st.sampled_from([*COMMON, "run", "lab", "2", "--out", "x", "--workers=3"])))
def test_no_word_is_lost_and_the_others_keep_their_order(words: list[str]) -> None:
    found = common_first(words)
    assert sorted(found) == sorted(words)
    assert common_first(found) == found


def test_no_command_has_an_option_of_that_name() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        given = {word for option in command.params for word in (*option.opts, *option.secondary_opts)}
        assert not given & set(COMMON), name
    own = {word for option in typer.main.get_command(app).params for word in option.opts}
    assert set(COMMON) <= own
