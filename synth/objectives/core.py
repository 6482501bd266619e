"""Rows, terms and the grammar that composes them; binding to the columns of an encoder.

An `Objective` is a list of rows; row *i* scores image *i*. Rows are weighted sums of terms, so that ``+``, ``-`` and
scalar ``*`` compose them and a JSON description holds all of it. Nothing is known about an encoder until `bind`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .terms import KINDS, TermFunction

__all__ = ["BoundObjective", "Objective", "Row", "Site", "Term", "against", "cautious", "nearest", "site_name"]

Site = str | int

SCHEMA = "objective/1"


def site_name(site: Site) -> str:
    """The id of a site; an integer column that has no name is called ``column_3``."""
    return site if isinstance(site, str) else f"column_{site}"


@dataclass(frozen=True)
class Term:
    """One weighted term of a row: what is asked (`kind`) of which `site`.

    `among`: other sites that it names (empty = all), with one number each in `values`; `label` tells rows of one kind and site apart.
    `raw`: the function reads responses in the encoder's unit.
    """

    kind: str
    site: Site
    weight: float = 1.0
    settings: tuple[tuple[str, float], ...] = ()
    among: tuple[Site, ...] = ()
    values: tuple[float, ...] = ()
    label: str = ""
    function: TermFunction = field(default=lambda *_: torch.empty(0), compare=False, repr=False)
    raw: bool = field(default=False, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``stretch:v4_012``, with its weight in front where that is not 1."""
        bare = f"{self.kind}:{site_name(self.site)}{self.label}"
        return bare if self.weight == 1.0 else f"{self.weight:g}*{bare}"


@dataclass(frozen=True)
class Row:
    """What one image is optimised for.

    `kappa` weighs the disagreement of an ensemble against it; `versus`: the first member's score less the second's counts, instead of
    the mean over members; rows of one `group` ("" = none) are optimised together and never separated.
    """

    terms: tuple[Term, ...]
    kappa: float = 0.0
    versus: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        """The names of the terms, joined."""
        return " + ".join(t.name for t in self.terms)


