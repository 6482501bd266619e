"""Climbing in a library: the encoder is asked about the photographs that are visited, and about no others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Floats32, Ints
from protocols.disk.files import read_json
from protocols.errors import DataError
from protocols.libraries.index import PART, Entry, LibraryIndex, Rows
from protocols.libraries.pictures import PictureReader
from protocols.libraries.update import BATCH, described, file_of
from protocols.progress import Reporter
from synth.search import Climb, NeighbourGraph, RowScorer, Tails, climb, neighbour_graph

from .library import LibrarySearch

__all__ = ["climb_tails"]


def climb_tails(
    search: LibrarySearch, scorer: RowScorer, count: int, *, evaluations: int, progress: Reporter | None = None
) -> tuple[Tails, Rows, dict[str, Any], list[Floats32]]:
    """Climb to both tails of every row, along the features of an index of this library.

    The features are those of this encoder's own index where it is complete, else those of the index that holds most of
    the library, made by another encoder for the same display. What this encoder predicts for the photographs visited
    goes into its own index.

    Returns
    -------
    tails : Tails
    rows : Rows
        Where the visited photographs stand in the own index, and which of all can be used by the index climbed along.
    record : dict
    scores : list of arrays
        Of the first rows: the scores of the images visited on the way to the best.

    Raises
    ------
    DataError
        V04: no index of this library has features; V03: a picture is not the one that was indexed.
    """
    mapped = _mapped(search)
    rows = mapped.rows(search.contents)
    positions, vectors = _features(mapped, rows)
    with PictureReader(search.contents) as reader:
        answers = Answers(search, positions, reader)
        graph = neighbour_graph(vectors)
        try:
            ends = _both_ends(scorer, graph, answers, count=count, evaluations=evaluations, progress=progress)
        finally:
            answers.save()  # what was asked stays, of an interrupted climb too
    best, worst = ([c.best(count) for c in end] for end in ends)
    tails = Tails(
        best=positions[np.stack([p for p, _ in best])],
        worst=positions[np.stack([p for p, _ in worst])],
        best_scores=np.stack([s for _, s in best]),
        worst_scores=-np.stack([s for _, s in worst]),
        seen=len(answers.known),
    )
    record = {
        "method": "climb",
        "evaluations_per_row_and_tail": evaluations,
        "images_scored": len(answers.known),
        "images_asked_of_the_encoder": answers.asked,
        "features_of": mapped.settings["encoder"],
        "images_with_features": len(positions),
    }
    own = search.index.rows(search.contents)
    known = replace(own, usable=rows.usable, why=rows.why, copies=rows.copies)
    return tails, known, record, [c.scores for c in ends[0][:12]]


def _both_ends(
    scorer: RowScorer,
    graph: NeighbourGraph,
    answers: Answers,
    *,
    count: int,
    evaluations: int,
    progress: Reporter | None,
) -> list[list[Climb]]:
    """The climbs of every row to its best, and those to its worst."""
    ends: list[list[Climb]] = []
    total = 2 * len(scorer)
    for sign, tail in ((1.0, "best"), (-1.0, "worst")):
        ends.append([])
        for r, name in enumerate(scorer.names):

            def score(places: Ints, r: int = r, sign: float = sign) -> Floats32:
                return (sign * scorer.row(r, answers(places))).astype(np.float32)

            ends[-1].append(climb(score, graph, name=f"{name} {tail}", evaluations=evaluations, count=count))
            if progress is not None:
                progress("climb", sum(map(len, ends)), total)
    return ends


def _mapped(search: LibrarySearch) -> LibraryIndex:
    """The index whose features are climbed along: the one that holds most of the library; of equals the own one."""
    found = [search.index, *_others(search)]
    held = [int(index.rows(search.contents).usable.sum()) for index in found]
    if not max(held):
        raise DataError(
            str(search.index.folder.parent),
            found="no index of this library for this display",
            expected="an index, whose features say which photographs are alike",
            cause="climbing was asked for before the library was indexed once",
            fix="run the command once with --search exhaustive; later encoders can climb along its features",
            code="V04",
        )
    return found[int(np.argmax(held))]


def _others(search: LibrarySearch) -> list[LibraryIndex]:
    own = search.index.settings
    alike = ("display", "shown")  # any network's features say which photographs are alike
    found = []
    for record in sorted(search.index.folder.parent.glob("*/index.json")):
        settings = read_json(record).get("settings", {})
        if record.parent != search.index.folder and all(settings.get(key) == own[key] for key in alike):
            found.append(LibraryIndex(record.parent, settings))
    return found


def _features(index: LibraryIndex, rows: Rows) -> tuple[Ints, NDArray[np.float16]]:
    parts = list(index.scan(rows))
    positions = np.concatenate([part.positions for part in parts])
    order = np.argsort(positions)
    return positions[order], np.concatenate([part.features for part in parts])[order]


class Answers:
    """What the encoder predicts for photographs of a library, asked once each.

    Parameters
    ----------
    search : LibrarySearch
    positions : int array
        Position in the library of every image of the graph.
    reader : PictureReader
        One for all questions: the table of a large zip takes seconds to read.
    """

    def __init__(self, search: LibrarySearch, positions: Ints, reader: PictureReader) -> None:
        self.search, self.positions, self.reader = search, positions, reader
        self.known: dict[int, Floats32] = {}
        self.parts: dict[int, Floats32] = {}
        self.stored = search.index.rows(search.contents)
        self.waiting: list[Entry] = []
        self.asked = 0

    def __call__(self, places: Ints) -> Floats32:
        """Responses (M, B, U) to the images `places` (B,) of the graph."""
        wanted = [int(i) for i in self.positions[places]]
        new = [i for i in wanted if i not in self.known]
        for i in [i for i in new if self.stored.part[i] >= 0]:
            part = int(self.stored.part[i])
            if part not in self.parts:
                self.parts[part] = self.search.index.predicted(part)
            self.known[i] = self.parts[part][:, int(self.stored.row[i])]
        new = sorted(i for i in new if i not in self.known)  # archive after archive
        for begin in range(0, len(new), BATCH):
            self._ask(new[begin : begin + BATCH])
        return np.stack([self.known[i] for i in wanted], axis=1)

    def _ask(self, positions: list[int]) -> None:
        search = self.search
        items = [search.contents.items[i] for i in positions]
        held = [(item, file_of(self.reader, item)) for item in items]
        display, constraints = search.opened.project.display, search.constraints
        made = described(
            search.index, held, search.describer, display=display, constraints=constraints, device=search.device
        )
        for i, entry in zip(positions, made, strict=True):
            if entry.why:
                raise search.changed(search.contents.items[i], entry.why)
            self.known[i] = entry.predicted
        self.asked += len(positions)
        self.waiting += made
        if len(self.waiting) >= PART:
            self.save()

    def save(self) -> None:
        """Put what was asked into the index."""
        if self.waiting:
            self.search.index.add(self.waiting)
            self.waiting = []
