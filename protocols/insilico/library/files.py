"""The folder that a search in a library leaves: both tails as batches, tables, a record and a figure."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.drawing import new_figure
from protocols.disk.files import new_folder, write_json, write_text
from protocols.disk.tables import harmless
from protocols.libraries.contents import name_of
from protocols.synthesis.batch import write_batch
from synth import StimulusBatch

from .search import FoundInLibrary

__all__ = ["found_text", "write_found"]

COLUMNS = ("objective", "tail", "rank", "image", "picture_id", "picture", "score", "validator_score")


def write_found(found: FoundInLibrary, out: Path) -> Path:
    """Write ``best/`` and ``worst/`` (each as `write_batch` does), ``found.csv``, ``unusable.csv``, ``search.json`` and
    ``search.png`` into a new folder.
    """
    with new_folder(out) as temporary:
        for tail, batch in (("best", found.best), ("worst", found.worst)):
            write_batch(batch, temporary / tail)
        write_text(temporary / "found.csv", _table(found))
        rows = [[name, why] for name, why in sorted(found.unusable.items())]
        write_text(temporary / "unusable.csv", _csv([["picture", "reason"], *rows]))
        write_json(temporary / "search.json", found.record | {"rows": _rows(found)})
        _draw(found, temporary / "search.png")
    return out


def _table(found: FoundInLibrary) -> str:
    lines: list[list[Any]] = [list(COLUMNS)]
    for tail, batch, positions in zip(("best", "worst"), (found.best, found.worst), found.positions, strict=True):
        for i, position in enumerate(positions.reshape(-1)):
            judged = "" if batch.validator_scores is None else f"{batch.validator_scores[i]:.4f}"
            image = f"{tail}/images/img_{i + 1:04d}.png"
            name = name_of(found.names[int(position)])
            about = [batch.row_names[i], tail, int(batch.seeds[i]) + 1, image, batch.start_ids[i], name]
            lines.append([*about, f"{batch.scores[i]:.4f}", judged])
    return _csv(lines)


def _csv(lines: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([harmless(cell) for cell in line] for line in lines)
    return text.getvalue()


def _rows(found: FoundInLibrary) -> list[dict[str, Any]]:
    count, rows = found.positions[0].shape[1], []
    for r, own in enumerate(found.own.tolist()):
        i = r * count
        row: dict[str, Any] = {"objective": found.best.row_names[i], "own_best": own}
        for tail, batch in (("best", found.best), ("worst", found.worst)):
            row[tail] = {
                "picture_id": batch.start_ids[i],
                "score": float(batch.scores[i]),
                "validator": _judged(batch, i),
            }
        rows.append(row)
    return rows


def _judged(batch: StimulusBatch, image: int) -> float | None:
    return None if batch.validator_scores is None else float(batch.validator_scores[image])


def found_text(found: FoundInLibrary, out: Path) -> tuple[str, dict[str, Any]]:
    """A text for people and a record for scripts: the first photograph of either tail, per row."""
    record, rows = found.record, _rows(found)
    scored = record["images_scored"]
    lines = [
        f"{record['pictures']} pictures in {record['library']}, {record['usable']} usable, {scored} scored "
        f"({record['method']}); in {out.name}: best/, worst/, found.csv, search.png"
    ]
    if record["copies"] or record["unusable"]:
        lines.append(
            f"{record['copies']} copies of other pictures passed over; {record['unusable']} that cannot be "
            "shown stand in unusable.csv"
        )
    lines += [f"note: {sentence}" for sentence in record["left_out"]]
    for row in rows:
        best, worst = row["best"], row["worst"]
        judged = "" if best["validator"] is None else f", by the validator {best['validator']:.2f}"
        lines.append(
            f"  {row['objective']:<32} best {best['score']:.2f}{judged}; own photographs {row['own_best']:.2f}; worst "
            f"{worst['score']:.2f}"
        )
    lines.append("own photographs: the best of the project's, as they are shown, by the same encoder")
    return "\n".join(lines), record | {"folder": out.name, "rows": rows}


def _draw(found: FoundInLibrary, path: Path) -> None:
    """Per row: how the scores of the library are distributed (exhaustive) or rise (climb), and where the found lie."""
    shown, count = len(found.scores), found.positions[0].shape[1]
    columns = min(4, shown)
    drawing = new_figure(3.2 * columns, 2.3 * -(-shown // columns))
    axes = np.atleast_1d(drawing.subplots(-(-shown // columns), columns)).ravel()
    for axis in axes[shown:]:
        axis.set_visible(False)
    for r, (axis, scores) in enumerate(zip(axes, found.scores, strict=False)):
        own = float(found.own[r])
        if found.record["method"] == "climb":
            axis.plot(np.arange(1, len(scores) + 1), np.maximum.accumulate(scores), color="#1f78b4")
            axis.axhline(own, color="#d95f02", linestyle="--")
            axis.set_xlabel("photographs scored")
            axis.set_ylabel("best score")
        else:
            axis.hist(scores, bins=60, color="#a6cee3")
            axis.axvline(own, color="#d95f02", linestyle="--")
            for value in found.best.scores[r * count : (r + 1) * count]:
                axis.plot([value, value], [0, 0.06], color="#1f78b4", transform=axis.get_xaxis_transform())
            for value in found.worst.scores[r * count : (r + 1) * count]:
                axis.plot([value, value], [0, 0.06], color="#6a3d9a", transform=axis.get_xaxis_transform())
            axis.set_xlabel("score")
            axis.set_ylabel("photographs")
        axis.set_title(found.best.row_names[r * count], fontsize=8)
    drawing.suptitle("dashed: the best of the project's own photographs", fontsize=8)
    drawing.savefig(path, dpi=110)
