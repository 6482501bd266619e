"""JSON Schemas of the files of a project, made from what the code reads and writes.

project.toml, ingest.json and evaluation.json come from the models and records of the code; tables are described row by row, each cell as the
text that stands in it; HDF5 files as an object of items (`dtype`, `shape`) and attributes. `scripts.handbook.files` reads a file as its
schema sees it. A schema's number rises when a file of before would no longer be read.
"""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
WHOLE = r"^-?\d+$"
FLAG = r"^(0|1)?$"
SHA256 = r"^[0-9a-f]{64}$"
TEXT = {"type": "string"}

Schema = dict[str, Any]


def headed(name: str, title: str, schema: Mapping[str, Any]) -> Schema:
    """A schema with its name, version included, and its title."""
    return {"$schema": DIALECT, "$id": f"urn:stimsynth:{name.replace('/', ':')}", **schema, "title": title}


def number(*, empty: bool = False) -> Schema:
    """The text of a number; where it may be empty, nothing is known."""
    return {"type": "string", "pattern": f"^$|{NUMBER}" if empty else NUMBER}


def project() -> Schema:
    """project.toml as its TOML is read."""
    from protocols.project.config.config import Config

    return headed("project/1", "project.toml", Config.model_json_schema())


def key() -> Schema:
    """A row of key.csv."""
    from protocols.disk.files import ID_PATTERN
    from protocols.project.key import BY_NAME, COLUMNS, ROLES
    from protocols.project.objectives import OBJECTIVES

    objective = "|".join(OBJECTIVES)
    kinds: dict[str, Schema] = {
        "image_id": {"type": "string", "pattern": ID_PATTERN.pattern},
        "role": {"enum": list(ROLES)},
        "objective": {"enum": ["", *OBJECTIVES]},
        "seed": {"type": "string", "pattern": f"^$|{WHOLE}"},
        "confirmatory": {"type": "string", "pattern": FLAG},
        "outside": {"type": "string", "pattern": FLAG},
        "reference_for": {"type": "string", "pattern": rf"^(({objective}):\S+( ({objective}):\S+)*)?$"},
        "sha256": {"type": "string", "pattern": f"^$|{SHA256}"},
        **{name: number(empty=True) for name in ("score", "validator_score", "distance")},
    }
    return headed(
        "key/1",
        "key.csv, one row",
        {
            "type": "object",
            "required": ["image_id", "role"],
            "properties": {column.name: kinds.get(column.name, TEXT) for column in COLUMNS},
            "patternProperties": {f"^({'|'.join(BY_NAME)})_.": number(empty=True)},
            "additionalProperties": TEXT,
        },
    )


def sites() -> Schema:
    """A row of sites.csv."""
    from protocols.project.key import SITE_COLUMNS

    kinds = {
        "site_id": {"type": "string", "minLength": 1},
        "natural_mean": number(),
        "natural_sd": number(),
        "reliability": number(empty=True),
        "is_target": {"type": "string", "pattern": FLAG},
    }
    columns = {column.name: kinds[column.name] for column in SITE_COLUMNS}
    needed = ["site_id", "natural_mean", "natural_sd"]
    return headed("sites/1", "sites.csv, one row", {"type": "object", "required": needed, "properties": columns})


def order() -> Schema:
    """A row of order.csv."""
    from protocols.project.outbox import COLUMNS, PlannedTrial

    kinds = {
        "int": {"type": "string", "pattern": r"^\d+$"},
        "float": number(),
        "str": {"type": "string", "minLength": 1},
    }
    types = {field.name: str(field.type) for field in fields(PlannedTrial)}
    columns = {name: kinds[types[name]] for name in COLUMNS}
    return headed(
        "order/1",
        "order.csv, one row",
        {"type": "object", "required": list(COLUMNS), "properties": columns, "additionalProperties": False},
    )


