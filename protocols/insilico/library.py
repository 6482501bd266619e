"""The best and the worst photographs of a library for the objectives of a project: exhaustive, or by climbing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats32, Ints, Pixels
from protocols.disk.files import make_id
from protocols.errors import DataError
from protocols.libraries.contents import Contents, list_library, name_of, picture_id
from protocols.libraries.features import FEATURES, Describer
from protocols.libraries.index import LibraryIndex, Rows, index_key
from protocols.libraries.pictures import PictureReader
from protocols.libraries.update import shown_picture, update
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.synthesis.objectives_file import read_wanted
from protocols.synthesis.request import chosen_targets, declared
from protocols.synthesis.starts import natural_ranges
from synth import Objective, StimulusBatch
from synth.contract import attributes_of, describe
from synth.search import RowScorer, TailKeeper, Tails, found_batch

from .library_climb import climb_tails
from .opened import Opened, open_fitted

__all__ = ["FoundInLibrary", "Method", "search_library"]

Method = Literal["exhaustive", "climb"]
SHOWN = 12
"""Rows whose scores are kept for the figure."""


@dataclass(frozen=True)
class FoundInLibrary:
    """What a search found.

    Attributes
    ----------
    best, worst : StimulusBatch
        K photographs per row, the best (worst) first, judged by the validator.
    positions : (best, worst) int arrays of shape (R, K)
        In the library.
    names : dict of position to name
    own : array of shape (R,)
        The best score of the project's own photographs as they are shown, by the encoder.
    record : dict
        What was searched and how, for search.json.
    unusable : dict of name to reason
    scores : list of arrays
        Of the first `SHOWN` rows: the scores of all images seen, in the order in which they were.
    """

    best: StimulusBatch
    worst: StimulusBatch
    positions: tuple[Ints, Ints]
    names: dict[int, str]
    own: Floats32
    record: dict[str, Any]
    unusable: dict[str, str] = field(default_factory=dict)
    scores: list[Floats32] = field(default_factory=list)


def search_library(
    project: Project,
    library: Path,
    wanted: Path | None = None,
    *,
    index: Path | None = None,
    method: Method = "exhaustive",
    evaluations: int = 2000,
    as_is: bool = False,
    count: int | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> FoundInLibrary:
    """Search a library for the objectives of `wanted`, or of project.toml, by the newest encoder of the project.

    Parameters
    ----------
    library : Path
        See `protocols.libraries.contents.list_library`.
    index : Path, or None
        Folder of the index; None = ``libraries/NAME`` in the project.
    method : "exhaustive" or "climb"
        "climb" asks the encoder about `evaluations` photographs at most per row and tail, along the features of an
        index that another encoder of this library left; see `climb_tails`.
    as_is : bool
        Photographs as they are imported. Otherwise their mean luminance and contrast become those of the controllers.
    count : int, or None
        Photographs per row and tail; None = ``[synthesis] seeds``.

    Raises
    ------
    DataError
        V01: no library; V02: a damaged index; V03: a picture changed meanwhile; V04: no features to climb along.
    """
    opened, began = open_fitted(project, device=device), time.monotonic()
    objective = _objective(opened, wanted)
    search = LibrarySearch.prepare(opened, library, index=index, as_is=as_is, device=device)
    known = attributes_of(opened.encoder)
    scorer = RowScorer(objective, known)
    count = opened.project.config.synthesis.seeds if count is None else count
    scores: list[Floats32] = []
    if method == "exhaustive":
        refused = search.update(progress)
        rows = search.index.rows(search.contents)
        tails, scores = _exhaustive(search.index, rows, scorer, count)
        how: dict[str, Any] = {"method": method, "images_scored": tails.seen}
    else:
        tails, rows, how, scores = climb_tails(search, scorer, count, evaluations=evaluations, progress=progress)
        refused = {}
    if not tails.best.shape[1]:
        raise search.nothing_usable(rows.why)
    pixels = {int(i): search.picture(rows, int(i)) for i in np.unique(np.concatenate([tails.best, tails.worst]))}
    made = [
        _batch(opened, objective, positions, pixels=pixels, search=search) for positions in (tails.best, tails.worst)
    ]
    own = scorer(predict_stored(opened.encoder, opened.natural, opened.project.cache, device=device).cpu().numpy())
    return FoundInLibrary(
        best=made[0],
        worst=made[1],
        positions=(tails.best, tails.worst),
        names={i: search.contents.items[i].name for i in pixels},
        own=own.max(1),
        record=search.record(rows, refused) | how | {"as_is": as_is, "seconds": round(time.monotonic() - began, 1)},
        unusable={name_of(search.contents.items[i].name): why for i, why in {**rows.why, **refused}.items()},
        scores=scores,
    )


def _objective(opened: Opened, wanted: Path | None) -> Objective:
    if wanted is None:
        return declared(opened.project, chosen_targets(opened.project, opened.encoder))
    sites = tuple(opened.encoder.site_ids)
    return read_wanted(wanted, sites, natural_ranges(sites, opened.measured))


def _exhaustive(index: LibraryIndex, rows: Rows, scorer: RowScorer, count: int) -> tuple[Tails, list[Floats32]]:
    """Both tails of all usable photographs, and the scores of the first rows."""
    keeper, scores = TailKeeper(len(scorer), count), [list[Floats32]() for _ in range(min(SHOWN, len(scorer)))]
    for part in index.scan(rows):
        values = scorer(part.predicted)
        keeper.add(part.positions, values)
        for kept, row in zip(scores, values, strict=False):
            kept.append(row)
    return keeper.tails(), [np.concatenate(kept) if kept else np.zeros(0, np.float32) for kept in scores]


def _batch(
    opened: Opened, objective: Objective, positions: Ints, *, pixels: dict[int, Pixels], search: LibrarySearch
) -> StimulusBatch:
    stacked = np.stack([np.stack([pixels[int(i)] for i in row]) for row in positions])
    names = [[picture_id(search.contents.items[int(i)].name) for i in row] for row in positions]
    settings = {"shown": search.shown, "library": search.name}
    batch = found_batch(opened.encoder, objective, stacked, names=names, settings=settings)
    return batch.validate(opened.validator)


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

    def picture(self, rows: Rows, position: int) -> Pixels:
        """One photograph as it is shown, read anew from the library.

        Raises
        ------
        DataError
            V03: it is not the file that was indexed.
        """
        item = self.contents.items[position]
        with PictureReader(self.contents) as reader:
            display = self.opened.project.display
            made = shown_picture(reader, item, self.index.digest(rows, position), display, self.constraints)
        if isinstance(made, str):
            raise DataError(
                str(self.contents.source),
                found=f"the picture {name_of(item.name)}: {made}",
                expected="the file that was indexed",
                cause="the library was changed meanwhile, or a file was replaced under its old time and size",
                fix=f"repeat the command; where this comes again, delete the index {self.index.folder.name}",
                code="V03",
            )
        return made

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
