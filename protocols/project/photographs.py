"""The table of the project's imported photographs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from protocols.arrays import Pixels
from protocols.disk.files import inside, sha256_file
from protocols.disk.png import read_png
from protocols.disk.tables import read_table, write_table
from protocols.errors import DataError

from .photograph_folder import LeftOut, left_out_sentences

__all__ = ["NaturalImage", "NaturalImages", "drawn_for_another", "read_photographs", "write_photographs"]


@dataclass(frozen=True)
class NaturalImage:
    """One line of natural.csv. `resized_from` is "WxH" in px (empty: not resampled); `notes` are separated by
    semicolons.
    """

    source_id: str
    filename: str
    group: str
    sha256: str
    original_name: str
    resized_from: str
    notes: str = ""


@dataclass(frozen=True)
class NaturalImages:
    """The imported photographs of a project, in the order of their table."""

    folder: Path
    rows: tuple[NaturalImage, ...]
    left_out: tuple[LeftOut, ...] = ()
    """What the folder held besides, at import."""

    @classmethod
    def load(cls, destination: Path) -> NaturalImages:
        """Read ``destination/natural.csv`` and verify the SHA-256 of every image.

        Raises
        ------
        DataError
            P03: no table or a broken one; P04: images that are missing or altered.
        """
        table = destination / "natural.csv"
        rows, left_out = _read_table(table)
        folder = destination / "natural"
        bad = [
            row.filename
            for row in rows
            if not inside(folder, row.filename).is_file() or sha256_file(folder / row.filename) != row.sha256
        ]
        if bad:
            raise DataError(
                str(folder),
                found=f"{len(bad)} of {len(rows)} images missing or altered ({', '.join(bad[:5])})",
                expected=f"the files whose SHA-256 stands in {table.name}",
                cause="files were deleted, edited or copied only in part",
                fix="restore the folder from a backup, or import the photographs again",
                code="P04",
            )
        return cls(folder, rows, left_out)

    @property
    def source_ids(self) -> tuple[str, ...]:
        """Ids of the images, the same over all rounds."""
        return tuple(row.source_id for row in self.rows)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each image; images of one group stay on one side of every split."""
        return tuple(row.group for row in self.rows)

    def path(self, source_id: str) -> Path:
        """The PNG of one image."""
        return self.folder / next(row.filename for row in self.rows if row.source_id == source_id)

    def pixels(self) -> Pixels:
        """All images as shown on the display: uint8 (N, H, W, C)."""
        return np.stack([read_png(self.folder / row.filename) for row in self.rows])

    def summary(self) -> str:
        """What was done to the photographs at import, in one sentence."""
        notes = Counter(note for row in self.rows for note in row.notes.split("; ") if note)
        resized = sum(bool(row.resized_from) for row in self.rows)
        copies = len(self.rows) - len({row.sha256 for row in self.rows})
        text = f"{len(self.rows)} photographs of {len(set(self.groups))} groups, {resized} resized"
        text += f", {copies} copies within a group" if copies else ""
        return text + "".join(f", {count} {note}" for note, count in sorted(notes.items()))

    def sentences(self) -> list[str]:
        """What the import did and left out, one sentence each: `summary` first."""
        return [self.summary(), *left_out_sentences(self.left_out)]


def write_photographs(path: Path, rows: Sequence[NaturalImage], left_out: Sequence[LeftOut] = ()) -> None:
    """Write the table of imported photographs: one line per image, then one per file that was left out, which has no
    id and says why in its notes.
    """
    lines = [astuple(row) for row in rows]
    lines += [("", "", "", "", name, "", why) for name, why in left_out]
    write_table(path, [f.name for f in fields(NaturalImage)], lines)


def read_photographs(path: Path) -> tuple[NaturalImage, ...]:
    """Read the table of imported photographs, without the lines of what was left out.

    Raises
    ------
    DataError
        P03: there is none, or it is broken: columns are missing, it holds no image, or an id or file twice.
    """
    return _read_table(path)[0]


def _read_table(path: Path) -> tuple[tuple[NaturalImage, ...], tuple[LeftOut, ...]]:
    names = [f.name for f in fields(NaturalImage)]
    try:
        lines = [NaturalImage(**{name: line[name] or "" for name in names}) for line in read_table(path)[1]]
    except FileNotFoundError as error:
        raise _no_table(path, "no such file", cause="no photographs were imported yet") from error
    except DataError as error:
        raise _no_table(path, error.found) from error
    except (OSError, KeyError) as error:
        raise _no_table(path, f"a table that cannot be read ({error})") from error
    rows = tuple(line for line in lines if line.source_id)
    left_out = tuple(LeftOut(line.original_name, line.notes) for line in lines if not line.source_id)
    if any(line.filename for line in lines if not line.source_id):
        raise _no_table(path, "an image without an id")
    for what in ("source_id", "filename"):
        twice = [value for value, count in Counter(getattr(row, what) for row in rows).items() if count > 1]
        if twice:
            raise _no_table(path, f"the {what} {twice[0]!r} twice")
    if not rows:
        raise _no_table(path, "no image in the table")
    return rows, left_out


def _no_table(path: Path, found: str, *, cause: str = "the table was edited, or copied only in part") -> DataError:
    columns = ", ".join(f.name for f in fields(NaturalImage))
    return DataError(
        str(path),
        found=found,
        expected=f"the table of imported photographs, with the columns {columns}",
        cause=cause,
        fix="import photographs: `stimsynth export --baseline IMAGES`",
        code="P03",
    )


def drawn_for_another(found: str, expected: str, name: str) -> DataError:
    """C07: the photograph `name` was drawn for another display than that of project.toml."""
    return DataError(
        f"data/natural/{name}",
        found=found,
        expected=f"{expected}, as [display] in project.toml has it",
        cause="[display] in project.toml was changed after the photographs were imported",
        fix="put the old [display] back; before any round is exported, `stimsynth fit --images DIR --responses FILE` "
        "or `stimsynth export --baseline DIR` given again draws them for the new one; later begin a new project with "
        "`stimsynth init`",
        code="C07",
    )
