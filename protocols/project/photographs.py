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

__all__ = ["NaturalImage", "NaturalImages", "read_photographs", "write_photographs"]


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

    @classmethod
    def load(cls, destination: Path) -> NaturalImages:
        """Read ``destination/natural.csv`` and verify the SHA-256 of every image.

        Raises
        ------
        DataError
            P03: no table or a broken one; P04: images that are missing or altered.
        """
        table = destination / "natural.csv"
        rows = read_photographs(table)
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
        return cls(folder, rows)

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


def write_photographs(path: Path, rows: Sequence[NaturalImage]) -> None:
    """Write the table of imported photographs, one line per image."""
    write_table(path, [f.name for f in fields(NaturalImage)], map(astuple, rows))


def read_photographs(path: Path) -> tuple[NaturalImage, ...]:
    """Read the table of imported photographs; `DataError` P03 where there is none or a broken one."""
    names = [f.name for f in fields(NaturalImage)]
    try:
        return tuple(NaturalImage(**{name: line[name] for name in names}) for line in read_table(path)[1])
    except (OSError, KeyError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise DataError(
            str(path),
            found="no such file" if missing else f"a table that cannot be read ({error})",
            expected=f"the table of imported photographs, with the columns {', '.join(names)}",
            cause="no photographs were imported yet" if missing else "the table was edited",
            fix="import photographs: `stimsynth export --baseline IMAGES`",
            code="P03",
        ) from error
