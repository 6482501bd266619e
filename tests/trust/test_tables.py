"""Keys and site tables as spreadsheets leave them: every row as it was meant, or a refusal."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from protocols.project.key import read_key
from tests.trust.helpers.outcome import Case, Family

KNOWN: dict[str, str] = {}
SITES = ["v4_001", "v4_002"]
HEADER = [
    "image_id", "source_id", "role", "objective", "target", "generator", "seed", "confirmatory", "reference_for", "score", "outside",
    *(f"pred_{s}" for s in SITES),
]  # fmt: skip
Row = dict[str, str]


def rows_of(rng: np.random.Generator) -> list[Row]:
    """Rows of a key as text, one per image."""
    rows = []
    for n in range(int(rng.integers(4, 9))):
        role = ["controller", "reference", "natural", "blank"][n % 4]
        row = dict.fromkeys(HEADER, "")
        row |= {"image_id": f"r01_{n:04d}_ab", "source_id": f"scene_{n}", "role": role}
        if role == "controller":
            row |= {
                "objective": "stretch",
                "target": SITES[n % 2],
                "generator": "gradient",
                "seed": str(n),
                "confirmatory": "1",
            }
            row |= {"score": repr(float(rng.normal())), "outside": str(n % 2)}
        if role == "reference":
            row |= {"reference_for": f"stretch:{SITES[0]} stretch:{SITES[1]}"}
        row |= {f"pred_{s}": repr(float(rng.gamma(3.0))) for s in SITES}
        rows.append(row)
    return rows


def meant(row: Row) -> dict[str, Any]:
    """What a row means, by docs and field names."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    pairs = tuple(tuple(p.split(":")) for p in row.get("reference_for", "").split())
    return {
        "image_id": row["image_id"],
        "role": row["role"],
        "objective": row.get("objective", ""),
        "target": row.get("target", ""),
        "confirmatory": row.get("confirmatory", "") == "1",
        "outside": {"": None, "0": False, "1": True}.get(row.get("outside", "")),
        "seed": int(row["seed"]) if row.get("seed") else None,
        "score": number(row.get("score", "")),
        "reference_for": pairs,
        "predicted": {s: float(row[f"pred_{s}"]) for s in SITES if row.get(f"pred_{s}")},
    }


def found_in(path: Path) -> list[dict[str, Any]]:
    """The rows that the product reads."""
    read = []
    for row in read_key(path).rows:
        score = None if row.score != row.score else row.score
        read.append({k: getattr(row, k) for k in meant(dict.fromkeys(HEADER, ""))} | {"score": score})
    return read


def text_of(
    rows: list[Row],
    header: list[str] = HEADER,
    *,
    separator: str = ",",
    end: str = "\n",
    quoting: int = csv.QUOTE_MINIMAL,
) -> str:
    """The rows as a table."""
    buffer = io.StringIO()
    table = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=quoting)
    table.writerow(header)
    table.writerows([[row.get(h, "") for h in header] for row in rows])
    return buffer.getvalue()


def with_commas(rows: list[Row]) -> list[Row]:
    """Numbers with a decimal comma."""
    return [{k: v.replace(".", ",") if k.startswith(("pred_", "score")) else v for k, v in row.items()} for row in rows]