@dataclass(frozen=True)
class Objective:
    """Rows to be optimised, one image a row. Made by the factories of this module, composed with ``+ - * |``."""

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
        return Objective(tuple(_add_rows(a, b) for a, b in zip(self.rows, other.rows, strict=True)))

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
                f"{len(rows)} rows with a part of the group {parts[0]!r}, which has {sizes[parts[0]]} rows; the images of a group "
                "are made together: take all of its rows"
            )
        return Objective(rows)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """The smallest runs of rows that can be optimised apart: one row each, or all from a group's first row to its last."""
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
        """One name a row, such as ``stretch:v4_012``."""
        return tuple(row.name for row in self.rows)

    @property
    def kinds(self) -> tuple[str, ...]:
        """One kind a row; the kinds of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(t.kind for t in row.terms)) for row in self.rows)

    @property
    def targets(self) -> tuple[str, ...]:
        """One target site a row; the targets of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(site_name(t.site) for t in row.terms)) for row in self.rows)

    def describe(self) -> dict[str, Any]:
        """A JSON-able description from which `from_description` builds the same objective."""
        return {"schema": SCHEMA, "rows": [_describe_row(row) for row in self.rows]}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> Objective:
        """The objective that `describe` described."""
        if description.get("schema") != SCHEMA:
            raise ValueError(f"objective description of schema {description.get('schema')!r}; expected {SCHEMA!r}")
        return Objective(tuple(_read_row(row) for row in description["rows"]))

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
        """
        columns = [[_column(t.site, site_ids) for t in row.terms] for row in self.rows]
        _check_standardisation(mean, sd, site_ids)
        groups: dict[tuple[object, ...], list[tuple[int, int, Term]]] = {}
        for i, row in enumerate(self.rows):
            for t, column in zip(row.terms, columns[i], strict=True):
                groups.setdefault((t.kind, t.settings, t.among, t.values, t.function), []).append((i, column, t))
        known = {group: i for i, group in enumerate(dict.fromkeys(row.group for row in self.rows if row.group))}
        sets = [known.get(row.group, len(known) + i) for i, row in enumerate(self.rows)]
        return BoundObjective(
            groups=tuple(_group(members, sets, site_ids) for members in groups.values()),
            kappa=torch.tensor([row.kappa for row in self.rows]),
            versus=torch.tensor([row.versus for row in self.rows]),
            mean=None if mean is None else mean.detach(),
            sd=None if sd is None else sd.detach(),
        )


@dataclass(frozen=True)
class _Group:
    """Terms of one kind and one setting, evaluated together."""

    function: TermFunction
    raw: bool
    settings: dict[str, Any]  # numbers, and the tensors among (k,), values (k,), sets (n,)
    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    weights: Tensor  # (n,)

    def to(self, device: torch.device | str) -> _Group:
        """The same with its tensors on `device`."""
        settings = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.settings.items()}
        rows, columns, weights = (x.to(device) for x in (self.rows, self.columns, self.weights))
        return _Group(self.function, self.raw, settings, rows, columns, weights)


@dataclass(frozen=True)
class BoundObjective:
    """An objective whose sites are columns of one encoder's responses."""

    groups: tuple[_Group, ...]
    kappa: Tensor
    versus: Tensor
    mean: Tensor | None = None
    sd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.kappa)

    def to(self, device: torch.device | str) -> BoundObjective:
        """The same objective with its tensors on `device`."""
        mean, sd = (None if x is None else x.to(device) for x in (self.mean, self.sd))
        groups = tuple(g.to(device) for g in self.groups)
        return BoundObjective(groups, self.kappa.to(device), self.versus.to(device), mean, sd)

    def __call__(self, images: Tensor, responses: Tensor) -> Tensor:
        """One score an image.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
        responses : Tensor of shape (B, U), or (M, B, U) from an ensemble, in the encoder's unit

        Returns
        -------
        Tensor of shape (B,)
            Higher is better. Of an ensemble: mean - kappa SD of the members' scores (`cautious`), or the first member's less
            the second's (`against`).
        """
        if responses.device != self.kappa.device:
            return self.to(responses.device)(images, responses)
        self._check(images, responses)
        scores = self.per_member(images, responses)
        if bool(self.versus.any()) and (scores.dim() == 1 or len(scores) != 2):
            raise ValueError(
                f"responses of shape {tuple(responses.shape)} for an objective made by against(); expected two members, (2, images, "
                "sites), the encoders to be told apart"
            )
        if scores.dim() == 1:
            return scores
        reduced = scores.mean(0)
        if scores.shape[0] > 1 and bool(self.kappa.any()):
            # an SD of exactly zero has no gradient: its floor keeps the derivative finite
            reduced = reduced - self.kappa.to(scores) * scores.var(0).clamp_min(1e-12).sqrt()
        return torch.where(self.versus, scores[0] - scores[-1], reduced) if bool(self.versus.any()) else reduced

    def per_member(self, images: Tensor, responses: Tensor) -> Tensor:
        """Scores before the members are reduced: (B, U) -> (B,), (M, B, U) -> (M, B)."""
        z = responses
        if self.mean is not None:
            z = z - self.mean.to(z)
        if self.sd is not None:
            z = z / self.sd.to(z)
        total = z.new_zeros(z.shape[:-1])
        for group in self.groups:
            seen = responses if group.raw else z
            whole = len(group.rows) == len(self) and bool((group.rows.cpu() == torch.arange(len(self))).all())
            picked = (images, seen) if whole else (images[group.rows], seen.index_select(-2, group.rows))
            values = group.function(*picked, group.columns, group.settings)  # (..., n)
            total = total.index_add(-1, group.rows, group.weights.to(values) * values)
        return total

    def _check(self, images: Tensor, responses: Tensor) -> None:
        if responses.dim() not in (2, 3):
            raise ValueError(
                f"responses of shape {tuple(responses.shape)}; expected (images, sites) or (members, images, sites)"
            )
        if len(images) != len(self) or responses.shape[-2] != len(self):
            raise ValueError(
                f"{len(images)} images and responses to {responses.shape[-2]} for an objective of {len(self)} rows; "
                "expected one image a row. Slice the objective like the images: objective[i:j]"
            )
        largest = max(int(g.columns.max()) for g in self.groups)
        wrong = [len(x) for x in (self.mean, self.sd) if x is not None and len(x) != responses.shape[-1]]
        if largest >= responses.shape[-1] or wrong:
            raise ValueError(
                f"responses have {responses.shape[-1]} sites; expected "
                + (f"{wrong[0]}, the length of the natural mean and SD" if wrong else f"more than column {largest}")
            )


def cautious(objective: Objective, kappa: float) -> Objective:
    """Charge each row `kappa` SDs of disagreement between the members of an ensemble: mean - kappa SD.

    Nothing changes for an encoder of one member. The SD is the sample SD (divisor M - 1) of the members' scores.
    """
    if not kappa >= 0:
        raise ValueError(f"kappa {kappa}; expected a number not below 0")
    return Objective(tuple(replace(row, kappa=float(kappa)) for row in objective.rows))


