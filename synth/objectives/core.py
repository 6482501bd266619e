"""The grammar that composes objectives.

An `Objective` is a list of rows; row *i* scores image *i*. Rows are weighted sums of terms, so that ``+``, ``-`` and
scalar ``*`` compose them and a JSON description holds all of it. Nothing is known about an encoder until `bind`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .bound import BoundObjective, check_standardisation, column_of, group_terms
from .rows import SCHEMA, Row, Term, add_rows, describe_row, read_row, site_name

__all__ = ["Objective", "against", "cautious"]


@dataclass(frozen=True)
class Objective:
    """Rows to be optimised, one image per row. Made by the factories of this module, composed with ``+ - * |``."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        if len(self) != len(other):
            raise ValueError(
                f"cannot add objectives of {len(self)} and {len(other)} rows: + adds row by row. Use a | b to put rows "
                "one after the other, or give both the same sites"
            )
        return Objective(tuple(add_rows(a, b) for a, b in zip(self.rows, other.rows, strict=True)))

    def __sub__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return self + (-1.0 * other)

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return Objective(
            tuple(
                replace(row, terms=tuple(replace(t, weight=float(factor) * t.weight) for t in row.terms))
                for row in self.rows
            )
        )

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __or__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(self.rows + other.rows)

    def __getitem__(self, index: int | slice) -> Objective:
        return self._whole(self.rows[index] if isinstance(index, slice) else (self.rows[index],))

    def take(self, indices: Iterable[int]) -> Objective:
        """The rows `indices`, in that order."""
        return self._whole(tuple(self.rows[int(i)] for i in indices))

    def _whole(self, rows: tuple[Row, ...]) -> Objective:
        """`rows`, refused where they hold a part of a group."""
        sizes = Counter(row.group for row in self.rows)
        parts = [g for g, n in Counter(row.group for row in rows).items() if g and n % sizes[g]]
        if parts:
            raise ValueError(
                f"{len(rows)} rows with a part of the group {parts[0]!r}, which has {sizes[parts[0]]} rows; the images "
                "of a group are made together: take all of its rows"
            )
        return Objective(rows)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Runs (begin, end) of rows that can be optimised apart: single rows, or whole groups."""
        last = {row.group: i for i, row in enumerate(self.rows) if row.group}
        spans, begin, end = [], 0, 0
        for i, row in enumerate(self.rows):
            end = max(end, last.get(row.group, i) + 1)
            if i + 1 == end:
                spans.append((begin, end))
                begin = end
        return tuple(spans)

    def repeat(self, count: int) -> Objective:
        """Every row `count` times, copies of a row side by side; a group becomes `count` groups."""
        return Objective(
            tuple(
                replace(row, group=f"{row.group}/{copy}") if row.group and count > 1 else row
                for row in self.rows
                for copy in range(count)
            )
        )

    @property
    def row_names(self) -> tuple[str, ...]:
        """One name per row, such as ``stretch:v4_012``."""
        return tuple(row.name for row in self.rows)

    @property
    def kinds(self) -> tuple[str, ...]:
        """One kind per row; the kinds of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(t.kind for t in row.terms)) for row in self.rows)

    @property
    def targets(self) -> tuple[str, ...]:
        """One target site per row; the targets of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(site_name(t.site) for t in row.terms)) for row in self.rows)

    def describe(self) -> dict[str, Any]:
        """A JSON-able description from which `from_description` builds the same objective."""
        return {"schema": SCHEMA, "rows": [describe_row(row) for row in self.rows]}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> Objective:
        """The objective that `describe` described."""
        if description.get("schema") != SCHEMA:
            raise ValueError(f"objective description of schema {description.get('schema')!r}; expected {SCHEMA!r}")
        return Objective(tuple(read_row(row) for row in description["rows"]))

    def bind(
        self, site_ids: Sequence[str] | None = None, mean: Tensor | None = None, sd: Tensor | None = None
    ) -> BoundObjective:
        """Bind the sites to columns of an encoder's responses.

        Parameters
        ----------
        site_ids : sequence of U str, or None
            The encoder's sites in column order; None leaves integer columns only.
        mean, sd : Tensor of shape (U,), or None
            Mean and SD of the responses to natural images, which give the z units; None = 0 and 1.

        Raises
        ------
        ValueError
            A site that is not there or is named twice, a mean or SD that cannot standardise, or fewer sites than a row
            compares.
        """
        columns = [[column_of(t.site, site_ids) for t in row.terms] for row in self.rows]
        check_standardisation(mean, sd, site_ids)
        groups: dict[tuple[object, ...], list[tuple[int, int, Term]]] = {}
        for i, row in enumerate(self.rows):
            for t, column in zip(row.terms, columns[i], strict=True):
                groups.setdefault((t.kind, t.settings, t.among, t.values, t.function), []).append((i, column, t))
        numbers = {group: i for i, group in enumerate(dict.fromkeys(row.group for row in self.rows if row.group))}
        sets = [numbers.get(row.group, len(numbers) + i) for i, row in enumerate(self.rows)]
        bound = BoundObjective(
            groups=tuple(group_terms(members, sets, site_ids) for members in groups.values()),
            kappa=torch.tensor([row.kappa for row in self.rows], dtype=torch.float32),
            versus=torch.tensor([row.versus for row in self.rows]),
            mean=None if mean is None else mean.detach().clone(),  # made under inference_mode, it has no gradients
            sd=None if sd is None else sd.detach().clone(),
            careful=any(row.kappa for row in self.rows),
            contrasts=any(row.versus for row in self.rows),
        )
        known = next((len(x) for x in (site_ids, mean, sd) if x is not None), None)
        if known is not None:
            bound.check_sites(known)
        return bound


def cautious(objective: Objective, kappa: float) -> Objective:
    """Take `kappa` SDs over the members of an ensemble from the score of each row: mean - kappa SD.

    Nothing changes for an encoder of one member. The SD is the sample SD (divisor M - 1) of the members' scores.
    """
    if not kappa >= 0:
        raise ValueError(f"kappa {kappa}; expected a number not below 0")
    return Objective(tuple(replace(row, kappa=float(kappa)) for row in objective.rows))


def against(objective: Objective) -> Objective:
    """Tell two encoders apart: the score of the first minus the score of the second (after Golan et al. 2020).

    For an encoder whose responses hold exactly two members, such as ``lambda x: torch.stack([first(x), second(x)])``.
    Use ``against(o) | against(-o)`` for both directions and add `within` for images that neither takes for unnatural.
    """
    return Objective(tuple(replace(row, versus=True) for row in objective.rows))