def dialects(rows: list[Row], rng: np.random.Generator) -> dict[str, tuple[str, bytes]]:
    """The same key as different programs write it."""
    text = text_of(rows)
    mixed = list(rng.permutation(HEADER))
    return {
        "plain": ("taken", text.encode()),
        "byte order mark": ("taken", text.encode("utf-8-sig")),
        "Windows line ends": ("taken", text_of(rows, end="\r\n").encode()),
        "all quoted": ("taken", text_of(rows, quoting=csv.QUOTE_ALL).encode()),
        "columns in another order": ("taken", text_of(rows, mixed).encode()),
        "columns more": (
            "taken",
            text_of([r | {"comment": "ok; fine, yes"} for r in rows], [*HEADER, "comment"]).encode(),
        ),
        "semicolons": ("either", text_of(rows, separator=";").encode()),
        "semicolons and decimal commas": ("either", text_of(with_commas(rows), separator=";").encode()),
        "decimal commas": ("refused", text_of(with_commas(rows)).encode()),
        "tabs": ("either", text_of(rows, separator="\t").encode()),
        "UTF-16": ("either", text.encode("utf-16")),
        "UTF-16 with tabs": ("either", text_of(rows, separator="\t").encode("utf-16")),
        "old Mac line ends": ("either", text_of(rows, end="\r").encode()),
        "cp1252": ("either", text_of([r | {"comment": "für"} for r in rows], [*HEADER, "comment"]).encode("cp1252")),
        "empty lines": ("either", (text + "\n\n").encode()),
        "empty rows": ("either", (text + "," * (len(HEADER) - 1) + "\n").encode()),
        "empty columns": ("either", "\n".join(line + ",," for line in text.splitlines()).encode()),
        "spaces after commas": ("either", text.replace(",", ", ").encode()),
        "header in capitals": ("either", text.replace("image_id", "Image_ID").replace("role", "Role").encode()),
        "sep line": ("either", ("sep=,\n" + text).encode()),
        "no line end": ("taken", text.rstrip("\n").encode()),
        "empty": ("refused", b""),
        "only a header": ("either", text.splitlines()[0].encode()),
        "binary": ("refused", rng.bytes(400)),
        "zero bytes": ("refused", text.encode() + b"\x00\x00\x00"),
        "cut short": ("either", text.encode()[: int(rng.integers(10, len(text) - 40))]),
    }


def test_keys_in_every_dialect(tmp_path: Path) -> None:
    family = Family("tests/trust/test_tables.py::test_keys_in_every_dialect", known=KNOWN)
    path = tmp_path / "key.csv"
    for n in range(12):
        rng = np.random.default_rng(n)
        rows = rows_of(rng)
        for name, (right, data) in dialects(rows, rng).items():
            path.write_bytes(data)
            wanted: list[dict[str, Any]] = [] if name == "only a header" else [meant(r) for r in rows]
            if name == "cut short":  # the rows that are there whole
                whole = data.decode().splitlines()[1:-1]
                wanted = wanted[: len(whole)]
            case = Case(name, right, wanted)
            compare = _at_least if name == "cut short" else _same
            family.judge(case, lambda: (found_in(path), []), compare)
    family.close(share=0.25)


def _same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    if len(found) != len(wanted):
        return f"{len(found)} rows in place of {len(wanted)}"
    for mine, right in zip(found, wanted, strict=True):
        if mine != right:
            other = {k: (mine[k], right[k]) for k in right if mine[k] != right[k]}
            return f"{right['image_id']}: {other}"
    return ""