def manifest() -> Schema:
    """manifest.json of an outbox; further entries say how the images were made."""
    from protocols.project.config.config import Config
    from protocols.project.key import ROLES
    from protocols.rounds.manifest import ENTRIES, SCHEMA

    whole, time = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}
    display = dict(Config.model_json_schema()["$defs"]["Display"])
    display["required"] = [*display["required"], "px_per_deg", "background_luminance"]
    display["properties"] = {
        **display["properties"],
        "px_per_deg": {"type": "number"},
        "background_luminance": {"type": "number"},
    }
    image = {
        "type": "object",
        "required": ["image_id", "filename", "sha256"],
        "properties": {"image_id": TEXT, "filename": TEXT, "sha256": {"type": "string", "pattern": SHA256}},
        "additionalProperties": False,
    }
    window = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    kinds: dict[str, Schema] = {
        "schema": {"const": SCHEMA},
        "session": TEXT,
        "round": whole,
        "created_utc": TEXT,
        "blinded": {"type": "boolean"},
        "display": display,
        "timing": {
            "type": "object",
            "required": ["on_ms", "off_ms", "response_window_ms"],
            "properties": {"on_ms": time, "off_ms": time, "response_window_ms": window},
        },
        "design": {"type": "object", "required": ["repeats", "blocks", "blanks_per_block", "seed"]},
        "counts": {"type": "object", "required": ["images", "trials", *ROLES], "additionalProperties": whole},
        "sealed_key_sha256": {"type": "string", "pattern": SHA256},
        "sealed_sites_sha256": {"type": "string", "pattern": SHA256},
        "images": {"type": "array", "minItems": 1, "items": image},
    }
    properties = {name: kinds.get(name, {}) for name in ENTRIES}
    return headed(
        SCHEMA,
        "manifest.json",
        {"type": "object", "required": list(ENTRIES), "properties": properties},
    )


def record(schema: str, title: str, kind: type) -> Schema:
    """A record that is written as JSON, as its dataclass declares it; numbers that are missing are null."""
    from pydantic import TypeAdapter

    made = TypeAdapter(kind).json_schema()
    made["properties"] = {"schema": {"const": schema}, **made["properties"]}
    made["required"] = ["schema", *made.get("required", [])]
    return headed(schema, title, _with_missing(made))


