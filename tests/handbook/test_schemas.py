"""The schemas take what the code writes and documents, and refuse what is spoilt."""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from protocols.project.config.template import template
from scripts.handbook.schemas import SCHEMAS, schema_text

jsonschema = pytest.importorskip("jsonschema")
pytestmark = pytest.mark.xdist_group("handbook")
ROOT = Path(__file__).parents[2]
SHA = "0" * 64
PRINTED = re.findall(r"```csv\n(.*?)```", (ROOT / "docs" / "key.md").read_text(encoding="utf-8"), flags=re.DOTALL)[0]
ROW = {
    "image_id": "r01_0001",
    "role": "controller",
    "objective": "stretch",
    "target": "v4_1",
    "seed": "3",
    "score": "-1e-05",
}
TRIAL = {
    "trial": "0", "block": "0", "rep": "1", "image_id": "a", "filename": "images/a.png", "on_ms": "100", "off_ms": "99.5",
}  # fmt: skip
RESPONSES = {
    "items": {
        "responses": {"dtype": "float32", "shape": [9, 2]},
        "image_id": {"dtype": "text", "shape": [9]},
        "site_id": {"dtype": "text", "shape": [2]},
    },
    "attributes": {"units": "spikes", "window_ms": [70.0, 170.0]},
}


def valid(name: str, thing: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json.loads(schema_text(name))).is_valid(thing))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_has_a_version(name: str) -> None:
    schema = json.loads(schema_text(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert re.fullmatch(r"urn:stimsynth:[a-z_]+:\d+", schema["$id"])


def test_the_printed_key_and_the_template_of_a_project_are_valid() -> None:
    assert all(valid("key", row) for row in csv.DictReader(io.StringIO(PRINTED)))
    assert valid("project", tomllib.loads(template()))


@pytest.mark.parametrize(
    ("name", "good", "change"),
    [
        ("key", ROW, {"role": "kontroller"}),
        ("key", ROW, {"objective": "strech"}),
        ("key", ROW, {"image_id": "R 1"}),
        ("key", ROW, {"score": "1,5"}),
        ("key", ROW, {"reference_for": "stretch"}),
        ("key", ROW, {"confirmatory": "ja"}),
        ("key", ROW, {"pred_v4_1": "much"}),
        ("order", TRIAL, {"trial": "-1"}),
        ("order", TRIAL, {"on_ms": "0,1"}),
        ("order", TRIAL, {"role": "controller"}),
        ("responses", RESPONSES, {"attributes": {"units": "spikez"}}),
        ("responses", RESPONSES, {"attributes": {"units": "spikes", "schema": "responses/2"}}),
        ("responses", RESPONSES, {"items": {**RESPONSES["items"], "site_id": {"dtype": "int64", "shape": [2]}}}),
        ("responses", RESPONSES, {"items": {**RESPONSES["items"], "responses": {"dtype": "float32", "shape": [9]}}}),
        ("project", tomllib.loads(template()), {"displai": {}}),
        ("project", tomllib.loads(template()), {"display": {"width_px": 224}}),
    ],
)
def test_what_is_spoilt_is_not_valid(name: str, good: dict[str, Any], change: dict[str, Any]) -> None:
    assert valid(name, good)
    assert not valid(name, {**deepcopy(good), **change})


@pytest.mark.parametrize(("name", "good"), [("key", ROW), ("order", TRIAL), ("responses", RESPONSES)])
def test_what_must_be_there_must_be_there(name: str, good: dict[str, Any]) -> None:
    for left_out in json.loads(schema_text(name))["required"]:
        assert not valid(name, {k: v for k, v in good.items() if k != left_out})
