"""Several files as one recording: rows one after another, or sites beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.importing.contract import ImportedTable, Psth

from .refusals import files_differ
from .tables import ImportMap


def join_parts(parts: Sequence[ImportedTable], told: ImportMap, notes: Sequence[str]) -> ImportedTable:
    """One table of the parts of all files, with what the map says of the whole recording.

    Raises
    ------
    DataError
        A23: the files have other sites, presentations, columns or bins.
    """
    assert told.responses is not None
    by_site = told.responses.join == "site"
    whole = parts[0]
    if len(parts) > 1:
        whole = _beside(parts) if by_site else _below(parts)
    every = [note for part in parts for note in part.notes]
    if len(parts) > 1:
        way = "sites were put beside each other" if by_site else "presentations were put one after another"
        every.append(f"{len(parts)} files: their {way}")
        every += _doubts(parts, told)
    return replace(whole, attributes=stated_of(told), notes=tuple(dict.fromkeys([*told.notes, *notes, *every])))


def _doubts(parts: Sequence[ImportedTable], told: ImportMap) -> list[str]:
    """What may be wrong with rows of several files one after another, in sentences."""
    assert told.responses is not None
    if told.responses.join == "site":
        return []
    found = []
    if told.site.id is None and told.responses.arrays is None and told.entries is None and len(parts[0].site_id) > 1:
        found.append(
            "the files do not name their sites: the n-th site of each file was taken for one and the same; name them "
            "with [site] id if their order may differ"
        )
    first = parts[0].image
    if len(set(first.tolist())) > 1 and any(np.array_equal(part.image, first) for part in parts[1:]):
        found.append(
            "two files show the same images in the same order: if they hold the same presentations of other sites, say "
            'join = "site" in [responses]'
        )
    return found


def _refuse_twice(parts: Sequence[ImportedTable]) -> None:
    for number, part in enumerate(parts):
        for earlier, other in enumerate(parts[:number]):
            if np.array_equal(part.image, other.image) and _equal(part.values, other.values):
                raise files_differ(
                    f"file {number + 1}",
                    f"the numbers of file {earlier + 1} once more",
                    "other presentations in every file",
                    fix="leave one of both out",
                )


def stated_of(told: ImportMap) -> dict[str, Any]:
    """Attributes of responses/1 that the map states."""
    stated = {"subject": told.subject, "session_id": told.session, "silent_trials": told.silent_trials}
    return {name: value for name, value in stated.items() if value is not None}


def _below(parts: Sequence[ImportedTable]) -> ImportedTable:
    first = parts[0]
    order = []
    for number, part in enumerate(parts):
        if set(part.site_id) != set(first.site_id) or len(part.site_id) != len(first.site_id):
            lacking = sorted(set(first.site_id) ^ set(part.site_id))
            raise files_differ(
                f"file {number + 1}",
                f"{len(part.site_id)} sites, where the first file has {len(first.site_id)}"
                + (f" (only one has {', '.join(lacking[:5])})" if lacking else ""),
                "the same sites in every file",
                fix='import the files one by one, take the common sites with [site] rows, or say join = "site"',
            )
        place = {site: i for i, site in enumerate(part.site_id.tolist())}
        order.append(np.array([place[site] for site in first.site_id.tolist()]))
    _refuse_twice(parts)
    _same_columns(parts, "trial")
    _same_edges(parts)
    return replace(
        first,
        values=np.concatenate([p.values[:, o] for p, o in zip(parts, order, strict=True)]),
        image=np.concatenate([p.image for p in parts]),
        trial={name: np.concatenate([p.trial[name] for p in parts]) for name in first.trial},
        baseline=_baseline(parts, order),
        psth=_psth(parts, order),
    )


def _beside(parts: Sequence[ImportedTable]) -> ImportedTable:
    first = parts[0]
    for number, part in enumerate(parts):
        same = len(part.image) == len(first.image) and bool(np.all(part.image == first.image))
        same &= all(name in part.trial and _equal(part.trial[name], first.trial[name]) for name in first.trial)
        if not same:
            raise files_differ(
                f"file {number + 1}",
                "other presentations than in the first file",
                'the same images in the same order in every file, since join = "site"',
                fix='say join = "trial" where the files are days of one recording',
            )
    _same_columns(parts, "site")
    _same_edges(parts)
    ids = np.concatenate([p.site_id for p in parts])
    if len(set(ids.tolist())) < len(ids) and all(p.site_id[0] == first.site_id[0] for p in parts):
        raise files_differ(
            "the files",
            f"the site {str(first.site_id[0])!r} in each of them",
            "a name of its own for every site",
            fix="name the sites: [site] id, from an array of the files",
        )
    baselines = [p.baseline for p in parts if p.baseline is not None]
    psths = [p.psth for p in parts if p.psth is not None]
    return replace(
        first,
        values=np.concatenate([p.values for p in parts], axis=1),
        site_id=ids,
        site={name: np.concatenate([p.site[name] for p in parts]) for name in first.site},
        baseline=np.concatenate(baselines, axis=-1) if len(baselines) == len(parts) else None,
        psth=Psth(edges_ms=psths[0].edges_ms, values=np.concatenate([p.values for p in psths])) if psths else None,
    )


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


def _same_columns(parts: Sequence[ImportedTable], group: str) -> None:
    for number, part in enumerate(parts):
        if set(getattr(part, group)) != set(getattr(parts[0], group)) or part.stored != parts[0].stored:
            raise files_differ(
                f"file {number + 1}",
                "other columns or another storage of numbers than in the first file",
                "files that were made in one way",
                fix="import the files one by one",
            )


def _same_edges(parts: Sequence[ImportedTable]) -> None:
    edges = [p.time_bin_edges_ms for p in parts]
    first = edges[0]
    for number, other in enumerate(edges):
        if first is not None and (other is None or other.shape != first.shape or not np.allclose(other, first)):
            raise files_differ(
                f"file {number + 1}", "other time bins", "the same bins in every file", fix="import it alone"
            )


def _baseline(parts: Sequence[ImportedTable], order: list[NDArray[Any]]) -> NDArray[Any] | None:
    """Per presentation: a baseline per site holds for the rows of its own file."""
    found = []
    for part, places in zip(parts, order, strict=True):
        if part.baseline is None:
            return None
        values = part.baseline[..., places]
        found.append(values if values.ndim == 2 else np.tile(values, (len(part.values), 1)))
    return np.concatenate(found)


def _psth(parts: Sequence[ImportedTable], order: list[NDArray[Any]]) -> Psth | None:
    curves = [(p.psth, o, len(p.values)) for p, o in zip(parts, order, strict=True) if p.psth is not None]
    if len(curves) < len(parts) or any(c.values.shape != curves[0][0].values.shape for c, _, _ in curves):
        return None
    mean = np.average([c.values[o] for c, o, _ in curves], axis=0, weights=[n for _, _, n in curves])
    return Psth(edges_ms=curves[0][0].edges_ms, values=mean)
