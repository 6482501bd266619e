"""Trial tables, images and sites of a round as plain tables: nothing is rounded, an empty cell is a missing value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from protocols.recordings.responses import Responses
from protocols.sharing.finished import Recorded
from protocols.sharing.pictures import Photographs, is_photograph

from .columns import IMAGES, SITES, TRIALS, Column, response_column

Table = tuple[list[Column], list[list[Any]]]


def trials_table(responses: Responses) -> Table:
    """One row per trial: what was shown and when, then one column of responses per site."""
    stated = {
        "row": range(len(responses.values)),
        "image_id": responses.image_ids,
        "block": responses.block,
        "rep": responses.rep,
        "onset_s": responses.onset_s,
        "valid": responses.valid,
        "prev_image_id": responses.prev_image_ids,
        "averaged_over": responses.averaged_over,
    }
    known = [(column, stated[column.name]) for column in TRIALS if stated[column.name] is not None]
    columns = [c for c, _ in known] + [response_column(s, responses.unit) for s in responses.site_ids]
    rows = [
        [*(cell(values[i]) for _, values in known), *map(cell, responses.values[i].tolist())]  # type: ignore[index]
        for i in range(len(responses.values))
    ]
    return columns, rows


def images_table(recorded: Recorded, photographs: Photographs, *, files: dict[str, str]) -> Table:
    """One row per image of a round; `files` maps the id of an image to its file."""
    rows, shown = {r.image_id: r for r in recorded.key.rows}, Counter(map(str, recorded.responses.image_ids))
    table = []
    for entry in recorded.manifest["images"]:
        row = rows[entry["image_id"]]
        table.append(
            [
                row.image_id,
                files.get(row.image_id, ""),
                entry.get("sha256", row.sha256),
                row.role,
                row.source_id,
                int(is_photograph(row)),
                photographs.licence(row),
                shown[row.image_id],
            ]
        )
    return list(IMAGES), table


def sites_table(responses: Sequence[tuple[int, Responses]]) -> Table:
    """One row per round and site, with what the rig said of the site."""
    further = sorted({name for _, r in responses for row in r.attributes.get("sites", {}).values() for name in row})
    numbers = {n for n in further if all(not isinstance(v, str) for v in _said(responses, n))}
    columns = [*SITES, *(Column(n, "number" if n in numbers else "string", f"As the rig said: {n}.") for n in further)]
    rows = []
    for number, table in responses:
        said = table.attributes.get("sites", {})
        for site, source in zip(table.site_ids, table.source_site_ids, strict=True):
            rows.append([number, site, source, *(cell(said.get(site, {}).get(name)) for name in further)])
    return columns, rows


def _said(responses: Sequence[tuple[int, Responses]], name: str) -> list[Any]:
    rows = (row for _, r in responses for row in r.attributes.get("sites", {}).values())
    return [row[name] for row in rows if row.get(name) is not None]


def cell(value: Any) -> Any:
    """A cell: floats in full, NaN and None empty, yes and no as 1 and 0."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return int(value)
    return repr(value) if isinstance(value, float) else value
