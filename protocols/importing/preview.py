"""What an import understood, before anything is written: the arrays of the files, the recording, a picture of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from protocols.errors import DataError

from .containers import Container, open_container
from .recording import Imported

MOST_ARRAYS = 200


def array_rows(container: Container) -> list[dict[str, Any]]:
    """Name, shape, type, axes and attributes of every array of a file."""
    return [
        {
            "name": item.name,
            "shape": list(item.shape),
            "type": item.dtype,
            "axes": list(item.axes),
            "attributes": {k: _finite(v) for k, v in item.attributes.items() if not k.startswith("MATLAB")},
        }
        for item in container.items.values()
    ]


def _finite(value: Any) -> Any:
    """A value that JSON can hold: NaN and infinity as text."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def preview_files(files: Sequence[Path], *, by_format: str = "") -> tuple[str, dict[str, Any]]:
    """The arrays of every file, as text for people and as a record.

    Parameters
    ----------
    files : sequence of Path
    by_format : str
        The format that reads them by its own library; folders, and files without arrays of their own, are then named
        alone.
    """
    lines: list[str] = []
    record: list[dict[str, Any]] = []
    for path in files:
        opened = _opened(path) if by_format else open_container(path)
        if opened is None:
            kind = f"{'a folder, ' if path.is_dir() else ''}read as {by_format}"
            record.append({"file": path.name, "kind": kind, "arrays": [], "notes": []})
            lines.append(f"{path.name} ({kind})")
            continue
        with opened as container:
            rows = array_rows(container)
            record.append({"file": path.name, "kind": container.kind, "arrays": rows, "notes": container.notes})
            lines += [f"{path.name} ({container.kind})", *_table(rows[:MOST_ARRAYS])]
            if len(rows) > MOST_ARRAYS:
                lines.append(f"  and {len(rows) - MOST_ARRAYS} more arrays")
            if container.matlab:
                lines.append("  shapes are given as MATLAB shows them")
            lines += [f"  {note}" for note in container.notes]
    return "\n".join(lines), {"files": record}


def _opened(path: Path) -> Container | None:
    """The file as named arrays; None where it is none that can be read as such."""
    try:
        return open_container(path)
    except DataError:
        return None


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        shape = " x ".join(map(str, row["shape"])) or "one value"
        axes = f"({', '.join(a or '?' for a in row['axes'])})" if row["axes"] else ""
        about = ", ".join(f"{k} = {str(v)[:40]}" for k, v in list(row["attributes"].items())[:4])
        cells.append((row["name"], shape, row["type"], f"{axes} {about}".strip()))
    widths = [max(len(c[i]) for c in cells) for i in range(3)] if cells else []
    return [
        "  " + "  ".join([*(c.ljust(w) for c, w in zip(cell[:3], widths, strict=True)), cell[3]]).rstrip()
        for cell in cells
    ]


def preview_recording(files: Sequence[Path], made: Imported, *, picture: Path) -> tuple[str, dict[str, Any]]:
    """Everything that was understood, as text and as a record; draws it into `picture` (PNG).

    Parameters
    ----------
    files : sequence of Path
        Those of the command line.
    made : Imported
    picture : Path
    """
    from .preview_figure import draw

    listed, record = preview_files(files, by_format=made.record["map"].get("format", ""))
    facts = understood(made)
    draw(picture, made)
    width = max(map(len, facts))
    lines = [listed, "", "understood:", *(f"  {name.ljust(width)}  {value}" for name, value in facts.items())]
    lines += ["", "decided:", *(f"  {note}" for note in made.record["notes"])]
    if traps := made.record["map"].get("trap", []):
        lines += ["", "traps of this layout:", *(f"  {trap}" for trap in traps)]
    if made.pairing is not None:
        lines += ["", made.pairing.text()]
    lines += ["", f"drew {picture.name}; nothing else was written"]
    return "\n".join(lines), {**record, "understood": facts, **made.to_dict(), "picture": picture.name}


def understood(made: Imported) -> dict[str, str]:
    """What the recording is, one line per fact."""
    read, table = made.responses, made.table
    values = read.values
    finite = values[np.isfinite(values)]
    counts = Counter(Counter(read.image_ids.tolist()).values())
    repeats = ", ".join(f"{n} images {times} times" for times, n in sorted(counts.items())[:8])
    more = f" and {len(counts) - 8} other numbers" if len(counts) > 8 else ""
    facts = {
        "presentations": str(len(values)),
        "images": f"{len(set(read.image_ids.tolist()))}: {repeats}{more}",
        "first images": shorten(
            ", ".join(dict.fromkeys(str(i) for i in table.image[:200].tolist())), 100, placeholder=" ..."
        ),
        "sites": f"{len(read.site_ids)}: {', '.join(read.site_ids[:5])}" + (" ..." if len(read.site_ids) > 5 else ""),
        "unit": read.unit,
        "window": "none"
        if read.window_ms is None
        else f"{read.window_ms[0]:g} to {read.window_ms[1]:g} ms after onset",
        "missing": f"{1 - finite.size / max(values.size, 1):.1%} of the values",
    }
    if finite.size:
        facts["values"] = f"{finite.min():g} to {finite.max():g}, mean {finite.mean():.3g}"
    if read.valid is not None:
        facts["not valid"] = f"{int((~read.valid).sum())} presentations"
    if read.averaged_over is not None:
        facts["averages"] = f"over {read.averaged_over.min()} to {read.averaged_over.max()} presentations"
    if table.time_bin_edges_ms is not None:
        edges = table.time_bin_edges_ms
        facts["time bins"] = f"{len(edges) - 1} from {edges[0]:g} to {edges[-1]:g} ms"
    areas = Counter(str(row.get("area", "")) for row in read.attributes.get("sites", {}).values())
    if set(areas) - {""}:
        facts["areas"] = ", ".join(f"{area or 'none'} {n}" for area, n in areas.items())
    return facts