def against(objective: Objective) -> Objective:
    """Tell two encoders apart: the score that the first gives less the score that the second gives (after Golan et al. 2020).

    For an encoder whose responses hold exactly two members, such as ``lambda x: torch.stack([first(x), second(x)])``. Use
    ``against(o) | against(-o)`` for both directions and add `within` for images that neither takes for unnatural.
    """
    return Objective(tuple(replace(row, versus=True) for row in objective.rows))


def nearest(name: str, known: Iterable[str]) -> str:
    """The phrase that names the nearest known name, for error messages."""
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}?" if close else "there are none"


def _add_rows(a: Row, b: Row) -> Row:
    if (a.kappa, a.versus) != (b.kappa, b.versus):
        raise ValueError(
            f"cannot add rows of kappa {a.kappa:g} and {b.kappa:g}, of against() {a.versus} and {b.versus} ({a.name} and {b.name}): "
            "apply cautious() and against() to the sum"
        )
    if a.group and b.group and a.group != b.group:
        raise ValueError(f"cannot add rows of the groups {a.group!r} and {b.group!r}: a row belongs to one group")
    return Row(a.terms + b.terms, a.kappa, a.versus, a.group or b.group)


def _describe_row(row: Row) -> dict[str, Any]:
    terms = []
    for t in row.terms:
        described = {"kind": t.kind, "site": t.site, "weight": t.weight, "settings": dict(t.settings)}
        more = {"among": list(t.among), "values": list(t.values), "label": t.label}
        terms.append(described | {k: v for k, v in more.items() if v})
    more_of_row = {"versus": row.versus, "group": row.group}
    return {"terms": terms, "kappa": row.kappa} | {k: v for k, v in more_of_row.items() if v}


def _read_row(row: Mapping[str, Any]) -> Row:
    terms: list[Term] = []
    for t in row["terms"]:
        if t["kind"] not in KINDS:
            raise ValueError(f"unknown objective {t['kind']!r}; {nearest(t['kind'], KINDS)}")
        settings = tuple(sorted((str(k), float(v)) for k, v in t["settings"].items()))
        among, values = tuple(t.get("among", ())), tuple(float(v) for v in t.get("values", ()))
        terms.append(
            Term(
                t["kind"],
                t["site"],
                float(t["weight"]),
                settings,
                among,
                values,
                str(t.get("label", "")),
                *KINDS[t["kind"]],
            )
        )
    return Row(tuple(terms), float(row["kappa"]), bool(row.get("versus", False)), str(row.get("group", "")))


def _column(site: Site, site_ids: Sequence[str] | None) -> int:
    if isinstance(site, str):
        known = [] if site_ids is None else list(site_ids)
        if site not in known:
            raise ValueError(
                f"unknown site {site!r}; {nearest(site, known)}"
                if known
                else f"site {site!r} is a name, but the encoder has no site_ids; use its integer column"
            )
        return known.index(site)
    if site < 0 or (site_ids is not None and site >= len(site_ids)):
        limit = "" if site_ids is None else f" below {len(site_ids)}"
        raise ValueError(f"column {site}; expected a column from 0{limit}")
    return site


def _check_standardisation(mean: Tensor | None, sd: Tensor | None, site_ids: Sequence[str] | None) -> None:
    for what, x in (("mean", mean), ("SD", sd)):
        if x is None:
            continue
        if x.dim() != 1 or (site_ids is not None and len(x) != len(site_ids)):
            raise ValueError(f"natural {what} of shape {tuple(x.shape)}; expected one value a site")
        bad = ~torch.isfinite(x) | ((x <= 0) if what == "SD" else torch.zeros_like(x, dtype=torch.bool))
        if bool(bad.any()):
            names = [site_name(int(i)) if site_ids is None else site_ids[int(i)] for i in bad.nonzero().flatten()]
            raise ValueError(
                f"natural {what} is {x[bad][0].item():g} for {', '.join(names[:5])}; expected finite values"
                + (
                    " above 0. A site that never varied cannot be standardised: leave it out of the encoder"
                    * (what == "SD")
                )
            )


def _group(members: list[tuple[int, int, Term]], sets: list[int], site_ids: Sequence[str] | None) -> _Group:
    rows, columns, terms = zip(*members, strict=True)
    first: Term = terms[0]
    settings: dict[str, Any] = {**dict(first.settings), "sets": torch.tensor([sets[i] for i in rows])}
    if first.among:
        settings["among"] = torch.tensor([_column(site, site_ids) for site in first.among])
    if first.values:
        settings["values"] = torch.tensor(first.values)
    weights = torch.tensor([t.weight for t in terms])
    return _Group(first.function, first.raw, settings, torch.tensor(rows), torch.tensor(columns), weights)
