"""One table against one model: what is said of an unknown key, a wrong value, a missing section."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from pydantic import BaseModel, ConfigDict, Field

from protocols.disk.toml import checked_table, described_keys, load_table, nearest, parse_toml
from protocols.errors import DataError


class Screen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    width_px: int = Field(ge=1, description="[px] Width.")
    name: str = Field(default="screen", description="[text] Name.")


@dataclass(frozen=True)
class Rig:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    width_px: Annotated[int, Field(ge=1, description="[px] Width.")]
    name: Annotated[str, Field(description="[text] Name.")] = "screen"


MODELS = pytest.mark.parametrize("model", [Screen, Rig])


@MODELS
def test_a_table_becomes_a_record_of_its_model(model: type) -> None:
    found = checked_table({"width_px": 3}, "rig", model, where="rig.toml")
    assert isinstance(found, model)
    assert (found.width_px, found.name) == (3, "screen")


@MODELS
@pytest.mark.parametrize(
    ("table", "code", "parts"),
    [
        ({"widht_px": 3}, "C01", ("rig.toml [rig]", "unknown key 'widht_px'", "did you mean width_px?")),
        ({"width_px": 3, "zebra": 1}, "C01", ("unknown key 'zebra'", "one of width_px, name", "remove it")),
        ({}, "C02", ("rig.toml [rig] width_px", "is missing", "[px] Width", "add the key")),
        ({"width_px": 0}, "C02", ("width_px = 0", "greater than or equal to 1; [px] Width")),
        ({"width_px": 3, "name": "/data/a.toml"}, "C05", ("rig.name", "/data/a.toml")),
        (3, "C02", ("rig = 3",)),
    ],
)
def test_errors_name_file_section_key_and_way_out(
    model: type, table: object, code: str, parts: tuple[str, ...]
) -> None:
    with pytest.raises(DataError) as caught:
        checked_table(table, "rig", model, where="rig.toml")
    assert caught.value.code == code
    assert all(part in str(caught.value) for part in parts), str(caught.value)


@MODELS
def test_keys_carry_description_and_default(model: type) -> None:
    assert [(k.name, k.description) for k in described_keys(model)] == [
        ("width_px", "[px] Width."),
        ("name", "[text] Name."),
    ]
    assert described_keys(model)[1].default == "screen"


def test_one_table_of_a_file_is_read_and_the_others_are_left(tmp_path: Path) -> None:
    path = tmp_path / "project.toml"
    path.write_text('[rig]\nwidth_px = 3\n[other]\nno_such_key = "x"\n')
    assert load_table(path, "rig", Rig) == Rig(width_px=3)
    for text, code in (("[other]\n", "C02"), ("[rig", "C03")):
        path.write_text(text)
        with pytest.raises(DataError, match=code):
            load_table(path, "rig", Rig)
    with pytest.raises(DataError, match="C06"):
        load_table(tmp_path / "none.toml", "rig", Rig)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert parse_toml(path) == {"a": 1}


def test_the_nearest_name() -> None:
    assert nearest("widht", ["width", "height"]) == "width"
    assert nearest("zebra", ["width", "height"]) == ""
