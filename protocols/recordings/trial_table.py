"""Trials made ready for a test: canonical order, block means removed, each image's trials split in two halves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Bools, Floats, Ints, row_blocks, site_blocks

from .responses import Responses

HALVES = (0, 1)  # choose on half 0, test on half 1


@dataclass(frozen=True)
class TrialTable:
    """The usable trials of a round in an order that depends on their content alone.

    Attributes
    ----------
    values : array of shape (T, U)
        Responses, block means removed.
    blocks : int array of shape (T,)
        Codes 0, 1, ... of the blocks.
    halves : int array of shape (T,)
        0 or 1: the half of its image's trials.
    image_rows : dict of image id to int array
        The rows of each image, block by block, in random order within a block.
    site_ids : tuple of U str
        Sorted.
    baseline : array of shape (T, U), or None
        Responses before the stimulus.
    notes : tuple of str
        What was decided on blocks.
    shifts : array of shape (n_blocks, U), or None
        What the removal of block means added to the values of each block; None: nothing.
    """

    values: Floats
    blocks: Ints
    halves: Ints
    image_rows: dict[str, Ints]
    site_ids: tuple[str, ...]
    baseline: Floats | None = None
    notes: tuple[str, ...] = ()
    shifts: Floats | None = None

    @property
    def n_blocks(self) -> int:
        """Number of blocks (strata)."""
        return int(self.blocks.max(initial=-1)) + 1

    def column(self, site_id: str) -> Floats:
        """Responses of one site, shape (T,)."""
        return self.values[:, self.site_ids.index(site_id)]

    def silence(self, site_id: str) -> Floats:
        """What a response of 0 is among the values of one site, trial by trial, shape (T,)."""
        if self.shifts is None:
            return np.zeros(len(self.values))
        return np.asarray(self.shifts[self.blocks, self.site_ids.index(site_id)])

    def rows(self, image_id: str, usable: Bools | None = None, half: int | None = None) -> Ints:
        """Rows of one image: those that are `usable`, of one `half` or of both."""
        rows = self.image_rows.get(image_id, np.empty(0, dtype=np.int64))
        if usable is not None:
            rows = rows[usable[rows]]
        return rows if half is None else rows[self.halves[rows] == half]

    def rows_of(self, image_ids: Sequence[str], usable: Bools | None = None) -> Ints:
        """Rows of several images, one image after the other."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(self.rows(i, usable) for i in image_ids)])


def trial_table(responses: Responses, image_ids: Sequence[str], *, seed: int = 0) -> TrialTable:
    """Order, correct and split the usable trials that showed one of `image_ids`.

    Nothing depends on the order of trials or sites in `responses`: trials are sorted by block, repeat, image, onset
    and, where all these agree, by their values.
    """
    usable = responses.usable()
    shown = np.flatnonzero(usable.index(list(image_ids)) >= 0)
    sites = tuple(sorted(responses.site_ids))
    usable = _in_order(usable, shown[_canonical_order(usable, shown, sites)], sites)
    blocks, notes = _blocks(usable)
    shifts = block_shifts(usable.values, blocks)
    image_rows, halves = _split(usable.image_ids, blocks, seed)
    baseline = usable.baseline if usable.baseline is not None and usable.baseline.ndim == 2 else None
    for rows in row_blocks(*usable.values.shape):
        usable.values[rows] += shifts[blocks[rows]]
    return TrialTable(
        values=usable.values,
        blocks=blocks,
        halves=halves,
        image_rows=image_rows,
        site_ids=usable.site_ids,
        baseline=baseline,
        notes=notes,
        shifts=shifts,
    )


def image_means(table: TrialTable, image_ids: Sequence[str]) -> Floats:
    """Mean response of each image, shape (images, U); NaN where nothing was recorded."""
    means = np.full((len(image_ids), len(table.site_ids)), np.nan)
    for i, image in enumerate(image_ids):
        values = table.values[table.rows(image)]
        finite = np.isfinite(values)
        sums, counts = np.where(finite, values, 0.0).sum(0), finite.sum(0)
        means[i] = np.divide(sums, counts, out=means[i], where=counts > 0)
    return means


