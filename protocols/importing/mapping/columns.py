"""Images, presentations and sites of one file: the columns beside the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grid import Grid
from .names import refuse_imageless, renumbered, without_folders, without_prefix
from .refusals import bad_ids, bad_value
from .sources import Place, meant, whole
from .tables import Filter, ImageSet, ImportMap

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_YES, _NO = ("1", "true", "good", "valid", "yes"), ("0", "false", "bad", "invalid", "no")


def taken(filters: Sequence[Filter], grid: Grid, place: Place, *, of: str) -> NDArray[np.bool_]:
    """Which rows (T,) or sites (U,) the filters of the map take."""
    of_rows = of == "presentation"
    lengths = grid.row_lengths if of_rows else grid.site_lengths
    to = grid.to_rows if of_rows else grid.to_sites
    count = len(grid.values) if of_rows else grid.values.shape[1]
    kept = np.ones(count, dtype=np.bool_)
    where = "trial.rows" if of_rows else "site.rows"
    for condition in filters:
        if condition.index is not None:
            positions = whole(place.values(condition.index), where) - int(condition.counted_from or 0)
            if positions.size and (positions.min() < 0 or positions.max() >= count):
                raise bad_ids(
                    f"{place.name} {where}",
                    f"positions {positions.min()} to {positions.max()} (counted from 0)",
                    f"positions among {count} {of}s",
                    fix="correct counted_from in the map, or name another list",
                )
            here = np.zeros(count, dtype=np.bool_)
            here[positions] = True
        else:
            assert condition.source is not None
            values = to(place.values(condition.source, lengths=lengths, where=where), where)
            here = _passes(condition, values, where)
        kept &= here
    return kept


def _passes(condition: Filter, values: NDArray[Any], where: str) -> NDArray[np.bool_]:
    here = np.ones(len(values), dtype=np.bool_)
    if condition.equals is not None:
        wanted = {_same(v) for v in condition.equals}
        here &= np.array([_same(v) in wanted for v in values.tolist()], dtype=np.bool_)
    for limit, above in ((condition.at_least, True), (condition.at_most, False)):
        if limit is not None:
            if values.dtype.kind not in "iufb":
                raise bad_value(
                    where, f"text such as {str(values[0])!r}", "numbers to compare", fix="name a column of numbers"
                )
            here &= (values >= limit) if above else (values <= limit)
    return here


def _same(value: Any) -> Any:
    """A value as filters compare it: 1, 1.0 and true are one; text as it stands."""
    return value if isinstance(value, str) else float(value)


def shown_images(
    told: ImportMap, grid: Grid, place: Place, *, names: Sequence[str] | None, notes: list[str]
) -> tuple[NDArray[Any], NDArray[np.bool_], int]:
    """The image of every row (T,): names, or positions in the sorted photographs; which rows show one; the base.

    Raises
    ------
    DataError
        A22: numbers without a word about where they count from; positions outside the list; a row in no set, or in two.
    """
    assert told.image is not None
    where = place.name
    if told.image.order == "sorted":
        if names is not None and len(names) != grid.images:
            raise bad_ids(
                where,
                f"{grid.images} images in the responses and {len(names)} photographs",
                "as many photographs as images, since position i is the i-th photograph",
                fix="give the folder with exactly the images that were shown, or a list of names: [image] id",
            )
        notes.append(f"{where}: position i of the axis image is the i-th of {grid.images} sorted file names (from 0)")
        return grid.position, np.ones(len(grid.position), dtype=np.bool_), 0
    sets = told.image.lists()
    found = [_one_set(s, grid, place, notes=notes, several=len(sets) > 1) for s in sets]
    if len(found) == 1:
        images, shown = found[0]
        base = int(sets[0].counted_from or 0)
    else:
        images, shown = _of_sets(found, where)
        base = 0
    if told.image.every:
        refuse_imageless(shown, where, [s.id.text() for s in sets])
    if not shown.all():
        notes.append(f"{where}: {int((~shown).sum())} presentations show no image and were left out")
    if images.dtype.kind == "U" and told.image.basename:
        images = without_folders(images)
        notes.append(f"{where}: folders in the names of images were left out")
    if images.dtype.kind == "U" and told.image.prefix:
        images = without_prefix(images, told.image.prefix, where=where, notes=notes)
    return images, shown, base


def _one_set(
    told: ImageSet, grid: Grid, place: Place, *, notes: list[str], several: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    where = f"{place.name} image.id"
    raw = grid.to_rows(place.values(told.id, lengths=grid.row_lengths, where="image.id"), "image.id")
    nothing = {_same(v) for v in told.none}
    shown = np.array([_same(v) not in nothing for v in raw.tolist()], dtype=np.bool_)
    if raw.dtype.kind == "U":
        shown &= (raw != "") if several else True
        if told.counted_from is not None:
            raise bad_ids(
                where, f"names such as {str(raw[0])!r}", "positions", fix="leave counted_from out: these are names"
            )
        return _formatted(raw, told, where=where), shown
    numbers = whole(raw, where)
    if raw.dtype.kind == "f":
        shown &= np.isfinite(raw)
    if told.counted_from is None:
        if told.format is None:
            raise bad_ids(
                where,
                f"numbers from {numbers[shown].min()} to {numbers[shown].max()}",
                "a word about what they count",
                fix="say counted_from = 0 or 1 where they are positions (with names where a list holds the names), or "
                'format = "{:04d}.png" where the pictures are called by these numbers',
            )
        return _formatted(numbers, told, where=where), shown
    if several:
        shown &= numbers >= told.counted_from
    if told.names is None and told.format is not None:
        numbers = renumbered(numbers, shown, base=told.counted_from, named_from=int(told.named_from or 0), where=where)
        notes.append(f"{where}: numbers count from {told.counted_from}, names of pictures from {told.named_from}")
        return _formatted(numbers, told, where=where), shown
    if told.names is None:
        if several:
            raise bad_ids(
                where, "sets without names", "a list of names for each set", fix="name the lists: names = ..."
            )
        return numbers, shown
    return _listed(told, numbers, shown, place=place, notes=notes), shown


def _listed(
    told: ImageSet,
    numbers: NDArray[np.int64],
    shown: NDArray[np.bool_],
    *,
    place: Place,
    notes: list[str],
) -> NDArray[np.str_]:
    """Names by their positions in a list."""
    assert told.names is not None
    base = int(told.counted_from or 0)
    listed = [str(v) for v in _formatted(place.values(told.names), told, where=f"{place.name} image.names")]
    used = numbers[shown] - base
    if used.size and (used.min() < 0 or used.max() >= len(listed)):
        raise bad_ids(
            f"{place.name} image.id",
            f"positions from {used.min() + base} to {used.max() + base}",
            f"positions in a list of {len(listed)} names, counted from {base}",
            fix="correct counted_from, name another list, or say which numbers mean no image: none = [0]",
        )
    notes.append(
        f"{place.name}: positions (counted from {base}) were joined with {told.names.text()} "
        f"({base}: {listed[0]!r}, {base + len(listed) - 1}: {listed[-1]!r})"
    )
    return np.array([listed[i - base] if ok else "" for i, ok in zip(numbers, shown, strict=True)], dtype=np.str_)


def _of_sets(found: list[tuple[NDArray[Any], NDArray[np.bool_]]], where: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    shown = np.stack([s for _, s in found])
    twice = np.flatnonzero(shown.sum(axis=0) > 1)
    if twice.size:
        raise bad_ids(
            where,
            f"{twice.size} presentations in two sets, such as row {twice[0] + 1} (counted from 1)",
            "one image per presentation",
            fix="correct the sets; 0 or NaN mean that a presentation does not belong to a set",
        )
    images = np.array([""] * shown.shape[1], dtype=object)
    for names, here in found:
        images[here] = names[here]
    return images.astype(np.str_), np.array(shown.any(axis=0), dtype=np.bool_)


def _formatted(values: NDArray[Any], told: ImageSet, *, where: str) -> NDArray[np.str_]:
    if told.format is None:
        return values.astype(np.str_)
    if ":" in told.format and values.dtype.kind == "U":
        word = next((v for v in values.tolist() if v and not v.strip().isdecimal()), None)
        if word is not None:
            raise bad_value(
                where,
                f"{word!r}, and format = {told.format!r}, which has a place for a number",
                "numbers",
                fix='leave format out where these are the names of the pictures; "{}.png" adds an ending to text',
            )
        return np.array([told.format.format(int(v)) if v else "" for v in values.tolist()], dtype=np.str_)
    number = ":" in told.format
    return np.array([told.format.format(int(v) if number else v) for v in values.tolist()], dtype=np.str_)


def trial_columns(told: ImportMap, grid: Grid, place: Place, *, notes: list[str]) -> dict[str, NDArray[Any]]:
    """Columns of ``trial/`` of responses/1, (T,) each."""
    table, found = told.trial, {}
    asked = {"block": table.block, "rep": table.rep, "valid": table.valid, "on_ms": table.on_ms, "onset_s": table.onset}
    asked["prev_image_id"] = table.previous
    for name, source in asked.items():
        if source is not None:
            key = f"trial.{name}"
            found[name] = grid.to_rows(place.values(source, lengths=grid.row_lengths, where=key), key)
    if "onset_s" in found and table.onset_unit != "s":
        found["onset_s"] = found["onset_s"].astype(np.float64) * SECONDS[table.onset_unit]
        notes.append(f"{place.name}: onsets in {table.onset_unit} were turned into seconds")
    for name in ("block", "rep"):
        if name in found:
            found[name] = whole(found[name], f"trial.{name}")
    if "valid" in found:
        found["valid"] = _valid(told, found["valid"])
    if "prev_image_id" in found and found["prev_image_id"].dtype.kind != "U":
        raise bad_value("trial.previous", "numbers", "names", fix="name the list that holds the names, or leave it out")
    averaged = told.responses.averaged_over if told.responses is not None else None
    if averaged is not None:
        if isinstance(averaged, int | float):
            values = np.full(len(grid.values), averaged)
        else:
            key = "responses.averaged_over"
            values = grid.to_rows(place.values(averaged, lengths=grid.row_lengths, where=key), key)
        found["averaged_over"] = whole(values, "responses.averaged_over")
        _check_averages(told, grid, found["averaged_over"], where=place.name, notes=notes)
    return found


def _check_averages(told: ImportMap, grid: Grid, over: NDArray[np.int64], *, where: str, notes: list[str]) -> None:
    """A mean count times its presentations is a whole number: refuse single ones, and tell of others, that are not."""
    if told.unit != "spikes" or grid.slabs is not None or grid.values.dtype.kind != "f":
        return
    values = meant(grid.values, grid.stored).astype(np.float64)
    known = np.isfinite(values)
    each = over.reshape(-1, *[1] * (values.ndim - 1))
    sums = np.where(known, values, 0.0) * each
    slack = each * np.maximum(np.abs(values), 1) * 4 * np.finfo(grid.values.dtype).eps + 1e-9
    broken = known & (np.abs(sums - np.rint(sums)) > slack)
    single = broken & (each == 1)
    if single.any():
        raise bad_value(
            "responses.averaged_over",
            f"1 (single presentations), and spikes such as {values[single][0]:g}",
            "whole numbers of spikes, or means over more presentations",
            fix='say how many presentations are behind each row, or name the unit that it is ("spikes/s", "au")',
        )
    if broken.any():
        rows = broken.reshape(len(values), -1).any(axis=1)
        notes.append(
            f"{where}: means times averaged_over are no whole numbers of spikes in {int(rows.sum())} of {len(rows)} "
            "rows: these are means over another number of presentations, or no counts"
        )


def _valid(told: ImportMap, values: NDArray[Any]) -> NDArray[np.uint8]:
    if told.trial.valid_is is not None:
        wanted = {_same(v) for v in told.trial.valid_is}
        return np.array([_same(v) in wanted for v in values.tolist()], dtype=np.uint8)
    words = [str(v).strip().lower() for v in values.tolist()]
    words = [w.removesuffix(".0") for w in words]
    other = next((w for w in words if w not in _YES + _NO), None)
    if other is not None:
        raise bad_value(
            "trial.valid",
            f"the value {other!r}",
            "0 and 1, or true and false",
            fix="say which values mean that a presentation is used: valid_is = [...]",
        )
    return np.array([w in _YES for w in words], dtype=np.uint8)


def site_ids(told: ImportMap, grid: Grid, place: Place, *, notes: list[str]) -> NDArray[np.str_]:
    """The name of every site, (U,)."""
    count, prefix = grid.values.shape[1], told.site.prefix
    if told.site.id is not None:
        ids = grid.to_sites(place.values(told.site.id, lengths=grid.site_lengths, where="site.id"), "site.id")
    elif grid.site_names is not None:
        ids = grid.site_names
    else:
        width = max(3, len(str(count)))
        prefix = prefix or "site_"
        notes.append(f"{place.name}: the sites have no names: {prefix}{1:0{width}d} to {prefix}{count:0{width}d}")
        return np.array([f"{prefix}{n:0{width}d}" for n in range(1, count + 1)], dtype=np.str_)
    if ids.dtype.kind == "f":
        ids = whole(ids, "site.id")
    return np.array([f"{prefix}{i}" for i in ids.tolist()], dtype=np.str_)


def site_columns(told: ImportMap, grid: Grid, place: Place) -> dict[str, NDArray[Any]]:
    """Columns of ``site/`` of responses/1, (U,) each."""
    asked = {name: getattr(told.site, name) for name in ("area", "electrode", "x_um", "y_um", "z_um")}
    asked |= told.site.columns
    found = {}
    for name, source in asked.items():
        if source is not None:
            key = f"site.{name}"
            lengths = (grid.values.shape[1], *grid.site_lengths) if source.value is not None else grid.site_lengths
            values = place.values(source, lengths=lengths, where=key)
            found[name] = values if source.value is not None else grid.to_sites(values, key)
    return found