def _at_least(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    """A cut within a line cannot be told from a short last line; whole lines must be right."""
    return _same(found[: len(wanted)], wanted)


def mistakes(rows: list[Row], rng: np.random.Generator) -> dict[str, tuple[str, list[Row] | str, list[Row] | None]]:
    """Edits of a key: what is right, the rows to write (or a whole text), and what they mean where they may be taken."""
    first, other = rows[0], rows[1:]

    def but(**changes: str) -> list[Row]:
        return [first | changes, *other]

    found: dict[str, tuple[str, list[Row] | str, list[Row] | None]] = {
        "an id twice": ("refused", [first, *rows], None),
        "an unknown role": ("refused", but(role="controler"), None),
        "no role": ("refused", but(role=""), None),
        "no id": ("refused", but(image_id=""), None),
        "an id with a space": ("either", but(image_id=first["image_id"] + " "), rows),
        "an id of a spreadsheet": ("refused", but(image_id="1.00E+05"), None),
        "a role with a space": ("either", but(role=" controller"), rows),
        "a role in capitals": ("either", but(role="Controller"), rows),
        "text for a score": ("refused", but(score="good"), None),
        "text for a prediction": ("refused", but(pred_v4_001="#N/A"), None),
        "a decimal comma": ("refused", but(pred_v4_001="3,5"), None),
        "a thousands comma": ("refused", but(pred_v4_001="1,234.5"), None),
        "text for a seed": ("refused", but(seed="first"), None),
        "a seed of a spreadsheet": ("either", but(seed="0.0"), [first | {"seed": "0"}, *other]),
        "confirmatory TRUE": ("either", but(confirmatory="TRUE"), rows),
        "confirmatory true": ("either", but(confirmatory="true"), rows),
        "confirmatory yes": ("either", but(confirmatory="yes"), rows),
        "confirmatory 1.0": ("either", but(confirmatory="1.0"), rows),
        "confirmatory with a space": ("either", but(confirmatory=" 1"), rows),
        "confirmatory 2": ("refused", but(confirmatory="2"), None),
        "confirmatory no": ("either", but(confirmatory="no"), [first | {"confirmatory": "0"}, *other]),
        "confirmatory FALSE": ("either", but(confirmatory="FALSE"), [first | {"confirmatory": "0"}, *other]),
        "outside TRUE": ("either", but(outside="TRUE"), [first | {"outside": "1"}, *other]),
        "outside maybe": ("refused", but(outside="maybe"), None),
        "a reference for a site alone": ("refused", [first, rows[1] | {"reference_for": SITES[0]}, *rows[2:]], None),
        "a reference with a comma": ("either", [first, rows[1] | {"reference_for": f"stretch:{SITES[0]},stretch:{SITES[1]}"}, *rows[2:]], rows),
        "a reference with a semicolon": ("either", [first, rows[1] | {"reference_for": f"stretch:{SITES[0]}; stretch:{SITES[1]}"}, *rows[2:]], rows),
        "a reference for nothing": ("refused", [first, rows[1] | {"reference_for": "stretch:"}, *rows[2:]], None),
        "a row too short": ("either", text_of(rows) + "r01_9999_zz,scene_9,natural\n", [*rows, {"image_id": "r01_9999_zz", "role": "natural"}]),
        "a row too long": ("either", text_of(rows) + ",".join(["r01_9999_zz", "s", "natural"] + [""] * (len(HEADER) - 3)) + ",x,y\n", [*rows, {"image_id": "r01_9999_zz", "role": "natural"}]),
        "no column image_id": ("refused", text_of(rows, HEADER[1:]), None),
        "no column role": ("refused", text_of(rows, [h for h in HEADER if h != "role"]), None),
        "a column twice": ("either", text_of(rows, [*HEADER, "role"]), rows),
        "two predictions of one site": ("refused", text_of([r | {"pred_v4_001": "1.0"} for r in rows], HEADER) .replace("pred_v4_002", "pred_v4_001"), None),
        "an infinite prediction": ("refused", but(pred_v4_001="inf"), None),
    }  # fmt: skip
    for column in HEADER[3:]:
        kept = [h for h in HEADER if h != column]
        found[f"without {column}"] = (
            "taken",
            text_of(rows, kept),
            [{k: v for k, v in r.items() if k != column} for r in rows],
        )
    return found


def test_keys_with_mistakes(tmp_path: Path) -> None:
    family = Family("tests/trust/test_tables.py::test_keys_with_mistakes", known=KNOWN)
    path = tmp_path / "key.csv"
    for n in range(6):
        rng = np.random.default_rng([7, n])
        rows = rows_of(rng)
        for name, (right, written, means) in mistakes(rows, rng).items():
            path.write_text(written if isinstance(written, str) else text_of(written), encoding="utf-8")
            wanted = None if means is None else [meant(dict.fromkeys(HEADER, "") | r) for r in means]
            family.judge(Case(name, right, wanted), lambda: (found_in(path), []), _same)
    family.close(share=0.2)