def _with_missing(node: Any) -> Any:
    """The same schema, where every number may also be null, as NaN is written."""
    if isinstance(node, list):
        return [_with_missing(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _with_missing(value) for name, value in node.items()}
    return {**made, "type": ["number", "null"]} if made.get("type") == "number" else made


def ingest() -> Schema:
    """ingest.json beside a trial table."""
    from protocols.recordings.ingest import SCHEMA, IngestReport

    return record(SCHEMA, "ingest.json", IngestReport)


def evaluation() -> Schema:
    """The report of an evaluation."""
    from protocols.verdict.control_report import SCHEMA, ControlReport

    return record(SCHEMA, "evaluation.json", ControlReport)


def item(*dimensions: int, text: bool = False) -> Schema:
    """An item of an HDF5 file: its type and its number of dimensions."""
    lengths = [{"type": "array", "minItems": n, "maxItems": n, "items": {"type": "integer"}} for n in dimensions]
    shape = lengths[0] if len(lengths) == 1 else {"anyOf": lengths}
    dtype = {"const": "text"} if text else {"type": "string", "pattern": "^(u?int|float|bool)"}
    return {"type": "object", "required": ["dtype", "shape"], "properties": {"dtype": dtype, "shape": shape}}


def responses() -> Schema:
    """responses.h5 as Python or MATLAB writes it (vectors may be 1 x N); what a rig may write beside it stands in docs/responses.md."""
    from protocols.recordings.units import UNITS

    items = {
        "responses": item(2, 3),
        "image_id": item(1, 2, text=True),
        "site_id": item(1, 2, text=True),
        "time_bin_edges_ms": item(1),
        "baseline": item(1, 2),
    }
    window = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    attributes: dict[str, Schema] = {
        "schema": {"const": "responses/1"},
        "units": {"enum": list(UNITS)},
        "window_ms": window,
    }
    return headed(
        "responses/1",
        "responses.h5, items and attributes",
        _hdf5(items, needed=["responses", "image_id", "site_id"], attributes=attributes, named=["units"]),
    )


def batch() -> Schema:
    """A batch of images, as `StimulusBatch.save` writes it."""
    per_image: Mapping[str, Sequence[str]] = literal("synth/batch.py", "_PER_IMAGE")
    optional: Sequence[str] = literal("synth/batch.py", "_OPTIONAL")
    schema: str = literal("synth/batch.py", "SCHEMA")
    items = {name: item(len(axes), text=dtype == "str") for name, (dtype, axes) in per_image.items()}
    needed = [name for name in items if name not in optional]
    return headed(
        schema,
        "controllers.h5, items and attributes",
        _hdf5(items, needed=needed, attributes={"schema": {"const": schema}}, named=["schema"]),
    )


def _hdf5(
    items: Mapping[str, Schema], *, needed: Sequence[str], attributes: Mapping[str, Schema], named: Sequence[str]
) -> Schema:
    return {
        "type": "object",
        "required": ["items", "attributes"],
        "properties": {
            "items": {"type": "object", "required": list(needed), "properties": dict(items)},
            "attributes": {"type": "object", "required": list(named), "properties": dict(attributes)},
        },
    }


def literal(place: str, name: str) -> Any:
    """A constant of a module, read and not run, so that a module that imports torch is not loaded."""
    for node in ast.parse((ROOT / place).read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(node, ast.Assign) and isinstance(target, ast.Name) and target.id == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{place} defines no {name}")


SCHEMAS = {
    "project": project,
    "key": key,
    "sites": sites,
    "order": order,
    "manifest": manifest,
    "responses": responses,
    "ingest": ingest,
    "evaluation": evaluation,
    "batch": batch,
}
"""Name of the file docs/schemas/NAME.schema.json to the function that makes it."""
WHERE = {
    "project": "the project folder; keys: [settings.md](settings.md)",
    "key": "`sealed/` of a round, or written by hand: [key.md](key.md)",
    "sites": "`sealed/` of a round, beside the key",
    "order": "`outbox/` of a round: what is shown when; [rigs](rigs/README.md)",
    "manifest": "`outbox/` of a round: how it is shown, and the sums of its files",
    "responses": "`inbox/` of a round, `data/` of a project: [responses.md](responses.md)",
    "ingest": "a round that was ingested: what was found, used and noticed",
    "evaluation": "a round that was evaluated: verdicts, gains, intervals; [verdicts.md](verdicts.md)",
    "batch": "`sealed/` of a round, or any batch of images with predictions (`StimulusBatch.save`)",
}
"""Where each file stands."""


@functools.cache
def schema_text(name: str) -> str:
    """The text of a schema's file."""
    return json.dumps(SCHEMAS[name](), indent=1) + "\n"


def schemas_page() -> str:
    """The page that lists the schemas."""
    from protocols.packages import SCHEMAS as SCHEMAS_OF_FILES

    from .pages import MADE, cell, table

    rows = []
    for name in SCHEMAS:
        schema = json.loads(schema_text(name))
        version = "/".join(schema["$id"].rsplit(":", 2)[1:])
        rows.append([schema["title"], f"[`{version}`](schemas/{name}.schema.json)", WHERE[name]])
    lines = [
        "# Schemas of the files",
        "",
        MADE,
        "",
        "Each file of a project as a JSON Schema (draft 2020-12), made from the code that reads and writes it. The number behind the name is the version.",
        "A table is described row by row, each cell as the text that stands in it; an HDF5 file as its items (`dtype`, `shape`) and the attributes of its",
        "root.",
        "",
        *table(["file", "schema", "where it stands"], rows),
        "",
        "## All records and their versions",
        "",
        'Each of these files states its schema and version (`"schema": "ingest/1"`; HDF5: an attribute of its root). A file of a later version than this',
        "`stimsynth` knows is refused (F16; R24 for responses), and is not written over: install the version that wrote it. Projects of earlier versions open;",
        "`tests/protocols/migration` holds whole ones. project.toml, key.csv, sites.csv and order.csv state no version: an unknown key of project.toml is",
        "refused (C01), further columns of a table are passed over.",
        "",
        *table(
            ["schema", "file", "what it holds"],
            [[f"`{n}/{v}`", cell(f), cell(w)] for n, (v, f, w) in SCHEMAS_OF_FILES.items()],
        ),
        "",
        "## To check a file",
        "",
        "Here a key written by hand (`pip install jsonschema`):",
        "",
        "```python",
        "import csv, json",
        "import jsonschema",
        'schema = json.load(open("docs/schemas/key.schema.json"))',
        'for row in csv.DictReader(open("key.csv")):',
        "    jsonschema.validate(row, schema)",
        "```",
        "",
        "The readers of `stimsynth` take more than the schemas say (other separators, encodings and spellings of yes and no: [key.md](key.md)), and check",
        "more: whether rows, images and sites belong together.",
        "",
    ]
    return "\n".join(lines)