def _in_order(responses: Responses, rows: Ints, sites: Sequence[str]) -> Responses:
    """The trials `rows` of `sites`, in these orders, with a table of their own: the only copy that is made."""
    columns = [responses.site_ids.index(site) for site in sites]
    values = np.empty((len(rows), len(columns)))
    for part in row_blocks(*values.shape):
        values[part] = responses.values[rows[part]][:, columns]
    without = replace(responses, values=np.empty((len(responses.values), 0)), site_ids=(), source_site_ids=())
    baseline = responses.baseline
    without = replace(without, baseline=None if baseline is None else baseline[..., columns]).select(rows)
    return replace(without, values=values, site_ids=tuple(sites), source_site_ids=())


def _canonical_order(responses: Responses, shown: Ints, sites: Sequence[str]) -> Ints:
    """Order of the trials `shown`: by their names, and by their values, site by site, where all these agree."""
    named = [c for c in (responses.onset_s, responses.image_ids, responses.rep, responses.block) if c is not None]
    named = [column[shown] for column in named]
    order = np.lexsort(named)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in named:
        after, before = column[order[1:]], column[order[:-1]]
        same &= (after == before) | ((after != after) & (before != before))  # NaN sorts as one value
    group = np.concatenate([[0], np.cumsum(~same)])[: len(order)]
    tied = np.flatnonzero(np.append(same, False)[: len(order)] | np.append(False, same)[: len(order)])
    if len(tied):
        rows = order[tied]
        values = (responses.values[shown[rows], responses.site_ids.index(site)] for site in reversed(sites))
        order[tied] = rows[np.lexsort([*values, group[tied]])]
    return order


def block_codes(responses: Responses) -> Ints:
    """Blocks as codes 0.. (unknown ones together), all 0 where there is no block column; shape (T,)."""
    if responses.block is None:
        return np.zeros(len(responses.values), dtype=np.int64)
    return np.unique(np.maximum(responses.block, -1), return_inverse=True)[1].astype(np.int64)


def _blocks(responses: Responses) -> tuple[Ints, tuple[str, ...]]:
    codes = block_codes(responses)
    if responses.block is None:
        return codes, ("no block column: labels are permuted over the whole round, slow drift is not removed",)
    unknown = int((responses.block < 0).sum())
    note = f"{unknown} trials without a block number form a stratum of their own"
    return codes, (note,) if unknown else ()


def remove_block_means(values: Floats, blocks: Ints) -> Floats:
    """Subtract each block's mean over all its trials and add the mean of all trials; `values` (T, U), NaN kept.

    The correction is the same for every image, so that it does not favour any label.
    """
    return np.asarray(values + block_shifts(values, blocks)[blocks]) if len(values) else values


def block_shifts(values: Floats, blocks: Ints) -> Floats:
    """What `remove_block_means` adds to the `values` (T, U) of each block, shape (n_blocks, U)."""
    shifts = np.zeros((int(blocks.max(initial=-1)) + 1, values.shape[1]))
    for columns in site_blocks(*values.shape):
        finite = np.isfinite(values[:, columns])
        filled = np.where(finite, values[:, columns], 0.0)
        grand = filled.sum(0) / np.maximum(finite.sum(0), 1)
        for block in range(len(shifts)):
            rows = blocks == block
            shifts[block, columns] = -(filled[rows].sum(0) / np.maximum(finite[rows].sum(0), 1) - grand)
    return shifts


def _split(image_ids: NDArray[np.str_], blocks: Ints, seed: int) -> tuple[dict[str, Ints], Ints]:
    """Halve every image's trials of every block at random; odd trials of successive blocks go to each half in turn."""
    halves = np.zeros(len(image_ids), dtype=np.int64)
    image_rows = {}
    order = np.argsort(image_ids, kind="stable")
    images, first_rows, counts = np.unique(image_ids[order], return_index=True, return_counts=True)
    for image, start, count in zip(images, first_rows, counts, strict=True):
        ordered, odd = [], _digest(seed, image, "odd") % 2
        rows = order[start : start + count]
        for block in np.unique(blocks[rows]):
            here = rows[blocks[rows] == block]
            keys = [_digest(seed, image, block, ordinal) for ordinal in range(len(here))]
            shuffled = here[np.argsort(np.array(keys, dtype=np.uint64), kind="stable")]
            first = (len(here) + odd) // 2
            odd ^= len(here) % 2
            halves[shuffled[first:]] = 1
            ordered.append(shuffled)
        image_rows[str(image)] = np.concatenate(ordered)
    return image_rows, halves


def _digest(*parts: object) -> int:
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
