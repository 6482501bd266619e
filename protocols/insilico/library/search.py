"""The best and the worst photographs of a library for the objectives of a project: exhaustive, or by climbing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from encoders.fitting.predict import predict_stored
from protocols.arrays import Floats32, Ints, Pixels
from protocols.insilico.opened import Opened, open_fitted
from protocols.libraries.contents import name_of, picture_id
from protocols.libraries.index import LibraryIndex, Rows
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.synthesis.objectives_file import read_wanted
from protocols.synthesis.request import chosen_targets, declared
from protocols.synthesis.starts import natural_ranges
from synth import Objective, StimulusBatch
from synth.contract import attributes_of
from synth.search import RowScorer, TailKeeper, Tails, found_batch

from .climb import climb_tails
from .library import LibrarySearch

__all__ = ["FoundInLibrary", "SearchOptions", "search_library"]

Method = Literal["exhaustive", "climb"]
SHOWN = 12
"""Rows whose scores are kept for the figure."""


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a library is searched.

    Attributes
    ----------
    index : Path, or None
        Folder of the index; None = ``libraries/NAME`` in the project.
    method : "exhaustive" or "climb"
        "climb" asks the encoder about `evaluations` photographs at most per row and tail, along the features of an
        index that another encoder of this library left; see `climb_tails`.
    evaluations : int
    as_is : bool
        Photographs as they are imported. Otherwise their mean luminance and contrast become those of the controllers.
    count : int, or None
        Photographs per row and tail; None = ``[synthesis] seeds``.
    """

    index: Path | None = None
    method: Method = "exhaustive"
    evaluations: int = 2000
    as_is: bool = False
    count: int | None = None


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
    options: SearchOptions | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> FoundInLibrary:
    """Search a library for the objectives of `wanted`, or of project.toml, by the newest encoder of the project.

    Parameters
    ----------
    library : Path
        See `protocols.libraries.contents.list_library`.

    Raises
    ------
    DataError
        V01: no library; V02: a damaged index; V03: a picture changed meanwhile; V04: no features to climb along.
    """
    options, began = options or SearchOptions(), time.monotonic()
    opened = open_fitted(project, device=device)
    objective = _objective(opened, wanted)
    search = LibrarySearch.prepare(opened, library, index=options.index, as_is=options.as_is, device=device)
    scorer = RowScorer(objective, attributes_of(opened.encoder))
    count = opened.project.config.synthesis.seeds if options.count is None else options.count
    scores: list[Floats32] = []
    if options.method == "exhaustive":
        refused = search.update(progress)
        rows = search.index.rows(search.contents)
        tails, scores = _exhaustive(search.index, rows, scorer, count=count)
        how: dict[str, Any] = {"method": options.method, "images_scored": tails.seen}
    else:
        tails, rows, how, scores = climb_tails(
            search, scorer, count, evaluations=options.evaluations, progress=progress
        )
        refused = {}
    if not tails.best.shape[1]:
        raise search.nothing_usable(rows.why)
    pixels = search.pictures(rows, np.concatenate([tails.best, tails.worst]).ravel().tolist())
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
        record=search.record(rows, refused)
        | how
        | {"as_is": options.as_is, "seconds": round(time.monotonic() - began, 1)},
        unusable={name_of(search.contents.items[i].name): why for i, why in {**rows.why, **refused}.items()},
        scores=scores,
    )


def _objective(opened: Opened, wanted: Path | None) -> Objective:
    if wanted is None:
        return declared(opened.project, chosen_targets(opened.project, opened.encoder))
    sites = tuple(opened.encoder.site_ids)
    return read_wanted(wanted, sites, natural_ranges(sites, opened.measured))


def _exhaustive(index: LibraryIndex, rows: Rows, scorer: RowScorer, *, count: int) -> tuple[Tails, list[Floats32]]:
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
    names = [[picture_id(search.contents.items[int(i)].name, pixels[int(i)]) for i in row] for row in positions]
    settings = {"shown": search.shown, "library": search.name}
    batch = found_batch(opened.encoder, objective, stacked, names=names, settings=settings)
    return batch.validate(opened.validator)
