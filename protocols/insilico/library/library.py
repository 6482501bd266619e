"""A library opened for a search: its contents, its index for the project's encoder, and how its pictures are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.files import make_id
from protocols.errors import DataError
from protocols.insilico.opened import Opened
from protocols.libraries.contents import Contents, Item, list_library, name_of
from protocols.libraries.features import FEATURES, Describer
from protocols.libraries.index import LibraryIndex, Rows, index_key
from protocols.libraries.pictures import PictureReader
from protocols.libraries.update import shown_picture, update
from protocols.progress import Reporter, counted
from synth.contract import describe

__all__ = ["LibrarySearch"]


@dataclass(frozen=True)
class LibrarySearch:
    """A library, its index for one encoder, and how its pictures are shown.

    Attributes
    ----------
    opened : Opened
    contents : Contents
    index : LibraryIndex
    shown : list of dict, or "as imported"
        The constraints that every photograph is made to meet.
    constraints : sequence of callables, or None
    describer : Describer
    device : str
    """

    opened: Opened
    contents: Contents
    index: LibraryIndex
    shown: Any
    constraints: Sequence[Any] | None
    describer: Describer
    device: str

    @staticmethod
    def prepare(opened: Opened, library: Path, *, index: Path | None, as_is: bool, device: str) -> LibrarySearch:
        """List the library and open its index."""
        contents = list_library(library)
        folder = opened.project.folder / "libraries" / _name(library) if index is None else index
        constraints = None if as_is else opened.recipe["constraints"]
        shown = "as imported" if as_is else [describe(c) for c in opened.recipe["constraints"]]
        encoder, display = opened.encoder, asdict(opened.project.display)
        kept = ("width_px", "height_px", "background", "encoding", "gamma", "colour", "aperture", "aperture_edge")
        settings = {
            "encoder": encoder.fingerprint,
            "site_ids": list(encoder.site_ids),
            "members": len(encoder.members),
            "features": FEATURES,
            "layers": sorted(encoder.backbone.layers),
            "display": {key: display[key] for key in kept},
            "shown": shown,
        }
        return LibrarySearch(
            opened=opened,
            contents=contents,
            index=LibraryIndex(folder / index_key(settings), settings),
            shown=shown,
            constraints=constraints,
            describer=Describer(encoder),
            device=device,
        )

    @property
    def name(self) -> str:
        """The last part of the library's path, as an id."""
        return _name(self.contents.source)

    def update(self, progress: Reporter | None) -> dict[int, str]:
        """Bring the index up to date; see `protocols.libraries.update.update`."""
        how: dict[str, Any] = {"display": self.opened.project.display, "constraints": self.constraints}
        return update(self.index, self.contents, self.describer, **how, device=self.device, progress=progress)

    def pictures(self, rows: Rows, positions: Iterable[int]) -> dict[int, Pixels]:
        """Photographs as they are shown, read anew from the library, archive after archive.

        Raises
        ------
        DataError
            V03: one is not the file that was indexed.
        """
        found: dict[int, Pixels] = {}
        with PictureReader(self.contents) as reader:
            for position in counted(sorted(set(positions)), "read what was found"):
                item, digest = self.contents.items[position], self.index.digest(rows, position)
                display = self.opened.project.display
                made = shown_picture(reader, item, digest, display=display, constraints=self.constraints)
                if isinstance(made, str):
                    raise self.changed(item, made)
                found[position] = made
        return found

    def changed(self, item: Item, why: str) -> DataError:
        """What is told of a picture that is not the one that was indexed."""
        return DataError(
            str(self.contents.source),
            found=f"the picture {name_of(item.name)}: {why}",
            expected="the file that was indexed",
            cause="the library was changed meanwhile, or a file was replaced under its old time and size",
            fix=f"repeat the command; where this comes again, delete the index {self.index.folder.name}",
            code="V03",
        )

    def nothing_usable(self, why: dict[int, str]) -> DataError:
        """What is told where no photograph can be shown."""
        first = next(iter(why.values()), "")
        return DataError(
            str(self.contents.source),
            found=f"{len(self.contents.items)} pictures, none of which can be used ({first})",
            expected="pictures that this display can show",
            cause="damaged or 16-bit files, or pictures of one grey level",
            fix="give another library, or --as-is where they cannot be given the contrast of the controllers",
            code="V06",
        )

    def record(self, rows: Rows, refused: dict[int, str]) -> dict[str, Any]:
        """What was searched."""
        return {
            "schema": "library_search/1",
            "library": self.name,
            "pictures": len(self.contents.items),
            "usable": int(rows.usable.sum()),
            "copies": rows.copies,
            "unusable": len(rows.why) + len(refused),
            "index": self.index.folder.name,
            "index_rows_without_picture": rows.gone,
            "left_out": self.contents.sentences(),
            "encoder": self.opened.encoder.fingerprint,
            "validator": self.opened.validator.fingerprint,
            "shown": self.shown,
        }


def _name(library: Path) -> str:
    return make_id(library.resolve().stem, "library")
